package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor/internal/testkit/slow"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

// TestQuick runs the harness as CI and `make bench` do, so that it keeps
// working and its conditions keep holding.
func TestQuick(t *testing.T) {
	slow.Skip(t)
	t.Chdir("..")
	out := filepath.Join(t.TempDir(), "bench.md")
	var printed strings.Builder
	if err := run(t.Context(), []string{"-quick", "-out", out}, &printed); err != nil {
		t.Fatalf("%v\n%s", err, printed.String())
	}

	b, err := os.ReadFile(out)
	if err != nil || string(b) != printed.String() {
		t.Errorf("the file has something else than what was printed: %v", err)
	}

	for _, want := range []string{"fresh image by digest", "Bare clients that make the same calls", "index of three platforms",
		"many at once", "exec to listening", "three readers of reports", "attestor audit", "Memory over",
		"At 64 at once p99 is", "MB resident at most", "Spread over 2 instances", "decisions in the record: argued", "policies: argued", "callers: argued",
		"findings of the image: argued linear", "platforms of the image: argued linear"} {
		if !strings.Contains(printed.String(), want) {
			t.Errorf("no %q in %s", want, printed.String())
		}
	}
}

// newHarness has stand-ins, and no process.
func newHarness(t *testing.T) *harness {
	t.Helper()
	w, err := standin.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})

	b := &harness{options: options{latency: time.Millisecond}, world: w, heard: overhear(w.Emulator),
		sequences: map[string][]sequence{}, loads: map[string][]loaded{}}
	if b.stock, err = newStock(w); err != nil {
		t.Fatal(err)
	}

	return b
}

// asking is a subject that gets these paths of an image's repository, one after
// the other.
func asking(b *harness, paths ...string) *subject {
	return &subject{name: "attestor", ask: func(ctx context.Context, c *http.Client, _ string, _ expectation) error {
		r := &bareClient{http: c, base: "http://" + b.world.Registry.Addr() + "/v2/" + repository}
		for _, p := range paths {
			if _, _, err := r.get(ctx, p); err != nil {
				return err
			}
		}
		return nil
	}}
}

func TestACallMadeTwiceIsFound(t *testing.T) {
	t.Parallel()
	b := newHarness(t)
	digests, err := b.stock.fresh(t.Context(), repository, "65532:65532", 2)
	if err != nil {
		t.Fatal(err)
	}

	b.world.SetLatency(time.Millisecond)
	one, two := "/manifests/"+digests[0], "/manifests/"+digests[1]
	if err := b.sequential(t.Context(), asking(b, one, two, one), "twice", []string{"x"}, passes, 0); err != nil {
		t.Fatal(err)
	}

	if len(b.broken) != 1 || !strings.Contains(b.broken[0], "1 of 1 decisions made a call twice, such as GET /v2/app/api"+one) {
		t.Errorf("conditions: %q", b.broken)
	}

	b.broken = nil
	if err := b.sequential(t.Context(), asking(b, one, two), "once", []string{"x", "y"}, passes, 1); err != nil {
		t.Fatal(err)
	}

	if len(b.broken) != 0 {
		t.Errorf("conditions: %q", b.broken)
	}

	s := b.sequences["attestor"][1]
	if s.calls != 2 || s.breakdown != "2 manifest" || percentile(s.rows, .5) != 2 || s.bytes == 0 {
		t.Errorf("measured %+v", s)
	}

	if d := b.document(); !strings.Contains(d, "| once |") || !strings.Contains(d, "| 2 | 2.0 |") {
		t.Errorf("the document has %s", d)
	}
}

func TestAWrongAnswerFailsTheRun(t *testing.T) {
	t.Parallel()
	b := newHarness(t)
	if err := b.sequential(t.Context(), asking(b, "/manifests/none"), "unknown", []string{"x"}, passes, 0); err == nil {
		t.Error("an unknown image was measured")
	}

	for name, answer := range map[string]string{
		"denied":                     `{"verdict":"deny","attestations":[]}`,
		"passed without attestation": `{"verdict":"pass","attestations":[]}`,
		"found, not made":            `{"verdict":"pass","attestations":[{"created":false}]}`,
		"no JSON":                    `oops`,
	} {
		server, err := standin.Listen(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(answer)) }))
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		gate := newGate(&process{url: "http://" + server.Addr()})
		if err := gate.ask(t.Context(), client(1), "x", passes); err == nil {
			t.Errorf("%s: it was measured", name)
		}
	}
}

func TestEachCountsErrors(t *testing.T) {
	t.Parallel()
	var first error
	boom := errors.New("boom")
	failed := each(4, 100, func(i int) error {
		if i%10 == 0 {
			return boom
		}
		return nil
	}, &first)

	if failed != 10 || !errors.Is(first, boom) {
		t.Errorf("%d failed, the first by %v", failed, first)
	}
}

func TestPercentile(t *testing.T) {
	t.Parallel()
	values := []int{5, 1, 4, 2, 3}

	for p, want := range map[float64]int{0: 1, .5: 3, .9: 5, .99: 5} {
		if got := percentile(values, p); got != want {
			t.Errorf("p%v is %d, want %d", p*100, got, want)
		}
	}

	if percentile([]int{}, .5) != 0 {
		t.Error("nothing has a percentile")
	}

	b := &harness{}
	for got, want := range map[float64]string{4.4: "≤ 4.4 met", 5: "≤ 4.4 **missed by 0.6**"} {
		if s := b.judged(got, 4.4); s != want {
			t.Errorf("%v is %q", got, s)
		}
	}
}
