package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
)

// Demands says in sentences what the policy asks of an image.
func (p *Policy) Demands() []string {
	s := &p.doc.Spec
	var out []string
	say := func(when bool, format string, args ...any) {
		if when {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	say(s.Mode != attestor.Enforce, "nothing yet: its mode is %s, so that it judges and records, refuses nothing and signs nothing", s.Mode)
	say(s.Platforms == nil, "platforms: every runnable one is judged")
	say(s.Platforms != nil, "platforms: only %s are judged and attested", strings.Join(s.Platforms, ", "))
	if s.Scope != nil {
		say(len(s.Scope.TrustedDirectories) > 0, "scope: in one of %v", s.Scope.TrustedDirectories)
		say(s.Scope.MaxUploadAge > 0, "scope: uploaded at most %s ago", s.Scope.MaxUploadAge)
	}
	say(!s.Base.Required, "base: not judged")
	if s.Base.Required {
		names := make([]string, len(s.Base.Approved))
		for i, a := range s.Base.Approved {
			names[i] = a.Name
		}
		say(true, "base: one of %s, proven by %s or stronger", strings.Join(names, ", "), s.Base.Evidence)
	}
	say(!s.User.NonRoot, "user: not judged")
	say(s.User.NonRoot, "user: uid %d or higher, names: %s, group 0: %s", s.User.MinimumUID, s.User.Names, s.User.RootGroup)
	out = append(out, s.Vulnerabilities.demands()...)
	if v := s.Provenance; v != nil {
		say(true, "provenance: SLSA level %d or higher, builders %s, sources %s", v.SLSALevel, anyOf(v.Builders), anyOf(v.Sources))
	}
	for _, r := range s.Rules {
		say(true, "rule %s: %s", r.Name, r.Expression)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Checks)) {
		say(s.Checks[name] == CheckWarn, "%s only warns", name)
	}
	say(len(p.exceptions) > 0, "exceptions: %d", len(p.exceptions))
	say(true, "attested by: %s", strings.Join(s.Attestors, ", "))
	return out
}

func (v *Vulnerabilities) demands() []string {
	scan := "a finished scan"
	switch {
	case !v.Scan.required():
		scan = "a scan is not required"
	case v.Scan.Continuous == ContinuousRequired:
		scan += " that is kept up to date"
	}
	if v.Scan.MaxAge > 0 {
		scan += ", at most " + v.Scan.MaxAge.String() + " old"
	}
	out := []string{
		"vulnerabilities: " + scan,
		fmt.Sprintf("vulnerabilities: up to %s where a fix exists, up to %s where none does, without severity: %s", v.MaximumFixableSeverity, v.MaximumUnfixableSeverity, v.UnspecifiedSeverity),
	}
	if b := v.BaseFindings; b != nil {
		out = append(out, fmt.Sprintf("vulnerabilities of the base: up to %s where a fix exists, up to %s where none does", b.MaximumFixableSeverity, b.MaximumUnfixableSeverity))
	}
	if len(v.BlockedCVEs) > 0 {
		out = append(out, "vulnerabilities: none of "+strings.Join(v.BlockedCVEs, ", "))
	}
	if v.KnownExploited != RespondAllow {
		out = append(out, fmt.Sprintf("vulnerabilities known to be exploited: %s", v.KnownExploited))
	}
	if v.MaximumEPSS != nil {
		out = append(out, fmt.Sprintf("vulnerabilities: EPSS at most %g", *v.MaximumEPSS))
	}
	for _, s := range attestor.Severities() {
		if d := time.Duration(v.GracePeriod[s]); d > 0 {
			out = append(out, fmt.Sprintf("vulnerabilities: %s only warns for %s after its publication", s, Duration(d)))
		}
	}
	return out
}

func anyOf(list []string) string {
	if len(list) == 0 {
		return "any"
	}
	return strings.Join(list, ", ")
}
