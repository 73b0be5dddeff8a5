package posture

import (
	"cmp"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
)

// An exception excuses what one rule found in some services, until a day.
type exception struct {
	rule     string
	services []string // patterns of a name, or of project/region/name
	subject  string   // empty: all that the rule found
	owner    string
	reason   string
	expires  time.Time // the day, inclusive, UTC
	file     string    // where it stands
	line     int
}

// use is what became of an exception in one judgement.
type use struct{ excused, expired bool }

func (e exception) covers(s *service) bool {
	for _, pattern := range e.services {
		name := s.name
		if strings.Contains(pattern, "/") {
			name = s.fullName()
		}
		if ok, _ := path.Match(pattern, name); ok {
			return true
		}
	}
	return false
}

func (e exception) applied(f fault, expired bool) attestor.AppliedException {
	return attestor.AppliedException{
		ID: e.rule, Owner: e.owner, Reason: e.reason, Expires: e.expires.Format(time.DateOnly), Subject: cmp.Or(f.subject, f.found), Expired: expired,
	}
}

// except takes what exceptions excuse out of a finding; one without anything
// left passes, and says by whose leave.
func (j *Judge) except(f *Finding, s *service, faults []fault, used []use) {
	now := j.c.Now().UTC()
	var left []fault
	for _, fault := range faults {
		excused := false
		for i, e := range j.c.Profile.exceptions {
			if e.rule != f.Rule || !e.covers(s) || e.subject != "" && e.subject != fault.subject {
				continue
			}
			if !now.Before(e.expires.AddDate(0, 0, 1)) {
				used[i].expired = true
				continue
			}
			used[i].excused, excused = true, true
			f.Exceptions = append(f.Exceptions, e.applied(fault, false))
			break
		}
		if !excused {
			left = append(left, fault)
		}
	}
	switch {
	case len(left) == 0 && len(faults) > 0:
		f.Status = attestor.StatusPass
		f.Found += ", excepted"
		f.Wanted, f.Fix = "", ""
	case len(left) < len(faults):
		f.Found = tell(left)
	}
}

// reportExceptions tells of exceptions that have expired, and of those whose
// services were judged and gave them nothing to excuse.
func (j *Judge) reportExceptions(set *input, used []use) []Finding {
	var out []Finding
	for i, e := range j.c.Profile.exceptions {
		judged := false
		for _, s := range set.services {
			judged = judged || e.covers(s)
		}
		f := Finding{Service: strings.Join(e.services, " "), Kind: "exception", File: e.file, Line: e.line, Status: attestor.StatusWarn}
		what := fmt.Sprintf("%s's exception from %s until %s", clip(e.owner), e.rule, e.expires.Format(time.DateOnly))
		switch {
		case used[i].expired:
			f.Rule, f.Found = string(attestor.CodeExceptionExpired), what+" has expired, and counts as absent"
			f.Fix = "mend what it excused, or have its owner extend it"
			f.Exceptions = []attestor.AppliedException{e.applied(fault{subject: e.subject}, true)}
		case judged && !used[i].excused:
			f.Rule, f.Found = string(attestor.CodeExceptionStale), what+" excuses nothing"
			f.Fix = "remove it from the profile"
		default:
			continue
		}
		out = append(out, f)
	}
	return out
}
