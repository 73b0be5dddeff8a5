package verify_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/attestor-gate/attestor"
)

// A config that is in memory, since another image has it too, is compared with
// this image's manifest all the same.
func TestASharedConfigIsComparedWithEachManifest(t *testing.T) {
	host := newRegistry(t, func(h http.Handler) http.Handler { return h })
	i := newInspector(t, host, nil)
	whole := rawImage{Layers: layersOf("a", "b"), User: "65532:65532"}
	pushRaw(t, host, "app", "whole", whole)
	_, config := whole.Bytes()
	putManifest(t, host, "app", "short", ociManifest, fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`,
		ociManifest, desc(ociConfig, config, ""), desc(ociLayer, layer("a").Blob, "")))

	for _, tag := range []string{"whole", "whole", "short", "whole", "short"} {
		r, err := i.Resolve(t.Context(), parse(t, host+"/app:"+tag), attestor.Needs{})
		if err != nil {
			t.Fatal(err)
		}

		refused := len(r.Problems) > 0 && r.Problems[0].Code == attestor.CodeManifestInvalid
		if refused != (tag == "short") {
			t.Errorf("%s: %+v", tag, r.Problems)
		}
	}
}

func TestPinAsksOnce(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	host := newRegistry(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && r.URL.Path != "/v2/" { // the first of a host finds out how to sign in
				mu.Lock()
				asked = append(asked, r.URL.Path)
				mu.Unlock()
			}
			h.ServeHTTP(w, r)
		})
	})

	i := newInspector(t, host, nil)
	want := pushRaw(t, host, "app", "v1", rawImage{})
	img, err := i.Pin(t.Context(), parse(t, host+"/app:v1"))
	if err != nil || img.Digest() != want || len(asked) != 1 || asked[0] != "/v2/app/manifests/v1" {
		t.Errorf("got %s, %v after %q", img, err, asked)
	}
	if again, err := i.Pin(t.Context(), parse(t, img.String())); err != nil || again != img || len(asked) != 1 {
		t.Errorf("by digest: got %s, %v after %q", again, err, asked)
	}
	if _, err := i.Pin(t.Context(), parse(t, host+"/app:none")); attestor.KindOf(err) != attestor.NotFound {
		t.Errorf("an unknown tag: %v", err)
	}
}
