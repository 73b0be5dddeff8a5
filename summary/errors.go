package summary

import (
	"context"
	"errors"
	"net/http"

	"github.com/attestor-gate/attestor"
)

// fault gives a failed call the code, message and advice that the caller sees. A call that was not made because the
// circuit is open, and an error that has a message for callers already, keep their own.
func fault(code attestor.Code, msg, fix string, err error) error {
	if e, ok := errors.AsType[*attestor.Error](err); ok && e.Kind == attestor.Upstream && e.Code != "" {
		return e
	}
	return &attestor.Error{Kind: attestor.Upstream, Code: code, Msg: msg, Fix: fix, Err: err}
}

// unavailable says that the summaries of an image could not be read.
func unavailable(img attestor.Image, err error) error {
	msg := "the verification summaries of " + img.String() + " could not be read"
	if timedOut(err) {
		msg += " in the time allowed"
	}
	return fault(attestor.CodeSummaryUnavailable, msg, "try again; if it persists, let the gate read the repository",
		err)
}

// failed explains a registry's error about an image; what is a verb with what follows it.
func (p *Publisher) failed(img attestor.Image, what string, err error) error {
	msg, fix := "the registry did not "+what+" "+img.String(), "try again"
	switch code := answered(err); {
	case timedOut(err):
		msg += " in the time allowed"
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		msg = "the gate may not write summaries to " + img.Repository()
		fix = "grant the gate's identity roles/artifactregistry.writer on the repository, or name another in " +
			"attest.vsa.repository"
	}
	return fault(attestor.CodeSummaryNotStored, msg, fix, err)
}

func timedOut(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
