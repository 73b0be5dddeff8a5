package samples_test

import (
	"testing"

	"github.com/attestor-gate/attestor/internal/samples"
)

// The documentation quotes these digests, and people compare them.
func TestSamplesAreTheSameEverywhere(t *testing.T) {
	digests := map[string]string{}
	for range 2 {
		all, err := samples.All()
		if err != nil {
			t.Fatal(err)
		}

		if len(all) != 7 {
			t.Fatalf("%d samples", len(all))
		}

		for _, s := range all {
			var d interface{ String() string }
			if s.Index != nil {
				h, err := s.Index.Digest()
				if err != nil {
					t.Fatal(err)
				}
				d = h
			} else {
				h, err := s.Image.Digest()
				if err != nil {
					t.Fatal(err)
				}
				d = h
			}

			if before, ok := digests[s.Repository]; ok && before != d.String() {
				t.Errorf("%s: %s, then %s", s.Repository, before, d)
			}

			digests[s.Repository] = d.String()
		}
	}

	const good = "sha256:1c5a44dcf3d37e9c3b273dca61ad7ac0a0bb056805361db0784a333b774cd0c9"
	if digests["app/good"] != good {
		t.Errorf("app/good is %s; README says %s", digests["app/good"], good)
	}
}
