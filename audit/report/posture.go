package report

import (
	"cmp"
	_ "embed"
	"slices"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit/internal/look"
	"github.com/attestor-gate/attestor/internal/plain"
)

//go:embed posture.html
var postureHTML string

// A Posture is how the services and jobs that run the images are set up, as
// package posture judged them. It is told beside the images and counts for none of them.
type Posture struct {
	Profile  string           `json:"profile"`
	Services int              `json:"services"`
	Verdict  attestor.Outcome `json:"verdict"`
	Findings []PostureFinding `json:"findings"` // without what passed, or is not asked for
}

// A PostureFinding is one rule that a service or job does not keep, or that could not
// be put to it: its status is then error or skipped.
type PostureFinding struct {
	Service string          `json:"service"`
	Kind    string          `json:"kind"` // service or job
	Rule    string          `json:"rule"`
	Status  attestor.Status `json:"status"`
	Found   string          `json:"found"`
	Fix     string          `json:"fix,omitempty"`
}

// A PostureRule is a rule and how many services and jobs it is about.
type PostureRule struct {
	Rule    string
	Refused int // deny, and anything that is not known to be harmless
	Warned  int
	Skipped int // evidence was missing
	Fix     string
}

// Rules counts services and jobs by rule, most refusals first.
func (p Posture) Rules() []PostureRule {
	var out []PostureRule
	for _, f := range p.Findings {
		i := slices.IndexFunc(out, func(r PostureRule) bool { return r.Rule == f.Rule })
		if i < 0 {
			out = append(out, PostureRule{Rule: f.Rule, Fix: f.Fix})
			i = len(out) - 1
		}
		switch f.Status {
		case attestor.StatusWarn:
			out[i].Warned++
		case attestor.StatusSkipped:
			out[i].Skipped++
		case attestor.StatusPass:
		default:
			if out[i].Refused++; out[i].Refused == 1 {
				out[i].Fix = f.Fix // rather than what would give evidence of another
			}
		}
	}
	slices.SortStableFunc(out, func(a, b PostureRule) int {
		return cmp.Or(-cmp.Compare(a.Refused, b.Refused), -cmp.Compare(a.Warned, b.Warned), -cmp.Compare(a.Skipped, b.Skipped))
	})
	return out
}

// Refused counts services and jobs with a finding that refuses.
func (p Posture) Refused() int {
	seen := map[[2]string]bool{}
	for _, f := range p.Findings {
		if f.Status.Refuses() {
			seen[[2]string{f.Kind, f.Service}] = true
		}
	}
	return len(seen)
}

// Headline is the posture in a sentence.
func (p Posture) Headline() string {
	all := look.Number(p.Services) + " services and jobs"
	if p.Services == 1 {
		all = "1 service or job"
	}
	switch n := p.Refused(); {
	case n > 0:
		return look.Number(n) + " of " + all + " refused by profile " + p.Profile
	case p.Verdict == attestor.Undecided: // nothing could be read
		return all + " could not be judged by profile " + p.Profile
	case p.Verdict != attestor.Pass:
		return all + " judged by profile " + p.Profile + ", nothing passed"
	}
	return all + " judged by profile " + p.Profile + ", none refused"
}

func (p *Posture) text(t *terminal) {
	if p == nil {
		return
	}
	t.line()
	t.line(t.paint("SERVICES AND JOBS", bold), "  ", plain.Text(p.Headline()))
	t.list("RULES", []string{"REFUSED", "WARNED", "NOT JUDGED", "RULE"}, rows(p.Rules(), func(r PostureRule) []string {
		return []string{look.Number(r.Refused), look.Number(r.Warned), look.Number(r.Skipped), r.Rule}
	}))
}

func (p *Posture) markdown(w func(string, ...any)) {
	if p == nil {
		return
	}
	w("\n### Services and jobs\n\n%s.\n", plain.Markdown(p.Headline()))
	markdownList(w, "Hardening rules", []string{"Rule", "Refused", "Warned", "Not judged", "Fix"}, rows(p.Rules(), func(r PostureRule) []string {
		return []string{plain.Code(r.Rule), look.Number(r.Refused), look.Number(r.Warned), look.Number(r.Skipped), plain.Markdown(r.Fix)}
	}))
}
