package provenance_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/attestor-gate/attestor"
)

const mib = 1 << 20

// crowd attaches n statements that are read before those of attach, since their type is one that is asked for. Each has the same blob of size
// bytes, which its manifest says to have said bytes.
func (a *attic) crowd(n, size int, said int64) {
	a.t.Helper()
	blob := bytes.Repeat([]byte{' '}, size)
	a.attach("sha256:"+attestor.Digest(strings.Repeat("cd", 32)), dsseMedia, blob) // of another image, for the blob to be there
	subject, err := v1.NewHash(string(a.image.Digest()))
	must(a.t, err)
	layer, err := v1.NewHash(string(attestor.DigestOf(blob)))
	must(a.t, err)
	empty, err := v1.NewHash(string(attestor.DigestOf([]byte("{}"))))
	must(a.t, err)

	for i := range n {
		raw, err := json.Marshal(v1.Manifest{
			SchemaVersion: 2, MediaType: types.OCIManifestSchema1,
			Config:      v1.Descriptor{MediaType: "application/vnd.dsse", Size: 2, Digest: empty},
			Layers:      []v1.Descriptor{{MediaType: dsseMedia, Size: said, Digest: layer}},
			Subject:     &v1.Descriptor{MediaType: types.OCIManifestSchema1, Size: 500, Digest: subject},
			Annotations: map[string]string{"n": fmt.Sprint(i, said)},
		})
		must(a.t, err)
		must(a.t, remote.Put(a.Repo.Digest(string(attestor.DigestOf(raw))), rawManifest(raw)))
	}
}

// rawManifest is a manifest as it is pushed.
type rawManifest []byte

func (m rawManifest) RawManifest() ([]byte, error)        { return m, nil }
func (m rawManifest) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// TestReferrersAreBoundedInSum: of one image's statements 32 MiB are read. A statement that might be one of the rest makes it an error, and what
// was not read takes nothing away.
func TestReferrersAreBoundedInSum(t *testing.T) {
	_, list := occurrences(t, sample)
	good := envelopeOf(list[0], true)
	for _, tt := range []struct {
		name  string
		crowd func(a *attic)
		reads bool
	}{
		{"28 MiB", func(a *attic) { a.crowd(4, 7*mib, 7*mib) }, true},
		{"35 MiB", func(a *attic) { a.crowd(5, 7*mib, 7*mib) }, false},

		// Those that say that they are too large are not read.
		{"36 MiB in four that are too large", func(a *attic) { a.crowd(4, 9*mib, 9*mib) }, true},

		// Those that are larger than they say are read to the bound of one, each.
		{"three that are larger than they say", func(a *attic) { a.crowd(3, 9*mib, 1000) }, true},
		{"four that are larger than they say", func(a *attic) { a.crowd(4, 9*mib, 1000) }, false},
		{"four that say that they are as large as may be", func(a *attic) { a.crowd(4, 9*mib, 8*mib) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newAttic(t, sample)
			tt.crowd(a)
			a.attach(a.image.Digest(), dsseMedia, good)

			got, problems := a.ask(&server{}, attestor.ProvenanceNeeds{})
			if tt.reads {
				if len(got) != 1 || len(problems) > 0 {
					t.Errorf("got %v, %+v; want the statement behind them", got, problems)
				}
				return
			}
			if len(got) > 0 || len(problems) != 1 || problems[0].Status != attestor.StatusError ||
				!strings.Contains(problems[0].Message, "more than 33554432 bytes") {
				t.Errorf("got %v, %+v; want an error", got, problems)
			}
		})
	}

	// One that is too large by itself is a statement that does not verify, and leaves nothing open.
	a := newAttic(t, sample)
	a.attach(a.image.Digest(), dsseMedia, bytes.Repeat([]byte{' '}, 8*mib+1))
	got, problems := a.ask(&server{}, attestor.ProvenanceNeeds{})
	if len(got) > 0 || len(problems) != 1 || problems[0].Status != attestor.StatusDeny ||
		!strings.Contains(problems[0].Message, "attached: it has 8388609 bytes, at most 8388608 are read") {
		t.Errorf("got %v, %+v", got, problems)
	}
}

// TestListsOfReferrersAreNotBelieved: a list may name what is attached to another image or is not there, and may be none.
func TestListsOfReferrersAreNotBelieved(t *testing.T) {
	_, list := occurrences(t, sample)
	a := newAttic(t, sample)
	a.attach(a.image.Digest(), dsseMedia, envelopeOf(list[0], true))
	a.attach("sha256:"+attestor.Digest(strings.Repeat("cd", 32)), dsseMedia, envelopeOf(list[1], true))

	listed := func(about attestor.Digest) v1.Descriptor {
		h, err := v1.NewHash(string(about))
		must(t, err)
		index, err := remote.Referrers(a.Repo.Digest(h.String()))
		must(t, err)
		m, err := index.IndexManifest()
		must(t, err)
		if len(m.Manifests) != 1 {
			t.Fatal(m.Manifests)
		}
		return m.Manifests[0]
	}
	own, foreign := listed(a.image.Digest()), listed("sha256:"+attestor.Digest(strings.Repeat("cd", 32)))
	gone := v1.Descriptor{Size: 10, Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("ef", 32)}}

	for _, tt := range []struct {
		name   string
		answer any
		found  int
		denial string
	}{
		{"a list", v1.IndexManifest{SchemaVersion: 2, Manifests: []v1.Descriptor{own}}, 1, ""},
		{"another image's before its own", v1.IndexManifest{SchemaVersion: 2, Manifests: []v1.Descriptor{foreign, gone, own}}, 1, ""},
		{"another image's", v1.IndexManifest{SchemaVersion: 2, Manifests: []v1.Descriptor{foreign}}, 0, ""},
		{"no list", map[string]any{"schemaVersion": 2, "manifests": 7}, 0, "among the referrers: its list of referrers is malformed"},
	} {
		a.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/referrers/") {
				return false
			}
			w.Header().Set("Content-Type", string(types.OCIImageIndex))
			_ = json.NewEncoder(w).Encode(tt.answer) // who leaves early is not the subject
			return true
		})
		got, problems := a.ask(&server{}, attestor.ProvenanceNeeds{})
		if len(got) != tt.found {
			t.Errorf("%s: %v, %+v; want %d", tt.name, got, problems, tt.found)
		}
		denied := len(problems) == 1 && problems[0].Status == attestor.StatusDeny && strings.Contains(problems[0].Message, tt.denial)
		if tt.denial == "" && len(problems) > 0 || tt.denial != "" && !denied {
			t.Errorf("%s: %+v; want %q", tt.name, problems, tt.denial)
		}
	}
}
