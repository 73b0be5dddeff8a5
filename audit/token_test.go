package audit_test

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// minutely records n decisions that pass, one a minute from day on.
func minutely(t *testing.T, s *audit.Store, n int) {
	t.Helper()
	err := s.Bulk(t.Context(), func(yield func(attestor.Record) bool) {
		for i := range n {
			if !yield(record(i, attestor.Pass)) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// downFrom is n-1, n-2, … 0: the numbers of n decisions, newest first.
func downFrom(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = n - 1 - i
	}
	return out
}

// A period that is reckoned from the clock stays that of the first page, while
// the clock moves on and decisions are made: the list is what it was when its
// first page was asked for.
func TestPagesOfAPeriodThatMovesWithTheClock(t *testing.T) {
	const n = 1050
	onBoth(t, func(t *testing.T, s *audit.Store, c *clock) {
		minutely(t, s, n)
		c.set(day.Add(n * time.Minute))

		var got []int
		pages := 0
		for token := ""; ; pages++ {
			// The oldest decision is as old as the period is long, so that each move
			// of the clock would push some of the list out of it.
			f := audit.Filter{Verdict: attestor.Pass, Since: c.now().Add(-n * time.Minute), Until: c.now(), Period: "since=1050m&until=0m"}
			page, err := s.List(t.Context(), f, 100, token)
			if err != nil {
				t.Fatalf("page %d: %v", pages+1, err)
			}

			got = append(got, numbers(page.Decisions)...)
			if token = page.Next; token == "" {
				break
			}
			finish(t, s, record(n+pages, attestor.Pass))
			c.set(c.now().Add(17 * time.Minute))
		}

		if !slices.Equal(got, downFrom(n)) {
			t.Errorf("%d decisions over %d pages, want each of %d once, newest first", len(got), pages+1, n)
		}
	})
}

// Instants are kept to the microsecond, whatever the filter says: the third
// page's token is made from the second page's.
func TestPagesOfAFixedPeriodWithNanoseconds(t *testing.T) {
	const n = 30
	onBoth(t, func(t *testing.T, s *audit.Store, _ *clock) {
		minutely(t, s, n)

		f := audit.Filter{Since: day.Add(123 * time.Nanosecond), Until: day.Add(time.Hour + 456*time.Nanosecond)}
		var got []int
		for token := ""; ; {
			page, err := s.List(t.Context(), f, 7, token)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, numbers(page.Decisions)...)
			if token = page.Next; token == "" {
				break
			}
		}

		if !slices.Equal(got, downFrom(n)) {
			t.Errorf("got %v", got)
		}
	})
}

func TestTokensOfOtherListsAreRefused(t *testing.T) {
	s := openSQLite(t, migratedFile(t), clockAt(day))
	minutely(t, s, 10)
	fixed := audit.Filter{Since: day, Until: day.Add(time.Hour)}
	moving := audit.Filter{Since: day, Period: "since=1d"}
	with := func(f audit.Filter, change func(*audit.Filter)) audit.Filter {
		change(&f)
		return f
	}

	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

	for _, tt := range []struct {
		name  string
		first audit.Filter // whose token is sent, unless token is set
		then  audit.Filter
		token string
		want  string // of the message; "": the page is answered
	}{
		{name: "the same fixed period", first: fixed, then: fixed},
		{name: "the same moving period, later", first: moving, then: with(moving, func(f *audit.Filter) { f.Since = day.Add(time.Minute) })},
		{name: "another since", first: fixed, then: with(fixed, func(f *audit.Filter) { f.Since = day.Add(time.Minute) }), want: "another filter"},
		{name: "another until", first: fixed, then: with(fixed, func(f *audit.Filter) { f.Until = time.Time{} }), want: "another filter"},
		{name: "another moving period", first: moving, then: with(moving, func(f *audit.Filter) { f.Period = "since=2d" }), want: "another filter"},
		{name: "fixed, then moving", first: fixed, then: moving, want: "another filter"},
		{name: "moving, then fixed", first: moving, then: fixed, want: "another filter"},
		{name: "another image", first: moving, then: with(moving, func(f *audit.Filter) { f.Image = string(digest(3)) }), want: "another filter"},
		{name: "another repository", first: moving, then: with(moving,
			func(f *audit.Filter) { f.Repository = "us-docker.pkg.dev/acme/prod/api" }), want: "another filter"},
		{name: "another verdict", first: moving, then: with(moving, func(f *audit.Filter) { f.Verdict = attestor.Pass }), want: "another filter"},
		{name: "another policy", first: moving, then: with(moving, func(f *audit.Filter) { f.Policy = "production" }), want: "another filter"},
		{name: "overridden ones only", first: moving, then: with(moving, func(f *audit.Filter) { f.BreakGlass = true }), want: "another filter"},
		{name: "no base64", token: "%%%", want: "not a token of this service"},
		{name: "no JSON", token: encode("a page"), want: "not a token of this service"},
		{name: "no place", token: encode(`{"v":3}`), want: "not a token of this service"},
		{name: "of the version before", token: encode(`{"t":1763726400000000,"i":"0199-000004","f":"0123456789abcdef"}`), want: "another version"},
		{name: "of a version to come", token: encode(`{"v":4,"t":1763726400000000,"i":"0199-000004","f":"0123456789abcdef"}`), want: "another version"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			token := tt.token
			if token == "" {
				first, err := s.List(t.Context(), tt.first, 2, "")
				if err != nil || first.Next == "" {
					t.Fatalf("the first page: token %q, %v", first.Next, err)
				}
				token = first.Next
			}

			page, err := s.List(t.Context(), tt.then, 2, token)
			if tt.want == "" {
				if got := numbers(page.Decisions); err != nil || !slices.Equal(got, []int{7, 6}) {
					t.Errorf("the second page: %v, %v; want [7 6]", got, err)
				}
				return
			}

			if attestor.KindOf(err) != attestor.Invalid || !strings.Contains(attestor.Message(err), tt.want) {
				t.Errorf("error %v, want one of kind Invalid that says %q", err, tt.want)
			}
		})
	}
}
