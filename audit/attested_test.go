package audit_test

import (
	"context"
	"slices"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// What is known of an image is what passes and overrides say; of an index, its
// children go with it, but of a child its index does not.
func TestAttestedTo(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, _ *clock) {
		signed := func(occurrence string) func(*attestor.Record) {
			return func(r *attestor.Record) {
				r.Decision.Attestations = []attestor.Attestation{{Attestor: "projects/p/attestors/a", Occurrence: occurrence}}
			}
		}
		child := digest(400)
		index := func(r *attestor.Record) {
			r.Evidence.Index = true
			r.Evidence.Platforms[0].Digest = child
			r.Decision.Platforms = []attestor.PlatformSummary{{Child: attestor.Child{Platform: "linux/amd64", Digest: child}}}
		}
		overridden := func(r *attestor.Record) { r.Decision.BreakGlass = &attestor.BreakGlass{} }
		finish(t, s, record(1, attestor.Pass, index, signed("occurrences/index")))
		finish(t, s, record(2, attestor.Deny, overridden, signed("occurrences/overridden")))
		finish(t, s, record(3, attestor.Deny, signed("occurrences/refused")))

		// A pass of which only a part was stored is an error; other errors name what stood before.
		attest := func(status attestor.Status) func(*attestor.Record) {
			return func(r *attestor.Record) {
				r.Decision.Checks = append(r.Decision.Checks, attestor.Check{Name: attestor.CheckAttest, Status: status, Reasons: []attestor.Reason{}})
			}
		}
		dry := func(r *attestor.Record) { r.Decision.DryRun = true }
		finish(t, s, record(4, attestor.Undecided, index, signed("occurrences/part"), attest(attestor.StatusError)))
		finish(t, s, record(5, attestor.Undecided, index, signed("occurrences/other"), attest(attestor.StatusSkipped)))
		finish(t, s, record(6, attestor.Undecided, index, signed("occurrences/other"), attest(attestor.StatusError), dry))

		image := func(n int) attestor.Image {
			img, err := attestor.ParseImage("us-docker.pkg.dev/acme/prod/api@" + string(digest(n)))
			if err != nil {
				t.Fatal(err)
			}
			return img
		}
		for _, tt := range []struct {
			name        string
			of          attestor.Image
			images      []attestor.Digest
			occurrences []string
		}{
			{"an index", image(1), []attestor.Digest{digest(1), child}, []string{"occurrences/index"}},
			{"a child", image(400), []attestor.Digest{child}, []string{"occurrences/index", "occurrences/part"}},
			{"attested in part", image(4), []attestor.Digest{digest(4), child}, []string{"occurrences/part"}},
			{"an error that attested nothing", image(5), []attestor.Digest{digest(5)}, nil},
			{"a dry run", image(6), []attestor.Digest{digest(6)}, nil},
			{"overridden", image(2), []attestor.Digest{digest(2)}, []string{"occurrences/overridden"}},
			{"refused", image(3), []attestor.Digest{digest(3)}, nil},
			{"never judged", image(9), []attestor.Digest{digest(9)}, nil},
		} {
			got, err := s.AttestedTo(t.Context(), tt.of)
			if err != nil {
				t.Fatal(err)
			}
			var digests []attestor.Digest
			for _, img := range got.Images {
				digests = append(digests, img.Digest())
			}
			var occurrences []string
			for _, a := range got.Attestations {
				occurrences = append(occurrences, a.Occurrence)
			}
			if !slices.Equal(digests, tt.images) || !slices.Equal(occurrences, tt.occurrences) {
				t.Errorf("%s: %v and %v, want %v and %v", tt.name, digests, occurrences, tt.images, tt.occurrences)
			}
		}
	})
}

// A store that cannot be read must not look like one that knows of nothing.
func TestAttestedToOfAStoreThatCannotBeRead(t *testing.T) {
	s := openSQLite(t, migratedFile(t), clockAt(day))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	img, err := attestor.ParseImage("us-docker.pkg.dev/acme/prod/api@" + string(digest(1)))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.AttestedTo(ctx, img); err == nil {
		t.Errorf("it knows of %+v", got)
	}
}
