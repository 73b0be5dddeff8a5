package admission_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server/admission"
)

// podOf is a review of a pod with some images, padded to a size.
func podOf(size int, images ...string) string {
	var containers []string
	for i, image := range images {
		containers = append(containers, fmt.Sprintf(`{"name":"c%d","image":%q}`, i, image))
	}
	return `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"705ab4f5-6393-11e8-b7cc-42010a800002",` +
		`"kind":{"version":"v1","kind":"Pod"},"operation":"CREATE","object":{"spec":{"containers":[` + strings.Join(containers, ",") +
		`]},"padding":"` + strings.Repeat("x", size) + `"}}}`
}

// A watched body says whether it was read.
type watchedBody struct {
	io.Reader
	read atomic.Bool
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.read.Store(true)
	return b.Reader.Read(p)
}

func (b *watchedBody) Close() error { return nil }

// TestLargeReviewsWaitForEachOther: what is read and decided at the same time is bounded, and a review that finds no
// place in time is not read and admits nothing. Small reviews do not wait for large ones.
func TestLargeReviewsWaitForEachOther(t *testing.T) {
	entered, release := make(chan struct{}, 2*admission.LargeReviews), make(chan struct{})
	c := cluster{}
	held := cluster{standing: func(ctx context.Context, img attestor.Image) (attestor.Standing, error) {
		if img.String() == bad {
			entered <- struct{}{}
			<-release
		}
		return c.Standing(ctx, img)
	}}
	h := handler(t, held, func(c *admission.Config) { c.Timeout = time.Hour })

	var wg sync.WaitGroup
	for range admission.LargeReviews {
		wg.Go(func() {
			if status, a := ask(t, h, podOf(1<<20, bad)); status != http.StatusOK || a.Response.Allowed {
				t.Errorf("a large review: %d %+v", status, a)
			}
		})
	}
	for range admission.LargeReviews {
		<-entered
	}

	// One more, of a length that is known or not, of a client who has no time to wait.
	for _, length := range []int64{1 << 20, -1} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		body := &watchedBody{Reader: bytes.NewReader([]byte(podOf(1<<20, good)))}
		r := httptest.NewRequestWithContext(ctx, "POST", "/v1/admission", body)
		r.Header.Set("Content-Type", "application/json")
		r.ContentLength = length
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusServiceUnavailable || body.read.Load() {
			t.Errorf("one more, of length %d: status %d, read: %t", length, w.Code, body.read.Load())
		}
	}
	if status, a := ask(t, h, podOf(0, good)); status != http.StatusOK || !a.Response.Allowed {
		t.Errorf("a small review beside them: %d %+v", status, a)
	}

	close(release)
	wg.Wait()
	if status, a := ask(t, h, podOf(1<<20, good)); status != http.StatusOK || !a.Response.Allowed {
		t.Errorf("afterwards: %d %+v", status, a)
	}
}

// TestImagesWaitForEachOther: of a pod with many images, and of many pods, only so many images are looked up at once. One
// that was not looked up in time is refused.
func TestImagesWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running atomic.Int64
		release := make(chan struct{})
		h := handler(t, cluster{standing: func(_ context.Context, img attestor.Image) (attestor.Standing, error) {
			running.Add(1)
			<-release
			return attestor.Standing{Known: true, Valid: []attestor.Attestation{{Attestor: name, Digest: img.Digest()}}}, nil
		}}, func(c *admission.Config) { c.Timeout = time.Hour })

		var images []string
		for n := range 100 {
			images = append(images, fmt.Sprintf("registry.example/team/app@sha256:%064x", n))
		}
		answered := make(chan answer, 1)
		go func() {
			_, a := ask(t, h, podOf(0, images...))
			answered <- a
		}()
		synctest.Wait() // until every image is looked up or waits
		if n := running.Load(); n != admission.ImagesAtOnce {
			t.Errorf("%d images are looked up at once, want %d", n, admission.ImagesAtOnce)
		}

		// While all places are taken, a pod whose time is over is refused, and says why.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		late := make(chan *httptest.ResponseRecorder, 1)
		go func() {
			r := httptest.NewRequestWithContext(ctx, "POST", "/v1/admission", strings.NewReader(podOf(0, good)))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			late <- w
		}()
		synctest.Wait()
		if n := running.Load(); n != admission.ImagesAtOnce {
			t.Errorf("with a pod whose time is over, %d images are looked up at once", n)
		}

		close(release)
		w := <-late
		if w.Code == http.StatusOK && (strings.Contains(w.Body.String(), `"allowed":true`) || !strings.Contains(w.Body.String(), "busy")) {
			t.Errorf("a pod that was not looked at: %s", w.Body)
		}
		if a := <-answered; !a.Response.Allowed {
			t.Errorf("the pod with many images: %+v", a)
		}
	})
}
