package audit_test

import (
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// What is counted is what is listed, whatever the decisions' size: all of it, or that there is more.
func TestCountUpTo(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, _ *clock) {
		const n = 30
		for i := range n {
			finish(t, s, record(i, []attestor.Outcome{attestor.Pass, attestor.Deny, attestor.Undecided}[i%3], func(r *attestor.Record) {
				if i < 20 { // together larger than a page
					r.Decision.Labels = map[string]string{"l": strings.Repeat("x", 300<<10)}
				}
			}))
		}
		if err := s.Begin(t.Context(), record(99, attestor.Pass)); err != nil {
			t.Fatal(err)
		}

		const repo = "us-docker.pkg.dev/acme/prod/api"
		for name, tt := range map[string]struct {
			f     audit.Filter
			most  int
			want  int
			exact bool
		}{
			"all":                  {audit.Filter{}, 1000, n, true},
			"as many":              {audit.Filter{}, n, n, true},
			"one more":             {audit.Filter{}, n - 1, n - 1, false},
			"some":                 {audit.Filter{Verdict: attestor.Deny}, 1000, n / 3, true},
			"none":                 {audit.Filter{Policy: "staging"}, 1000, 0, true},
			"none may be seen":     {audit.Filter{Visible: func(r string) bool { return r != repo }}, 1000, 0, true},
			"of several indexes":   {audit.Filter{Search: "production"}, 1000, n, true},
			"those with a finding": {audit.Filter{CVE: "CVE-2026-1234", Verdict: attestor.Pass}, 1000, n / 3, true},
		} {
			if got, exact, err := s.CountUpTo(t.Context(), tt.f, tt.most); got != tt.want || exact != tt.exact || err != nil {
				t.Errorf("%s: %d, %v, %v, want %d, %v", name, got, exact, err, tt.want, tt.exact)
			}
		}
	})
}

// Of two indexes that a page could reach the end of, the one with few keys is walked: a search asks several questions
// that have no answer, each beside a filter that thousands meet.
func TestFewKeysAreWalked(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, _ *clock) {
		minutely(t, s, 150)
		if err := s.IndexAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		f := audit.Filter{Repository: "us-docker.pkg.dev/acme/**", Caller: "nobody@acme.example"}
		if from, err := s.NarrowestForTest(t.Context(), f); err != nil || from != "decision_terms" {
			t.Errorf("%s is walked, %v, want decision_terms", from, err)
		}
		f.Caller = "build@acme.iam.gserviceaccount.com"
		page, err := s.List(t.Context(), f, 200, "")
		if err != nil || len(page.Decisions) != 150 || page.Next != "" {
			t.Errorf("%d decisions, %v, want 150", len(page.Decisions), err)
		}
	})
}
