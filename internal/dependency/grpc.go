package dependency

import (
	"context"
	"path"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Unary guards the calls of one service, by its name, and gives each at most timeout.
// A call that lasts half of it without an answer is an outage; one that its caller
// ends before then is not counted.
func (c *Calls) Unary(service string, timeout time.Duration) grpc.UnaryClientInterceptor {
	return func(
		ctx context.Context, method string, req, reply any,
		cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption,
	) (err error) {
		about := target{name: service, label: service, span: service + " " + path.Base(method), timeout: timeout}
		refusal := c.do(ctx, about, func(ctx context.Context) outcome {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()

			start := time.Now()
			err = invoke(ctx, method, req, reply, cc, opts...)

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
			}
			return answered
		})
		if refusal != nil {
			return refusal
		}
		return err
	}
}
