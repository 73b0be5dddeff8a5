package identity

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/loopback"
)

// The issuers of which this package knows more than the name.
const (
	Google    = "https://accounts.google.com"
	googleOld = "accounts.google.com" // Google's tokens carry either
	googleJWK = "https://www.googleapis.com/oauth2/v3/certs"
	IAP       = "https://cloud.google.com/iap"
	iapJWK    = "https://www.gstatic.com/iap/verify/public_key-jwk"
)

// An Issuer is one whose tokens are accepted.
type Issuer struct {
	URL  string // exact, as in the claim iss
	JWKS string // where its keys are; "" to discover it, which Google's need not
}

// A Rule gives grants to the callers that it matches. Email and Subject are exact;
// every one of Claims must be equal; all that is given must match.
type Rule struct {
	Issuer  string // "": Google
	Email   string // counts only where the token says that it is verified
	Subject string
	Claims  map[string]string
	Grants  []attestor.Grant
}

// Config says which tokens are accepted, and whose.
type Config struct {
	Audience    string   // required: what tokens must be meant for
	Issuers     []Issuer // none: Google
	Rules       []Rule
	IAPAudience string // accept Identity-Aware Proxy's signed header, for reading pages only
	IAPJWKS     string // "": Google's own

	// UnsafeTrustPlatform accepts Google's tokens whose signature Cloud Run has
	// verified and removed. Anyone who can reach the service past Cloud Run can
	// then claim any identity.
	UnsafeTrustPlatform bool

	Client *http.Client // for keys; nil: one that follows no redirects
	Now    func() time.Time
	Logger *slog.Logger // nil: nothing is logged
}

func (c Config) issuer(i Issuer) (*issuer, error) {
	if i.URL == IAP || i.URL == googleOld {
		return nil, fmt.Errorf(
			"identity: issuer %s cannot be configured; use %s for Google, and iapAudience for Identity-Aware Proxy",
			i.URL,
			Google,
		)
	}

	if err := secureURL(i.URL); err != nil {
		return nil, err
	}
	if i.JWKS != "" {
		if err := secureURL(i.JWKS); err != nil {
			return nil, err
		}
	}

	// RFC 8725, 3.1: the verifier names the algorithms, never the token. "none" and
	// HMAC are not among them.
	algorithms := []jose.SignatureAlgorithm{jose.RS256, jose.ES256}
	if i.URL == Google {
		algorithms = []jose.SignatureAlgorithm{jose.RS256}
		if i.JWKS == "" {
			i.JWKS = googleJWK
		}
	}
	return &issuer{url: i.URL, algorithms: algorithms, keys: newKeys(c, i.URL, i.JWKS)}, nil
}

// checkRules refuses rules that would match nobody, or anybody.
func (t *Tokens) checkRules() []error {
	var errs []error
	for n := range t.c.Rules {
		r := &t.c.Rules[n]
		if r.Issuer == "" {
			r.Issuer = Google
		}
		bad := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("identity: caller %d: "+format, append([]any{n + 1}, args...)...))
		}

		_, known := t.issuers[r.Issuer]
		switch {
		case r.Issuer == IAP && t.iap == nil:
			bad("%s needs iapAudience", IAP)
		case r.Issuer != IAP && !known:
			bad("%s is not among the issuers", r.Issuer)
		}

		if r.Email == "" && r.Subject == "" && len(r.Claims) == 0 {
			bad("matches everybody: give email, subject or claims")
		}
		for name, value := range r.Claims {
			if name == "" || value == "" {
				bad("has a claim without name or value")
			}
		}

		if len(r.Grants) == 0 {
			bad("has no grants")
		}
		for _, g := range r.Grants {
			if len(g.Actions) == 0 || len(g.Images) == 0 {
				bad("has a grant without actions or images")
			}
			for _, a := range g.Actions {
				if !slices.Contains(attestor.Actions(), a) {
					bad("%q is not an action", a)
				} else if r.Issuer == IAP && a != attestor.ActionRead && a != attestor.ActionSimulate {
					bad("an identity of Identity-Aware Proxy can be granted %s and %s only, not %s",
						attestor.ActionRead, attestor.ActionSimulate, a)
				}
			}
		}
	}
	return errs
}

// secureURL requires TLS for any host but this machine: keys that come over plain HTTP
// are whatever the network says.
func secureURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" ||
		(u.Scheme != "https" && (u.Scheme != "http" || !loopback.Authority(u.Host))) {
		return fmt.Errorf("identity: %q is not an https URL", s)
	}
	return nil
}

// matches reports whether the claims have all that the rule gives. A rule that gives
// nothing matches nobody.
func (r Rule) matches(c claims) bool {
	if r.Email == "" && r.Subject == "" && len(r.Claims) == 0 {
		return false
	}

	// An email that the issuer did not verify is the caller's own claim.
	if r.Email != "" && (!c.verified || c.email != r.Email) {
		return false
	}

	if r.Subject != "" && c.Subject != r.Subject {
		return false
	}
	for name, want := range r.Claims {
		if got, ok := c.all[name].(string); !ok || got != want || want == "" {
			return false
		}
	}
	return true
}
