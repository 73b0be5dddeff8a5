package describe_test

import (
	"testing"

	"github.com/attestor-gate/attestor/internal/describe"
)

func TestPlural(t *testing.T) {
	for want, got := range map[string]string{
		"0 images":   describe.Plural(0, "image"),
		"1 image":    describe.Plural(1, "image"),
		"2 images":   describe.Plural(2, "image"),
		"1 policy":   describe.Plural(1, "policy"),
		"3 policies": describe.Plural(3, "policy"),
		"1 day":      describe.Plural(1, "day"),
		"30 days":    describe.Plural(30, "day"),
		"2 keys":     describe.Plural(2, "key"),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
