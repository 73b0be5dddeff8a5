package verify

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/attestor-gate/attestor/internal/loopback"
	"github.com/attestor-gate/attestor/internal/reach"
)

// Registries says which hosts may be contacted, and how.
type Registries struct {
	Hosts    []Registry
	Keychain authn.Keychain // nil: anonymous; asked about the registries in Hosts only
	RootCAs  *x509.CertPool // nil: the system's
	Resolver Resolver       // nil: the system's
	// Wrap decorates the transport, for telemetry; the guard stays outside of
	// it and checks every request first. nil: not decorated.
	Wrap func(http.RoundTripper) http.RoundTripper
}

// A Registry may be contacted.
type Registry struct {
	// Host is a name with its port, if not the default one; "*.pkg.dev" for
	// every name one label beneath; or "*" for every registry that has a public
	// address. Docker Hub is index.docker.io.
	Host string
	// Scheme is "https" or "http"; "" is http on loopback and https elsewhere.
	Scheme string
	// Companions are further hosts that this registry needs: a token server
	// elsewhere, which gets its credentials, or storage at a private address
	// that it redirects to. Docker Hub's token server is known.
	Companions []string
}

// Resolver turns host names into addresses, as [net.Resolver] does.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// hosts is the parsed form of [Registries]. It is immutable.
type hosts struct {
	exact      map[string]string // host[:port] -> scheme
	suffixes   []string          // ".pkg.dev"
	any        bool
	companions map[string]bool // host[:port], https unless loopback
}

func newHosts(r Registries) (*hosts, error) {
	h := &hosts{exact: map[string]string{}, companions: map[string]bool{}}
	for _, reg := range r.Hosts {
		switch {
		case reg.Scheme != "" && reg.Scheme != "http" && reg.Scheme != "https":
			return nil, fmt.Errorf("registry %q: scheme %q: want https or http", reg.Host, reg.Scheme)
		case reg.Host == "*", strings.HasPrefix(reg.Host, "*."):
			// Without TLS whoever is on the way could name any host of the pattern.
			if reg.Scheme == "http" {
				return nil, fmt.Errorf("registry %q: plain HTTP needs a host of its own", reg.Host)
			}
			if reg.Host == "*" {
				h.any = true
				break
			}

			// *.dev would allow hosts that anybody can register.
			if strings.Contains(reg.Host[1:], "*") || strings.Count(reg.Host, ".") < 2 {
				return nil, fmt.Errorf(`registry %q: want a pattern such as "*.pkg.dev"`, reg.Host)
			}
			h.suffixes = append(h.suffixes, strings.ToLower(reg.Host[1:]))
		default:
			parsed, err := name.NewRegistry(reg.Host, name.StrictValidation)
			if err != nil || parsed.Name() != reg.Host || strings.Contains(reg.Host, "*") {
				return nil, fmt.Errorf("registry %q: want HOST or HOST:PORT in its canonical form", reg.Host)
			}
			scheme := reg.Scheme
			if scheme == "" {
				scheme = "https"
				if loopback.Authority(reg.Host) {
					scheme = "http"
				}
			}
			h.exact[reg.Host] = scheme
		}

		if reg.Host == name.DefaultRegistry || h.any {
			h.companions["auth.docker.io"] = true
		}
		for _, c := range reg.Companions {
			if u, err := url.Parse("https://" + c); err != nil || u.Host != c || c == "" {
				return nil, fmt.Errorf("registry %q: companion %q: want HOST or HOST:PORT", reg.Host, c)
			}
			h.companions[c] = true
		}
	}
	return h, nil
}

// scheme returns the scheme of a registry, and whether it may be contacted.
func (h *hosts) scheme(host string) (string, bool) {
	if scheme, ok := h.exact[host]; ok {
		return scheme, true
	}
	for _, s := range h.suffixes {
		// One label: "a.b.pkg.dev" and "a.pkg.dev:5000" are not of "*.pkg.dev".
		label, ok := strings.CutSuffix(host, s)
		if ok && label != "" && !strings.ContainsAny(label, ".:") {
			return "https", true
		}
	}
	return "https", h.any
}

// named reports whether the configuration names this very host, so that an
// operator vouches for where it is.
func (h *hosts) named(host string) bool {
	if _, ok := h.exact[host]; ok || h.companions[host] {
		return true
	}
	_, ok := h.scheme(host)
	return ok && !h.any
}

// mayDial reports whether a connection to host, which resolved to addr, is
// allowed. It is asked at dial time, so that a name that changes its address
// between check and use gains nothing.
func (h *hosts) mayDial(host string, addr netip.Addr) bool {
	return reach.May(host, addr, h.named(host))
}
