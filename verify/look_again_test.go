package verify_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
)

// tagLooks counts requests for what the base's tag names.
func tagLooks(f *front) (n int) {
	for _, r := range f.requests() {
		if r == "GET /v2/base/manifests/1" {
			n++
		}
	}
	return n
}

// A base that moved a moment ago is found by the image that is built on it, and
// nobody else causes a request.
func TestBaseThatHasJustMoved(t *testing.T) {
	f := &front{}
	host := newRegistry(t, f.wrap)
	needs := basesOf(host, nil)

	for _, l := range []string{"a", "b", "elsewhere"} {
		pushRaw(t, host, "app", l, rawImage{Layers: layersOf(l, "x")})
	}

	pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("a")})
	i := newInspector(t, host, nil)
	look := func(name, tag string, evidence attestor.Level, current bool, looks int) {
		t.Helper()
		f.set(nil)
		ev := inspectOne(t, i, host+"/app:"+tag, needs)
		wantCodes(t, ev.Problems)
		if ev.Base.Evidence != evidence || ev.Base.Current != current {
			t.Errorf("%s: base = %+v, want evidence %q, current %t", name, ev.Base, evidence, current)
		}
		if got := tagLooks(f); got != looks {
			t.Errorf("%s: the tag was looked up %d times, want %d", name, got, looks)
		}
	}

	look("the first image", "a", attestor.LayersExact, true, 1)
	look("an image that passes", "a", attestor.LayersExact, true, 0)
	look("an image on nothing, which is denied", "elsewhere", "", false, 1)
	pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("b")})
	look("an image on the new base", "b", attestor.LayersExact, true, 1)
	look("again", "b", attestor.LayersExact, true, 0)
	look("an image on the old base, which is denied", "a", attestor.LayersExact, false, 1)
	pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("a")})
	look("the tag has gone back", "a", attestor.LayersExact, true, 1)
}

// An image within maxBehind passes by what is known.
func TestBaseWithinMaxBehindCausesNoLookUp(t *testing.T) {
	f := &front{}
	host := newRegistry(t, f.wrap)
	needs := basesOf(host, func(ab *attestor.ApprovedBase) { ab.MaxBehind = oneDay })
	clock := clockAt(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
	i := newInspector(t, host, func(c *config) { c.Now = clock.Now })
	pushRaw(t, host, "app", "a", rawImage{Layers: layersOf("a", "x")})

	for _, l := range []string{"a", "b"} {
		pushRaw(t, host, "base", "1", rawImage{Layers: layersOf(l)})
		clock.set(clock.Now().Add(time.Hour))
		if err := i.RefreshBases(context.Background(), needs.Bases); err != nil {
			t.Fatal(err)
		}
	}

	f.set(nil)
	if b := inspectOne(t, i, host+"/app:a", needs).Base; b.Superseded == nil || tagLooks(f) != 0 {
		t.Errorf("base = %+v after %d look-ups, want it superseded without one", b, tagLooks(f))
	}
}

// Where the registry does not say what the tag names now, an image that matches
// nothing is not denied: it is not known what the base is.
func TestNoDenialWithoutAnAnswer(t *testing.T) {
	f := &front{}
	host := newRegistry(t, f.wrap)
	needs := basesOf(host, nil)
	pushRaw(t, host, "app", "good", rawImage{Layers: layersOf("a", "x")})
	pushRaw(t, host, "app", "bad", rawImage{Layers: layersOf("b", "x")})
	pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("a")})
	i := newInspector(t, host, nil)
	inspectOne(t, i, host+"/app:good", needs)

	f.set(func(w http.ResponseWriter, r *http.Request) bool {
		if !isManifest(r, "base") {
			return false
		}
		w.WriteHeader(http.StatusInternalServerError)
		return true
	})

	for range 5 { // also while the registry is left alone
		ev := inspectOne(t, i, host+"/app:bad", needs)
		wantCodes(t, ev.Problems, attestor.CodeBaseUnresolved)
		if ev.Base.Evidence != "" || ev.Problems[0].Status != attestor.StatusError {
			t.Errorf("evidence = %+v, want an error", ev)
		}
	}

	if got := tagLooks(f); got > 2*3 { // each asked three times over
		t.Errorf("the registry was asked %d times, want it left alone after two look-ups", got)
	}

	ev := inspectOne(t, i, host+"/app:good", needs)
	wantCodes(t, ev.Problems)
	if !ev.Base.Current {
		t.Errorf("base = %+v, want what is known to count", ev.Base)
	}
}

// A hundred images on nothing share look-ups, and their rate is bounded.
func TestStreamOfBadImages(t *testing.T) {
	f := &front{}
	host := newRegistry(t, f.wrap)
	needs := basesOf(host, nil)
	pushRaw(t, host, "app", "good", rawImage{Layers: layersOf("a", "x")})
	pushRaw(t, host, "app", "bad", rawImage{Layers: layersOf("b", "x")})
	pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("a")})
	i := newInspector(t, host, nil)
	inspectOne(t, i, host+"/app:good", needs)

	f.set(nil)
	begun := time.Now()
	var wg sync.WaitGroup

	for range 8 {
		wg.Go(func() {
			for range 12 {
				r, err := i.Resolve(context.Background(), parse(t, host+"/app:bad"), needs)
				if err != nil {
					t.Error(err)
					return
				}
				for _, c := range r.Children {
					if ev := i.Inspect(context.Background(), r, c, needs); ev.Base.Evidence != "" || len(ev.Problems) > 0 {
						t.Errorf("evidence = %+v, want a base that was not found", ev)
					}
				}
			}
		})
	}

	wg.Wait()

	// Four at once, and four a second.
	if got, most := tagLooks(f), 4+1+int(time.Since(begun)/(250*time.Millisecond)); got > most {
		t.Errorf("96 images caused %d look-ups, want %d at most", got, most)
	}
}

// A look-up that is under way when the base moves does not deny an image that
// comes after it.
func TestLookUpThatBeganBefore(t *testing.T) {
	f := &front{}
	host := newRegistry(t, f.wrap)
	needs := basesOf(host, nil)

	for _, l := range []string{"a", "b", "elsewhere"} {
		pushRaw(t, host, "app", l, rawImage{Layers: layersOf(l, "x")})
	}

	pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("a")})
	i := newInspector(t, host, nil)
	inspectOne(t, i, host+"/app:a", needs)
	old := fetched(t, host, "base", "1")

	// The first look-up has its answer, and is held back.
	asked, release, coming := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var second sync.Once
	var held atomic.Bool
	f.set(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/v2/app/manifests/b" {
			second.Do(func() { close(coming) })
		}
		if r.URL.Path != "/v2/base/manifests/1" || r.Method != http.MethodGet || held.Swap(true) {
			return false
		}

		close(asked)
		<-release

		for k, v := range old.Header() {
			w.Header()[k] = v
		}

		_, err := w.Write(old.Body.Bytes())
		return err == nil
	})

	var wg sync.WaitGroup
	wg.Go(func() { inspectOne(t, i, host+"/app:elsewhere", needs) })
	<-asked
	wg.Go(func() {
		if b := inspectOne(t, i, host+"/app:b", needs).Base; !b.Current {
			t.Errorf("base = %+v, want current", b)
		}
	})

	pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("b")}) // past what is held back
	<-coming
	close(release)
	wg.Wait()
}

// fetched is the registry's answer for a manifest.
func fetched(t *testing.T, host, repo, tag string) *httptest.ResponseRecorder {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://%s/v2/%s/manifests/%s", host, repo, tag), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}

	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status, err)
	}

	w := httptest.NewRecorder()
	for k, v := range resp.Header {
		w.Header()[k] = v
	}

	w.Body = bytes.NewBuffer(body)
	return w
}
