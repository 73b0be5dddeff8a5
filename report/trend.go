package report

import (
	"encoding/json"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/attestor-gate/attestor"
)

// maxDays is where a trend goes from days to weeks.
const maxDays = 92

// trend puts days in order, or weeks of a long period. Days without decisions are
// among them.
func trend(days map[int64]*TrendPoint) []TrendPoint {
	if len(days) == 0 {
		return nil
	}

	keys := slices.Sorted(maps.Keys(days))
	first, last := days[keys[0]].Day, days[keys[len(keys)-1]].Day
	step := day
	if last.Sub(first) > maxDays*day {
		step = 7 * day
	}

	out := make([]TrendPoint, 0, int(last.Sub(first)/step)+1)
	for at := first; !at.After(last); at = at.Add(step) {
		out = append(out, TrendPoint{Day: at, Findings: map[attestor.Severity]int{}})
	}
	for _, key := range keys {
		from := days[key]
		into := &out[int(from.Day.Sub(first)/step)]
		into.Passed, into.Refused, into.Undecided =
			into.Passed+from.Passed, into.Refused+from.Refused, into.Undecided+from.Undecided
		for level, n := range from.Findings {
			into.Findings[level] += n
		}
	}
	return out
}

func (p *TrendPoint) count(verdict attestor.Outcome, n int) {
	switch verdict {
	case attestor.Pass:
		p.Passed += n
	case attestor.Undecided:
		p.Undecided += n
	default:
		p.Refused += n
	}
}

// A Change is what is different from an earlier report. Repositories are
// compared by their newest image, since each build has a digest of its own.
type Change struct {
	Since           time.Time       `json:"since"` // when the earlier report was made
	PassedBefore    int             `json:"passedBefore"`
	RefusedBefore   int             `json:"refusedBefore"`
	UndecidedBefore int             `json:"undecidedBefore"`
	ImagesBefore    int             `json:"imagesBefore"`
	NewlyRefused    []ChangedRow    `json:"newlyRefused"`
	NewlyPassing    []ChangedRow    `json:"newlyPassing"`
	New             int             `json:"new"`      // repositories that the earlier report does not have
	Gone            int             `json:"gone"`     // repositories that only the earlier report has
	NewCodes        []attestor.Code `json:"newCodes"` // reasons that the earlier report does not have
	GoneCodes       []attestor.Code `json:"goneCodes"`
}

// A ChangedRow is a repository whose newest image turned out otherwise.
type ChangedRow struct {
	Repository string   `json:"repository"`
	ID         string   `json:"id"`
	Codes      []string `json:"codes"`
}

func change(before, now Summary) *Change {
	c := &Change{
		Since: before.Made, PassedBefore: before.Passed, RefusedBefore: before.Refused,
		UndecidedBefore: before.Undecided, ImagesBefore: before.Images,
	}
	// A digest that is new has no "before". Repositories are compared instead, and a
	// repository that only one report has is counted apart: it did not improve.
	was, is := newest(before.Rows), newest(now.Rows)
	for repo, r := range is {
		old, ok := was[repo]
		switch {
		case !ok:
			c.New++
		case old.Verdict != attestor.Deny && r.Verdict == attestor.Deny:
			c.NewlyRefused = append(c.NewlyRefused, ChangedRow{repo, r.ID, r.Codes})
		case old.Verdict != attestor.Pass && r.Verdict == attestor.Pass:
			c.NewlyPassing = append(c.NewlyPassing, ChangedRow{repo, r.ID, old.Codes})
		}
	}

	for repo := range was {
		if _, ok := is[repo]; !ok {
			c.Gone++
		}
	}

	byName := func(a, b ChangedRow) int {
		if a.Repository < b.Repository {
			return -1
		}
		return 1
	}
	slices.SortFunc(c.NewlyRefused, byName)
	slices.SortFunc(c.NewlyPassing, byName)
	c.NewCodes, c.GoneCodes = missing(now.Reasons, before.Reasons), missing(before.Reasons, now.Reasons)

	return c
}

// newest is the newest image of each repository.
func newest(rows []Row) map[string]Row {
	out := map[string]Row{}
	for _, r := range rows {
		if old, ok := out[r.Repository]; !ok || r.Time.After(old.Time) {
			out[r.Repository] = r
		}
	}

	return out
}

// missing are the codes of a that b has not.
func missing(a, b []ReasonCount) []attestor.Code {
	var out []attestor.Code
	for _, r := range a {
		if !slices.ContainsFunc(b, func(o ReasonCount) bool { return o.Code == r.Code }) {
			out = append(out, r.Code)
		}
	}

	return out
}

// maxSummary bounds a report that is read: ten thousand images are 4 MB.
const maxSummary = 256 << 20

// ReadSummary reads an earlier report's JSON, for [SummaryOptions.Previous].
func ReadSummary(r io.Reader) (Summary, error) {
	var s Summary

	// An empty object would decode, and everything would look new since then. A
	// report has the time at which it was made.
	if err := json.NewDecoder(io.LimitReader(r, maxSummary)).Decode(&s); err != nil || s.Made.IsZero() {
		return Summary{}, &attestor.Error{Kind: attestor.Invalid, Msg: "the input is not a report in JSON",
			Fix: "pass the output of attestor report -o json", Err: err}
	}

	return s, nil
}
