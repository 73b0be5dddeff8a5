package attestor_test

import (
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
)

func TestPatternOverlaps(t *testing.T) {
	for _, tt := range []struct {
		p, q string
		want bool
	}{
		{"h/a", "h/a", true},
		{"h/a", "h/b", false},
		{"h/team", "h/team-evil", false},
		{"h/*", "h/a", true},
		{"h/*", "h/a/b", false},
		{"h/**", "h/a/b", true},
		{"h/**", "h2/**", false},
		{"h/*-api", "h/prod-*", true},
		{"h/*-api", "h/*-web", false},
		{"h/a*", "h/*b", true},
		{"h/a*c", "h/b*c", false},
		{"h/**/api", "h/acme/**", true},
		{"h/**/api", "h/**/web", false},
		{"h/*/x", "h/y/*", true},
		{"**", "h/a", true},
		{"h/**", "h/**/**", true},
	} {
		p, q := pattern(t, tt.p), pattern(t, tt.q)
		if got := p.Overlaps(q); got != tt.want {
			t.Errorf("%s overlaps %s: %t, want %t", p, q, got, tt.want)
		}
		if got := q.Overlaps(p); got != tt.want {
			t.Errorf("%s overlaps %s: %t, want %t", q, p, got, tt.want)
		}
	}
	if (attestor.Pattern{}).Overlaps(pattern(t, "**")) {
		t.Error("the zero pattern overlaps everything")
	}
}

func pattern(t testing.TB, s string) attestor.Pattern {
	t.Helper()
	p, err := attestor.ParsePattern(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What both match, they overlap in.
func FuzzPatternOverlaps(f *testing.F) {
	f.Add("h/*/x", "h/y/*", "h/y/x")
	f.Add("h/**/api", "h/acme/**", "h/acme/a/api")
	f.Add("h/a*b*c", "h/*bb*", "h/abbc")
	f.Fuzz(func(t *testing.T, a, b, repository string) {
		p, errP := attestor.ParsePattern(a)
		q, errQ := attestor.ParsePattern(b)
		if errP != nil || errQ != nil || repository == "" || strings.Contains(repository, "*") {
			return
		}
		if p.Match(repository) && q.Match(repository) && !p.Overlaps(q) {
			t.Fatalf("%q and %q both match %q, and do not overlap", a, b, repository)
		}
		if p.Overlaps(q) != q.Overlaps(p) {
			t.Fatalf("%q and %q: not symmetrical", a, b)
		}
		if !p.Overlaps(p) {
			t.Fatalf("%q does not overlap itself", a)
		}
	})
}
