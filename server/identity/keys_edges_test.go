package identity_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server/identity"
)

// web is what there is to fetch, by URL, without a network.
type web struct {
	mu     sync.Mutex
	pages  map[string]func(*http.Request) (*http.Response, error)
	asked  []string
	paused chan struct{} // nil: answers at once
}

func (w *web) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	w.asked = append(w.asked, r.URL.String())
	page, paused := w.pages[r.URL.String()], w.paused
	w.mu.Unlock()
	if paused != nil {
		select {
		case <-paused:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	if page == nil {
		return nil, errors.New("no such host")
	}

	return page(r)
}

func (w *web) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()

	return len(w.asked)
}

func (w *web) put(url string, status int, body io.Reader) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b, err := io.ReadAll(body) // an error of the body comes after what could be read
	w.pages[url] = func(*http.Request) (*http.Response, error) {
		var r io.Reader = bytes.NewReader(b)
		if err != nil {
			r = io.MultiReader(r, broken{err})
		}
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(r)}, nil
	}
}

// broken is a body that ends before its end.
type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

func keySet(t testing.TB, keys ...jose.JSONWebKey) string {
	t.Helper()
	b, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}

	return string(b)
}

const keysAt = "https://keys.example/jwks"

// webHouse is a house whose Google's keys are at keysAt.
func webHouse(t testing.TB, w *web, change func(*identity.Config)) *house {
	t.Helper()
	if w.pages == nil {
		w.pages = map[string]func(*http.Request) (*http.Response, error){}
	}

	return newHouse(t, func(c *identity.Config) {
		c.Client = &http.Client{Transport: w}
		c.Issuers[0].JWKS = keysAt
		if change != nil {
			change(c)
		}
	})
}

// Keys are fetched when they are first needed; for an hour they are used as
// they are, for a day they are fetched again beside the request, and after that
// not believed without the key server.
func TestWhenKeysAreFetched(t *testing.T) {
	key := once(t, googleKey)
	token := sign(t, jose.RS256, key, "g1", good(claims{"exp": t0.Add(100 * time.Hour).Unix()}))
	unknown := sign(t, jose.RS256, key, "made-up", good(claims{"exp": t0.Add(100 * time.Hour).Unix()}))
	const accepted = attestor.Kind(-1)
	type step struct {
		at     time.Duration // after the first fetch
		token  string
		status int // of the key server by now
		want   attestor.Kind
		asks   int // what this step makes it asked
	}

	for name, steps := range map[string][]step{
		"within the hour":   {{time.Hour - 1, token, 200, accepted, 0}},
		"after an hour":     {{time.Hour, token, 200, accepted, 1}, {time.Hour + time.Minute, token, 200, accepted, 0}},
		"within the day":    {{24*time.Hour - 1, token, 500, accepted, 1}},
		"after a day":       {{24 * time.Hour, token, 200, accepted, 1}},
		"after a day, down": {{24 * time.Hour, token, 500, attestor.Unavailable, 1}},
		"down, again and again": {
			{2 * time.Hour, token, 500, accepted, 1}, {2*time.Hour + 10*time.Second - 1, token, 500, accepted, 0},
			{2*time.Hour + 10*time.Second, token, 500, accepted, 1},
		},
		"down after a day, again and again": {
			{25 * time.Hour, token, 500, attestor.Unavailable, 1}, {25*time.Hour + 10*time.Second - 1, token, 500, attestor.Unavailable, 0},
			{25*time.Hour + 10*time.Second, token, 500, attestor.Unavailable, 1}, {25*time.Hour + 20*time.Second, token, 200, accepted, 1},
		},
		"unknown keys": {
			{10*time.Second - 1, unknown, 200, attestor.Unauthenticated, 0}, {10 * time.Second, unknown, 200, attestor.Unauthenticated, 1},
			{20 * time.Second, unknown, 500, attestor.Unavailable, 1}, {21 * time.Second, unknown, 500, attestor.Unavailable, 0},
		},
		"a clock that was set back": {{-time.Hour, unknown, 200, attestor.Unauthenticated, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			w := &web{}
			h := webHouse(t, w, nil)
			synctest.Test(t, func(t *testing.T) {
				set := keySet(t, public("g1", key, jose.RS256))
				w.put(keysAt, 200, strings.NewReader(set))
				if _, err := h.verifier.Authenticate(request(token)); err != nil || w.count() != 1 {
					t.Fatalf("asked %d times at first, %v", w.count(), err)
				}

				for i, s := range steps {
					h.clock.set(t0.Add(s.at))
					w.put(keysAt, s.status, strings.NewReader(set))
					before := w.count()
					caller, err := h.verifier.Authenticate(request(s.token))
					synctest.Wait() // for what is fetched beside the request

					got := accepted
					if err != nil {
						got = attestor.KindOf(err)
					}
					if asks := w.count() - before; got != s.want || asks != s.asks || (caller.Subject == builder) != (s.want == accepted) {
						t.Errorf("step %d: kind %v, asked %d times, caller %q, %v; want kind %v, asked %d times", i,
							got, asks, caller.Subject, err, s.want, s.asks)
					}
				}
			})
		})
	}
}

// A caller who leaves while keys are fetched is told that they were not, never
// that the token is wrong; the fetch goes on for the others.
func TestLeavingWhileKeysAreFetched(t *testing.T) {
	key := once(t, googleKey)
	token := sign(t, jose.RS256, key, "g1", good())
	w := &web{}
	h := webHouse(t, w, nil)
	synctest.Test(t, func(t *testing.T) {
		w.paused = make(chan struct{})
		w.put(keysAt, 200, strings.NewReader(keySet(t, public("g1", key, jose.RS256))))
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error)
		go func() {
			_, err := h.verifier.Authenticate(request(token).WithContext(ctx))
			left <- err
		}()

		synctest.Wait()
		cancel()
		if err := <-left; attestor.KindOf(err) != attestor.Unavailable {
			t.Errorf("who left is told %v", err)
		}

		close(w.paused)
		synctest.Wait()
		if _, err := h.verifier.Authenticate(request(token)); err != nil || w.count() != 1 {
			t.Errorf("asked %d times, %v", w.count(), err)
		}
	})
}

// What a key server answers is believed only if it is whole, of status 200, not
// too large and JSON; else the log says what was wrong.
func TestKeyServersAnswersAreReadWhole(t *testing.T) {
	key := once(t, googleKey)
	set := keySet(t, public("g1", key, jose.RS256))
	numbered := func(n int) string {
		keys := []jose.JSONWebKey{public("g1", key, jose.RS256)}
		for i := range n - 1 {
			keys = append(keys, public(fmt.Sprint("k", i), key, jose.RS256))
		}
		return keySet(t, keys...)
	}

	const limit = 1 << 20
	for name, tt := range map[string]struct {
		status int
		body   io.Reader
		says   string // the log; "": believed
	}{
		"whole":                       {200, strings.NewReader(set), ""},
		"status 500 with keys":        {500, strings.NewReader(set), "status 500"},
		"status 203 with keys":        {203, strings.NewReader(set), "status 203"},
		"broken off after the keys":   {200, io.MultiReader(strings.NewReader(set), broken{errors.New("reset by peer")}), "reset by peer"},
		"a mebibyte":                  {200, strings.NewReader(set + strings.Repeat(" ", limit-len(set))), ""},
		"a byte more":                 {200, strings.NewReader(set + strings.Repeat(" ", limit+1-len(set))), "more than 1048576 bytes"},
		"not JSON":                    {200, strings.NewReader("<html>"), "not valid JSON"},
		"keys, and then no keys":      {200, strings.NewReader(set[:len(set)-1] + `,"keys":5}`), "duplicate key"},
		"a hundred keys":              {200, strings.NewReader(numbered(100)), ""},
		"a hundred and one":           {200, strings.NewReader(numbered(101)), "101 usable keys, want 1 to 100"},
		"a key with the exponent 0":   {200, strings.NewReader(strings.Replace(set, `"e":"AQAB"`, `"e":"AA"`, 1)), "0 usable keys"},
		"a key for another algorithm": {200, strings.NewReader(strings.Replace(set, `"alg":"RS256"`, `"alg":"PS256"`, 1)), "0 usable keys"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &web{}
			h := webHouse(t, w, nil)
			w.put(keysAt, tt.status, tt.body)

			caller, err := h.verifier.Authenticate(request(sign(t, jose.RS256, key, "g1", good())))

			if tt.says == "" && (err != nil || caller.Subject != builder) {
				t.Errorf("%+v, %v", caller, err)
			}
			if tt.says != "" && (attestor.KindOf(err) != attestor.Unavailable || !strings.Contains(h.log.String(), tt.says)) {
				t.Errorf("%+v, %v; want unavailable, and %q in the log:\n%s", caller, err, tt.says, h.log)
			}
		})
	}

	t.Run("no answer at all", func(t *testing.T) {
		h := webHouse(t, &web{}, nil)
		_, err := h.verifier.Authenticate(request(sign(t, jose.RS256, key, "g1", good())))
		if attestor.KindOf(err) != attestor.Unavailable || !strings.Contains(h.log.String(), "no such host") {
			t.Errorf("%v; log:\n%s", err, h.log)
		}
	})
}

// Without a key id a token is checked by the only key, and by none of several.
func TestTokensWithoutAKeyID(t *testing.T) {
	key, other := once(t, googleKey), once(t, githubKey)
	token := sign(t, jose.RS256, key, "", good())

	for name, tt := range map[string]struct {
		keys []jose.JSONWebKey
		want bool
	}{
		"one key":            {[]jose.JSONWebKey{public("g1", key, jose.RS256)}, true},
		"another's key":      {[]jose.JSONWebKey{public("g1", other, jose.RS256)}, false},
		"two keys":           {[]jose.JSONWebKey{public("g1", key, jose.RS256), public("g2", other, jose.RS256)}, false},
		"two, one by no id":  {[]jose.JSONWebKey{public("", key, jose.RS256), public("g2", other, jose.RS256)}, false},
		"the same key twice": {[]jose.JSONWebKey{public("g1", key, jose.RS256), public("g2", key, jose.RS256)}, false},
	} {
		h := newHouse(t, nil)
		h.googleKeys.set(http.StatusOK, tt.keys...)
		if caller, err := h.verifier.Authenticate(request(token)); (err == nil) != tt.want || err != nil && attestor.KindOf(err) != attestor.Unauthenticated {
			t.Errorf("%s: %+v, %v", name, caller, err)
		}
	}
}

// Keys of several kinds under one id are told apart by the token's algorithm,
// in whatever order they are published.
func TestKeysUnderOneID(t *testing.T) {
	rsa, ec := once(t, googleKey), ecKey(t)
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	keys := []jose.JSONWebKey{{KeyID: "k", Key: rsa.Public()}, {KeyID: "k", Key: ec.Public()}, {KeyID: "k", Key: ed}}
	for range keys {
		keys = append(keys[1:], keys[0])
		h := newHouse(t, nil)
		h.githubKeys.set(http.StatusOK, keys...)

		for alg, key := range map[jose.SignatureAlgorithm]any{jose.RS256: rsa, jose.ES256: ec} {
			token := sign(t, alg, key, "k", good(claims{"iss": github, "sub": repoClaim, "email": nil}))
			if caller, err := h.verifier.Authenticate(request(token)); err != nil || caller.Subject != repoClaim {
				t.Errorf("%s, the first key is a %T: %+v, %v", alg, keys[0].Key, caller, err)
			}
		}
	}
}

// A discovery document that cannot be had, or that leads to where no TLS is, is
// followed nowhere.
func TestDiscoveryThatLeadsNowhere(t *testing.T) {
	const issuer = "https://issuer.example"
	const document = issuer + "/.well-known/openid-configuration"
	key := once(t, googleKey)
	set := keySet(t, public("g1", key, jose.RS256))

	for name, tt := range map[string]struct {
		status int
		text   string
		says   string // the log; "": believed
	}{
		"whole": {200, `{"issuer":"` + issuer + `","jwks_uri":"` + keysAt + `"}`, ""},
		"with what is not read here": {200, `{"issuer":"` + issuer + `","jwks_uri":"` + keysAt +
			`","scopes_supported":["openid"],"service_documentation":null,"issuer_alias":null}`, ""},
		"without issuer, by null":    {200, `{"issuer":null,"jwks_uri":"` + keysAt + `"}`, "another issuer's"},
		"not found":                  {404, `{"issuer":"` + issuer + `","jwks_uri":"` + keysAt + `"}`, "status 404"},
		"keys over plain HTTP":       {200, `{"issuer":"` + issuer + `","jwks_uri":"http://keys.example/jwks"}`, "is not an https URL"},
		"keys at a URL with a login": {200, `{"issuer":"` + issuer + `","jwks_uri":"https://me@keys.example/jwks"}`, "is not an https URL"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &web{}
			h := webHouse(t, w, func(c *identity.Config) {
				c.Issuers = append(c.Issuers, identity.Issuer{URL: issuer})
				c.Rules = append(c.Rules, identity.Rule{Issuer: issuer, Subject: repoClaim, Grants: c.Rules[0].Grants})
			})

			w.put(document, tt.status, strings.NewReader(tt.text))
			for _, url := range []string{keysAt, "http://keys.example/jwks", "https://me@keys.example/jwks"} {
				w.put(url, 200, strings.NewReader(set))
			}

			_, err := h.verifier.Authenticate(request(sign(t, jose.RS256, key, "g1", good(claims{"iss": issuer, "sub": repoClaim, "email": nil}))))

			if tt.says == "" && err != nil {
				t.Error(err)
			}
			if tt.says != "" && (attestor.KindOf(err) != attestor.Unavailable ||
				!strings.Contains(h.log.String(), tt.says) || !slices.Equal(w.asked, []string{document})) {
				t.Errorf("%v, asked %v; want %q in the log:\n%s", err, w.asked, tt.says, h.log)
			}
		})
	}
}

// A key server that redirects is not followed, wherever it leads.
func TestRedirectsAreNotFollowed(t *testing.T) {
	key := once(t, googleKey)
	elsewhere := newKeyServer(t, public("g1", key, jose.RS256))
	srv := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusFound))
	t.Cleanup(srv.Close)
	h := newHouse(t, func(c *identity.Config) { c.Issuers[0].JWKS = srv.URL })

	_, err := h.verifier.Authenticate(request(sign(t, jose.RS256, key, "g1", good())))

	if attestor.KindOf(err) != attestor.Unavailable || elsewhere.count() != 0 {
		t.Errorf("%v; where it leads was asked %d times", err, elsewhere.count())
	}
}

// Google's and Identity-Aware Proxy's keys are where they publish them, unless
// the configuration says otherwise; Warm fetches all of them.
func TestWhereKeysAreFoundByDefault(t *testing.T) {
	const googles, iaps = "https://www.googleapis.com/oauth2/v3/certs", "https://www.gstatic.com/iap/verify/public_key-jwk"
	grants := newHouse(t, nil).config.Rules

	for name, tt := range map[string]struct {
		config identity.Config
		want   []string
	}{
		"nothing said":   {identity.Config{Audience: audience, Rules: grants[:1]}, []string{googles}},
		"Google by name": {identity.Config{Audience: audience, Issuers: []identity.Issuer{{URL: identity.Google}}, Rules: grants[:1]}, []string{googles}},
		"IAP alone":      {identity.Config{IAPAudience: iapAudience, Rules: grants[3:]}, []string{iaps}},
		"both":           {identity.Config{Audience: audience, IAPAudience: iapAudience, Rules: grants[:1]}, []string{googles, iaps}},
		"both, elsewhere": {identity.Config{Audience: audience, IAPAudience: iapAudience, IAPJWKS: keysAt,
			Issuers: []identity.Issuer{{URL: identity.Google, JWKS: keysAt + "/2"}}, Rules: grants[:1]},
			[]string{keysAt, keysAt + "/2"}},
		"one other issuer": {identity.Config{Audience: audience,
			Issuers: []identity.Issuer{{URL: github, JWKS: keysAt}}, Rules: grants[1:2]}, []string{keysAt}},
		"other, discovered": {identity.Config{Audience: audience, Issuers: []identity.Issuer{{URL: github}},
			Rules: grants[1:2]}, []string{github + "/.well-known/openid-configuration"}},
	} {
		w := &web{pages: map[string]func(*http.Request) (*http.Response, error){}}
		tt.config.Client, tt.config.Now = &http.Client{Transport: w}, func() time.Time { return t0 }
		v, err := identity.New(tt.config) // with no logger: it logs nothing, and does not fail for that
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}

		err = v.Warm(t.Context())
		if got := slices.Sorted(slices.Values(w.asked)); err == nil || !slices.Equal(got, tt.want) ||
			strings.Count(err.Error(), "no such host") != len(tt.want) {
			t.Errorf("%s: asked %v, want %v; %v", name, got, tt.want, err)
		}
	}
}

// discard is for tests whose log nobody reads.
func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Each fault of a configuration is refused by itself, and the error says where.
func TestEachFaultOfAConfigurationIsNamed(t *testing.T) {
	whole := newHouse(t, nil).config
	whole.Logger = discard()
	if v, err := identity.New(whole); err != nil || v == nil {
		t.Fatal(err)
	}

	for name, tt := range map[string]struct {
		change func(*identity.Config)
		says   string
	}{
		"no clock":                   {func(c *identity.Config) { c.Now = nil }, "clock is missing"},
		"no audience":                {func(c *identity.Config) { c.Audience = "" }, "audience is missing"},
		"no audience, one issuer":    {func(c *identity.Config) { c.Audience, c.Issuers = "", c.Issuers[:1] }, "audience is missing"},
		"no audience of either kind": {func(c *identity.Config) { c.Audience, c.IAPAudience, c.Issuers = "", "", nil }, "audience is missing"},
		"IAP as an issuer beside": {func(c *identity.Config) { c.Issuers = append(c.Issuers, identity.Issuer{URL: identity.IAP}) },
			"issuer " + identity.IAP + " cannot be configured"},
		"Google's old name": {func(c *identity.Config) { c.Issuers = append(c.Issuers, identity.Issuer{URL: "accounts.google.com"}) },
			"issuer accounts.google.com cannot be configured"},
		"an issuer without TLS": {func(c *identity.Config) { c.Issuers = append(c.Issuers, identity.Issuer{URL: "http://x.example"}) },
			`"http://x.example" is not an https URL`},
		"an issuer by FTP": {func(c *identity.Config) { c.Issuers = append(c.Issuers, identity.Issuer{URL: "ftp://127.0.0.1/x"}) },
			`"ftp://127.0.0.1/x" is not an https URL`},
		"an issuer with a login": {func(c *identity.Config) { c.Issuers = append(c.Issuers, identity.Issuer{URL: "https://me@x.example"}) },
			`"https://me@x.example" is not an https URL`},
		"an issuer with a fragment": {func(c *identity.Config) { c.Issuers = append(c.Issuers, identity.Issuer{URL: "https://x.example#y"}) },
			`"https://x.example#y" is not an https URL`},
		"an issuer without host": {func(c *identity.Config) { c.Issuers = append(c.Issuers, identity.Issuer{URL: "https:///x"}) },
			`"https:///x" is not an https URL`},
		"an issuer that is no URL": {func(c *identity.Config) { c.Issuers = append(c.Issuers, identity.Issuer{URL: "https://x.example/%zz"}) },
			`"https://x.example/%zz" is not an https URL`},
		"keys without TLS": {func(c *identity.Config) { c.Issuers[1].JWKS = "http://x.example/keys" }, `"http://x.example/keys" is not an https URL`},
		"IAP's keys without TLS": {func(c *identity.Config) { c.IAPJWKS = "http://x.example/keys" },
			`"http://x.example/keys" is not an https URL`},
		"a caller of no issuer": {func(c *identity.Config) { c.Rules[1].Issuer = "https://x.example" },
			"caller 2: https://x.example is not among the issuers"},
		"a caller of IAP without it": {func(c *identity.Config) { c.IAPAudience = "" }, "caller 4: " + identity.IAP + " needs iapAudience"},
		"a caller of IAP who may attest": {func(c *identity.Config) {
			c.Rules[3].Grants = []attestor.Grant{{
				Actions: []attestor.Action{attestor.ActionSimulate, attestor.ActionAttest}, Images: c.Rules[3].Grants[0].Images,
			}}
		},
			"can be granted read and simulate only, not attest"},
		"a claim without a name":  {func(c *identity.Config) { c.Rules[2].Claims = map[string]string{"": "x"} }, "caller 3: has a claim without name or value"},
		"a claim without a value": {func(c *identity.Config) { c.Rules[2].Claims = map[string]string{"x": ""} }, "caller 3: has a claim without name or value"},
		"trust without Google": {func(c *identity.Config) {
			c.UnsafeTrustPlatform, c.Issuers, c.Rules = true, c.Issuers[1:], c.Rules[1:3]
		},
			"unsafeTrustPlatform needs " + identity.Google},
	} {
		t.Run(name, func(t *testing.T) {
			c := whole
			c.Issuers, c.Rules = slices.Clone(c.Issuers), slices.Clone(c.Rules)

			for i := range c.Rules {
				c.Rules[i].Claims = maps.Clone(c.Rules[i].Claims)
			}

			tt.change(&c)
			_, err := identity.New(c)
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v; want %q", err, tt.says)
			}
		})
	}
}

// A caller of another issuer is not one of IAP, where IAP is not configured.
func TestIAPIsNotNeeded(t *testing.T) {
	h := newHouse(t, func(c *identity.Config) { c.IAPAudience, c.Rules = "", c.Rules[:3] })
	if err := h.verifier.Warm(t.Context()); err != nil {
		t.Error(err)
	}
	if strings.Contains(h.log.String(), "without their signature") {
		t.Errorf("it warns of a mode that is off: %s", h.log)
	}

	c, err := h.verifier.Authenticate(iapRequest(h, "GET", "/report", sign(t, jose.ES256, h.iap, "i1", good())))
	if attestor.KindOf(err) != attestor.Unauthenticated || !strings.Contains(attestor.Message(err), "no identity") {
		t.Errorf("%+v, %v", c, err)
	}
}
