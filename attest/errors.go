package attest

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/cause"
	"github.com/attestor-gate/attestor/internal/throttle"
)

// fault gives a failed call the code, message and advice that the caller sees. A
// call that was not made because the circuit is open keeps its own: trying again
// later is all it needs.
//
// A quota that is used up is neither the image's fault nor the service's: the advice
// is to ask more slowly.
func fault(code attestor.Code, msg, fix string, err error) error {
	if e, ok := errors.AsType[*attestor.Error](err); ok && e.Code == attestor.CodeCircuitOpen {
		return e
	}
	if after, refused := throttle.Refusal(err); refused {
		return &attestor.Error{
			Kind: attestor.Upstream, Code: code, Err: err, After: after,
			Msg: msg + ": the quota of its service is used up (RESOURCE_EXHAUSTED)",
			Fix: "ask more slowly, or raise the quota in the project that the gate's credentials are of",
		}
	}

	// What does not follow from the question outweighs advice about it: without credentials no role helps.
	if because := cause.Of(err); because.Lasts() || because.Fix != "" && fix == again {
		if because.Kind != cause.Late { // those messages say it already
			msg += ": " + because.Why
		}
		fix = because.Fix
	}
	return &attestor.Error{Kind: attestor.Upstream, Code: code, Msg: msg, Fix: fix, Err: err}
}

// again is the advice where a call may succeed the next time.
const again = "try again"

func isNotFound(err error) bool { return status.Code(err) == codes.NotFound }

// timedOut knows both forms: the clients' retry loops end with a bare one.
func timedOut(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		status.Code(err) == codes.DeadlineExceeded || status.Code(err) == codes.Canceled
}

// refused reports whether the service answered that the write did not happen and
// would not happen on a retry. After any other error the write may have happened.
func refused(err error) bool {
	switch status.Code(err) {
	case codes.PermissionDenied, codes.Unauthenticated, codes.Unimplemented, codes.FailedPrecondition,
		codes.InvalidArgument, codes.NotFound, codes.OutOfRange:
		return true
	}
	return false
}

func isConflict(err error) bool { return status.Code(err) == codes.AlreadyExists }

func attestorError(name string, err error) error {
	switch {
	case isNotFound(err):
		return fault(attestor.CodeAttestorUnavailable, "attestor "+name+" does not exist",
			"create it: gcloud container binauthz attestors create, or correct the policy's attestors", err)
	case status.Code(err) == codes.PermissionDenied:
		return fault(attestor.CodeAttestorDenied, "the gate may not read attestor "+name,
			"grant the gate's identity roles/binaryauthorization.attestorsViewer on "+name, err)
	case timedOut(err):
		return fault(
			attestor.CodeAttestorUnavailable,
			"Binary Authorization did not answer in time about attestor "+name,
			again,
			err,
		)
	}
	return fault(attestor.CodeAttestorUnavailable, "attestor "+name+" could not be read", again, err)
}

func listError(note string, err error) error {
	switch {
	case isNotFound(err):
		return fault(
			attestor.CodeAttestorUnavailable,
			"note "+note+" does not exist",
			"create the note that the attestor names",
			err,
		)
	case status.Code(err) == codes.PermissionDenied:
		return fault(attestor.CodeAttestorDenied, "the gate may not list the attestations of note "+note,
			"grant the gate's identity roles/containeranalysis.notes.occurrences.viewer on "+note, err)
	case timedOut(err):
		return fault(
			attestor.CodeAttestorUnavailable,
			"Container Analysis did not answer in time about note "+note,
			again,
			err,
		)
	}

	return fault(
		attestor.CodeAttestorUnavailable,
		"the attestations of note "+note+" could not be listed",
		again,
		err,
	)
}

func occurrenceError(name string, err error) error {
	switch {
	case status.Code(err) == codes.PermissionDenied:
		return fault(attestor.CodeAttestorDenied, "the gate may not read "+name,
			"grant the gate's identity roles/containeranalysis.occurrences.viewer on the attestations' project", err)
	case timedOut(err):
		return fault(
			attestor.CodeAttestorUnavailable,
			"Container Analysis did not answer in time about "+name,
			again,
			err,
		)
	}
	return fault(attestor.CodeAttestorUnavailable, name+" could not be read", again, err)
}

// writeError explains a failure to create, update or delete; what is the verb
// with its object.
func writeError(what, project, note string, err error) error {
	switch {
	case status.Code(err) == codes.PermissionDenied:
		return fault(
			attestor.CodeAttestorDenied,
			"the gate may not "+what,
			"grant the gate's identity roles/containeranalysis.occurrences.editor on project "+project+
				" and roles/containeranalysis.notes.attacher on "+note,
			err,
		)
	case isNotFound(err):
		return fault(
			attestor.CodeAttestorUnavailable,
			"note "+note+" or project "+project+" does not exist",
			"create the note that the attestor names, or correct attestationProject",
			err,
		)
	case timedOut(err):
		return fault(
			attestor.CodeAttestationNotStored,
			"Container Analysis did not answer in time when asked to "+what,
			"try again: an attestation that was stored all the same is reused",
			err,
		)
	}

	return fault(
		attestor.CodeAttestationNotStored,
		"the gate could not "+what,
		"try again: an attestation that was stored all the same is reused",
		err,
	)
}
