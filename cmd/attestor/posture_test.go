package main

import (
	"context"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
)

type always struct{ asked int }

func (a *always) Attested(context.Context, attestor.Image) (bool, error) { a.asked++; return true, nil }

// TestPostureAsksAboutWhatTheCallerMay: a definition can name any image, and an
// answer would tell whether it is admitted.
func TestPostureAsksAboutWhatTheCallerMay(t *testing.T) {
	ref, err := attestor.ParseReference("us-docker.pkg.dev/acme/other/api@sha256:" + strings.Repeat("a", 64))
	if err != nil {
		t.Fatal(err)
	}
	img, _ := ref.Pinned()
	inner := &always{}
	ok, err := attestedForCaller{inner}.Attested(t.Context(), img)
	if ok || attestor.KindOf(err) != attestor.Forbidden || inner.asked != 0 {
		t.Errorf("nobody in particular: %v, %v, asked %d times", ok, err, inner.asked)
	}
}
