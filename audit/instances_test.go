package audit_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/testkit/contract"
	"github.com/attestor-gate/attestor/policy"
	"github.com/attestor-gate/attestor/server/watch"
)

const instanceSubscription = "projects/acme/subscriptions/gate"

// queue delivers messages until they are acknowledged, as Pub/Sub does.
type queue chan string

// Publish adds a message, unless ctx has ended.
func (q queue) Publish(ctx context.Context, data []byte, attributes map[string]string) error {
	if err := ctx.Err(); err != nil {
		return err
	}

	body, err := json.Marshal(map[string]any{
		"subscription": instanceSubscription,
		"message":      map[string]any{"messageId": fmt.Sprint(time.Now().UnixNano()), "data": data, "attributes": attributes},
	})
	if err != nil {
		return err
	}

	select {
	case q <- string(body):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestQueueContract(t *testing.T) {
	q := make(queue, 10)
	contract.Publisher(t, q, func(t *testing.T, n int) []contract.Published {
		t.Helper()
		var out []contract.Published
		for range n {
			var push struct {
				Message struct {
					Data       []byte
					Attributes map[string]string
				}
			}
			if err := json.Unmarshal([]byte(<-q), &push); err != nil {
				t.Fatal(err)
			}
			out = append(out, contract.Published{Data: string(push.Message.Data), Attributes: push.Message.Attributes})
		}
		return out
	})
}

// TestInstancesShareARun: three instances on one PostgreSQL judge everything that
// is admitted, once, though one of them is killed with images that it had claimed.
func TestInstancesShareARun(t *testing.T) {
	n := 3000
	if os.Getenv("GATE_TEST_ALL") == "1" {
		n = 50_000
	}

	c := clockAt(day)
	dsn := shared.database(t)
	first := open(t, audit.Config{PostgreSQL: dsn, Now: c.now, Timeout: 10 * time.Minute})
	var records iter.Seq[attestor.Record] = func(yield func(attestor.Record) bool) {
		for i := range n {
			r := record(i, attestor.Pass, stored)
			r.Decision.Time = day
			if !yield(r) {
				return
			}
		}
	}
	if err := first.Bulk(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	c.set(day.Add(time.Hour))

	q := make(queue, 1000)
	var judged, handled, jumps atomic.Int64
	doomed, err := audit.Open(t.Context(), audit.Config{PostgreSQL: dsn, Now: c.now, Timeout: 10 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	killed := make(chan struct{})
	kill := sync.OnceFunc(func() {
		defer close(killed)
		if err := doomed.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(kill)

	instance := func(s *audit.Store, each func(ctx context.Context) error) *watch.Watcher {
		w, err := watch.New(watch.Config{
			Admit: func(context.Context, attestor.Request) (attestor.Decision, error) {
				return attestor.Decision{}, errKilled
			},
			Policies: &policy.Set{}, Now: c.now, History: s, Admissions: s, Publisher: q, Subscription: instanceSubscription,
			Reconsider: func(
				ctx context.Context, r attestor.Request, keep func(attestor.Decision) (bool, error),
			) (attestor.Decision, error) {
				d := attestor.Decision{ID: "look", Time: c.now(), Verdict: attestor.Pass, DryRun: true, Labels: r.Labels}
				if err := each(ctx); err != nil {
					return d, err
				}
				if kept, err := keep(d); err != nil || kept {
					return d, fmt.Errorf("an unchanged verdict is kept: %t, %w", kept, err)
				}
				judged.Add(1)
				return d, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		return w
	}

	// On a loaded machine the others would be done before it has judged so many: they wait for it.
	alive := func(context.Context) error { <-killed; return nil }
	second := open(t, audit.Config{PostgreSQL: dsn, Now: c.now, Timeout: 10 * time.Minute})
	a, b := instance(first, alive), instance(second, alive)
	var started atomic.Int64
	dies := instance(doomed, func(context.Context) error {
		if started.Add(1) > 100 {
			kill() // with what it has claimed, and not recorded
			return errKilled
		}
		return nil
	})

	caller := attestor.LocalCaller("scheduler")
	report, err := a.Rejudge(t.Context(), watch.Request{Caller: caller, RequestID: "run"})
	if err != nil || !report.Continued || report.Left != n {
		t.Fatalf("%+v, %v", report, err)
	}

	// Each takes messages, and gives back those that fail.
	over, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	for i, w := range []*watch.Watcher{a, b, dies} {
		wg.Go(func() {
			for {
				select {
				case <-over.Done():
					return
				case body := <-q:
					err := w.Handle(t.Context(), caller, []byte(body), "push")
					handled.Add(1)
					if err == nil {
						if run, err := first.Run(over, report.Run); err != nil || !run.Ended.IsZero() {
							stop()
						}
						continue
					}
					q <- body
					if i == 2 {
						return // it was killed
					}
					jumps.Add(1)
					c.set(c.now().Add(30 * time.Second)) // Pub/Sub waits before it delivers again
				}
			}
		})
	}

	<-over.Done()
	wg.Wait()
	run, err := first.Run(t.Context(), report.Run)
	if err != nil {
		t.Fatal(err)
	}

	left, err := first.Left(t.Context(), run, func(string) bool { return true })
	if err != nil || left != 0 || run.Covered != n || run.Changed != 0 || run.Failed != 0 {
		t.Errorf("run %+v, %d left of %d, %v", run, left, n, err)
	}
	if started.Load() <= 100 {
		t.Error("no instance was killed: this test would prove less")
	}

	// What the killed one had judged and not recorded is judged again. Each jump of the
	// clock lets the claims of the others lapse too, a batch of 32 each.
	if extra := judged.Load() - int64(n); extra < 0 || extra > (2*jumps.Load()+2)*32 {
		t.Errorf("%d judgements of %d images, the clock jumped %d times", judged.Load(), n, jumps.Load())
	}
	if decisions, err := first.Count(t.Context(), "decisions"); err != nil || decisions != n {
		t.Errorf("%d decisions, %v: the run has added records of what has not changed", decisions, err)
	}
	t.Logf("%d images, %d judgements, %d messages", n, judged.Load(), handled.Load())
}
