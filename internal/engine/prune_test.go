package engine_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/engine"
)

// A prune whose time is over says that something is left, and the next one goes on. A caller who left gets an error: nobody
// would know what was deleted. What is younger than the retention stays.
func TestPruneInParts(t *testing.T) {
	t.Parallel()
	before := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	recordsOfBoth(t, func(t *testing.T, open func(t *testing.T) *audit.Store) {
		s := open(t)
		img, err := attestor.ParseImage("registry.example/team/app@sha256:" + strings.Repeat("a", 64))
		if err != nil {
			t.Fatal(err)
		}
		for i, at := range []time.Time{before.Add(-48 * time.Hour), before.Add(-time.Second), before, before.Add(time.Hour)} {
			r := attestor.Record{
				Decision: attestor.Decision{
					ID: fmt.Sprintf("prune-%d", i), Time: at, Verdict: attestor.Deny, Policy: &attestor.PolicyRef{Name: "sample"},
					Image: attestor.DecidedImage{Requested: img.String(), Reference: img.String(), Digest: img.Digest()},
				},
				Evidence: attestor.Evidence{Time: at, Image: img},
			}
			if _, err := s.Finish(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}

		out, err := engine.Prune(t.Context(), s, before, time.Nanosecond)
		if err != nil || out.Complete || out.Decisions != 0 || !out.Before.Equal(before) {
			t.Errorf("without time: %+v, %v", out, err)
		}
		left, cancel := context.WithCancel(t.Context())
		cancel()
		if out, err := engine.Prune(left, s, before, time.Hour); err == nil {
			t.Errorf("for a caller who left: %+v", out)
		}
		if out, err = engine.Prune(t.Context(), s, before, time.Hour); err != nil || !out.Complete || out.Decisions != 2 {
			t.Errorf("%+v, %v", out, err)
		}

		page, err := s.List(t.Context(), audit.Filter{}, 10, "")
		if err != nil || len(page.Decisions) != 2 || page.Decisions[1].ID != "prune-2" {
			t.Errorf("%d decisions are left, %v", len(page.Decisions), err)
		}
		if out, err = engine.Prune(t.Context(), s, before, time.Hour); err != nil || !out.Complete || out.Decisions != 0 {
			t.Errorf("once more: %+v, %v", out, err)
		}
	})
}
