// Package describe decides how parts of a decision are put into words, so that
// the terminal, a page and an explanation say the same. Making the words
// harmless is left to whoever prints them; [Plain] does it for a terminal.
package describe

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
)

// A Finding is one thing to know or to change: reasons of one check that have their code, their severity and their fix
// in common, whatever platform and subject they are of.
type Finding struct {
	Check     string
	Status    attestor.Status         // of the check
	Severity  attestor.ReasonSeverity // of the reasons
	Code      attestor.Code
	Message   string // the first reason's
	Fix       string
	Platforms []string
	Subjects  []string
	Count     int // reasons
}

// Findings groups the reasons of the given severities, in the order of the checks. What informs about a skipped check
// is left out: it says why there is nothing to report.
func Findings(d attestor.Decision, severities ...attestor.ReasonSeverity) []Finding {
	type key struct{ check, code, severity, fix, status string }
	index := map[key]int{}
	var out []Finding

	for _, c := range d.Checks {
		for _, r := range c.WithSeverities().Reasons {
			if explains(c, r) || !slices.Contains(severities, r.Severity) {
				continue
			}

			// Only reasons with the same fix are one: a person does one thing for all of them.
			k := key{c.Name, string(r.Code), string(r.Severity), r.Fix, string(c.Status)}
			i, ok := index[k]
			if !ok {
				i = len(out)
				index[k] = i
				out = append(out, Finding{Check: c.Name, Status: c.Status, Severity: r.Severity, Code: r.Code,
					Message: r.Message,
					Fix:     r.Fix})
			}

			f := &out[i]
			f.Count++
			f.Platforms = AppendNew(f.Platforms, c.Platform)
			f.Subjects = AppendNew(f.Subjects, r.Subject)
		}
	}

	return out
}

// explains reports whether a reason is all that its check has to say, as Fact gives it: why the check was skipped, or
// that no secret is reported.
func explains(c attestor.Check, r attestor.Reason) bool {
	only := r.Code == attestor.CodeSecretsNotReported && c.Status == attestor.StatusPass && len(c.Reasons) == 1
	return r.Severity == attestor.Informs && (c.Status == attestor.StatusSkipped || only)
}

// AppendNew appends s unless it is "" or in the list already.
func AppendNew(list []string, s string) []string {
	if s == "" || slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// Some lists at most n of subjects.
func Some(subjects []string, n int) string {
	if len(subjects) <= n {
		return strings.Join(subjects, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(subjects[:n], ", "), len(subjects)-n)
}

// Refuses reports whether a check stands in the way of a pass.
func Refuses(c attestor.Check) bool { return c.Status.Refuses() }

// Outcome is the verdict, in which anything unknown is a denial.
func Outcome(d attestor.Decision) attestor.Outcome {
	if d.Verdict == attestor.Pass || d.Verdict == attestor.Undecided {
		return d.Verdict
	}
	return attestor.Deny
}

// Verdict is the answer in words.
func Verdict(d attestor.Decision) string {
	// What the record says of it is not what the gate decided.
	if d.Log != nil && d.Log.Changed != "" {
		return "changed since it was recorded"
	}

	refused := "refused"
	if d.DryRun {
		refused = "would be refused"
	}

	switch Outcome(d) {
	case attestor.Pass:
		return "passed"
	case attestor.Undecided:
		return "could not be decided"
	}

	return refused
}

// Overridden reports whether the image was admitted in spite of the verdict.
func Overridden(d attestor.Decision) bool { return d.BreakGlass != nil && Outcome(d) != attestor.Pass }

const dayAndTime = "2 January 2006 at 15:04:05 MST"

// Revocation says in a sentence that attestations were deleted: when, by whom or
// what, and why.
func Revocation(r attestor.RevocationRecord) string {
	when := r.Time.UTC().Format(dayAndTime)
	switch r.Kind {
	case attestor.RevokedAtEnd:
		return fmt.Sprintf("Its attestations were revoked on %s, since its override had reached its end: %s.", when,
			r.Reason)
	case attestor.RevokedByJudgment:
		return fmt.Sprintf("Its attestations were revoked on %s, since it was judged again and refused in decision "+
			"%s (%s): %s.",
			when, r.Judgment, r.Cause, r.Reason)
	}
	return fmt.Sprintf("Its attestations were revoked on %s by %s: “%s”.", when, r.Caller.Subject, r.Reason)
}

// RevokedBy says in a few words who or what revoked attestations, when, why, and which record has more.
func RevokedBy(r attestor.RevocationRecord) string {
	by := "by " + r.Caller.Subject
	switch r.Kind {
	case attestor.RevokedAtEnd:
		by = "at its override's end"
	case attestor.RevokedByJudgment:
		by = fmt.Sprintf("when judged again (%s)", r.Cause)
	}
	return fmt.Sprintf("revoked %s %s: “%s” (revocation %s)", r.Time.UTC().Format(time.RFC3339), by, r.Reason, r.ID)
}

// OverrideState says in a sentence what became of an override.
func OverrideState(b attestor.BreakGlass, s attestor.OverrideState) string {
	end := "until it is revoked"
	if b.Expires != nil {
		end = "until " + b.Expires.UTC().Format(dayAndTime)
	}

	// An override that is overdue is open as well: this comes first.
	switch {
	case s.Overdue:
		return fmt.Sprintf("The override is overdue: it should have ended on %s, and its attestations still "+
			"admit the image.",
			b.Expires.UTC().Format(dayAndTime))
	case s.Open:
		return "The image is admitted by this override alone, " + end + "."
	case s.Closed == attestor.ClosedPassed:
		return "The override is closed: the image has passed in its own right since, in decision " + s.By + "."
	case s.Closed == attestor.ClosedOverridden:
		return "The override is closed: the override of decision " + s.By + " has taken its place."
	case s.Closed == attestor.ClosedExpired:
		return "The override has ended, and its attestations were deleted."
	}
	return "The override's attestations were deleted before its end."
}

// Status is a check's status in a word.
func Status(c attestor.Check) string {
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

// Fact says in a few words what a check that did not refuse found.
func Fact(d attestor.Decision, c attestor.Check) string {
	if c.Status == attestor.StatusSkipped && len(c.Reasons) > 0 {
		return c.Reasons[0].Message
	}
	if len(c.Reasons) == 1 && explains(c, c.WithSeverities().Reasons[0]) {
		return c.Reasons[0].Message
	}

	switch {
	case c.Found != "":
		return c.Found
	case c.Name == attestor.CheckAttest && c.Status == attestor.StatusPass:
		return attestedFact(d)
	}
	return factBefore(d, c)
}

// factBefore is what a check saw in a decision of a version before, which does not say so itself. Its names are those
// of the checks that there were then, so that no check is added here.
func factBefore(d attestor.Decision, c attestor.Check) string {
	for _, p := range d.Platforms {
		if p.Platform != c.Platform {
			continue
		}
		switch c.Name {
		case attestor.CheckBase:
			return Base(p.Base)
		case attestor.CheckUser:
			return User(p.User)
		case attestor.CheckVulnerabilities:
			return Scan(p.Scan)
		}
	}
	return ""
}

// Base says which base an image has, and how old it is.
func Base(b attestor.BaseSummary) string {
	if b.Name == "" {
		return "no approved base found"
	}

	parts := []string{b.Name}
	if b.Evidence != "" {
		parts = append(parts, string(b.Evidence))
	}
	if b.Layers > 0 {
		parts = append(parts, Plural(b.Layers, "layer"))
	}

	switch {
	case b.Current:
		parts = append(parts, "current")
	case b.Behind != "":
		parts = append(parts, b.Behind+" behind")
	}

	return strings.Join(parts, ", ")
}

// User says as whom an image runs.
func User(u attestor.User) string {
	// Without a user, an image runs as root.
	if u.Configured == "" {
		return "no user set"
	}
	if u.UID != nil && u.Configured != fmt.Sprint(*u.UID) &&
		!strings.HasPrefix(u.Configured, fmt.Sprintf("%d:", *u.UID)) {
		return fmt.Sprintf("%s (uid %d)", u.Configured, *u.UID)
	}

	return u.Configured
}

// Scan says what a scan found, by severity.
func Scan(s attestor.ScanSummary) string {
	// Counts of a scan that is not complete would look like all that there is.
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
		by = AppendNew(by, a.Attestor)
		if a.Created {
			made++
		}
	}

	// Attestations that were there already are no work of this decision.
	if made == 0 && len(d.Attestations) > 0 {
		return "attested already by " + Some(by, 3)
	}

	return fmt.Sprintf("%s by %s", Plural(made, "attestation"), Some(by, 3))
}

// Plural is the number with its noun.
func Plural(n int, noun string) string { return strconv.Itoa(n) + " " + Noun(n, noun) }

// Noun is the noun for a number of things: 1 day, 2 days, 2 policies.
func Noun(n int, noun string) string {
	stem, y := strings.CutSuffix(noun, "y")
	switch {
	case n == 1:
		return noun
	case y && !strings.HasSuffix(stem, "a") && !strings.HasSuffix(stem, "e"):
		return stem + "ies"
	}
	return noun + "s"
}

// Name is what people call the image: what was asked for, or the reference.
func Name(d attestor.Decision) string {
	if d.Image.Reference != "" {
		return d.Image.Reference
	}
	return d.Image.Requested
}

// Repository is the canonical one, or the requested text up to its tag.
func Repository(d attestor.Decision) string {
	if ref, err := attestor.ParseReference(d.Image.Reference); err == nil {
		return ref.Repository()
	}
	return d.Image.Requested
}

// FindingsOf are the findings of one check, of every severity.
func FindingsOf(c attestor.Check) []Finding {
	return Findings(attestor.Decision{Checks: []attestor.Check{c}}, attestor.Refuses, attestor.Warns, attestor.Informs)
}

// Label distinguishes a remark from a refusal: "warning", "hint", or "" for what refuses.
func (f Finding) Label() string { return Label(f.Severity) }

// Label is the word that is put before a reason of a severity; "" for one that refuses.
func Label(s attestor.ReasonSeverity) string {
	switch s {
	case attestor.Warns:
		return "warning"
	case attestor.Informs:
		return "hint"
	}

	return ""
}

// Sentence is the finding with at most n of its subjects.
func (f Finding) Sentence(n int) string {
	s := strings.TrimSpace(f.Label() + " " + string(f.Code))
	if len(f.Subjects) > 0 {
		s += ", " + Some(f.Subjects, n)
	}

	return s + ": " + f.Message
}
