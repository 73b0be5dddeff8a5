package vuln

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/googleapis/gax-go/v2"
	"github.com/googleapis/gax-go/v2/apierror"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestor-gate/attestor"
)

// The roles that reading takes, for messages.
const (
	occurrencesViewer = "roles/containeranalysis.occurrences.viewer"
	notesViewer       = "roles/containeranalysis.notes.viewer"
)

// explain turns a failed call into words. what is what the call would have
// done, in the infinitive; role is what permits it in project.
func explain(err error, what, project, role string, limit time.Duration) *attestor.Error {
	e := &attestor.Error{Kind: attestor.Upstream, Code: attestor.CodeScanUnavailable, Err: err}
	code := status.Code(err)
	if errors.Is(err, context.DeadlineExceeded) {
		code = codes.DeadlineExceeded // the client returns it bare, which reads as Unknown
	}
	if errors.Is(err, context.Canceled) {
		code = codes.Canceled
	}
	retry := "repeat the request; if it keeps failing see https://status.cloud.google.com"
	switch code {
	case codes.PermissionDenied:
		return denied(e, what, project, role)
	case codes.Unauthenticated:
		e.Code = attestor.CodeScanPermissionDenied
		e.Msg = fmt.Sprintf("Container Analysis did not accept the gate's credentials to %s in project %s", what, project)
		e.Fix = "give the gate credentials: a service account on Cloud Run or GKE, or GOOGLE_APPLICATION_CREDENTIALS"
	case codes.Unavailable:
		e.Msg = fmt.Sprintf("Container Analysis could not be reached to %s in project %s (UNAVAILABLE)", what, project)
		e.Fix = retry
	case codes.DeadlineExceeded:
		e.Msg = fmt.Sprintf("Container Analysis did not answer in %s when asked to %s in project %s (DEADLINE_EXCEEDED)", limit, what, project)
		e.Fix = retry
	case codes.ResourceExhausted:
		e.Msg = fmt.Sprintf("the quota of Container Analysis is used up: could not %s in project %s (RESOURCE_EXHAUSTED)", what, project)
		e.Fix = fmt.Sprintf("ask more slowly, or raise the quota of containeranalysis.googleapis.com in project %s", project)
	case codes.Canceled:
		e.Msg = fmt.Sprintf("the request ended before Container Analysis answered to %s in project %s", what, project)
		e.Fix = "repeat the request"
	case codes.NotFound:
		e.Msg = fmt.Sprintf("Container Analysis knows no project %s: could not %s", project, what)
		e.Fix = "check the project in the image's name, scanProjects and the policy's trusted projects"
	case codes.InvalidArgument:
		e.Msg = fmt.Sprintf("Container Analysis did not understand the request to %s in project %s", what, project)
		e.Fix = "check that the project exists; else report this as a defect of the gate"
	default:
		e.Msg = fmt.Sprintf("Container Analysis failed to %s in project %s (%s)", what, project, code)
		e.Fix = retry
	}
	return e
}

// denied tells an API that is switched off from a missing role.
func denied(e *attestor.Error, what, project, role string) *attestor.Error {
	e.Code = attestor.CodeScanPermissionDenied
	if api, ok := apierror.FromError(e.Err); ok && api.Reason() == "SERVICE_DISABLED" {
		e.Msg = fmt.Sprintf("Container Analysis is not enabled in project %s: could not %s", project, what)
		e.Fix = fmt.Sprintf("gcloud services enable containeranalysis.googleapis.com containerscanning.googleapis.com --project=%s", project)
		return e
	}
	e.Msg = fmt.Sprintf("the gate may not %s in project %s: it lacks %s", what, project, role)
	e.Fix = fmt.Sprintf("gcloud projects add-iam-policy-binding %s --member=serviceAccount:GATE_SERVICE_ACCOUNT --role=%s", project, role)
	return e
}

// reasonOf keeps what may be shown of an error.
func reasonOf(err error) attestor.Reason {
	if e, ok := errors.AsType[*attestor.Error](err); ok {
		r := attestor.Reason{Code: e.Code, Message: e.Msg, Fix: e.Fix}
		if r.Code == "" {
			r.Code = attestor.CodeScanUnavailable
		}
		return r
	}
	return attestor.Reason{Code: attestor.CodeScanUnavailable, Message: "the scan could not be looked up: internal error", Fix: "see the gate's log by the request id"}
}

// transient reports whether the same call may succeed later by itself.
func transient(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Internal, codes.Aborted:
		return true
	}
	return false
}

// maxAttempts bounds the tries of one call. The client's own retryer would go
// on until the deadline, and then hide what was wrong behind it.
const maxAttempts = 4

// A retryer replaces the client's for one call, and keeps what was wrong.
type retryer struct {
	backoff gax.Backoff
	tries   int
	last    error
}

func newRetryer() *retryer {
	return &retryer{backoff: gax.Backoff{Initial: 200 * time.Millisecond, Max: 3 * time.Second, Multiplier: 2.5}}
}

// Retry is called after each failure.
func (r *retryer) Retry(err error) (time.Duration, bool) {
	r.tries++
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted:
		r.last = err
		return r.backoff.Pause(), r.tries < maxAttempts
	}
	return 0, false
}
