package dependency

import (
	"cmp"
	"context"
	"errors"
	"path"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestor-gate/attestor/internal/throttle"
)

// quotaTries is how often one call is made where a quota refuses it.
const quotaTries = 8

// Unary guards the calls of one service, by its name, and gives each at most timeout.
// A call that lasts half of it without an answer is an outage; one that its caller
// ends before then is not counted. A call that a quota refuses is neither: it is made
// again when the service asks for it, if its caller waits that long, and all calls of
// the service are made more slowly.
func (c *Calls) Unary(service string, timeout time.Duration) grpc.UnaryClientInterceptor {
	about := target{name: service, label: service, timeout: timeout}
	return func(
		ctx context.Context, method string, req, reply any,
		cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption,
	) error {
		about := about
		about.span = service + " " + path.Base(method)
		pacer := c.pacer(service)

		var last error
		for range quotaTries {
			// The wait takes no place among the calls in flight, and none of a call's own time.
			if err := pacer.Turn(ctx); err != nil {
				if e, ok := errors.AsType[*throttle.Error](err); ok {
					c.limited(e.After)
				}
				return cmp.Or(last, throttle.Status(service, err))
			}

			err := c.unary(ctx, about, func(ctx context.Context) error {
				return invoke(ctx, method, req, reply, cc, opts...)
			})

			// "The request is denied": nothing was done, so that it may be made again, a write too.
			after, refused := throttle.Refusal(err)
			if !refused {
				pacer.Answered()
				return err
			}
			pacer.Refused(after)
			c.paced.WithLabelValues(service).Set(pacer.Rate())
			c.limited(after)
			last = err
		}
		return last
	}
}

// limited reports a call that a quota kept from being answered.
func (c *Calls) limited(after time.Duration) {
	if c.c.Refused != nil {
		c.c.Refused(after)
	}
}

// unary makes one attempt.
func (c *Calls) unary(ctx context.Context, about target, invoke func(context.Context) error) (err error) {
	refusal := c.do(ctx, about, func(ctx context.Context) outcome {
		ctx, cancel := context.WithTimeout(ctx, about.timeout)
		defer cancel()

		start := time.Now()
		err = invoke(ctx)

		// UNAVAILABLE is what gRPC itself returns where it has no connection. Other
		// codes, INTERNAL among them, come from a service that answers.
		code := status.Code(err)
		trace.SpanFromContext(ctx).SetAttributes(attribute.String("rpc.grpc.status_code", code.String()))
		switch code {
		case codes.Unavailable:
			return outage
		case codes.DeadlineExceeded:
			return about.lapsed(context.DeadlineExceeded, time.Since(start))
		case codes.Canceled:
			return abandoned
		case codes.ResourceExhausted:
			if _, ok := throttle.Refusal(err); ok {
				return exhausted
			}
		}
		return answered
	})
	if refusal != nil {
		return refusal
	}
	return err
}
