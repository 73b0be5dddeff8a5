package cloudkms

import (
	"cmp"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestor-gate/attestor/internal/cause"
)

// A Use is what a key version is for, in the words of a message.
type Use struct {
	Named    string // where the configuration names it: "the attestor's signer"
	Verifier string // who has its public key: "the attestor"
}

// Explain says what an error of Cloud KMS means and what to do about it. what is what the call was for, as in "sign
// with it", and grant is the sentence that gives the permission which the call takes.
func (u Use) Explain(what, grant string, err error) (msg, fix string) {
	because := cause.Of(err)
	switch code := status.Code(err); {
	case because.Kind == cause.Late:
		return "Cloud KMS did not answer in time", because.Fix
	case because.Lasts():
		return "Cloud KMS could not " + what + ": " + because.Why, because.Fix
	case code == codes.PermissionDenied:
		return "the gate may not " + what, grant
	case code == codes.NotFound:
		return "the key version does not exist", "correct " + u.Named + " in the configuration"
	case code == codes.FailedPrecondition:
		return u.unusable(status.Convert(err).Message())
	case code == codes.ResourceExhausted:
		return "the quota of Cloud KMS is used up",
			"try again, or ask for more asymmetric signing quota in the key's project"
	case code == codes.InvalidArgument:
		return "Cloud KMS refused the request", "check that the key version is one for asymmetric signing"
	}
	return "Cloud KMS could not " + what, cmp.Or(because.Fix, "try again")
}

// unusable explains a key version that may not be used now, by the state that Cloud KMS names in its answer. A version
// that is to be destroyed cannot be enabled: it must be restored first.
func (u Use) unusable(answer string) (msg, fix string) {
	const another = "name an enabled one in the configuration: gcloud kms keys versions list"
	switch {
	case strings.Contains(answer, "DESTROY_SCHEDULED"):
		return "the key version is scheduled for destruction",
			"restore it and then enable it, gcloud kms keys versions restore and enable, or " + another
	case strings.Contains(answer, "DESTROYED"):
		return "the key version was destroyed", another + ", and give " + u.Verifier + " its public key"
	case strings.Contains(answer, "PENDING_GENERATION"), strings.Contains(answer, "PENDING_IMPORT"):
		return "the key version is not ready yet", "try again in a minute, or " + another
	}
	return "the key version is not enabled", "enable it, or " + another
}
