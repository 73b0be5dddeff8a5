package verify_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/internal/together"
	"github.com/attestor-gate/attestor/verify"
)

// The bytes that are read of a manifest, and of a layer, do not depend on what parts of the repository's name are called.
func TestRepositoriesThatAreCalledBlobs(t *testing.T) {
	for _, repo := range []string{"blobs", "app/blobs/api", "manifests", "app/manifests/api"} {
		t.Run(repo, func(t *testing.T) {
			host := newRegistry(t, nil)
			filler := strings.Repeat("x", 100_000)
			pushRaw(t, host, repo, "manifest", rawImage{Extra: `"annotations":{"a":"` + filler + `"}`})
			layer := tarLayer(append(etc(root1000), file{"filler", filler})...)
			pushRaw(t, host, repo, "layer", rawImage{User: "app", Layers: []rawLayer{layer}})

			i := newInspector(t, host, func(c *config) { c.Limits.ManifestBytes = 50_000 })
			_, err := i.Resolve(t.Context(), parse(t, host+"/"+repo+":manifest"), attestor.Needs{})
			if codeOf(err) != attestor.CodeTooLarge {
				t.Errorf("a manifest of 100,000 bytes: %v, want %s", err, attestor.CodeTooLarge)
			}
			wantCodes(t, inspectOne(t, i, host+"/"+repo+":layer", attestor.Needs{ResolveNames: true}).Problems)
		})
	}
}

// An element of two bytes would take a hundred where it is decoded.
func TestAManifestCostsWhatItsBytesDo(t *testing.T) {
	for list, first := range map[string]string{
		"layers":    `"config":{},`,
		"manifests": ``,
	} {
		manifest := []byte(`{"schemaVersion":2,` + first + `"` + list + `":[{}` + strings.Repeat(",{}", 1<<20) + `]}`)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, _, err := verify.ParseDocument(manifest, "")
		runtime.ReadMemStats(&after)

		if codeOf(err) != attestor.CodeTooLarge {
			t.Errorf("%s: %v, want %s", list, err, attestor.CodeTooLarge)
		}
		if taken := after.TotalAlloc - before.TotalAlloc; taken > 32<<20 {
			t.Errorf("%s: %d bytes were taken for a manifest of %d", list, taken, len(manifest))
		}
	}
}

// Whoever pushes an image chooses how many statements its index lists. The first ones are hints; the rest causes no request.
func TestStatementsWithoutEnd(t *testing.T) {
	f := &front{}
	host := newRegistry(t, f.wrap)
	base := pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("base")})
	app := rawImage{Layers: layersOf("squashed")}
	pushRaw(t, host, "app", "child", app)

	statements := corpus.Attestation(corpus.InToto)
	one := statements.Layers[0]
	statements.Layers = nil
	paths := map[string]bool{}
	for n := range 40 {
		one.Blob = fmt.Appendf(nil, `{"predicate":{"materials":[{"uri":"pkg:docker/%s/base@v%d","digest":{"sha256":%q}}]}}`, host, n, base.Hex())
		statements.Layers = append(statements.Layers, one)
		paths["GET /v2/app/blobs/"+string(sum(one.Blob))] = true
	}
	pushRaw(t, host, "app", "statements", statements)
	m, _ := statements.Bytes()
	pushIndex(t, host, "app", "1", app.Entry(), corpus.AttestationEntry(app.Digest(), m))

	f.set(nil)
	ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", basesOf(host, nil))
	wantCodes(t, ev.Problems)
	read := 0
	for _, r := range f.requests() {
		if paths[r] {
			read++
		}
	}

	hint := "unsigned provenance " + host + "/base@" + string(base)
	if read == 0 || read > 4 || !slices.Contains(ev.Base.Hints, hint) {
		t.Errorf("%d of 40 statements were read, want four at most; hints %q, want %q", read, ev.Base.Hints, hint)
	}
}

// A tar may have paths of a megabyte. Each directory of one would be looked up, which takes the square of its length.
func TestPathsThatNoRuntimeUnpacks(t *testing.T) {
	for length, want := range map[int][]attestor.Code{4096: nil, 4097: {attestor.CodeUserUnresolved}} {
		name := strings.Repeat("d/", length)[:length-len("/passwd")] + "/passwd"
		host := newRegistry(t, nil)
		pushRaw(t, host, "app", "1", rawImage{User: "app", Layers: []rawLayer{tarLayer(append(etc(root1000), file{name, ""})...)}})
		ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", attestor.Needs{ResolveNames: true})
		wantCodes(t, ev.Problems, want...)
		if want != nil && !strings.Contains(ev.Problems[0].Message, "a path of more than 4096 bytes") {
			t.Errorf("it says %q", ev.Problems[0].Message)
		}
	}
}

// A look-up that panics fails its request, and not the process.
func TestUploadTimesThatPanic(t *testing.T) {
	host := newRegistry(t, nil)
	pushRaw(t, host, "app", "1", rawImage{})
	i := newInspector(t, host, func(c *config) { c.Uploads = uploadsFunc(func() (time.Time, error) { panic("a bug") }) })

	defer func() {
		if err, ok := recover().(error); !ok || !errors.Is(err, together.ErrPanic) || !strings.Contains(err.Error(), "a bug") {
			t.Errorf("Resolve panics with %v, want the panic of the look-up", err)
		}
	}()
	r, err := i.Resolve(t.Context(), parse(t, host+"/app:1"), attestor.Needs{UploadTime: true})
	t.Errorf("Resolve returned %+v, %v", r, err)
}

// A registry that does not send its layers holds up no image of another one, however many of its images are asked about.
func TestLayersOfASlowRegistry(t *testing.T) {
	const images = 12
	f := &front{}
	slow, host := newRegistry(t, f.wrap), newRegistry(t, nil)
	pushRaw(t, host, "app", "1", rawImage{User: "app", Layers: []rawLayer{tarLayer(etc(root1000)...)}})
	blobs := map[string][]byte{}
	for n := range images {
		l := tarLayer(append(etc(root1000), file{"n", strconv.Itoa(n)})...)
		blobs["/v2/app/blobs/"+string(sum(l.Blob))] = l.Blob
		pushRaw(t, slow, "app", strconv.Itoa(n), rawImage{User: "app", Layers: []rawLayer{l}})
	}

	came, release := make(chan struct{}, images), make(chan struct{})
	f.set(func(w http.ResponseWriter, r *http.Request) bool {
		blob, ok := blobs[r.URL.Path]
		if !ok || r.Method != http.MethodGet {
			return false
		}

		// Behind the header, for which a client waits ten seconds only.
		w.Header().Set("Content-Length", strconv.Itoa(len(blob)))
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		came <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
		_, _ = w.Write(blob)
		return true
	})

	needs := attestor.Needs{ResolveNames: true}
	i := newInspector(t, slow, func(c *config) {
		c.Registries.Hosts = append(c.Registries.Hosts, verify.Registry{Host: host})
		c.Limits.LayerTimeout = time.Hour
	})
	var wg sync.WaitGroup
	for n := range images {
		wg.Go(func() {
			wantCodes(t, inspectOne(t, i, slow+"/app:"+strconv.Itoa(n), needs).Problems)
		})
	}
	for range 3 {
		<-came
	}

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := i.Resolve(ctx, parse(t, host+"/app:1"), needs)
	if err != nil || len(r.Children) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	for _, c := range r.Children {
		wantCodes(t, i.Inspect(ctx, r, c, needs).Problems)
	}

	close(release)
	wg.Wait()
	if n := verify.KeptRegistries(i); n != 0 {
		t.Errorf("the slots of %d registries are kept after their last layer", n)
	}
}

// Slots are counted for each registry and for all; whoever leaves while waiting holds none.
func TestLayerSlots(t *testing.T) {
	gone, leave := context.WithCancel(t.Context())
	leave()

	for n, most := range map[int]int{1: 1, 2: 1, 4: 3, 8: 6} {
		s := verify.NewLayerSlots(n)
		for range 2 { // the second time only if nothing was kept from the first
			var held []func()
			take := func(registry string) {
				t.Helper()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				give, err := s.Take(ctx, registry)
				if err != nil {
					t.Fatal(err)
				}
				held = append(held, give)
			}
			full := func(registry string) {
				t.Helper()
				if _, err := s.Take(gone, registry); !errors.Is(err, context.Canceled) {
					t.Errorf("of %d slots with %d held, %s is given one: %v", n, len(held), registry, err)
				}
			}

			for range most {
				take("a")
			}
			full("a")
			for range n - most {
				take("b")
			}
			full("c")
			held[0]()
			held = held[1:]
			take("c")
			full("b")
			for _, give := range held {
				give()
			}
			if kept := s.Kept(); kept != 0 {
				t.Errorf("the slots of %d registries are kept", kept)
			}
		}
	}
}
