package server_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server"
)

// One caller holds three of four slots at most, of those who run and of those who
// wait: another one is answered at once.
func TestOneCallerHoldsItsShare(t *testing.T) {
	w := newWorld()
	w.hold, w.entered = make(chan struct{}), make(chan struct{}, 10)
	s := newServer(t, w, func(c *server.Config) { c.Limits.Concurrent, c.Limits.Queue = 4, 4 })
	s.SetQueueWait(time.Hour)
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()

	answers := make(chan answer, 10)
	ask := func(who string) { answers <- send(t, who, "POST", srv.URL+"/v1/attest", image(":v1")) }
	for range 6 {
		go ask("builder")
	}
	for range 3 {
		<-w.entered
	}
	for server.WaitingForTest(s) < 3 {
		time.Sleep(time.Millisecond) // the others are on their way into the queue
	}

	got := send(t, "builder", "POST", srv.URL+"/v1/attest", image(":v1"))
	if detail := got.problem(t).Detail; got.status != http.StatusTooManyRequests || !strings.Contains(detail, "this identity") {
		t.Errorf("the seventh of one caller: %d %s", got.status, detail)
	}
	select {
	case <-w.entered:
		t.Error("one caller has all slots")
	default:
	}

	// The slot that is left is another caller's.
	go ask("admin")
	<-w.entered
	close(w.hold)
	for range 7 {
		if got := <-answers; got.status != http.StatusOK {
			t.Errorf("%d %s", got.status, got.body)
		}
	}
	if n := server.SharesForTest(s); n != 0 {
		t.Errorf("%d callers are remembered who have no request", n)
	}
}

// Who waits in the queue and hangs up leaves nothing behind.
func TestAPlaceInTheQueueIsGivenBack(t *testing.T) {
	w := newWorld()
	w.hold, w.entered = make(chan struct{}), make(chan struct{}, 10)
	s := newServer(t, w, func(c *server.Config) { c.Limits.Concurrent, c.Limits.Queue = 1, 2 })
	s.SetQueueWait(time.Hour)
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()

	first := make(chan answer)
	go func() { first <- send(t, "builder", "POST", srv.URL+"/v1/attest", image(":v1")) }()
	<-w.entered

	for _, who := range []string{"builder", "admin"} {
		ctx, hangUp := context.WithCancel(t.Context())
		gone := make(chan error)
		go func() {
			r, err := http.NewRequestWithContext(ctx, "POST", srv.URL+"/v1/attest", strings.NewReader(image(":v1")))
			if err == nil {
				r.Header.Set("Authorization", who)
				r.Header.Set("Content-Type", "application/json")
				_, err = http.DefaultClient.Do(r) //nolint:bodyclose // it never answers
			}
			gone <- err
		}()
		for server.WaitingForTest(s) == 0 {
			time.Sleep(time.Millisecond) // on its way into the queue
		}
		hangUp()
		<-gone
		for server.WaitingForTest(s) != 0 {
			time.Sleep(time.Millisecond) // on its way out
		}
	}

	close(w.hold)
	if got := <-first; got.status != http.StatusOK {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := send(t, "admin", "POST", srv.URL+"/v1/attest", image(":v1")); got.status != http.StatusOK {
		t.Errorf("afterwards: %d %s", got.status, got.body)
	}
	if n := server.SharesForTest(s); n != 0 {
		t.Errorf("%d callers are remembered who have no request", n)
	}
}

// A simulation may read for a minute and more. Another of the same identity waits
// for it, and the judgement of a definition, which takes no time, does not.
func TestALongRequestDoesNotFailTheNext(t *testing.T) {
	const simulation = `{"policy":"good"}`
	for _, tt := range []struct {
		name   string
		takes  time.Duration // the first simulation
		path   string
		body   string
		status int
		after  time.Duration // since the second request was sent
	}{
		{"a simulation after one of half a minute", 30 * time.Second, "/v1/simulate", simulation, 200, 30 * time.Second},
		{"a simulation after one of two minutes", 2 * time.Minute, "/v1/simulate", simulation, 429, time.Minute},
		{"a definition", 30 * time.Second, "/v1/posture", definition, 200, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				p := &parts{w: w, posture: attestor.Pass}
				p.reading = func() { time.Sleep(tt.takes); p.reading = nil }
				s := newServer(t, w, p.with)
				ask := func(path, body string) *httptest.ResponseRecorder {
					r := httptest.NewRequest("POST", path, strings.NewReader(body))
					r.Header.Set("Authorization", "admin")
					r.Header.Set("Content-Type", "application/json")
					rec := httptest.NewRecorder()
					s.Handler().ServeHTTP(rec, r)
					return rec
				}

				first := make(chan int)
				go func() { first <- ask("/v1/simulate", simulation).Code }()
				synctest.Wait()

				begun := time.Now()
				got := ask(tt.path, tt.body)
				if took := time.Since(begun); got.Code != tt.status || took != tt.after {
					t.Errorf("status %d after %v, want %d after %v: %s", got.Code, took, tt.status, tt.after, got.Body)
				}
				if status := <-first; status != http.StatusOK {
					t.Errorf("the first: %d", status)
				}
			})
		})
	}
}

// While decisions are made, the slot of a long read rests, and decisions wait for
// nothing. Without decisions reads follow each other.
func TestLongReadsRestBesideDecisions(t *testing.T) {
	for _, tt := range []struct {
		name     string
		deciding bool
		idle     time.Duration // between the decision and the first read
		takes    time.Duration
		path     string
		after    time.Duration // of the second read, since the first was answered
	}{
		{"no decision", false, 0, time.Second, "/v1/simulate", time.Second},
		{"beside a decision", true, 0, 100 * time.Millisecond, "/v1/simulate", 900*time.Millisecond + 100*time.Millisecond},
		{"a long one beside a decision", true, 0, 30 * time.Second, "/v1/simulate", 10*time.Second + 30*time.Second},
		{"a decision a while ago", true, 2 * time.Second, time.Second, "/v1/simulate", time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				p := &parts{w: w}
				p.reading = func() { time.Sleep(tt.takes) }
				s := newServer(t, w, p.with)
				ask := func(path, body string) int {
					r := httptest.NewRequest("POST", path, strings.NewReader(body))
					r.Header.Set("Authorization", "admin")
					r.Header.Set("Content-Type", "application/json")
					rec := httptest.NewRecorder()
					s.Handler().ServeHTTP(rec, r)
					return rec.Code
				}

				time.Sleep(time.Hour) // the server has been idle
				if tt.idle > 0 {
					if status := ask("/v1/attest", image(":v1")); status != http.StatusOK {
						t.Fatalf("decision: %d", status)
					}
					time.Sleep(tt.idle)
				}
				decisions := make(chan int, 1)
				if tt.deciding && tt.idle == 0 {
					w.hold = make(chan struct{})
					go func() { decisions <- ask("/v1/attest", image(":v1")) }()
					synctest.Wait()
				}

				if status := ask(tt.path, `{"policy":"good"}`); status != http.StatusOK {
					t.Fatalf("first read: %d", status)
				}
				begun := time.Now()
				if status := ask(tt.path, `{"policy":"good"}`); status != http.StatusOK {
					t.Fatalf("second read: %d", status)
				}
				if took := time.Since(begun); took != tt.after {
					t.Errorf("the second read took %v, want %v", took, tt.after)
				}

				if w.hold != nil {
					close(w.hold)
					if status := <-decisions; status != http.StatusOK {
						t.Errorf("decision: %d", status)
					}
				}
				time.Sleep(time.Minute) // all rests end
				if n := server.SharesForTest(s); n != 0 {
					t.Errorf("%d callers are remembered who have no request", n)
				}
			})
		})
	}
}
