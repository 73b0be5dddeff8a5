package attestor_test

import (
	"testing"

	"github.com/attestor-gate/attestor"
)

// A platform has several spellings, and a policy may write another than the image's author.
func TestSamePlatform(t *testing.T) {
	for _, tt := range []struct {
		want, got string
		same      bool
	}{
		{"linux/amd64", "linux/amd64", true},
		{"linux/amd64", "linux/x86_64", true},
		{"linux/x86_64", "linux/amd64", true},
		{"linux/amd64", "linux/amd64/v3", true}, // no variant is named
		{"linux/amd64/v1", "linux/amd64", true},
		{"linux/amd64/v1", "linux/amd64/v3", false},
		{"linux/amd64/v3", "linux/amd64", false},
		{"linux/arm64", "linux/aarch64", true},
		{"linux/arm64", "linux/arm64/v8", true},
		{"linux/arm64/8", "linux/aarch64", true},
		{"linux/arm64", "linux/arm64/v9", true},
		{"linux/arm64/v8", "linux/arm64/v9", false},
		{"linux/arm64/v9", "linux/arm64/9.0", true},
		{"linux/arm", "linux/arm/v5", true},
		{"linux/arm/v7", "linux/arm", true},
		{"linux/arm/7", "linux/arm/v7", true},
		{"linux/arm/v7", "linux/armhf", true},
		{"linux/arm/v6", "linux/armel", true},
		{"linux/arm/v6", "linux/armhf", false},
		{"linux/386", "linux/i386", true},
		{"linux/amd64", "linux/386", false},
		{"linux/amd64", "windows/amd64", false},
		{"linux/amd64", "linux/amd64p32", false},
		{"linux/arm", "linux/arm64", false},
		{"linux", "linux/amd64", false},
		{"", "linux/amd64", false},
	} {
		if got := attestor.SamePlatform(tt.want, tt.got); got != tt.same {
			t.Errorf("a policy about %q, an image for %q: %t", tt.want, tt.got, got)
		}
	}
}
