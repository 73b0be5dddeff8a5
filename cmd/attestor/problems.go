package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"

	"google.golang.org/grpc/status"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/cause"
	"github.com/attestor-gate/attestor/internal/client"
)

// A problem is one sentence, and what to do about it.
type problem struct{ msg, fix string }

// printError writes each problem of an error once.
func printError(w io.Writer, err error) {
	seen := map[problem]bool{}
	for _, p := range problemsOf(err) {
		if seen[p] {
			continue
		}
		seen[p] = true
		fmt.Fprintf(w, "attestor: %s\n", p.msg)
		if p.fix != "" {
			fmt.Fprintf(w, "          %s\n", p.fix)
		}
	}
}

// problemsOf takes an error apart: joined ones, and one that sums others up.
func problemsOf(err error) []problem {
	switch e := err.(type) { //nolint:errorlint // what is taken apart is this very error; what it wraps comes below
	case nil:
		return nil
	case *exit:
		return problemsOf(e.err)
	case *client.Error:
		return problemsOf(e.Err)
	case interface{ Unwrap() []error }:
		if fmt.Sprintf("%T", err) != "*errors.joinError" {
			break // fmt.Errorf with several errors is a sentence of its own
		}
		var out []problem
		for _, one := range e.Unwrap() {
			out = append(out, problemsOf(one)...)
		}
		return out
	case *attestor.Error:
		// Only a cause that is itself a list sums up others. One that has a list somewhere inside, as a driver's may,
		// is what logs need, and the message is what a person does.
		if _, sum := e.Err.(interface{ Unwrap() []error }); sum { //nolint:errorlint // of this very cause
			return problemsOf(e.Err)
		}
		return []problem{{e.Msg + because(e.Msg, e.Err), e.Fix}}
	}

	// A sentence around an error of the domain: the cause that only logs need is left out.
	if e, ok := errors.AsType[*attestor.Error](err); ok {
		return []problem{{strings.Replace(err.Error(), e.Error(), e.Msg+because(e.Msg, e.Err), 1), e.Fix}}
	}
	return []problem{{err.Error(), systemFix(err)}}
}

// systemFix is what to do about an error of the operating system, or of Google's library, that nobody gave a fix.
func systemFix(err error) string {
	_, file := errors.AsType[*fs.PathError](err)
	switch {
	case file && errors.Is(err, fs.ErrNotExist):
		return "correct the path, or make the file first"
	case file && errors.Is(err, syscall.EISDIR):
		return "name a file in it, and not the directory"
	case file && errors.Is(err, fs.ErrPermission):
		return "give whoever runs this the right to the file"
	case strings.Contains(err.Error(), "could not find default credentials"):
		return "log in: gcloud auth application-default login"
	}
	return ""
}

// because is what caused an error, where it says more to a person than the message: not what gRPC says of its
// connections, nor what the message says already in words of its own, such as that a time is over or a name not known.
func because(msg string, err error) string {
	if err == nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return ""
	}
	if _, rpc := status.FromError(err); rpc {
		return ""
	}
	silent, _ := cause.Silence("", err)
	for _, why := range []string{silent, cause.Of(err).Why} {
		if why != "" && strings.Contains(msg, why) {
			return ""
		}
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return ": " + text
}
