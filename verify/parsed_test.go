package verify_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/attestor-gate/attestor"
)

// A config that is in memory, since another image has it too, is compared with
// this image's manifest all the same.
func TestASharedConfigIsComparedWithEachManifest(t *testing.T) {
	host := newRegistry(t, func(h http.Handler) http.Handler { return h })
	i := newInspector(t, host, nil)
	whole := rawImage{layers: layersOf("a", "b"), user: "65532:65532"}
	pushRaw(t, host, "app", "whole", whole)
	_, config := whole.bytes()
	putManifest(t, host, "app", "short", ociManifest, fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`,
		ociManifest, desc(ociConfig, config, ""), desc(ociLayer, layer("a").blob, "")))
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
