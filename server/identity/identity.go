// Package identity decides who sent a request, and what they may do: from a
// signed token and the configured callers, and from nothing else. What a right
// means for an image is left to the Gate and the server.
package identity

import (
	"net"
	"net/http"
	"strings"

	"github.com/attestor-gate/attestor"
)

// A Verifier finds out who sent a request. Its errors are [attestor.Error]s of
// kind Unauthenticated or Forbidden, whose text says what was missing, and of
// kind Unavailable where a key server could not be asked.
type Verifier interface {
	Authenticate(r *http.Request) (attestor.Caller, error)
}

// Open takes everyone for caller. It is for a service that listens on loopback
// only, and refuses requests whose Host is another: a page in a browser that
// had its own name resolved to loopback has nothing to say here.
func Open(caller attestor.Caller) Verifier { return open{caller} }

type open struct{ caller attestor.Caller }

func (o open) Authenticate(r *http.Request) (attestor.Caller, error) {
	if !loopback(r.Host) {
		return attestor.Caller{}, &attestor.Error{
			Kind: attestor.Forbidden, Msg: "this gate has no identities configured and answers to localhost only",
			Fix: "call it as 127.0.0.1 or localhost, or configure identity",
		}
	}
	return o.caller, nil
}

func loopback(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || (ip != nil && ip.IsLoopback())
}
