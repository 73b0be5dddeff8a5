package report

import (
	_ "embed"
	"maps"
	"strconv"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/page"
)

//go:embed posture.html
var postureHTML string

// A Posture is a section of a summary: how the services and jobs that run the
// images are set up. It counts for none of the images.
type Posture struct {
	attestor.PostureReport
	Controls []PostureControl `json:"controls"`
}

// Section is a report by control, without the findings that need no action: rules that
// passed, and rules that do not apply. means explains the rules.
func Section(r attestor.PostureReport, means map[string]string) *Posture {
	// Missing evidence stays: a reader must not take a rule that was not judged for
	// one that passed. So does a status that this version does not know.
	findings := []attestor.PostureFinding{}
	for _, f := range r.Findings {
		if f.Status != attestor.StatusPass && (f.Status != attestor.StatusSkipped || f.Missing()) {
			findings = append(findings, f)
		}
	}

	r.Findings = findings

	return &Posture{PostureReport: r, Controls: controls(findings, means)}
}

// Services is a document of one posture; means explains its rules.
func Services(r attestor.PostureReport, means map[string]string) Document {
	p := services(r, means)
	r.Verdict = p.Verdict

	if r.Findings == nil {
		r.Findings = []attestor.PostureFinding{}
	}

	return Document{Kind: OfPosture, Parts: []Part{p}, Value: r}
}

// services is the part of a document that is about services and jobs.
func services(r attestor.PostureReport, means map[string]string) Part {
	p := Part{
		Tool: "attestor posture", Layout: ByFinding, Name: "posture", Title: "Posture", Profile: r.Profile,
		Verdict: describe.Outcome(attestor.Decision{Verdict: r.Verdict}), Count: counted(r.Services),
		Means: map[string]string{},
	}
	p.Incomplete = p.Verdict == attestor.Undecided

	for _, c := range attestor.Codes() {
		p.Means[string(c.Code)] = c.Means
	}

	maps.Copy(p.Means, means)

	for _, f := range r.Findings {
		// Findings on one service follow each other.
		last := len(p.Subjects) - 1
		if last < 0 || !about(p.Subjects[last], f) {
			p.Subjects = append(p.Subjects, Subject{Name: f.Service, Kind: f.Kind, File: f.File, Line: f.Line})
			last++
		}

		p.Subjects[last].Items = append(p.Subjects[last].Items, service(f))
	}

	return p
}

func about(s Subject, f attestor.PostureFinding) bool {
	return s.Name == f.Service && s.Kind == f.Kind && s.File == f.File && s.Line == f.Line
}

// service is one rule put to one service. The rule's name says what a code would.
func service(f attestor.PostureFinding) Item {
	// [attestor.Status.Refuses] holds for errors and unknown statuses too.
	severity := attestor.Informs
	switch {
	case f.Status.Refuses():
		severity = attestor.Refuses
	case f.Status == attestor.StatusWarn:
		severity = attestor.Warns
	}

	return Item{Missing: f.Missing(), Check: attestor.Check{
		Name: f.Rule, Status: f.Status, Exceptions: f.Exceptions,
		Reasons: []attestor.Reason{{Severity: severity, Message: f.Message, Fix: f.Fix}},
	}}
}

func counted(n int) string {
	if n == 1 {
		return "1 service or job"
	}
	return strconv.Itoa(n) + " services and jobs"
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
	all := page.Number(p.Services) + " services and jobs"
	if p.Services == 1 {
		all = "1 service or job"
	}

	// "None refused" needs a pass as its verdict. No refusals are also what a report
	// without any findings has.
	switch n := p.Refused(); {
	case n > 0:
		return page.Number(n) + " of " + all + " refused by profile " + p.Profile
	case p.Verdict == attestor.Undecided:
		return all + " could not be judged by profile " + p.Profile
	case p.Verdict != attestor.Pass:
		return all + " judged by profile " + p.Profile + ", nothing passed"
	}

	return all + " judged by profile " + p.Profile + ", none refused"
}
