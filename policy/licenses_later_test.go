package policy_test

import (
	"testing"

	"github.com/attestor-gate/attestor"
)

// Whoever may choose a later version of a license may choose the one that is denied. No form of an entry lets more pass
// than another does.
func TestLicensesOrLater(t *testing.T) {
	const denied, unknown, fine = attestor.CodeLicenseDenied, attestor.CodeLicenseUnknown, attestor.Code("")
	for _, tt := range []struct {
		deny, license string
		want          attestor.Code
	}{
		{"Apache-2.0", "Apache-2.0", denied},
		{"Apache-2.0", "Apache-2.0+", denied},
		{"Apache-2.0", "apache-2.0+", denied},
		{"Apache-2.0+", "Apache-2.0+", denied},
		{"Apache-2.0+", "Apache-2.0", denied},
		{"Apache-2.0", "Apache-2.0+ WITH LLVM-exception", denied},
		{"Apache-2.0 WITH LLVM-exception", "Apache-2.0+ WITH LLVM-exception", denied},
		{"Apache-2.0+ WITH LLVM-exception", "Apache-2.0 WITH LLVM-exception", denied},
		{"Apache-2.0", "MIT AND Apache-2.0+", denied},
		{"MPL-1.1", "MPL-1.1+ OR Apache-1.1+", fine},
		{"Apache-2.0", "MIT OR Apache-2.0+", fine},
		{"Apache-2.0", "Apache-1.1+", fine}, // each version is named by itself
		{"Apache-2.0 WITH LLVM-exception", "Apache-2.0+", fine},
		{"MPL-1.1", "Apache-2.0+ WITH LLVM-exception", fine},
		{"MPL-1.1", "Apache-2.0+ WITH Nonsense-exception", unknown},
		{"MPL-1.1", "Nonsense-2.0+ WITH LLVM-exception", unknown},
		{"MPL-1.1", "Nonsense-2.0+", unknown},
		{"GPL-2.0-only", "GPL-2.0+", fine}, // GPL-2.0-or-later is a license of its own
		{"GPL-2.0-or-later", "GPL-2.0+", denied},
		{"GPL-2.0+", "GPL-2.0-or-later", denied},
	} {
		t.Run(tt.deny+" denied, "+tt.license, func(t *testing.T) {
			p := with(t, sbomRequired, "  packages: {licenses: {deny: ["+tt.deny+"]}}")
			if ev := passing(p, listing(sbomSigner, debian("curl", tt.license))); tt.want == fine {
				judged(t, p, ev, attestor.Pass)
			} else {
				judged(t, p, ev, attestor.Deny, tt.want)
			}
		})
	}
}
