package identity_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/contract"
	"github.com/attestor-gate/attestor/server/identity"
)

func TestVerifierContract(t *testing.T) {
	with := func(token string) func(*testing.T) *http.Request {
		return func(*testing.T) *http.Request { return request(token) }
	}

	at := func(url string) func(*testing.T) *http.Request {
		return func(*testing.T) *http.Request { return httptest.NewRequest(http.MethodPost, url, http.NoBody) }
	}

	t.Run("tokens", func(t *testing.T) {
		h := newHouse(t, nil)
		good := func(changes ...claims) func(*testing.T) *http.Request {
			return with(sign(t, jose.RS256, h.google, "g1", good(changes...)))
		}
		contract.Authenticator(t, h.verifier, builder, good(), map[string]func(*testing.T) *http.Request{
			"no token":        with(""),
			"no token at all": with("hello"),
			"expired":         good(claims{"exp": t0.Add(-2 * time.Minute).Unix()}),
			"no rights":       good(claims{"email": "other@acme.iam.gserviceaccount.com"}),
		})
	})

	t.Run("open", func(t *testing.T) {
		contract.Authenticator(t, identity.Open(attestor.LocalCaller("me")), attestor.LocalCaller("me").Subject,
			at("http://127.0.0.1:8080/v1/attest"), map[string]func(*testing.T) *http.Request{
				"by another name":    at("http://gate.example/v1/attest"),
				"by another address": at("http://10.0.0.1/v1/attest"),
			})
	})
}
