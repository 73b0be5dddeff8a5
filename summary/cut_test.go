package summary_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/referrers"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
	"github.com/attestor-gate/attestor/internal/testkit/slow"
	"github.com/attestor-gate/attestor/internal/vsa"
	"github.com/attestor-gate/attestor/summary"
)

// A cut is a way to registries that ends at a request, as it does for a program that is killed: that request and all
// later ones have no answer.
type cut struct {
	mu      sync.Mutex
	left    int  // requests before the end; guarded by mu
	arrives bool // the last one is carried out all the same
	hit     bool // guarded by mu
}

var errCut = errors.New("the program was killed")

// RoundTrip implements [http.RoundTripper].
func (c *cut) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	c.left--
	left := c.left
	c.hit = c.hit || left < 0
	c.mu.Unlock()

	switch {
	case left >= 0:
		return http.DefaultTransport.RoundTrip(r)
	case left == -1 && c.arrives:
		if resp, err := http.DefaultTransport.RoundTrip(r); err == nil {
			_ = resp.Body.Close() // nobody reads it
		}
	}
	return nil, errCut
}

// through is a publisher whose requests all take the way.
func (w *world) through(c *cut, k pair) *summary.Publisher {
	w.t.Helper()
	reader, err := referrers.New(referrers.Config{Transport: c})
	w.Must(err)
	return w.publisher(k, func(conf *summary.Config) { conf.Transport, conf.Registry = c, reader })
}

// stride is how far apart the requests are at which the program is killed: all of them where everything is asked for.
func stride() int {
	if os.Getenv("GATE_TEST_ALL") == "1" {
		return 1
	}
	return 4
}

// first is the first of them.
func first(arrives bool) int {
	if arrives {
		return stride() / 2
	}
	return 0
}

// Killed at any request of a pass that replaces a summary, and started again, the gate has one current summary in the
// end, and what it says is what was decided last. At no moment is a consumer without a pass.
func TestKilledAtEveryRequest(t *testing.T) {
	for kind, handler := range registries.Kinds() {
		for _, arrives := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, arrives %t", kind, arrives), func(t *testing.T) {
				if kind == "distribution" {
					slow.Skip(t)
				}
				w := newWorld(t, handler(t, true))
				key := w.p256()
				for n := first(arrives); ; n += stride() {
					if n > 100 {
						t.Fatal("a pass takes more than 100 requests")
					}
					image := w.Push()
					w.publish(w.publisher(key), judged{image: image, policy: "one"})
					w.advance(time.Second)

					way := &cut{left: n, arrives: arrives}
					_, err := w.through(way, key).Summarize(t.Context(), w.authorized(judged{image: image, policy: "two"}), begun)
					if way.hit && err == nil && !arrives {
						t.Errorf("cut at request %d: it claims to be done", n)
					}
					if got := w.attached(image); len(got) == 0 {
						t.Errorf("cut at request %d: no summary is attached", n)
					}

					again := w.publish(w.publisher(key), judged{image: image, policy: "two"})
					list := w.attached(image)
					want := attestor.DigestOf([]byte("policy two")).Hex()
					if len(again.Standing) != 1 || len(list) != 1 || list[0].Predicate.Policy.Digest["sha256"] != want ||
						list[0].Predicate.VerificationResult != vsa.Passed {
						t.Errorf("cut at request %d: after a repeat %+v stands, attached: %+v", n, again, list)
					}
					if !way.hit {
						if n < 5 {
							t.Errorf("a pass that replaces a summary took %d requests", n)
						}
						return // the whole pass fitted
					}
				}
			})
		}
	}
}

// Killed at any request of a revocation, and repeated, nothing is left.
func TestKilledAtEveryRequestOfARevocation(t *testing.T) {
	for kind, handler := range registries.Kinds() {
		for _, arrives := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, arrives %t", kind, arrives), func(t *testing.T) {
				if kind == "distribution" {
					slow.Skip(t)
				}
				w := newWorld(t, handler(t, true))
				key := w.p256()
				for n := first(arrives); ; n += stride() {
					if n > 100 {
						t.Fatal("a revocation takes more than 100 requests")
					}
					image := w.Push()
					w.publish(w.publisher(key), judged{image: image})
					foreign := w.publish(w.publisher(w.p256()), judged{image: image}).Standing[0]

					way := &cut{left: n, arrives: arrives}
					images, places := []attestor.Image{image}, []attestor.SummaryNeeds{{}}
					_, _, err := w.through(way, key).Revoke(t.Context(), images, places)
					if way.hit && err == nil {
						t.Errorf("cut at request %d: it claims to be done", n)
					}
					if _, left, err := w.publisher(key).Revoke(t.Context(), images, places); err != nil || len(left) != 0 {
						t.Errorf("cut at request %d: repeated: left %+v, %v", n, left, err)
					}
					list := w.attached(image)
					if len(list) != 1 {
						t.Errorf("cut at request %d: attached %+v, want the foreign one", n, list)
					}
					if _, err := remote.Head(w.Repo.Digest(foreign.Reference[len(w.Repo.Name())+1:])); err != nil {
						t.Errorf("cut at request %d: the foreign one is gone: %v", n, err)
					}
					if !way.hit {
						return
					}
				}
			})
		}
	}
}
