package policy_test

import (
	"fmt"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

// A policy chooses itself by the image's repository, and says everything that
// is wrong at once.
func ExampleSet_Govern() {
	set, err := policy.Load("../deploy/policies/starter.yaml")
	if err != nil {
		fmt.Println(err)
		return
	}

	p, ok := set.Govern("us-docker.pkg.dev/acme/web/shop")
	fmt.Println(p.Ref().Name, ok)

	starter := set.All()[0]
	ev := starter.Exemplary("us-docker.pkg.dev/acme/web/shop", time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC))
	ev.Platforms[0].User = attestor.User{Configured: "", UID: new(int64), GID: new(int64), Source: attestor.UserFromConfig}
	v := p.Judge(ev)
	fmt.Println(v.Outcome())

	for _, c := range v.Checks() {
		for _, r := range c.Reasons {
			if c.Status == attestor.StatusDeny {
				fmt.Println(c.Name, r.Code)
			}
		}
	}
	// Output:
	// starter true
	// deny
	// user USER_NOT_SET
	// user GROUP_ROOT
}

// Everything that is wrong is said at once, with its place.
func ExampleParse() {
	_, err := policy.Parse(policy.Source{Name: "p.yaml", Text: []byte(`apiVersion: attestor/v1
kind: GatePolicy
metadata: {name: p}
spec:
  mode: enfroce
  images: ["us-docker.pkg.dev/acme/**"]
  base: {required: false}
  user: {nonRoot: true, nammes: resolve}
  vulnerabilities: {maximumFixableSeverity: HIGH, maximumUnfixableSeverity: ALLOW_ALL}
  attestors: [projects/acme-security/attestors/gate]
`)})
	fmt.Println(err)
	// Output:
	// p.yaml:5:9: spec.mode: "enfroce" is not allowed; did you mean enforce? (allowed: enforce, dryRun)
	// p.yaml:8:25: spec.user: unknown field "nammes"; did you mean names? (allowed: nonRoot, names, rootGroup, minimumUID)
}
