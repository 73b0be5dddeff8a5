package posture

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"

	gosarif "github.com/owenrumney/go-sarif/v3/pkg/report"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/junit"
	"github.com/attestor-gate/attestor/internal/plain"
)

// A Format is a way to write a [Report].
type Format string

// The formats.
const (
	Text     Format = "text"
	JSON     Format = "json"
	SARIF    Format = "sarif"
	JUnit    Format = "junit"
	Markdown Format = "markdown"
)

// Formats lists them.
func Formats() []Format { return []Format{Text, JSON, SARIF, JUnit, Markdown} }

// Options are about how, not what.
type Options struct {
	Colour  bool   // of text
	Version string // of attestor, for SARIF
}

// Write writes a report. An unknown format is an error.
func Write(w io.Writer, f Format, r Report, o Options) error {
	if r.Verdict != attestor.Pass && r.Verdict != attestor.Undecided {
		r.Verdict = attestor.Deny
	}
	switch f {
	case Text:
		return writeText(w, r, o)
	case JSON:
		if r.Findings == nil {
			r.Findings = []Finding{}
		}
		return writeValue(w, r)
	case SARIF:
		return writeSARIF(w, r, o)
	case JUnit:
		return junit.Write(w, JUnitSuites(r))
	case Markdown:
		return writeMarkdown(w, r)
	}
	return fmt.Errorf("unknown format %q", f)
}

func writeValue(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// excused is by whose leave a finding, or a part of it, counts as mended.
func (f Finding) excused() string {
	var all []string
	for _, e := range f.Exceptions {
		if !e.Expired {
			all = append(all, fmt.Sprintf("%s, by %s until %s: %s", e.Subject, e.Owner, e.Expires, e.Reason))
		}
	}
	return strings.Join(all, "; ")
}

// groups joins findings that follow each other about one service.
func groups(findings []Finding) [][]Finding {
	var out [][]Finding
	for i, f := range findings {
		if i > 0 && f.Service == findings[i-1].Service && f.Kind == findings[i-1].Kind && f.File == findings[i-1].File && f.Line == findings[i-1].Line {
			out[len(out)-1] = append(out[len(out)-1], f)
		} else {
			out = append(out, []Finding{f})
		}
	}
	return out
}

// SARIFRun is a report as a run of its own, for a log that has others too.
func SARIFRun(r Report, version string) *sarif.Run {
	run := sarif.NewRunWithInformationURI("attestor posture", "https://github.com/attestor-gate/attestor")
	if version != "" {
		run.Tool.Driver.WithVersion(plain.Text(version))
	}
	means := map[string]string{}
	for _, rule := range rules() {
		means[rule.id] = rule.means
	}
	for _, c := range attestor.Codes() {
		means[string(c.Code)] = c.Means
	}
	for _, f := range r.Findings {
		excused := f.excused()
		if !f.Status.Refuses() && f.Status != attestor.StatusWarn && !f.told && excused == "" {
			continue
		}
		if run.GetRuleIndex(f.Rule) < 0 {
			run.AddRule(f.Rule).WithDescription(means[f.Rule])
		}
		message := f.Message()
		if f.Fix != "" {
			message += ". Fix: " + f.Fix
		}
		result := run.CreateResultForRule(f.Rule).WithMessage(sarif.NewTextMessage(plain.SARIF(f.Service + ": " + message)))
		switch {
		case f.Status.Refuses():
			result.Level = sarif.LevelError
		case f.Status == attestor.StatusWarn:
			result.Level = sarif.LevelWarning
		default:
			result.Level = sarif.LevelNote
		}
		if excused != "" && f.Status == attestor.StatusPass { // what was excused stays in sight
			result.AddSuppression(sarif.NewSuppression().WithKind("external").WithStatus("accepted").WithJustification(plain.Text(excused)))
		}
		result.AddLocation(sarif.NewLocationWithPhysicalLocation(sarif.NewPhysicalLocation().
			WithArtifactLocation(sarif.NewSimpleArtifactLocation((&url.URL{Path: plain.Text(f.File)}).EscapedPath())).
			WithRegion(sarif.NewRegion().WithStartLine(max(f.Line, 1)))).
			AddLogicalLocation(sarif.NewLogicalLocation().WithFullyQualifiedName(plain.Text(f.Service))))
		sum := sha256.Sum256([]byte(f.Rule + "\x00" + f.Kind + "\x00" + f.Service))
		result.WithPartialFingerprints(map[string]string{"attestor/v1": hex.EncodeToString(sum[:16])})
	}
	return run.AddInvocation(sarif.NewInvocation().WithExecutionSuccessful(r.Verdict != attestor.Undecided))
}

func writeSARIF(w io.Writer, r Report, o Options) error {
	doc := gosarif.NewV210Report()
	doc.AddRun(SARIFRun(r, o.Version))
	return writeValue(w, doc)
}

// JUnitSuites are a suite for each service and job, with a case for each rule.
func JUnitSuites(r Report) []junit.Suite {
	var suites []junit.Suite
	refused := false
	for _, g := range groups(r.Findings) {
		s := junit.Suite{Name: plain.Text(g[0].Service)}
		for _, f := range g {
			k := junit.Case{Name: f.Rule, Class: s.Name}
			detail := &junit.Detail{Message: plain.Text(f.Message()), Text: plain.Text(f.Fix)}
			switch {
			case f.Status == attestor.StatusDeny:
				k.Failure, refused = detail, true
			case f.Status.Refuses():
				k.Error, refused = detail, true
			case f.Status == attestor.StatusSkipped:
				k.Skipped = &junit.Detail{Message: detail.Message}
			default:
				k.Output = strings.TrimSpace(detail.Message + " " + plain.Text(f.excused()))
			}
			s.Cases = append(s.Cases, k)
		}
		suites = append(suites, s)
	}
	// A report that refuses without a finding that does must not look green.
	if r.Verdict != attestor.Pass && !refused {
		k := junit.Case{Name: "verdict", Class: "posture"}
		if r.Verdict == attestor.Undecided {
			k.Error = &junit.Detail{Message: "could not be decided"}
		} else {
			k.Failure = &junit.Detail{Message: "nothing passed"}
		}
		suites = append(suites, junit.Suite{Name: "posture", Cases: []junit.Case{k}})
	}
	return suites
}

func writeMarkdown(w io.Writer, r Report) error {
	b := bufio.NewWriter(w)
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(b, format, args...) } // bufio keeps the error
	p("## Posture: %s\n\nProfile %s, %s.\n", verdict(r), plain.Code(r.Profile), plural(r.Services))
	for _, g := range groups(r.Findings) {
		p("\n### %s %s\n\n", plain.Markdown(g[0].Kind), plain.Code(g[0].Service))
		rows := 0
		for _, f := range g {
			if f.Status == attestor.StatusPass && f.excused() == "" || f.Status == attestor.StatusSkipped && !f.told {
				continue
			}
			if rows++; rows == 1 {
				p("| Rule | Result | Found | Fix |\n| --- | --- | --- | --- |\n")
			}
			fix := ""
			if f.Fix != "" {
				fix = plain.Code(f.Fix) // to be copied as it is
			}
			if excused := f.excused(); excused != "" {
				fix = strings.TrimSpace(fix + " Excepted: " + plain.Markdown(excused))
			}
			p("| %s | %s | %s | %s |\n", plain.Code(f.Rule), mark(f), plain.Markdown(f.Message()), fix)
		}
		p("%s", map[bool]string{true: "\n"}[rows > 0])
		p("%s\n", tally(g))
	}
	return b.Flush()
}

func mark(f Finding) string {
	switch f.Status {
	case attestor.StatusPass:
		return "✅ pass"
	case attestor.StatusWarn:
		return "⚠️ warn"
	case attestor.StatusSkipped:
		return "⏭️ skipped"
	case attestor.StatusDeny:
		return "❌ deny"
	}
	return "⚠️ error"
}

func verdict(r Report) string {
	switch r.Verdict {
	case attestor.Pass:
		return "passed"
	case attestor.Undecided:
		return "could not be decided"
	}
	return "refused"
}

func plural(n int) string {
	if n == 1 {
		return "1 service or job"
	}
	return fmt.Sprintf("%d services and jobs", n)
}

// tally counts what became of a service's rules.
func tally(g []Finding) string {
	counts := map[attestor.Status]int{}
	for _, f := range g {
		switch {
		case f.Status == attestor.StatusDeny || !f.Status.Refuses():
			counts[f.Status]++
		default:
			counts[attestor.StatusError]++
		}
	}
	var out []string
	for _, c := range []struct {
		s    attestor.Status
		word string
	}{{attestor.StatusPass, "passed"}, {attestor.StatusDeny, "refused"}, {attestor.StatusError, "undecided"}, {attestor.StatusWarn, "warned"}, {attestor.StatusSkipped, "skipped"}} {
		if counts[c.s] > 0 {
			out = append(out, fmt.Sprintf("%d %s", counts[c.s], c.word))
		}
	}
	return strings.Join(out, ", ")
}
