package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
)

// A group by name is judged by what is proven of it, and said to be group 0 only
// where that is.
func TestJudgeGroup(t *testing.T) {
	const (
		unresolved = attestor.CodeGroupUnresolved
		zero       = attestor.CodeGroupRoot
	)

	problem := func(status attestor.Status) []attestor.Problem {
		return []attestor.Problem{{Check: attestor.CheckUser, Status: status,
			Reason: attestor.Reason{Code: unresolved, Message: "it has no entry of that name"}}}
	}

	id := func(n int64) *int64 { return &n }
	for _, tt := range []struct {
		name, configured string
		gid              *int64
		problems         []attestor.Problem
		names            string
		code             attestor.Code // "": nothing is said
		denied           attestor.Outcome
		says             string
	}{
		{"by number", "1000:1000", id(1000), nil, "refuse", "", attestor.Pass, ""},
		{"by number, 0", "1000:0", id(0), nil, "refuse", zero, attestor.Deny, "runs with group 0"},
		{"none", "1000", id(0), nil, "refuse", zero, attestor.Deny, "USER gives no group"},
		{"root by name", "1000:root", id(0), nil, "refuse", zero, attestor.Deny, "runs with group 0"},
		{"by name, not resolved", "1000:staff", nil, nil, "refuse", unresolved, attestor.Deny, "proves nothing"},
		{"by name, resolved for another policy", "1000:staff", id(50), nil, "refuse", unresolved, attestor.Deny, "proves nothing"},
		{"by name, resolved to 0 for another policy", "1000:wheel", id(0), nil, "refuse", unresolved, attestor.Deny, "proves nothing"},
		{"by name, not found for another policy", "1000:staff", nil, problem(attestor.StatusDeny), "refuse", unresolved, attestor.Deny, "proves nothing"},
		{"by name, not read for another policy", "1000:staff", nil, problem(attestor.StatusError), "refuse", unresolved, attestor.Deny, "proves nothing"},

		{"resolved", "1000:staff", id(50), nil, "resolve", "", attestor.Pass, ""},
		{"resolved to 0", "1000:wheel", id(0), nil, "resolve", zero, attestor.Deny, "/etc/group"},
		{"not found", "1000:staff", nil, problem(attestor.StatusDeny), "resolve", unresolved, attestor.Deny, "no entry of that name"},
		{"not read", "1000:staff", nil, problem(attestor.StatusError), "resolve", unresolved, attestor.Undecided, "no entry of that name"},
		{"recorded before groups were resolved", "1000:staff", nil, nil, "resolve", unresolved, attestor.Deny, "was not resolved"},
		{"recorded without a gid", "1000", nil, nil, "resolve", zero, attestor.Deny, "USER gives no group"},
	} {
		for _, response := range []struct {
			rootGroup string
			want      attestor.Outcome
		}{{"allow", attestor.Pass}, {"warn", attestor.Pass}, {"deny", tt.denied}} {
			t.Run(tt.name+", "+response.rootGroup, func(t *testing.T) {
				p := with(t, fmt.Sprintf("  user: {nonRoot: true, names: %s, rootGroup: %s}", tt.names, response.rootGroup))
				v := p.Judge(passing(p, on(func(e *attestor.PlatformEvidence) {
					e.User = attestor.User{Configured: tt.configured, UID: id(1000), GID: tt.gid, Source: attestor.UserFromConfig}
					e.Problems = tt.problems
				})))

				if v.Outcome() != response.want {
					t.Errorf("outcome = %s, want %s", v.Outcome(), response.want)
				}

				var said []attestor.Reason
				for _, c := range v.Checks() {
					if c.Name == attestor.CheckUser {
						said = append(said, c.Reasons...)
					}
				}

				if tt.code == "" || response.rootGroup == "allow" {
					if len(said) > 0 {
						t.Errorf("it says %+v, want nothing", said)
					}
					return
				}
				if len(said) != 1 || said[0].Code != tt.code || !strings.Contains(said[0].Message, tt.says) || said[0].Message == "" {
					t.Errorf("it says %+v, want %s with %q", said, tt.code, tt.says)
				}
			})
		}
	}
}
