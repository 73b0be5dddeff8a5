package vuln

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/googleapis/gax-go/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/cause"
	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/internal/throttle"
)

// The roles that calls take, for messages.
const (
	occurrencesViewer = "roles/containeranalysis.occurrences.viewer"
	occurrencesEditor = "roles/containeranalysis.occurrences.editor"
	notesViewer       = "roles/containeranalysis.notes.viewer"
	notesEditor       = "roles/containeranalysis.notes.editor"
	notesAttacher     = "roles/containeranalysis.notes.attacher"
)

// An operation is a kind of call, for messages.
type operation struct {
	service string // as people call it
	api     string // as gcloud does
	what    string // what the call would have done, in the infinitive
	project string
	role    string // what permits it in the project
}

func analysis(what, project, role string) operation {
	return operation{
		service: "Container Analysis",
		api:     "containeranalysis.googleapis.com",
		what:    what,
		project: project,
		role:    role,
	}
}

// explain gives a failed call its message and advice.
func (o operation) explain(err error, within string) *attestor.Error {
	if e, ok := errors.AsType[*attestor.Error](err); ok {
		return e // the call was not made: the circuit is open
	}
	e := &attestor.Error{Kind: attestor.Upstream, Code: attestor.CodeScanUnavailable, Err: err}
	code := status.Code(err)
	if errors.Is(err, context.DeadlineExceeded) {
		code = codes.DeadlineExceeded // the client returns it bare, which reads as Unknown
	}

	if errors.Is(err, context.Canceled) {
		code = codes.Canceled
	}

	did := fmt.Sprintf("%s in project %s", o.what, o.project)
	e.Fix = "repeat the request; if it keeps failing see https://status.cloud.google.com"
	because := cause.Of(err)
	switch because.Kind {
	case cause.NoCredentials, cause.Refused, cause.Scope, cause.Billing:
		e.Code, e.Fix = attestor.CodeScanPermissionDenied, because.Fix
		e.Msg = fmt.Sprintf("%s could not be asked to %s: %s", o.service, did, because.Why)
		return e
	}

	switch code {
	case codes.PermissionDenied:
		return o.denied(e)
	case codes.Unavailable:
		e.Msg, e.Fix = fmt.Sprintf("%s could not be reached to %s (UNAVAILABLE)", o.service, did), because.Fix
	case codes.DeadlineExceeded:
		e.Msg = fmt.Sprintf("%s did not answer within %s when asked to %s (DEADLINE_EXCEEDED)", o.service, within, did)
		e.Fix = cmp.Or(because.Fix, e.Fix)
	case codes.ResourceExhausted:
		e.Msg = fmt.Sprintf("the quota of %s is exhausted: could not %s (RESOURCE_EXHAUSTED)", o.service, did)
		e.Fix = fmt.Sprintf("ask more slowly, or raise the quota of %s in project %s", o.api, o.project)
		e.After, _ = throttle.Refusal(err)
	case codes.Canceled:
		e.Msg = fmt.Sprintf("the request ended before %s answered to %s", o.service, did)
		e.Fix = "repeat the request"
	case codes.NotFound:
		e.Msg = fmt.Sprintf("%s finds no project %s: could not %s", o.service, o.project, o.what)
		e.Fix = "check the project in the image's name, scanProjects and the policy's trusted projects"
	case codes.InvalidArgument:
		e.Msg = fmt.Sprintf("%s rejected the request to %s as invalid (INVALID_ARGUMENT)", o.service, did)
		e.Fix = "check that the project exists; if it does, report this as a defect of the gate"
	default:
		e.Msg = fmt.Sprintf("%s failed to %s (%s)", o.service, did, code)
	}
	return e
}

// denied distinguishes an API that is switched off from a missing role.
func (o operation) denied(e *attestor.Error) *attestor.Error {
	e.Code = attestor.CodeScanPermissionDenied

	if cause.Of(e.Err).Kind == cause.Disabled {
		e.Msg = fmt.Sprintf("%s is not enabled in project %s: could not %s", o.service, o.project, o.what)
		e.Fix = fmt.Sprintf("gcloud services enable %s --project=%s", o.api, o.project)
		return e
	}

	e.Msg = fmt.Sprintf("the gate may not %s in project %s: it lacks %s", o.what, o.project, o.role)
	e.Fix = fmt.Sprintf(
		"gcloud projects add-iam-policy-binding %s --member=serviceAccount:GATE_SERVICE_ACCOUNT --role=%s",
		o.project,
		o.role,
	)
	return e
}

// reasonOf is the part of an error that may be shown.
func reasonOf(err error) attestor.Reason {
	if e, ok := errors.AsType[*attestor.Error](err); ok {
		r := attestor.Reason{Code: e.Code, Message: e.Msg, Fix: e.Fix, RetryAfter: e.RetryAfter()}
		if r.Code == "" {
			r.Code = attestor.CodeScanUnavailable
		}
		return r
	}

	return attestor.Reason{
		Code:    attestor.CodeScanUnavailable,
		Message: "the scan could not be looked up: internal error",
		Fix:     "see the gate's log by the request id",
	}
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

// maxAttempts bounds the attempts of one call. The client's own retryer would go on
// until the deadline, and then report the deadline in place of the cause.
const maxAttempts = 4

// call runs one call with its deadline, bounded retries and an error that says
// what went wrong and what to do.
func (o operation) call(
	ctx context.Context,
	question limit.Call,
	f func(context.Context, ...gax.CallOption) error,
) error {
	return o.try(ctx, question, maxAttempts, f)
}

// once is call without retries, for writes that must be looked up before they are
// repeated.
func (o operation) once(
	ctx context.Context,
	question limit.Call,
	f func(context.Context, ...gax.CallOption) error,
) error {
	return o.try(ctx, question, 1, f)
}

func (o operation) try(
	ctx context.Context,
	question limit.Call,
	attempts int,
	f func(context.Context, ...gax.CallOption) error,
) error {
	limited, cancel := question.Start(ctx)
	defer cancel()

	// The caller's context bounds the whole, question this call with its retries.
	r := &retryer{
		attempts: attempts,
		backoff:  gax.Backoff{Initial: 200 * time.Millisecond, Max: 3 * time.Second, Multiplier: 2.5},
	}

	err := f(limited, gax.WithRetry(func() gax.Retryer { return r }))
	if err == nil {
		return nil
	}

	if ctx.Err() == nil && limited.Err() != nil && r.last != nil {
		err = r.last // the client reports the deadline in place of the cause
	}
	within := question.String()
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err, within = ctx.Err(), "the time that the request had"
	}
	return o.explain(err, within)
}

// A retryer replaces the client's for one call, and keeps the last error.
type retryer struct {
	backoff  gax.Backoff
	attempts int
	tries    int
	last     error
}

// Retry is called after each failure.
func (r *retryer) Retry(err error) (time.Duration, bool) {
	r.tries++
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted:
		r.last = err
		return r.backoff.Pause(), r.tries < r.attempts
	}
	return 0, false
}
