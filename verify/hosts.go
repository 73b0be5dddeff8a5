package verify

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/attestor-gate/attestor/internal/loopback"
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
			if reg.Scheme == "http" {
				return nil, fmt.Errorf("registry %q: plain HTTP needs a host of its own", reg.Host)
			}
			if reg.Host == "*" {
				h.any = true
				break
			}

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
	addr = addr.Unmap()
	switch {
	// Metadata servers are link-local. Only an address that is configured as such counts.
	case addr.IsUnspecified(), addr.IsMulticast(), addr.IsLinkLocalUnicast(), !addr.IsValid():
		return h.named(host) && literal(host) == addr && addr.IsValid()
	case addr.IsLoopback():
		// A public name that resolves to this machine is an attack, or as bad as one. A
		// configuration that means this machine names it.
		return h.named(host) && loopback.Authority(host)
	case isPrivate(addr):
		return h.named(host)
	}
	return true
}

// literal is the address that host is written as, if it is one.
func literal(host string) netip.Addr {
	if a, err := netip.ParseAddr(hostname(host)); err == nil {
		return a.Unmap()
	}
	return netip.Addr{}
}

func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.Trim(host, "[]")
}

// isPrivate covers what is not reachable from the Internet, beyond what
// [netip.Addr] calls private: shared address space (RFC 6598), benchmarking,
// this network, reserved, NAT64 and 6to4, which embed any IPv4 address.
func isPrivate(a netip.Addr) bool {
	if a.IsPrivate() || a.IsInterfaceLocalMulticast() {
		return true
	}
	for _, p := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15", "240.0.0.0/4",
		"64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "fec0::/10",
	} {
		if netip.MustParsePrefix(p).Contains(a) {
			return true
		}
	}
	return false
}
