package identity_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server/identity"
)

// rsaKey makes a key of a length of its own.
func rsaKey(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0")
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}

	return key
}

// RFC 7518, section 3.3, of RS256: "A key of size 2048 bits or larger MUST be
// used". A shorter key is no key, alone or beside a good one.
func TestShortRSAKeysAreNotBelieved(t *testing.T) {
	long := public("g1", once(t, googleKey), jose.RS256)
	for bits, want := range map[int]bool{1024: false, 2047: false, 2048: true, 3072: true} {
		key := rsaKey(t, bits)
		if key.N.BitLen() != bits {
			t.Fatalf("the key has %d bits, want %d", key.N.BitLen(), bits)
		}

		token := sign(t, jose.RS256, key, "k", good())

		for published, tt := range map[string]struct {
			keys []jose.JSONWebKey
			kind attestor.Kind // of the refusal
		}{
			"alone":             {[]jose.JSONWebKey{public("k", key, jose.RS256)}, attestor.Unavailable},
			"beside a good one": {[]jose.JSONWebKey{public("k", key, jose.RS256), long}, attestor.Unauthenticated},
			"without algorithm": {[]jose.JSONWebKey{{KeyID: "k", Key: key.Public()}, long}, attestor.Unauthenticated},
		} {
			h := newHouse(t, nil)
			h.googleKeys.set(http.StatusOK, tt.keys...)

			caller, err := h.verifier.Authenticate(request(token))

			switch {
			case want && (err != nil || caller.Subject != builder):
				t.Errorf("%d bits, %s: %+v, %v", bits, published, caller, err)
			case !want && (err == nil || attestor.KindOf(err) != tt.kind || len(caller.Grants) > 0):
				t.Errorf("%d bits, %s: %+v, %v; want a refusal of kind %v", bits, published, caller, err, tt.kind)
			}
		}
	}
}

// RFC 7518, section 3.4: ES256 is "ECDSA using P-256 and SHA-256". A key on
// another curve is no key for it.
func TestOnlyP256IsBelieved(t *testing.T) {
	for curve, want := range map[elliptic.Curve]bool{elliptic.P256(): true, elliptic.P384(): false, elliptic.P521(): false} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}

		h := newHouse(t, nil)
		h.githubKeys.set(http.StatusOK, jose.JSONWebKey{KeyID: "e", Key: key.Public()})

		err = h.verifier.Warm(t.Context())

		if (err == nil) != want {
			t.Errorf("%s: %v, want usable %t", curve.Params().Name, err, want)
		}
	}
}

// discovering is an issuer whose discovery document is changed before it is
// sent, and a gate that accepts its tokens.
func discovering(t *testing.T, key crypto.Signer, change func(self string, doc map[string]string)) (h *house, self string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		own := "http://" + r.Host
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			doc := map[string]string{"issuer": own, "jwks_uri": own + "/keys"}
			change(own, doc)
			_ = json.NewEncoder(w).Encode(doc)
		case "/keys":
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{public("k", key, jose.RS256)}})
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	h = newHouse(t, func(c *identity.Config) {
		c.Issuers = append(c.Issuers, identity.Issuer{URL: server.URL})
		c.Rules = append(c.Rules, identity.Rule{Issuer: server.URL, Subject: repoClaim, Grants: c.Rules[0].Grants})
	})

	return h, server.URL
}

// OpenID Connect Discovery 1.0, section 4.3: "The issuer value returned MUST be
// identical to the Issuer URL that was used as the prefix to
// /.well-known/openid-configuration". The keys of a document that names another
// issuer, or of one that names none, are not fetched.
func TestTheDiscoveryDocumentIsTheIssuersOwn(t *testing.T) {
	key := once(t, foreignKey)
	for name, tt := range map[string]struct {
		change func(self string, doc map[string]string)
		want   bool
	}{
		"its own":               {func(string, map[string]string) {}, true},
		"another's":             {func(_ string, doc map[string]string) { doc["issuer"] = github }, false},
		"of nobody":             {func(_ string, doc map[string]string) { delete(doc, "issuer") }, false},
		"with a slash":          {func(self string, doc map[string]string) { doc["issuer"] = self + "/" }, false},
		"in capitals":           {func(self string, doc map[string]string) { doc["issuer"] = strings.ToUpper(self) }, false},
		"keys over plain HTTP":  {func(_ string, doc map[string]string) { doc["jwks_uri"] = "http://keys.example/" }, false},
		"keys nowhere":          {func(_ string, doc map[string]string) { delete(doc, "jwks_uri") }, false},
		"keys by relative path": {func(_ string, doc map[string]string) { doc["jwks_uri"] = "/keys" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			h, self := discovering(t, key, tt.change)
			token := sign(t, jose.RS256, key, "k", good(claims{"iss": self, "sub": repoClaim, "email": nil}))

			caller, err := h.verifier.Authenticate(request(token))

			if tt.want && (err != nil || caller.Issuer != self) {
				t.Errorf("caller %+v, %v", caller, err)
			}
			if !tt.want && (attestor.KindOf(err) != attestor.Unavailable || len(caller.Grants) > 0) {
				t.Errorf("caller %+v, %v; want unavailable", caller, err)
			}
		})
	}
}
