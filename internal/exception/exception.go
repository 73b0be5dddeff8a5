// Package exception decides what an exception excuses, and until when. The
// policies of images and the profiles of services share it, so that one word
// has one meaning in both.
package exception

import (
	"path"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
)

// Any as a subject stands for everything that the check found.
const Any = "*"

// An Exception excuses what one check found, until a day. It covers all targets
// that its lists do not exclude; an empty list excludes none.
type Exception struct {
	ID      string // what reports call it
	Check   string // the check or posture rule that it is about
	Subject string // [Any], a reason's code, or what a finding is about, such as a CVE
	Owner   string
	Reason  string
	Expires time.Time // the start of its last day, UTC

	Packages  []string           // that a finding is in
	Paths     []string           // patterns of files that a finding lies in, see [attestor.MatchPath]
	Images    []attestor.Pattern // repositories
	Platforms []string           // os/architecture[/variant]
	Services  []string           // patterns of a service's name, or of project/region/name

	Place string // where it stands in its document, for messages
	Line  int    // from 1; 0: not known
}

// A Target is what a check was put to.
type Target struct {
	Repository string
	Platform   string
	Service    string // a name; "" for an image
	FullName   string // the service's project/region/name
}

// A Finding is one thing that a check found.
type Finding struct {
	Check   string
	Code    attestor.Code // "" where the check has none, as a posture rule
	Subject string
	Package string
	Path    string
}

// End is the first instant at which the exception no longer counts: it holds
// through its last day, UTC.
func (e *Exception) End() time.Time { return e.Expires.AddDate(0, 0, 1) }

// Day is the last day, as in 2027-03-31.
func (e *Exception) Day() string { return e.Expires.Format(time.DateOnly) }

// Ended reports whether the exception counts as absent at t.
func (e *Exception) Ended(t time.Time) bool { return !t.Before(e.End()) }

// Covers reports whether the exception is about a target.
func (e *Exception) Covers(t Target) bool { return e.CoversName(t) && e.CoversPlatform(t.Platform) }

// CoversName is [Exception.Covers] for every platform.
func (e *Exception) CoversName(t Target) bool {
	image := func(p attestor.Pattern) bool { return p.Match(t.Repository) }
	service := func(pattern string) bool {
		name := t.Service
		if strings.Contains(pattern, "/") {
			name = t.FullName
		}

		ok, err := path.Match(pattern, name)

		return ok && err == nil
	}

	return (len(e.Images) == 0 || slices.ContainsFunc(e.Images, image)) &&
		(len(e.Services) == 0 || slices.ContainsFunc(e.Services, service))
}

// CoversPlatform reports whether the exception is about a platform.
func (e *Exception) CoversPlatform(platform string) bool {
	same := func(want string) bool { return attestor.SamePlatform(want, platform) }

	return len(e.Platforms) == 0 || slices.ContainsFunc(e.Platforms, same)
}

// Fits reports whether the exception is about a finding.
func (e *Exception) Fits(f Finding) bool {
	in := func(pattern string) bool { return attestor.MatchPath(pattern, f.Path) }

	return e.Check == f.Check && e.fitsSubject(f) &&
		(len(e.Packages) == 0 || slices.Contains(e.Packages, f.Package)) &&
		(len(e.Paths) == 0 || slices.ContainsFunc(e.Paths, in))
}

func (e *Exception) fitsSubject(f Finding) bool {
	switch {
	case e.Subject == Any:
		return true
	case f.Code == "":
		return e.Subject == f.Subject
	case e.Subject == string(f.Code):
		return true
	}

	// A subject that is the name of a code is about that code only. An image's
	// author chooses some subjects, such as a user's name, and could name the
	// user like a reason that is excused.
	return e.Subject == f.Subject && !isCode(e.Subject)
}

// Applied is what a decision says of the exception's use.
func (e *Exception) Applied(subject string, expired bool) attestor.AppliedException {
	return attestor.AppliedException{
		ID: e.ID, Owner: e.Owner, Reason: e.Reason, Expires: e.Day(), Subject: subject, Expired: expired,
	}
}

// A List is the exceptions of one policy or profile. Of several that are in
// force the first is used.
type List []Exception

// About yields the exceptions that are about a finding in a target, with their
// index, whether they are in force or not.
func (l List) About(f Finding, t Target) func(yield func(int, *Exception) bool) {
	return func(yield func(int, *Exception) bool) {
		for i := range l {
			if e := &l[i]; e.Fits(f) && e.Covers(t) && !yield(i, e) {
				return
			}
		}
	}
}

func isCode(subject string) bool {
	return slices.ContainsFunc(attestor.Codes(), func(c attestor.CodeInfo) bool { return string(c.Code) == subject })
}
