package engine

import (
	"context"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	ggcrgoogle "github.com/google/go-containerregistry/pkg/v1/google"
)

// keychain finds the credentials for a registry: Google's, of whoever runs this, for Google's own registry hosts;
// Docker's for the host that they are stored for. Any other host is asked anonymously.
func keychain() authn.Keychain {
	return authn.NewMultiKeychain(googleHosts{ggcrgoogle.Keychain}, authn.DefaultKeychain)
}

// googleHosts gives Google's credentials to Google's registry hosts alone. The keychain beneath it would give them to
// every name under google.com, too.
type googleHosts struct{ credentials authn.Keychain }

// Resolve implements [authn.Keychain].
func (g googleHosts) Resolve(target authn.Resource) (authn.Authenticator, error) {
	return g.ResolveContext(context.Background(), target)
}

// ResolveContext implements [authn.ContextKeychain].
func (g googleHosts) ResolveContext(ctx context.Context, target authn.Resource) (authn.Authenticator, error) {
	if !isGoogleRegistry(target.RegistryStr()) {
		return authn.Anonymous, nil
	}
	return authn.Resolve(ctx, g.credentials, target)
}

// isGoogleRegistry reports whether a host is gcr.io, or a name under gcr.io or pkg.dev, compared by label and without a
// port: another port is another server.
func isGoogleRegistry(host string) bool {
	// Host names are compared without regard to case.
	host = strings.ToLower(host)
	for _, domain := range []string{".gcr.io", ".pkg.dev"} {
		if label, under := strings.CutSuffix(host, domain); under && label != "" && !strings.HasPrefix(label, ".") {
			return true
		}
	}
	return host == "gcr.io"
}
