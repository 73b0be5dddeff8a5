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
		l.base()
		l.checks()
		l.scope()
		l.vulnerabilities()
		l.provenance()
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

func (l *linter) base() {
	if !l.s.Base.Required && len(l.s.Base.Approved) > 0 {
		l.d.at("spec.base.required", "is false, so that the approved bases have no effect")
	}
	for i, a := range l.s.Base.Approved {
		path := index("spec.base.approved", i)
		if a.SignedBy == nil {
			l.d.at(path, "%s has no signedBy: whoever can push to %s decides what is approved", a.Name, a.Repository)
		} else {
			l.signedBy(path+".signedBy", a.SignedBy)
		}
		if time.Duration(a.MaxBehind) > longBehind {
			l.d.at(path+".maxBehind", "%s without its publisher's fixes is long", a.MaxBehind)
		}
		switch {
		case a.EndOfLife.IsZero():
		case !l.now.Before(a.EndOfLife.start):
			l.d.at(path+".endOfLife", "%s is past its end of life since %s: it gets no more fixes", a.Name, a.EndOfLife)
		case a.EndOfLife.start.Sub(l.now) <= endSoon:
			l.d.at(path+".endOfLife", "%s comes to its end of life on %s", a.Name, a.EndOfLife)
		}
	}
}

// signedBy tries the expression on what no publisher is called.
func (l *linter) signedBy(path string, s *SignedBy) {
	if s.Keyless == nil || s.Keyless.SubjectRegexp == "" {
		return
	}
	if re, err := anchored(s.Keyless.SubjectRegexp); err == nil && re.MatchString("anybody@example.org") && re.MatchString("https://example.org/any/thing") {
		l.d.at(path+".keyless.subjectRegexp", "matches anybody")
	}
}

func (l *linter) scope() {
	if l.s.Scope == nil {
		return
	}
	for i, dir := range l.s.Scope.TrustedDirectories {
		if dir.Unmatchable() == "" && !slices.ContainsFunc(l.s.Images, dir.Overlaps) {
			l.d.at(index("spec.scope.trustedDirectories", i), "%s holds none of the images that the policy governs", dir)
		}
	}
	if len(l.s.Scope.TrustedDirectories) > 0 && l.s.trusted() {
		l.d.at("spec.scope.trustedDirectories", "repeats spec.images, so that it can refuse nothing")
	}
}

func (l *linter) vulnerabilities() {
	const path = "spec.vulnerabilities"
	v := &l.s.Vulnerabilities
	if !v.Scan.required() && (v.MaximumFixableSeverity != attestor.AllowAll || v.MaximumUnfixableSeverity != attestor.AllowAll) {
		l.d.at(path+".scan.required", "is false: an image that was never scanned passes whatever the limits are")
	}
	for severity := range v.GracePeriod {
		if v.MaximumFixableSeverity.Allows(severity) && v.MaximumUnfixableSeverity.Allows(severity) && v.BaseFindings == nil {
			l.d.at(path+".gracePeriod."+string(severity), "has no effect: %s is within both limits", severity)
		}
	}
	if v.MaximumEPSS != nil && *v.MaximumEPSS == 1 {
		l.d.at(path+".maximumEPSS", "has no effect: nothing is likelier than 1")
	}
	if v.Scan.required() && v.Scan.Continuous == ContinuousOptional && v.Scan.MaxAge == 0 {
		l.d.at(path+".scan.continuous", "is optional and maxAge is not set: a scan of any age counts, however much was found since")
	}
}

func (l *linter) provenance() {
	p := l.s.Provenance
	if p == nil {
		return
	}
	if len(p.Builders) == 0 {
		l.d.at("spec.provenance", "names no builders: any builder whose statement verifies will do")
	}
	if p.SignedBy != nil {
		l.signedBy("spec.provenance.signedBy", p.SignedBy)
	}
}

func (l *linter) exceptions() {
	longest, warning := time.Duration(l.s.ExceptionMaxLifetime), time.Duration(l.s.ExceptionWarning)
	for i := range l.p.exceptions {
		e := &l.p.exceptions[i]

		left := e.End().Sub(l.now)
		switch {
		case e.Ended(l.now):
			l.d.at(e.Place+".expires", "the exception of %s ended on %s and counts as absent", e.Owner, e.Day())
		case longest > 0 && e.Expires.After(l.now.Add(longest)):
			l.d.at(e.Place+".expires", "the exception of %s ends on %s, further away than the %s of exceptionMaxLifetime, and counts as absent",
				e.Owner, e.Day(), Duration(longest))
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
		case l.s.skips(e.Check):
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

// skips reports whether a check never applies.
func (s *Spec) skips(check string) bool {
	switch check {
	case attestor.CheckBase:
		return !s.Base.Required
	case attestor.CheckUser:
		return !s.User.NonRoot
	case attestor.CheckProvenance:
		return s.Provenance == nil
	case attestor.CheckScope:
		return s.Scope == nil
	}
	return false
}

// rules finds those whose value does not depend on the evidence.
func (l *linter) rules() {
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
	if len(b.Attestors) == 0 {
		l.d.at("spec.breakGlass", "names no attestors of its own: overridden denials cannot be told from passes where images are deployed")
	}
}

// Describe is one line about why a policy covers a repository, for people.
func (m Match) Describe() string {
	return fmt.Sprintf("policy %s (%s, %s) by pattern %s", m.Policy.ref.Name, m.Policy.file, m.Policy.ref.Mode, m.Pattern)
}
