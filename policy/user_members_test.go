package policy_test

import (
	"testing"

	"github.com/attestor-gate/attestor"
)

// A user whose own group is another one than 0 may be a member of group 0, or may be for all that is known. rootGroup
// decides about both, as about the group that the user names.
func TestMembersOfRootsGroup(t *testing.T) {
	member := func(code attestor.Code, status attestor.Status) func(*attestor.Evidence) {
		return on(func(e *attestor.PlatformEvidence) {
			e.Config.User = "app"
			e.User = attestor.User{Configured: "app", UID: new(int64(1000)), GID: new(int64(1000)), Source: attestor.UserFromPasswd}
			if code != "" {
				e.Problems = []attestor.Problem{{Check: attestor.CheckUser, Status: status,
					Reason: attestor.Reason{Code: code, Message: "m"}}}
			}
		})
	}
	const rooted, unresolved = attestor.CodeGroupRoot, attestor.CodeGroupUnresolved
	for _, answer := range []string{"deny", "warn", "allow"} {
		p := with(t, "  user: {nonRoot: true, names: resolve, rootGroup: "+answer+"}")
		judged(t, p, passing(p, member("", "")), attestor.Pass)
		if answer != "deny" {
			judged(t, p, passing(p, member(rooted, attestor.StatusDeny)), attestor.Pass)
			judged(t, p, passing(p, member(unresolved, attestor.StatusError)), attestor.Pass)
			continue
		}
		judged(t, p, passing(p, member(rooted, attestor.StatusDeny)), attestor.Deny, rooted)
		judged(t, p, passing(p, member(unresolved, attestor.StatusDeny)), attestor.Deny, unresolved)
		judged(t, p, passing(p, member(unresolved, attestor.StatusError)), attestor.Undecided, unresolved)
	}
}
