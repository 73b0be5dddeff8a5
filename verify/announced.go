package verify

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/referrers"
)

// An announcement is the digest that a registry gives with a manifest. Where
// that was asked for by tag, it is all that distinguishes bytes that were damaged on
// their way from others that somebody pushed.
type announcement struct {
	mu     sync.Mutex
	digest string // guarded by mu
}

type announcementKey struct{}

// announced returns a context through which the guard notes the digest that the registry announces.
func announced(ctx context.Context) (context.Context, *announcement) {
	a := &announcement{}
	return context.WithValue(ctx, announcementKey{}, a), a
}

// note is called for every answer; the last manifest's counts.
func note(req *http.Request, resp *http.Response) {
	a, ok := req.Context().Value(announcementKey{}).(*announcement)
	if !ok || resp.StatusCode != http.StatusOK || !referrers.Asks(req, "manifests") {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.digest = resp.Header.Get("Docker-Content-Digest")
}

// check compares. A registry that announces nothing, or by another algorithm,
// is not held to it.
func (a *announcement) check(what string, got attestor.Digest) error {
	a.mu.Lock()
	defer a.mu.Unlock()

	said, err := attestor.ParseDigest(a.digest)
	if err != nil || said == got {
		return nil
	}
	return fault(
		attestor.CodeContentMismatch,
		fmt.Sprintf("the registry says that %s is %s, and answered with bytes of %s", what, said, got),
		"try again; if it happens again, check the registry",
		nil,
	)
}
