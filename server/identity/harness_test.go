package identity_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server/identity"
)

const (
	audience    = "https://gate.example"
	iapAudience = "/projects/1/global/backendServices/2"
	builder     = "builder@acme.iam.gserviceaccount.com"
	github      = "https://token.actions.example"
	repoClaim   = "repo:acme/api:ref:refs/heads/main"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// keyServer publishes whatever keys it is given, or fails.
type keyServer struct {
	*httptest.Server
	mu     sync.Mutex
	keys   []jose.JSONWebKey
	status int
	asked  int
}

func newKeyServer(t testing.TB, keys ...jose.JSONWebKey) *keyServer {
	t.Helper()
	s := &keyServer{keys: keys, status: http.StatusOK}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked++
		w.WriteHeader(s.status)
		if r.URL.Path == "/.well-known/openid-configuration" {
			_ = json.NewEncoder(w).Encode(map[string]string{"issuer": "http://" + r.Host, "jwks_uri": "http://" + r.Host + "/keys"})
			return
		}

		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: s.keys})
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *keyServer) set(status int, keys ...jose.JSONWebKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.keys = status, keys
}

func (s *keyServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// RSA keys take long to make: each of these is made once, when it is wanted.
var (
	googleKey  = sync.OnceValues(newRSA)
	githubKey  = sync.OnceValues(newRSA)
	foreignKey = sync.OnceValues(newRSA)
)

func newRSA() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) }

func once(t testing.TB, f func() (*rsa.PrivateKey, error)) *rsa.PrivateKey {
	t.Helper()
	k, err := f()
	if err != nil {
		t.Fatal(err)
	}

	return k
}

func ecKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	return k
}

func public(id string, key crypto.Signer, alg jose.SignatureAlgorithm) jose.JSONWebKey {
	return jose.JSONWebKey{KeyID: id, Key: key.Public(), Use: "sig", Algorithm: string(alg)}
}

func sign(t testing.TB, alg jose.SignatureAlgorithm, key any, id string, claims claims) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: id}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}

	token, err := jwt.Signed(signer).Claims(map[string]any(claims)).Serialize()
	if err != nil {
		t.Fatal(err)
	}

	return token
}

// house is a set of issuers with their keys, and a verifier that knows them.
type house struct {
	google, iap         crypto.Signer
	github              crypto.Signer
	googleKeys, iapKeys *keyServer
	githubKeys          *keyServer
	clock               *clock
	log                 *strings.Builder
	verifier            *identity.Tokens
	config              identity.Config
}

func pattern(t testing.TB, s string) attestor.Pattern {
	t.Helper()
	p, err := attestor.ParsePattern(s)
	if err != nil {
		t.Fatal(err)
	}

	return p
}

// clock is set by a test while keys are still being read in the background.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = t
}

func newHouse(t testing.TB, change func(*identity.Config)) *house {
	t.Helper()
	h := &house{google: once(t, googleKey), iap: ecKey(t), github: once(t, githubKey), clock: &clock{t: t0}, log: &strings.Builder{}}
	h.googleKeys = newKeyServer(t, public("g1", h.google, jose.RS256))
	h.iapKeys = newKeyServer(t, public("i1", h.iap, jose.ES256))
	h.githubKeys = newKeyServer(t, public("h1", h.github, jose.RS256))
	grant := func(actions ...attestor.Action) []attestor.Grant {
		return []attestor.Grant{{Actions: actions, Images: []attestor.Pattern{pattern(t, "us-docker.pkg.dev/acme/**")}}}
	}

	h.config = identity.Config{
		Audience:    audience,
		Issuers:     []identity.Issuer{{URL: identity.Google, JWKS: h.googleKeys.URL}, {URL: github, JWKS: h.githubKeys.URL}},
		IAPAudience: iapAudience, IAPJWKS: h.iapKeys.URL,
		Rules: []identity.Rule{
			{Email: builder, Grants: grant(attestor.ActionAttest)},
			{Issuer: github, Subject: repoClaim, Grants: grant(attestor.ActionCheck)},
			{Issuer: github, Claims: map[string]string{"repository_id": "42", "environment": "production"}, Grants: grant(attestor.ActionAttest)},
			{Issuer: identity.IAP, Email: "auditor@acme.example", Grants: grant(attestor.ActionRead)},
		},
		Now: h.clock.now, Logger: slog.New(slog.NewTextHandler(h.log, nil)),
	}

	if change != nil {
		change(&h.config)
	}

	v, err := identity.New(h.config)
	if err != nil {
		t.Fatal(err)
	}

	h.verifier = v
	return h
}

type claims map[string]any

// good are the claims of a token that Google gives the builder.
func good(changes ...claims) claims {
	c := claims{
		"iss": identity.Google, "aud": audience, "sub": "113774264463038321964", "azp": "113774264463038321964",
		"email": builder, "email_verified": true, "iat": t0.Unix(), "exp": t0.Add(time.Hour).Unix(),
	}

	for _, change := range changes {
		for k, v := range change {
			if v == nil {
				delete(c, k)
			} else {
				c[k] = v
			}
		}
	}
	return c
}

func request(token string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/v1/attest", nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func body(t testing.TB, c claims) string {
	t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}

	return b64(string(b))
}
