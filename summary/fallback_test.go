package summary_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
)

// deleted deletes a referrer as somebody does who knows of no list.
func (w *world) deleted(reference string) {
	w.t.Helper()
	ref, err := name.NewDigest(reference)
	w.Must(err)
	w.Must(remote.Delete(ref))
}

// What somebody deleted and left on the list stands for nobody, and keeps no later summary from being stored or
// revoked.
func TestAListThatNamesWhatIsGone(t *testing.T) {
	for kind, handler := range registries.Kinds() {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t, handler(t, true))
			p := w.publisher(w.p256())
			first := w.publish(p, judged{image: w.image}).Standing[0]
			w.deleted(first.Reference)

			// The publisher remembers what it stored, and still finds that it is gone. Time makes the new one another one.
			w.advance(time.Second)
			second := w.publish(p, judged{image: w.image}).Standing[0]
			if !second.Created || second.Reference == first.Reference {
				t.Errorf("what was deleted is taken for one that stands: %+v", second)
			}
			if got := w.attached(w.image); len(got) != 1 {
				t.Errorf("attached: %+v, want the second one alone", got)
			}

			// Another gate's statement is gone, and still on the list while ours is revoked.
			other := w.publish(w.publisher(w.p256()), judged{image: w.image}).Standing[0]
			w.deleted(other.Reference)
			gone, left, err := p.Revoke(t.Context(), []attestor.Image{w.image}, []attestor.SummaryNeeds{{}})
			if err != nil || len(gone) != 1 || gone[0].Reference != second.Reference || len(left) != 0 {
				t.Errorf("revoked: gone %+v, left %+v, %v", gone, left, err)
			}
			if got := w.attached(w.image); len(got) != 0 {
				t.Errorf("attached after the revocation: %+v", got)
			}
		})
	}
}

// A writer that had read the list before writes it without the new entry. The entry is written again, and the other
// writer's stays.
func TestAListThatAnotherWriterReplaced(t *testing.T) {
	for _, kind := range []string{"fallback tag", "distribution"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t, registries.Kinds()[kind](t, true))
			foreign := w.publish(w.publisher(w.p256()), judged{image: w.image}).Standing[0]
			tag := w.Repo.Tag("sha256-" + w.image.Digest().Hex())
			stale, err := remote.Get(tag)
			w.Must(err)

			// After the first list that names our statement, the other writer's comes.
			replaced := false
			w.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
				if replaced || r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, "/manifests/"+tag.TagStr()) {
					return false
				}
				body, err := io.ReadAll(r.Body)
				if err != nil || bytes.Equal(body, stale.Manifest) {
					t.Errorf("the list that was written: %s, %v", body, err)
				}
				replaced = true
				rw.WriteHeader(http.StatusCreated)
				return true
			})
			made := w.publish(w.publisher(w.p256()), judged{image: w.image}).Standing[0]
			w.Intercept(nil)

			index, err := remote.Referrers(w.Repo.Digest(string(w.image.Digest())))
			w.Must(err)
			m, err := index.IndexManifest()
			w.Must(err)
			listed := map[string]bool{}
			for _, d := range m.Manifests {
				listed[w.Repo.Name()+"@"+d.Digest.String()] = true
			}
			if !replaced || len(listed) != 2 || !listed[foreign.Reference] || !listed[made.Reference] {
				t.Errorf("replaced %t; listed: %v, want %s and %s", replaced, listed, foreign.Reference, made.Reference)
			}
		})
	}
}
