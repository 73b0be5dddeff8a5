package identity_test

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server/identity"
)

func TestTokenIsAccepted(t *testing.T) {
	h := newHouse(t, nil)
	tests := []struct {
		name    string
		token   string
		subject string
		action  attestor.Action
	}{
		{"Google", sign(t, jose.RS256, h.google, "g1", good()), builder, attestor.ActionAttest},
		{"Google's other name for itself", sign(t, jose.RS256, h.google, "g1", good(claims{"iss": "accounts.google.com"})), builder, attestor.ActionAttest},
		{"audience as a list of one", sign(t, jose.RS256, h.google, "g1", good(claims{"aud": []string{audience}})), builder, attestor.ActionAttest},
		{"just expired, within the skew", sign(t, jose.RS256, h.google, "g1",
			good(claims{"exp": t0.Add(-50 * time.Second).Unix()})), builder, attestor.ActionAttest},
		{"another issuer, by subject", sign(t, jose.RS256, h.github, "h1",
			good(claims{"iss": github, "sub": repoClaim, "email": nil})), repoClaim, attestor.ActionCheck},
		{"another issuer, by claims", sign(t, jose.RS256, h.github, "h1", good(claims{"iss": github, "sub": "x",
			"repository_id": "42", "environment": "production"})), "x", attestor.ActionAttest},
	}

	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := h.verifier.Authenticate(request(tt.token))
			if err != nil {
				t.Fatal(err)
			}
			if got.Subject != tt.subject || !got.MayAnywhere(tt.action) {
				t.Errorf("caller = %+v, want %s with %s", got, tt.subject, tt.action)
			}
		})
	}
}

func TestTokenIsRefused(t *testing.T) {
	h := newHouse(t, nil)
	foreign := once(t, foreignKey)
	der, err := x509.MarshalPKIXPublicKey(h.google.Public())
	if err != nil {
		t.Fatal(err)
	}

	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	genuine := sign(t, jose.RS256, h.google, "g1", good())
	parts := strings.Split(genuine, ".")
	embedded, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: foreign}, &jose.SignerOptions{EmbedJWK: true})
	if err != nil {
		t.Fatal(err)
	}

	withJWK, err := jwt.Signed(embedded).Claims(map[string]any(good())).Serialize()
	if err != nil {
		t.Fatal(err)
	}

	tests := []struct {
		name  string
		token string
		kind  attestor.Kind
	}{
		{"none at all", "", attestor.Unauthenticated},
		{"forged: another key under a known id", sign(t, jose.RS256, foreign, "g1", good()), attestor.Unauthenticated},
		{"forged: another key under its own id", sign(t, jose.RS256, foreign, "mine", good()), attestor.Unauthenticated},
		{"forged: its key in the header", withJWK, attestor.Unauthenticated},
		{"claims replaced", parts[0] + "." + body(t, good(claims{"email": "root@acme.iam.gserviceaccount.com"})) + "." + parts[2], attestor.Unauthenticated},
		{"alg none", b64(`{"alg":"none","typ":"JWT"}`) + "." + body(t, good()) + ".", attestor.Unauthenticated},
		{"alg None, with a key id", b64(`{"alg":"None","kid":"g1"}`) + "." + body(t, good()) + ".", attestor.Unauthenticated},
		{"unsigned", parts[0] + "." + parts[1] + ".", attestor.Unauthenticated},
		{"signature removed", parts[0] + "." + parts[1] + ".SIGNATURE_REMOVED_BY_GOOGLE", attestor.Unauthenticated},
		{"two parts", parts[0] + "." + parts[1], attestor.Unauthenticated},
		{"HMAC with the public key's PEM", sign(t, jose.HS256, publicPEM, "g1", good()), attestor.Unauthenticated},
		{"HMAC with the public key's DER", sign(t, jose.HS256, der, "g1", good()), attestor.Unauthenticated},
		{"a weaker use of the right key", sign(t, jose.PS256, h.google, "g1", good()), attestor.Unauthenticated},
		{"ES256 by IAP's key in Google's name", sign(t, jose.ES256, h.iap, "i1", good()), attestor.Unauthenticated},
		{"IAP's token for the API", sign(t, jose.ES256, h.iap, "i1", good(claims{"iss": identity.IAP,
			"aud": iapAudience, "email": "auditor@acme.example"})), attestor.Unauthenticated},
		{"IAP's token with the API's audience", sign(t, jose.ES256, h.iap, "i1",
			good(claims{"iss": identity.IAP, "email": "auditor@acme.example"})), attestor.Unauthenticated},
		{"one issuer's key for another's name", sign(t, jose.RS256, h.github, "h1", good()), attestor.Unauthenticated},
		{"unknown issuer", sign(t, jose.RS256, h.google, "g1", good(claims{"iss": "https://evil.example"})), attestor.Unauthenticated},
		{"issuer with a slash", sign(t, jose.RS256, h.google, "g1", good(claims{"iss": identity.Google + "/"})), attestor.Unauthenticated},
		{"no issuer", sign(t, jose.RS256, h.google, "g1", good(claims{"iss": nil})), attestor.Unauthenticated},
		{"expired", sign(t, jose.RS256, h.google, "g1", good(claims{"exp": t0.Add(-2 * time.Minute).Unix()})), attestor.Unauthenticated},
		{"without expiry", sign(t, jose.RS256, h.google, "g1", good(claims{"exp": nil})), attestor.Unauthenticated},
		{"not valid yet", sign(t, jose.RS256, h.google, "g1", good(claims{"nbf": t0.Add(2 * time.Minute).Unix()})), attestor.Unauthenticated},
		{"issued in the future", sign(t, jose.RS256, h.google, "g1", good(claims{"iat": t0.Add(2 * time.Minute).Unix()})), attestor.Unauthenticated},
		{"foreign audience", sign(t, jose.RS256, h.google, "g1", good(claims{"aud": "https://other.example"})), attestor.Unauthenticated},
		{"no audience", sign(t, jose.RS256, h.google, "g1", good(claims{"aud": nil})), attestor.Unauthenticated},
		{"empty audience", sign(t, jose.RS256, h.google, "g1", good(claims{"aud": ""})), attestor.Unauthenticated},
		{"two audiences", sign(t, jose.RS256, h.google, "g1", good(claims{"aud": []string{audience, "https://other.example"}})), attestor.Unauthenticated},
		{"audience with a prefix of ours", sign(t, jose.RS256, h.google, "g1", good(claims{"aud": audience + ".evil"})), attestor.Unauthenticated},
		{"no subject", sign(t, jose.RS256, h.google, "g1", good(claims{"sub": nil})), attestor.Unauthenticated},
		{"too long", "x." + strings.Repeat("a", 17<<10) + ".y", attestor.Unauthenticated},
		{"not a token", "hello", attestor.Unauthenticated},
		{"email not verified", sign(t, jose.RS256, h.google, "g1", good(claims{"email_verified": false})), attestor.Forbidden},
		{"email verified, but as text", sign(t, jose.RS256, h.google, "g1", good(claims{"email_verified": "true"})), attestor.Forbidden},
		{"no email", sign(t, jose.RS256, h.google, "g1", good(claims{"email": nil})), attestor.Forbidden},
		{"another email", sign(t, jose.RS256, h.google, "g1", good(claims{"email": "other@acme.iam.gserviceaccount.com"})), attestor.Forbidden},
		{"the email in capitals", sign(t, jose.RS256, h.google, "g1", good(claims{"email": strings.ToUpper(builder)})), attestor.Forbidden},
		{"the builder's email by another issuer", sign(t, jose.RS256, h.github, "h1", good(claims{"iss": github})), attestor.Forbidden},
		{"some of the claims", sign(t, jose.RS256, h.github, "h1", good(claims{"iss": github, "repository_id": "42"})), attestor.Forbidden},
		{"a claim of another type", sign(t, jose.RS256, h.github, "h1",
			good(claims{"iss": github, "repository_id": 42, "environment": "production"})), attestor.Forbidden},
		{"a subject that begins like ours", sign(t, jose.RS256, h.github, "h1", good(claims{"iss": github, "sub": repoClaim + "-evil"})), attestor.Forbidden},
	}

	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := h.verifier.Authenticate(request(tt.token))
			if err == nil || attestor.KindOf(err) != tt.kind {
				t.Fatalf("caller = %+v, error %v of kind %v; want kind %v", got, err, attestor.KindOf(err), tt.kind)
			}
			if len(got.Grants) != 0 || got.Subject != "" {
				t.Errorf("a refused caller is %+v", got)
			}

			for _, secret := range []string{builder, repoClaim, github, identity.Google, "repository_id", iapAudience} {
				if e, _ := errors.AsType[*attestor.Error](err); strings.Contains(e.Msg+e.Fix, secret) {
					t.Errorf("%q tells what would do: %q", e.Msg+e.Fix, secret)
				}
			}
		})
	}
}

func TestAuthorizationIsOneBearerToken(t *testing.T) {
	h := newHouse(t, nil)
	token := sign(t, jose.RS256, h.google, "g1", good())

	for name, header := range map[string][]string{
		"twice": {"Bearer " + token, "Bearer " + token}, "Basic": {"Basic " + token}, "bare": {token}, "empty": {"Bearer "},
		"a list": {"Bearer " + token + ", Bearer " + token}, "nothing": {""},
	} {
		r := request("")
		r.Header["Authorization"] = header
		if c, err := h.verifier.Authenticate(r); attestor.KindOf(err) != attestor.Unauthenticated || err == nil {
			t.Errorf("%s: caller %+v, error %v", name, c, err)
		}
	}

	r := request("")
	r.Header.Set("X-Serverless-Authorization", "Bearer "+token) // Cloud Run's, not ours
	if c, err := h.verifier.Authenticate(r); err == nil {
		t.Errorf("X-Serverless-Authorization alone makes %+v", c)
	}
}

func iapRequest(h *house, method, path string, tokens ...string) *http.Request {
	r := httptest.NewRequest(method, path, nil)
	for _, token := range tokens {
		r.Header.Add("X-Goog-IAP-JWT-Assertion", token)
	}
	return r
}

// TestIAPOnCloudRun: where the proxy is on the service itself, its audience names project, region and service, each exactly.
func TestIAPOnCloudRun(t *testing.T) {
	const own = "/projects/1/locations/us-east1/services/gate-pages"
	h := newHouse(t, func(c *identity.Config) { c.IAPAudience = own })
	for aud, want := range map[string]bool{
		own: true, iapAudience: false, own + "-2": false, "/projects/2/locations/us-east1/services/gate-pages": false,
		"/projects/1/locations/us-east4/services/gate-pages": false, "/projects/1/locations/us-east1/services/": false,
	} {
		token := sign(t, jose.ES256, h.iap, "i1", good(claims{"iss": identity.IAP, "aud": aud, "email": "auditor@acme.example", "email_verified": nil}))
		c, err := h.verifier.Authenticate(iapRequest(h, "GET", "/report", token))
		if (err == nil) != want || want != c.MayAnywhere(attestor.ActionRead) {
			t.Errorf("%s: %+v, %v", aud, c, err)
		}
	}
}

func TestIAPReadsPagesOnly(t *testing.T) {
	h := newHouse(t, nil)
	of := func(changes ...claims) claims {
		return good(append([]claims{{"iss": identity.IAP, "aud": iapAudience, "email": "auditor@acme.example", "email_verified": nil}}, changes...)...)
	}

	token := sign(t, jose.ES256, h.iap, "i1", of())
	got, err := h.verifier.Authenticate(iapRequest(h, "GET", "/report", token))
	if err != nil {
		t.Fatal(err)
	}

	if want := "auditor@acme.example"; got.Subject != want || !got.MayAnywhere(attestor.ActionRead) {
		t.Errorf("caller = %+v, want %s who may read", got, want)
	}

	for _, a := range attestor.Actions() {
		if a != attestor.ActionRead && got.MayAnywhere(a) {
			t.Errorf("an identity of IAP may %s", a)
		}
	}

	parts := strings.Split(token, ".")
	refused := map[string]*http.Request{
		"API":               iapRequest(h, "GET", "/v1/decisions", token),
		"API, writing":      iapRequest(h, "POST", "/v1/attest", token),
		"pages, writing":    iapRequest(h, "POST", "/report", token),
		"short signature":   iapRequest(h, "GET", "/report", parts[0]+"."+parts[1]+"."+b64("short")),
		"empty signature":   iapRequest(h, "GET", "/report", parts[0]+"."+parts[1]+"."),
		"DER signature":     iapRequest(h, "GET", "/report", parts[0]+"."+parts[1]+"."+b64(strings.Repeat("0", 70))),
		"zero signature":    iapRequest(h, "GET", "/report", parts[0]+"."+parts[1]+"."+b64(strings.Repeat("\x00", 64))),
		"another's key":     iapRequest(h, "GET", "/report", sign(t, jose.ES256, ecKey(t), "i1", of())),
		"another audience":  iapRequest(h, "GET", "/report", sign(t, jose.ES256, h.iap, "i1", of(claims{"aud": audience}))),
		"another issuer":    iapRequest(h, "GET", "/report", sign(t, jose.ES256, h.iap, "i1", of(claims{"iss": identity.Google}))),
		"Google's ID token": iapRequest(h, "GET", "/report", sign(t, jose.RS256, h.google, "g1", good())),
		"expired":           iapRequest(h, "GET", "/report", sign(t, jose.ES256, h.iap, "i1", of(claims{"exp": t0.Add(-time.Hour).Unix()}))),
		"another person":    iapRequest(h, "GET", "/report", sign(t, jose.ES256, h.iap, "i1", of(claims{"email": "other@acme.example"}))),
		"two assertions":    iapRequest(h, "GET", "/report", token, token),
		"none":              iapRequest(h, "GET", "/report"),
	}

	for name, r := range refused {
		if c, err := h.verifier.Authenticate(r); err == nil || len(c.Grants) > 0 {
			t.Errorf("%s: caller %+v", name, c)
		}
	}
}

func TestTrustPlatform(t *testing.T) {
	h := newHouse(t, func(c *identity.Config) { c.UnsafeTrustPlatform = true })
	if !strings.Contains(h.log.String(), "level=WARN") || !strings.Contains(h.log.String(), "unsafe_trust_platform=true") {
		t.Errorf("the mode is not logged: %s", h.log)
	}

	header := b64(`{"alg":"RS256","kid":"g1","typ":"JWT"}`)
	stripped := func(c claims) string { return header + "." + body(t, c) + ".SIGNATURE_REMOVED_BY_GOOGLE" }
	got, err := h.verifier.Authenticate(request(stripped(good())))
	if err != nil || got.Subject != builder {
		t.Fatalf("caller = %+v, %v", got, err)
	}

	serverless := func(authorization, own string) *http.Request {
		r := request(own)
		r.Header.Set("X-Serverless-Authorization", "Bearer "+authorization)
		return r
	}

	other := good(claims{"email": "other@acme.iam.gserviceaccount.com"})
	genuine := sign(t, jose.RS256, h.google, "g1", good())

	for name, r := range map[string]*http.Request{
		"checked token beside none":                   serverless(stripped(good()), ""),
		"checked token of another, own one verified":  serverless(stripped(other), genuine),
		"checked token, and one like it made up":      serverless(stripped(good()), stripped(other)),
		"a whole token is verified in this mode, too": request(genuine),
	} {
		if c, err := h.verifier.Authenticate(r); err != nil || c.Subject != builder {
			t.Errorf("%s: caller %+v, %v", name, c, err)
		}
	}

	forged := sign(t, jose.RS256, once(t, foreignKey), "g1", good())
	for name, r := range map[string]*http.Request{
		// Cloud Run checks X-Serverless-Authorization then, and leaves the other as it came.
		"made-up token beside another's checked one": serverless(stripped(other), stripped(good())),
		"unchecked X-Serverless-Authorization":       serverless(forged, ""),
		"forged token":                               request(forged),
		"expired":                                    request(stripped(good(claims{"exp": t0.Add(-time.Hour).Unix()}))),
		"foreign audience":                           request(stripped(good(claims{"aud": "https://other.example"}))),
		"email not verified":                         request(stripped(good(claims{"email_verified": false}))),
		"another issuer":                             request(stripped(good(claims{"iss": github, "sub": repoClaim}))),
		"IAP as issuer":                              request(stripped(good(claims{"iss": identity.IAP}))),
		"alg none":                                   request(b64(`{"alg":"none"}`) + "." + body(t, good()) + ".SIGNATURE_REMOVED_BY_GOOGLE"),
		"four parts":                                 request(header + "." + body(t, good()) + ".x.SIGNATURE_REMOVED_BY_GOOGLE"),
		"something else in its place":                request(header + "." + body(t, good()) + ".REMOVED"),
	} {
		if c, err := h.verifier.Authenticate(r); err == nil || len(c.Grants) > 0 {
			t.Errorf("%s: caller %+v", name, c)
		}
	}
}

func TestConfigurationIsRefused(t *testing.T) {
	for name, change := range map[string]func(*identity.Config){
		"no audience":             func(c *identity.Config) { c.Audience = "" },
		"no callers":              func(c *identity.Config) { c.Rules = nil },
		"a caller who is anybody": func(c *identity.Config) { c.Rules = append(c.Rules, identity.Rule{Grants: c.Rules[0].Grants}) },
		"a caller without rights": func(c *identity.Config) { c.Rules[0].Grants = nil },
		"no images":               func(c *identity.Config) { c.Rules[0].Grants[0].Images = nil },
		"no actions":              func(c *identity.Config) { c.Rules[0].Grants[0].Actions = nil },
		"unknown action":          func(c *identity.Config) { c.Rules[0].Grants[0].Actions = []attestor.Action{"everything"} },
		"unknown issuer":          func(c *identity.Config) { c.Rules[0].Issuer = "https://evil.example" },
		"empty claim":             func(c *identity.Config) { c.Rules[2].Claims["environment"] = "" },
		"plain HTTP":              func(c *identity.Config) { c.Issuers[1].URL = "http://token.example" },
		"keys over plain HTTP":    func(c *identity.Config) { c.Issuers[1].JWKS = "http://token.example/keys" },
		"IAP as an issuer":        func(c *identity.Config) { c.Issuers[1].URL = identity.IAP },
		"IAP that may write":      func(c *identity.Config) { c.Rules[3].Grants[0].Actions = []attestor.Action{attestor.ActionAttest} },
		"IAP without audience":    func(c *identity.Config) { c.IAPAudience = "" },
		"trust without Google": func(c *identity.Config) {
			c.UnsafeTrustPlatform = true
			c.Issuers, c.Rules = c.Issuers[1:], c.Rules[1:3]
		},
		"one issuer twice": func(c *identity.Config) { c.Issuers = append(c.Issuers, c.Issuers[0]) },
	} {
		h := newHouse(t, nil)
		c := h.config
		c.Issuers, c.Rules = slices.Clone(c.Issuers), slices.Clone(c.Rules)
		change(&c)
		if _, err := identity.New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestOpenAnswersLoopbackOnly(t *testing.T) {
	v := identity.Open(attestor.LocalCaller("me"))
	for host, want := range map[string]bool{
		"127.0.0.1:8080": true, "localhost:8080": true, "localhost": true, "[::1]:8080": true,
		"evil.example:8080": false, "127.0.0.1.evil.example": false, "": false, "10.0.0.1:8080": false, "localhost.evil.example:80": false,
	} {
		r := httptest.NewRequest("GET", "/v1/decisions", nil)
		r.Host = host
		if c, err := v.Authenticate(r); (err == nil) != want || (len(c.Grants) > 0) != want {
			t.Errorf("Host %q: caller %+v, error %v", host, c, err)
		}
	}
}
