package identity_test

import (
	"context"
	"crypto"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server/identity"
)

func TestKeysRotate(t *testing.T) {
	h := newHouse(t, nil)
	ask := func(token string) attestor.Kind {
		_, err := h.verifier.Authenticate(request(token))
		if err == nil {
			return -1
		}
		return attestor.KindOf(err)
	}

	later := func(key crypto.Signer, id string) string {
		return sign(t, jose.RS256, key, id, good(claims{"exp": t0.Add(100 * time.Hour).Unix()}))
	}

	old, next := later(h.google, "g1"), once(t, githubKey)
	if got := ask(old); got != -1 {
		t.Fatalf("first token refused: %v", got)
	}

	h.googleKeys.set(200, public("g1", h.google, jose.RS256), public("g2", next, jose.RS256))
	h.clock.set(t0.Add(time.Minute))
	if got := ask(later(next, "g2")); got != -1 {
		t.Errorf("a new key is not picked up: %v", got)
	}

	before := h.googleKeys.count()
	for range 50 {
		if got := ask(later(once(t, foreignKey), "made-up")); got != attestor.Unauthenticated {
			t.Fatalf("made-up key: %v", got)
		}
	}

	if asked := h.googleKeys.count() - before; asked > 1 {
		t.Errorf("50 made-up keys made %d requests to the key server", asked)
	}

	h.googleKeys.set(500)
	h.clock.set(t0.Add(23 * time.Hour))
	if got := ask(old); got != -1 {
		t.Errorf("with the key server down, a known key is locked out: %v", got)
	}

	h.clock.set(t0.Add(24*time.Hour + 2*time.Minute))
	if got := ask(old); got != attestor.Unavailable {
		t.Errorf("a day later it is %v, want unavailable", got)
	}

	h.googleKeys.set(200, public("g2", next, jose.RS256))
	h.clock.set(h.clock.now().Add(time.Minute))
	if got := ask(old); got != attestor.Unauthenticated {
		t.Errorf("a key that was withdrawn is %v", got)
	}
	if got := ask(later(next, "g2")); got != -1 {
		t.Errorf("after the outage: %v", got)
	}
}

func TestKeyServerThatMisbehaves(t *testing.T) {
	weak := once(t, foreignKey)
	for name, serve := range map[string]http.HandlerFunc{
		"no keys":  func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"keys":[]}`) },
		"not JSON": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
		"too large": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat(" ", 2<<20)+"{}")
		},
		"secret keys": func(w http.ResponseWriter, _ *http.Request) {
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{KeyID: "g1", Key: []byte("secret")}, {KeyID: "g1", Key: weak}}})
		},
		"for encryption": func(w http.ResponseWriter, _ *http.Request) {
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{KeyID: "g1", Key: weak.Public(), Use: "enc"}}})
		},
		"redirects": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(serve)
			defer srv.Close()
			h := newHouse(t, func(c *identity.Config) { c.Issuers[0].JWKS = srv.URL })
			_, err := h.verifier.Authenticate(request(sign(t, jose.RS256, weak, "g1", good())))
			if attestor.KindOf(err) != attestor.Unavailable {
				t.Errorf("error %v, want unavailable", err)
			}
			if err := h.verifier.Warm(context.Background()); err == nil {
				t.Error("Warm reports no error")
			}
		})
	}
}

func TestKeyOfAnUnknownTypeIsPassedOver(t *testing.T) {
	key := once(t, foreignKey)
	jwk, err := json.Marshal(public("k", key, jose.RS256))
	if err != nil {
		t.Fatal(err)
	}

	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"keys":[{"kty":"AKP","kid":"new","alg":"ML-DSA-65","pub":"AA"},`+string(jwk)+`]}`)
	}))
	defer srv.Close()
	h := newHouse(t, func(c *identity.Config) { c.Issuers[0].JWKS = srv.URL })
	if _, err := h.verifier.Authenticate(request(sign(t, jose.RS256, key, "k", good()))); err != nil {
		t.Error(err)
	}
}

func TestDiscovery(t *testing.T) {
	key := once(t, foreignKey)
	ks := newKeyServer(t, public("k", key, jose.RS256))
	h := newHouse(t, func(c *identity.Config) {
		c.Issuers = append(c.Issuers, identity.Issuer{URL: ks.URL})
		c.Rules = append(c.Rules, identity.Rule{Issuer: ks.URL, Subject: "project_path:acme/api", Grants: c.Rules[0].Grants})
	})

	if err := h.verifier.Warm(context.Background()); err != nil {
		t.Fatal(err)
	}

	got, err := h.verifier.Authenticate(request(sign(t, jose.RS256, key, "k", good(claims{"iss": ks.URL, "sub": "project_path:acme/api"}))))
	if err != nil || got.Issuer != ks.URL {
		t.Errorf("caller = %+v, %v", got, err)
	}
}

// The keys are fetched on a goroutine of its own, where a panic would end the process.
func TestKeysWhoseFetchPanics(t *testing.T) {
	w := &web{pages: map[string]func(*http.Request) (*http.Response, error){
		keysAt: func(*http.Request) (*http.Response, error) { panic("a bug") },
	}}
	h := webHouse(t, w, nil)
	_, err := h.verifier.Authenticate(request(sign(t, jose.RS256, once(t, googleKey), "g1", good())))
	if attestor.KindOf(err) != attestor.Unavailable || !strings.Contains(h.log.String(), "a bug") {
		t.Errorf("%v; log:\n%s", err, h.log)
	}
}
