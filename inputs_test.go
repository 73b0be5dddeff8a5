package attestor_test

import (
	"slices"
	"testing"

	"github.com/attestor-gate/attestor"
)

// TestSummariesNameTheirInputs: a summary names every signed statement that was judged, or none of them. SLSA v1.2: "If
// non-empty, this field MUST contain information on all the attestations used to perform verification."
func TestSummariesNameTheirInputs(t *testing.T) {
	provenance := func(digests ...attestor.Digest) (out []attestor.Provenance) {
		for _, d := range digests {
			out = append(out, attestor.Provenance{Statement: d})
		}
		return out
	}
	var many []attestor.Digest
	for n := range 257 {
		many = append(many, digest(1000+n))
	}

	for name, tt := range map[string]struct {
		first, second attestor.PlatformEvidence // of two children
		want          map[int][]attestor.Digest // by the child's number; 0: of the index
	}{
		"nothing was signed": {},
		"each child has its own, and the index has both": {
			attestor.PlatformEvidence{Provenance: provenance(digest(9), digest(8))},
			attestor.PlatformEvidence{VEX: []attestor.VEXStatement{{Document: digest(7)}, {Document: digest(7)}}},
			map[int][]attestor.Digest{1: {digest(8), digest(9)}, 2: {digest(7)}, 0: {digest(7), digest(8), digest(9)}},
		},
		"both children share one": {
			attestor.PlatformEvidence{Provenance: provenance(digest(9))},
			attestor.PlatformEvidence{Provenance: provenance(digest(9))},
			map[int][]attestor.Digest{1: {digest(9)}, 2: {digest(9)}, 0: {digest(9)}},
		},
		"of SBOMs, those that are signed": {
			attestor.PlatformEvidence{SBOMs: []attestor.SBOM{
				{Digest: digest(3), Statement: digest(4), SignedBy: "key"}, {Digest: digest(5), Statement: digest(6)},
			}},
			attestor.PlatformEvidence{SBOMs: []attestor.SBOM{{Digest: digest(7), SignedBy: "key"}}},
			map[int][]attestor.Digest{1: {digest(4)}, 2: {digest(7)}, 0: {digest(4), digest(7)}},
		},
		"one that is not known leaves none": {
			attestor.PlatformEvidence{Provenance: provenance(digest(9), "")},
			attestor.PlatformEvidence{Provenance: provenance(digest(8))},
			map[int][]attestor.Digest{2: {digest(8)}},
		},
		"too many leave none": {
			attestor.PlatformEvidence{Provenance: provenance(many...)},
			attestor.PlatformEvidence{Provenance: provenance(many[1:]...)},
			map[int][]attestor.Digest{2: many[1:]},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tt.first.Child = attestor.Child{Platform: "linux/amd64", Digest: digest(1)}
			tt.second.Child = attestor.Child{Platform: "linux/arm64", Digest: digest(2)}
			ev := attestor.Evidence{
				Image: reference(t, repository+":v7").At(digest(100)), Index: true,
				Platforms: []attestor.PlatformEvidence{tt.first, tt.second},
			}
			checks := append(answers("linux/amd64"), answers("linux/arm64")...)
			v := attestor.NewVerdict(ev, enforcing().ref, enforcing().needs.Attest, questions(), checks)
			a, err := attestor.Authorize("decision-1", v)
			if err != nil {
				t.Fatal(err)
			}

			for n, d := range []attestor.Digest{digest(100), digest(1), digest(2)} {
				if got := a.Inputs(d); !slices.Equal(got, tt.want[n]) {
					t.Errorf("of %d: %d inputs %.200v, want %d", n, len(got), got, len(tt.want[n]))
				}
			}
		})
	}
}
