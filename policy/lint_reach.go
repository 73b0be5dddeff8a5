package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/exception"
	"github.com/attestor-gate/attestor/internal/nearest"
)

// codeForm is how the names of reasons are written; it is not how a CVE, an image or a package is.
var codeForm = regexp.MustCompile(`\A[A-Z][A-Z0-9]*(_[A-Z0-9]+)+\z`)

// patterns finds those that no repository can match: of the policy's images, it governs nothing by them; of an
// exception's, the exception excuses nothing.
func (l *linter) patterns() {
	list := func(path string, all []attestor.Pattern) {
		for i, p := range all {
			if why := p.Unmatchable(); why != "" {
				l.d.at(index(path, i), "%s %s", p, why)
			}
		}
	}

	list("spec.images", l.s.Images)
	if l.s.Scope != nil {
		list("spec.scope.trustedDirectories", l.s.Scope.TrustedDirectories)
	}
	for _, e := range l.p.exceptions {
		list(e.Place+".images", e.Images)
	}
}

// checks finds modes of checks that are not asked for.
func (l *linter) checks() {
	for name := range l.s.Checks {
		if skips(l.p.checks, l.s, name) {
			l.d.at("spec.checks."+name, "has no effect: the policy does not ask for %s", name)
		}
	}
}

// subject says why an exception's subject can never be that of a denial, or "".
func (l *linter) subject(e *exception.Exception) string {
	code := attestor.Code(e.Subject)
	switch {
	case e.Subject == exception.Any:
		return ""
	case slices.Contains(codeNames(), e.Subject):
		return l.code(e.Check, code)
	case l.named(e.Check, e.Subject):
		return ""
	case codeForm.MatchString(e.Subject):
		why := fmt.Sprintf("%q is not the code of a reason", clip(e.Subject))
		if near := nearest.To(e.Subject, codeNames()); near != "" {
			why += "; did you mean " + near + "?"
		}
		return why
	}

	if name, isRule := strings.CutPrefix(e.Check, attestor.RulePrefix); isRule && e.Subject != name {
		return fmt.Sprintf(
			"%q is not what a rule is denied for: want %s, %s or *", clip(e.Subject), name, attestor.CodeRuleViolated,
		)
	}

	governed := func(p attestor.Pattern) bool { return p.Match(e.Subject) }
	if e.Check == attestor.CheckScope && !slices.ContainsFunc(l.s.Images, governed) {
		return fmt.Sprintf("%q is not a repository that the policy governs", clip(e.Subject))
	}
	return ""
}

// named reports whether a check's findings are called like codes, and this may be one of their names.
func (l *linter) named(check, subject string) bool {
	c := find(l.p.checks, check)
	return c != nil && c.subject != nil && c.subject(subject)
}

// code says why a check of this policy never denies with a code, or "".
func (l *linter) code(check string, code attestor.Code) string {
	asked := check
	if strings.HasPrefix(check, attestor.RulePrefix) {
		asked = "rule"
	}
	if of := checkOf(code); of != asked && !borrowed(code, of) {
		return fmt.Sprintf("%s is a reason of %s, never of %s", code, of, check)
	}

	switch {
	case code.Status() == attestor.StatusError:
		return fmt.Sprintf("%s says that something could not be found out, which no exception excuses", code)
	case l.p.remarks(code):
		return fmt.Sprintf("%s refuses nothing, so that there is nothing to excuse", code)
	case l.p.never(code):
		return fmt.Sprintf("no image can be denied for %s as the policy is written", code)
	}
	return ""
}

// checkOf is the check that gives a code, as [attestor.Codes] has it.
func checkOf(code attestor.Code) string {
	for _, info := range attestor.Codes() {
		if info.Code == code {
			return info.Check
		}
	}
	return ""
}

// borrowed reports whether a code may come with another check than its own: what is wrong with a registry or with a
// layer is reported where it was in the way.
func borrowed(code attestor.Code, of string) bool {
	return of == attestor.CheckPlatforms || code == attestor.CodeLayersMismatch ||
		code == attestor.CodeLayerContradictory || code == attestor.CodeLayerTooLarge
}
