package provenance_test

import (
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/contract"
)

func TestProvenanceSourceContract(t *testing.T) {
	img, list := occurrences(t, sample)
	unknown, err := attestor.ParseImage(img.Repository() + "@sha256:" + strings.Repeat("ab", 32))
	if err != nil {
		t.Fatal(err)
	}

	contract.ProvenanceSource(t, newSource(t, list...), img, unknown)
}
