package attestor

import (
	"errors"
	"time"
)

// A Kind says what an error means to a caller. The zero value is Internal:
// nothing of an unclassified error is shown.
type Kind int

// The kinds, each with the HTTP status that the service answers.
const (
	Internal        Kind = iota // 500, with nothing but a request id
	Invalid                     // 400: malformed, or contradicts itself
	Unauthenticated             // 401: no valid identity
	Forbidden                   // 403: this identity may not do this
	NotFound                    // 404: no such image, decision, policy
	Unavailable                 // 503: this gate cannot answer now (its record is down, it is shedding load)
	Upstream                    // 502: something it depends on failed; the Gate turns it into a Decision
	TooMany                     // 429
	Unsupported                 // 501: switched off in this configuration
	TooLarge                    // 413
)

// An Error is the one error type whose text callers see. Everything else is
// internal, and answers say no more than that.
type Error struct {
	Kind Kind
	Code Code   // the reason in a Decision, for Upstream
	Msg  string // public: what was found; lower case, no full stop
	Fix  string // public: what to do about it
	Err  error  // private: logged, never sent

	// After is how long a dependency asked to wait before it is asked again; 0
	// if it named no time.
	After time.Duration
}

// Error holds the private cause too; it is for logs.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Msg + ": " + e.Err.Error()
	}
	return e.Msg
}

func (e *Error) Unwrap() error { return e.Err }

// RetryAfter is After in whole seconds, rounded up.
func (e *Error) RetryAfter() int { return int((e.After + time.Second - 1) / time.Second) }

// KindOf answers for any error; what is not an [Error] is Internal.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// Message is what a caller may see of any error.
func Message(err error) string {
	if e, ok := errors.AsType[*Error](err); ok && e.Kind != Internal {
		return e.Msg
	}
	return "internal error"
}
