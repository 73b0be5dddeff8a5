package policy

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
)

func userCheck() check {
	return check{
		name: attestor.CheckUser,
		asks: func(s *Spec) asking { return requiredIf(s.User.NonRoot) },
		needs: func(s *Spec, n *attestor.Needs) {
			n.ResolveNames = s.User.NonRoot && s.User.Names == NamesResolve

			// Runtimes give a user by number the groups that the image's files say, whatever names the policy accepts in USER.
			// To look them up costs reading layers, so that it is done where it may refuse.
			n.ResolveMembers = s.User.NonRoot && s.User.RootGroup == RespondDeny
		},
		lacks: func(_ *Policy, earlier, next attestor.Needs) lack {
			switch {
			// A user by number may be a member of group 0, which speaks against the image.
			case next.ResolveMembers && !earlier.ResolveMembers:
				return lack{why: noMembers}

			// A number needs no other look-up, and whoever has one passes by it.
			case next.ResolveNames && !earlier.ResolveNames:
				return lack{why: noNames, certain: true}
			}
			return lack{}
		},
		validate: func(v *validator, s *Spec) { v.user(&s.User) },
		demands: func(s *Spec) []string {
			if !s.User.NonRoot {
				return []string{"user: not judged"}
			}
			return []string{fmt.Sprintf(
				"user: uid %d or higher, names: %s, group 0: %s", s.User.MinimumUID, s.User.Names, s.User.RootGroup,
			)}
		},
		codes: func(s *Spec) (out givenCodes) {
			out.can(s.User.NonRoot, attestor.CodeUserRoot, attestor.CodeUserNotSet)
			out.can(s.User.NonRoot && s.User.Names == NamesRefuse, attestor.CodeUserNotNumeric)
			out.only(s.User.NonRoot && s.User.MinimumUID > 1, attestor.CodeUserTooLow)
			out.only(
				s.User.NonRoot && s.User.RootGroup != RespondAllow, attestor.CodeGroupRoot,
				attestor.CodeGroupUnresolved,
			)
			return out
		},
		remarks: []attestor.Code{attestor.CodeUserLimits},
		exemplary: func(s *Spec, ev *attestor.Evidence) {
			e := &ev.Platforms[0]
			e.Config.User = "65532:65532"
			e.User = attestor.User{
				Configured: "65532:65532", UID: new(max(65532, s.User.MinimumUID)), GID: new(int64(65532)),
				Source: attestor.UserFromConfig,
			}
		},
		found:      func(p attestor.PlatformSummary) string { return describe.User(p.User) },
		ofPlatform: (*judgement).user,
	}
}

const (
	userFix  = "end the Dockerfile with a numeric user, such as USER 65532:65532"
	groupFix = "name a group by its number: USER 65532:65532"
)

func (j *judgement) user(e *attestor.PlatformEvidence) {
	want := j.spec.User
	if !want.NonRoot {
		j.skip(attestor.CheckUser, e.Platform, "the policy says user.nonRoot: false")
		return
	}

	// Problems of the group are the policy's to judge, since rootGroup may allow
	// what they are about; all others count as they are.
	var found, ofGroup []finding
	for _, f := range j.problems(attestor.CheckUser, j.ev.Problems, e.Problems) {
		if c := f.reason.Code; c == attestor.CodeGroupUnresolved || c == attestor.CodeGroupRoot {
			ofGroup = append(ofGroup, f)
		} else {
			found = append(found, f)
		}
	}

	found = append(found, uid(want, e.User, found)...)

	// Of a user whose uid is not known the group proves nothing, and the error is enough.
	if e.User.UID != nil {
		found = append(found, group(want, e.User, ofGroup)...)
	}
	j.conclude(attestor.CheckUser, e.Platform, found)
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

	// Nobody knows whether it is root: an error, which a problem may explain better.
	if u.UID == nil {
		if !explained {
			if u.Configured == "" { // the config was not read, for a reason that another check gives
				add(attestor.CodeUserLookupFailed, attestor.StatusError, "the image's user is not known")
			} else {
				add(attestor.CodeUserLookupFailed, attestor.StatusError, "the uid of user %q is not known",
					u.Configured)
			}
		}
		return found
	}

	// Kubernetes compares the number with 0 under runAsNonRoot; runtimes take 31 bits of it, so that 1<<32 would be
	// root.
	switch id := *u.UID; {
	case id == 0 && given(attestor.CodeUserRoot, attestor.CodeUserRootDisguised, attestor.CodeUserNotSet):
	case id == 0 && u.Configured == "":
		add(attestor.CodeUserNotSet, attestor.StatusDeny,
			"no user is set, so that the image runs as root; uid %d or higher is allowed", want.MinimumUID)
	case id == 0:
		add(attestor.CodeUserRoot, attestor.StatusDeny,
			"the image runs as root (%q); uid %d or higher is allowed", u.Configured, want.MinimumUID)
	case id < 0 || id > math.MaxInt32:
		add(attestor.CodeUserInvalid, attestor.StatusDeny,
			"runtimes refuse or truncate uid %d; 1 to 2147483647 is allowed", id)
	case id < want.MinimumUID:
		add(attestor.CodeUserTooLow, attestor.StatusDeny,
			"uid %d is lower than the %d that the policy sets", id, want.MinimumUID)
	}

	// A uid counts only by the way it was decided: by number in the config, or by
	// a name that the policy allows to be resolved.
	switch {
	case u.Source == attestor.UserFromConfig && numeric(u.Configured):
	case u.Source == attestor.UserFromPasswd && want.Names == NamesResolve:
	case *u.UID == 0:
	case given(attestor.CodeUserNotNumeric, attestor.CodeUserRoot, attestor.CodeUserRootDisguised,
		attestor.CodeUserNotSet, attestor.CodeUserInvalid):
	case u.Source == attestor.UserFromConfig || u.Source == attestor.UserFromPasswd:
		add(attestor.CodeUserNotNumeric, attestor.StatusDeny,
			"user %q is a name, which kubelet refuses under runAsNonRoot; a number is allowed", u.Configured)
	default:
		add(
			attestor.CodeUserLookupFailed, attestor.StatusError,
			"the evidence does not say how the uid of user %q was found",
			u.Configured,
		)
	}
	return found
}

// group judges the gid of a user whose uid is known. problems say why a group by
// name has none.
func group(want User, u attestor.User, problems []finding) []finding {
	_, name, grouped := strings.Cut(u.Configured, ":")
	byName := grouped && name != "root" && !digits(name)

	var found []finding
	switch {
	// A name that this policy does not resolve proves nothing, whatever another
	// policy had resolved it to.
	case byName && want.Names != NamesResolve:
		found = []finding{deny(
			attestor.CodeGroupUnresolved,
			u.Configured,
			fmt.Sprintf(
				"user %q has its group by name, which proves nothing about the gid; a number is allowed",
				u.Configured,
			),
			groupFix+"; or set spec.user.names: resolve",
		)}
	case u.GID == nil && grouped && len(problems) > 0:
		found = problems
	case u.GID == nil && grouped:
		found = []finding{deny(attestor.CodeGroupUnresolved, u.Configured,
			fmt.Sprintf("the gid of user %q is not known: its group was not resolved", u.Configured), groupFix)}
	case u.GID == nil || *u.GID == 0:
		found = []finding{deny(attestor.CodeGroupRoot, u.Configured, groupZero(u, byName), groupFix)}

	// The gid is another, and what is known of further groups says that 0 is among them, or may be.
	default:
		found = problems
	}

	// rootGroup decides about every gid that is not proven to be another one than
	// 0. A failure to look it up stays an error where it would refuse.
	out := found[:0:0]
	for _, f := range found {
		answer, count := f.respond(want.RootGroup)
		if want.RootGroup == RespondDeny {
			answer = f
		}
		if count {
			out = append(out, answer)
		}
	}
	return out
}

// groupZero says how an image comes to run with group 0.
func groupZero(u attestor.User, byName bool) string {
	switch {
	case byName:
		return fmt.Sprintf(
			"user %q runs with group 0, which its group's name means in the image's /etc/group", u.Configured,
		)
	case strings.Contains(u.Configured, ":"):
		return fmt.Sprintf("user %q runs with group 0", u.Configured)
	case u.Source == attestor.UserFromPasswd:
		return fmt.Sprintf("user %q runs with group 0, which is its group in the image's /etc/passwd", u.Configured)
	}
	return "the image runs with group 0, because USER gives no group"
}

// numeric reports whether the user part of a config is a plain number: a guard
// against evidence that calls a name numeric.
func numeric(configured string) bool {
	user, _, _ := strings.Cut(configured, ":")
	return digits(user)
}

func digits(s string) bool {
	_, err := strconv.ParseUint(s, 10, 32)
	return err == nil
}

func (v *validator) user(u *User) {
	if u.NonRoot || !v.has("spec.user.nonRoot") {
		if v.has("spec.user.minimumUID") && (u.MinimumUID < 1 || u.MinimumUID > 1<<31-1) {
			v.at("spec.user.minimumUID", "%d is not allowed: want 1 to 2147483647", u.MinimumUID)
		}
		return
	}

	contradicting := map[string]bool{
		"names": u.Names == NamesResolve, "rootGroup": u.RootGroup == RespondDeny, "minimumUID": u.MinimumUID > 1,
	}
	for field, stricter := range contradicting {
		if stricter {
			v.at("spec.user."+field, "contradicts nonRoot: false, with which the user is not judged")
		}
	}
}
