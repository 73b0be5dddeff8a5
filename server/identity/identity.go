// Package identity decides who sent a request, and what they may do: by a signed token
// and the configured callers, and by nothing else. What a permission means for an
// image is left to the Gate and the server.
package identity

import (
	"net/http"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/loopback"
)

// A Verifier authenticates requests. Its errors are [attestor.Error]s: of kind
// Unauthenticated or Forbidden, with a text that says what is missing, or of kind
// Unavailable where a key server could not be reached.
type Verifier interface {
	Authenticate(r *http.Request) (attestor.Caller, error)
}

// Open identifies every request as caller. It is for a service that listens on
// loopback only. It refuses requests with another Host, so that a web page whose name
// was made to resolve to loopback (DNS rebinding) cannot use the visitor's gate.
func Open(caller attestor.Caller) Verifier { return open{caller} }

type open struct{ caller attestor.Caller }

func (o open) Authenticate(r *http.Request) (attestor.Caller, error) {
	// A browser sends the name that it was given, whatever address that resolved to.
	if !loopback.Authority(r.Host) {
		return attestor.Caller{}, &attestor.Error{
			Kind: attestor.Forbidden, Msg: "this gate has no identities configured and answers to localhost only",
			Fix: "call it as 127.0.0.1 or localhost, or configure identity",
		}
	}
	return o.caller, nil
}
