package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
)

// A finding is one thing to know or to change: reasons of one check that have
// their code and their fix in common, whatever platform and subject they are of.
type finding struct {
	check     string
	status    attestor.Status
	code      attestor.Code
	message   string // the first reason's
	fix       string
	platforms []string
	subjects  []string
	count     int // reasons
}

// findings groups the reasons of checks that accept says yes to, in their order.
func findings(d attestor.Decision, accept func(attestor.Check) bool) []finding {
	type key struct{ check, code, fix, status string }
	index := map[key]int{}
	var out []finding
	for _, c := range d.Checks {
		if !accept(c) {
			continue
		}
		for _, r := range c.Reasons {
			k := key{c.Name, string(r.Code), r.Fix, string(c.Status)}
			i, ok := index[k]
			if !ok {
				i = len(out)
				index[k] = i
				out = append(out, finding{check: c.Name, status: c.Status, code: r.Code, message: r.Message, fix: r.Fix})
			}
			f := &out[i]
			f.count++
			f.platforms = appendNew(f.platforms, c.Platform)
			f.subjects = appendNew(f.subjects, r.Subject)
		}
	}
	return out
}

func appendNew(list []string, s string) []string {
	if s == "" || slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// some lists at most n of subjects.
func some(subjects []string, n int) string {
	if len(subjects) <= n {
		return strings.Join(subjects, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(subjects[:n], ", "), len(subjects)-n)
}

func refuses(c attestor.Check) bool {
	return c.Status != attestor.StatusPass && c.Status != attestor.StatusWarn && c.Status != attestor.StatusSkipped
}

func warns(c attestor.Check) bool { return c.Status == attestor.StatusWarn }

// outcome is the verdict, in which anything unknown is a denial.
func outcome(d attestor.Decision) attestor.Outcome {
	if d.Verdict == attestor.Pass || d.Verdict == attestor.Undecided {
		return d.Verdict
	}
	return attestor.Deny
}

// verdict is the answer in words.
func verdict(d attestor.Decision) string {
	refused := "refused"
	if d.DryRun {
		refused = "would be refused"
	}
	switch outcome(d) {
	case attestor.Pass:
		return "passed"
	case attestor.Undecided:
		return "could not be decided"
	}
	return refused
}

// overridden reports whether the image was admitted in spite of the verdict.
func overridden(d attestor.Decision) bool { return d.BreakGlass != nil && outcome(d) != attestor.Pass }

// statusWord is a check's status in a word.
func statusWord(c attestor.Check) string {
	switch c.Status {
	case attestor.StatusPass:
		return "ok"
	case attestor.StatusDeny:
		return "refused"
	case attestor.StatusWarn:
		return "warning"
	case attestor.StatusSkipped:
		return "skipped"
	}
	return "error"
}

// fact is what a check that did not refuse was content with, in a few words.
func fact(d attestor.Decision, c attestor.Check) string {
	if c.Status == attestor.StatusSkipped && len(c.Reasons) > 0 {
		return c.Reasons[0].Message
	}
	for _, p := range d.Platforms {
		if p.Platform != c.Platform {
			continue
		}
		switch c.Name {
		case attestor.CheckBase:
			return baseFact(p.Base)
		case attestor.CheckUser:
			return userFact(p.User)
		case attestor.CheckVulnerabilities:
			return scanFact(p.Scan)
		}
	}
	if c.Name == attestor.CheckAttest && c.Status == attestor.StatusPass {
		return attestedFact(d)
	}
	return ""
}

func baseFact(b attestor.BaseSummary) string {
	if b.Name == "" {
		return "no approved base found"
	}
	parts := []string{b.Name}
	if b.Evidence != "" {
		parts = append(parts, string(b.Evidence))
	}
	if b.Layers > 0 {
		parts = append(parts, plural(b.Layers, "layer"))
	}
	switch {
	case b.Current:
		parts = append(parts, "current")
	case b.Behind != "":
		parts = append(parts, b.Behind+" behind")
	}
	return strings.Join(parts, ", ")
}

func userFact(u attestor.User) string {
	if u.Configured == "" {
		return "no user set"
	}
	if u.UID != nil && u.Configured != fmt.Sprint(*u.UID) && !strings.HasPrefix(u.Configured, fmt.Sprintf("%d:", *u.UID)) {
		return fmt.Sprintf("%s (uid %d)", u.Configured, *u.UID)
	}
	return u.Configured
}

func scanFact(s attestor.ScanSummary) string {
	if s.State != attestor.ScanComplete {
		return "scan " + string(s.State)
	}
	var parts []string
	for _, level := range attestor.Severities() {
		if n := s.Counts[level]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, level))
		}
	}
	if len(parts) == 0 {
		return "no findings"
	}
	return fmt.Sprintf("%s; %d fixable", strings.Join(parts, ", "), s.Fixable)
}

func attestedFact(d attestor.Decision) string {
	made := 0
	var by []string
	for _, a := range d.Attestations {
		by = appendNew(by, a.Attestor)
		if a.Created {
			made++
		}
	}
	if made == 0 && len(d.Attestations) > 0 {
		return "attested already by " + some(by, 3)
	}
	return fmt.Sprintf("%s by %s", plural(made, "attestation"), some(by, 3))
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// imageName is what people call the image: what was asked for, or the reference.
func imageName(d attestor.Decision) string {
	if d.Image.Reference != "" {
		return d.Image.Reference
	}
	return d.Image.Requested
}

// repository is the canonical one, or the requested text up to its tag.
func repository(d attestor.Decision) string {
	if ref, err := attestor.ParseReference(d.Image.Reference); err == nil {
		return ref.Repository()
	}
	return d.Image.Requested
}
