package policy

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/attestor-gate/attestor"
)

const userFix = "end the Dockerfile with a numeric user, such as USER 65532:65532"

func (j *judge) user(e *attestor.PlatformEvidence) {
	want := j.policy.doc.Spec.User
	if !want.NonRoot {
		j.skip(attestor.CheckUser, e.Platform, "the policy says user.nonRoot: false")
		return
	}
	found := j.problems(attestor.CheckUser, j.ev.Problems, e.Problems)
	found = append(found, uid(want, e.User, found)...)
	if e.User.UID != nil && (e.User.GID == nil || *e.User.GID == 0) {
		f := deny(attestor.CodeGroupRoot, e.User.Configured, "the image runs with group 0, which is what a config that gives no group means too",
			"name a group: USER 65532:65532")
		if f, count := f.respond(want.RootGroup); count {
			found = append(found, f)
		}
	}
	j.settle(attestor.CheckUser, e.Platform, found)
}

// uid judges the number. Whatever is not known to be another user than root is
// refused.
func uid(want User, u attestor.User, problems []finding) []finding {
	explained := len(problems) > 0
	given := func(codes ...attestor.Code) bool {
		return slices.ContainsFunc(problems, func(f finding) bool { return slices.Contains(codes, f.reason.Code) })
	}
	var found []finding
	add := func(code attestor.Code, status attestor.Status, format string, args ...any) {
		found = append(found, deny(code, u.Configured, fmt.Sprintf(format, args...), userFix).as(status))
	}
	if u.UID == nil {
		if !explained {
			if u.Configured == "" { // the config was not read, for a reason that is told elsewhere
				add(attestor.CodeUserLookupFailed, attestor.StatusError, "which user the image runs as could not be found out")
			} else {
				add(attestor.CodeUserLookupFailed, attestor.StatusError, "which user %q is could not be found out", u.Configured)
			}
		}
		return found
	}
	switch id := *u.UID; {
	case id == 0 && given(attestor.CodeUserRoot, attestor.CodeUserRootDisguised, attestor.CodeUserNotSet):
	case id == 0 && u.Configured == "":
		add(attestor.CodeUserNotSet, attestor.StatusDeny, "no user is set, so that the image runs as root; uid %d or higher is allowed", want.MinimumUID)
	case id == 0:
		add(attestor.CodeUserRoot, attestor.StatusDeny, "the image runs as root (%q); uid %d or higher is allowed", u.Configured, want.MinimumUID)
	case id < 0 || id > math.MaxInt32:
		add(attestor.CodeUserInvalid, attestor.StatusDeny, "uid %d is one that runtimes refuse or truncate; 1 to 2147483647 is allowed", id)
	case id < want.MinimumUID:
		add(attestor.CodeUserTooLow, attestor.StatusDeny, "uid %d is lower than the %d that the policy sets", id, want.MinimumUID)
	}
	switch {
	case u.Source == attestor.UserFromConfig && numeric(u.Configured):
	case u.Source == attestor.UserFromPasswd && want.Names == NamesResolve:
	case given(attestor.CodeUserNotNumeric, attestor.CodeUserRoot, attestor.CodeUserRootDisguised, attestor.CodeUserNotSet, attestor.CodeUserInvalid):
	case *u.UID == 0:
	case u.Source == attestor.UserFromConfig || u.Source == attestor.UserFromPasswd:
		add(attestor.CodeUserNotNumeric, attestor.StatusDeny, "user %q is a name, which kubelet refuses under runAsNonRoot; a number is allowed", u.Configured)
	default:
		add(attestor.CodeUserLookupFailed, attestor.StatusError, "how user %q was decided is not recorded", u.Configured)
	}
	return found
}

// numeric reports whether the user part of a config is a plain number: a guard
// against evidence that calls a name numeric.
func numeric(configured string) bool {
	user := configured
	for i, r := range configured {
		if r == ':' {
			user = configured[:i]
			break
		}
	}
	_, err := strconv.ParseUint(user, 10, 32)
	return err == nil
}
