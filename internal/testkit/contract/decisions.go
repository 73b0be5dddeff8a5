package contract

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/filter"
)

// A DecisionQuery is what server.DecisionFilter says.
type DecisionQuery struct {
	filter.Filter
	PageSize  int
	PageToken string
}

// A DecisionRecord is what server.Decisions offers, with the means to add to it.
type DecisionRecord struct {
	List     func(ctx context.Context, q DecisionQuery) (page []attestor.Decision, next string, err error)
	Decision func(ctx context.Context, id string) (attestor.Record, error)
	Add      func(t *testing.T, records ...attestor.Record)
}

// Decisions is the suite of server.Decisions. open returns an empty record.
func Decisions(t *testing.T, open func(t *testing.T) DecisionRecord) {
	t.Run("filters", func(t *testing.T) { decisionFilters(t, open(t)) })
	t.Run("pages", func(t *testing.T) { decisionPages(t, open(t)) })
	t.Run("tokens", func(t *testing.T) { decisionTokens(t, open(t)) })
	t.Run("one", func(t *testing.T) { oneDecision(t, open(t)) })
}

func everybody(string) bool { return true }

// list reads one page, by whoever may see everything.
func (r DecisionRecord) list(t *testing.T, q DecisionQuery) ([]int, string) {
	t.Helper()
	if q.Visible == nil {
		q.Visible = everybody
	}
	page, next, err := r.List(t.Context(), q)
	if err != nil {
		t.Fatalf("List(%+v): %v", q, err)
	}

	if q.PageSize > 0 && len(page) > q.PageSize {
		t.Errorf("a page of %d has %d decisions", q.PageSize, len(page))
	}
	return numbersOf(page), next
}

// numbersOf is which of recordOf's decisions these are.
func numbersOf(decisions []attestor.Decision) []int {
	out := []int{}
	for _, d := range decisions {
		n := -1
		_, _ = fmt.Sscanf(d.ID, "contract-%06d", &n)
		out = append(out, n)
	}
	return out
}

// downFrom is n-1, n-2, … 0.
func downFrom(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = n - 1 - i
	}
	return out
}

func decisionFilters(t *testing.T, r DecisionRecord) {
	if got, next := r.list(t, DecisionQuery{PageSize: 50}); len(got) != 0 || next != "" {
		t.Errorf("an empty record lists %v, next page %q", got, next)
	}

	verdicts := []attestor.Outcome{attestor.Pass, attestor.Deny, attestor.Undecided}
	for n := range 9 {
		r.Add(t, recordOf(t, n, func(r *attestor.Record) {
			r.Decision.Verdict = verdicts[n%3]
			switch n {
			case 4: // of an index, whose child is what runs
				r.Evidence.Index, r.Evidence.Platforms[0].Digest = true, digestOf(400)
			case 5:
				other := imageOf(t, "registry.example/other/web", 5)
				r.Decision.Image.Requested, r.Decision.Image.Reference = "registry.example/other/web:v1", other.String()
				r.Evidence.Image = other
				r.Decision.Policy = &attestor.PolicyRef{Name: "staging", Digest: digestOf(7), Mode: attestor.DryRun}
			case 6:
				r.Decision.BreakGlass = &attestor.BreakGlass{Reason: "INC-1 outage", By: "oncall@example"}
			}
		}))
	}

	for _, tt := range []struct {
		name string
		q    DecisionQuery
		want []int
	}{
		{"all, newest first", DecisionQuery{}, downFrom(9)},
		{"verdict", DecisionQuery{Filter: filter.Filter{Verdict: attestor.Deny}}, []int{7, 4, 1}},
		{"image by digest", DecisionQuery{Filter: filter.Filter{Image: imageOf(t, Repository, 3).String()}}, []int{3}},
		{"bare digest", DecisionQuery{Filter: filter.Filter{Image: string(digestOf(3))}}, []int{3}},
		{"bare digest of an index's child", DecisionQuery{Filter: filter.Filter{Image: string(digestOf(400))}},
			[]int{4}},
		{"an index's child", DecisionQuery{Filter: filter.Filter{Image: imageOf(t, Repository, 400).String()}},
			[]int{4}},
		{"the same digest in another repository",
			DecisionQuery{Filter: filter.Filter{Image: imageOf(t, "registry.example/other/web", 3).String()}}, []int{}},
		{"image as it was asked about", DecisionQuery{Filter: filter.Filter{Image: "registry.example/other/web:v1"}},
			[]int{5}},
		{"repository", DecisionQuery{Filter: filter.Filter{Repository: "registry.example/other/web"}}, []int{5}},
		{"a repository is no prefix", DecisionQuery{Filter: filter.Filter{Repository: "registry.example/team"}},
			[]int{}},
		{"pattern", DecisionQuery{Filter: filter.Filter{Repository: "registry.example/o*/**"}}, []int{5}},
		{"policy by name", DecisionQuery{Filter: filter.Filter{Policy: "staging"}}, []int{5}},
		{"policy by digest", DecisionQuery{Filter: filter.Filter{Policy: string(digestOf(7))}}, []int{5}},
		{"another policy", DecisionQuery{Filter: filter.Filter{Policy: "' OR 1=1 --"}}, []int{}},
		{"since, inclusive", DecisionQuery{Filter: filter.Filter{Since: epoch.Add(7 * time.Minute)}}, []int{8, 7}},
		{"until, exclusive", DecisionQuery{Filter: filter.Filter{Until: epoch.Add(2 * time.Minute)}}, []int{1, 0}},
		{"overridden", DecisionQuery{Filter: filter.Filter{BreakGlass: true}}, []int{6}},
		{"several at once", DecisionQuery{Filter: filter.Filter{Verdict: attestor.Pass, Since: epoch.Add(time.Minute),
			Repository: Repository}}, []int{6, 3}},
		{"what may not be seen",
			DecisionQuery{Filter: filter.Filter{Visible: func(r string) bool { return r != Repository }}}, []int{5}},
		{"nothing may be seen", DecisionQuery{Filter: filter.Filter{Visible: func(string) bool { return false }}},
			[]int{}},
	} {
		tt.q.PageSize = 50
		if got, next := r.list(t, tt.q); !slices.Equal(got, tt.want) || next != "" {
			t.Errorf("%s: %v, next page %q; want %v and no next page", tt.name, got, next, tt.want)
		}
	}
}

// decisionPages reads a list of more than two of the largest pages, while
// decisions are made and the clock moves.
func decisionPages(t *testing.T, r DecisionRecord) {
	const n = 1060
	records := make([]attestor.Record, n)
	for i := range records {
		records[i] = recordOf(t, i, func(r *attestor.Record) {
			if i >= 100 && i < 700 { // at one moment, so that only the id tells them apart
				r.Decision.Time = epoch.Add(100 * time.Minute)
			}
		})
	}

	r.Add(t, records...)

	added := n
	for _, size := range []int{500, 150} {
		var got []int
		clock := epoch.Add(n * time.Minute)
		for token := ""; ; {
			// The first decision is as old as the period is long: each move of the
			// clock would push some of the list out of it.
			q := DecisionQuery{Filter: filter.Filter{Since: clock.Add(-n * time.Minute), Until: clock,
				Period: "since=1060m&until=0m"}, PageSize: size, PageToken: token}
			page, next := r.list(t, q)
			got = append(got, page...)
			if token = next; token == "" {
				break
			}

			if len(got) > n {
				t.Fatalf("pages of %d do not end", size)
			}
			r.Add(t, recordOf(t, added))
			added++
			clock = clock.Add(41 * time.Minute)
		}

		if !slices.Equal(got, downFrom(n)) {
			t.Errorf("pages of %d: %d decisions, want each of %d once, newest first", size, len(got), n)
		}
	}
}

// decisionTokens holds a token to the list that it was given out for.
func decisionTokens(t *testing.T, r DecisionRecord) {
	for n := range 10 {
		r.Add(t, recordOf(t, n))
	}
	first := DecisionQuery{Filter: filter.Filter{Verdict: attestor.Pass, Since: epoch, Period: "since=1d",
		Visible: everybody}, PageSize: 2}
	page, token := r.list(t, first)
	if !slices.Equal(page, []int{9, 8}) || token == "" {
		t.Fatalf("the first page is %v, next page %q", page, token)
	}

	next := first
	next.PageToken, next.Since = token, epoch.Add(time.Minute)
	if got, _ := r.list(t, next); !slices.Equal(got, []int{7, 6}) {
		t.Errorf("the second page is %v, want [7 6]", got)
	}

	for name, change := range map[string]func(q *DecisionQuery){
		"another image":         func(q *DecisionQuery) { q.Image = string(digestOf(3)) },
		"another repository":    func(q *DecisionQuery) { q.Repository = Repository },
		"another verdict":       func(q *DecisionQuery) { q.Verdict = "" },
		"another policy":        func(q *DecisionQuery) { q.Policy = "production" },
		"another period":        func(q *DecisionQuery) { q.Period = "since=2d" },
		"a fixed period":        func(q *DecisionQuery) { q.Period = "" },
		"overridden ones only":  func(q *DecisionQuery) { q.BreakGlass = true },
		"a token of nobody":     func(q *DecisionQuery) { q.PageToken = "0" },
		"a token that is noise": func(q *DecisionQuery) { q.PageToken = "%%%" },
	} {
		q := next
		change(&q)
		_, _, err := r.List(t.Context(), q)
		wantKind(t, name, err, attestor.Invalid)
	}
}

func oneDecision(t *testing.T, r DecisionRecord) {
	want := recordOf(t, 1)
	r.Add(t, want)

	got, err := r.Decision(t.Context(), want.Decision.ID)
	if err != nil {
		t.Fatal(err)
	}
	sameDecision(t, "Decision", want.Decision, got.Decision)
	if string(got.PolicyText) != string(want.PolicyText) ||
		len(got.Evidence.Platforms) != len(want.Evidence.Platforms) {
		t.Errorf("the record has policy text %q and evidence of %d platforms", got.PolicyText,
			len(got.Evidence.Platforms))
	}

	for _, id := range []string{"contract-999999", "", "' OR 1=1 --"} {
		_, err := r.Decision(t.Context(), id)
		wantKind(t, fmt.Sprintf("Decision(%q)", id), err, attestor.NotFound)
	}

	// Nobody may take an ended context for an empty record.
	if page, _, err := r.List(gone(t), DecisionQuery{Filter: filter.Filter{Visible: everybody},
		PageSize: 10}); err == nil && len(page) == 0 {
		t.Error("List with an ended context says that nothing is recorded")
	}
	if _, err := r.Decision(gone(t), want.Decision.ID); attestor.KindOf(err) == attestor.NotFound && err != nil {
		t.Errorf("Decision with an ended context says that there is none: %v", err)
	}
}
