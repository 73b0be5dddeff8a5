package probe_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/probe"
)

// TestState: what was found to be wrong is a fault, what could not be found out is neither a fault nor a success.
func TestState(t *testing.T) {
	t.Parallel()
	wrapped := func(err error) error {
		return &attestor.Error{Kind: attestor.Upstream, Msg: "it may not", Err: fmt.Errorf("asking: %w", err)}
	}
	for name, tt := range map[string]struct {
		r    probe.Result
		want probe.State
	}{
		"good":                     {probe.Result{Took: 5, Limit: 10}, probe.OK},
		"slow":                     {probe.Result{Took: 6, Limit: 10}, probe.Slow},
		"without a limit":          {probe.Result{Took: time.Hour}, probe.OK},
		"a thing is missing":       {probe.Result{Err: errors.New("there is no such attestor")}, probe.Fault},
		"a permission is missing":  {probe.Result{Err: wrapped(status.Error(codes.PermissionDenied, "no"))}, probe.Fault},
		"not found":                {probe.Result{Err: wrapped(status.Error(codes.NotFound, "no"))}, probe.Fault},
		"not there to be asked":    {probe.Result{Err: wrapped(status.Error(codes.Unavailable, "no"))}, probe.NoAnswer},
		"too late":                 {probe.Result{Err: wrapped(status.Error(codes.DeadlineExceeded, "no"))}, probe.NoAnswer},
		"too late, without a code": {probe.Result{Err: wrapped(context.DeadlineExceeded)}, probe.NoAnswer},
		"no connection":            {probe.Result{Err: wrapped(&net.OpError{Op: "dial", Err: errors.New("refused")})}, probe.NoAnswer},
		"no such file":             {probe.Result{Err: wrapped(&os.PathError{Op: "open", Err: syscall.ENOENT})}, probe.Fault},
		"no such host":             {probe.Result{Err: wrapped(&net.DNSError{Err: "no such host"})}, probe.NoAnswer},
		"unavailable":              {probe.Result{Err: &attestor.Error{Kind: attestor.Unavailable, Msg: "down"}}, probe.NoAnswer},
		"quota is used up":         {probe.Result{Err: wrapped(status.Error(codes.ResourceExhausted, "no"))}, probe.NoAnswer},
		"informational":            {probe.Result{Err: errors.New("no collector"), Informational: true}, probe.Warning},
		"slow and wrong":           {probe.Result{Err: errors.New("no"), Took: 9, Limit: 10}, probe.Fault},
	} {
		if got := tt.r.State(); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// TestTogether: results are in the order of the questions, and one that waits for another is no deadlock.
func TestTogether(t *testing.T) {
	t.Parallel()
	second := make(chan struct{})
	got := probe.Together(2, []func() []probe.Result{
		func() []probe.Result { <-second; return []probe.Result{{Subject: "a"}, {Subject: "b"}} },
		func() []probe.Result { close(second); return []probe.Result{{Subject: "c"}} },
		func() []probe.Result { return nil },
	})
	if diff := cmp.Diff([]probe.Result{{Subject: "a"}, {Subject: "b"}, {Subject: "c"}}, got); diff != "" {
		t.Error(diff)
	}
}

// TestErrors leaves out informational results, and is nil where nothing else is wrong.
func TestErrors(t *testing.T) {
	t.Parallel()
	wrong := errors.New("wrong")
	if err := probe.Errors([]probe.Result{{}, {Err: errors.New("aside"), Informational: true}}); err != nil {
		t.Error(err)
	}
	if err := probe.Errors([]probe.Result{{}, {Err: wrong}}); !errors.Is(err, wrong) {
		t.Error(err)
	}
}
