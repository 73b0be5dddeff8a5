package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/cause"
	"github.com/attestor-gate/attestor/internal/plain"
	"github.com/attestor-gate/attestor/internal/throttle"
)

// fault is an error about the image or its registry that a Decision names.
func fault(code attestor.Code, msg, fix string, err error) *attestor.Error {
	return &attestor.Error{Kind: attestor.Upstream, Code: code, Msg: msg, Fix: fix, Err: err}
}

func timedOut(what string, err error) *attestor.Error {
	return fault(attestor.CodeTimedOut, "reading "+what+" took longer than is allowed", "try again", err)
}

// classify turns an error of the registry client into a reason. Absence is NotFound, and
// about a part of an image until the caller says otherwise; all else is Upstream.
func classify(err error, what, repository string) *attestor.Error {
	if e, ok := errors.AsType[*attestor.Error](err); ok {
		return e
	}

	host, _, _ := strings.Cut(repository, "/")
	if e, ok := errors.AsType[*throttle.Error](err); ok {
		return busy(e, host, err)
	}
	if e, ok := errors.AsType[*transport.Error](err); ok && e.StatusCode != 0 {
		// The answer's status outweighs what its text may happen to say.
		return answered(e, what, repository, err)
	}

	// From here on the client gives no types.
	text := err.Error()
	switch {
	case errors.Is(err, errHostRefused):
		return fault(attestor.CodeRegistryNotAllowed, host+" leads to "+refusedHost(text), fixCompanion(host), err)
	case strings.Contains(text, "SSRF protection"),
		strings.Contains(text, "invalid realm"),
		strings.Contains(text, "refusing token-server"):
		// The client refuses some of it before the guard is asked.
		return fault(
			attestor.CodeRegistryNotAllowed,
			host+" leads to a host that the gate may not contact",
			fixCompanion(host),
			err,
		)
	case errors.Is(err, errTooLarge):
		return fault(attestor.CodeTooLarge, what+" is larger than the gate reads", "make it smaller", err)
	case errors.Is(err, errRedirects):
		return fault(attestor.CodeRegistryMisbehaves, host+" redirects without end", "check the registry", err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return timedOut(what, err)
	case strings.Contains(text, "does not match requested digest"), strings.Contains(text, "error verifying"):
		// The client has no type for either; TestRegistryLies would notice a change.
		return fault(
			attestor.CodeContentMismatch,
			"the registry answered "+what+" with other bytes than it names",
			"push the image again; if it happens again, check the registry",
			err,
		)
	case cause.Of(err).Lasts(): // no token of Google's was got, and the registry was not asked
		because := cause.Of(err)
		return fault(attestor.CodeRegistryDenied, "the gate has no credentials to read "+what+": "+because.Why,
			because.Fix, err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fault(attestor.CodeRegistryUnavailable, "the answer for "+what+" was truncated", "try again", err)
	}
	return silent(host, err)
}

// busy is the fault of a registry that asks for a later retry. The host that answered
// may be another: its token server, or the storage that it redirects to.
func busy(e *throttle.Error, registry string, err error) *attestor.Error {
	msg := fmt.Sprintf("the registry %s answered %d and asks for a later retry", registry, e.Status)
	if e.Host != "" && e.Host != registry {
		msg = fmt.Sprintf(
			"%s, which the registry %s leads to, answered %d and asks for a later retry",
			clip(e.Host),
			registry,
			e.Status,
		)
	}

	if e.After > 0 {
		msg += ", in " + e.After.String()
	}

	f := fault(
		attestor.CodeRegistryBusy,
		msg,
		"try again after the time in Retry-After; if it stays so, raise the registry's quota for the gate, "+
			"or check the registry",
		err,
	)
	f.After = e.After
	return f
}

// answered turns the status of an answer without the requested content into a fault.
func answered(e *transport.Error, what, repository string, err error) *attestor.Error {
	host, _, _ := strings.Cut(repository, "/")

	// The client asks /v2/ before anything else: an answer to that is not about the image.
	ping := e.Request != nil && e.Request.URL.Path == "/v2/"

	switch status := e.StatusCode; {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return fault(
			attestor.CodeRegistryDenied,
			fmt.Sprintf("%s answered %d: the gate may not read %s", host, status, repository),
			missingRole(host, e),
			err,
		)

	case ping && status < 500:
		return fault(
			attestor.CodeRegistryMisbehaves,
			fmt.Sprintf("%s has no registry API: it answered %d for /v2/", host, status),
			"correct the reference, or check the registry "+host,
			err,
		)

	case status == http.StatusNotFound, status == http.StatusGone:
		return &attestor.Error{
			Kind: attestor.NotFound, Code: attestor.CodeContentMissing,
			Msg: fmt.Sprintf("the registry %s has no %s%s", host, what, missingRepository(e, repository)),
			Fix: "push the image again, with all its parts; " +
				"if a clean-up removed it, let the clean-up keep the parts of images",
			Err: err,
		}

	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status >= 500:
		return fault(
			attestor.CodeRegistryUnavailable,
			fmt.Sprintf("the registry %s answered %d when asked for %s", host, status, what),
			"try again; if it happens again, check the registry "+host,
			err,
		)

	default:
		return fault(
			attestor.CodeRegistryMisbehaves,
			fmt.Sprintf("the registry %s answered %d when asked for %s", host, status, what),
			"check the registry "+host+", or a proxy in front of it",
			err,
		)
	}
}

// missingRepository names the repository if the registry does not know it. The
// distribution specification has the code NAME_UNKNOWN for that.
func missingRepository(e *transport.Error, repository string) string {
	for _, d := range e.Errors {
		if d.Code == transport.NameUnknownErrorCode {
			return ": it knows no repository " + repository
		}
	}
	return ""
}

// imageNotFound makes of a missing manifest that nothing else names a missing
// image: the caller's mistake, and no decision.
func imageNotFound(err error, ref attestor.Reference) error {
	e, ok := errors.AsType[*attestor.Error](err)
	if !ok || e.Kind != attestor.NotFound {
		return err
	}

	msg := ref.String() + " does not exist"
	if t, ok := errors.AsType[*transport.Error](err); ok {
		msg += missingRepository(t, ref.Repository())
	}
	return &attestor.Error{
		Kind: attestor.NotFound,
		Code: attestor.CodeImageNotFound,
		Msg:  msg,
		Fix:  "push it, or correct the reference",
		Err:  err,
	}
}

// partMissing names the image that lacks a part. By then its manifest was read: it was
// pushed in part, or deleted in part.
func partMissing(err error, part string, of attestor.Image) error {
	e, ok := errors.AsType[*attestor.Error](err)
	if !ok || e.Kind != attestor.NotFound {
		return err
	}
	return missing(e, fmt.Sprintf("the registry has %s, but not %s", of, part))
}

// missing keeps the kind: a base that was deleted in part is treated as one that
// was deleted.
func missing(e *attestor.Error, msg string) *attestor.Error {
	return &attestor.Error{Kind: attestor.NotFound, Code: attestor.CodeContentMissing, Msg: msg, Fix: e.Fix, Err: e}
}

// silent is the fault of a registry that did not answer, with the reason in few words.
func silent(host string, err error) *attestor.Error {
	why, fix := cause.Silence(host, err)
	if why != "" {
		why = ": " + why
	}
	return fault(attestor.CodeRegistryUnavailable, "the registry "+host+" did not answer"+why,
		cmp.Or(fix, "check that it runs and that the gate can reach it, then try again"), err)
}

func fixCompanion(host string) string {
	return "if that host is meant, add it to the companions of " + host + " in the gate's configuration"
}

// refusedHost is the guard's own words, without what was wrapped around them.
func refusedHost(text string) string {
	_, after, _ := strings.Cut(text, errHostRefused.Error())
	after, _, _ = strings.Cut(after, "\n")
	return "a host that is " + errHostRefused.Error() + clip(after)
}

// missingRole is what to do about a refusal. Artifact Registry says in words what its status does not.
func missingRole(host string, e *transport.Error) string {
	if !strings.HasSuffix(host, ".pkg.dev") && host != "gcr.io" && !strings.HasSuffix(host, ".gcr.io") {
		return "give the gate credentials that may pull from the repository: docker login " + host +
			", as the user that it runs as"
	}
	const role = "roles/artifactregistry.reader on the repository"
	switch text := e.Error(); {
	case e.StatusCode == http.StatusUnauthorized, strings.Contains(text, "Unauthenticated request"):
		return "give the gate credentials, a service account on Cloud Run or GKE and elsewhere " +
			"gcloud auth application-default login, and grant it " + role
	case strings.Contains(text, "has not been used in project"):
		return "gcloud services enable artifactregistry.googleapis.com --project=PROJECT, of the repository"
	}
	return "grant the gate's service account " + role
}

// problem states a reason, with the status that its code is documented with.
func problem(check string, code attestor.Code, subject, msg, fix string) attestor.Problem {
	return attestor.Problem{
		Check:  check,
		Status: statusOf(code),
		Reason: attestor.Reason{Code: code, Subject: subject, Message: msg, Fix: fix},
	}
}

// problemOf returns the problem of an error while reading subject, without what only the
// log may have.
func problemOf(check string, err error, subject string) attestor.Problem {
	e, ok := errors.AsType[*attestor.Error](err)
	if !ok {
		return attestor.Problem{Check: check, Status: attestor.StatusError, Reason: attestor.Reason{
			Code: attestor.CodeRegistryUnavailable, Subject: subject,
			Message: "internal error; the log has it", Fix: "try again",
		}}
	}

	p := problem(check, e.Code, subject, e.Msg, e.Fix)
	p.RetryAfter = e.RetryAfter()
	return p
}

// contradicts reports whether a code says that the parts of an image contradict each other: a denial, whatever a layer
// was read for, and whoever asks again.
func contradicts(code attestor.Code) bool {
	return code == attestor.CodeLayersMismatch || code == attestor.CodeLayerContradictory
}

func statusOf(code attestor.Code) attestor.Status {
	for _, info := range attestor.Codes() {
		if info.Code == code {
			if info.Status == attestor.StatusDeny {
				return attestor.StatusDeny
			}
			return attestor.StatusError
		}
	}
	return attestor.StatusError
}

// clip keeps hostile input from filling a message, or steering a terminal.
func clip(s string) string { return plain.Text(plain.Clip(s, 200)) }
