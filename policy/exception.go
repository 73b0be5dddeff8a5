package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/exception"
)

// exceptions compiles both forms. They are in the order of their end, last
// first, so that of several that fit the one that stands longest is used.
func (s *Spec) exceptions(table []check) exception.List {
	var out exception.List
	for _, c := range table {
		if c.allowed != nil {
			out = append(out, c.allowed(s)...)
		}
	}

	for i, e := range s.Exceptions {
		out = append(out, exception.Exception{
			ID: cmp.Or(e.ID, e.Check+"/"+e.Subject), Check: e.Check, Subject: strings.TrimPrefix(e.Subject,
				secretKindPrefix),
			Packages: e.Packages, Paths: e.Paths, Images: e.Images, Platforms: e.Platforms,
			Owner: e.Owner, Reason: e.Reason, Expires: e.Expires.start, Place: index("spec.exceptions", i),
		})
	}

	slices.SortStableFunc(out, func(a, b exception.Exception) int { return b.Expires.Compare(a.Expires) })

	return out
}

// image is the target of an image's exceptions.
func (j *judgement) image(platform string) exception.Target {
	return exception.Target{Repository: j.ev.Image.Repository(), Platform: platform}
}

// excuse is the one place where exceptions are evaluated. It reports whether
// one excuses the finding, and notes in the check every exception that was
// used, or would have been used had it not expired.
func (j *judgement) excuse(check *attestor.Check, f finding) bool {
	// An exception accepts a refusal for a time. It cannot make up for evidence
	// that could not be had, nor for findings that the policy calls final.
	if f.final || f.note || f.status != attestor.StatusDeny && f.status != attestor.StatusWarn {
		return false
	}

	// A trusted VEX statement excuses without an exception, and is named in its place.
	if f.excuse != nil {
		addApplied(check, *f.excuse)
		return true
	}

	excused := false
	found := exception.Finding{
		Check: check.Name, Code: f.reason.Code, Subject: cmp.Or(f.about, f.reason.Subject),
		Package: f.pkg, Path: f.path,
	}
	var void []attestor.AppliedException
	for i, e := range j.policy.exceptions.About(found, j.image(check.Platform)) {
		// Malware is not excused along with something else: not by "*", nor by an id that stands for a vulnerability.
		if f.named && (e.Subject != string(f.reason.Code) || len(e.Packages) == 0) {
			continue
		}
		j.matched[i] = true

		// What has lapsed counts as absent, and says so.
		if why := j.lapsed(e); why != nil {
			j.remark(*why)
			void = append(void, e.Applied(f.reason.Subject, true))
			continue
		}

		if !excused {
			excused = true
			addApplied(check, e.Applied(f.reason.Subject, false))
			j.expiring(e)
		}
	}

	// A denial that stands shows the exceptions that would have excused it.
	if !excused {
		for _, a := range void {
			addApplied(check, a)
		}
	}

	return excused
}

func addApplied(check *attestor.Check, a attestor.AppliedException) {
	if !slices.Contains(check.Exceptions, a) {
		check.Exceptions = append(check.Exceptions, a)
	}
}

// lapsed says why an exception counts as absent, or nil where it counts.
func (j *judgement) lapsed(e *exception.Exception) *attestor.Reason {
	if e.Ended(j.at) {
		return &attestor.Reason{Code: attestor.CodeExceptionExpired, Subject: e.ID,
			Message: fmt.Sprintf("the exception of %s ended on %s and counts as absent", e.Owner, e.Day()),
			Fix:     "remove " + e.Place + ", or agree on a new end with " + e.Owner}
	}

	longest := time.Duration(j.spec.ExceptionMaxLifetime)
	if longest > 0 && e.Expires.After(j.at.Add(longest)) {
		return &attestor.Reason{Code: attestor.CodeExceptionTooLong, Subject: e.ID,
			Message: fmt.Sprintf(
				"the exception of %s ends on %s, further away than the %s that exceptionMaxLifetime allows, and "+
					"counts as absent",
				e.Owner, e.Day(), Duration(longest),
			),
			Fix: "bring the end of " + e.Place + " nearer"}
	}

	return nil
}

func (j *judgement) expiring(e *exception.Exception) {
	warning := time.Duration(j.spec.ExceptionWarning)

	// Warned of while it still counts, so that its end surprises nobody.
	if left := e.End().Sub(j.at); left <= warning {
		j.remark(attestor.Reason{Code: attestor.CodeExceptionExpiring, Subject: e.ID,
			Message: fmt.Sprintf("the exception of %s ends with %s", e.Owner, e.Day()),
			Fix:     "resolve what it is about, or agree on a new end with " + e.Owner})
	}
}

// remark adds to the policy's own check, once.
func (j *judgement) remark(r attestor.Reason) {
	if !slices.Contains(j.remarks, r) {
		j.remarks = append(j.remarks, r)
	}
}

// stale remarks on exceptions that are about this image and matched nothing,
// though their check was evaluated in full on every platform they name.
func (j *judgement) stale() {
	for i := range j.policy.exceptions {
		e := &j.policy.exceptions[i]
		if j.matched[i] || !e.CoversName(j.image("")) || !j.evaluated(e) || j.lapsed(e) != nil {
			continue
		}

		// Of an exception for this repository alone, nothing here is nothing anywhere. One for many images is the
		// matter of the report, which sees them all.
		r := attestor.Reason{
			Code: attestor.CodeExceptionStale, Subject: e.ID,
			Message: fmt.Sprintf(
				"the exception of %s for %s %s until %s matched nothing in this image",
				e.Owner, e.Check, e.Subject, e.Expires.Format(time.DateOnly),
			),
		}
		if len(e.Images) == 1 && e.Images[0].String() == j.ev.Image.Repository() {
			r.Fix = "remove " + e.Place
		}
		j.remark(r)
	}
}

func (j *judgement) evaluated(e *exception.Exception) bool {
	found := false
	for _, c := range j.checks {
		if c.Name != e.Check || !e.CoversPlatform(c.Platform) {
			continue
		}

		// What was not judged on one platform may be there: an exception is stale only where all was looked at.
		if c.Status == attestor.StatusError || c.Status == attestor.StatusSkipped {
			return false
		}
		found = true
	}

	return found
}
