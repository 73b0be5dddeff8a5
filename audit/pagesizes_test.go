package audit_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// TestPagesOfEverySizeAcrossProcesses: pages of any size make the whole list, each decision once, while the clock moves,
// decisions are made, and each page is answered by another process: on SQLite one after a restart, on PostgreSQL another
// instance.
func TestPagesOfEverySizeAcrossProcesses(t *testing.T) {
	const n = 205
	onBothConfigs(t, func(t *testing.T, config func(t *testing.T) audit.Config) {
		c := clockAt(day.Add(n * time.Minute))
		conf := config(t)
		conf.Now = c.now
		opened := func() *audit.Store {
			s, err := audit.Open(t.Context(), conf)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		closed := func(s *audit.Store) {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}

		// other is another instance, where there may be one.
		s, other := opened(), (*audit.Store)(nil)
		if conf.SQLite == "" {
			other = opened()
			defer func() { closed(other) }()
		}
		defer func() { closed(s) }()
		minutely(t, s, n)
		added := n

		for _, size := range []int{1, 99, 100, 101, 204, 205, 206, 1000} {
			// The period ends where the first decisions were all made: those that are added meanwhile are not in the list.
			start := c.now()
			var got []int
			pages := 0
			for token := ""; ; pages++ {
				f := audit.Filter{
					Verdict: attestor.Pass, Since: c.now().Add(-start.Sub(day)), Until: c.now().Add(-start.Sub(day.Add(n * time.Minute))),
					Period: fmt.Sprintf("of %d", size),
				}
				page, err := s.List(t.Context(), f, size, token)
				if err != nil {
					t.Fatalf("size %d, page %d: %v", size, pages+1, err)
				}
				if len(page.Decisions) > size {
					t.Errorf("size %d, page %d has %d decisions", size, pages+1, len(page.Decisions))
				}
				got = append(got, numbers(page.Decisions)...)
				if token = page.Next; token == "" {
					break
				}
				if pages > n {
					t.Fatalf("size %d: the pages do not end", size)
				}

				c.set(c.now().Add(7 * time.Second))
				if pages%40 == 0 { // pages of one decision need not all be another process's
					finish(t, s, record(added, attestor.Pass, func(r *attestor.Record) { r.Decision.Time = c.now() }))
					added++
					if other != nil {
						s, other = other, s
					} else {
						closed(s)
						s = opened()
					}
				}
			}
			if !slices.Equal(got, downFrom(n)) {
				t.Errorf("size %d: %d decisions on %d pages, want each of %d once, newest first: %v", size, len(got), pages+1, n, got)
			}
		}
	})
}
