package attestor_test

import (
	"fmt"

	"github.com/attestor-gate/attestor"
)

// A reference is canonical from the start: what is compared, asked for, signed
// and recorded is never the caller's own text.
func ExampleParseReference() {
	ref, err := attestor.ParseReference("us-docker.pkg.dev/acme/prod/api:v7")
	fmt.Println(ref.Repository(), ref.Requested(), err)
	_, pinned := ref.Pinned()
	fmt.Println(pinned)

	_, err = attestor.ParseReference("us-docker.pkg.dev/acme/prod/api")
	fmt.Println(attestor.Message(err))
	// Output:
	// us-docker.pkg.dev/acme/prod/api us-docker.pkg.dev/acme/prod/api:v7 <nil>
	// false
	// image "us-docker.pkg.dev/acme/prod/api" has neither tag nor digest: add :TAG or @sha256:…
}

// Patterns go by path segment: one star stays within a segment, two cross it.
func ExampleParsePattern() {
	within, _ := attestor.ParsePattern("us-docker.pkg.dev/acme/prod/*")
	across, _ := attestor.ParsePattern("us-docker.pkg.dev/acme/prod/**")
	for _, repository := range []string{"us-docker.pkg.dev/acme/prod/api", "us-docker.pkg.dev/acme/prod/team/api", "us-docker.pkg.dev/acme/prod-evil/api"} {
		fmt.Println(within.Match(repository), across.Match(repository))
	}
	// Output:
	// true true
	// false true
	// false false
}

// The zero Verdict denies, and what denies cannot be signed.
func ExampleAuthorize() {
	var v attestor.Verdict
	_, err := attestor.Authorize("decision", v)
	fmt.Println(v.Outcome(), err != nil)
	// Output:
	// deny true
}
