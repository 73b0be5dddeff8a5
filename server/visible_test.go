package server_test

import (
	"context"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/contract"
	"github.com/attestor-gate/attestor/server"
)

// asked knows one attested image, and counts how often it was asked.
type asked struct {
	attested attestor.Image
	times    int
}

func (a *asked) Attested(ctx context.Context, img attestor.Image) (bool, error) {
	a.times++
	return img == a.attested, ctx.Err()
}

// TestPostureAsksAboutWhatTheCallerMay: a definition can name any image, and an
// answer would tell whether it is admitted.
func TestPostureAsksAboutWhatTheCallerMay(t *testing.T) {
	ref, err := attestor.ParseReference("us-docker.pkg.dev/acme/other/api@sha256:" + strings.Repeat("a", 64))
	if err != nil {
		t.Fatal(err)
	}

	img, _ := ref.Pinned()
	other, err := attestor.ParseImage(img.Repository() + "@sha256:" + strings.Repeat("b", 64))
	if err != nil {
		t.Fatal(err)
	}

	contract.Attested(t, &asked{attested: img}, img, other)

	inner := &asked{attested: img}
	ok, err := server.VisibleAttested(inner.Attested).Attested(t.Context(), img)
	if ok || attestor.KindOf(err) != attestor.Forbidden || inner.times != 0 {
		t.Errorf("nobody in particular: %v, %v, asked %d times", ok, err, inner.times)
	}
}
