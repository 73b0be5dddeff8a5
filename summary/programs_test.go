package summary_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
	"github.com/attestor-gate/attestor/internal/testkit/slow"
	"github.com/attestor-gate/attestor/internal/testkit/toolbuild"
	"github.com/attestor-gate/attestor/summary"
)

// trustedRoot is one without anything. cosign 2 wants a file, though a key needs none.
const trustedRoot = `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`

// A program is one that nobody here wrote.
type program struct {
	t    *testing.T
	path string
}

func built(t *testing.T, module, pkg string) program {
	t.Helper()
	path, err := toolbuild.Build(t.Context(), module, pkg)
	if err != nil {
		t.Fatal(err)
	}
	return program{t, path}
}

// run reports whether the program ended with 0, and what it said.
func (p program) run(args ...string) (bool, string) {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), p.path, args...)
	cmd.Env = append(os.Environ(), "HOME="+p.t.TempDir())
	out, err := cmd.CombinedOutput()
	return err == nil, string(out)
}

// consumerPolicy is one of docs/vsa for the world's repository.
func (w *world) consumerPolicy(file string) string {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "docs", "vsa", file))
	w.Must(err)
	text := strings.ReplaceAll(string(b), "us-docker.pkg.dev/acme/prod/api", w.image.Repository())
	text = strings.ReplaceAll(text, "2026-11-01T00:00:00Z", time.Now().UTC().Add(-48*time.Hour).Format(time.RFC3339))
	path := filepath.Join(w.t.TempDir(), file)
	w.Must(os.WriteFile(path, []byte(text), 0o600))
	return path
}

// documented are the arguments of the program's command in docs/vsa.md, with what a reader fills in.
func (w *world) documented(program string, filled map[string]string) []string {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "docs", "vsa.md"))
	w.Must(err)
	text := strings.ReplaceAll(string(b), "\\\n", " ")
	for line := range strings.Lines(text) {
		args := strings.Fields(line)
		if len(args) < 2 || args[0] != program {
			continue
		}
		for i, a := range args {
			if value, ok := filled[a]; ok {
				args[i] = value
			}
		}
		return args[1:]
	}
	w.t.Fatalf("docs/vsa.md has no command of %s", program)
	return nil
}

// TestCosign has cosign 2 and 3, with the consumers' policies of the documentation, accept a pass, and refuse what is
// none.
func TestCosign(t *testing.T) {
	slow.Skip(t)
	for _, version := range []string{"2", "3"} {
		for kind, handler := range registries.Kinds() {
			t.Run("v"+version+"/"+kind, func(t *testing.T) {
				cosign := built(t, "cosign"+version, "github.com/sigstore/cosign/v"+version+"/cmd/cosign")
				judgeByCosign(newWorld(t, handler(t, true)), "v"+version, cosign)
			})
		}
	}
}

func judgeByCosign(w *world, version string, cosign program) {
	t := w.t
	root := filepath.Join(t.TempDir(), "root.json")
	w.Must(os.WriteFile(root, []byte(trustedRoot), 0o600))
	verify := func(key, policy string, img attestor.Image) (bool, string) {
		args := append(w.documented("cosign", map[string]string{
			"gate.pub": key, "policy.rego": policy, "us-docker.pkg.dev/acme/prod/api@sha256:…": img.String(),
		}), "--allow-http-registry")
		if version == "v2" {
			args = append(args, "--trusted-root", root)
		}
		return cosign.run(args...)
	}

	keys, refusals := w.p256(), w.p256()
	p := w.publisher(keys, func(c *summary.Config) { c.Refused = refusals.key })
	asks := &attestor.SummaryNeeds{Refusals: true}
	w.publish(p, judged{image: w.image, needs: asks})
	policies := []string{w.consumerPolicy("policy.cue"), w.consumerPolicy("policy.rego")}
	for _, policy := range policies {
		if ok, out := verify(keys.public, policy, w.image); !ok {
			t.Errorf("%s refused the pass by %s:\n%s", version, policy, out)
		}
	}

	// A bundle whose payload was edited, attached as the first was.
	edited := w.Push()
	w.attachEdited(p, edited, w.publish(p, judged{image: edited, needs: asks}).Standing[0].Reference)

	// The bundle of the pass, attached to another image by whoever may push.
	moved := w.Push()
	w.refer(moved, w.bundleOf(w.publish(p, judged{image: w.image, needs: asks}).Standing[0].Reference, nil))

	// One that is too old, one by another verifier, one of another repository, a refusal, and none.
	old, foreign, elsewhere, denied, bare := w.Push(), w.Push(), w.Push(), w.Push(), w.Push()
	w.advance(-50 * time.Hour)
	w.publish(p, judged{image: old, needs: asks})
	w.advance(50 * time.Hour)
	w.publish(w.publisher(keys, func(c *summary.Config) { c.Verifier = "https://other.example/gate" }), judged{image: foreign})
	w.publishElsewhere(p, elsewhere)
	r, err := attestor.AuthorizeRefusal("d", w.verdict(judged{image: denied, status: attestor.StatusDeny, needs: asks}))
	w.Must(err)
	_, err = p.Refuse(t.Context(), r)
	w.Must(err)

	for name, tt := range map[string]struct {
		key   string
		image attestor.Image
	}{
		"another key": {w.p256().public, w.image}, "edited": {keys.public, edited}, "of another digest": {keys.public, moved}, "too old": {keys.public, old},
		"another verifier": {keys.public, foreign}, "another repository": {keys.public, elsewhere},
		"refused, by the key of passes": {keys.public, denied}, "refused, by its own key": {refusals.public, denied},
		"nothing attached": {keys.public, bare},
	} {
		for _, policy := range policies {
			if ok, out := verify(tt.key, policy, tt.image); ok {
				t.Errorf("%s accepted by %s: %s\n%s", version, filepath.Base(policy), name, out)
			}
		}
	}
}

// attachEdited replaces a summary by one whose payload says another level.
func (w *world) attachEdited(p *summary.Publisher, img attestor.Image, ref string) {
	w.t.Helper()
	edited := w.bundleOf(ref, w.edit)
	gone, _, err := p.Revoke(w.t.Context(), []attestor.Image{img}, []attestor.SummaryNeeds{{}})
	if err != nil || len(gone) != 1 {
		w.t.Fatalf("the true one is not gone: %+v, %v", gone, err)
	}
	w.refer(img, edited)
}

// bundleOf is the bundle of a referrer, with its envelope changed.
func (w *world) bundleOf(ref string, change func(envelope map[string]any)) map[string]any {
	w.t.Helper()
	d, err := name.NewDigest(ref)
	w.Must(err)
	b := w.bundle(d)
	var env map[string]any
	w.Must(json.Unmarshal(b.DSSE, &env))
	if change != nil {
		change(env)
	}
	return map[string]any{
		"mediaType": b.MediaType, "dsseEnvelope": env,
		"verificationMaterial": map[string]any{"publicKey": map[string]string{"hint": b.VerificationMaterial.PublicKey.Hint}},
	}
}

// edit lets the payload of an envelope say another level than was signed.
func (w *world) edit(envelope map[string]any) {
	w.t.Helper()
	text, _ := envelope["payload"].(string)
	payload, err := base64.StdEncoding.DecodeString(text)
	w.Must(err)
	changed := bytes.Replace(payload, []byte("SLSA_BUILD_LEVEL_UNEVALUATED"), []byte("SLSA_BUILD_LEVEL_3"), 1)
	changed = bytes.Replace(changed, []byte("SLSA_BUILD_LEVEL_2"), []byte("SLSA_BUILD_LEVEL_3"), 1)
	if bytes.Equal(changed, payload) {
		w.t.Fatal("nothing was edited")
	}
	envelope["payload"] = changed
}

// publishElsewhere publishes a pass of the same digest in another repository, and attaches it here.
func (w *world) publishElsewhere(p *summary.Publisher, img attestor.Image) {
	w.t.Helper()
	other, err := name.NewRepository(strings.Replace(w.Repo.Name(), "/acme/api", "/acme/test", 1))
	w.Must(err)
	content, err := remote.Image(w.Repo.Digest(string(img.Digest())))
	w.Must(err)
	w.Must(remote.Write(other.Digest(string(img.Digest())), content))
	there, err := attestor.ParseImage(other.Name() + "@" + string(img.Digest()))
	w.Must(err)
	made := w.publish(p, judged{image: there, needs: &attestor.SummaryNeeds{Repository: w.image.Repository()}})
	if !strings.HasPrefix(made.Standing[0].Reference, w.image.Repository()+"@") {
		w.t.Fatalf("stored at %s, want %s", made.Standing[0].Reference, w.image.Repository())
	}
}

// refer attaches a bundle by hand.
func (w *world) refer(img attestor.Image, bundle any) {
	w.t.Helper()
	b, err := json.Marshal(bundle)
	w.Must(err)
	subject, err := remote.Head(w.Repo.Digest(string(img.Digest())))
	w.Must(err)
	m, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mutate.Addendum{
		Layer: static.NewLayer(b, "application/vnd.dev.sigstore.bundle.v0.3+json"),
	})
	w.Must(err)
	m = mutate.ConfigMediaType(m, "application/vnd.dev.sigstore.bundle.v0.3+json")
	with, ok := mutate.Subject(m, *subject).(interface{ remote.Taggable })
	if !ok {
		w.t.Fatal("not an image")
	}
	raw, err := with.RawManifest()
	w.Must(err)
	config, err := m.RawConfigFile()
	w.Must(err)
	w.Must(remote.WriteLayer(w.Repo, static.NewLayer(config, "application/json")))
	w.Must(remote.WriteLayer(w.Repo, static.NewLayer(b, "application/json")))
	w.Must(remote.Put(w.Repo.Digest(string(attestor.DigestOf(raw))), with))
}

// TestSLSAVerifier has slsa-verifier accept a pass, and refuse everything else.
func TestSLSAVerifier(t *testing.T) {
	slow.Skip(t)
	tool := built(t, "slsaverifier", "github.com/slsa-framework/slsa-verifier/v2/cli/slsa-verifier")
	w := newWorld(t, registries.Kinds()["referrers API"](t, true))
	keys, refusals := w.p256(), w.p256()
	p := w.publisher(keys, func(c *summary.Config) { c.Refused = refusals.key })
	asks := &attestor.SummaryNeeds{Refusals: true}
	reference := w.publish(p, judged{image: w.image, level: 2, needs: asks}).Standing[0].Reference
	good, edited := w.envelope(reference), filepath.Join(t.TempDir(), "edited.json")
	text, err := json.Marshal(w.bundleOf(reference, w.edit)["dsseEnvelope"])
	w.Must(err)
	w.Must(os.WriteFile(edited, text, 0o600))

	denied := w.Push()
	r, err := attestor.AuthorizeRefusal("d", w.verdict(judged{image: denied, status: attestor.StatusDeny, needs: asks}))
	w.Must(err)
	refused, err := p.Refuse(t.Context(), r)
	w.Must(err)
	bad := w.envelope(refused.Standing[0].Reference)

	type asked struct {
		envelope, key, digest, verifier, resource, level string
	}
	fits := asked{good, keys.public, string(w.image.Digest()), verifierID, "oci://" + w.image.Repository(), "SLSA_BUILD_LEVEL_2"}
	but := func(change func(*asked)) asked { a := fits; change(&a); return a }
	for name, tt := range map[string]struct {
		asked
		want bool
	}{
		"the pass":            {fits, true},
		"a lower level":       {but(func(a *asked) { a.level = "SLSA_BUILD_LEVEL_1" }), true},
		"a higher level":      {but(func(a *asked) { a.level = "SLSA_BUILD_LEVEL_3" }), false},
		"edited":              {but(func(a *asked) { a.envelope, a.level = edited, "SLSA_BUILD_LEVEL_3" }), false},
		"edited otherwise":    {but(func(a *asked) { a.envelope = edited }), false},
		"another digest":      {but(func(a *asked) { a.digest = string(denied.Digest()) }), false},
		"another key":         {but(func(a *asked) { a.key = refusals.public }), false},
		"another verifier":    {but(func(a *asked) { a.verifier = "https://other.example/gate" }), false},
		"another resourceUri": {but(func(a *asked) { a.resource = "oci://elsewhere.example/acme/api" }), false},
		"a refusal": {but(func(a *asked) {
			a.envelope, a.key, a.digest = bad, refusals.public, string(denied.Digest())
		}), false},
	} {
		ok, out := program{t, tool.path}.run(w.documented("slsa-verifier", map[string]string{
			"sha256:…": tt.digest, "vsa.dsse.json": tt.envelope, "gate.pub": tt.key, verifierID: tt.verifier,
			"oci://us-docker.pkg.dev/acme/prod/api": tt.resource, "SLSA_BUILD_LEVEL_2": tt.level,
		})...)
		if ok != tt.want {
			t.Errorf("%s: accepted is %t, want %t\n%s", name, ok, tt.want, out)
		}
	}
}
