package dockerfile_test

import (
	"testing"

	"github.com/attestor-gate/attestor/posture/dockerfile"
)

// FuzzParse: what is read has a chain of stages that ends at an image, and lines that are in the text.
func FuzzParse(f *testing.F) {
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := dockerfile.Parse(text)
		if err != nil {
			return
		}
		chain := b.Chain()
		if len(chain) == 0 || len(chain) > len(b.Stages) || chain[len(chain)-1].Parent != -1 {
			t.Errorf("%d of %d stages are beneath the last", len(chain), len(b.Stages))
		}
		for _, s := range b.Stages {
			if s.Line < 1 || s.Base.Line < 1 {
				t.Errorf("stage %q is on line %d", s.Name, s.Line)
			}
		}
	})
}
