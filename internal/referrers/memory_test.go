package referrers_test

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/attestor-gate/attestor/internal/referrers"
)

// countLists counts the requests for lists of referrers; the first of them fail with a status.
func (s *host) countLists(failing int32, status int) *atomic.Int32 {
	var n atomic.Int32
	s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/referrers/") || n.Add(1) > failing {
			return false
		}
		w.WriteHeader(status)
		return true
	})
	return &n
}

// Each kind of evidence asks for the list with its own types first, and one inspection reads it once.
func TestAnInspectionReadsAListOnce(t *testing.T) {
	const spdx, vex = "application/spdx+json", "application/vnd.cyclonedx+json"
	s := withAPI(t)
	img, other, c := s.Push(), s.Push(), client(t)
	s.refer(img, spdx, []byte("{}"))
	s.refer(img, vex, []byte("{}"))
	n := s.countLists(0, 0)

	ctx := referrers.Remember(t.Context())
	var wg sync.WaitGroup
	for _, kind := range []string{spdx, vex, spdx, vex} {
		wg.Go(func() {
			list, err := c.List(ctx, img, kind)
			if err != nil || len(list.Referrers) != 2 || list.Referrers[0].ArtifactType != kind {
				t.Errorf("%s: %+v, %v", kind, list, err)
			}
		})
	}
	wg.Wait()
	if got := n.Load(); got != 1 {
		t.Errorf("%d lists were read, want 1", got)
	}

	// Another image's list is another list.
	if list, err := c.List(ctx, other); err != nil || list.Listed != 0 || n.Load() != 2 {
		t.Errorf("of another image: %+v, %v, after %d requests", list, err, n.Load())
	}

	// The next inspection sees what was attached meanwhile, and so does whoever remembers nothing.
	s.refer(img, spdx, []byte("{ }"))
	for name, ctx := range map[string]func() (referrers.List, error){
		"the next inspection": func() (referrers.List, error) { return c.List(referrers.Remember(t.Context()), img) },
		"without a memory":    func() (referrers.List, error) { return c.List(t.Context(), img) },
	} {
		if list, err := ctx(); err != nil || list.Listed != 3 {
			t.Errorf("%s: %+v, %v", name, list, err)
		}
	}
}

// What could not be read is asked again: it is neither an empty list nor an outage for the rest of the inspection.
func TestAFailedListIsNotRemembered(t *testing.T) {
	s := withAPI(t)
	img, c := s.Push(), client(t)
	s.refer(img, "application/spdx+json", []byte("{}"))
	s.countLists(1, http.StatusForbidden)

	ctx := referrers.Remember(t.Context())
	if list, err := c.List(ctx, img); err == nil {
		t.Errorf("a list: %+v", list)
	}
	if list, err := c.List(ctx, img); err != nil || list.Listed != 1 {
		t.Errorf("asked again: %+v, %v", list, err)
	}
}
