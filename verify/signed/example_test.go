package signed_test

import (
	"context"
	"fmt"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify/signed"
)

// A rule that leaves open who must have signed is an error, and never a pass.
func ExampleChecker_Validate() {
	checker, err := signed.New(signed.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}

	err = checker.Validate(context.Background(), attestor.SignedBy{Issuer: "https://accounts.google.com"})
	fmt.Println(attestor.Message(err))
	// Output: signedBy has an issuer without a subject
}
