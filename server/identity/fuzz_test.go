package identity_test

import (
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/attestor-gate/attestor"
)

// FuzzToken: nothing panics; a token is believed only if what was signed is,
// byte for byte, what an issuer signed; and a refusal gives nothing away.
func FuzzToken(f *testing.F) {
	h := newHouse(f, nil)
	genuine := map[string]bool{}

	for _, token := range []string{
		sign(f, jose.RS256, h.google, "g1", good()),
		sign(f, jose.RS256, h.github, "h1", good(claims{"iss": github, "sub": repoClaim, "email": nil})),
	} {
		genuine[token[:strings.LastIndexByte(token, '.')]] = true
		if _, err := h.verifier.Authenticate(request(token)); err != nil {
			f.Fatal("a seed that should be believed is not: ", err)
		}
		f.Add(token)
	}

	parts := strings.Split(sign(f, jose.RS256, h.google, "g1", good()), ".")
	for _, token := range []string{
		"", "hello", "a.b.c", "..", parts[0] + "." + parts[1] + ".", b64(`{"alg":"none"}`) + "." + parts[1] + ".",
		b64(`{"alg":"HS256","kid":"g1"}`) + "." + parts[1] + "." + parts[2],
		b64(`{"alg":"RS256","kid":"g1","jwk":{"kty":"oct","k":"AA"}}`) + "." + body(f, good()) + "." + parts[2],
		sign(f, jose.RS256, h.google, "g1", good(claims{"exp": t0.Add(-time.Hour).Unix()})),
		sign(f, jose.RS256, h.google, "g1", good(claims{"aud": []any{1, nil}})),
	} {
		f.Add(token)
	}

	f.Fuzz(func(t *testing.T, token string) {
		got, err := h.verifier.Authenticate(request(token))
		if err != nil {
			if kind := attestor.KindOf(err); kind != attestor.Unauthenticated && kind != attestor.Forbidden || len(got.Grants) != 0 || got.Subject != "" {
				t.Fatalf("%q: caller %+v, %v", token, got, err)
			}
			return
		}
		if dot := strings.LastIndexByte(token, '.'); dot < 0 || !genuine[token[:dot]] {
			t.Fatalf("%q makes %+v", token, got)
		}
	})
}
