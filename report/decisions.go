package report

import (
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
)

// Decisions is a document of decisions. In JSON one decision is the Decision
// itself, and any other number an array.
func Decisions(ds []attestor.Decision) Document {
	d := DecisionList(ds)
	if len(ds) == 1 {
		d.Value = ds[0]
	}

	return d
}

// DecisionList is [Decisions], but an array in JSON whatever its length.
func DecisionList(ds []attestor.Decision) Document {
	if ds == nil {
		ds = []attestor.Decision{}
	}

	return Document{
		Kind: OfDecisions, Parts: []Part{images(ds)}, Records: records(ds), Value: ds,
		Values: func(yield func(any) bool) {
			for _, d := range ds {
				if !yield(d) {
					return
				}
			}
		},
	}
}

// History is [DecisionList] for a search of the record: text and Markdown show one
// line for each decision, with its time and id.
func History(ds []attestor.Decision) Document {
	d := DecisionList(ds)
	table := Table{Columns: []Column{
		{Name: "time"}, {Name: "decision", Kind: Code}, {Name: "verdict"}, {Name: "image", Kind: Code},
		{Name: "reasons"},
	}}
	for _, x := range ds {
		var codes []string
		for _, r := range x.Refusals() {
			codes = describe.AppendNew(codes, string(r.Code))
		}
		if r := x.Revoked; r != nil {
			codes = append(codes, describe.RevokedBy(*r))
		}
		table.Rows = append(table.Rows, []string{
			x.Time.UTC().Format(time.RFC3339), x.ID, word(x), x.Image.Requested, strings.Join(codes, " "),
		})
	}

	d.Parts[0].Layout, d.Parts[0].Tables = AsList, []Table{table}
	if len(ds) > 1 {
		d.Parts[0].Notes = []string{totals(ds, "decision")}
	}
	return d
}

// word is the verdict in words, and what became of what it admitted.
func word(d attestor.Decision) string {
	w := describe.Verdict(d)
	switch {
	case d.Revoked != nil:
		w += ", revoked"
	case d.OverrideState != nil && d.OverrideState.Overdue:
		w += ", override overdue"
	case d.OverrideState != nil && d.OverrideState.Open:
		w += ", overridden"
	}
	return w
}

// RecordList is a document of many decisions, for encodings that list them.
// posture is how the services that run the images are set up, nil where none
// were judged; means explains its rules.
func RecordList(ds []attestor.Decision, posture *attestor.PostureReport, means map[string]string) Document {
	d := DecisionList(ds)
	d.Kind = OfRecord

	if posture != nil {
		d.Parts = append(d.Parts, services(*posture, means))
	}

	return d
}

// RecordStream is a document of decisions that are read while they are written, for
// CSV and NDJSON. failed returns the error that ended the reading.
func RecordStream(decisions iter.Seq2[attestor.Decision, error]) (d Document, failed func() error) {
	var end error
	each := func(yield func(attestor.Decision) bool) {
		for x, err := range decisions {
			if end = err; err != nil || !yield(x) {
				return
			}
		}
	}

	return Document{
		Kind: OfRecord,
		Records: Records{Head: recordColumns(), Rows: func(yield func([]string) bool) {
			each(func(x attestor.Decision) bool { return yield(row(x)) })
		}},
		Values: func(yield func(any) bool) { each(func(x attestor.Decision) bool { return yield(x) }) },
	}, func() error { return end }
}

// Record is a document of what many decisions say together, for encodings that
// do not list them.
func Record(s Summary) Document {
	return Document{Kind: OfRecord, Summary: &s, Value: s}
}

// images is the part of a document that is about images.
func images(ds []attestor.Decision) Part {
	p := Part{Tool: "attestor", Layout: ByCheck, Name: "attestor", Verdict: attestor.Pass, Empty: "No decisions",
		Means: map[string]string{}}
	for _, info := range attestor.Codes() {
		p.Means[string(info.Code)] = info.Means
	}

	// One denial makes the part a denial, and an undecided image keeps it from
	// passing: pipelines go by the part's verdict. [describe.Outcome] takes an
	// unknown or absent verdict for a denial.
	for _, d := range ds {
		s := image(d)
		p.Subjects = append(p.Subjects, s)
		outcome := describe.Outcome(d)
		p.Incomplete = p.Incomplete || outcome == attestor.Undecided

		// An override lets the pipeline go on.
		switch {
		case s.Excused != "":
		case outcome == attestor.Deny, outcome == attestor.Undecided && p.Verdict == attestor.Pass:
			p.Verdict = outcome
		}
	}

	if len(ds) > 1 {
		p.Notes = []string{totals(ds, "image")}
	}

	return p
}

func image(d attestor.Decision) Subject {
	s := Subject{
		Name: describe.Name(d), Identity: describe.Repository(d), ID: d.ID, Verdict: describe.Outcome(d),
		Words:    describe.Verdict(d),
		Override: d.BreakGlass, Excused: excused(d), Since: became(d), Context: context(d), Deploy: d.Deploy, Time: d.Time,
		Duration: time.Duration(d.DurationMS) * time.Millisecond,
	}
	if d.Image.Requested != s.Name {
		s.Asked = d.Image.Requested
	}

	for _, c := range d.Checks {
		s.Items = append(s.Items, Item{Check: c, Found: describe.Fact(d, c)})
	}

	return s
}

// excused says by which override an image is admitted now; "" for an image without one. What ends the command well is an
// override, by the one table of answers. One that has ended, or should have, admits nothing, and neither does what
// somebody wrote into the record.
func excused(d attestor.Decision) string {
	ended := d.Revoked != nil || d.OverrideState != nil && (!d.OverrideState.Open || d.OverrideState.Overdue)
	changed := d.Log != nil && d.Log.Changed != ""
	if !describe.Overridden(d) || d.Answer().ExitCode != attestor.ExitPass || ended || changed {
		return ""
	}
	return "admitted by break-glass, by " + d.BreakGlass.By + ": " + d.BreakGlass.Reason
}

// became says what became of what a decision admitted; "" where it stands.
func became(d attestor.Decision) string {
	if d.Revoked != nil {
		return describe.Revocation(*d.Revoked)
	}
	if d.BreakGlass != nil && d.OverrideState != nil {
		return describe.OverrideState(*d.BreakGlass, *d.OverrideState)
	}
	return ""
}

// context is what governed, and how to find the decision again.
func context(d attestor.Decision) string {
	parts := []string{"no policy"}
	if d.Policy != nil {
		parts = []string{fmt.Sprintf("policy %s (%s)", d.Policy.Name, shortDigest(string(d.Policy.Digest)))}
	}

	switch {
	case d.Policy != nil && d.Policy.Mode == attestor.DryRun:
		parts = append(parts, "which is in dry run")
	case d.DryRun:
		parts = append(parts, "dry run")
	}

	if d.ID != "" {
		parts = append(parts, "decision "+d.ID)
	}

	parts = append(parts, fmt.Sprintf("%d ms", d.DurationMS))
	if d.Emulated {
		parts = append(parts, "emulated")
	}

	return strings.Join(parts, ", ")
}

func shortDigest(s string) string {
	if len(s) > len("sha256:")+12 && strings.HasPrefix(s, "sha256:") {
		return s[:len("sha256:")+12]
	}
	return s
}

// totals counts decisions by verdict. what is what there is one of for each: an image that was asked about, or a
// decision of the record, which may have several on one image.
func totals(ds []attestor.Decision, what string) string {
	count := map[attestor.Outcome]int{}
	broken, dry, ran := 0, true, false
	// "Would be refused" is said only if something was a dry run, and every refusal was: one that was
	// enforced makes the sentence about all of them one about refusals.
	for _, d := range ds {
		count[describe.Outcome(d)]++

		if describe.Overridden(d) {
			broken++
		}

		dry, ran = dry && (d.DryRun || describe.Outcome(d) == attestor.Pass), ran || d.DryRun
	}

	refused := "refused"
	if dry && ran {
		refused = "would be refused"
	}

	line := fmt.Sprintf("%s: %d passed, %d %s, %d could not be decided", describe.Plural(len(ds), what),
		count[attestor.Pass], count[attestor.Deny], refused, count[attestor.Undecided])
	if broken > 0 {
		line += fmt.Sprintf(", %d admitted by break-glass", broken)
	}

	return line
}

// recordColumns: one line for each decision. Columns are added at the end only.
func recordColumns() []string {
	return []string{
		"id", "time", "verdict", "dry_run", "break_glass", "repository", "digest", "reference", "requested", "policy",
		"policy_digest",
		"platforms", "base", "base_current", "user", "critical", "high", "medium", "low", "minimal", "unspecified",
		"fixable",
		"reason_codes", "first_message", "first_fix", "attestors",
		"revoked", "revocation", "override",
		"revocation_id", "revoked_by", "revocation_cause", "revocation_reason", "revoked_attestations",
	}
}

func records(ds []attestor.Decision) Records {
	rows := func(yield func([]string) bool) {
		for _, d := range ds {
			if !yield(row(d)) {
				return
			}
		}
	}

	return Records{Head: recordColumns(), Rows: iter.Seq[[]string](rows)}
}

func row(d attestor.Decision) []string {
	var policy, policyDigest, message, fix string
	if d.Policy != nil {
		policy, policyDigest = d.Policy.Name, string(d.Policy.Digest)
	}

	// A spreadsheet shows the first refusal; the codes name all of them.
	var codes, attestors []string
	for i, f := range describe.Findings(d, attestor.Refuses) {
		codes = describe.AppendNew(codes, string(f.Code))
		if i == 0 {
			message, fix = f.Message, f.Fix
		}
	}

	for _, a := range d.Attestations {
		attestors = describe.AppendNew(attestors, a.Attestor)
	}

	var platforms, bases, users []string
	// An image counts as current only if every platform is on a current base; one
	// that was never inspected is not.
	counts, fixable, current := map[attestor.Severity]int{}, 0, len(d.Platforms) > 0
	for _, p := range d.Platforms {
		platforms = describe.AppendNew(platforms, p.Platform)
		bases = describe.AppendNew(bases, p.Base.Name)
		users = describe.AppendNew(users, p.User.Configured)
		current = current && p.Base.Current
		fixable += p.Scan.Fixable

		for level, n := range p.Scan.Counts {
			counts[level] += n
		}
	}

	out := []string{
		d.ID, d.Time.UTC().Format(time.RFC3339), string(describe.Outcome(d)), strconv.FormatBool(d.DryRun),
		strconv.FormatBool(d.BreakGlass != nil), describe.Repository(d), string(d.Image.Digest), d.Image.Reference,
		d.Image.Requested,
		policy, policyDigest, strings.Join(platforms, " "), strings.Join(bases,
			" "), strconv.FormatBool(current), strings.Join(users, " "),
	}

	// In the order of the columns, zeros included.
	for _, level := range attestor.Severities() {
		out = append(out, strconv.Itoa(counts[level]))
	}

	out = append(out, strconv.Itoa(fixable), strings.Join(codes, " "), message, fix, strings.Join(attestors, " "))
	return append(out, since(d)...)
}

// since is what became of what a decision admitted: when it was revoked and by
// which kind of revocation, the state of its override, and the revocation's record.
func since(d attestor.Decision) []string {
	override := ""
	switch s := d.OverrideState; {
	case s == nil:
	case s.Overdue:
		override = "overdue"
	case s.Open:
		override = "open"
	default:
		override = string(s.Closed)
	}

	r := d.Revoked
	if r == nil {
		return []string{"", "", override, "", "", "", "", ""}
	}
	var deleted []string
	for _, a := range r.Attestations {
		deleted = describe.AppendNew(deleted, a.Occurrence)
	}
	return []string{
		r.Time.UTC().Format(time.RFC3339), string(r.Kind), override,
		r.ID, r.Caller.Subject, string(r.Cause), r.Reason, strings.Join(deleted, " "),
	}
}
