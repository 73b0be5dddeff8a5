package attestor_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
)

// TestMissing: an image is attested by whoever has a valid attestation of its
// digest, and by nobody else; a question about nothing has no answer.
func TestMissing(t *testing.T) {
	const a, b = "projects/p/attestors/a", "projects/p/attestors/b"
	image := func(n int) attestor.Image { return reference(t, repository+":v7").At(digest(n)) }
	one, two := image(1), image(2)
	by := func(name string, n int) attestor.Attestation {
		return attestor.Attestation{Attestor: name, Digest: digest(n)}
	}

	known := func(valid ...attestor.Attestation) attestor.Standing {
		return attestor.Standing{Known: true, Valid: valid}
	}

	for _, tt := range []struct {
		name      string
		standing  attestor.Standing
		attestors []string
		images    []attestor.Image
		want      []string
		fails     bool
	}{
		{"attested", known(by(a, 1)), []string{a}, []attestor.Image{one}, nil, false},
		{"every image by every attestor", known(by(a, 1), by(a, 2), by(b, 2), by(b, 1)), []string{a, b}, []attestor.Image{one, two}, nil, false},
		{"none", known(), []string{b, a}, []attestor.Image{one}, []string{b, a}, false},
		{"by another attestor", known(by(b, 1)), []string{a}, []attestor.Image{one}, []string{a}, false},
		{"by one of two", known(by(b, 1)), []string{a, b}, []attestor.Image{one}, []string{a}, false},
		{"of another digest", known(by(a, 2)), []string{a}, []attestor.Image{one}, []string{a}, false},
		{"of one of two images", known(by(a, 1)), []string{a}, []attestor.Image{one, two}, []string{a}, false},
		{"each image by another attestor", known(by(a, 1), by(b, 2)), []string{a, b}, []attestor.Image{one, two}, []string{a, b}, false},
		{
			"one that does not verify",
			attestor.Standing{Known: true, Invalid: []attestor.InvalidAttestation{{Attestation: by(a, 1), Why: "no key"}}},
			[]string{a}, []attestor.Image{one},
			[]string{a}, false,
		},
		{"not looked up", attestor.Standing{Valid: []attestor.Attestation{by(a, 1)}}, []string{a}, []attestor.Image{one}, nil, true},
		{"the zero value", attestor.Standing{}, []string{a}, []attestor.Image{one}, nil, true},
		{"no attestor", known(by(a, 1)), nil, []attestor.Image{one}, nil, true},
		{"no image", known(by(a, 1)), []string{a}, nil, nil, true},
		{"an image without a digest", known(attestor.Attestation{Attestor: a}), []string{a}, []attestor.Image{{}}, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.standing.Missing(tt.attestors, tt.images)
			if (err != nil) != tt.fails {
				t.Errorf("error %v, want one: %t", err, tt.fails)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("missing (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAttestorsForBreakGlass: a policy's own attestors of overrides take the
// place of the usual ones for an override only.
func TestAttestorsForBreakGlass(t *testing.T) {
	usual, glass := []string{"projects/p/attestors/a"}, []string{"projects/p/attestors/glass"}
	for _, tt := range []struct {
		name                 string
		needs                attestor.AttestNeeds
		passed, byBreakGlass []string
	}{
		{"none of their own", attestor.AttestNeeds{Attestors: usual}, usual, usual},
		{"their own", attestor.AttestNeeds{Attestors: usual, BreakGlass: glass}, usual, glass},
		{"nothing attests what passed", attestor.AttestNeeds{BreakGlass: glass}, nil, glass},
		{"nothing at all", attestor.AttestNeeds{}, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.passed, tt.needs.For(false)); diff != "" {
				t.Errorf("of a pass (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.byBreakGlass, tt.needs.For(true)); diff != "" {
				t.Errorf("by break-glass (-want +got):\n%s", diff)
			}
		})
	}
}
