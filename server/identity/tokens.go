package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/probe"
)

// skew is how far clocks may be apart.
const skew = time.Minute

// maxToken is several times what any issuer sends.
const maxToken = 16 << 10

// Tokens is a Verifier by signed tokens. It is safe for concurrent use.
type Tokens struct {
	c       Config
	issuers map[string]*issuer
	iap     *issuer
	rules   atomic.Pointer[index] // of the configuration and of teams
}

type issuer struct {
	url        string
	algorithms []jose.SignatureAlgorithm
	keys       *keys
}

var _ Verifier = (*Tokens)(nil)

// New returns a Verifier, or everything that is wrong with c. It fetches
// nothing; see [Tokens.Warm].
func New(c Config) (*Tokens, error) {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("identity: "+format, args...))
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}

	if c.Client == nil {
		c.Client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("the key server redirects, which is not allowed")
		}}
	}

	if c.Now == nil {
		bad("the clock is missing")
	}
	if len(c.Issuers) == 0 && c.Audience != "" {
		c.Issuers = []Issuer{{URL: Google}}
	}

	if c.Audience == "" && (len(c.Issuers) > 0 || c.IAPAudience == "") {
		bad("audience is missing: without it a token for any other service would do")
	}
	if len(c.Rules) == 0 && !c.NoRules {
		bad("callers is empty: no caller may do anything")
	}

	t := &Tokens{c: c, issuers: map[string]*issuer{}}
	for _, i := range c.Issuers {
		built, err := c.issuer(i)
		if err != nil {
			errs = append(errs, err)
			continue
		}

		if _, twice := t.issuers[i.URL]; twice {
			bad("issuer %s is given twice", i.URL)
		}
		t.issuers[i.URL] = built
	}

	if c.IAPAudience != "" {
		location := c.IAPJWKS
		if location == "" {
			location = iapJWK
		}
		if err := secureURL(location); err != nil {
			errs = append(errs, err)
		}
		t.iap = &issuer{url: IAP, algorithms: []jose.SignatureAlgorithm{jose.ES256}, keys: newKeys(c, IAP, location)}
	}

	for n, r := range c.Rules {
		for _, err := range t.Check(r) {
			errs = append(errs, fmt.Errorf("identity: caller %d: %w", n+1, err))
		}
	}
	t.SetTeams(nil)
	if c.UnsafeTrustPlatform {
		if _, ok := t.issuers[Google]; !ok {
			bad("unsafeTrustPlatform needs %s among the issuers: Cloud Run checks no other", Google)
		}
		c.Logger.WarnContext(
			context.Background(),
			"tokens are accepted without their signature: make sure that only Cloud Run can reach this service",
			slog.Bool("unsafe_trust_platform", true),
		)
	}
	return t, errors.Join(errs...)
}

// Warm fetches every issuer's keys, so that a wrong configuration fails at start and
// not at the first request.
func (t *Tokens) Warm(ctx context.Context) error { return probe.Errors(t.Probe(ctx)) }

// Probe fetches every issuer's keys, at the same time, and returns each answer.
func (t *Tokens) Probe(ctx context.Context) []probe.Result {
	issuers := slices.SortedFunc(maps.Values(t.issuers),
		func(x, y *issuer) int { return strings.Compare(x.url, y.url) })
	if t.iap != nil {
		issuers = append(issuers, t.iap)
	}

	var questions []func() []probe.Result
	for _, i := range issuers {
		questions = append(questions, func() []probe.Result {
			asked := probe.Ask("identity issuer", i.url, "its keys can be read", fetchTimeout, func() error {
				return unread(i.url, i.keys.refresh(ctx))
			})
			return []probe.Result{asked}
		})
	}
	return probe.Together(len(issuers)+1, questions)
}

// unread explains to an operator that an issuer's keys could not be read.
func unread(issuer string, err error) error {
	if err == nil {
		return nil
	}
	return &attestor.Error{
		Kind: attestor.Unavailable, Msg: "the keys of the issuer " + issuer + " cannot be read, so that its callers " +
			"are refused", Err: err,
		Fix: "check that the gate's network reaches the issuer, and identity.issuers in the configuration",
	}
}

// unauthenticated says to the caller what is missing; err is for the log.
func unauthenticated(msg, fix string, err error) error {
	return &attestor.Error{Kind: attestor.Unauthenticated, Msg: msg, Fix: fix, Err: err}
}

// invalid is the answer to every token that is not proven genuine. It does not say
// why, which would help whoever forges tokens.
func invalid(err error) error {
	return unauthenticated("the token is not valid here", "send an ID token from an issuer that this gate accepts", err)
}

// Authenticate implements [Verifier]: by Authorization's bearer token, and for
// pages by Identity-Aware Proxy's header too.
func (t *Tokens) Authenticate(r *http.Request) (attestor.Caller, error) {
	authorization, err := bearer(r, "Authorization")
	if err != nil {
		return attestor.Caller{}, err
	}

	// A bearer token wins over the proxy's header, which is for people with a browser.
	if t.iap != nil && authorization == "" && isPage(r) {
		return t.proxied(r)
	}

	if t.c.UnsafeTrustPlatform {
		if token, ok, err := platformToken(r, authorization); ok || err != nil {
			if err != nil {
				return attestor.Caller{}, err
			}
			return t.trusted(r.Context(), token)
		}
	}

	if authorization == "" {
		return attestor.Caller{}, unauthenticated(
			"the request carries no identity",
			"send an ID token as Authorization: Bearer TOKEN",
			nil,
		)
	}

	// The issuer selects the keys. The same claim is checked again once the signature
	// is verified.
	iss, err := unverifiedIssuer(authorization)
	if err != nil {
		return attestor.Caller{}, invalid(err)
	}

	// There are no keys for another issuer, so that nothing of its tokens is believed.
	i, ok := t.issuers[iss]
	if !ok {
		return attestor.Caller{}, invalid(errors.New("the issuer is not configured"))
	}

	// The order of RFC 7519, 7.2: signature first, then the claims.
	c, err := i.verify(r.Context(), authorization)
	if err != nil {
		return attestor.Caller{}, err
	}
	return t.admit(c, i.url, t.c.Audience)
}

// isPage reports whether a request only reads a page. The API is never reached by the
// proxy's header, since a browser would send it with requests that another site makes.
func isPage(r *http.Request) bool {
	// The form of a simulation changes nothing. It is believed from the gate's own page only: W3C, Fetch Metadata,
	// "Sec-Fetch-Site", is a header that no page can set.
	if r.Method == http.MethodPost {
		return r.URL.Path == "/simulate" && r.Header.Get("Sec-Fetch-Site") == "same-origin"
	}
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.URL.Path != "/v1" &&
		!strings.HasPrefix(r.URL.Path, "/v1/")
}

func (t *Tokens) proxied(r *http.Request) (attestor.Caller, error) {
	values := r.Header.Values("X-Goog-Iap-Jwt-Assertion")
	if len(values) == 0 {
		return attestor.Caller{}, unauthenticated(
			"the request carries no identity",
			"open this page through Identity-Aware Proxy, or send an ID token",
			nil,
		)
	}

	if len(values) > 1 || len(values[0]) > maxToken {
		return attestor.Caller{}, invalid(errors.New("more than one assertion, or one too long"))
	}

	// IAP, "Getting the user's identity with signed headers": verify the header, for
	// the request may not have come through the proxy.
	c, err := t.iap.verify(r.Context(), values[0])
	if err != nil {
		return attestor.Caller{}, err
	}

	if c.Issuer != IAP {
		return attestor.Caller{}, invalid(errors.New("the assertion's issuer is not Identity-Aware Proxy"))
	}

	// IAP's tokens have no email_verified: it authenticated the account itself.
	c.verified = true
	return t.admit(c, IAP, t.c.IAPAudience)
}

// bearer returns the token of a header, or "" where the header is missing. Two
// headers, or two tokens in one, are refused: which of them counts would depend on the
// reader.
func bearer(r *http.Request, header string) (string, error) {
	values := r.Header.Values(header)
	if len(values) == 0 {
		return "", nil
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if len(values) > 1 || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxToken ||
		strings.ContainsAny(token, " ,\t") {
		return "", unauthenticated(header+" is not one bearer token", "send "+header+": Bearer TOKEN", nil)
	}
	return token, nil
}

// claims are those of a token whose signature was verified, here or by the platform.
type claims struct {
	jwt.Claims
	email    string
	verified bool
	all      map[string]any
}

func readClaims(std jwt.Claims, all map[string]any) claims {
	c := claims{Claims: std, all: all}
	c.email, _ = all["email"].(string)
	c.verified, _ = all["email_verified"].(bool)
	return c
}

// verify checks the signature by the issuer's keys. The claims are not checked yet.
func (i *issuer) verify(ctx context.Context, token string) (claims, error) {
	parsed, err := jwt.ParseSigned(token, i.algorithms)
	if err != nil {
		return claims{}, invalid(err)
	}

	// RFC 7515, 7.1: the compact form has one signature. Of several, any one could be
	// the forged one.
	if len(parsed.Headers) != 1 {
		return claims{}, invalid(errors.New("not exactly one signature"))
	}

	// ParseSigned has refused every algorithm but the issuer's, and the key must fit
	// the one that is named.
	key, err := i.keys.find(ctx, parsed.Headers[0].KeyID, jose.SignatureAlgorithm(parsed.Headers[0].Algorithm))
	if err != nil {
		return claims{}, err
	}

	var std jwt.Claims
	var all map[string]any
	if err := parsed.Claims(key, &std, &all); err != nil {
		return claims{}, invalid(err)
	}
	return readClaims(std, all), nil
}

// unverifiedIssuer returns the issuer that a token claims. It may only select keys.
func unverifiedIssuer(token string) (string, error) {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil {
		return "", err
	}
	var c jwt.Claims
	if err := parsed.UnsafeClaimsWithoutVerification(&c); err != nil {
		return "", err
	}
	return canonical(c.Issuer), nil
}

// canonical gives Google's two names for itself one.
func canonical(issuer string) string {
	if issuer == googleOld {
		return Google
	}
	return issuer
}

// admit turns verified claims into a caller: the right issuer, for this audience,
// valid now, and known.
func (t *Tokens) admit(c claims, issuer, audience string) (attestor.Caller, error) {
	now := t.c.Now()
	const renew = "fetch a new token"
	switch {
	// RFC 8725, 3.8: the keys belong to this issuer, and so must the claim.
	case canonical(c.Issuer) != issuer:
		return attestor.Caller{}, invalid(errors.New("the issuer is another"))
	// RFC 7519, 4.1.3: a token whose "aud" does not name us MUST be rejected. Stricter
	// here: a token for two services could be replayed by the other one.
	case audience == "" || len(c.Audience) != 1 || c.Audience[0] != audience:
		return attestor.Caller{}, unauthenticated(
			"the token is meant for another service",
			"ask for a token whose only audience is this gate's",
			nil,
		)
	// RFC 7519, 4.1.4: "exp" is optional there, and required here: a token that leaked
	// must become worthless.
	case c.Expiry == nil:
		return attestor.Caller{}, unauthenticated("the token never expires", renew, nil)
	case now.After(c.Expiry.Time().Add(skew)):
		return attestor.Caller{}, unauthenticated("the token has expired", renew, nil)
	case c.NotBefore != nil && now.Add(skew).Before(c.NotBefore.Time()),
		c.IssuedAt != nil && now.Add(skew).Before(c.IssuedAt.Time()):
		return attestor.Caller{}, unauthenticated(
			"the token is not valid yet",
			"check the clock of the token's issuer",
			nil,
		)
	case c.Subject == "" || strings.ContainsAny(c.Subject+c.email, "\r\n"):
		return attestor.Caller{}, unauthenticated("the token has no subject", renew, nil)
	}

	// An email identifies only where the issuer is the one that vouches for it;
	// another issuer could put any address into its tokens.
	caller := attestor.Caller{Subject: c.Subject, Issuer: issuer}
	if c.email != "" && c.verified && (issuer == Google || issuer == IAP) {
		caller.Subject = c.email
	}

	matched := t.rules.Load().match(issuer, c)
	for _, r := range matched {
		caller.Grants = append(caller.Grants, r.Grants...)
	}
	caller.Team = teamOf(matched)

	// A genuine token of a caller whom no rule matches is a stranger's.
	if len(caller.Grants) > 0 {
		return caller, nil
	}

	refused := &attestor.Error{
		Kind: attestor.Forbidden,
		Msg:  "this identity is not known to the gate",
		Fix:  "ask an administrator of the gate to add it under identity.callers",
	}
	if issuer == Google && c.email == "" {
		refused.Fix = "ask for a token with an email (includeEmail), or " + refused.Fix
	} else if issuer == Google && !c.verified {
		refused.Msg = "this identity's email is not verified"
	}
	return attestor.Caller{}, refused
}
