package attestor_test

import (
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/contract"
)

// The stages that these tests put around a gate keep the promises that the real
// ones keep.
func TestStagesKeepTheContracts(t *testing.T) {
	s := newStages(t)
	t.Run("policies", func(t *testing.T) { contract.Policies(t, newStages(t), repository, "registry.example/other/app") })
	t.Run("policy", func(t *testing.T) { contract.Policy(t, enforcing()) })

	t.Run("inspector", func(t *testing.T) {
		contract.Inspector(t, func(t *testing.T) contract.Inspecting {
			s := newStages(t)
			return contract.Inspecting{
				Inspector: s, Tagged: reference(t, repository+":v7"), Image: s.resolved.Image,
				Unknown: reference(t, "us-docker.pkg.dev/acme/prod/unknown:v7"),
				Down: func() {
					s.resolve = &attestor.Error{Kind: attestor.Upstream, Code: attestor.CodeRegistryUnavailable, Msg: "the registry does not answer"}
				},
			}
		})
	})

	t.Run("scanner", func(t *testing.T) {
		unscanned := reference(t, "us-docker.pkg.dev/acme/prod/unknown:v7").At(digest(2))
		contract.Scanner(t, contract.Scanning{Scanner: s, Scanned: s.resolved.Image, Unscanned: unscanned})
	})

	t.Run("attester", func(t *testing.T) {
		contract.Attester(t, func(t *testing.T) contract.Attesting {
			s := newStages(t)
			s.standing.Known = true
			return contract.Attesting{Attester: s, Attestors: s.policy.needs.Attest.Attestors}
		})
	})

	t.Run("recorder", func(t *testing.T) {
		contract.Recorder(t, func(t *testing.T) contract.Recording {
			s := newStages(t)
			return contract.Recording{Recorder: s, Finished: func(_ *testing.T, id string) (attestor.Decision, bool) {
				s.mu.Lock()
				defer s.mu.Unlock()
				r, ok := s.finished(id)
				return r.Decision, ok
			}}
		})
	})
}
