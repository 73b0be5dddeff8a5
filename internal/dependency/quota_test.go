package dependency_test

import (
	"cmp"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/attestor-gate/attestor/internal/dependency"
	"github.com/attestor-gate/attestor/internal/throttle"
)

// A quota that is used up is neither an outage nor an answer: the call is made again when the service asks for it,
// within its caller's time, and whoever has less time is told how long it takes.
func TestAQuotaThatIsUsedUp(t *testing.T) {
	refusal := func(after time.Duration) error {
		s, err := status.New(codes.ResourceExhausted, "quota").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(after)})
		if err != nil {
			t.Fatal(err)
		}
		return s.Err()
	}

	for name, tt := range map[string]struct {
		refusals int
		answer   error // of the service; nil: the refusal
		give     time.Duration
		asked    int
		took     time.Duration
		code     codes.Code
		told     int
	}{
		"it is free again":            {2, nil, time.Minute, 3, 24 * time.Second, codes.OK, 2},
		"its caller has less time":    {2, nil, 5 * time.Second, 1, 0, codes.ResourceExhausted, 2},
		"it stays used up":            {100, nil, time.Hour, 8, 84 * time.Second, codes.ResourceExhausted, 8},
		"a message that is too large": {100, status.Error(codes.ResourceExhausted, "larger than max"), time.Minute, 1, 0, codes.ResourceExhausted, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				told := 0
				w := newWorld(t, dependency.Config{Outages: 1, Refused: func(time.Duration) { told++ }})
				intercept, asked, start := w.calls.Unary("Cloud KMS", 10*time.Second), 0, time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), tt.give)
				defer cancel()
				err := intercept(ctx, "/google.cloud.kms.v1.KeyManagementService/AsymmetricSign", nil, nil, nil,
					func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error {
						if asked++; asked > tt.refusals {
							return nil
						}
						return cmp.Or(tt.answer, refusal(12*time.Second))
					})

				if status.Code(err) != tt.code || asked != tt.asked || time.Since(start) != tt.took || told != tt.told {
					t.Errorf("%v after %v: asked %d times, want %d, told of %d, want %d", err, time.Since(start), asked, tt.asked, told, tt.told)
				}

				// Whoever comes while it is used up is told the time, and the service is not asked.
				if tt.code == codes.ResourceExhausted && tt.answer == nil {
					short, leave := context.WithTimeout(t.Context(), time.Second)
					defer leave()
					before := asked
					err := intercept(short, "/x/Y", nil, nil, nil, func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error {
						asked++
						return nil
					})
					if after, refused := throttle.Refusal(err); !refused || after <= 0 || asked != before {
						t.Errorf("another call: %v, which names %v", err, after)
					}
				}
				if got := w.value("attestor_circuits_open", "Cloud KMS"); got != 0 {
					t.Error("a quota that is used up opened the circuit")
				}
			})
		})
	}
}
