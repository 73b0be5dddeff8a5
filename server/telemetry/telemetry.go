// Package telemetry decides what operators see of the gate's stages: a span and a few
// numbers for each call, and log lines in the form that Cloud Logging reads. It
// changes no answer, except that a stage that panics fails, and the process does not.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/attestor-gate/attestor"
)

// Options say where spans and numbers go.
type Options struct {
	Tracer   trace.TracerProvider // nil: no spans
	Registry *prometheus.Registry // required
}

// Observe returns c with its stages measured.
func Observe(c attestor.GateConfig, o Options) (attestor.GateConfig, error) {
	if o.Registry == nil {
		return c, errors.New("observing the gate: the registry is missing")
	}
	if c.Inspector == nil || c.Scanner == nil || c.Attester == nil || c.Recorder == nil || c.Now == nil {
		return c, errors.New("observing the gate: a stage or the clock is missing")
	}

	if o.Tracer == nil {
		o.Tracer = noop.NewTracerProvider()
	}
	s := &stages{
		tracer: o.Tracer.Tracer("github.com/attestor-gate/attestor"), now: c.Now,
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "attestor_stage_seconds",
			Help: "Time that a call of a stage took: resolve, inspect, scan, standing, attest, begin, finish, " +
				"summarize, refuse, summaries.",
			Buckets: []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"stage"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "attestor_stage_errors_total",
			Help: "Calls of a stage that failed, by reason code where there is one.",
		}, []string{"stage", "code"}),
	}

	if err := errors.Join(o.Registry.Register(s.latency), o.Registry.Register(s.errors)); err != nil {
		return c, fmt.Errorf("observing the gate: %w", err)
	}
	c.Inspector = inspector{s, c.Inspector}
	c.Scanner = scanner{s, c.Scanner}
	c.Attester = attester{s, c.Attester}
	c.Recorder = recorder{s, c.Recorder}
	if c.Summarizer != nil {
		c.Summarizer = summarizer{s, c.Summarizer}
	}
	return c, nil
}

type stages struct {
	tracer  trace.Tracer
	now     func() time.Time
	latency *prometheus.HistogramVec
	errors  *prometheus.CounterVec
}

// call runs f as a stage. A panic in f becomes its error.
func (s *stages) call(
	ctx context.Context,
	stage string,
	f func(context.Context) error,
	about ...attribute.KeyValue,
) (err error) {
	ctx, span := s.tracer.Start(ctx, stage, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(about...))
	start := s.now()
	defer func() {
		// Stages run on goroutines of the Gate, where no HTTP server recovers: a panic
		// would end the process and every other request with it.
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in stage %s: %v\n%s", stage, p, debug.Stack())
		}

		// A code and no text: a text may hold what a registry or a caller wrote.
		s.latency.WithLabelValues(stage).Observe(s.now().Sub(start).Seconds())
		if err != nil {
			code := codeOf(err)
			s.errors.WithLabelValues(stage, code).Inc()
			span.SetStatus(codes.Error, code)
		}
		span.End()
	}()
	return f(ctx)
}

// codeOf is from a small set, as labels of metrics must be: reason codes, and two
// words.
func codeOf(err error) string {
	if e, ok := errors.AsType[*attestor.Error](err); ok && e.Code != "" {
		return string(e.Code)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return "timed-out"
	}
	return "other"
}

func digest(d attestor.Digest) attribute.KeyValue {
	return attribute.String("image.digest", string(d))
}

type inspector struct {
	s    *stages
	next attestor.Inspector
}

func (i inspector) Pin(ctx context.Context, ref attestor.Reference) (img attestor.Image, err error) {
	err = i.s.call(ctx, "pin", func(ctx context.Context) (err error) {
		img, err = i.next.Pin(ctx, ref)
		return err
	})
	if err != nil {
		return attestor.Image{}, err
	}
	return img, nil
}

func (i inspector) Index(ctx context.Context, img attestor.Image) (index bool, err error) {
	err = i.s.call(ctx, "index", func(ctx context.Context) (err error) {
		index, err = i.next.Index(ctx, img)
		return err
	}, digest(img.Digest()))
	return index && err == nil, err
}

func (i inspector) Resolve(
	ctx context.Context,
	ref attestor.Reference,
	needs attestor.Needs,
) (r attestor.Resolved, err error) {
	err = i.s.call(ctx, "resolve", func(ctx context.Context) (err error) {
		r, err = i.next.Resolve(ctx, ref, needs)
		return err
	})
	if err != nil {
		return attestor.Resolved{}, err
	}
	return r, nil
}

func (i inspector) Inspect(
	ctx context.Context,
	r attestor.Resolved,
	child attestor.Child,
	needs attestor.Needs,
) (e attestor.PlatformEvidence) {
	err := i.s.call(ctx, "inspect", func(ctx context.Context) error {
		e = i.next.Inspect(ctx, r, child, needs)
		for _, p := range e.Problems {
			if p.Status != attestor.StatusDeny {
				i.s.errors.WithLabelValues("inspect", string(p.Code)).Inc()
			}
		}
		return nil
	}, digest(child.Digest), attribute.String("image.platform", child.Platform))
	if err != nil {
		// Evidence with a problem of status error: the image cannot pass by it.
		return attestor.PlatformEvidence{
			Child: child,
			Problems: []attestor.Problem{
				{Check: attestor.CheckPlatforms, Status: attestor.StatusError, Reason: internal()},
			},
		}
	}
	return e
}

// internal is the reason that a Decision gives for a stage that panicked.
func internal() attestor.Reason {
	return attestor.Reason{
		Code:    attestor.CodeInterrupted,
		Message: "internal error; see the gate's log by the request id",
		Fix:     "report this as a defect of the gate",
	}
}

type scanner struct {
	s    *stages
	next attestor.Scanner
}

func (c scanner) Scans(ctx context.Context, requests []attestor.ScanRequest) (scans []attestor.Scan) {
	digests := make([]string, len(requests))
	for i, r := range requests {
		digests[i] = string(r.Image.Digest())
	}

	err := c.s.call(ctx, "scan", func(ctx context.Context) error {
		scans = c.next.Scans(ctx, requests)
		for _, scan := range scans {
			if scan.State != attestor.ScanUnavailable {
				continue
			}
			reason := attestor.Reason{Code: attestor.CodeScanUnavailable}
			if scan.Problem != nil {
				reason = *scan.Problem
			}
			c.s.errors.WithLabelValues("scan", string(reason.Code)).Inc()
		}
		return nil
	}, attribute.StringSlice("image.digests", digests))
	if err == nil {
		return scans
	}

	// ScanUnavailable is no state in which anything passes.
	reason := internal()
	scans = make([]attestor.Scan, len(requests))
	for i := range scans {
		scans[i] = attestor.Scan{State: attestor.ScanUnavailable, Problem: &reason}
	}
	return scans
}

type attester struct {
	s    *stages
	next attestor.Attester
}

func (a attester) Standing(
	ctx context.Context,
	attestors []string,
	images []attestor.Image,
) (st attestor.Standing, err error) {
	err = a.s.call(ctx, "standing", func(ctx context.Context) (err error) {
		st, err = a.next.Standing(ctx, attestors, images)
		return err
	}, attribute.Int("images", len(images)))
	if err != nil {
		// The zero Standing is "not looked up".
		return attestor.Standing{}, err
	}
	return st, nil
}

// Attest returns the attestations that were made, on error too: they exist, and the
// Decision must list them.
func (a attester) Attest(
	ctx context.Context,
	auth attestor.Authorization,
	known attestor.Standing,
	begin func() error,
) (made []attestor.Attestation, err error) {
	err = a.s.call(ctx, "attest", func(ctx context.Context) (err error) {
		made, err = a.next.Attest(ctx, auth, known, begin)
		return err
	}, attribute.String("decision.id", auth.Decision()))
	return made, err
}

type summarizer struct {
	s    *stages
	next attestor.Summarizer
}

// Summarize returns what stands, on error too: it exists, and the Decision must list it.
func (m summarizer) Summarize(
	ctx context.Context, a attestor.Authorization, begin func() error,
) (done attestor.Summaries, err error) {
	err = m.s.call(ctx, "summarize", func(ctx context.Context) (err error) {
		done, err = m.next.Summarize(ctx, a, begin)
		return err
	}, attribute.String("decision.id", a.Decision()))
	return done, err
}

func (m summarizer) Refuse(ctx context.Context, r attestor.Refusal) (done attestor.Summaries, err error) {
	err = m.s.call(ctx, "refuse", func(ctx context.Context) (err error) {
		done, err = m.next.Refuse(ctx, r)
		return err
	}, attribute.String("decision.id", r.Decision()))
	return done, err
}

func (m summarizer) Stands(
	ctx context.Context, images []attestor.Image, policy attestor.PolicyRef, n attestor.SummaryNeeds,
) (found []attestor.Summary, err error) {
	err = m.s.call(ctx, "summaries", func(ctx context.Context) (err error) {
		found, err = m.next.Stands(ctx, images, policy, n)
		return err
	}, attribute.Int("images", len(images)))
	if err != nil {
		return nil, err
	}
	return found, nil
}

type recorder struct {
	s    *stages
	next attestor.Recorder
}

func (r recorder) Begin(ctx context.Context, rec attestor.Record) error {
	return r.s.call(ctx, "begin", func(ctx context.Context) error { return r.next.Begin(ctx, rec) })
}

func (r recorder) Finish(ctx context.Context, rec attestor.Record) (entry *attestor.LogEntry, err error) {
	verdict, _ := rec.Decision.Verdict.MarshalText()
	err = r.s.call(ctx, "finish", func(ctx context.Context) (err error) {
		entry, err = r.next.Finish(ctx, rec)
		return err
	}, attribute.String("decision.id", rec.Decision.ID), attribute.String("decision.verdict", string(verdict)))
	if err != nil {
		return nil, err
	}
	return entry, nil
}
