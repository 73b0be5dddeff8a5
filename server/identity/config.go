package identity

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4"

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

// Config says which tokens are accepted, and whose.
type Config struct {
	Audience    string   // required: what tokens must be meant for
	Issuers     []Issuer // none: Google
	Rules       []Rule
	NoRules     bool   // Rules may be empty: others follow by SetTeams
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
	// IAP's assertions count in their own header and for pages only; Google's tokens have one name here.
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
