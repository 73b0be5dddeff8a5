// Package cause says why a call of Google's services failed, where that does not depend on what was asked for: no
// credentials, credentials that are not accepted, a service that is switched off, no way to it, no time, no quota. What
// a missing role or a missing resource means is left to whoever made the call. Of registries it says why they were silent.
package cause

import (
	"cmp"
	"context"
	"errors"
	"net"
	"strings"

	"github.com/googleapis/gax-go/v2/apierror"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A Kind is a kind of failure that has a fix of its own.
type Kind int

// The kinds. The zero value is none of them: what the error means depends on what was asked.
const (
	Other         Kind = iota
	NoCredentials      // nobody is logged in
	Refused            // credentials that are expired, revoked or disabled
	Scope              // the machine's access scopes leave the service out
	Disabled           // the service's API is not enabled in the project
	Billing            // the project has no billing account that works
	Unreachable        // no connection, or nobody behind it who answers
	Late               // no answer in the time allowed
	Quota              // asked too often
)

// A Cause is why a call failed, and what to do about it. Both texts are empty for [Other].
type Cause struct {
	Kind Kind
	Why  string // follows a message and a colon
	Fix  string
}

// Lasts reports whether the same call fails again however often it is repeated, until somebody does what Fix says.
func (c Cause) Lasts() bool {
	switch c.Kind {
	case NoCredentials, Refused, Scope, Disabled, Billing:
		return true
	}
	return false
}

// Of finds the cause of an error, as Google's clients return it, over gRPC and over HTTP.
func Of(err error) Cause {
	if err == nil {
		return Cause{}
	}
	reason, service, consumer := info(err)
	kind := kindOf(err, reason)
	service = cmp.Or(service, "the service")
	project := cmp.Or(strings.TrimPrefix(consumer, "projects/"), "PROJECT")

	c := Cause{Kind: kind}
	switch kind {
	case NoCredentials:
		c.Why = "there are no Google credentials"
		c.Fix = "give the gate credentials: a service account on Cloud Run or GKE; elsewhere " +
			"gcloud auth application-default login, or a file in GOOGLE_APPLICATION_CREDENTIALS"
	case Refused:
		c.Why = "Google does not accept these credentials: they are expired, revoked or disabled"
		c.Fix = "log in again: gcloud auth application-default login; of a service account, check that it and its " +
			"key are enabled"
	case Scope:
		c.Why = "this machine's access scopes leave " + service + " out"
		c.Fix = "give the machine or node pool the access scope cloud-platform, so that roles alone decide"
	case Disabled:
		c.Why = service + " is not enabled in project " + project
		c.Fix = "gcloud services enable " + apiOf(service) + " --project=" + project + ", and ask again in some minutes"
	case Billing:
		c.Why = "billing is disabled for project " + project
		c.Fix = "link a billing account: gcloud billing projects link " + project + " --billing-account=ACCOUNT"
	case Unreachable:
		c.Why = "Google cannot be reached"
		c.Fix = "try again; if it persists, check that the network here lets through *.googleapis.com:443, and " +
			"https://status.cloud.google.com"
	case Late:
		c.Why = "there was no answer in the time allowed"
		c.Fix = "try again; if it persists, check the network's way to *.googleapis.com, or that the emulator runs " +
			"where one is named, or allow more time in dependencies.timeouts"
	case Quota:
		c.Why = "the quota of its service is used up"
		c.Fix = "ask more slowly, or raise the quota in the project that the gate's credentials are of"
	}
	return c
}

// apiOf is what gcloud enables; the answer names it.
func apiOf(service string) string {
	if strings.HasSuffix(service, ".googleapis.com") {
		return service
	}
	return "SERVICE.googleapis.com"
}

func kindOf(err error, reason string) Kind {
	code := Code(err)
	switch reason { // google.api.ErrorReason is stable, messages are not
	case "CREDENTIALS_MISSING":
		return NoCredentials
	case "ACCESS_TOKEN_EXPIRED", "ACCOUNT_STATE_INVALID", "ACCESS_TOKEN_TYPE_UNSUPPORTED":
		return Refused
	case "ACCESS_TOKEN_SCOPE_INSUFFICIENT":
		return Scope
	case "SERVICE_DISABLED":
		return Disabled
	case "BILLING_DISABLED":
		return Billing
	}

	switch {
	case errors.Is(err, context.DeadlineExceeded), code == codes.DeadlineExceeded:
		return Late
	case code == codes.Unauthenticated, unfetched(err):
		return credentials(err)
	case code == codes.ResourceExhausted && !strings.Contains(err.Error(), "larger than max"): // gRPC's limit of a message
		return Quota
	case code == codes.Unavailable, noConnection(err):
		return Unreachable
	}
	return Other
}

// unfetched reports that no token was got, of which gRPC has no code: its text is all that there is.
func unfetched(err error) bool {
	text := err.Error()
	for _, part := range []string{
		"per-RPC creds failed", "could not find default credentials", "cannot fetch token", "invalid_grant", "invalid_rapt",
	} {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}

// credentials distinguishes credentials that are missing from those that were refused, and both from a token server
// that does not answer. What says none of it was refused.
func credentials(err error) Kind {
	text := err.Error()
	has := func(parts ...string) bool {
		for _, part := range parts {
			if strings.Contains(text, part) {
				return true
			}
		}
		return false
	}
	switch {
	case has("invalid_grant", "invalid_rapt", "expired", "revoked"):
		return Refused
	case has("no Google credentials", "could not find default credentials", "missing required authentication credential",
		"not defined"): // of a metadata server: "service-accounts/default/token" not defined
		return NoCredentials
	case has("dial tcp", "no such host", "connection refused", "i/o timeout"):
		return Unreachable
	}
	return Refused
}

func noConnection(err error) bool {
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return true
	}
	_, ok := errors.AsType[*net.DNSError](err)
	return ok
}

// Code is the code of an answer over gRPC, and what an answer over HTTP would be there.
func Code(err error) codes.Code {
	if api, ok := apierror.FromError(err); ok {
		return api.GRPCStatus().Code()
	}
	return status.Code(err)
}

// info reads google.rpc.ErrorInfo.
func info(err error) (reason, service, consumer string) {
	// Of an error that Google's client has read the details of, they are nowhere else: an answer over HTTP is wrapped
	// with its status alone.
	api, ok := errors.AsType[*apierror.APIError](err)
	if !ok {
		api, ok = apierror.FromError(err)
	}
	if !ok {
		return "", "", ""
	}
	return api.Reason(), api.Metadata()["service"], api.Metadata()["consumer"]
}
