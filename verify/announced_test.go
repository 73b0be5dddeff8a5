package verify_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
)

// Bytes that a tag is answered with have no digest to be held to but the one
// that the registry announces with them.
func TestAnnouncedDigest(t *testing.T) {
	img := rawImage{Layers: layersOf("a")}
	d := sumManifest(img)

	for _, tt := range []struct {
		name, announced string
		want            attestor.Code
	}{
		{"right", string(d), ""},
		{"none", "", ""},
		{"of another algorithm", "sha512:" + strings.Repeat("0", 128), ""},
		{"not a digest", "latest", ""},
		{"of other bytes", string(sum([]byte("other"))), attestor.CodeContentMismatch},
	} {
		f := &front{}
		host := newRegistry(t, f.wrap)
		pushRaw(t, host, "app", "1", img)
		manifest, _ := img.Bytes()
		f.set(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || r.URL.Path != "/v2/app/manifests/1" {
				return false
			}
			if tt.announced != "" {
				w.Header().Set("Docker-Content-Digest", tt.announced)
			}
			return serve(w, ociManifest, manifest)
		})

		r, err := newInspector(t, host, nil).Resolve(t.Context(), parse(t, host+"/app:1"), attestor.Needs{})
		if codeOf(err) != tt.want || tt.want == "" && r.Image.Digest() != d {
			t.Errorf("%s: %v, %v, want %q", tt.name, r.Image, err, tt.want)
		}
	}
}
