package client

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
)

// An Error is an answer without what was asked for.
type Error struct {
	ExitCode   int           // [attestor.ExitUsage] where the caller is at fault, else [attestor.ExitError]
	RetryAfter time.Duration // the service asked to come back after this; 0: it did not
	Err        error         // an [attestor.Error]
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// problem turns an answer that is no Decision into an error that says who
// refused: the gate, Cloud Run in front of it, or a web application firewall.
func (r response) problem() error {
	var p struct{ Title, Detail, Fix string }

	// Only the gate answers problems in this form (RFC 9457): text of anything else is not shown as the gate's.
	typ, _, _ := strings.Cut(r.header.Get("Content-Type"), ";")
	if typ == "application/problem+json" && json.Unmarshal(r.body, &p) == nil {
		return &Error{ExitCode: exitFor(r.status), RetryAfter: r.retryAfter, Err: &attestor.Error{
			Kind: kindOf(r.status), Msg: fmt.Sprintf("%s (HTTP %d)", cmp.Or(p.Detail, p.Title), r.status), Fix: p.Fix,
		}}
	}

	msg := fmt.Sprintf("the answer is not the gate's (HTTP %d, %s)", r.status, cmp.Or(typ, "no content type"))
	fix := ""
	switch r.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		msg += ": something in front of it refused, Cloud Run's invoker check or a web application firewall such as " +
			"Cloud Armor"
		fix = "grant roles/run.invoker to this identity; for a firewall, look at the load balancer's log for the " +
			"rule that matched"
	case http.StatusNotFound:
		fix = "check --server: its path, and that Cloud Run's default URL is not switched off"
	}
	return &Error{ExitCode: exitFor(r.status), Err: &attestor.Error{Kind: attestor.Upstream, Msg: msg, Fix: fix}}
}

// kindOf is the kind of the error that a status of the gate stands for: what the record itself would have answered. A
// status that says no more than whose fault it is has the kind of that fault.
func kindOf(status int) attestor.Kind {
	switch status {
	case http.StatusUnauthorized:
		return attestor.Unauthenticated
	case http.StatusForbidden:
		return attestor.Forbidden
	case http.StatusNotFound:
		return attestor.NotFound
	case http.StatusRequestEntityTooLarge:
		return attestor.TooLarge
	case http.StatusNotImplemented:
		return attestor.Unsupported
	}

	if exitFor(status) == attestor.ExitError {
		return attestor.Unavailable
	}
	return attestor.Invalid
}

// exitFor is the exit code of an answer without a Decision: the caller's fault is
// wrong usage, anything else could not be decided.
func exitFor(status int) int {
	if status >= 400 && status < 500 && status != http.StatusTooManyRequests {
		return attestor.ExitUsage
	}
	return attestor.ExitError
}
