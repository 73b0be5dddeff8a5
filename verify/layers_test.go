package verify_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/attestor-gate/attestor"
)

// Two images share a layer, and one's manifest lies about its size: read at the
// same time, the one who lies is refused and the other one is not.
func TestALyingSizeFailsNobodyElse(t *testing.T) {
	f := &front{}
	host := newRegistry(t, f.wrap)
	a := layer("a")
	pushRaw(t, host, "base", "1", rawImage{Layers: []rawLayer{a}})
	shared := a.Recompressed("a")
	img := rawImage{Layers: []rawLayer{shared, layer("b")}}
	pushRaw(t, host, "app", "1", img)
	honest, _ := img.Bytes()
	size := fmt.Sprintf(`"size":%d`, len(shared.Blob))
	lying := bytes.Replace(honest, []byte(size), []byte(fmt.Sprintf(`"size":%d`, len(shared.Blob)-1)), 1)
	if bytes.Equal(lying, honest) {
		t.Fatalf("no %s in %s", size, honest)
	}
	putManifest(t, host, "app", "lying", ociManifest, lying)

	var readers atomic.Int64
	both := make(chan struct{})
	f.set(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, string(sum(shared.Blob))) {
			if readers.Add(1) == 2 {
				close(both)
			}
			select {
			case <-both: // the other one reads it too
			case <-r.Context().Done():
			}
		}
		return false
	})
	i := newInspector(t, host, nil)
	found := make(chan attestor.PlatformEvidence)
	go func() { found <- inspectOne(t, i, host+"/app:lying", basesOf(host, nil)) }()
	if ev := inspectOne(t, i, host+"/app:1", basesOf(host, nil)); ev.Base.Evidence != attestor.DiffIDsVerified {
		t.Errorf("the honest image: %+v", ev)
	}
	wantCodes(t, (<-found).Problems, attestor.CodeContentMismatch)
}
