package server_test

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server"
)

// fleet is one instance at a time behind a load balancer, which sends nothing
// more to an instance once it has taken it out, and lets it finish what it has
// begun.
type fleet struct {
	t       *testing.T
	w       *world
	client  *http.Client
	entered sync.Map // request's number → channel that is closed when it has reached its server
	number  atomic.Int64
	running atomic.Int64

	mu      sync.RWMutex
	address string       // of the current instance; guarded by mu
	stop    func() error // guarded by mu
}

// arrivals tells the fleet that a request has reached its server.
type arrivals struct {
	as
	f *fleet
}

func (a arrivals) Authenticate(r *http.Request) (attestor.Caller, error) {
	if c, ok := a.f.entered.LoadAndDelete(r.Header.Get("X-Number")); ok {
		close(c.(chan struct{}))
	}
	return a.as.Authenticate(r)
}

// replace starts another instance, sends everything there, and stops the old
// one. It reports whether that was at work.
func (f *fleet) replace() (busy bool) {
	address, stop := run(f.t, newServer(f.t, f.w, func(c *server.Config) {
		c.Limits.Concurrent, c.Limits.Queue, c.Limits.CallerRate = 4, 1000, math.Inf(1)
		c.Identity = arrivals{callers(f.t), f}
	}))

	f.mu.Lock()
	old := f.stop
	f.address, f.stop = address, stop
	f.mu.Unlock()
	busy = f.running.Load() > 0
	if old != nil {
		if err := old(); err != nil {
			f.t.Error(err)
		}
	}

	return busy
}

// send makes one request to whatever instance is current.
func (f *fleet) send() error {
	n := fmt.Sprint(f.number.Add(1))
	arrived := make(chan struct{})
	f.entered.Store(n, arrived)
	f.mu.RLock()
	r, err := http.NewRequest("POST", "http://"+f.address+"/v1/attest", strings.NewReader(image(":v1")))
	if err != nil {
		f.mu.RUnlock()
		return err
	}

	r.Header = http.Header{"Authorization": {"builder"}, "Content-Type": {"application/json"}, "X-Number": {n}}
	done := make(chan error, 1)
	go func() {
		res, err := f.client.Do(r)
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if res.StatusCode != 200 {
				err = fmt.Errorf("status %d", res.StatusCode)
			}
		}
		done <- err
	}()

	select {
	case <-arrived:
		f.running.Add(1)
		defer f.running.Add(-1)
		f.mu.RUnlock()
		return <-done
	case err := <-done:
		f.mu.RUnlock()
		return err
	}
}

// Instances take turns under load, each stopped while it works: no request
// fails.
func TestRollingRestartLosesNothing(t *testing.T) {
	f := &fleet{t: t, w: newWorld(), client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	f.replace()
	var answered atomic.Int64
	over, progress := make(chan struct{}), make(chan struct{}, 1)
	var wg sync.WaitGroup

	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}

				if err := f.send(); err != nil {
					t.Error(err)
				} else {
					answered.Add(1)
				}

				select {
				case progress <- struct{}{}:
				default:
				}
			}
		})
	}

	busy := 0
	for range 10 {
		for range 20 {
			<-progress
		}
		if f.replace() {
			busy++
		}
	}

	close(over)
	wg.Wait()
	if answered.Load() < 200 || busy == 0 {
		t.Errorf("%d requests were answered, %d of 10 instances were stopped at work: this test would prove nothing", answered.Load(), busy)
	}

	if got := int64(len(f.w.decisions())); got != answered.Load() {
		t.Errorf("%d decisions recorded, %d answered", got, answered.Load())
	}
}
