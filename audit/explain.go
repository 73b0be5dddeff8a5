package audit

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/plain"
)

// An Explanation is one decision in sentences. Its texts may contain text of
// attackers, such as an image's name: whoever prints them must neutralise control
// characters, as [Explain] does.
type Explanation struct {
	Changed   string   // how the record differs from what was recorded; nothing else is set then
	Verdict   string   // "passed", "refused", "would be refused", "could not be decided"
	Summary   []string // the request, the caller and the answer
	Override  string   // break-glass; "" for none
	Checks    []CheckExplanation
	Signed    []string  // the attestations, or why there are none
	Revoked   string    // by whom or what its attestations were revoked since; "": they were not
	Since     []string  // what became of the attestations; empty where they stand
	Reproduce []Command // empty where the image has no digest
}

// A CheckExplanation is the result of one check, and what to do about it.
type CheckExplanation struct {
	Name     string
	Platform string
	Status   string // ok, refused, warning, skipped, error
	Found    string // in a few words; may be ""
	Findings []describe.Finding
	Excused  []string
}

// A Command is a shell command, and a sentence on its purpose.
type Command struct{ Does, Line string }

const explainTime = "2 January 2006 at 15:04:05 MST"

// NewExplanation explains a recorded decision. What a version before recorded of a
// revocation in the form of a decision is explained as a revocation.
func NewExplanation(r attestor.Record) Explanation {
	d := r.Decision
	if d.Log != nil && d.Log.Changed != "" {
		return Explanation{Changed: "decision " + d.ID + ": " + d.Log.Changed, Verdict: "changed since it was recorded"}
	}
	if revocation, ok := attestor.AsRevocation(d); ok {
		return NewRevocation(revocation)
	}

	e := Explanation{Verdict: describe.Verdict(d), Summary: summary(r), Reproduce: Reproduce(r, "")}

	if b := d.BreakGlass; b != nil {
		e.Override = fmt.Sprintf("Break-glass was used by %s: “%s”.", b.By, b.Reason)
		switch {
		case d.OverrideState != nil:
			e.Override += " " + describe.OverrideState(*b, *d.OverrideState)
		case b.Expires != nil:
			e.Override += " The override ends on " + b.Expires.UTC().Format(explainTime) + "."
		}
	}
	if d.Revoked != nil {
		e.Revoked, e.Since = describe.Revocation(*d.Revoked), deleted(*d.Revoked)
	}

	for _, c := range d.Checks {
		if c.Name == attestor.CheckAttest {
			e.Signed = append(e.Signed, signed(d, c)...)
			if !describe.Refuses(c) {
				continue
			}
		}

		x := CheckExplanation{
			Name: c.Name, Platform: c.Platform,
			Status: describe.Status(c), Found: describe.Fact(d, c), Findings: describe.FindingsOf(c),
		}
		for _, a := range c.Exceptions {
			x.Excused = append(x.Excused, excused(a))
		}
		e.Checks = append(e.Checks, x)
	}

	if len(e.Signed) == 0 {
		e.Signed = []string{"Nothing was signed."}
	}
	return e
}

// NewRevocation explains a revocation.
func NewRevocation(r attestor.RevocationRecord) Explanation {
	e := Explanation{Verdict: "revoked", Signed: deleted(r)}
	e.Summary = append(e.Summary, describe.Revocation(r))
	if len(r.Admitted) > 0 {
		e.Summary = append(e.Summary, "It had been admitted by "+strings.Join(r.Admitted, ", ")+
			", whose verdict stays what it was.")
	}
	if r.Override != "" {
		e.Summary = append(e.Summary, "The override was granted in decision "+r.Override+".")
	}
	if len(r.Kept) > 0 {
		e.Summary = append(e.Summary, fmt.Sprintf("%s another ground, and kept the attestations.",
			has(len(r.Kept), "digest")))
	}
	if r.Emulated {
		e.Summary = append(e.Summary, "Google's services were emulated: this deleted nothing anywhere else.")
	}

	return e
}

func has(n int, noun string) string {
	if n == 1 {
		return "1 " + noun + " had"
	}
	return fmt.Sprintf("%d %ss had", n, noun)
}

// deleted lists the attestations that a revocation deleted.
func deleted(r attestor.RevocationRecord) []string {
	var out []string
	for _, a := range r.Attestations {
		out = append(out, fmt.Sprintf("Deleted: the attestation of %s by %s, %s.", a.Digest, a.Attestor, a.Occurrence))
	}
	if len(out) == 0 {
		out = append(out, "There was no attestation left to delete.")
	}
	return out
}

// ExplainRevocation is an [Explanation] of a revocation as text for a terminal.
func ExplainRevocation(r attestor.RevocationRecord) string {
	return explained(NewRevocation(r), r.Image.String())
}

// summary says who asked for what, which image that was, and the answer.
func summary(r attestor.Record) []string {
	d := r.Decision

	asked := "to be admitted"
	if d.DryRun {
		asked = "to be judged in a dry run"
	}

	by := d.Caller.Subject
	if by == "" {
		by = "somebody"
	}
	if d.Caller.Issuer != "" {
		by += " (identified by " + d.Caller.Issuer + ")"
	}

	out := []string{
		fmt.Sprintf("On %s, %s asked for %s %s.", d.Time.UTC().Format(explainTime), by, d.Image.Requested, asked),
	}
	switch {
	case d.Image.Digest == "":
		out = append(out, "The image was not resolved to a digest; nothing of it was inspected.")
	case d.Image.Requested != d.Image.Reference:
		out = append(out,
			fmt.Sprintf("It was resolved once, to %s; everything below is about that digest.", d.Image.Reference))
	}

	if r.Evidence.Index {
		out = append(out,
			fmt.Sprintf("It is an index, of which %s judged.", are(len(r.Evidence.Platforms), "platform")))
	}

	out = append(out, answered(d))
	out = append(out, later(d)...)
	if d.Evidence != "" {
		out = append(out, "The evidence that it was judged on is recorded as "+d.Evidence+".")
	}
	if d.Emulated {
		out = append(out, "Google's services were emulated: this decision admits nothing anywhere.")
	}
	return out
}

// later says what the policy will refuse the image for, and from when.
func later(d attestor.Decision) []string {
	var counts attestor.UpcomingCounts
	counts.Add(describe.Name(d), d.Upcoming())

	var out []string
	for _, u := range counts.List() {
		var codes []string
		for _, c := range slices.Sorted(maps.Keys(u.ByReason)) {
			codes = append(codes, string(c))
		}
		out = append(out, fmt.Sprintf(
			"From %s on this image is refused, unless it is changed or the policy is (owner of the date: %s): %s.",
			u.EffectiveFrom, u.Owner, strings.Join(codes, ", "),
		))
	}
	return out
}

// answered is the sentence with the verdict.
func answered(d attestor.Decision) string {
	if d.Policy == nil {
		return "No policy governs it, so that it was refused without being fetched."
	}
	policy := fmt.Sprintf("policy %s (%s)", d.Policy.Name, d.Policy.Digest)
	if d.Policy.Mode != attestor.Enforce {
		policy += ", which is in dry run and refuses nothing"
	}

	refusing, total := 0, 0
	for _, c := range d.Checks {
		if c.Name == attestor.CheckAttest && !describe.Refuses(c) {
			continue
		}
		total++
		if describe.Refuses(c) {
			refusing++
		}
	}

	switch describe.Outcome(d) {
	case attestor.Pass:
		return "It passed under " + policy + "."
	case attestor.Undecided:
		return fmt.Sprintf(
			"Under %s it could not be decided: %d of %s had no answer. Asking again may turn out otherwise.",
			policy, refusing, describe.Plural(total, "check"))
	}

	refused := "was refused"
	if d.DryRun {
		refused = "would have been refused"
	}
	return fmt.Sprintf("It %s under %s: %d of %s did not pass.",
		refused, policy, refusing, describe.Plural(total, "check"))
}

// signed lists the attestations, and why there are none where some are missing.
func signed(d attestor.Decision, c attestor.Check) []string {
	var out []string

	if c.Status != attestor.StatusPass {
		for _, r := range c.Reasons {
			line := "Nothing was signed: " + r.Message + "."
			if r.Code != attestor.CodeNotAttested {
				line = sentence(r.Message)
			}
			if r.Fix != "" {
				line += " To change that: " + r.Fix + "."
			}
			out = append(out, line)
		}
	}

	for _, a := range d.Attestations {
		how := "attested to"
		if !a.Created {
			how = "had already attested to"
			if !a.Since.IsZero() {
				how += " (since " + a.Since.UTC().Format(explainTime) + ")"
			}
		}

		out = append(out,
			fmt.Sprintf("%s %s %s, with key %s, in %s.", a.Attestor, how, a.Digest, a.PublicKeyID, a.Occurrence))
	}

	if len(d.Attestations) > 0 && d.Revoked == nil {
		out = append(out, "To check the signature yourself: attestor verify "+
			quote(describe.Name(d))+" --attestor "+quote(d.Attestations[0].Attestor))
	}
	return out
}

// excused says which exception applied, or would have.
func excused(a attestor.AppliedException) string {
	if a.Expired {
		return fmt.Sprintf("The exception %s of %s would have applied, but expired on %s.", a.ID, a.Owner, a.Expires)
	}

	subject := a.Subject
	if subject == "" {
		subject = a.ID
	}
	return fmt.Sprintf("%s is excused until %s by %s: “%s”.", subject, a.Expires, a.Owner, a.Reason)
}

// Reproduce returns the commands that judge the same digest again by the same
// policy; none where the image has no digest, or no policy governed it. server is
// the address of the service that has the record; "": the environment of whoever
// runs them says where it is.
func Reproduce(r attestor.Record, server string) []Command {
	d := r.Decision
	if d.Image.Digest == "" || d.Policy == nil {
		return nil
	}

	from := quote(d.ID)
	if server != "" {
		from += " --server " + quote(server)
	}

	file := fileName(d.Policy.Name) + "-" + short(d.Policy.Digest) + ".yaml"
	return []Command{
		{"write the policy's text as it was then", "attestor explain " + from + " --policy-text > " + file},
		{
			"judge the same digest by it again, on what is known of it today",
			"attestor check " + quote(d.Image.Reference) + " --policy " + file,
		},
	}
}

func short(d attestor.Digest) string { return d.Hex()[:min(12, len(d.Hex()))] }

// fileName keeps the letters, digits, "-" and "_" of s. The name needs no quoting
// in a shell and cannot be read as an option.
func fileName(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x80 && (r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z') {
			return r
		}
		return -1
	}, s)

	if s = strings.TrimLeft(s, "-"); s == "" {
		return "policy"
	}
	return s
}

// quote makes s one word of a shell command, whatever it contains: people paste
// these lines, and an attacker may have chosen the image's name.
func quote(s string) string {
	if s != "" && !strings.HasPrefix(s, "-") &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./_-") == "" {
		return s
	}

	// POSIX, Shell Command Language, 2.2.2: single quotes "preserve the literal value
	// of each character within", and cannot contain a single quote.
	return "'" + strings.ReplaceAll(plain.Text(s), "'", `'\''`) + "'"
}

// Explain is an [Explanation] as text for a terminal.
func Explain(r attestor.Record) string {
	return explained(NewExplanation(r), describe.Name(r.Decision))
}

// explained writes an explanation of an image.
func explained(e Explanation, image string) string {
	var b strings.Builder
	p := func(indent, s string) { b.WriteString(indent + plain.Text(s) + "\n") }

	if e.Changed != "" {
		p("", "CHANGED SINCE IT WAS RECORDED: "+e.Changed+".")
		p("", "Nothing that the record says of it can be relied on, and so nothing of it is shown.")
		p("", "To see what else was changed: attestor decisions verify")
		return b.String()
	}

	// What no longer admits the image must not begin like what does.
	verdict := strings.ToUpper(e.Verdict[:1]) + e.Verdict[1:]
	if e.Revoked != "" {
		verdict += ", and revoked since"
	}
	p("", verdict+": "+image)
	if e.Revoked != "" {
		p("", "REVOKED. "+e.Revoked)
	}
	if e.Override != "" {
		p("", "BREAK-GLASS. "+e.Override)
	}
	p("", "")

	for _, s := range e.Summary {
		p("", s)
	}
	for _, c := range e.Checks {
		b.WriteByte('\n')
		c.write(p)
	}

	b.WriteByte('\n')
	for _, s := range e.Signed {
		p("", s)
	}
	for _, s := range e.Since {
		p("", s)
	}

	if len(e.Reproduce) > 0 {
		b.WriteString("\nTo reproduce it:\n")
	}
	for _, c := range e.Reproduce {
		p("  ", "# "+c.Does)
		p("  ", c.Line)
	}
	return b.String()
}

// maxSubjects is how many CVEs one sentence lists.
const maxSubjects = 8

func (c CheckExplanation) write(p func(indent, s string)) {
	head := c.Name
	if c.Platform != "" {
		head += " of " + c.Platform
	}
	head += ": " + c.Status
	if c.Found != "" {
		head += " (" + c.Found + ")"
	}
	p("", head)

	for _, f := range c.Findings {
		p("  - ", f.Sentence(maxSubjects))
		if f.Fix != "" {
			p("    ", "To do: "+f.Fix)
		}
	}

	for _, s := range c.Excused {
		p("  - ", s)
	}
}

func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + strings.TrimSuffix(s[1:], ".") + "."
}

func are(n int, noun string) string {
	if n == 1 {
		return "1 " + noun + " was"
	}
	return fmt.Sprintf("%d %ss were", n, noun)
}
