package summary_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
	"github.com/attestor-gate/attestor/internal/testkit/slow"
	"github.com/attestor-gate/attestor/summary"
)

// TestPolicyController shows why docs/vsa.md says that Sigstore's policy-controller admits nothing by a summary: by a key
// it reads no bundles, and without bundles it finds no attestation. Its answer is no, in both forms, also for a pass.
func TestPolicyController(t *testing.T) {
	slow.Skip(t)
	tester := built(t, "policycontroller", "github.com/sigstore/policy-controller/cmd/tester")
	w := newWorld(t, registries.Kinds()["referrers API"](t, true))
	keys := w.p256()
	w.publish(w.publisher(keys), judged{image: w.image})
	public, err := os.ReadFile(keys.public)
	w.Must(err)

	for format, says := range map[string]string{
		"bundle": "when using the new bundle format, the authority must be keyless", "legacy": "no matching attestations",
	} {
		text, err := json.Marshal(map[string]any{
			"apiVersion": "policy.sigstore.dev/v1beta1", "kind": "ClusterImagePolicy", "metadata": map[string]any{"name": "gate"},
			"spec": map[string]any{
				"images": []any{map[string]any{"glob": "**"}},
				"authorities": []any{map[string]any{
					"name": "gate", "key": map[string]any{"data": string(public)}, "signatureFormat": format,
					"attestations": []any{map[string]any{
						"name": "passed", "predicateType": "https://slsa.dev/verification_summary/v1",
						"policy": map[string]any{"type": "cue", "data": `predicate: verificationResult: "PASSED"`},
					}},
				}},
			},
		})
		w.Must(err)
		path := filepath.Join(t.TempDir(), "policy.yaml")
		w.Must(os.WriteFile(path, text, 0o600))
		ok, out := program{t, tester.path}.run("-policy", path, "-image", w.image.String(), "-log-level", "error")
		if ok || !strings.Contains(out, says) {
			t.Errorf("%s: accepted is %t, want a refusal that says %q\n%s", format, ok, says, out)
		}
	}
}

// TestKyverno has Kyverno, with the policy of docs/vsa, admit a pod whose image passed, and refuse those whose image did
// not.
func TestKyverno(t *testing.T) {
	slow.Skip(t)
	kyverno := built(t, "kyverno", "github.com/kyverno/kyverno/cmd/cli/kubectl-kyverno")
	for kind, handler := range registries.Kinds() {
		t.Run(kind, func(t *testing.T) { judgeByKyverno(newWorld(t, typed{handler(t, true)}), kyverno) })
	}
}

// typed lists referrers with the artifact type of their manifests, as the distribution specification wants it and
// Kyverno needs it. The registry in memory tells the type of the configuration.
type typed struct{ next http.Handler }

func (x typed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	repository, _, list := strings.Cut(r.URL.Path, "/referrers/")
	if !list {
		x.next.ServeHTTP(w, r)
		return
	}
	get := func(path string, v any) error {
		rec := httptest.NewRecorder()
		x.next.ServeHTTP(rec, httptest.NewRequestWithContext(r.Context(), http.MethodGet, path, nil))
		if rec.Code != http.StatusOK {
			return fmt.Errorf("%s: %d", path, rec.Code)
		}
		return json.Unmarshal(rec.Body.Bytes(), v)
	}
	var index v1.IndexManifest
	err := get(r.URL.Path, &index)
	for i, d := range index.Manifests {
		var m v1.Manifest
		err = errors.Join(err, get(repository+"/manifests/"+d.Digest.String(), &m))
		index.Manifests[i].ArtifactType = m.ArtifactType
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", string(types.OCIImageIndex))
	_ = json.NewEncoder(w).Encode(index)
}

func judgeByKyverno(w *world, kyverno program) {
	t := w.t
	keys, refusals := w.p256(), w.p256()
	p := w.publisher(keys, func(c *summary.Config) { c.Refused = refusals.key })
	asks := &attestor.SummaryNeeds{Refusals: true}
	passed := w.publish(p, judged{image: w.image, needs: asks}).Standing[0].Reference

	edited, moved, old, foreign, elsewhere, denied, bare := w.Push(), w.Push(), w.Push(), w.Push(), w.Push(), w.Push(), w.Push()
	w.attachEdited(p, edited, w.publish(p, judged{image: edited, needs: asks}).Standing[0].Reference)
	w.refer(moved, w.bundleOf(passed, nil))
	w.advance(-50 * time.Hour)
	w.publish(p, judged{image: old, needs: asks})
	w.advance(50 * time.Hour)
	w.publish(w.publisher(keys, func(c *summary.Config) { c.Verifier = "https://other.example/gate" }), judged{image: foreign})
	w.publishElsewhere(p, elsewhere)
	both := w.Push()
	w.publish(p, judged{image: both, needs: asks})
	w.publish(w.publisher(keys, func(c *summary.Config) { c.Verifier = "https://other.example/gate" }), judged{image: both})
	r, err := attestor.AuthorizeRefusal("d", w.verdict(judged{image: denied, status: attestor.StatusDeny, needs: asks}))
	w.Must(err)
	_, err = p.Refuse(t.Context(), r)
	w.Must(err)

	for name, tt := range map[string]struct {
		key   string
		image attestor.Image
		want  bool
	}{
		"the pass": {keys.public, w.image, true}, "another key": {w.p256().public, w.image, false},
		"edited": {keys.public, edited, false}, "of another digest": {keys.public, moved, false}, "too old": {keys.public, old, false},
		"another verifier": {keys.public, foreign, false}, "another repository": {keys.public, elsewhere, false},
		"refused, by the key of passes": {keys.public, denied, false}, "refused, by its own key": {refusals.public, denied, false},
		"nothing attached": {keys.public, bare, false}, "beside another verifier's": {keys.public, both, false},
	} {
		ok, out := kyverno.run(w.documented("kyverno", map[string]string{
			"kyverno.yaml": w.kyvernoPolicy(tt.key), "pod.yaml": w.pod(tt.image),
		})...)
		if ok != tt.want || !strings.Contains(out, "pass: ") {
			t.Errorf("%s: admitted is %t, want %t\n%s", name, ok, tt.want, out)
		}
	}
}

// kyvernoPolicy is that of docs/vsa for the world's repository and a key.
func (w *world) kyvernoPolicy(key string) string {
	w.t.Helper()
	path := w.consumerPolicy("kyverno.yaml")
	text, err := os.ReadFile(path)
	w.Must(err)
	public, err := os.ReadFile(key)
	w.Must(err)
	const shown = "-----BEGIN PUBLIC KEY-----\n                          …\n                          -----END PUBLIC KEY-----"
	own := strings.ReplaceAll(strings.TrimSpace(string(public)), "\n", "\n                          ")
	filled := strings.Replace(string(text), shown, own, 1)
	if filled == string(text) {
		w.t.Fatal("docs/vsa/kyverno.yaml has no place for a key")
	}
	w.Must(os.WriteFile(path, []byte(filled), 0o600))
	return path
}

// pod writes one that runs an image.
func (w *world) pod(img attestor.Image) string {
	w.t.Helper()
	text, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "api", "namespace": "default"},
		"spec": map[string]any{"containers": []any{map[string]any{"name": "api", "image": img.String()}}},
	})
	w.Must(err)
	path := filepath.Join(w.t.TempDir(), "pod.yaml")
	w.Must(os.WriteFile(path, text, 0o600))
	return path
}
