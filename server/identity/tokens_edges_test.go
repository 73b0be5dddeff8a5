package identity_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server/identity"
)

// keyIDs are of several lengths: base64 has no text of 4n+1 characters, so that
// a token of a given length needs one of them in its header.
func keyIDs() []string { return []string{"k", "kk", "kkk", "kkkk"} }

// padded finds a token of exactly n bytes among those that grow by a claim.
func padded(t *testing.T, n int, token func(id, pad string) string) string {
	t.Helper()
	for _, id := range keyIDs() {
		for pad := max(0, (n-len(token(id, "")))*3/4-8); ; pad++ {
			got := token(id, strings.Repeat("x", pad))
			if len(got) == n {
				return got
			}
			if len(got) > n {
				break
			}
		}
	}

	t.Fatalf("no token has %d bytes", n)
	return ""
}

// Times count to the second, with a minute's skew in favour of the caller.
func TestTimesOfATokenAtTheirLimits(t *testing.T) {
	h := newHouse(t, nil)
	at := func(claim string, d time.Duration) claims { return claims{claim: t0.Add(d).Unix()} }

	for name, tt := range map[string]struct {
		change claims
		says   string // "": accepted
	}{
		"expired a minute ago":              {at("exp", -time.Minute), ""},
		"expired a minute and a second ago": {at("exp", -61*time.Second), "has expired"},
		"without expiry":                    {claims{"exp": nil}, "never expires"},
		"valid for an hour already":         {at("nbf", -time.Hour), ""},
		"valid in a minute":                 {at("nbf", time.Minute), ""},
		"valid in a minute and a second":    {at("nbf", 61*time.Second), "not valid yet"},
		"issued in a minute":                {at("iat", time.Minute), ""},
		"issued in a minute and a second":   {at("iat", 61*time.Second), "not valid yet"},
		"issued nobody says when":           {claims{"iat": nil}, ""},
	} {
		caller, err := h.verifier.Authenticate(request(sign(t, jose.RS256, h.google, "g1", good(tt.change))))
		if tt.says == "" && (err != nil || caller.Subject != builder) {
			t.Errorf("%s: %+v, %v", name, caller, err)
		}
		if tt.says != "" && (attestor.KindOf(err) != attestor.Unauthenticated || !strings.Contains(attestor.Message(err), tt.says)) {
			t.Errorf("%s: %+v, %v; want %q", name, caller, err, tt.says)
		}
	}
}

// What a caller is told of a request without one usable token says what to
// send, and differs from what is said of a wrong token.
func TestWhatIsSaidOfNoToken(t *testing.T) {
	h := newHouse(t, nil)
	token := sign(t, jose.RS256, h.google, "g1", good())
	const none, notOne, wrong = "carries no identity", "Authorization is not one bearer token", "not valid here"

	for name, tt := range map[string]struct {
		header []string
		says   string
	}{
		"nothing":       {nil, none},
		"twice":         {[]string{"Bearer " + token, "Bearer " + token}, notOne},
		"another way":   {[]string{"Basic " + token}, notOne},
		"no token":      {[]string{"Bearer "}, notOne},
		"two in one":    {[]string{"Bearer " + token + " " + token}, notOne},
		"a list":        {[]string{"Bearer " + token + "," + token}, notOne},
		"a tab":         {[]string{"Bearer " + token + "\t"}, notOne},
		"a wrong token": {[]string{"Bearer " + token + "x"}, wrong},
		"in small":      {[]string{"bearer " + token}, ""},
	} {
		r := request("")
		if tt.header != nil {
			r.Header["Authorization"] = tt.header
		}

		_, err := h.verifier.Authenticate(r)
		if tt.says == "" && err != nil || tt.says != "" &&
			(attestor.KindOf(err) != attestor.Unauthenticated || !strings.Contains(attestor.Message(err), tt.says)) {
			t.Errorf("%s: %v, want %q", name, err, tt.says)
		}
	}
}

// A token has 16 KiB at most, in either header.
func TestTheLargestToken(t *testing.T) {
	h := newHouse(t, nil)
	var google, iap []jose.JSONWebKey

	for _, id := range keyIDs() {
		google, iap = append(google, public(id, h.google, jose.RS256)), append(iap, public(id, h.iap, jose.ES256))
	}

	h.googleKeys.set(http.StatusOK, google...)
	h.iapKeys.set(http.StatusOK, iap...)
	const largest = 16 << 10

	for n, want := range map[int]bool{largest: true, largest + 1: false} {
		bearer := padded(t, n, func(id, pad string) string {
			return sign(t, jose.RS256, h.google, id, good(claims{"pad": pad}))
		})

		if caller, err := h.verifier.Authenticate(request(bearer)); (err == nil) != want {
			t.Errorf("a bearer token of %d bytes: %+v, %v", n, caller, err)
		}

		assertion := padded(t, n, func(id, pad string) string {
			return sign(t, jose.ES256, h.iap, id, good(claims{"iss": identity.IAP, "aud": iapAudience, "email": "auditor@acme.example", "pad": pad}))
		})

		if caller, err := h.verifier.Authenticate(iapRequest(h, "GET", "/report", assertion)); (err == nil) != want {
			t.Errorf("an assertion of %d bytes: %+v, %v", n, caller, err)
		}
	}
}

// Google signs with RS256 only: a key of another kind among its keys is not
// taken for one of its own.
func TestGooglesTokensAreRS256(t *testing.T) {
	h := newHouse(t, nil)
	h.googleKeys.set(http.StatusOK, public("g1", h.google, jose.RS256), public("i1", h.iap, jose.ES256))
	if caller, err := h.verifier.Authenticate(request(sign(t, jose.ES256, h.iap, "i1", good()))); attestor.KindOf(err) != attestor.Unauthenticated {
		t.Errorf("%+v, %v", caller, err)
	}
}

// A caller is named by an email that its token says is verified, or by its
// subject; what cannot be written on one line is neither.
func TestWhoACallerIs(t *testing.T) {
	const subject = "113774264463038321964"
	h := newHouse(t, func(c *identity.Config) {
		c.Rules = append(c.Rules, identity.Rule{Subject: subject, Grants: c.Rules[0].Grants},
			identity.Rule{Issuer: github, Subject: "one\nline", Grants: c.Rules[0].Grants})
	})

	for name, tt := range map[string]struct {
		change  claims
		subject string // "": refused
	}{
		"by email":                          {nil, builder},
		"by an email that is not verified":  {claims{"email_verified": false}, subject},
		"without an email, and verified":    {claims{"email": nil}, subject},
		"by another email, and the subject": {claims{"email": "other@acme.example"}, "other@acme.example"},
		"an email of two lines":             {claims{"email": "a@acme.example\nb@acme.example"}, ""},
		"a subject of two lines":            {claims{"sub": "one\rline"}, ""},
	} {
		caller, err := h.verifier.Authenticate(request(sign(t, jose.RS256, h.google, "g1", good(tt.change))))
		if caller.Subject != tt.subject || (err == nil) != (tt.subject != "") || err != nil && attestor.KindOf(err) != attestor.Unauthenticated {
			t.Errorf("%s: %+v, %v; want %q", name, caller, err, tt.subject)
		}
	}

	if caller, err := h.verifier.Authenticate(request(sign(t, jose.RS256, h.github, "h1",
		good(claims{"iss": github, "sub": "one\nline"})))); attestor.KindOf(err) != attestor.Unauthenticated {
		t.Errorf("another issuer's subject of two lines: %+v, %v", caller, err)
	}
}

// A rule by claims is met by every one of them with the very value.
func TestRulesByClaims(t *testing.T) {
	h := newHouse(t, func(c *identity.Config) {
		c.Rules = append(c.Rules, identity.Rule{Issuer: github, Claims: map[string]string{"workflow": "release"}, Grants: c.Rules[0].Grants})
	})
	for name, tt := range map[string]struct {
		claims claims
		want   bool
	}{
		"the one claim":                 {claims{"workflow": "release"}, true},
		"the one claim, another value":  {claims{"workflow": "test"}, false},
		"the one claim, empty":          {claims{"workflow": ""}, false},
		"both claims":                   {claims{"repository_id": "42", "environment": "production"}, true},
		"both claims, one value other":  {claims{"repository_id": "42", "environment": "staging"}, false},
		"both claims, the other's":      {claims{"repository_id": "43", "environment": "production"}, false},
		"one claim of two":              {claims{"environment": "production"}, false},
		"both claims in other capitals": {claims{"repository_id": "42", "environment": "Production"}, false},
	} {
		token := sign(t, jose.RS256, h.github, "h1", good(claims{"iss": github, "sub": "x", "email": nil}, tt.claims))
		if caller, err := h.verifier.Authenticate(request(token)); (err == nil) != tt.want || err != nil && attestor.KindOf(err) != attestor.Forbidden {
			t.Errorf("%s: %+v, %v", name, caller, err)
		}
	}
}

// Who is known to nobody is told what to change, where a token of Google lacks
// a verified email.
func TestWhatIsSaidToStrangers(t *testing.T) {
	h := newHouse(t, nil)
	for name, tt := range map[string]struct {
		change   claims
		msg      string
		includes bool // the fix asks for an email
	}{
		"Google, another email":    {claims{"email": "other@acme.example"}, "not known", false},
		"Google, no email":         {claims{"email": nil, "email_verified": nil}, "not known", true},
		"Google, not verified":     {claims{"email_verified": false}, "not verified", false},
		"another issuer, no email": {claims{"iss": github, "email": nil, "email_verified": nil}, "not known", false},
		"another issuer, an email": {claims{"iss": github, "email_verified": false}, "not known", false},
	} {
		key, id := h.google, "g1"
		if tt.change["iss"] == github {
			key, id = h.github, "h1"
		}

		_, err := h.verifier.Authenticate(request(sign(t, jose.RS256, key, id, good(tt.change))))
		e, ok := err.(*attestor.Error) //nolint:errorlint // it is returned as it is
		if !ok || e.Kind != attestor.Forbidden || !strings.Contains(e.Msg, tt.msg) || strings.Contains(e.Fix, "includeEmail") != tt.includes {
			t.Errorf("%s: %#v", name, err)
		}
	}
}

// Pages are what is read outside the API; with a token of its own a page needs
// no proxy, and a proxy's keys that are down are no fault of the caller.
func TestPagesAndTheProxy(t *testing.T) {
	h := newHouse(t, nil)
	iap := func(change claims) string {
		return sign(t, jose.ES256, h.iap, "i1", good(claims{"iss": identity.IAP, "aud": iapAudience,
			"email": "auditor@acme.example", "email_verified": nil}, change))
	}

	page := func(token string) *http.Request {
		r := request(token)
		r.Method, r.URL.Path = http.MethodGet, "/report"
		return r
	}

	form := func(path, site string) *http.Request {
		r := iapRequest(h, "POST", path, iap(nil))
		if site != "" {
			r.Header.Set("Sec-Fetch-Site", site)
		}
		return r
	}

	for name, tt := range map[string]struct {
		request *http.Request
		subject string // "": refused
	}{
		"a form of the page itself":       {form("/simulate", "same-origin"), "auditor@acme.example"},
		"a form of another site":          {form("/simulate", "cross-site"), ""},
		"a form of a sibling":             {form("/simulate", "same-site"), ""},
		"a form of nobody knows where":    {form("/simulate", ""), ""},
		"a form for another page":         {form("/report", "same-origin"), ""},
		"a form for the API":              {form("/v1/attest", "same-origin"), ""},
		"a form for the API's simulation": {form("/v1/simulate", "same-origin"), ""},
		"read":                            {iapRequest(h, "GET", "/report", iap(nil)), "auditor@acme.example"},
		"looked at":                       {iapRequest(h, "HEAD", "/report", iap(nil)), "auditor@acme.example"},
		"deleted":                         {iapRequest(h, "DELETE", "/report", iap(nil)), ""},
		"the API":                         {iapRequest(h, "GET", "/v1", iap(nil)), ""},
		"below the API":                   {iapRequest(h, "GET", "/v1/x", iap(nil)), ""},
		"named like the API":              {iapRequest(h, "GET", "/v1x", iap(nil)), "auditor@acme.example"},
		"by a token":                      {page(sign(t, jose.RS256, h.google, "g1", good())), builder},
		"a claim of the wrong type":       {iapRequest(h, "GET", "/report", iap(claims{"jti": 5})), ""},
		"a token, and a wrong proxy":      {page("x.y.z"), ""},
	} {
		caller, err := h.verifier.Authenticate(tt.request)
		if caller.Subject != tt.subject || (err == nil) != (tt.subject != "") || err != nil && attestor.KindOf(err) != attestor.Unauthenticated {
			t.Errorf("%s: %+v, %v; want %q", name, caller, err, tt.subject)
		}
	}

	// A claim of a wrong type makes the whole assertion no assertion, not one that lacks what comes after it.
	if _, err := h.verifier.Authenticate(iapRequest(h, "GET", "/report", iap(claims{"jti": 5}))); !strings.Contains(attestor.Message(err), "not valid here") {
		t.Errorf("a claim of the wrong type: %v", err)
	}

	down := newHouse(t, nil)
	down.iapKeys.set(http.StatusInternalServerError)
	if _, err := down.verifier.Authenticate(iapRequest(down, "GET", "/report", iap(nil))); attestor.KindOf(err) != attestor.Unavailable {
		t.Errorf("with the proxy's keys down: %v", err)
	}
}

// Where Cloud Run has checked a token, the rest of it is checked as ever, and
// each use is logged; what it did not check is refused for what it is.
func TestTrustPlatformRefusesWhatWasNotChecked(t *testing.T) {
	const removed = "SIGNATURE_REMOVED_BY_GOOGLE"
	h := newHouse(t, func(c *identity.Config) {
		c.UnsafeTrustPlatform = true
		c.Rules = append(c.Rules, identity.Rule{Subject: "113774264463038321964", Grants: c.Rules[0].Grants})
	})

	header := b64(`{"alg":"RS256","kid":"g1","typ":"JWT"}`)
	whole := header + "." + body(t, good()) + "." + removed
	serverless := func(values ...string) *http.Request {
		r := request("")
		r.Header["X-Serverless-Authorization"] = values
		return r
	}

	const uses = "accepted a token without its signature"
	for name, tt := range map[string]struct {
		request *http.Request
		says    string // "": believed
	}{
		"checked":                   {request(whole), ""},
		"checked, by the other":     {serverless("Bearer " + whole), ""},
		"two removed signatures":    {request(whole + "." + removed), "not valid here"},
		"a removed signature alone": {request("x." + removed), "not valid here"},
		"nothing but its place":     {request("." + removed), "not valid here"},
		"a body that is not JSON":   {request(header + "." + b64("hello") + "." + removed), "not valid here"},
		"a claim of the wrong type": {request(header + "." + body(t, good(claims{"jti": 5})) + "." + removed), "not valid here"},
		"not checked, by the other": {serverless("Bearer " + sign(t, jose.RS256, h.google, "g1", good())), "not valid here"},
		"no token, by the other":    {serverless("Basic " + whole), "X-Serverless-Authorization is not one bearer token"},
		"two tokens, by the other":  {serverless("Bearer "+whole, "Bearer "+whole), "X-Serverless-Authorization is not one bearer token"},
		"expired, and checked":      {request(header + "." + body(t, good(claims{"exp": t0.Add(-time.Hour).Unix()})) + "." + removed), "has expired"},
	} {
		h.log.Reset()
		caller, err := h.verifier.Authenticate(tt.request)
		if tt.says == "" && (err != nil || caller.Subject != builder || !strings.Contains(h.log.String(), uses)) {
			t.Errorf("%s: %+v, %v; log %s", name, caller, err, h.log)
		}
		if tt.says != "" && (attestor.KindOf(err) != attestor.Unauthenticated || !strings.Contains(
			attestor.Message(err), tt.says) || len(caller.Grants) > 0 || strings.Contains(h.log.String(), uses)) {
			t.Errorf("%s: %+v, %v, want %q; log %s", name, caller, err, tt.says, h.log)
		}
	}
}

func TestLoopbackInBrackets(t *testing.T) {
	v := identity.Open(attestor.LocalCaller("me"))
	for host, want := range map[string]bool{"[::1]": true, "::1": true, "[::2]": false, "[127.0.0.1]": true, "[localhost]": true} {
		r := request("")
		r.Host = host
		if _, err := v.Authenticate(r); (err == nil) != want {
			t.Errorf("Host %q: %v", host, err)
		}
	}
}

// TestOpenRefusesWhatOtherSitesSend: a page of another site can have a browser send requests that change something, by
// POST without a body even without asking the gate first. Programs say nothing of sites.
func TestOpenRefusesWhatOtherSitesSend(t *testing.T) {
	v := identity.Open(attestor.LocalCaller("me"))
	for _, tt := range []struct {
		method, site, origin string
		want                 bool
	}{
		{"POST", "", "", true}, {"DELETE", "", "", true},
		{"POST", "same-origin", "http://127.0.0.1:8080", true}, {"POST", "none", "", true}, {"POST", "", "http://127.0.0.1:8080", true},
		{"POST", "cross-site", "https://evil.example", false}, {"DELETE", "cross-site", "https://evil.example", false},
		{"POST", "cross-site", "", false}, {"POST", "same-site", "http://127.0.0.1:3000", false},
		{"POST", "", "https://evil.example", false}, {"POST", "", "http://127.0.0.1:3000", false}, {"POST", "", "null", false},
		{"GET", "cross-site", "", true}, // a link
	} {
		r := httptest.NewRequest(tt.method, "/v1/expire", nil)
		r.Host = "127.0.0.1:8080"
		for name, value := range map[string]string{"Sec-Fetch-Site": tt.site, "Origin": tt.origin} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		c, err := v.Authenticate(r)
		if (err == nil) != tt.want || (len(c.Grants) > 0) != tt.want || err != nil && attestor.KindOf(err) != attestor.Forbidden {
			t.Errorf("%+v: caller %+v, error %v", tt, c, err)
		}
	}
}
