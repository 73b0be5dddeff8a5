package attestor_test

import (
	"testing"

	"github.com/attestor-gate/attestor"
)

// TestInherited: policies are more lenient with what is inherited, so that
// every doubt leaves a finding to the image.
func TestInherited(t *testing.T) {
	const first, second, app = attestor.Digest("sha256:1"), attestor.Digest("sha256:2"), attestor.Digest("sha256:a")
	for _, tt := range []struct {
		name   string
		layers []attestor.Digest // of the image, lowest first
		level  attestor.Level
		base   int
		in     []attestor.Digest // of the finding
		want   bool
	}{
		{"in the base's only layer", []attestor.Digest{first, app}, attestor.LayersExact, 1, []attestor.Digest{first}, true},
		{"in two layers of the base", []attestor.Digest{first, second, app}, attestor.DiffIDsVerified, 2, []attestor.Digest{second, first}, true},
		{"in an image that is its base", []attestor.Digest{first, second}, attestor.LayersExact, 2, []attestor.Digest{second}, true},
		{"twice in the base", []attestor.Digest{first, first, app}, attestor.LayersExact, 2, []attestor.Digest{first}, true},

		{"above the base", []attestor.Digest{first, app}, attestor.LayersExact, 1, []attestor.Digest{app}, false},
		{"in the base and above it", []attestor.Digest{first, app}, attestor.LayersExact, 1, []attestor.Digest{first, app}, false},
		{"in a layer of the base that stands above it again", []attestor.Digest{first, second, app, first},
			attestor.LayersExact, 2, []attestor.Digest{first}, false},
		{"in that layer and another of the base", []attestor.Digest{first, second, first}, attestor.LayersExact, 2, []attestor.Digest{second, first}, false},
		{"in the other one alone", []attestor.Digest{first, second, first}, attestor.LayersExact, 2, []attestor.Digest{second}, true},
		{"in no layer that is reported", []attestor.Digest{first, app}, attestor.LayersExact, 1, nil, false},
		{"in a layer that the image does not have", []attestor.Digest{first, app}, attestor.LayersExact, 1, []attestor.Digest{"sha256:9"}, false},
		{"in a layer without a diffID", []attestor.Digest{"", app}, attestor.LayersExact, 1, []attestor.Digest{""}, false},
		{"under a base without layers", []attestor.Digest{first, app}, attestor.Attested, 0, []attestor.Digest{first}, false},
		{"under fewer layers than none", []attestor.Digest{first, app}, attestor.LayersExact, -1, []attestor.Digest{first}, false},
		{"under more layers than the image has", []attestor.Digest{first, app}, attestor.LayersExact, 3, []attestor.Digest{first}, false},
		{"under a base that was not proven", []attestor.Digest{first, app}, "", 1, []attestor.Digest{first}, false},
		{"under a level that nobody knows", []attestor.Digest{first, app}, "claimed", 1, []attestor.Digest{first}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := attestor.PlatformEvidence{Base: attestor.Base{Evidence: tt.level, Layers: tt.base}}
			for _, d := range tt.layers {
				p.Layers = append(p.Layers, attestor.Layer{DiffID: d})
			}

			got := p.Inherited().Holds(&attestor.Vulnerability{DiffIDs: tt.in})

			if got != tt.want {
				t.Errorf("inherited: %v, want %v", got, tt.want)
			}
		})
	}

	if (attestor.Inherited{}).Holds(&attestor.Vulnerability{DiffIDs: []attestor.Digest{first}}) {
		t.Error("the zero value holds a finding")
	}
}

// TestInheritedIsEmpty: a report promises a rebuild on a newer base only where a layer is the base's and nobody else's.
func TestInheritedIsEmpty(t *testing.T) {
	const base, app = attestor.Digest("sha256:1"), attestor.Digest("sha256:a")
	for name, tt := range map[string]struct {
		layers []attestor.Digest
		level  attestor.Level
		want   bool
	}{
		"a layer of the base":         {[]attestor.Digest{base, app}, attestor.LayersExact, false},
		"which stands above it again": {[]attestor.Digest{base, base}, attestor.LayersExact, true},
		"a base that is not proven":   {[]attestor.Digest{base, app}, "", true},
	} {
		p := attestor.PlatformEvidence{Base: attestor.Base{Evidence: tt.level, Layers: 1}}
		for _, d := range tt.layers {
			p.Layers = append(p.Layers, attestor.Layer{DiffID: d})
		}
		if got := p.Inherited().Empty(); got != tt.want {
			t.Errorf("%s: empty %t, want %t", name, got, tt.want)
		}
	}
}
