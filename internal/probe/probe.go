// Package probe is how a part of the gate reports on what it depends on: one result for each question that it asked.
package probe

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestor-gate/attestor"
)

// A Result is the answer to one question about one dependency.
type Result struct {
	Dependency    string        // whom: "Cloud KMS", "registry", "record"
	Subject       string        // about what: a resource's name, a host, a file
	Question      string        // what was asked: a permission, or what must hold
	Err           error         // nil: it is as it must be. An [attestor.Error] has the fix
	Took          time.Duration // how long the answer took
	Limit         time.Duration // how long it may take; 0: not limited
	Informational bool          // images are decided on without it: a fault is reported and keeps nothing from working
}

// A State is what a Result comes to.
type State string

// The states, the worst last.
const (
	OK       State = "ok"
	Slow     State = "slow"      // as it must be, after more than half of the time that is allowed
	Warning  State = "warning"   // wrong, and images are decided on without it
	NoAnswer State = "no answer" // it could not be found out: the dependency is down, or too slow
	Fault    State = "fault"     // found out: a permission, or a thing, is missing
)

// State returns what a result comes to.
func (r Result) State() State {
	switch {
	case r.Err == nil && r.Limit > 0 && r.Took > r.Limit/2:
		return Slow
	case r.Err == nil:
		return OK
	case r.Informational:
		return Warning
	case unanswered(r.Err):
		return NoAnswer
	}
	return Fault
}

// An rpcError is an error with gRPC's status, as gRPC's and Google's clients return them.
type rpcError interface {
	error
	GRPCStatus() *status.Status
}

// unanswered reports whether an error says that nobody answered, or that whoever answered could not tell. All other
// errors are answers.
func unanswered(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return true
	}
	// Not net.Error, which an error of the file system is, too.
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return true
	}
	if s, ok := errors.AsType[rpcError](err); ok {
		switch s.GRPCStatus().Code() {
		case codes.Unavailable, codes.DeadlineExceeded, codes.Internal, codes.Unknown,
			codes.ResourceExhausted, codes.Aborted:
			return true
		}
		return false
	}
	return attestor.KindOf(err) == attestor.Unavailable
}

// Ask asks one question, and measures how long the answer takes. limit is the time that ask gives itself.
func Ask(dependency, subject, question string, limit time.Duration, ask func() error) Result {
	started := time.Now()
	err := ask()
	return Result{
		Dependency: dependency, Subject: subject, Question: question,
		Err: err, Took: time.Since(started), Limit: limit,
	}
}

// Errors joins what is wrong, in order, leaving out informational results; nil if nothing is wrong.
func Errors(results []Result) error {
	var errs []error
	for _, r := range results {
		if !r.Informational {
			errs = append(errs, r.Err)
		}
	}
	return errors.Join(errs...)
}

// Together runs questions at the same time, at most atOnce of them, and returns their results in the order of the
// questions. A dependency that does not answer so delays nobody else's answer.
func Together(atOnce int, questions []func() []Result) []Result {
	answers := make([][]Result, len(questions))
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i, ask := range questions {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			answers[i] = ask()
		})
	}
	wg.Wait()

	var out []Result
	for _, some := range answers {
		out = append(out, some...)
	}
	return out
}
