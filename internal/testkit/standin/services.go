package standin

import (
	"context"
	"errors"
	"fmt"
	"net"

	binaryauthorization "cloud.google.com/go/binaryauthorization/apiv1"
	containeranalysis "cloud.google.com/go/containeranalysis/apiv1"
	grafeas "cloud.google.com/go/grafeas/apiv1"
	kms "cloud.google.com/go/kms/apiv1"
	"google.golang.org/api/option"

	"github.com/attestor-gate/attestor/emulator"
)

// Services are Google's services, emulated, with the official clients that a test asks them by. The clients share the
// emulator's own connection: closing the emulator ends them.
type Services struct {
	*emulator.Emulator
	Grafeas  *grafeas.Client
	Analysis *containeranalysis.Client
	KMS      *kms.KeyManagementClient
	Binauthz *binaryauthorization.BinauthzManagementClient
	System   *binaryauthorization.SystemPolicyClient
	Validate *binaryauthorization.ValidationHelperClient
}

// NewServices starts an emulator, empty, and its clients. Close must be called.
func NewServices(ctx context.Context, o emulator.Options) (*Services, error) {
	e, err := emulator.New(o)
	if err != nil {
		return nil, err
	}

	s, err := Connect(ctx, e)
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return s, nil
}

// Connect makes the clients of an emulator that runs already.
func Connect(ctx context.Context, e *emulator.Emulator) (*Services, error) {
	s, direct := &Services{Emulator: e}, option.WithGRPCConn(e.Conn())
	var errs [6]error
	s.Grafeas, errs[0] = grafeas.NewClient(ctx, direct)
	s.Analysis, errs[1] = containeranalysis.NewClient(ctx, direct)
	s.KMS, errs[2] = kms.NewKeyManagementClient(ctx, direct)
	s.Binauthz, errs[3] = binaryauthorization.NewBinauthzManagementClient(ctx, direct)
	s.System, errs[4] = binaryauthorization.NewSystemPolicyClient(ctx, direct)
	s.Validate, errs[5] = binaryauthorization.NewValidationHelperClient(ctx, direct)

	// Every client is tried, so that the error names all that fail.
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("connecting to the emulator: %w", err)
	}
	return s, nil
}

// TB is what is needed of a testing.TB, so that bench links no test framework.
type TB interface {
	Helper()
	Context() context.Context
	Cleanup(f func())
	Errorf(format string, args ...any)
	Fatal(args ...any)
}

// StartServices starts services that end with the test.
func StartServices(tb TB, o emulator.Options) *Services {
	tb.Helper()
	s, err := NewServices(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}

	// A test that ends early closes it, too.
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("closing the emulator: %v", err)
		}
	})
	return s
}

// Serve serves an emulator on a port of loopback until the test ends, and returns its address.
func Serve(tb TB, e *emulator.Emulator) (addr string) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}

	ctx, stop := context.WithCancel(context.WithoutCancel(tb.Context())) // calls that are under way may end first
	served := make(chan error, 1)
	go func() { served <- e.Serve(ctx, l) }()
	tb.Cleanup(func() {
		// Waited for, so that no goroutine outlives the test.
		stop()
		if err := <-served; err != nil {
			tb.Errorf("serving the emulator: %v", err)
		}
	})
	return l.Addr().String()
}

// Environment makes a program ask the emulator at addr for everything that it asks Google.
func Environment(addr string) []string {
	var env []string
	for _, name := range []string{"CONTAINERANALYSIS_EMULATOR_HOST", "CLOUD_KMS_EMULATOR_HOST",
		"BINARYAUTHORIZATION_EMULATOR_HOST"} {
		env = append(env, name+"="+addr)
	}
	return env
}
