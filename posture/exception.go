package posture

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/exception"
)

// use records whether an exception matched a fault in one judgement.
type use struct{ matched, expired bool }

// target is the service as the patterns of an exception see it.
func (s *workload) target() exception.Target {
	return exception.Target{Service: s.name, FullName: s.fullName()}
}

// except removes the excused faults from a finding. A finding passes, and lists
// the exceptions, only if every one of its faults is excused.
func (j *Judge) except(f *finding, s *workload, faults []fault, used []use) {
	now := j.c.Now().UTC()

	var left []fault
	for _, fault := range faults {
		excused := false
		found := exception.Finding{Check: f.Rule, Subject: fault.subject, Path: s.file}
		for i, e := range j.c.Profile.exceptions.About(found, s.target()) {
			used[i].matched = true

			// An expired exception excuses nothing. [Judge.reportExceptions] warns of it.
			if e.Ended(now) {
				used[i].expired = true
				continue
			}

			if !excused {
				excused = true
				f.Exceptions = append(f.Exceptions, e.Applied(cmp.Or(fault.subject, fault.found), false))
			}
		}

		if !excused {
			left = append(left, fault)
		}
	}

	// The fix stays while any fault is left: it still has to be applied.
	switch {
	case len(left) == 0 && len(faults) > 0:
		f.Status = attestor.StatusPass
		f.found += ", excepted"
		f.required, f.Fix = "", ""
	case len(left) < len(faults):
		f.found = listFaults(left)
	}
}

// reportExceptions warns of exceptions that have expired, and of those that
// excused nothing although their services were judged.
func (j *Judge) reportExceptions(m *model, used []use) []attestor.PostureFinding {
	var out []attestor.PostureFinding
	for i := range j.c.Profile.exceptions {
		e := &j.c.Profile.exceptions[i]

		// An exception is stale only if what it is about was judged: a part of the input says nothing of the rest.
		judged := false
		for _, s := range m.workloads {
			judged = judged || e.CoversName(s.target()) &&
				e.Fits(exception.Finding{Check: e.Check, Subject: e.Subject, Path: s.file})
		}

		f := attestor.PostureFinding{
			Service: strings.Join(slices.Concat(e.Services, e.Paths), " "), Kind: "exception", Owner: clip(e.Owner),
			File: e.Place, Line: e.Line, Status: attestor.StatusWarn,
		}
		what := fmt.Sprintf("%s's exception from %s until %s", clip(e.Owner), e.Check, e.Day())
		switch {
		case used[i].expired:
			f.Rule, f.Message = string(attestor.CodeExceptionExpired), what+" has expired and excuses nothing"
			f.Fix = "correct the excused finding, or ask its owner to extend the exception"
			subject := e.Subject
			if subject == exception.Any {
				subject = ""
			}
			f.Exceptions = []attestor.AppliedException{e.Applied(subject, true)}
		case judged && !used[i].matched:
			f.Rule, f.Message = string(attestor.CodeExceptionStale), what+" excuses nothing"
			f.Fix = "remove it from the profile"
		default:
			continue
		}

		out = append(out, f)
	}

	return out
}
