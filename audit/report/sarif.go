package report

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/url"
	"strings"

	gosarif "github.com/owenrumney/go-sarif/v3/pkg/report"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit/internal/words"
	"github.com/attestor-gate/attestor/internal/plain"
)

const toolURI = "https://github.com/attestor-gate/attestor"

// writeSARIF writes a result for each reason, at the level of its severity, and a suppressed one for each exception in
// use: what was excused stays in sight.
func writeSARIF(w io.Writer, ds []attestor.Decision, o Options) error {
	run := sarif.NewRunWithInformationURI("attestor", toolURI)
	if o.Version != "" {
		run.Tool.Driver.WithVersion(plain.Text(o.Version))
	}
	known := map[attestor.Code]attestor.CodeInfo{}
	for _, info := range attestor.Codes() {
		known[info.Code] = info
	}
	complete := true
	for _, d := range ds {
		complete = complete && words.Outcome(d) != attestor.Undecided
		sarifDecision(run, known, d)
	}
	// What could not be decided is no clean bill of health.
	run.AddInvocation(sarif.NewInvocation().WithExecutionSuccessful(complete))
	doc := gosarif.NewV210Report()
	doc.AddRun(run)
	for _, other := range o.Runs {
		doc.AddRun(other)
	}
	return writeValue(w, doc, "  ")
}

func sarifDecision(run *sarif.Run, known map[attestor.Code]attestor.CodeInfo, d attestor.Decision) {
	for _, f := range words.Findings(d, attestor.Refuses, attestor.Warns, attestor.Informs) {
		rule(run, known, f.Code)
		result := run.CreateResultForRule(plain.Text(string(f.Code)))
		switch f.Severity {
		case attestor.Warns:
			result.Level = sarif.LevelWarning
		case attestor.Informs:
			result.Level = sarif.LevelNote
		default:
			result.Level = sarif.LevelError
		}

		message := f.Message
		if f.Count > 1 {
			message += " (and " + words.Plural(f.Count-1, "more reason") + " like it: " + words.Some(f.Subjects, 20) + ")"
		}
		if f.Fix != "" {
			message += ". Fix: " + f.Fix
		}
		locate(result, d, f.Check, strings.Join(f.Platforms, " "), string(f.Code)+f.Fix).WithMessage(sarif.NewTextMessage(plain.SARIF(message)))
	}
	for _, c := range d.Checks {
		for _, e := range c.Exceptions {
			if e.Expired {
				continue
			}
			result := run.CreateResultForRule(excepted)
			if run.GetRuleIndex(excepted) < 0 {
				run.AddRule(excepted).WithDescription("a finding that an exception of the policy excuses")
			}
			result.Level = sarif.LevelNote
			result.AddSuppression(sarif.NewSuppression().WithKind("external").WithStatus("accepted").
				WithJustification(plain.Text("owner " + e.Owner + ", until " + e.Expires + ": " + e.Reason)))
			locate(result, d, c.Name, c.Platform, e.ID+e.Subject).WithMessage(sarif.NewTextMessage(plain.SARIF(e.ID + " is excepted: " + e.Subject)))
		}
	}
}

// excepted is the rule id of excused findings; it is no reason's code.
const excepted = "EXCEPTED"

func rule(run *sarif.Run, known map[attestor.Code]attestor.CodeInfo, c attestor.Code) {
	id := plain.Text(string(c))
	if run.GetRuleIndex(id) >= 0 {
		return
	}
	means := known[c].Means
	if means == "" {
		means = "a reason that this version does not document"
	}
	run.AddRule(id).WithDescription(means)
}

// locate says which image a result is about. The fingerprint outlives the
// digest, so that the same finding in the next build is the same alert.
func locate(r *sarif.Result, d attestor.Decision, check, platforms, what string) *sarif.Result {
	name := plain.Text(words.Name(d))
	uri := (&url.URL{Path: name}).EscapedPath()
	r.AddLocation(sarif.NewLocationWithPhysicalLocation(sarif.NewPhysicalLocation().
		WithArtifactLocation(sarif.NewSimpleArtifactLocation(uri)).
		WithRegion(sarif.NewRegion().WithStartLine(1))).
		AddLogicalLocation(sarif.NewLogicalLocation().WithFullyQualifiedName(name).WithName(strings.TrimSpace(plain.Text(check + " " + platforms)))))
	sum := sha256.Sum256([]byte(words.Repository(d) + "\x00" + check + "\x00" + platforms + "\x00" + what))
	r.WithPartialFingerprints(map[string]string{"attestor/v1": hex.EncodeToString(sum[:16])})
	return r
}
