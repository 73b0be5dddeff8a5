package dependency_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/dependency"
)

// world is a transport whose hosts do what a test says, and the circuits
// around it. All of it runs on synctest's clock.
type world struct {
	t        *testing.T
	registry *prometheus.Registry
	spans    *tracetest.InMemoryExporter
	log      bytes.Buffer
	calls    *dependency.Calls
	http     http.RoundTripper
	does     map[string]func(context.Context) (int, error)
	asked    map[string]int
}

// asksToWait added to a status stands for a Retry-After header.
const asksToWait = 1000

var errOurs = errors.New("a host that may not be asked")

func newWorld(t *testing.T, c dependency.Config) *world {
	t.Helper()
	w := &world{t: t, registry: prometheus.NewRegistry(), spans: tracetest.NewInMemoryExporter(),
		does: map[string]func(context.Context) (int, error){}, asked: map[string]int{}}
	c.Registry, c.Logger = w.registry, slog.New(slog.NewTextHandler(&w.log, nil))
	c.Tracer = sdktrace.NewTracerProvider(sdktrace.WithSyncer(w.spans))
	var err error
	if w.calls, err = dependency.New(c); err != nil {
		t.Fatal(err)
	}

	w.http = w.calls.Transport(w, dependency.Hosts{
		Label: func(host string) string { return strings.TrimSuffix(host, ".example") }, Timeout: 10 * time.Second,
		Ours: func(err error) bool { return errors.Is(err, errOurs) },
	})
	return w
}

func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	w.asked[r.URL.Host]++
	status, err := w.does[r.URL.Host](r.Context())
	if err != nil {
		return nil, err
	}

	header := http.Header{}
	if status == 503+asksToWait {
		status = 503
		header.Set("Retry-After", "1")
	}

	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader("")), Request: r}, nil
}

// get asks host, and says what came: a status, or an error.
func (w *world) get(ctx context.Context, host string) (int, error) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/v2/secret/path", nil)
	if err != nil {
		w.t.Fatal(err)
	}

	resp, err := w.http.RoundTrip(r)
	if err != nil {
		return 0, err
	}

	return resp.StatusCode, resp.Body.Close()
}

func open(err error) bool {
	e, ok := errors.AsType[*attestor.Error](err)
	return ok && e.Code == attestor.CodeCircuitOpen && e.Kind == attestor.Upstream && e.Fix != ""
}

// value is that of the one sample of a metric with these labels; 0 for none.
func (w *world) value(name string, labels ...string) float64 {
	w.t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		w.t.Fatal(err)
	}

	for _, f := range families {
		for _, m := range f.GetMetric() {
			got := []string{}
			for _, l := range m.GetLabel() {
				got = append(got, l.GetValue())
			}
			if f.GetName() == name && gocmp.Equal(got, labels) {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func answers(status int) func(context.Context) (int, error) {
	return func(context.Context) (int, error) { return status, nil }
}

func fails(err error) func(context.Context) (int, error) {
	return func(context.Context) (int, error) { return 0, err }
}

func hangs(ctx context.Context) (int, error) { <-ctx.Done(); return 0, ctx.Err() }

// Only outages open a circuit; it is asked again by one call after the pause,
// and what that finds decides. Nobody else's circuit is touched.
func TestCircuitOpensAndCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dependency.Config{Outages: 3, Pause: 10 * time.Second})
		w.does["bad.example"], w.does["good.example"] = answers(503), answers(200)

		for range 3 {
			if status, err := w.get(t.Context(), "bad.example"); status != 503 || err != nil {
				t.Fatalf("before it opens: %d, %v: an answer is passed on as it is", status, err)
			}
		}

		for range 100 {
			if _, err := w.get(t.Context(), "bad.example"); !open(err) {
				t.Fatalf("not open: %v", err)
			}
		}

		if w.asked["bad.example"] != 3 {
			t.Errorf("asked %d times", w.asked["bad.example"])
		}
		if status, err := w.get(t.Context(), "good.example"); status != 200 || err != nil {
			t.Errorf("another host: %d, %v", status, err)
		}
		if got := w.value("attestor_circuits_open", "bad"); got != 1 {
			t.Errorf("%v circuits are open", got)
		}
		if got := w.value("attestor_dependency_calls_total", "bad", "refused"); got != 100 {
			t.Errorf("%v calls were refused", got)
		}
		if !strings.Contains(w.log.String(), "dependency=bad.example") {
			t.Errorf("nothing in the log: %s", &w.log)
		}

		time.Sleep(10*time.Second + 1)
		_, _ = w.get(t.Context(), "bad.example") // the probe fails
		if _, err := w.get(t.Context(), "bad.example"); !open(err) || w.asked["bad.example"] != 4 {
			t.Errorf("a probe that failed closed it: %v, asked %d times", err, w.asked["bad.example"])
		}

		time.Sleep(10*time.Second + 1)
		w.does["bad.example"] = answers(404)

		for range 5 {
			if status, err := w.get(t.Context(), "bad.example"); status != 404 || err != nil {
				t.Fatalf("after a probe that was answered: %d, %v", status, err)
			}
		}

		if got := w.value("attestor_circuits_open", "bad"); got != 0 || !strings.Contains(w.log.String(), "answers again") {
			t.Errorf("%v circuits are open", got)
		}
	})
}

// While it is found out whether a dependency is back, everybody else is
// refused at once; a probe whose caller hangs up leaves the place to another.
func TestOneProbeAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dependency.Config{Outages: 1})
		w.does["h.example"] = answers(502)
		_, _ = w.get(t.Context(), "h.example")
		time.Sleep(10*time.Second + 1)
		w.does["h.example"] = hangs
		ctx, hangUp := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { _, err := w.get(ctx, "h.example"); done <- err }()
		synctest.Wait()

		for range 10 {
			if _, err := w.get(t.Context(), "h.example"); !open(err) {
				t.Fatalf("a second probe: %v", err)
			}
		}

		hangUp()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("the probe: %v", err)
		}

		w.does["h.example"] = answers(200)
		if status, err := w.get(t.Context(), "h.example"); status != 200 || err != nil {
			t.Errorf("after it: %d, %v", status, err)
		}
	})
}

func TestWhatIsAnOutage(t *testing.T) {
	in := func(d time.Duration) func(context.Context) (int, error) {
		return func(ctx context.Context) (int, error) {
			ctx, cancel := context.WithTimeout(ctx, d)
			defer cancel()
			return hangs(ctx)
		}
	}
	for _, tt := range []struct {
		name    string
		does    func(context.Context) (int, error)
		give    time.Duration // of the caller
		outages bool
	}{
		{"an answer", answers(200), time.Minute, false},
		{"unknown", answers(404), time.Minute, false},
		{"not authenticated", answers(401), time.Minute, false},
		{"denied", answers(403), time.Minute, false},
		{"too many", answers(429), time.Minute, false},
		{"a fault of its own, perhaps about one image", answers(500), time.Minute, false},
		{"bad gateway", answers(502), time.Minute, true},
		{"unavailable", answers(503), time.Minute, true},
		{"unavailable for a time that it names", answers(503 + asksToWait), time.Minute, false},
		{"gateway time-out", answers(504), time.Minute, true},
		{"no connection", fails(errors.New("connection refused")), time.Minute, true},
		{"no header in time", in(10 * time.Second), time.Minute, true},
		{"silence for all that a call has", hangs, 10 * time.Second, true},
		{"an impatient caller", hangs, time.Second, false},
		{"our own rules", fails(fmt.Errorf("wrapped: %w", errOurs)), time.Minute, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, dependency.Config{Outages: 2})
				w.does["h.example"] = tt.does

				for range 4 {
					ctx, cancel := context.WithTimeout(t.Context(), tt.give)
					_, _ = w.get(ctx, "h.example")
					cancel()
				}

				if got := w.asked["h.example"] == 2; got != tt.outages {
					t.Errorf("asked %d of 4 times", w.asked["h.example"])
				}
			})
		})
	}
}

// An answer between outages begins the count anew: what fails for one image of
// many does not take the registry from all.
func TestOutagesMustFollowEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dependency.Config{Outages: 3})
		for i := range 30 {
			w.does["h.example"] = answers(503)
			if i%3 == 2 {
				w.does["h.example"] = answers(404)
			}
			if _, err := w.get(t.Context(), "h.example"); err != nil {
				t.Fatalf("call %d: %v", i, err)
			}
		}
	})
}

// Calls beyond the budget wait for their turn, as long as their caller does.
func TestCallsInFlightAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dependency.Config{InFlight: 2})
		leave := make(chan struct{})
		running, most := make(chan int, 100), 0
		running <- 0
		count := func(d int) { n := <-running + d; most = max(most, n); running <- n }
		w.does["h.example"] = func(context.Context) (int, error) { count(1); <-leave; count(-1); return 200, nil }
		w.does["other.example"] = answers(200)
		w.asked["h.example"] = 0
		done := make(chan error, 10)

		for range 2 {
			go func() { _, err := w.get(t.Context(), "h.example"); done <- err }()
			synctest.Wait()
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := w.get(ctx, "h.example"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a third call at once: %v", err)
		}
		if status, err := w.get(t.Context(), "other.example"); status != 200 || err != nil {
			t.Errorf("another host: %d, %v", status, err)
		}

		close(leave)
		if err := errors.Join(<-done, <-done); err != nil || most != 2 {
			t.Errorf("%d at once, %v", most, err)
		}
	})
}

// Hosts are chosen by callers where every registry is allowed: what is kept of
// them is bounded, and no two ever share a circuit.
func TestCircuitsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dependency.Config{Outages: 1})
		for i := range 1000 {
			host := fmt.Sprintf("h%d.example", i)
			w.does[host] = answers(503)
			_, _ = w.get(t.Context(), host)
		}

		w.does["late.example"] = answers(200)
		for range 3 {
			if status, err := w.get(t.Context(), "late.example"); status != 200 || err != nil {
				t.Errorf("one too many: %d, %v", status, err)
			}
		}

		if _, err := w.get(t.Context(), "h7.example"); !open(err) {
			t.Errorf("a circuit was forgotten while it was open: %v", err)
		}
	})
}

func TestServicesOverGRPC(t *testing.T) {
	for _, tt := range []struct {
		code    codes.Code
		outages bool
	}{
		{codes.OK, false}, {codes.NotFound, false}, {codes.PermissionDenied, false}, {codes.Unauthenticated, false},
		{codes.ResourceExhausted, false}, {codes.Internal, false}, {codes.Canceled, false}, {codes.Unavailable, true}, {codes.DeadlineExceeded, true},
	} {
		t.Run(tt.code.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, dependency.Config{Outages: 2})
				intercept, asked := w.calls.Unary("Cloud KMS", 10*time.Second), 0
				call := func() error {
					return intercept(t.Context(), "/google.cloud.kms.v1.KeyManagementService/AsymmetricSign", nil, nil, nil,
						func(ctx context.Context, _ string, _, _ any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
							asked++
							if tt.code == codes.DeadlineExceeded {
								<-ctx.Done() // the guard's own deadline
							}
							if tt.code == codes.OK {
								return nil
							}

							return status.Error(tt.code, "secret")
						})
				}

				for range 2 {
					if got := status.Code(call()); got != tt.code {
						t.Errorf("the answer became %s", got)
					}
				}

				if err := call(); open(err) != tt.outages || (asked == 2) != tt.outages {
					t.Errorf("asked %d of 3 times, %v", asked, err)
				}
			})
		})
	}
}

// A span says what was asked of whom, and neither where exactly nor what came.
func TestCallsAreSeen(t *testing.T) {
	w := newWorld(t, dependency.Config{})
	w.does["h.example"] = answers(200)
	if _, err := w.get(t.Context(), "h.example"); err != nil {
		t.Fatal(err)
	}

	spans := w.spans.GetSpans()
	if len(spans) != 1 || spans[0].Name != "GET h" {
		t.Fatalf("spans: %+v", spans)
	}
	if said := fmt.Sprint(spans[0].Attributes); strings.Contains(said, "secret") || !strings.Contains(said, "200") {
		t.Errorf("attributes: %s", said)
	}
	if got := w.value("attestor_dependency_calls_total", "h", "answered"); got != 1 {
		t.Errorf("%v calls", got)
	}
}

func TestConfigIsRefused(t *testing.T) {
	for name, c := range map[string]dependency.Config{
		"no registry": {}, "a negative count": {Registry: prometheus.NewRegistry(), Outages: -1},
		"a negative pause": {Registry: prometheus.NewRegistry(), Pause: -1}, "a negative budget": {Registry: prometheus.NewRegistry(), InFlight: -1},
	} {
		if _, err := dependency.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Whoever asks while another call tries waits for what that finds: one who
// makes two calls, and gives both up when one is refused, would never get
// through.
func TestTheTrialAnswersForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dependency.Config{Outages: 1, Pause: time.Second})
		w.does["kms.example"] = func(context.Context) (int, error) { return 0, errors.New("down") }
		if _, err := w.get(t.Context(), "kms.example"); err == nil {
			t.Fatal("it answers")
		}

		time.Sleep(1100 * time.Millisecond)
		w.does["kms.example"] = func(ctx context.Context) (int, error) {
			select {
			case <-time.After(200 * time.Millisecond):
				return http.StatusOK, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}

		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		results := make(chan error, 2)

		for range 2 {
			go func() {
				_, err := w.get(ctx, "kms.example")
				if err != nil {
					cancel() // as an errgroup does
				}
				results <- err
			}()
		}

		for range 2 {
			if err := <-results; err != nil {
				t.Errorf("a call beside the trial: %v", err)
			}
		}

		// A trial that is not answered is not waited for longer.
		w.does["kms.example"] = func(context.Context) (int, error) { return 0, errors.New("down") }
		_, _ = w.get(t.Context(), "kms.example")
		time.Sleep(1100 * time.Millisecond)
		w.does["kms.example"] = func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, ctx.Err() }
		trial, stop := context.WithCancel(t.Context())
		go func() { _, err := w.get(trial, "kms.example"); results <- err }()
		synctest.Wait()
		start := time.Now()
		if _, err := w.get(t.Context(), "kms.example"); err == nil || time.Since(start) > 2*time.Second {
			t.Errorf("beside a silent trial: %v after %v", err, time.Since(start))
		}

		stop()
		<-results
	})
}
