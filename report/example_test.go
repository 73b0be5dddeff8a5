package report_test

import (
	"os"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/report"
)

func ExampleWrite() {
	refused := attestor.Decision{
		ID: "1", Verdict: attestor.Deny,
		Image: attestor.DecidedImage{Requested: "us-docker.pkg.dev/acme/prod/api:v7", Reference: "us-docker.pkg.dev/acme/prod/api:v7"},
		Checks: []attestor.Check{{Name: attestor.CheckUser, Platform: "linux/amd64", Status: attestor.StatusDeny, Reasons: []attestor.Reason{{
			Code: attestor.CodeUserNotSet, Message: "no user is set", Fix: "end the Dockerfile with USER 65532:65532",
		}}}},
	}
	if err := report.Write(os.Stdout, report.Text, report.Decisions([]attestor.Decision{refused}), report.Options{}); err != nil {
		panic(err)
	}
	// Output:
	// REFUSED  us-docker.pkg.dev/acme/prod/api:v7
	// no policy, decision 1, 0 ms
	//
	//   user  linux/amd64  refused
	//       USER_NOT_SET
	//       no user is set
	//       fix: end the Dockerfile with USER 65532:65532
}
