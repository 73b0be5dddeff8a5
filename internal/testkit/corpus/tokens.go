package corpus

import (
	"cmp"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Who calls, and what tokens are meant for.
const (
	Google        = "https://accounts.google.com"
	CI            = "https://ci.example" // another issuer that is configured
	Audience      = "https://gate.example"
	Administrator = "admin@acme.iam.gserviceaccount.com"    // may do everything
	Builder       = "builder@acme.iam.gserviceaccount.com"  // may attest what is under [BuilderImages]
	Stranger      = "stranger@acme.iam.gserviceaccount.com" // is nobody's
	BuilderImages = "corpus/builders/**"
)

// An Issuer makes callers' tokens: Google's, another's, and those of whoever
// is neither.
type Issuer struct{ Google, CI, Foreign *rsa.PrivateKey }

// NewIssuer has keys of its own.
func NewIssuer() *Issuer {
	key := func() *rsa.PrivateKey {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		check(err)
		return k
	}
	return &Issuer{key(), key(), key()}
}

// Claims of a token; nil leaves one out.
type Claims map[string]any

func (c Claims) with(changes Claims) map[string]any {
	out := map[string]any{}
	for _, m := range []Claims{c, changes} {
		for k, v := range m {
			if v == nil {
				delete(out, k)
			} else {
				out[k] = v
			}
		}
	}
	return out
}

func claimsOf(email string) Claims {
	now := time.Now()
	return Claims{"iss": Google, "aud": Audience, "sub": "113774264463038321964", "email": email,
		"email_verified": true, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
}

// KeySet is what the issuer of a name publishes.
func (i *Issuer) KeySet(issuer string) []byte {
	k := jose.JSONWebKey{KeyID: "g1", Key: i.Google.Public(), Use: "sig", Algorithm: string(jose.RS256)}
	if issuer == CI {
		k = jose.JSONWebKey{KeyID: "c1", Key: i.CI.Public(), Use: "sig", Algorithm: string(jose.RS256)}
	}
	return JSON(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{k}})
}

// Token is Google's for email.
func (i *Issuer) Token(email string) string {
	return SignToken(jose.RS256, i.Google, "g1", claimsOf(email))
}

// SignToken signs claims by any key under any id.
func SignToken(alg jose.SignatureAlgorithm, key any, id string, claims map[string]any) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: id}},
		(&jose.SignerOptions{}).WithType("JWT"))
	check(err)
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	check(err)
	return token
}

func unpadded(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// A forgery is a token that the gate must not take for somebody's who may.
type forgery struct {
	name string
	make func(i *Issuer) string
	says string // "": what is said of any token that is not proven to be anyone's
}

func (i *Issuer) google(changes Claims) string {
	return SignToken(jose.RS256, i.Google, "g1", claimsOf(Administrator).with(changes))
}

// edited is a genuine token of the administrator's with its parts changed.
func edited(f func(parts []string) string) func(i *Issuer) string {
	return func(i *Issuer) string { return f(strings.Split(i.google(nil), ".")) }
}

// otherwise is one with other claims, signed by the right key.
func otherwise(changes func(now time.Time) Claims) func(i *Issuer) string {
	return func(i *Issuer) string { return i.google(changes(time.Now())) }
}

func claiming(name string, value any) func(i *Issuer) string {
	return otherwise(func(time.Time) Claims { return Claims{name: value} })
}

func (i *Issuer) publicDER() []byte {
	der, err := x509.MarshalPKIXPublicKey(i.Google.Public())
	check(err)
	return der
}

// forgeries are tokens that nobody may have.
func forgeries() []forgery {
	by := func(alg jose.SignatureAlgorithm, id string, key func(i *Issuer) any, changes Claims) func(i *Issuer) string {
		return func(i *Issuer) string { return SignToken(alg, key(i), id, claimsOf(Administrator).with(changes)) }
	}
	foreign := func(i *Issuer) any { return i.Foreign }
	iap := func(*Issuer) any { return NewKey().Private }
	claims := func() string { return unpadded(string(JSON(claimsOf(Administrator)))) }

	return []forgery{
		{"another key under a known id", by(jose.RS256, "g1", foreign, nil), ""},
		{"another key under its own id", by(jose.RS256, "mine", foreign, nil), ""},
		{"its key in the header", func(i *Issuer) string {
			s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: i.Foreign},
				&jose.SignerOptions{EmbedJWK: true})
			check(err)
			token, err := jwt.Signed(s).Claims(map[string]any(claimsOf(Administrator))).Serialize()
			check(err)
			return token
		}, ""},
		{"claims replaced", func(i *Issuer) string {
			parts := strings.Split(i.Token(Stranger), ".")
			return parts[0] + "." + claims() + "." + parts[2]
		}, ""},
		{"alg none", func(*Issuer) string { return unpadded(`{"alg":"none","typ":"JWT"}`) + "." + claims() + "." }, ""},
		{"alg None, with a key id",
			func(*Issuer) string { return unpadded(`{"alg":"None","kid":"g1"}`) + "." + claims() + "." }, ""},
		{"unsigned", edited(func(p []string) string { return p[0] + "." + p[1] + "." }), ""},
		{"signature removed by Cloud Run",
			edited(func(p []string) string { return p[0] + "." + p[1] + ".SIGNATURE_REMOVED_BY_GOOGLE" }), ""},
		{"two parts", edited(func(p []string) string { return p[0] + "." + p[1] }), ""},
		{"HMAC with the public key's PEM", by(jose.HS256, "g1", func(i *Issuer) any {
			return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: i.publicDER()})
		}, nil), ""},
		{"HMAC with the public key's DER", by(jose.HS256, "g1", func(i *Issuer) any { return i.publicDER() }, nil), ""},
		{"another padding of the right key", by(jose.PS256, "g1", func(i *Issuer) any { return i.Google }, nil), ""},
		{"IAP's for the API",
			by(jose.ES256, "i1", iap, Claims{"iss": "https://cloud.google.com/iap",
				"aud": "/projects/1/global/backendServices/2"}), ""},
		{"IAP's with the API's audience", by(jose.ES256, "i1", iap, Claims{"iss": "https://cloud.google.com/iap"}), ""},
		{"one issuer's key, another's name", by(jose.RS256, "c1", func(i *Issuer) any { return i.CI }, nil), ""},
		{"an unknown issuer", claiming("iss", "https://evil.example"), ""},
		{"an issuer with a slash", claiming("iss", Google+"/"), ""},
		{"no issuer", claiming("iss", nil), ""},
		{"expired", otherwise(func(now time.Time) Claims { return Claims{"exp": now.Add(-2 * time.Minute).Unix()} }),
			"has expired"},
		{"without expiry", claiming("exp", nil), "never expires"},
		{"not valid yet",
			otherwise(func(now time.Time) Claims { return Claims{"nbf": now.Add(5 * time.Minute).Unix()} }),
			"not valid yet"},
		{"issued in the future",
			otherwise(func(now time.Time) Claims { return Claims{"iat": now.Add(5 * time.Minute).Unix()} }),
			"not valid yet"},
		{"a foreign audience", claiming("aud", "https://other.example"), "meant for another service"},
		{"no audience", claiming("aud", nil), "meant for another service"},
		{"an empty audience", claiming("aud", ""), "meant for another service"},
		{"two audiences", claiming("aud", []string{Audience, "https://other.example"}), "meant for another service"},
		{"an audience with a prefix of ours", claiming("aud", Audience+".evil"), "meant for another service"},
		{"no subject", claiming("sub", nil), "no subject"},
		{"longer than a token is", func(*Issuer) string { return "x." + strings.Repeat("a", 17<<10) + ".y" },
			"is not one bearer token"},
		{"not a token", func(*Issuer) string { return "hello" }, ""},
		{"the right key under an id that is a path",
			by(jose.RS256, "../g1", func(i *Issuer) any { return i.Google }, nil), ""},
	}
}

// impostors are genuine tokens of somebody who may do nothing.
func impostors() []forgery {
	ci := func(changes Claims) func(i *Issuer) string {
		return func(i *Issuer) string {
			return SignToken(jose.RS256, i.CI, "c1", claimsOf(Administrator).with(changes))
		}
	}

	return []forgery{
		{"the email is not verified", claiming("email_verified", false), "not verified"},
		{"the email is verified, but as text", claiming("email_verified", "true"), "not verified"},
		{"no email", claiming("email", nil), "not known to the gate"},
		{"another email", claiming("email", Stranger), "not known to the gate"},
		{"the email in capitals", claiming("email", strings.ToUpper(Administrator)), "not known to the gate"},
		{"the email by another issuer", ci(Claims{"iss": CI}), "not known to the gate"},
		{"a subject that begins like another", ci(Claims{"iss": CI, "sub": "repo:acme/api-evil", "email": nil}),
			"not known to the gate"},
	}
}

// tokens ask for a good image, with what is no token of somebody who may.
func tokens() []Case {
	ask := func(name string, status int, says string, edit func(p *Place, r *Request)) Case {
		return Case{Name: "tokens/" + name, Want: refused(status, says), Arrange: func(p *Place) { p.Push(p.Good()) }, Send: func(p *Place) []Request {
			r := Attest(p.Ref("1"))
			edit(p, &r)
			return []Request{r}
		}}
	}

	const none, notOne, lacks = "carries no identity", "is not one bearer token", "this identity lacks the right "
	headers := func(name, says string, edit func(h http.Header, token string)) Case {
		return ask(name, http.StatusUnauthorized, says, func(p *Place, r *Request) {
			r.Token = Anonymous
			edit(r.Header, p.Issuer.Token(Administrator))
		})
	}

	var out []Case
	for _, f := range forgeries() {
		out = append(out, ask(f.name, http.StatusUnauthorized, cmp.Or(f.says, "the token is not valid here"),
			func(p *Place, r *Request) { r.Token = f.make(p.Issuer) }))
	}
	for _, f := range impostors() {
		out = append(out, ask("nobody who may: "+f.name, http.StatusForbidden, f.says,
			func(p *Place, r *Request) { r.Token = f.make(p.Issuer) }))
	}

	return append(out,
		headers("none", none, func(http.Header, string) {}),
		headers("twice", notOne,
			func(h http.Header, t string) { h["Authorization"] = []string{"Bearer " + t, "Bearer " + t} }),
		headers("a list", notOne, func(h http.Header, t string) { h.Set("Authorization", "Bearer "+t+", Bearer "+t) }),
		headers("Basic", notOne, func(h http.Header, t string) { h.Set("Authorization", "Basic "+t) }),
		headers("bare", notOne, func(h http.Header, t string) { h.Set("Authorization", t) }),
		headers("in Cloud Run's own header", none,
			func(h http.Header, t string) { h.Set("X-Serverless-Authorization", "Bearer "+t) }),
		headers("in IAP's header", none, func(h http.Header, t string) { h.Set("X-Goog-IAP-JWT-Assertion", t) }),
		headers("in a cookie", none, func(h http.Header, t string) { h.Set("Cookie", "session="+t) }),
		headers("names in headers", none, func(h http.Header, _ string) {
			h.Set("X-Forwarded-User", Administrator)
			h.Set("X-Goog-Authenticated-User-Email", "accounts.google.com:"+Administrator)
			h.Set("X-Forwarded-For", "127.0.0.1")
		}),
		ask("good", http.StatusOK, "", func(*Place, *Request) {}).wanting(admitted()).mending("tokens/none"),
		ask("expired half a minute ago", http.StatusOK, "", func(p *Place, r *Request) {
			r.Token = p.Issuer.google(Claims{"exp": time.Now().Add(-30 * time.Second).Unix()})
		}).wanting(admitted()).mending("tokens/expired"),
		ask("valid in half a minute", http.StatusOK, "", func(p *Place, r *Request) {
			r.Token = p.Issuer.google(Claims{"nbf": time.Now().Add(30 * time.Second).Unix()})
		}).wanting(admitted()).mending("tokens/not valid yet"),
		ask("one audience in a list", http.StatusOK, "", func(p *Place, r *Request) {
			r.Token = p.Issuer.google(Claims{"aud": []string{Audience}})
		}).wanting(admitted()).mending("tokens/two audiences"),
		ask("the builder's, for another's images", http.StatusForbidden, "may not attest images of this repository",
			func(p *Place, r *Request) { r.Token = p.Issuer.Token(Builder) }),
		ask("the builder's, in dry run", http.StatusForbidden, "may not check images of this repository", func(p *Place,
			r *Request) {
			r.Token, r.Body = p.Issuer.Token(Builder), append(r.Body[:len(r.Body)-1], `,"dryRun":true}`...)
		}),
		Case{Name: "tokens/the builder's, to read", Want: refused(http.StatusForbidden, lacks+"read"), Arrange: nothing,
			Send: asBuilder(Get("/v1/decisions"))},
		Case{Name: "tokens/the builder's, to revoke",
			Want: refused(http.StatusForbidden, lacks+"revoke"), Arrange: nothing,
			Send: asBuilder(Request{Method: http.MethodDelete, Path: "/v1/attestations?image=x&reason=y"})},
		Case{Name: "tokens/the builder's, to simulate", Want: refused(http.StatusForbidden, lacks+"simulate"),
			Arrange: nothing, Send: asBuilder(Post("/v1/simulate", `{"policy":"x"}`))},
		Case{Name: "tokens/the builder's, for events", Want: refused(http.StatusForbidden, lacks+"rejudge"),
			Arrange: nothing, Send: asBuilder(Post("/v1/events", `{"message":{"messageId":"1","data":"e30="}}`))},
		Case{Name: "tokens/the builder's, to judge again", Want: refused(http.StatusForbidden, lacks+"rejudge"),
			Arrange: nothing, Send: asBuilder(Post("/v1/rejudge", `{}`))},
		Case{Name: "tokens/the builder's, to override", Want: refused(http.StatusForbidden, "may not use break-glass"),
			Arrange: nothing, Send: func(p *Place) []Request {
				r := Post("/v1/attest",
					`{"image":"`+p.Host+`/corpus/builders/app:1","breakGlass":{"reason":"production is down"}}`)
				r.Token = p.Issuer.Token(Builder)
				return []Request{r}
			}},
	)
}

func (c Case) wanting(w Want) Case {
	c.Want = w
	return c
}

func nothing(*Place) {}

// asBuilder sends requests with the builder's token.
func asBuilder(requests ...Request) func(p *Place) []Request {
	return func(p *Place) []Request {
		var out []Request
		for _, r := range requests {
			r.Token = p.Issuer.Token(Builder)
			out = append(out, r)
		}
		return out
	}
}
