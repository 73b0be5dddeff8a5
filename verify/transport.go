package verify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/attestor-gate/attestor/internal/loopback"
	"github.com/attestor-gate/attestor/internal/reach"
	"github.com/attestor-gate/attestor/internal/referrers"
	"github.com/attestor-gate/attestor/internal/throttle"
)

// The refusals of the guard. errors.Is finds them behind the errors that net/http and
// the registry client wrap around them.
var (
	errHostRefused = reach.ErrRefused
	errTooLarge    = errors.New("the answer is larger than the limit")
	errRedirects   = errors.New("too many redirects")
	errOtherScheme = errors.New("the registry is configured for the other scheme") // the client tries both
)

// Refused reports whether an error comes from this package's rules and not from a
// registry. The client's attempt with the other scheme does not count: it follows
// when a registry did not answer.
func Refused(err error) bool {
	return errors.Is(err, errHostRefused) || errors.Is(err, errRedirects) || errors.Is(err, errTooLarge)
}

const (
	maxRedirects   = 5
	maxHeaderBytes = 64 << 10
)

// guard carries every request of this package. It refuses hosts, schemes and
// credentials that the configuration does not allow, whether a request is our own,
// follows a redirect or answers a token challenge, and bounds every answer. A registry
// therefore cannot direct the gate to another service of its network.
type guard struct {
	hosts  *hosts
	inner  http.RoundTripper
	limits limits
}

func newGuard(r Registries, h *hosts, limits limits) (*guard, *http.Transport) {
	resolver := r.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	base := &http.Transport{
		DialContext:            dialer(h, resolver),
		TLSClientConfig:        &tls.Config{RootCAs: r.RootCAs, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           100,
		MaxIdleConnsPerHost:    32,
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    5 * time.Second,
		ResponseHeaderTimeout:  limits.FetchTimeout, // also of a layer: it begins as soon as a manifest is there
		MaxResponseHeaderBytes: maxHeaderBytes,
		// Manifests and layers are hashed as they come; a transport that
		// unpacks would change the bytes, and could be bombed.
		DisableCompression: true,
	}

	var inner http.RoundTripper = base
	if r.Wrap != nil {
		inner = r.Wrap(base)
	}
	return &guard{hosts: h, inner: inner, limits: limits}, base
}

// RoundTrip implements [http.RoundTripper].
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	host := req.URL.Host
	scheme, registry := g.hosts.scheme(host)
	hops, origin := redirects(req)

	// Plain HTTP would let anyone on the path answer for a token server or a storage
	// host, and read the credentials.
	switch {
	case hops > maxRedirects:
		return nil, errRedirects
	case registry && hops == 0 && req.URL.Scheme != scheme && (scheme == "http" || req.URL.Path == "/v2/"):
		return nil, errOtherScheme // the client's own attempt, nobody's redirect
	case registry && req.URL.Scheme != scheme:
		return nil, fmt.Errorf("%w over %s: %s", errHostRefused, req.URL.Scheme, host)
	case !registry && req.URL.Scheme != "https" && (!g.hosts.companions[host] || !loopback.Authority(host)):
		return nil, fmt.Errorf("%w over %s: %s", errHostRefused, req.URL.Scheme, host)
	}

	// Credentials go to the registry they are for and to its configured companions, and
	// nowhere that a redirect or a challenge leads to. net/http removes the header on
	// redirects too, but not towards subdomains.
	if req.Header.Get("Authorization") != "" {
		switch {
		case hops > 0 && host != origin:
			req = req.Clone(req.Context())
			req.Header.Del("Authorization")
		case !registry && !g.hosts.companions[host]:
			return nil, fmt.Errorf("%w with credentials: %s", errHostRefused, host)
		}
	}

	resp, err := g.inner.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	note(req, resp)

	// 429, and 503 with Retry-After, is an error here, so that no layer above repeats the
	// request at once. The caller waits, within its deadline.
	if err := throttle.Check(resp, time.Now()); err != nil {
		return nil, err
	}

	// The Content-Length is a claim; the body is bounded whatever it says.
	limit := g.limits.ManifestBytes
	if resp.StatusCode == http.StatusOK {
		limit = g.limit(req)
	}

	if resp.ContentLength > limit {
		resp.Body.Close()
		return nil, fmt.Errorf("%w: %d bytes, at most %d", errTooLarge, resp.ContentLength, limit)
	}
	resp.Body = &boundedBody{ReadCloser: resp.Body, left: limit}
	return resp, nil
}

// redirects counts the hops that led to req and names the host of the first
// request.
func redirects(req *http.Request) (hops int, origin string) {
	for req.Response != nil && req.Response.Request != nil && hops <= maxRedirects {
		hops++
		req = req.Response.Request
	}
	return hops, req.URL.Host
}

// limit is how many bytes are read of what req, or the request that was redirected to it, asks for.
func (g *guard) limit(req *http.Request) int64 {
	for i := 0; req.Response != nil && req.Response.Request != nil && i <= maxRedirects; i++ {
		req = req.Response.Request
	}

	said, ok := req.Context().Value(atMostKey{}).(int64)
	switch {
	case referrers.Asks(req, "blobs"):
		return g.limits.LayerBytes
	case ok && referrers.Asks(req, "manifests"): // and not for the token that it takes
		return min(g.limits.ManifestBytes, said)
	}
	return g.limits.ManifestBytes
}

type atMostKey struct{}

// atMost returns a context through which the guard learns how many bytes a manifest is said to have; -1: nobody says.
func atMost(ctx context.Context, size int64) context.Context {
	if size < 0 {
		return ctx
	}
	return context.WithValue(ctx, atMostKey{}, size)
}

// boundedBody returns an error at its limit, so that a truncated document is never
// taken for the whole.
type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, errTooLarge
	}

	// One byte more than allowed distinguishes the end from an excess.
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}

	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

// dialer connects only to addresses that the configuration allows for a host.
func dialer(h *hosts, resolver Resolver) func(context.Context, string, string) (net.Conn, error) {
	return reach.Dialer{
		Lookup: resolver.LookupNetIP,
		May: func(hostport string, a netip.Addr) bool {
			// The configuration names hosts without the default ports.
			host := hostport
			if _, port, err := net.SplitHostPort(hostport); err == nil && !h.named(host) &&
				(port == "443" || port == "80") {
				host = strings.TrimSuffix(hostport, ":"+port)
			}
			return h.mayDial(host, a)
		},
	}.DialContext
}
