package engine_test

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/engine"
)

// Who is not logged in is told to log in, and not to ask for a role.
func TestPolicyErrorsSayWhatToDo(t *testing.T) {
	for code, want := range map[codes.Code]string{
		codes.Unauthenticated:  "gcloud auth application-default login",
		codes.PermissionDenied: "roles/binaryauthorization.policyViewer",
		codes.NotFound:         "check the project's name",
		codes.Unavailable:      "try again",
	} {
		err := engine.PolicyError("projects/acme/policy", status.Error(code, "no"))
		if e, ok := errors.AsType[*attestor.Error](err); !ok || !strings.Contains(e.Fix, want) {
			t.Errorf("%s: %#v, want the fix %q", code, err, want)
		}
	}
}
