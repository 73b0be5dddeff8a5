package deploy_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
	"github.com/attestor-gate/attestor/internal/testkit/slow"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

// workshop builds images with buildah on storage of its own.
type workshop struct {
	bin, dir string
}

func newWorkshop(t *testing.T) workshop {
	t.Helper()
	bin := part(t, "buildah", "")
	if os.Geteuid() != 0 {
		if os.Getenv("GATE_REQUIRE_PARTS") == "1" {
			t.Fatal("buildah is run as root here; its rootless mode needs a user namespace")
		}
		t.Skip("buildah is run as root here; its rootless mode needs a user namespace")
	}

	return workshop{bin: bin, dir: t.TempDir()}
}

func (w workshop) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), w.bin, append([]string{"--storage-driver", "vfs", "--root",
		filepath.Join(w.dir, "root"), "--runroot", filepath.Join(w.dir, "run")}, args...)...)
	cmd.Dir = w.dir
	cmd.Env = append(os.Environ(), "HOME="+w.dir, "TMPDIR="+w.dir)
	return cmd
}

func (w workshop) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := w.command(t, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("buildah %q: %v\n%s", args, err, out)
	}

	return strings.TrimSpace(string(out))
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}

	return strings.TrimSpace(string(out))
}

// builder is an image with nothing of its own: this machine's programs, Go
// among them, and its module and build caches are mounted while it builds.
func (w workshop) builder(t *testing.T) (mounts []string) {
	t.Helper()
	root := filepath.Join(w.dir, "rootfs")

	for _, dir := range []string{"usr", "etc/ssl", "tmp", "root", "cache/build", "cache/mod", "proc", "dev", "sys"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}

	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+dir, filepath.Join(root, dir)); err != nil {
			t.Fatal(err)
		}
	}

	if err := os.WriteFile(filepath.Join(root, "etc/passwd"), []byte("root:x:0:0:root:/root:/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	goroot := goEnv(t, "GOROOT")
	file := fmt.Sprintf("FROM scratch\nCOPY rootfs /\nENV PATH=%s/bin:/usr/bin:/bin GOCACHE=/cache/build "+
		"GOMODCACHE=/cache/mod GOTOOLCHAIN=local GOPROXY=%s HOME=/root\n", goroot, goEnv(t, "GOPROXY"))
	if err := os.WriteFile(filepath.Join(w.dir, "Builder"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}

	w.run(t, "bud", "--isolation", "chroot", "-t", "localhost/builder", "-f", "Builder", ".")
	mounts = []string{"-v", "/usr:/usr:ro", "-v", "/etc/ssl:/etc/ssl:ro", "-v", goEnv(t, "GOCACHE") + ":/cache/build",
		"-v", goEnv(t, "GOMODCACHE") + ":/cache/mod"}
	if !strings.HasPrefix(goroot, "/usr/") {
		mounts = append(mounts, "-v", goroot+":"+goroot+":ro")
	}

	return mounts
}

// base stands for distroless: certificates would be its only files that matter.
func (w workshop) base(t *testing.T, to string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(w.dir, "base", "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, "base", "etc", "passwd"),
		[]byte("root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, "Base"), []byte("FROM scratch\nCOPY base /\nUSER 65532\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	w.run(t, "bud", "--isolation", "chroot", "--timestamp", "1600000000", "-t", to, "-f", "Base", ".")
	w.run(t, "push", "--tls-verify=false", to, "docker://"+to)
	return to[:strings.LastIndex(to, ":")] + "@" + image(t, to).Digest.String()
}

// sources copies what git has, so that two builds have nothing but it in common.
func sources(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "-C", "..", "ls-files", "-z", "--", ".", ":!deploy", ":!docs", ":!**/testdata/**").Output()
	if err != nil {
		t.Fatal(err)
	}

	dir := t.TempDir()
	for file := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		text, err := os.ReadFile(filepath.Join("..", file))
		if os.IsNotExist(err) {
			continue // removed, and not committed yet
		}

		to := filepath.Join(dir, file)
		if err := errors.Join(err, os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, text, 0o600)); err != nil {
			t.Fatal(err)
		}
	}

	return dir
}

// twoPlaces are two copies of one state of the sources, whatever happens to
// those meanwhile.
func twoPlaces(t *testing.T) map[string]string {
	t.Helper()
	once, again := sources(t), t.TempDir()
	if err := os.CopyFS(again, os.DirFS(once)); err != nil {
		t.Fatal(err)
	}

	return map[string]string{"once": once, "again": again}
}

type built struct {
	Digest v1.Hash
	v1.Image
}

func image(t *testing.T, reference string) built {
	t.Helper()
	ref, err := name.ParseReference(reference, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}

	img, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}

	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}

	return built{digest, img}
}

// TestImage builds the Dockerfile twice, from two places, on a base of this
// machine; has the gate judge the result by our strictest policy and attest to
// it; and runs it.
func TestImage(t *testing.T) {
	slow.Skip(t)
	host := registries.Serve(t, registries.Memory(false))
	var digests []v1.Hash
	var w workshop
	var base string

	for tag, from := range twoPlaces(t) {
		w = newWorkshop(t)
		base = w.base(t, host+"/base/static:1")
		mounts, to := w.builder(t), host+"/gate/attestor:"+tag
		start := time.Now()
		w.run(t, append(append([]string{"bud", "--isolation", "chroot", "--tls-verify=false", "--format", "oci",
			"--identity-label=false", "--timestamp", "1700000000"}, mounts...),
			"--build-arg", "BUILDER=localhost/builder", "--build-arg", "BASE="+base, "--build-arg",
			"VERSION=v0.0.0-test", "--build-arg", "COMMIT=0123456789ab", "-t", to, from)...)

		w.run(t, "push", "--tls-verify=false", to, "docker://"+to)
		digests = append(digests, image(t, to).Digest)
		t.Logf("built in %s", time.Since(start).Round(time.Second))
	}

	if digests[0] != digests[1] {
		t.Errorf("two builds of the same sources are %s and %s", digests[0], digests[1])
	}

	ref := host + "/gate/attestor@" + digests[0].String()
	checkImage(t, image(t, ref), base)
	judgeImage(t, host, ref, base)
	runImage(t, w, ref)
	emulatorImage(t, w, host, ref)
}

// checkConfig: who runs what, and where it is from.
func checkConfig(t *testing.T, img built, base string) {
	t.Helper()
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}

	if config.Config.User != "65532:65532" || !slices.Equal(config.Config.Entrypoint, []string{"/attestor"}) || len(config.Config.ExposedPorts) != 0 {
		t.Errorf("user %q, entry point %q, ports %v", config.Config.User, config.Config.Entrypoint, config.Config.ExposedPorts)
	}
	if l := config.Config.Labels; l["org.opencontainers.image.version"] != "v0.0.0-test" ||
		l["org.opencontainers.image.revision"] != "0123456789ab" ||
		l["org.opencontainers.image.licenses"] != "Apache-2.0" || l["org.opencontainers.image.base.name"] != base {
		t.Errorf("labels %v", l)
	}
}

func checkImage(t *testing.T, img built, base string) {
	t.Helper()
	checkConfig(t, img, base)
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}

	if a := manifest.Annotations; a["org.opencontainers.image.base.digest"] == "" || !strings.HasSuffix(base,
		a["org.opencontainers.image.base.digest"]) || a["org.opencontainers.image.base.name"] != base {
		t.Errorf("annotations %v", a)
	}
	if len(manifest.Layers) != 2 {
		t.Errorf("%d layers, want the base's and the program's", len(manifest.Layers))
	}

	var size int64
	for _, l := range manifest.Layers {
		size += l.Size
	}

	t.Logf("image %.1f MB compressed", float64(size)/1e6)
	if size > 40e6 {
		t.Errorf("the image has %d bytes", size)
	}
}

// strictest is deploy/policies/hipaa.yaml about the gate's own image. What
// only Google can give is left out: provenance, the day of the upload, and the
// signature of a base by Cloud KMS.
func strictest(t *testing.T, host, base string) string {
	t.Helper()
	text := string(read(t, "policies/hipaa.yaml"))

	for _, r := range [][2]string{
		{`["us-docker.pkg.dev/acme/phi/**"]`, `["` + host + `/gate/**"]`},
		{"  scope: {maxUploadAge: 30d}\n", ""},
		{"repository: us-docker.pkg.dev/acme/base/hardened", "repository: " + strings.Split(base, "@")[0]},
		{`["sha256:` + strings.Repeat("0", 64) + `"] # replace by the digests that you reviewed`, `["` + strings.Split(base, "@")[1] + `"]`},
		{"        signedBy: {key: gcpkms://projects/acme-security/locations/us/keyRings/bases/cryptoKeys/release/versions/1}\n", ""},
		{"  provenance:\n    slsaLevel: 3\n    builders: [\"https://cloudbuild.googleapis.com/GoogleHostedWorker\"]\n" +
			"    sources: [\"https://github.com/acme/*\"]\n", ""},
		{"    - name: data-classification\n      expression: 'image.labels[?\"data-classification\"].orValue(\"\") " +
			"== \"phi\"'\n      message: the image is not labelled data-classification=phi\n" +
			"      fix: \"add to the Dockerfile: LABEL data-classification=phi\"\n", ""},
		{"projects/acme-security/attestors/gate-phi", "projects/acme/attestors/gate"},
	} {
		if !strings.Contains(text, r[0]) {
			t.Fatalf("hipaa.yaml lacks %q", r[0])
		}
		text = strings.Replace(text, r[0], r[1], 1)
	}
	return text
}

const signingKey = "projects/acme/locations/us-east1/keyRings/gate/cryptoKeys/gate/cryptoKeyVersions/1"

// google is an emulator with an attestor, its key, and a clean scan of an image.
func google(t *testing.T, ref string) string {
	t.Helper()
	em := standin.StartServices(t, emulator.Options{})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	if err := em.SeedKey(signingKey, kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256, key); err != nil {
		t.Fatal(err)
	}

	scan := fmt.Sprintf(`{"notes": [{"name": "projects/acme/notes/gate", "kind": "ATTESTATION", "attestation": {"hint": {"humanReadableName": "gate"}}}],
		"occurrences": [{"name": "projects/acme/occurrences/1", "kind": "DISCOVERY",
			"noteName": "projects/goog-analysis/notes/PACKAGE_VULNERABILITY", "resourceUri": "https://%s",
		"discovery": {"analysisStatus": "FINISHED_SUCCESS", "continuousAnalysis": "ACTIVE", "lastScanTime": %q}}]}`,
		ref, time.Now().UTC().Format(time.RFC3339Nano))

	if _, err := em.Load(strings.NewReader(scan)); err != nil {
		t.Fatal(err)
	}

	_, err = em.Binauthz.CreateAttestor(t.Context(), &binaryauthorizationpb.CreateAttestorRequest{
		Parent: "projects/acme", AttestorId: "gate",
		Attestor: &binaryauthorizationpb.Attestor{AttestorType: &binaryauthorizationpb.Attestor_UserOwnedGrafeasNote{
			UserOwnedGrafeasNote: &binaryauthorizationpb.UserOwnedGrafeasNote{
				NoteReference: "projects/acme/notes/gate",
				PublicKeys: []*binaryauthorizationpb.AttestorPublicKey{{
					Id: "//cloudkms.googleapis.com/v1/" + signingKey,
					PublicKey: &binaryauthorizationpb.AttestorPublicKey_PkixPublicKey{PkixPublicKey: &binaryauthorizationpb.PkixPublicKey{
						PublicKeyPem:       string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
						SignatureAlgorithm: binaryauthorizationpb.PkixPublicKey_ECDSA_P256_SHA256,
					}},
				}},
			}}},
	})

	if err != nil {
		t.Fatal(err)
	}

	return standin.Serve(t, em.Emulator)
}

// judgeImage has the gate's own image judged, and attested, by the gate.
func judgeImage(t *testing.T, host, ref, base string) {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(dir, "attestor")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", bin, "../cmd/attestor").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	at := google(t, ref)
	policy := func(text string) {
		if err := os.WriteFile(filepath.Join(dir, "policy.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	config := fmt.Sprintf("policies: [policy.yaml]\nattestors: [{name: projects/acme/attestors/gate, kms: %s}]\n"+
		"registries: {allowed: [%q]}\nscanProjects: {%q: acme}\nstore: {none: true}\n", signingKey, host, host)
	if err := os.WriteFile(filepath.Join(dir, "attestor.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}

	gate := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), bin, append(args, "--config", filepath.Join(dir, "attestor.yaml"), ref)...)
		cmd.Env = append(os.Environ(), standin.Environment(at)...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}

	strict := strictest(t, host, base)
	policy(strict)

	for _, command := range []string{"check", "attest"} {
		if out, err := gate(command); err != nil {
			t.Errorf("%s of our own image: %v\n%s", command, err, out)
		}
	}

	// Of another base it would not pass: this would prove nothing otherwise.
	policy(strings.Replace(strict, strings.Split(base, "@")[1], "sha256:"+strings.Repeat("0", 64), 1))
	if out, err := gate("check"); err == nil || !strings.Contains(out, "BASE_") {
		t.Errorf("on a base that nobody approved: %v\n%s", err, out)
	}
}

// runImage starts the image as Cloud Run would: as its user, with its files mounted.
func runImage(t *testing.T, w workshop, ref string) {
	t.Helper()
	container := w.run(t, "from", "--tls-verify=false", ref)
	if i := strings.LastIndex(container, "\n"); i >= 0 {
		container = container[i+1:]
	}
	if out := w.run(t, "run", "--isolation", "chroot", container, "--", "/attestor",
		"version"); !strings.Contains(out, "v0.0.0-test") || !strings.Contains(out, "0123456789ab") {
		t.Errorf("version: %s", out)
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	listen := l.Addr().String()
	_ = l.Close()
	dir, at := t.TempDir(), google(t, ref)

	for file, text := range map[string]string{
		"attestor.yaml": fmt.Sprintf("listen: %s\npolicies: [/etc/attestor/policy.yaml]\n"+
			"attestors: [{name: projects/acme/attestors/gate, kms: %s}]\n"+
			"registries: {allowed: [us-docker.pkg.dev]}\nstore: {none: true}\n", listen, signingKey),
		"policy.yaml": strings.Replace(string(read(t, "policies/starter.yaml")), "acme-keys", "acme", 1),
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil { //nolint:gosec // the container's user reads them
			t.Fatal(err)
		}
	}

	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // likewise
		t.Fatal(err)
	}

	cmd := w.command(t, "run", "--isolation", "chroot", "-v", dir+":/etc/attestor:ro", "--env",
		"CONTAINERANALYSIS_EMULATOR_HOST="+at, "--env", "CLOUD_KMS_EMULATOR_HOST="+at,
		"--env", "BINARYAUTHORIZATION_EMULATOR_HOST="+at, container, "--", "/attestor", "serve", "--config", "/etc/attestor/attestor.yaml")

	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}

	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Signal(os.Interrupt); <-ended })
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	deadline := time.After(time.Minute)

	for {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the image ended: %v\n%s", err, out.String())
		case <-deadline:
			t.Fatalf("the image does not answer\n%s", out.String())
		case <-poll.C:
		}

		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+listen+"/health", nil)
		if err != nil {
			t.Fatal(err)
		}

		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			continue
		}

		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("/health: %s", resp.Status)
		}

		t.Logf("answers %s after buildah run", time.Since(start).Round(time.Millisecond))
		return
	}
}
