package telemetry

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// Keys are all that a log line may have. Values under any other key, and in groups,
// are left out. None of them is a person's: not a name, an address, an email or
// anything else that the rules for safe logging forbid.
func Keys() []string {
	return []string{
		"admitted", "admitted_by", "allowed", "attempt", "attestor", "base", "binary_authorization", "break_glass",
		"caller_hash", "callers", "cause", "complete", "condition", "container_analysis", "decision_id",
		"decisions", "dependency",
		"dropped", "dry_run", "duration_ms", "error", "event", "failed", "flips", "image", "image_digest",
		"intent", "issuer",
		"judged", "kind", "kms", "limit", "listen", "message_id", "note", "occurrence", "operation", "outcome", "panic",
		"part", "policies", "policies_digest", "policy_digest", "problems", "published", "reason_codes", "receiver",
		"repository", "request_id", "revoked", "route", "stack", "status", "tag", "teams", "unsafe_trust_platform",
		"verdict", "version", "witness",
	}
}

// unlisted replaces a value whose key is not among [Keys].
const unlisted = "[unlisted key]"

// NewLogHandler writes lines of JSON as Cloud Logging reads them: severity,
// message, time, and the trace of the context that they were written in, which
// is linked where project names the Google project.
func NewLogHandler(w io.Writer, level slog.Level, project string) slog.Handler {
	return &logHandler{
		project: project,
		Handler: slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: replace}),
	}
}

// NewTextHandler writes lines of text without the time, for a person at a terminal. Keys are those of [NewLogHandler].
// Values are quoted where they have other than printable characters, so that a terminal obeys nothing in them.
func NewTextHandler(w io.Writer, level slog.Level) slog.Handler {
	return slog.NewTextHandler(w, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return replace(groups, a)
		},
	})
}

func replace(groups []string, a slog.Attr) slog.Attr {
	// A key within a group could hide a value under a name of the list.
	if len(groups) > 0 {
		return slog.String(a.Key, unlisted)
	}
	switch a.Key {
	case slog.LevelKey:
		return slog.String("severity", severity(a.Value))
	case slog.MessageKey:
		return slog.Attr{Key: "message", Value: a.Value}
	case slog.TimeKey:
		if a.Value.Kind() == slog.KindTime {
			return slog.String("time", a.Value.Time().UTC().Format(time.RFC3339Nano))
		}
	case traceKey, spanKey, sampledKey:
		return a
	}

	// Allowed keys rather than forbidden ones: a new attribute is left out until
	// somebody has looked at what it may hold.
	if !slices.Contains(Keys(), a.Key) {
		return slog.String(a.Key, unlisted)
	}
	return a
}

func severity(v slog.Value) string {
	level, ok := v.Any().(slog.Level)
	switch {
	case !ok:
		return "DEFAULT"
	case level >= slog.LevelError:
		return "ERROR"
	case level >= slog.LevelWarn:
		return "WARNING"
	case level >= slog.LevelInfo:
		return "INFO"
	}
	return "DEBUG"
}

// Cloud Logging's own keys.
const (
	traceKey   = "logging.googleapis.com/trace"
	spanKey    = "logging.googleapis.com/spanId"
	sampledKey = "logging.googleapis.com/trace_sampled"
)

// logHandler adds the trace. It embeds the handler that writes.
type logHandler struct {
	slog.Handler
	project string
}

func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	if s := trace.SpanContextFromContext(ctx); s.IsValid() {
		name := s.TraceID().String()
		if h.project != "" {
			name = "projects/" + h.project + "/traces/" + name
		}
		r = r.Clone()

		//nolint:sloglint // the keys are Cloud Logging's
		r.AddAttrs(
			slog.String(traceKey, name),
			slog.String(spanKey, s.SpanID().String()),
			slog.Bool(sampledKey, s.IsSampled()),
		)
	}
	return h.Handler.Handle(ctx, r)
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logHandler{Handler: h.Handler.WithAttrs(attrs), project: h.project}
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	return &logHandler{Handler: h.Handler.WithGroup(name), project: h.project}
}
