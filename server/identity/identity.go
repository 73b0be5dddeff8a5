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
// was made to resolve to loopback (DNS rebinding) cannot use the visitor's gate, and
// requests that change something and that another site's page has sent.
func Open(caller attestor.Caller) Verifier {
	return open{caller, http.NewCrossOriginProtection()}
}

type open struct {
	caller attestor.Caller
	sites  *http.CrossOriginProtection
}

func (o open) Authenticate(r *http.Request) (attestor.Caller, error) {
	// A browser sends the name that it was given, whatever address that resolved to.
	if !loopback.Authority(r.Host) {
		return attestor.Caller{}, &attestor.Error{
			Kind: attestor.Forbidden, Msg: "this gate has no identities configured and answers to localhost only",
			Fix: "call it as 127.0.0.1 or localhost, or configure identity",
		}
	}

	// Nobody has to show a token here, so that any page that the person at this machine opens could send a request in
	// their name: a POST without a body takes no permission of the browser's. Browsers say where a request comes from.
	if err := o.sites.Check(r); err != nil {
		return attestor.Caller{}, &attestor.Error{
			Kind: attestor.Forbidden, Msg: "this request was sent by another site's page", Err: err,
			Fix: "call the gate by a program, or from its own pages",
		}
	}
	return o.caller, nil
}
