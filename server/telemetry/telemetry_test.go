package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server/telemetry"
)

// stage answers, errs or panics.
type stage struct {
	attestor.Policies
	err   error
	panic bool
}

func (s stage) now() error {
	if s.panic {
		panic("boom")
	}
	return s.err
}

func (s stage) Pin(_ context.Context, ref attestor.Reference) (attestor.Image, error) {
	return ref.At(attestor.Digest("sha256:" + strings.Repeat("1", 64))), s.now()
}

func (s stage) Index(context.Context, attestor.Image) (bool, error) { return true, s.now() }

func (s stage) Resolve(context.Context, attestor.Reference, attestor.Needs) (attestor.Resolved, error) {
	return attestor.Resolved{MediaType: "m"}, s.now()
}

func (s stage) Inspect(_ context.Context, _ attestor.Resolved, c attestor.Child, _ attestor.Needs) attestor.PlatformEvidence {
	_ = s.now()
	return attestor.PlatformEvidence{Child: c, User: attestor.User{Configured: "1"}}
}

func (s stage) Scans(_ context.Context, requests []attestor.ScanRequest) []attestor.Scan {
	_ = s.now()
	scans := make([]attestor.Scan, len(requests))
	for i := range scans {
		scans[i].State = attestor.ScanComplete
	}
	return scans
}

func (s stage) Standing(context.Context, []string, []attestor.Image) (attestor.Standing, error) {
	return attestor.Standing{Known: true}, s.now()
}

func (s stage) Attest(context.Context, attestor.Authorization, attestor.Standing, func() error) ([]attestor.Attestation, error) {
	return []attestor.Attestation{{Attestor: "a"}}, s.now()
}
func (s stage) Begin(context.Context, attestor.Record) error { return s.now() }
func (s stage) Finish(context.Context, attestor.Record) (*attestor.LogEntry, error) {
	return &attestor.LogEntry{}, s.now()
}

func observe(t *testing.T, s stage) (attestor.GateConfig, *prometheus.Registry, *tracetest.InMemoryExporter) {
	t.Helper()
	spans, registry := tracetest.NewInMemoryExporter(), prometheus.NewRegistry()
	c, err := telemetry.Observe(
		attestor.GateConfig{Policies: s, Inspector: s, Scanner: s, Attester: s, Recorder: s, Now: func() time.Time { return time.Unix(0, 0) }},
		telemetry.Options{Tracer: sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)), Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	return c, registry, spans
}

// all calls every stage, and returns what could be called success.
func all(c attestor.GateConfig) (good []string) {
	ctx := context.Background()
	if index, err := c.Inspector.Index(ctx, attestor.Image{}); err == nil || index {
		good = append(good, "index")
	}
	if r, err := c.Inspector.Resolve(ctx, attestor.Reference{}, attestor.Needs{}); err == nil || r.MediaType != "" {
		good = append(good, "resolve")
	}
	e := c.Inspector.Inspect(ctx, attestor.Resolved{}, attestor.Child{Platform: "linux/amd64"}, attestor.Needs{})
	if len(e.Problems) == 0 || e.Platform != "linux/amd64" {
		good = append(good, "inspect")
	}
	if c.Scanner.Scans(ctx, make([]attestor.ScanRequest, 1))[0].State == attestor.ScanComplete {
		good = append(good, "scan")
	}
	if s, err := c.Attester.Standing(ctx, nil, nil); err == nil || s.Known {
		good = append(good, "standing")
	}
	if _, err := c.Attester.Attest(ctx, attestor.Authorization{}, attestor.Standing{}, func() error { return nil }); err == nil {
		good = append(good, "attest")
	}
	if c.Recorder.Begin(ctx, attestor.Record{}) == nil {
		good = append(good, "begin")
	}
	if entry, err := c.Recorder.Finish(ctx, attestor.Record{}); err == nil || entry != nil {
		good = append(good, "finish")
	}
	return good
}

// count is how many label sets a metric has.
func count(t *testing.T, r *prometheus.Registry, name string) int {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return len(f.GetMetric())
		}
	}
	return 0
}

func TestStagesAreSeen(t *testing.T) {
	stages := []string{"index", "resolve", "inspect", "scan", "standing", "attest", "begin", "finish"}
	c, registry, spans := observe(t, stage{})
	if diff := cmp.Diff(stages, all(c)); diff != "" {
		t.Errorf("stages that answered (-want +got):\n%s", diff)
	}
	var names []string
	for _, s := range spans.GetSpans() {
		names = append(names, s.Name)
	}
	if diff := cmp.Diff(stages, names); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
	if n := count(t, registry, "attestor_stage_seconds"); n != len(stages) {
		t.Errorf("%d latencies", n)
	}

	down := &attestor.Error{Kind: attestor.Upstream, Code: attestor.CodeRegistryUnavailable, Msg: "secret-detail"}
	c, registry, spans = observe(t, stage{err: down})
	if got := all(c); !slices.Equal(got, []string{"inspect", "scan"}) { // these two have no error to return
		t.Errorf("with everything down, %v answered", got)
	}
	if n := count(t, registry, "attestor_stage_errors_total"); n != 6 {
		t.Errorf("%d errors counted", n)
	}
	for _, s := range spans.GetSpans() {
		if strings.Contains(s.Status.Description, "secret") || len(s.Events) > 0 {
			t.Errorf("span %s tells of the error: %+v", s.Name, s.Status)
		}
	}
}

func TestPanicFailsTheStageOnly(t *testing.T) {
	c, _, _ := observe(t, stage{panic: true})
	if got := all(c); len(got) != 0 {
		t.Errorf("stages that panicked and answered: %v", got)
	}
	scans := c.Scanner.Scans(context.Background(), make([]attestor.ScanRequest, 2))
	if len(scans) != 2 {
		t.Fatalf("two scans that panicked are %d answers", len(scans))
	}
	for _, s := range scans {
		if s.State != attestor.ScanUnavailable || s.Problem == nil {
			t.Errorf("a scan that panicked is %+v", s)
		}
	}
}

func TestObserveNeedsEverything(t *testing.T) {
	if _, err := telemetry.Observe(attestor.GateConfig{}, telemetry.Options{Registry: prometheus.NewRegistry()}); err == nil {
		t.Error("no error for no stages")
	}
	if _, err := telemetry.Observe(attestor.GateConfig{}, telemetry.Options{}); err == nil {
		t.Error("no error for no registry")
	}
}

func TestLogLinesAreCloudLoggings(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(telemetry.NewLogHandler(&b, slog.LevelInfo, "acme")).With(slog.String("part", "gate"))
	id, err := trace.TraceIDFromHex("0af7651916cd43dd8448eb211c80319c")
	if err != nil {
		t.Fatal(err)
	}
	ctx := trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(
		trace.SpanContextConfig{TraceID: id, SpanID: trace.SpanID{1}, TraceFlags: trace.FlagsSampled}))
	log.WarnContext(ctx, "decision", slog.String("verdict", "deny"), slog.String("email", "jane@example"),
		slog.Group("user", slog.String("name", "Jane")), slog.Any("error", errors.New("down")))
	var got map[string]any
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	delete(got, "time")
	want := map[string]any{
		"severity": "WARNING", "message": "decision", "part": "gate", "verdict": "deny", "error": "down",
		"email": "[unlisted key]", "user": map[string]any{"name": "[unlisted key]"},
		"logging.googleapis.com/trace":  "projects/acme/traces/0af7651916cd43dd8448eb211c80319c",
		"logging.googleapis.com/spanId": "0100000000000000", "logging.googleapis.com/trace_sampled": true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
	b.Reset()
	log.DebugContext(ctx, "quiet")
	if b.Len() > 0 {
		t.Errorf("logged below its level: %s", &b)
	}
}

// What a person at a terminal reads has the same keys, no time, and nothing that the terminal would obey.
func TestTextLinesAreForATerminal(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(telemetry.NewTextHandler(&b, slog.LevelWarn))
	log.InfoContext(t.Context(), "quiet")
	log.WarnContext(t.Context(), "not attested", slog.String("image", "a\x1b[2Jb\n"), slog.String("email", "jane@example"),
		slog.Group("user", slog.String("name", "Jane")))

	want := `severity=WARNING message="not attested" image="a\x1b[2Jb\n" email="[unlisted key]" user.name="[unlisted key]"` + "\n"
	if b.String() != want {
		t.Errorf("got  %s\nwant %s", &b, want)
	}
}

// Every key that a stage logs under is listed, and none of the list is one that
// the rules for safe logging block. What cmd/attestor says of its own start and
// end is under the handler only, which leaves out what is not listed.
func TestKeysAreTheClosedList(t *testing.T) {
	for _, blocked := range []string{"ssn", "dob", "name", "address", "phone", "email", "diagnosis", "mrn", "subject", "caller", "token", "labels", "reason"} {
		if slices.Contains(telemetry.Keys(), blocked) {
			t.Errorf("%s is listed", blocked)
		}
	}
	found := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (d.Name() == "cmd" || d.Name() == "emulator" || d.Name() == "tools") {
			return fs.SkipDir
		}
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			key, ok := slogKey(n)
			if ok {
				found++
				if !slices.Contains(telemetry.Keys(), key) {
					t.Errorf("%s logs under %q, which telemetry.Keys does not list", path, key)
				}
			}
			return true
		})
		return nil
	})
	if err != nil || found < 30 {
		t.Errorf("%d keys found, %v: this test would prove nothing", found, err)
	}
}

// slogKey is the key of a call such as slog.String("key", …).
func slogKey(n ast.Node) (string, bool) {
	call, ok := n.(*ast.CallExpr)
	if !ok || len(call.Args) != 2 {
		return "", false
	}
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", false
	}
	pkg, ok := f.X.(*ast.Ident)
	lit, isLit := call.Args[0].(*ast.BasicLit)
	if !ok || pkg.Name != "slog" || !isLit || lit.Kind != token.STRING || f.Sel.Name == "Group" {
		return "", false
	}
	key, err := strconv.Unquote(lit.Value)
	return key, err == nil && !strings.Contains(key, "/") && key != "severity" && key != "time"
}
