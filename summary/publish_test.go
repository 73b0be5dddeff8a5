package summary_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
	"github.com/attestor-gate/attestor/internal/vsa"
)

// A pass has one summary, which says what was decided; asking again changes nothing in the registry.
func TestOneSummaryForOnePass(t *testing.T) {
	for kind, handler := range registries.Kinds() {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t, handler(t, true))
			p := w.publisher(w.p256())

			made := w.publish(p, judged{image: w.image, level: 2})
			if len(made.Standing) != 1 || !made.Standing[0].Created || len(made.Left) != 0 {
				t.Fatalf("published %+v", made)
			}
			want := vsa.Statement{
				Type: "https://in-toto.io/Statement/v1", PredicateType: "https://slsa.dev/verification_summary/v1",
				Subject: []vsa.Subject{{
					Name: w.image.Repository(), Digest: vsa.Digests{"sha256": w.image.Digest().Hex()},
				}},
				Predicate: vsa.Predicate{
					Verifier:     vsa.Verifier{ID: verifierID, Version: map[string]string{"attestor": "v1.2.3"}},
					TimeVerified: w.clock(), ResourceURI: "oci://" + w.image.Repository(),
					Policy: vsa.Resource{
						URI:    verifierID + "/v1/policies/production",
						Digest: vsa.Digests{"sha256": attestor.DigestOf([]byte("policy ")).Hex()},
					},
					VerificationResult: "PASSED", VerifiedLevels: []string{"SLSA_BUILD_LEVEL_2"},
					SLSAVersion: "1.2", Decision: "decision-1",
				},
			}
			if diff := cmp.Diff([]vsa.Statement{want}, w.attached(w.image)); diff != "" {
				t.Errorf("attached (-want +got):\n%s", diff)
			}

			// The same publisher, and one that remembers nothing.
			before := w.writes()
			w.advance(time.Hour)
			for _, again := range []attestor.Summaries{
				w.publish(p, judged{image: w.image, level: 2}),
			} {
				if len(again.Standing) != 1 || again.Standing[0].Created || again.Standing[0].Reference != made.Standing[0].Reference {
					t.Errorf("published again: %+v, want what stands", again)
				}
			}
			if after := w.writes(); after != before {
				t.Errorf("a repeated pass made %d writes", after-before)
			}
		})
	}
}
