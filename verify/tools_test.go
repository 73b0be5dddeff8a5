package verify_test

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory" // a driver registers itself

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
)

// newDistribution serves distribution v3, which most self-hosted registries
// are. It has no referrers API.
func newDistribution(t testing.TB) string {
	t.Helper()
	return registries.Serve(t, registries.Distribution(t, false))
}

// bothRegistries are the two kinds that everything real is shown on.
func bothRegistries() map[string]func(testing.TB) string {
	return map[string]func(testing.TB) string{
		"go-containerregistry": func(t testing.TB) string { return newRegistry(t, nil) },
		"distribution":         newDistribution,
	}
}

// upload sends a blob in two steps, which every registry understands.
func upload(t testing.TB, host, repo string, b []byte) {
	t.Helper()
	resp, err := httpPost("http://" + host + "/v2/" + repo + "/blobs/uploads/")
	if err != nil {
		t.Fatal(err)
	}

	location := resp.Header.Get("Location")
	if strings.HasPrefix(location, "/") {
		location = "http://" + host + location
	}

	sep := "?"
	if strings.Contains(location, "?") {
		sep = "&"
	}
	if err := corpus.Put(t.Context(), http.DefaultClient, http.MethodPut, location+sep+"digest="+string(sum(b)), "application/octet-stream", b); err != nil {
		t.Fatal(err)
	}
}

// pushFixtures uploads every file of testdata/images into one repository:
// configs and statements as blobs, manifests before the indexes of them.
func pushFixtures(t testing.TB, host, repo string) {
	t.Helper()
	files, err := filepath.Glob("testdata/images/*.json")
	if err != nil || len(files) < 50 {
		t.Fatalf("fixtures: %d files, %v", len(files), err)
	}

	kinds := map[string][][]byte{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}

		if name := strings.TrimSuffix(filepath.Base(f), ".json"); !strings.HasPrefix(sum(b).Hex(), name) {
			t.Fatalf("%s has digest %s", f, sum(b))
		}

		kind := "blob"
		switch {
		case bytes.Contains(b, []byte(`"manifests":`)):
			kind = ociIndex
		case bytes.Contains(b, []byte(`"layers":[`)) || bytes.Contains(b, []byte(`"layers": [`)):
			if kind = ociManifest; bytes.Contains(b, []byte(dockerManifest)) {
				kind = dockerManifest
			}
			if bytes.Contains(b, []byte(`"predicateType"`)) {
				kind = "blob"
			}
		}

		kinds[kind] = append(kinds[kind], b)
	}

	for _, b := range kinds["blob"] {
		upload(t, host, repo, b)
	}

	for _, kind := range []string{ociManifest, dockerManifest, ociIndex} {
		for _, b := range kinds[kind] {
			if kind == ociIndex && bytes.Contains(b, []byte("3dc2a0efbf7bdf81")) {
				continue // ko's: its arm64 child is not among the fixtures
			}
			putManifest(t, host, repo, string(sum(b)), kind, b)
		}
	}
}

const (
	debian      = attestor.Digest("sha256:9d0236c3c08c9b96f5f5bee8617108cfad75df5c287a521ab601e1f31c5ca3b2")
	debianIndex = attestor.Digest("sha256:3fd4f369c050394a56e88f5ea034faeacd7be5b613aacdb15294ae80c57f72e3")
)

// Images as the common tools build them, onto one Debian base. Distribution
// does not take manifests without their layers, which are not kept here.
func TestImagesOfRealTools(t *testing.T) {
	host := newRegistry(t, nil)
	pushFixtures(t, host, "all")

	for _, tt := range []struct {
		name   string
		digest attestor.Digest
		level  attestor.Level
		uid    int64
		code   attestor.Code
		hint   string // part of one of the hints
	}{
		{"buildah", "sha256:1190fd97bcbfb6fb0032bee024881306e663991e5273aa847c46698f75f6bb69", attestor.LayersExact,
			65532, "", "base.digest " + string(debian)},
		{"buildah on an index", "sha256:03811d5cbf0e1238d28931b5b2b42098b34630d06a82fd6c94ea7cff0e077656", attestor.LayersExact, 65532, "", "base.digest"},
		{"buildah --layers, whose annotation is wrong",
			"sha256:619bd00e02aa5dc74521f21220bc3c0f2cfbdaba46a197f661e65f915fa9bb29", attestor.LayersExact, 65532,
			"", "is not that of the base that was found"},
		{"buildah --format docker", "sha256:84085026ebb7f6574b0f844d608296ac279790a59d93d78e9f74b6f8c2dc96b2", attestor.LayersExact, 65532, "", ""},
		{"buildah on an image on the base", "sha256:2719b748472a0600dde9e889a2d158dc7e1a00219e4a1c5d8e6b62bd08a78f1e", attestor.LayersExact, 65532, "", ""},
		{"buildah --squash, whose annotation is right",
			"sha256:999695632ed4448ec03f37087952132766c08900eba02b362eb1e81df73fe7b7", "", 65532, "",
			"base.digest " + string(debian)},
		{"buildah FROM scratch, COPY --from the base", "sha256:6fe689ce6c7812d399d49d4263b27acba15ff4181fe76acd6410884d87b3615c", "", 65532, "", ""},
		{"buildah, USER app", "sha256:bc57ec8e7ab599a91988e30daf9b9cbe6444dab41e4ff965bd6fc3c66269a571",
			attestor.LayersExact, -1, attestor.CodeUserNotNumeric, ""},
		{"buildah, no USER", "sha256:cc9947d77cea9607655f4054c32faace789a4e75a09480f4131542cdcde7fbc3", attestor.LayersExact, 0, "", ""},
		{"ko", "sha256:2462b2f6a6af4c549c183f7995a269e55ab8f7656a9386d7694be5e0a7a00e41", attestor.LayersExact, 0, "", "base.name"},
		{"ko, child of an index", "sha256:d8e023f0427f30c3555bd2ff86a578c088fbc6355fb9032c6f319cac83d55f97",
			attestor.LayersExact, 0, "", "base.digest " + string(debian)},
		{"BuildKit, provenance v1", "sha256:1903bf72029e675be874a523063e2779255d1e831f83be752aaca3d5797f0728", attestor.LayersExact, 65532, "", ""},
		{"BuildKit, provenance v0.2", "sha256:fd3e6ceea5470c3e7b9a2e78489e0ea9b840ef6039eb1b5bcf446a80953538be", attestor.LayersExact, 65532, "", ""},
		{"BuildKit on an index", "sha256:9040bfd48ca599b8400ef35bca2957efa36d0f4c8027e43f45f07ee8302ef109", attestor.LayersExact, 65532, "", ""},
		{"BuildKit, two stages", "sha256:6f322924fd212d237c61f624596c8a142b80b72d801a1866ec44a8514cb963cb", attestor.LayersExact, 65532, "", ""},
		{"BuildKit FROM scratch, whose provenance names the base",
			"sha256:fe69b4fb53573c02db693bfe6a046cbeebbadb56bdcec98297eafcff961182cc", "", 65532, "",
			"unsigned provenance 127.0.0.1:5000/base/debian@" + string(debian)},
		{"the base itself", debian, attestor.LayersExact, 0, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			needs := attestor.Needs{Bases: []attestor.ApprovedBase{{Name: "debian", Repository: host + "/all", Digests: []attestor.Digest{debianIndex}}}}
			ev := inspectOne(t, newInspector(t, host, nil), host+"/all@"+string(tt.digest), needs)
			var codes []attestor.Code
			if tt.code != "" {
				codes = append(codes, tt.code)
			}

			wantCodes(t, ev.Problems, codes...)
			if ev.Base.Evidence != tt.level || tt.level != "" && (ev.Base.Layers != 1 || ev.Base.Digest != debian ||
				ev.Base.Reference != host+"/all@"+string(debianIndex)) {
				t.Errorf("base = %+v, want %q", ev.Base, tt.level)
			}
			if value(ev.User.UID) != tt.uid {
				t.Errorf("user = %+v, want uid %d", ev.User, tt.uid)
			}
			if hints := strings.Join(ev.Base.Hints, "\n"); !strings.Contains(hints, tt.hint) {
				t.Errorf("hints = %q, want %q among them", hints, tt.hint)
			}
		})
	}
}

// The same story in both registries: push by a real client, judge by tag.
func TestBothRegistries(t *testing.T) {
	for kind, start := range bothRegistries() {
		t.Run(kind, func(t *testing.T) {
			host := start(t)
			amd, arm := baseImage(t, "amd64", 2), baseImage(t, "arm64", 2)
			push(t, host+"/base:1", index(t, amd, arm))
			push(t, host+"/team/app:1", index(t, onBase(t, amd, 1, "65532:65532"), onBase(t, arm, 2, "1000")))
			r, all := inspectAll(t, newInspector(t, host, nil), host+"/team/app:1", basesOf(host, nil))
			if !r.Index || len(all) != 2 {
				t.Fatalf("resolved %+v", r)
			}

			for _, ev := range all {
				wantCodes(t, ev.Problems)
				if ev.Base.Evidence != attestor.LayersExact || ev.Base.Layers != 2 || !ev.Base.Current || value(ev.User.UID) <= 0 {
					t.Errorf("%s: %+v", ev.Platform, ev)
				}
			}
		})
	}
}
