package cause_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/attestor-gate/attestor/internal/cause"
)

// Each kind of silence has words and a fix of its own, however deep it is wrapped. An error of another kind gets no words.
func TestSilence(t *testing.T) {
	asked := func(err error) error {
		return fmt.Errorf("listing: %w", &url.Error{Op: "Get", URL: "https://r.example/v2/", Err: &net.OpError{Op: "dial", Err: err}})
	}
	system := func(e syscall.Errno) error { return os.NewSyscallError("connect", e) }
	for _, tt := range []struct {
		name     string
		err      error
		why, fix string
	}{
		{"no such host", asked(&net.DNSError{Err: "no such host", Name: "r.example"}), "its name is not known", "DNS"},
		{"nothing listens", asked(system(syscall.ECONNREFUSED)), "connection refused", "reached"},
		{"it hangs up", asked(system(syscall.ECONNRESET)), "closed the connection", "reached"},
		{"it ends early", asked(io.EOF), "closed the connection", "reached"},
		{"no way to it", asked(system(syscall.EHOSTUNREACH)), "no route", "reached"},
		{"nor to its network", asked(system(syscall.ENETUNREACH)), "no route", "reached"},
		{"a certificate of nobody", asked(&tls.CertificateVerificationError{Err: errors.New("x")}), "certificate", "r.example"},
		{"no TLS", asked(tls.RecordHeaderError{Msg: "x"}), "no TLS", "registries.plainHTTP"},
		{"HTTP", errors.New("http: server gave HTTP response to HTTPS client"), "no TLS", "add r.example to"},
		{"another error", errors.New("x"), "", ""},
		{"none", nil, "", ""},
	} {
		why, fix := cause.Silence("r.example", tt.err)
		if (why == "") != (tt.why == "") || !strings.Contains(why, tt.why) || (fix == "") != (tt.why == "") || !strings.Contains(fix, tt.fix) {
			t.Errorf("%s: %q; %q, want %q; %q", tt.name, why, fix, tt.why, tt.fix)
		}
	}
}
