package server

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/attestor-gate/attestor"
)

// startSpan continues the caller's trace: by the W3C's traceparent or, without
// it, by Google's X-Cloud-Trace-Context. Both come from the caller and are not
// trusted: they only name the trace.
func (s *Server) startSpan(ctx context.Context, r *http.Request) (context.Context, func(route string, status int)) {
	parent := propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header))
	if !trace.SpanContextFromContext(parent).IsValid() {
		parent = cloudTrace(ctx, r.Header.Get("X-Cloud-Trace-Context"))
	}

	ctx, span := s.tracer().Start(parent, "http", trace.WithSpanKind(trace.SpanKindServer))
	return ctx, func(route string, status int) {
		if route != "" {
			span.SetName(r.Method + " " + route)
		}
		span.SetAttributes(attribute.String("http.route", route), attribute.Int("http.response.status_code", status))
		if status >= 500 {
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
}

func (s *Server) tracer() trace.Tracer {
	var provider trace.TracerProvider = noop.NewTracerProvider()
	if s.c.Tracer != nil {
		provider = s.c.Tracer
	}
	return provider.Tracer("github.com/attestor-gate/attestor/server")
}

// decisionSpan starts the span of one decision. Its attributes have nothing of the
// image.
func (s *Server) decisionSpan(ctx context.Context) (context.Context, func(attestor.Decision, error)) {
	ctx, span := s.tracer().Start(ctx, "decision")
	return ctx, func(d attestor.Decision, err error) {
		defer span.End()
		if err != nil {
			span.SetStatus(codes.Error, "") // without the message, which may contain text of the caller
			return
		}

		verdict, _ := d.Verdict.MarshalText()
		span.SetAttributes(
			attribute.String("decision.id", d.ID),
			attribute.String("decision.verdict", string(verdict)),
			attribute.Bool("decision.dry_run", d.DryRun),
		)
	}
}

// admitInOwnTrace starts a trace for each decision of a message or a run, which
// may have hundreds, and links it to the trace of that.
func (s *Server) admitInOwnTrace(ctx context.Context, req attestor.Request) (attestor.Decision, error) {
	ctx, span := s.tracer().Start(ctx, "event", trace.WithNewRoot(), trace.WithLinks(trace.LinkFromContext(ctx)))
	defer span.End()
	return s.Admit(ctx, req)
}

// cloudTrace adds the trace of X-Cloud-Trace-Context to ctx: TRACE_ID/SPAN_ID;o=OPTIONS,
// which are 32 hex digits, a decimal number and a flag. It ignores a header that it
// cannot parse.
func cloudTrace(ctx context.Context, header string) context.Context {
	id, rest, _ := strings.Cut(header, "/")
	span, options, _ := strings.Cut(rest, ";")
	raw, err := hex.DecodeString(id)
	if err != nil || len(raw) != 16 {
		return ctx
	}
	n, err := strconv.ParseUint(span, 10, 64)
	if err != nil || n == 0 {
		return ctx
	}

	c := trace.SpanContextConfig{TraceID: trace.TraceID(raw), Remote: true}
	binary.BigEndian.PutUint64(c.SpanID[:], n)
	if options == "o=1" {
		c.TraceFlags = trace.FlagsSampled
	}
	return trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(c))
}
