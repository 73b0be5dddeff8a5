package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestor-gate/attestor"
)

// TestPrintError is what people read of an error: each problem once, one sentence and its fix.
func TestPrintError(t *testing.T) {
	t.Parallel()
	disabled := &attestor.Error{Kind: attestor.Upstream, Msg: "key k: the key version is not enabled",
		Fix: "enable it", Err: status.Error(codes.FailedPrecondition, "is not enabled, current state is: DISABLED")}
	lacking := &attestor.Error{Kind: attestor.Upstream, Msg: "the gate may not read note n", Fix: "grant it"}

	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"one":                    {lacking, "attestor: the gate may not read note n\n          grant it\n"},
		"without what gRPC says": {disabled, "attestor: key k: the key version is not enabled\n          enable it\n"},
		"with what the system says": {&attestor.Error{Msg: "the service cannot be reached", Err: errors.New(
			"connection refused")}, "attestor: the service cannot be reached: connection refused\n"},
		"without what the message says": {&attestor.Error{Msg: "r.example did not answer: its name is not known", Fix: "check its DNS",
			Err: &net.DNSError{Err: "no such host", Name: "r.example"}},
			"attestor: r.example did not answer: its name is not known\n          check its DNS\n"},
		"with what the message does not say": {&attestor.Error{Msg: "r.example did not answer",
			Err: &net.DNSError{Err: "no such host", Name: "r.example"}}, "attestor: r.example did not answer: lookup r.example: no such host\n"},
		"out of time": {&attestor.Error{Msg: "it did not answer in time", Err: context.DeadlineExceeded},
			"attestor: it did not answer in time\n"},
		"a sum, taken apart": {
			&attestor.Error{Msg: "key k: …; the gate …", Fix: "enable it; grant it", Err: errors.Join(disabled, lacking)},
			"attestor: key k: the key version is not enabled\n          enable it\nattestor: the gate may not read note n\n          grant it\n",
		},
		"with a list somewhere inside": {
			&attestor.Error{Msg: "the disk is full", Fix: "free space",
				Err: fmt.Errorf("migrating: %w", errors.Join(errors.New("full (13)"), errors.New("rolled back")))},
			"attestor: the disk is full: migrating: full (13)\n          free space\n",
		},
		"the same twice": {errors.Join(lacking, fmt.Errorf("once"), lacking),
			"attestor: the gate may not read note n\n          grant it\nattestor: once\n"},
		"inside a sentence": {fmt.Errorf("r/a:v1: %w", disabled), "attestor: r/a:v1: key k: the key version is not enabled\n          enable it\n"},
		"with an exit code": {&exit{code: 3, err: lacking}, "attestor: the gate may not read note n\n          grant it\n"},
		"of another kind":   {errors.New("no such file"), "attestor: no such file\n"},
	} {
		var b bytes.Buffer
		printError(&b, tt.err)
		if b.String() != tt.want {
			t.Errorf("%s: printed %q, want %q", name, b.String(), tt.want)
		}
	}
}
