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
)

// startSpan continues the caller's trace: W3C's traceparent, else Google's
// X-Cloud-Trace-Context. Either only names the trace; nothing is decided by it.
func (s *Server) startSpan(ctx context.Context, r *http.Request) (context.Context, func(route string, status int)) {
	parent := propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header))
	if !trace.SpanContextFromContext(parent).IsValid() {
		parent = cloudTrace(ctx, r.Header.Get("X-Cloud-Trace-Context"))
	}
	var provider trace.TracerProvider = noop.NewTracerProvider()
	if s.c.Tracer != nil {
		provider = s.c.Tracer
	}
	ctx, span := provider.Tracer("github.com/attestor-gate/attestor/server").Start(parent, "http", trace.WithSpanKind(trace.SpanKindServer))
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

// cloudTrace reads TRACE_ID/SPAN_ID;o=OPTIONS: 32 hex digits, a decimal, a
// flag. What it cannot read it leaves out.
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
