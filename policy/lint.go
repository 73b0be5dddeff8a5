package policy

import (
	"fmt"
	"slices"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/exception"
)

// Lint lists what is legal but odd in the policies, at a given time: what lets
// more through than its author may think, what can never have an effect, what
// is about to end.
func (s *Set) Lint(now time.Time) []Diagnostic {
	var out Errors
	for _, p := range s.All() {
		l := linter{p: p, s: &p.doc.Spec, now: now, d: decoder{file: p.file, places: p.places}}
		l.patterns()
		l.checks()
		l.effective()
		for _, c := range p.checks {
			if c.lint != nil {
				c.lint(&l)
			}
		}

		l.exceptions()
		l.rules()
		l.breakGlass()
		out = append(out, l.d.errs...)
	}
	return out.sorted()
}

type linter struct {
	p   *Policy
	s   *Spec
	now time.Time
	d   decoder
}

const (
	longBehind = 90 * 24 * time.Hour
	endSoon    = 90 * 24 * time.Hour
)

func (l *linter) exceptions() {
	longest, warning := time.Duration(l.s.ExceptionMaxLifetime), time.Duration(l.s.ExceptionWarning)
	for i := range l.p.exceptions {
		e := &l.p.exceptions[i]

		left := e.End().Sub(l.now)
		switch {
		case e.Ended(l.now):
			l.d.at(e.Place+".expires", "the exception of %s ended on %s and counts as absent", e.Owner, e.Day())
		case longest > 0 && e.Expires.After(l.now.Add(longest)):
			l.d.at(
				e.Place+".expires",
				"the exception of %s ends on %s, further away than the %s of exceptionMaxLifetime, "+
					"and counts as absent",
				e.Owner, e.Day(), Duration(longest),
			)
		case left <= warning:
			l.d.at(e.Place+".expires", "the exception of %s ends with %s", e.Owner, e.Day())
		}

		if e.Subject == exception.Any {
			l.d.at(e.Place+".subject", "excuses whatever %s refuses", e.Check)
		}
		for i, pattern := range e.Images {
			if pattern.Unmatchable() == "" && !slices.ContainsFunc(l.s.Images, pattern.Overlaps) {
				l.d.at(index(e.Place+".images", i), "%s holds none of the images that the policy governs", pattern)
			}
		}

		// Its author believes that something is excused: what is refused all the same would come as a surprise.
		switch why := l.subject(e); {
		case skips(l.p.checks, l.s, e.Check):
			l.d.at(e.Place+".check", "has no effect: the policy does not ask for %s", e.Check)
		case why != "":
			l.d.at(e.Place+".subject", "has no effect: %s", why)
		}

		if l.s.Platforms != nil && len(e.Platforms) > 0 && !slices.ContainsFunc(e.Platforms, l.s.judges) {
			l.d.at(e.Place+".platforms", "has no effect: the policy judges %v only", []string(l.s.Platforms))
		}
	}
}

// judges reports whether a platform of an exception can be one that the policy judges.
func (s *Spec) judges(platform string) bool {
	return slices.ContainsFunc(s.Platforms, func(judged string) bool {
		return attestor.SamePlatform(judged, platform) || attestor.SamePlatform(platform, judged)
	})
}

// rules finds those whose value does not depend on the evidence, or holds because nobody looked.
func (l *linter) rules() {
	for i := range l.p.rules {
		l.unlooked(index("spec.rules", i)+".expression", &l.p.rules[i])
	}

	folding, err := cel.NewConstantFoldingOptimizer()
	if err != nil {
		return // lint says less, and decides nothing
	}
	optimizer, err := cel.NewStaticOptimizer(folding)
	if err != nil {
		return
	}

	for i := range l.p.rules {
		r := &l.p.rules[i]
		folded, issues := optimizer.Optimize(r.env, r.ast)
		if issues != nil && issues.Err() != nil {
			continue
		}

		if e := folded.NativeRep().Expr(); e.Kind() == ast.LiteralKind {
			what := "can never fire: its expression is always true"
			if e.AsLiteral().Value() != true {
				what = "always fires: its expression is always false"
			}
			l.d.at(index("spec.rules", i)+".expression", "rule %s %s", r.Name, what)
		}
	}
}

// unlooked finds a rule about what the policy does not have looked for. Of an image without a scan, or without
// statements, every rule about all of them holds.
func (l *linter) unlooked(at string, r *rule) {
	scan := fieldsRead(r.ast, "scan")
	unscanned := !l.s.Vulnerabilities.Scan.required() || l.s.Vulnerabilities.Scan.OnUnsupported != RespondDeny
	if len(scan) > 0 && !scan["state"] && !scan[""] && unscanned {
		l.d.at(at, "rule %s takes an image without a scan for one without findings: test scan.state == %q in it, or "+
			"require a scan (required, onUnsupported: deny)", r.Name, attestor.ScanComplete)
	}
	if l.s.Provenance == nil && len(fieldsRead(r.ast, "provenance")) > 0 {
		l.d.at(at, "rule %s reads provenance, which is always empty without spec.provenance", r.Name)
	}
	if fieldsRead(r.ast, "subject")["uploaded"] && (l.s.Scope == nil || l.s.Scope.MaxUploadAge == 0) {
		l.d.at(at, "rule %s reads subject.uploaded, which is always year 1 without spec.scope.maxUploadAge", r.Name)
	}
}

func (l *linter) breakGlass() {
	b := l.s.BreakGlass
	if b == nil || !b.Allowed {
		return
	}
	if b.Ticket == "" {
		l.d.at("spec.breakGlass", "names no ticket: any reason will do")
	}

	if b.Expires == 0 {
		l.d.at("spec.breakGlass", "does not expire: what is let through in an emergency stays let through")
	}

	// A deploy policy asks for the attestors of a pass. An override that has all of them is a pass to it.
	const alike = "overridden denials cannot be told from passes where images are deployed"
	own := func(attestor string) bool { return !slices.Contains(b.Attestors, attestor) }
	switch {
	case len(b.Attestors) == 0:
		l.d.at("spec.breakGlass", "names no attestors of its own: "+alike)
	case !slices.ContainsFunc(l.s.Attestors, own):
		l.d.at("spec.breakGlass.attestors", "names every attestor of a pass: "+alike)
	}
}

// Describe is one line about why a policy covers a repository, for people.
func (m Match) Describe() string {
	return fmt.Sprintf(
		"policy %s (%s, %s) by pattern %s", m.Policy.ref.Name, m.Policy.file, m.Policy.ref.Mode, m.Pattern,
	)
}
