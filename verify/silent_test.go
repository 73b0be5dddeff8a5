package verify_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify"
)

// A registry that does not answer is said not to, in one line, whatever scheme
// it is spoken to in and wherever it is.
func TestRegistryDoesNotAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	closed := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}

	start := func(s *httptest.Server) string {
		t.Cleanup(s.Close)
		s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
		return s.Listener.Addr().String()
	}

	hangsUp := start(httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if c, _, err := w.(http.Hijacker).Hijack(); err == nil {
			_ = c.Close()
		}
	})))

	plain := start(httptest.NewServer(http.NotFoundHandler()))
	foreign := start(httptest.NewTLSServer(http.NotFoundHandler()))

	for _, tt := range []struct{ name, host, scheme, want, fix string }{
		{"nothing listens", closed, "http", "did not answer: connection refused", "check that it runs"},
		{"nothing listens, TLS", closed, "https", "did not answer: connection refused", "check that it runs"},
		{"it hangs up", hangsUp, "http", "did not answer: it closed the connection", "check that it runs"},
		{"it speaks no TLS", plain, "https", "did not answer: it speaks no TLS", "registries.plainHTTP"},
		{"its certificate is nobody's", foreign, "https", "did not answer: its certificate", "trusts"},
		{"nobody knows its name", "nowhere.example.com", "https", "did not answer: its name is not known", "DNS"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i := newInspector(t, tt.host, func(c *config) {
				c.Registries.Hosts = []verify.Registry{{Host: tt.host, Scheme: tt.scheme}}
				c.Registries.Resolver = names{}
			})

			_, err := i.Resolve(t.Context(), must(attestor.ParseReference(tt.host+"/team/app:1")), attestor.Needs{})
			e, ok := errors.AsType[*attestor.Error](err)
			if !ok || e.Code != attestor.CodeRegistryUnavailable {
				t.Fatalf("got %v, want %s", err, attestor.CodeRegistryUnavailable)
			}
			if !strings.HasPrefix(e.Msg, "the registry "+tt.host+" "+tt.want) || !strings.Contains(e.Fix, tt.fix) || strings.Contains(e.Msg, "\n") {
				t.Errorf("it says %q; %q", e.Msg, e.Fix)
			}
		})
	}
}

// names knows addresses only.
type names struct{}

func (names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}
