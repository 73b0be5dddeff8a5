package vuln

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/eol"
)

// maxSystems is how many systems the findings in one list may be of. An image has one, or some more by its packages.
const maxSystems = 64

// systems counts the distributions that findings are of.
type systems map[attestor.System]int

// add counts the system of each affected package of o. One more than are kept is an error: whoever may write findings
// could otherwise hide the system whose end is over behind others.
func (s *systems) add(o *grafeaspb.Occurrence) error {
	for _, issue := range o.GetVulnerability().GetPackageIssue() {
		system, ok := eol.FromCPE(issue.GetAffectedCpeUri())
		if !ok {
			continue
		}
		if s.count(system, 1); len(*s) > maxSystems {
			return tooMuch(fmt.Sprintf("findings of more than %d operating systems", maxSystems))
		}
	}
	return nil
}

func (s *systems) count(system attestor.System, n int) {
	if *s == nil {
		*s = systems{}
	}
	(*s)[system] += n
}

func (s *systems) join(other systems) {
	for system, n := range other {
		s.count(system, n)
	}
}

// choose is the system that the findings are of, with its end; nil if they are of none. One whose end is over comes
// first: a finding can only make the verdict worse. Else it is that of most findings.
func (s systems) choose(ends *eol.Table, now time.Time) *attestor.System {
	described := map[attestor.System]attestor.System{}
	for system := range s {
		d := system
		ends.Describe(&d, now)
		described[system] = d
	}

	all := slices.SortedFunc(maps.Keys(s), func(a, b attestor.System) int {
		x, y := described[a], described[b]
		return cmp.Or(
			boolCompare(y.Ended(now), x.Ended(now)), cmp.Compare(s[b], s[a]),
			cmp.Compare(a.ID, b.ID), cmp.Compare(a.Version, b.Version),
		)
	})
	if len(all) == 0 {
		return nil
	}
	return new(described[all[0]])
}

// system is what the scanner says that it scanned, else what its findings are of.
func (s *Scanner) system(reported *attestor.System, found systems) *attestor.System {
	if reported == nil {
		return found.choose(s.c.Ends, s.c.Now())
	}
	s.c.Ends.Describe(reported, s.c.Now())
	return reported
}
