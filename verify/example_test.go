package verify_test

import (
	"fmt"

	"github.com/attestor-gate/attestor/verify"
)

func ExampleParseUser() {
	for _, user := range []string{"65532:65532", ":1000", "app"} {
		u, problem := verify.ParseUser(user)
		switch {
		case problem != nil:
			fmt.Printf("%s: %s\n", problem.Code, problem.Message)
		default:
			fmt.Printf("uid %d, gid %d\n", *u.UID, *u.GID)
		}
	}
	// Output:
	// uid 65532, gid 65532
	// USER_ROOT_DISGUISED: user ":1000" names a group only, and so is root
	// USER_NOT_NUMERIC: user "app" is a name, which cannot be proven not to be root (kubelet refuses it for runAsNonRoot)
}
