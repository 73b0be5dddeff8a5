package server_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/attestor-gate/attestor/server"
	"github.com/attestor-gate/attestor/server/telemetry"
)

const traceID = "0af7651916cd43dd8448eb211c80319c"

// logged asks once, and returns the lines that were logged.
func logged(t *testing.T, who, body string, change func(*server.Config), header ...string) (lines []map[string]any, a answer) {
	t.Helper()
	var b bytes.Buffer
	base := serve(t, newWorld(), func(c *server.Config) {
		c.Logger = slog.New(telemetry.NewLogHandler(&b, slog.LevelInfo, "acme"))
		c.Tracer = sdktrace.NewTracerProvider()
		if change != nil {
			change(c)
		}
	})

	a = send(t, who, "POST", base+"/v1/attest", body, header...)
	for dec := json.NewDecoder(&b); ; {
		var line map[string]any
		if err := dec.Decode(&line); err == io.EOF { //nolint:errorlint // Decode's own
			return lines, a
		} else if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
}

func TestOneLineForEachDecision(t *testing.T) {
	body := `{"image":"` + repository + `:v2","labels":{"team":"secret-label"},"breakGlass":{"reason":"secret-reason INC-7"}}`
	lines, a := logged(t, "admin", body, nil, "traceparent", "00-"+traceID+"-b7ad6b7169203331-01")
	if len(lines) != 1 {
		t.Fatalf("%d lines: %v", len(lines), lines)
	}

	line := lines[0]
	for key, want := range map[string]any{
		"severity": "WARNING", "message": "decision", "verdict": "deny", "break_glass": true, "image_digest": digestB,
		"request_id": a.header.Get("X-Request-Id"), "logging.googleapis.com/trace": "projects/acme/traces/" + traceID,
		"logging.googleapis.com/trace_sampled": true,
	} {
		if line[key] != want {
			t.Errorf("%s = %v, want %v", key, line[key], want)
		}
	}

	if h, _ := line["caller_hash"].(string); len(h) != 32 {
		t.Errorf("caller_hash = %q", h)
	}
	b, err := json.Marshal(line)
	if err != nil {
		t.Fatal(err)
	}

	for _, secret := range []string{"secret", "admin@example", "team", "INC-7", "found", "[unlisted"} {
		if strings.Contains(string(b), secret) {
			t.Errorf("the line holds %q: %s", secret, b)
		}
	}
}

func TestCallerHashIsKeyed(t *testing.T) {
	hash := func(who, key string) any {
		lines, _ := logged(t, who, image(":v1"), func(c *server.Config) { c.HashKey = []byte(key) })
		return lines[0]["caller_hash"]
	}
	if a, b := hash("builder", "k1"), hash("builder", "k1"); a != b {
		t.Errorf("one caller has two hashes: %v, %v", a, b)
	}

	if a, b := hash("builder", "k1"), hash("admin", "k1"); a == b {
		t.Errorf("two callers have one hash: %v", a)
	}
	if a, b := hash("builder", "k1"), hash("builder", "k2"); a == b {
		t.Errorf("the hash does not depend on the key: %v", a)
	}
}

func TestTracesAreContinued(t *testing.T) {
	for name, tt := range map[string]struct {
		header []string
		want   string
	}{
		"traceparent":           {[]string{"traceparent", "00-" + traceID + "-b7ad6b7169203331-01"}, traceID},
		"X-Cloud-Trace-Context": {[]string{"X-Cloud-Trace-Context", traceID + "/123;o=1"}, traceID},
		"both: traceparent wins": {[]string{"traceparent", "00-" + traceID + "-b7ad6b7169203331-01",
			"X-Cloud-Trace-Context", strings.Repeat("1", 32) + "/1;o=1"}, traceID},
		"nonsense":    {[]string{"traceparent", "00-zz", "X-Cloud-Trace-Context", "../../etc;o=1"}, ""},
		"not sampled": {[]string{"X-Cloud-Trace-Context", traceID + "/123;o=0"}, ""}, // the sampler follows its parent
	} {
		spans := tracetest.NewInMemoryExporter()
		logged(t, "builder", image(":v1"), func(c *server.Config) { c.Tracer = sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)) }, tt.header...)
		got := ""
		for _, s := range spans.GetSpans() {
			if s.Name == "POST /v1/attest" {
				got = s.SpanContext.TraceID().String()
			}
		}

		if tt.want != "" && got != tt.want || tt.want == "" && got == traceID {
			t.Errorf("%s: trace %q, want %q", name, got, tt.want)
		}
	}
}

func TestMetricsHaveSmallLabelSets(t *testing.T) {
	w := newWorld()
	base := serve(t, w, nil)
	send(t, "builder", "POST", base+"/v1/attest", image(":v1"))
	send(t, "builder", "POST", base+"/v1/attest", image(":v2"))
	send(t, "admin", "POST", base+"/v1/attest", `{"image":"`+repository+`:v2","breakGlass":{"reason":"production is down"}}`)
	send(t, "", "PROPFIND", base+"/some/path", "")
	got := send(t, "", "GET", base+"/metrics", "").body
	for _, want := range []string{
		`attestor_decisions_total{dry_run="false",policy="production",verdict="pass"} 1`,
		`attestor_decisions_total{dry_run="false",policy="production",verdict="deny"} 2`,
		`attestor_reasons_total{code="FIXABLE_SEVERITY_EXCEEDED"} 2`,
		`attestor_break_glass_total 1`,
		`attestor_attestations_created_total 2`,
		`attestor_http_requests_total{method="POST",route="/v1/attest",status="422"} 1`,
		`method="other"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s", want)
		}
	}

	for _, not := range []string{"builder@", "registry.example", "sha256", "/some/path", "PROPFIND"} {
		if strings.Contains(got, not) {
			t.Errorf("the metrics hold %q", not)
		}
	}
}

func TestLoadIsShedBeforeMemoryRunsOut(t *testing.T) {
	w := newWorld()
	live := uint64(79)
	base := serve(t, w, func(c *server.Config) { c.Memory = func() (uint64, uint64) { return live, 100 } })
	if got := send(t, "builder", "POST", base+"/v1/attest", image(":v1")); got.status != 200 {
		t.Errorf("below the mark: status %d", got.status)
	}

	live = 80
	got := send(t, "builder", "POST", base+"/v1/attest", image(":v1"))
	if got.status != 503 || got.header.Get("Retry-After") == "" || len(w.asked) != 1 {
		t.Errorf("at the mark: status %d, asked %v", got.status, w.asked)
	}

	if got := send(t, "", "GET", base+"/health", ""); got.status != 200 {
		t.Errorf("/health: %d", got.status)
	}
	live = 10
	if got := send(t, "builder", "POST", base+"/v1/attest", image(":v1")); got.status != 200 {
		t.Errorf("afterwards: status %d", got.status)
	}
}
