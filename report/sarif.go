package report

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/url"
	"strings"

	gosarif "github.com/owenrumney/go-sarif/v3/pkg/report"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/plain"
)

const toolURI = "https://github.com/attestor-gate/attestor"

// writeSARIF writes a run for each part, a result for each finding, and a
// suppressed one for each exception in use: what was excused stays in sight.
func writeSARIF(w io.Writer, d Document, o Options) error {
	doc := gosarif.NewV210Report()
	for _, p := range d.Parts {
		doc.AddRun(sarifPart(p, o))
	}

	return writeValue(w, doc, "  ")
}

func sarifPart(p Part, o Options) *sarif.Run {
	run := sarifRun{Run: sarif.NewRunWithInformationURI(p.Tool, toolURI), means: maps.Clone(p.Means)}
	if run.means == nil {
		run.means = map[string]string{}
	}
	if o.Version != "" {
		run.Tool.Driver.WithVersion(plain.Text(o.Version))
	}

	for _, s := range p.Subjects {
		for _, f := range s.findings(attestor.Refuses, attestor.Warns, attestor.Informs) {
			run.finding(s, f)
		}
		for _, i := range s.Items {
			run.exceptions(s, i)
		}
	}

	// executionSuccessful "indicates whether the tool's execution completed
	// successfully": without a finding and with undecided subjects it did not.
	run.AddInvocation(sarif.NewInvocation().WithExecutionSuccessful(!p.Incomplete))

	return run.Run
}

type sarifRun struct {
	*sarif.Run
	means map[string]string
}

func (run sarifRun) finding(s Subject, f finding) {
	id := plain.Text(f.rule())
	run.rule(id, f.rule(), s.Kind != "", f.Severity)

	message := f.Message
	if f.Count > 1 {
		more := describe.Plural(f.Count-1, "more reason")
		message += " (and " + more + " like it: " + describe.Some(f.Subjects, 20) + ")"
	}
	if f.Fix != "" {
		message += ". Fix: " + f.Fix
	}

	// An override does not excuse a finding: the alert stays, and says why the image runs.
	if s.Excused != "" && f.Severity == attestor.Refuses {
		message += " (" + s.Excused + ")"
	}

	// An image is its own location. A service is located in its file, so that the
	// message has to name it.
	if s.Kind != "" {
		message = s.Name + ": " + message
	}

	result := run.CreateResultForRule(id).WithMessage(sarif.NewTextMessage(plain.SARIF(message)))
	result.Level = sarifLevel(f.Severity)

	// Only a finding that exceptions excuse as a whole is suppressed: a suppressed
	// alert is hidden, and what is left of a finding must not be.
	if f.excused != "" && f.Status == attestor.StatusPass {
		suppress(result, f.excused)
	}

	locate(result, s, f)
}

// rule adds a rule where it is first broken, and raises its severity where it is broken worse. GitHub shows the help of
// a rule beside its alerts, and orders them by "security-severity", a number from 0 to 10 as text.
func (run sarifRun) rule(id, code string, ofPosture bool, severity attestor.ReasonSeverity) {
	means := run.means[code]
	if means == "" {
		means = "a reason that this version does not document"
	}

	// A rule keeps the most severe level of its results: code scanning orders alerts by their rule.
	var r *sarif.ReportingDescriptor
	if i := run.GetRuleIndex(id); i >= 0 {
		r = run.Tool.Driver.Rules[i]
		if sarifSecurity(severity) <= fmt.Sprint(r.Properties.Properties["security-severity"]) {
			return
		}
	} else {
		r = run.AddRule(id).WithDescription(means)
	}

	page := "reasons.md"
	if ofPosture {
		page = "posture.md"
	}
	address := toolURI + "/blob/main/docs/" + page

	properties := sarif.NewPropertyBag().WithTags([]string{"security"})
	properties.Add("security-severity", sarifSecurity(severity))
	properties.Add("precision", "high")

	text := sarif.NewMultiformatMessageString()
	r.WithFullDescription(text.WithText(means))
	r.WithHelp(sarif.NewMultiformatMessageString().WithText(means + ". See " + address).
		WithMarkdown(plain.Markdown(means) + ". See [" + page + "](" + address + ")."))
	r.WithHelpURI(address)
	r.WithDefaultConfiguration(sarif.NewReportingConfiguration().WithLevel(sarifLevel(severity)))
	r.WithProperties(properties)
}

// sarifSecurity is GitHub's scale: over 7.0 is high, over 4.0 medium, over 0.1 low.
func sarifSecurity(s attestor.ReasonSeverity) string {
	switch s {
	case attestor.Warns:
		return "5.0"
	case attestor.Informs:
		return "2.0"
	}

	return "8.0"
}

// exceptionRule is the rule id of excused findings; it is no reason's code.
const exceptionRule = "EXCEPTED"

// exceptions are those in use of a check with codes. An item without codes is
// excused as a whole, and is a suppressed result itself.
func (run sarifRun) exceptions(s Subject, i Item) {
	if i.named() {
		return
	}

	for _, e := range i.Exceptions {
		if e.Expired {
			continue
		}

		result := run.CreateResultForRule(exceptionRule)

		run.means[exceptionRule] = "a finding that an exception of the policy excuses"
		run.rule(exceptionRule, exceptionRule, s.Kind != "", attestor.Informs)

		result.Level = sarifLevel(attestor.Informs)
		suppress(result, "owner "+e.Owner+", until "+e.Expires+": "+e.Reason)
		result.WithMessage(sarif.NewTextMessage(plain.SARIF(e.ID + " is excepted: " + e.Subject)))
		locate(result, s, finding{Finding: describe.Finding{
			Check: i.Name, Code: attestor.Code(e.ID), Fix: e.Subject, Platforms: []string{i.Platform},
		}})
	}
}

func suppress(r *sarif.Result, justification string) {
	accepted := sarif.NewSuppression().WithKind("external").WithStatus("accepted")
	r.AddSuppression(accepted.WithJustification(plain.Text(justification)))
}

func sarifLevel(s attestor.ReasonSeverity) string {
	// An unknown severity is an error, the level that fails a pull request.
	switch s {
	case attestor.Warns:
		return sarif.LevelWarning
	case attestor.Informs:
		return sarif.LevelNote
	}

	return sarif.LevelError
}

// sarifURI is a path as a relative reference. GitHub refuses a whole file for one location that is empty, as of resources
// that several files define, or whose scheme is not that of the checkout: RFC 3986, 4.2, has "./" before a first segment
// with a colon, which localhost:5000/app has.
func sarifURI(path, name string) string {
	return (&url.URL{Path: cmp.Or(path, name, "unknown")}).String()
}

// locate says what a result is about. The fingerprint outlives a build's
// digest, so that the same finding in the next build is the same alert.
func locate(r *sarif.Result, s Subject, f finding) {
	name, uri, platforms := plain.Text(s.Name), plain.Text(s.Name), strings.Join(f.Platforms, " ")
	logical := sarif.NewLogicalLocation().WithFullyQualifiedName(name)
	identity := []string{s.Identity, f.Check, platforms, string(f.Code) + f.Fix}
	if s.Kind != "" {
		uri = plain.Text(s.File)
		identity = []string{f.Check, s.Kind, s.Name}
	} else {
		logical.WithName(strings.TrimSpace(plain.Text(f.Check + " " + platforms)))
	}

	r.AddLocation(sarif.NewLocationWithPhysicalLocation(sarif.NewPhysicalLocation().
		WithArtifactLocation(sarif.NewSimpleArtifactLocation(sarifURI(uri, name))).
		WithRegion(sarif.NewRegion().WithStartLine(max(s.Line, 1)))).
		AddLogicalLocation(logical))
	sum := sha256.Sum256([]byte(strings.Join(identity, "\x00")))
	sameAs := hex.EncodeToString(sum[:16])

	// GitHub knows alerts again by "primaryLocationLineHash" alone.
	r.WithPartialFingerprints(map[string]string{"attestor/v1": sameAs, "primaryLocationLineHash": sameAs + ":1"})
}
