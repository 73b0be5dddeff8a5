package policy_test

import (
	"testing"

	"github.com/attestor-gate/attestor/internal/testkit/contract"
	"github.com/attestor-gate/attestor/policy"
)

func TestPoliciesContract(t *testing.T) {
	const governed, ungoverned = "registry.example/acme/prod/api", "registry.example/other/app"
	t.Run("set", func(t *testing.T) {
		set, err := policy.Parse(policy.Source{Name: "policy.yaml", Text: []byte(strict)})
		if err != nil {
			t.Fatal(err)
		}

		contract.Policies(t, set, governed, ungoverned)
		for _, p := range set.All() {
			contract.Policy(t, p)
		}
	})
	t.Run("watcher", func(t *testing.T) { contract.Policies(t, watch(t), governed, ungoverned) })
}
