package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

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

	say(
		s.Mode != attestor.Enforce,
		"nothing yet: its mode is %s, so that it judges and records, refuses nothing and signs nothing", s.Mode,
	)

	say(s.Platforms == nil, "platforms: every runnable one is judged")
	say(s.Platforms != nil, "platforms: only %s are judged and attested", strings.Join(s.Platforms, ", "))
	for _, c := range p.checks {
		if c.demands != nil {
			out = append(out, c.demands(s)...)
		}
	}

	for _, r := range s.Rules {
		say(true, "rule %s: %s", r.Name, r.Expression)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Checks)) {
		say(s.Checks[name] == CheckWarn, "%s only warns", name)
	}

	out = append(out, sentences(p.upcoming)...)
	say(len(p.exceptions) > 0, "exceptions: %d", len(p.exceptions))
	say(true, "attested by: %s", strings.Join(s.Attestors, ", "))
	return out
}
