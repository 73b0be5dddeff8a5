package courier_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/attestor-gate/attestor/internal/courier"
	"github.com/attestor-gate/attestor/internal/event"
	"github.com/attestor-gate/attestor/internal/testkit/contract"
)

func secretOf(b byte) string {
	return "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(rune(b)), 32)))
}

// receiving serves h by TLS, and gives the configuration of a webhook to it.
func receiving(t *testing.T, h http.HandlerFunc) courier.WebhookConfig {
	t.Helper()
	s := httptest.NewTLSServer(h)
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return courier.WebhookConfig{URL: s.URL + "/hook?token=secret-of-the-url", Secrets: []string{secretOf('a')}, RootCAs: roots, Now: time.Now}
}

func webhook(t *testing.T, c courier.WebhookConfig) *courier.Webhook {
	t.Helper()
	w, err := courier.NewWebhook(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func message() courier.Message {
	e := event.New(event.DecisionDenied, "1", time.Unix(0, 0), "", event.Data{})
	return courier.Message{Event: e, Body: []byte(`{"specversion":"1.0"}`)}
}

func TestWebhookContract(t *testing.T) {
	t.Parallel()
	contract.Sender(t, func(t *testing.T) contract.SentTo {
		got := make(chan courier.Message, 100)
		var broken atomic.Bool
		w := webhook(t, receiving(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			got <- courier.Message{Event: event.Event{ID: r.Header.Get("webhook-id")}, Body: body}
			if broken.Load() {
				w.WriteHeader(http.StatusInternalServerError)
			}
		}))
		return contract.SentTo{
			Sender: w,
			Received: func(_ *testing.T, n int) (out []courier.Message) {
				for range n {
					out = append(out, <-got)
				}
				return out
			},
			Break: func() { broken.Store(true) },
		}
	})
}

// Each secret signs, so that a receiver that knows the former or the new one is served.
func TestWebhookIsSignedByEachSecret(t *testing.T) {
	t.Parallel()
	for _, known := range []byte{'a', 'b'} {
		verifier, err := standardwebhooks.NewWebhook(secretOf(known))
		if err != nil {
			t.Fatal(err)
		}
		c := receiving(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if err := verifier.Verify(body, r.Header); err != nil {
				t.Errorf("known secret %c: %v", known, err)
			}
			if err := verifier.Verify(append(body, ' '), r.Header); err == nil {
				t.Error("the signature holds for another body")
			}
		})
		c.Secrets = []string{secretOf('a'), secretOf('b')}
		if err := webhook(t, c).Send(t.Context(), message()); err != nil {
			t.Error(err)
		}
	}

	other, err := standardwebhooks.NewWebhook(secretOf('c'))
	if err != nil {
		t.Fatal(err)
	}
	c := receiving(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if other.Verify(body, r.Header) == nil {
			t.Error("a signature by another secret is good")
		}
	})
	if err := webhook(t, c).Send(t.Context(), message()); err != nil {
		t.Error(err)
	}
}

// The example of the specification, "Signature scheme": the library that signs agrees
// with what Standard Webhooks publish.
func TestPublishedSignature(t *testing.T) {
	t.Parallel()
	w, err := standardwebhooks.NewWebhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.Sign("msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; err != nil || got != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
}

func TestAnswersOfAWebhook(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a redirect was followed")
	}))
	defer elsewhere.Close()

	for name, tt := range map[string]struct {
		status      int
		header      map[string]string
		failed, not bool // failed, gone
		after       time.Duration
	}{
		"200":                         {status: 200},
		"204":                         {status: 204},
		"202":                         {status: 202},
		"301 elsewhere":               {status: 301, header: map[string]string{"Location": elsewhere.URL}, failed: true},
		"307 elsewhere":               {status: 307, header: map[string]string{"Location": elsewhere.URL}, failed: true},
		"400":                         {status: 400, failed: true},
		"401":                         {status: 401, failed: true},
		"410":                         {status: 410, failed: true, not: true},
		"429 with a time":             {status: 429, header: map[string]string{"Retry-After": "77"}, failed: true, after: 77 * time.Second},
		"503 with nonsense":           {status: 503, header: map[string]string{"Retry-After": "-5"}, failed: true},
		"503 with a time of the past": {status: 503, header: map[string]string{"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, failed: true},
		"503 with an overflow":        {status: 503, header: map[string]string{"Retry-After": "99999999999999999999"}, failed: true},
		"500":                         {status: 500, failed: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := webhook(t, receiving(t, func(w http.ResponseWriter, _ *http.Request) {
				for k, v := range tt.header {
					w.Header().Set(k, v)
				}
				w.WriteHeader(tt.status)
			}))
			err := w.Send(t.Context(), message())
			if (err != nil) != tt.failed {
				t.Fatalf("%v, want a failure: %t", err, tt.failed)
			}
			if err == nil {
				return
			}
			f, ok := errors.AsType[*courier.Failure](err)
			if !ok || f.Gone != tt.not || f.After != tt.after {
				t.Errorf("failure %+v, want gone %t, after %v", f, tt.not, tt.after)
			}
		})
	}
}

// Addresses that a receiver may not have, unless the operator says so.
func TestAddressesOfWebhooks(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		url     string
		address string
		private bool
		refused bool
	}{
		"private":                          {"https://hooks.example/", "10.1.2.3", false, true},
		"private, IPv6":                    {"https://hooks.example/", "fd00::1", false, true},
		"private inside IPv6":              {"https://hooks.example/", "::ffff:10.1.2.3", false, true},
		"loopback by name":                 {"https://hooks.example/", "127.0.0.1", false, true},
		"loopback by name, though private": {"https://hooks.example/", "127.0.0.1", true, true},
		"metadata by name":                 {"https://hooks.example/", "169.254.169.254", false, true},
		"metadata by name, though private": {"https://hooks.example/", "169.254.169.254", true, true},
		"metadata by number":               {"https://169.254.169.254/", "169.254.169.254", false, true},
		"nowhere":                          {"https://hooks.example/", "0.0.0.0", false, true},
		"shared address space":             {"https://hooks.example/", "100.64.0.1", false, true},
		"private, and meant":               {"https://hooks.example:1/", "10.255.255.255", true, false},
		"public":                           {"https://hooks.example:1/", "203.0.113.9", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := webhook(t, courier.WebhookConfig{
				URL: tt.url, Secrets: []string{secretOf('a')}, Private: tt.private, Now: time.Now,
				Lookup: func(context.Context, string, string) ([]netip.Addr, error) {
					return []netip.Addr{netip.MustParseAddr(tt.address)}, nil
				},
			})
			// An address that is allowed is dialled: the ended context ends that. One that is not is refused before.
			patience := time.Minute
			if !tt.refused {
				patience = 50 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			err := w.Send(ctx, message())
			if err == nil {
				t.Fatal("sent")
			}
			if got := strings.Contains(err.Error(), "not one that the gate may contact"); got != tt.refused {
				t.Errorf("%v: refused %t, want %t", err, got, tt.refused)
			}
		})
	}
}

func TestURLsOfWebhooks(t *testing.T) {
	t.Parallel()
	for text, good := range map[string]bool{
		"https://hooks.example/a?b=c": true, "https://hooks.example": true, "https://127.0.0.1:8443/": true,
		"http://hooks.example/": false, "http://127.0.0.1/": false, "hooks.example": false, "": false, "https:///x": false,
		"https://user:password@hooks.example/": false, "https://hooks.example/#f": false, "ftp://hooks.example/": false,
		"https:hooks.example": false, "file:///etc/passwd": false, "https://\x00hooks.example/": false,
	} {
		if _, err := courier.ParseWebhookURL(text); (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// What is wrong with an address or a secret is told without either.
func TestErrorsQuoteNoSecret(t *testing.T) {
	t.Parallel()
	c := receiving(t, func(http.ResponseWriter, *http.Request) {})
	c.RootCAs = nil // the certificate is nobody's
	err := webhook(t, c).Send(t.Context(), message())
	if err == nil || strings.Contains(err.Error(), "secret-of-the-url") {
		t.Errorf("%v", err)
	}

	short := base64.StdEncoding.EncodeToString([]byte("short-and-secret"))
	for _, text := range []string{"whsec_" + short, short, "whsec_not base64 but secret", "", "\n\n", strings.Repeat(secretOf('a')+"\n", 5)} {
		if _, err := courier.ParseSecrets(text); err == nil {
			t.Errorf("%q was accepted", text)
		} else if strings.Contains(err.Error(), short) || strings.Contains(err.Error(), "but secret") {
			t.Errorf("%v quotes the secret", err)
		}
	}
	if got, err := courier.ParseSecrets(secretOf('a') + "\r\n\n  " + secretOf('b') + "\n"); err != nil || len(got) != 2 {
		t.Errorf("%d secrets, %v", len(got), err)
	}
}
