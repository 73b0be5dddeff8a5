package report

import (
	"cmp"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/page"
)

// A PostureControl is a control of docs/controls.md and what was found about it.
// The rule that judges a control names it.
type PostureControl struct {
	Rule  string `json:"rule"`
	Means string `json:"means,omitempty"` // what a service that keeps the control has
	PostureCount
	Fix    string         `json:"fix,omitempty"`
	Owners []PostureOwner `json:"owners"` // those with most refusals first
}

// A PostureCount counts services and jobs.
type PostureCount struct {
	Refused int `json:"refused"` // deny, and anything that is not known to be harmless
	Warned  int `json:"warned"`
	Skipped int `json:"notJudged"` // evidence was missing
}

// A PostureOwner is what one owner has to do about a control.
type PostureOwner struct {
	Name string `json:"name"` // "" where none is known
	PostureCount
}

// Services are all that were found.
func (c PostureCount) Services() int { return c.Refused + c.Warned + c.Skipped }

// add counts one finding. A status that this version does not know counts as a refusal.
func (c *PostureCount) add(s attestor.Status) {
	switch s {
	case attestor.StatusWarn:
		c.Warned++
	case attestor.StatusSkipped:
		c.Skipped++
	default:
		c.Refused++
	}
}

// before orders what refuses most first.
func (c PostureCount) before(other PostureCount) int {
	return cmp.Or(other.Refused-c.Refused, other.Warned-c.Warned, other.Skipped-c.Skipped)
}

// controls groups findings by control and in it by owner. Controls with as many findings keep the order of the rules.
func controls(findings []attestor.PostureFinding, means map[string]string) []PostureControl {
	out, at := []PostureControl{}, map[string]int{}
	owners := map[[2]string]*PostureOwner{}

	for _, f := range findings {
		i, known := at[f.Rule]
		if !known {
			i = len(out)
			at[f.Rule] = i
			out = append(out, PostureControl{Rule: f.Rule, Means: means[f.Rule], Fix: f.Fix})
		}

		// The fix of a refusal stands in place of how to supply evidence about another service.
		refused := out[i].Refused
		if out[i].add(f.Status); refused == 0 && out[i].Refused == 1 {
			out[i].Fix = f.Fix
		}

		o := owners[[2]string{f.Rule, f.Owner}]
		if o == nil {
			o = &PostureOwner{Name: f.Owner}
			owners[[2]string{f.Rule, f.Owner}] = o
		}
		o.add(f.Status)
	}

	for key, o := range owners {
		c := &out[at[key[0]]]
		c.Owners = append(c.Owners, *o)
	}

	// The owners come out of a map: sorted, they are the same in each report.
	for i := range out {
		slices.SortFunc(out[i].Owners, func(a, b PostureOwner) int {
			return cmp.Or(a.before(b.PostureCount), strings.Compare(a.Name, b.Name))
		})
	}
	slices.SortStableFunc(out, func(a, b PostureControl) int { return a.before(b.PostureCount) })

	return out
}

// shownOwners is how many owners a control names; the format JSON has all.
const shownOwners = 6

// Shown are the owners that a control names.
func (c PostureControl) Shown() []PostureOwner { return c.Owners[:min(len(c.Owners), shownOwners)] }

// More is how many owners it does not name.
func (c PostureControl) More() int { return len(c.Owners) - len(c.Shown()) }

// ownersText are the owners in a line, each with how many services and jobs are theirs.
func (c PostureControl) ownersText() string {
	var out []string
	for _, o := range c.Shown() {
		out = append(out, cmp.Or(o.Name, "no owner")+" ("+page.Number(o.Services())+")")
	}
	if n := c.More(); n > 0 {
		out = append(out, page.Plural(n, "more owner"))
	}

	return strings.Join(out, ", ")
}

// shownFindings bounds the findings that a page lists; the format JSON has all.
const shownFindings = 1000

// A ControlFindings is a control with its findings, in the order of owners.
type ControlFindings struct {
	PostureControl
	Findings []attestor.PostureFinding
}

// ByControl lists findings control by control, and in each owner by owner, at most shownFindings of all.
func (p Posture) ByControl() []ControlFindings {
	of := map[string][]attestor.PostureFinding{}
	for _, f := range p.Findings {
		of[f.Rule] = append(of[f.Rule], f)
	}

	var out []ControlFindings

	// The bound is of all controls together, so that one with many findings cannot make the page grow.
	left := shownFindings
	for _, c := range p.Controls {
		// Owners in the order of the control's own list.
		rank := map[string]int{}
		for i, o := range c.Owners {
			rank[o.Name] = i
		}
		all := of[c.Rule]
		slices.SortStableFunc(all, func(a, b attestor.PostureFinding) int { return rank[a.Owner] - rank[b.Owner] })

		shown := all[:min(len(all), left)]
		if left -= len(shown); len(shown) > 0 {
			out = append(out, ControlFindings{c, shown})
		}
	}

	return out
}

// MoreFindings is how many findings a page does not list.
func (p Posture) MoreFindings() int { return max(len(p.Findings)-shownFindings, 0) }
