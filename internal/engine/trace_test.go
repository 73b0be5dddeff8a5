package engine_test

import (
	"context"
	"encoding/hex"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/google"
	"github.com/attestor-gate/attestor/internal/samples"
	"github.com/attestor-gate/attestor/internal/testkit/locked"
)

// traceCollector is OTLP's own service, which keeps what it is sent, or says nothing.
type traceCollector struct {
	collectorpb.UnimplementedTraceServiceServer
	silent bool

	mu    sync.Mutex
	spans []*tracepb.Span // guarded by mu
}

func (c *traceCollector) Export(ctx context.Context, r *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
	if c.silent {
		<-ctx.Done()
		return nil, ctx.Err()
	}

	c.mu.Lock()
	defer c.mu.Unlock()

	for _, resource := range r.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			c.spans = append(c.spans, scope.GetSpans()...)
		}
	}
	return &collectorpb.ExportTraceServiceResponse{}, nil
}

// startCollector serves c, and returns its address.
func startCollector(t *testing.T, c *traceCollector) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	s := grpc.NewServer()
	collectorpb.RegisterTraceServiceServer(s, c)
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(s.Stop)
	return ln.Addr().String()
}

// names counts the spans of a trace by name, with ports left out.
func (c *traceCollector) names(trace, registry string) map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]int{}

	for _, s := range c.spans {
		if hex.EncodeToString(s.GetTraceId()) == trace {
			out[strings.ReplaceAll(s.GetName(), registry, "REGISTRY")]++
		}
	}
	return out
}

func (c *traceCollector) traces() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := map[string]bool{}

	for _, s := range c.spans {
		known[hex.EncodeToString(s.GetTraceId())] = true
	}
	return slices.Sorted(maps.Keys(known))
}

func traced(endpoint string, sample float64) func(*config.Config) {
	return func(c *config.Config) {
		c.Telemetry.OTLP = &config.OTLP{Endpoint: endpoint, Plaintext: true, Sample: sample}
	}
}

// goodImage is one that dev's policy passes.
func goodImage(t *testing.T, w *world) string {
	t.Helper()
	base := baseImage(t)
	w.push("base/debian", "12", base)
	image := w.push("app/good", "v1", imageOn(t, base, "65532", entry{"app", "1"}))
	w.scan(image, samples.Clean)
	return image
}

func (w *world) postTraced(image, parent string) answer {
	w.tb.Helper()
	req, err := http.NewRequestWithContext(w.tb.Context(), http.MethodPost, "http://"+w.address+"/v1/attest", strings.NewReader(`{"image":"`+image+`"}`))
	w.ok(err)
	req.Header.Set("Content-Type", "application/json")
	if parent != "" {
		req.Header.Set("traceparent", parent)
	}

	return w.send(req)
}

// One trace for each decision, the caller's where it names one; in it a span
// for each stage and for each call of a dependency. Nothing of the image's name
// leaves.
func TestTracesReachTheCollector(t *testing.T) {
	t.Parallel()
	c := &traceCollector{}
	w := newWorld(t, worldOptions{config: traced(startCollector(t, c), 1), quiet: true})
	image := goodImage(t, w)
	const trace = "0af7651916cd43dd8448eb211c80319c"

	// Cloud Run's front end marks most requests as not sampled: ours to decide.
	if a := w.postTraced(image, "00-"+trace+"-b7ad6b7169203331-00"); a.status != 200 || !a.decision.Attestations[0].Created {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := w.postTraced(image, ""); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}

	w.stop() // sends the rest

	names := c.names(trace, w.registry.Addr())
	for _, want := range []string{
		"POST /v1/attest", "decision", "resolve", "inspect", "scan", "standing", "attest", "begin", "finish",
		"GET REGISTRY", "Container Analysis ListOccurrences", "Cloud KMS AsymmetricSign", "Binary Authorization GetAttestor",
	} {
		if names[want] == 0 {
			t.Errorf("no span %q among %v", want, slices.Sorted(maps.Keys(names)))
		}
	}

	if names["decision"] != 1 || names["POST /v1/attest"] != 1 {
		t.Errorf("%d decisions in a trace: %v", names["decision"], names)
	}
	if traces := c.traces(); len(traces) != 2 {
		t.Errorf("%d traces for two decisions", len(traces))
	}

	c.mu.Lock()
	defer c.mu.Unlock()

	for _, s := range c.spans {
		if strings.Contains(s.String(), "app/good") {
			t.Errorf("a span names the image: %s", s)
		}
		if hex.EncodeToString(s.GetTraceId()) == trace && s.GetName() == "POST /v1/attest" && hex.EncodeToString(s.GetParentSpanId()) != "b7ad6b7169203331" {
			t.Errorf("the request's parent is %x", s.GetParentSpanId())
		}
	}
}

// A tenth is kept, but what its caller keeps is kept.
func TestTracesAreSampled(t *testing.T) {
	t.Parallel()
	c := &traceCollector{}
	w := newWorld(t, worldOptions{config: traced(startCollector(t, c), 1e-9), quiet: true})
	image := goodImage(t, w)
	const trace = "0af7651916cd43dd8448eb211c80319c"

	for _, parent := range []string{"", "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", "00-" + trace + "-b7ad6b7169203331-01"} {
		if a := w.postTraced(image, parent); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}

	w.stop()
	if got := c.traces(); !slices.Equal(got, []string{trace}) {
		t.Errorf("traces: %v", got)
	}
}

// A collector that is not there, or says nothing, is waited for by nobody: not
// by a decision, and by the end of the process for seconds only.
func TestNobodyWaitsForTheCollector(t *testing.T) {
	t.Parallel()
	for name, endpoint := range map[string]string{"gone": "127.0.0.1:1", "silent": startCollector(t, &traceCollector{silent: true})} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log locked.Buffer
			w := newWorld(t, worldOptions{config: traced(endpoint, 1), quiet: true, log: &log})
			image := goodImage(t, w)

			for range 20 {
				if a := w.post(image, false); a.status != 200 || a.decision.Verdict != attestor.Pass {
					t.Fatalf("%d %s", a.status, a.body)
				}
			}

			stopped := make(chan struct{})
			go func() { defer close(stopped); w.stop() }()

			select {
			case <-stopped:
			case <-time.After(20 * time.Second): // its bound is 3 s; a loaded machine is forgiven
				t.Error("the process did not end")
			}

			for line := range strings.Lines(log.String()) {
				if !strings.HasPrefix(line, "{") {
					t.Errorf("a line that is not the log's: %s", line)
				}
			}
		})
	}
}

func TestTracesOverTLSNeedTheirAuthority(t *testing.T) {
	t.Parallel()
	file := t.TempDir() + "/ca.pem"
	if err := os.WriteFile(file, []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}

	w := newWorld(t, worldOptions{unstarted: true})
	for _, ca := range []string{file, file + ".missing"} {
		w.config.Telemetry.OTLP = &config.OTLP{Endpoint: "collector.example:4317", CA: ca, Sample: 1}
		if e, err := w.newEngine(t.Context(), google.Emulators{}, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s was believed", ca)
			_ = e.Close()
		}
	}
}

// Lines are linked to traces by the project that the configuration names.
func TestLogNamesTheConfiguredProject(t *testing.T) {
	t.Parallel()
	var log locked.Buffer
	c := config.Config{Telemetry: config.Telemetry{Project: "acme-gate"}}
	ctx := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}}))
	engine.ServiceLogger(c, &log).InfoContext(ctx, "listening")
	if !strings.Contains(log.String(), `"projects/acme-gate/traces/0100`) {
		t.Errorf("the line: %s", log.String())
	}
}

// What is kept of registries is counted.
func TestCacheIsSeen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{policy: anywherePolicy, quiet: true})
	image := w.push("app/good", "v1", imageOn(t, baseImage(t), "65532", entry{"app", "1"}))
	w.scan(image, samples.Clean)

	for range 2 {
		if a := w.post(image, false); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}

	m := string(w.do(http.MethodGet, "/metrics", "").body)
	for _, outcome := range []string{"hit", "miss"} {
		if i := strings.Index(m, `attestor_cache_lookups_total{outcome="`+outcome+`"} `); i < 0 ||
			strings.HasPrefix(m[i:], `attestor_cache_lookups_total{outcome="`+outcome+`"} 0`) {
			t.Errorf("no %s is counted", outcome)
		}
	}
}
