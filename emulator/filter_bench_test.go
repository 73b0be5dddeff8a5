package emulator_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/emulator"
)

// BenchmarkFilter parses what the gate asks for an image's scan with, what it
// asks for attestations with, and the longest that a list of digests makes.
func BenchmarkFilter(b *testing.B) {
	d := "sha256:" + strings.Repeat("0", 64)
	image := "us-docker.pkg.dev/acme/prod/api@" + d
	var many []string

	for range 64 {
		many = append(many, fmt.Sprintf("has_suffix(resourceUrl, %q)", d))
	}

	for name, filter := range map[string]string{
		"scan":        fmt.Sprintf(`((kind = "VULNERABILITY") OR (kind = "DISCOVERY")) AND ((resourceUrl = "https://%s") OR (resourceUrl = %q))`, image, image),
		"attestation": fmt.Sprintf("has_suffix(resourceUrl, %q)", d),
		"64-digests":  strings.Join(many, " OR "),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := emulator.ParseFilter(filter); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
