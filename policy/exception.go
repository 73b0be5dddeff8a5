package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
)

// anySubject as an exception's subject stands for every denial of its check.
const anySubject = "*"

// An exception is either form of exception, compiled to one.
type exception struct {
	id        string
	check     string
	subject   string
	packages  []string
	images    []attestor.Pattern
	platforms []string
	owner     string
	reason    string
	expires   Date
	path      string // in the document
}

// exceptions compiles both forms. They are in the order of their end, last
// first, so that of several that fit the one that stands longest is used.
func (s *Spec) exceptions() []exception {
	var out []exception
	for i, a := range s.Vulnerabilities.AllowedCVEs {
		out = append(out, exception{
			id: a.ID, check: attestor.CheckVulnerabilities, subject: a.ID, packages: a.Packages, images: a.Images,
			owner: a.Owner, reason: a.Reason, expires: a.Expires, path: index("spec.vulnerabilities.allowedCves", i),
		})
	}
	for i, e := range s.Exceptions {
		out = append(out, exception{
			id: cmp.Or(e.ID, e.Check+"/"+e.Subject), check: e.Check, subject: e.Subject, images: e.Images, platforms: e.Platforms,
			owner: e.Owner, reason: e.Reason, expires: e.Expires, path: index("spec.exceptions", i),
		})
	}
	slices.SortStableFunc(out, func(a, b exception) int { return b.expires.start.Compare(a.expires.start) })
	return out
}

// covers reports whether the exception is about images of a repository.
func (e *exception) covers(repository string) bool {
	return len(e.images) == 0 || slices.ContainsFunc(e.images, func(p attestor.Pattern) bool { return p.Match(repository) })
}

func (e *exception) coversPlatform(platform string) bool {
	return len(e.platforms) == 0 || slices.ContainsFunc(e.platforms, func(want string) bool { return samePlatform(want, platform) })
}

// fits reports whether the exception is about a finding of a check.
func (e *exception) fits(check string, f finding) bool {
	return e.check == check &&
		(e.subject == anySubject || e.subject == string(f.reason.Code) || e.subject == f.reason.Subject && !isCode(e.subject)) &&
		(len(e.packages) == 0 || slices.Contains(e.packages, f.pkg))
}

// isCode reports whether a subject is the name of a reason. It is then about
// that reason only: an image's author chooses some subjects, such as a user's
// name, and could name the user like a reason that is excused.
func isCode(subject string) bool {
	return slices.ContainsFunc(attestor.Codes(), func(c attestor.CodeInfo) bool { return string(c.Code) == subject })
}

func (e *exception) applied(subject string, expired bool) attestor.AppliedException {
	return attestor.AppliedException{ID: e.id, Owner: e.owner, Reason: e.reason, Expires: e.expires.String(), Subject: subject, Expired: expired}
}

// samePlatform reports whether a platform is the one wanted, or a variant of
// it where none is named.
func samePlatform(want, got string) bool {
	return strings.HasPrefix(got, want+"/") || normalPlatform(want) == normalPlatform(got)
}

// normalPlatform has variants that are the default as containerd has them, so
// that two spellings of one platform are equal.
func normalPlatform(s string) string {
	switch s {
	case "linux/arm64/v8", "linux/arm64/8":
		return "linux/arm64"
	case "linux/amd64/v1":
		return "linux/amd64"
	case "linux/arm":
		return "linux/arm/v7"
	}
	return s
}

// excuse is the one place where exceptions are evaluated. It reports whether
// one excuses the finding, and notes in the check whichever was used or would
// have been, had it not expired.
func (j *judge) excuse(check *attestor.Check, f finding) bool {
	if f.final || f.note || f.status != attestor.StatusDeny && f.status != attestor.StatusWarn {
		return false
	}
	if f.excuse != nil {
		addApplied(check, *f.excuse)
		return true
	}
	excused := false
	for i := range j.policy.exceptions {
		e := &j.policy.exceptions[i]
		if !e.fits(check.Name, f) || !e.covers(j.ev.Image.Repository()) || !e.coversPlatform(check.Platform) {
			continue
		}
		j.matched[i] = true
		why := j.lapsed(e)
		if why != nil {
			j.remark(*why)
		}
		if why == nil && !excused {
			excused = true
			addApplied(check, e.applied(f.reason.Subject, false))
			j.expiring(e)
		}
	}
	if !excused {
		j.noteExpired(check, f)
	}
	return excused
}

// noteExpired lists the exceptions that have lapsed for a finding that nothing
// else excuses.
func (j *judge) noteExpired(check *attestor.Check, f finding) {
	for i := range j.policy.exceptions {
		e := &j.policy.exceptions[i]
		if e.fits(check.Name, f) && e.covers(j.ev.Image.Repository()) && e.coversPlatform(check.Platform) {
			addApplied(check, e.applied(f.reason.Subject, true))
		}
	}
}

func addApplied(check *attestor.Check, a attestor.AppliedException) {
	if !slices.Contains(check.Exceptions, a) {
		check.Exceptions = append(check.Exceptions, a)
	}
}

// lapsed says why an exception counts as absent, or nil where it counts.
func (j *judge) lapsed(e *exception) *attestor.Reason {
	if !j.ev.Time.Before(e.expires.End()) {
		return &attestor.Reason{Code: attestor.CodeExceptionExpired, Subject: e.id,
			Message: fmt.Sprintf("the exception of %s ended on %s and counts as absent", e.owner, e.expires),
			Fix:     "remove " + e.path + ", or agree on a new end with " + e.owner}
	}
	if longest := time.Duration(j.policy.doc.Spec.ExceptionMaxLifetime); longest > 0 && e.expires.start.After(j.ev.Time.Add(longest)) {
		return &attestor.Reason{Code: attestor.CodeExceptionTooLong, Subject: e.id,
			Message: fmt.Sprintf("the exception of %s ends on %s, further away than the %s that exceptionMaxLifetime allows, and counts as absent", e.owner, e.expires, Duration(longest)),
			Fix:     "bring the end of " + e.path + " nearer"}
	}
	return nil
}

func (j *judge) expiring(e *exception) {
	warning := time.Duration(j.policy.doc.Spec.ExceptionWarning)
	if left := e.expires.End().Sub(j.ev.Time); left <= warning {
		j.remark(attestor.Reason{Code: attestor.CodeExceptionExpiring, Subject: e.id,
			Message: fmt.Sprintf("the exception of %s ends with %s", e.owner, e.expires),
			Fix:     "resolve what it is about, or agree on a new end with " + e.owner})
	}
}

// remark adds to the policy's own check, once.
func (j *judge) remark(r attestor.Reason) {
	if !slices.Contains(j.remarks, r) {
		j.remarks = append(j.remarks, r)
	}
}

// stale remarks on exceptions that are about this image and matched nothing,
// though their check was evaluated in full on every platform they name.
func (j *judge) stale() {
	for i := range j.policy.exceptions {
		e := &j.policy.exceptions[i]
		if j.matched[i] || !e.covers(j.ev.Image.Repository()) || !j.evaluated(e) || j.lapsed(e) != nil {
			continue
		}
		j.remark(attestor.Reason{Code: attestor.CodeExceptionStale, Subject: e.id,
			Message: fmt.Sprintf("the exception of %s for %s %s matched nothing in this image", e.owner, e.check, e.subject),
			Fix:     "remove " + e.path + ", or narrow its images"})
	}
}

func (j *judge) evaluated(e *exception) bool {
	found := false
	for _, c := range j.checks {
		if c.Name != e.check || !e.coversPlatform(c.Platform) {
			continue
		}
		if c.Status == attestor.StatusError || c.Status == attestor.StatusSkipped {
			return false
		}
		found = true
	}
	return found
}
