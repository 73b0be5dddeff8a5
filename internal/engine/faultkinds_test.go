package engine_test

import (
	stdcmp "cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/samples"
)

// A faultKind is a sort of image, and what the gate makes of it when nothing
// goes wrong.
type faultKind struct {
	name    string
	base    string // the policy's; "" is one approved base, by its layers
	user    string // the policy's; "" is nonRoot
	more    string // further lines of the policy
	config  func(w *world, c *config.Config)
	prepare func(w *world) faultSubject
	again   func(w *world, image string) // judged once before, then this happens
	want    attestor.Outcome
}

// A faultSubject is what is judged.
type faultSubject struct {
	image   string   // as it is asked about
	attests []string // what a pass attests to, by digest
}

func subject(image string) faultSubject { return faultSubject{image: image, attests: []string{image}} }

// policy is the kind's, in a world.
func (k faultKind) policy(w *world) string {
	text := fmt.Sprintf(`apiVersion: attestor/v1
kind: GatePolicy
metadata: {name: faults}
spec:
  mode: enforce
  images: ["127.0.0.1:5000/app/**"]
  base: %s
  user: %s
  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH}
  attestors: [projects/dev/attestors/gate]
%s`, stdcmp.Or(k.base, `{required: true, evidence: layers-exact, approved: [{name: debian, `+
		`repository: "127.0.0.1:5000/base/debian", tags: ["12"]}]}`), stdcmp.Or(k.user, "{nonRoot: true}"), k.more)
	return strings.ReplaceAll(text, "BASEKEY", filepath.Join(w.dir, "base.pub"))
}

// faultKinds are the kinds of image that go different ways through the gate.
func faultKinds() []faultKind {
	return []faultKind{
		{name: "by digest", prepare: (*world).plainImage, want: attestor.Pass},
		{name: "by tag", prepare: func(w *world) faultSubject {
			s := w.plainImage()
			return faultSubject{image: w.registry.Addr() + "/app/plain:v1", attests: s.attests}
		}, want: attestor.Pass},
		{name: "three platforms", prepare: (*world).threePlatforms, want: attestor.Pass},
		{name: "two signatures", more: "  attest: {children: true, dsse: true}\n", prepare: (*world).plainImage, want: attestor.Pass},
		{name: "signed base", base: `{required: true, evidence: layers-exact, approved: [{name: debian, ` +
			`repository: "127.0.0.1:5000/base/debian", tags: ["12"], signedBy: {key: BASEKEY}}]}`,
			prepare: (*world).signedBase, want: attestor.Pass},
		{name: "user by name", user: "{nonRoot: true, names: resolve}", prepare: func(w *world) faultSubject {
			w.push("base/debian", "12", baseImage(w.tb))
			return w.scanned("app/named", imageOn(w.tb, baseImage(w.tb), "nonroot", entry{"app", "named"}))
		}, want: attestor.Pass},
		{name: "base by its content", base: `{required: true, evidence: diffids-verified, ` +
			`approved: [{name: debian, repository: "127.0.0.1:5000/base/debian", tags: ["12"]}]}`,
			prepare: (*world).repacked, want: attestor.Pass},
		{name: "base by provenance", base: `{required: true, evidence: attested, approved: [{name: debian, ` +
			`repository: "127.0.0.1:5000/base/debian", tags: ["12"]}]}`,
			more:   "  provenance: {builders: [\"https://cloudbuild.googleapis.com/GoogleHostedWorker\"]}\n",
			config: (*world).trustBuilder, prepare: (*world).squashed, want: attestor.Pass},
		{name: "judged again", prepare: (*world).plainImage, again: func(*world, string) {}, want: attestor.Pass},
		{name: "denied since", prepare: (*world).plainImage, again: (*world).finding, want: attestor.Deny},
		{name: "root", prepare: func(w *world) faultSubject {
			w.push("base/debian", "12", baseImage(w.tb))
			return w.scanned("app/root", imageOn(w.tb, baseImage(w.tb), "", entry{"app", "root"}))
		}, want: attestor.Deny},
		{name: "critical", prepare: func(w *world) faultSubject {
			s := w.plainImage()
			w.finding(s.image)
			return s
		}, want: attestor.Deny},
		{name: "not scanned", prepare: func(w *world) faultSubject {
			w.push("base/debian", "12", baseImage(w.tb))
			return subject(w.push("app/new", "v1", imageOn(w.tb, baseImage(w.tb), "65532:65532", entry{"app", "new"})))
		}, want: attestor.Undecided},
	}
}

// scanned pushes an image that the scanner finds nothing in.
func (w *world) scanned(repository string, img v1.Image) faultSubject {
	w.tb.Helper()
	ref := w.push(repository, "v1", img)
	w.scan(ref, samples.Clean)
	return subject(ref)
}

func (w *world) plainImage() faultSubject {
	w.tb.Helper()
	base := baseImage(w.tb)
	w.push("base/debian", "12", base)
	return w.scanned("app/plain", imageOn(w.tb, base, "65532:65532", entry{"app", "plain"}))
}

// threePlatforms is an index on an index.
func (w *world) threePlatforms() faultSubject {
	w.tb.Helper()
	var bases, apps []v1.Image

	for _, p := range []v1.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"},
		{OS: "linux", Architecture: "arm", Variant: "v7"}} {
		on := func(img v1.Image) v1.Image {
			return configured(w.tb, img, func(c *v1.ConfigFile) { c.Architecture, c.Variant = p.Architecture, p.Variant })
		}

		base := on(imageOn(w.tb, empty.Image, "0", entry{"etc/arch", p.String()}))
		bases = append(bases, base)
		apps = append(apps, on(imageOn(w.tb, base, "65532:65532", entry{"app", "for " + p.String()})))
	}

	w.push("base/debian", "12", indexOf(w.tb, bases...))
	s := subject(w.push("app/three", "v1", indexOf(w.tb, apps...)))

	for _, app := range apps {
		digest, err := app.Digest()
		w.ok(err)
		child := w.registry.Addr() + "/app/three@" + digest.String()
		w.scan(child, samples.Clean)
		s.attests = append(s.attests, child)
	}
	return s
}

// repacked carries the base's layers compressed: other digests, the same
// content.
func (w *world) repacked() faultSubject {
	w.tb.Helper()
	base := baseImage(w.tb)
	w.push("base/debian", "12", base)
	layers, err := base.Layers()
	w.ok(err)
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)

	for _, l := range layers {
		again, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return l.Uncompressed() }, tarball.WithMediaType(types.OCILayer))
		w.ok(err)
		img, err = mutate.AppendLayers(img, again)
		w.ok(err)
	}
	return w.scanned("app/repacked", imageOn(w.tb, img, "65532:65532", entry{"app", "repacked"}))
}

// signedBase signs what it pushes as cosign does by a key, which it leaves
// where the policy looks.
func (w *world) signedBase() faultSubject {
	w.tb.Helper()
	base := baseImage(w.tb)
	w.push("base/debian", "12", base)
	digest, err := base.Digest()
	w.ok(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.ok(err)
	path := filepath.Join(w.dir, "base.pub")
	w.ok(os.WriteFile(path, publicPEM(w, key), 0o600))
	payload := fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":""},`+
		`"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`,
		digest.String())

	img, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mutate.Addendum{
		Layer:       static.NewLayer(payload, "application/vnd.dev.cosign.simplesigning.v1+json"),
		Annotations: map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(signedBy(w, key, payload))},
	})

	w.ok(err)
	w.push("base/debian", strings.Replace(digest.String(), ":", "-", 1)+".sig", img)
	return w.scanned("app/signed", imageOn(w.tb, base, "65532:65532", entry{"app", "signed"}))
}

const builderKeyID = "projects/verified-builder/locations/global/keyRings/attestor/cryptoKeys/google-hosted-worker/cryptoKeyVersions/1"

// trustBuilder configures a builder's key, which squashed signs with.
func (w *world) trustBuilder(c *config.Config) {
	w.tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.ok(err)
	der, err := x509.MarshalECPrivateKey(key)
	w.ok(err)
	w.ok(os.WriteFile(filepath.Join(w.dir, "builder.key"), der, 0o600))
	public := filepath.Join(w.dir, "builder.pub")
	w.ok(os.WriteFile(public, publicPEM(w, key), 0o600))
	c.BuilderKeys = []config.BuilderKey{{ID: builderKeyID, File: public, Raw: true}}
}

// squashed shares no layer with its base; its provenance says what it was
// built on.
func (w *world) squashed() faultSubject {
	w.tb.Helper()
	base := baseImage(w.tb)
	on, err := base.Digest()
	w.ok(err)
	w.push("base/debian", "12", base)
	s := w.scanned("app/squashed", imageOn(w.tb, empty.Image, "65532:65532", entry{"app", "squashed"}))
	_, digest, _ := strings.Cut(s.image, "@sha256:")
	repository := w.registry.Addr() + "/base/debian"
	statement := fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1",`+
		`"predicateType":"https://slsa.dev/provenance/v1","subject":[{"name":"app","digest":{"sha256":%q}}],`+
		`"predicate":{"buildDefinition":{"resolvedDependencies":[{"uri":%q,"digest":{"sha256":%q}}]},`+
		`"runDetails":{"builder":{"id":"https://cloudbuild.googleapis.com/GoogleHostedWorker"}}}}`,
		digest, "docker-image://"+repository+":12", on.Hex)

	der, err := os.ReadFile(filepath.Join(w.dir, "builder.key"))
	w.ok(err)
	key, err := x509.ParseECPrivateKey(der)
	w.ok(err)
	_, err = w.outside.Grafeas.CreateOccurrence(w.tb.Context(),
		&grafeaspb.CreateOccurrenceRequest{Parent: "projects/dev", Occurrence: &grafeaspb.Occurrence{
			ResourceUri: "https://" + s.image, NoteName: "projects/verified-builder/notes/intoto_slsa_v1_1", Kind: grafeaspb.NoteKind_BUILD,
			Details: &grafeaspb.Occurrence_Build{Build: &grafeaspb.BuildOccurrence{}},
			Envelope: &grafeaspb.Envelope{Payload: statement, PayloadType: "application/vnd.in-toto+json",
				Signatures: []*grafeaspb.EnvelopeSignature{{Keyid: builderKeyID, Sig: signedBy(w, key, statement)}}},
		}})

	w.ok(err)
	return s
}

// finding is what the scanner writes when it learns of a hole.
func (w *world) finding(image string) {
	w.tb.Helper()
	_, err := w.outside.Grafeas.CreateOccurrence(w.tb.Context(),
		&grafeaspb.CreateOccurrenceRequest{Parent: "projects/dev", Occurrence: &grafeaspb.Occurrence{
			ResourceUri: "https://" + image, NoteName: "projects/goog-vulnz/notes/CVE-2026-1",
			Details: &grafeaspb.Occurrence_Vulnerability{Vulnerability: &grafeaspb.VulnerabilityOccurrence{
				Severity: grafeaspb.Severity_CRITICAL, EffectiveSeverity: grafeaspb.Severity_CRITICAL, ShortDescription: "CVE-2026-1",
				PackageIssue: []*grafeaspb.VulnerabilityOccurrence_PackageIssue{{
					AffectedCpeUri: "cpe:/o:debian:debian_linux:12", AffectedPackage: "openssl", PackageType: "OS",
					EffectiveSeverity: grafeaspb.Severity_CRITICAL,
					AffectedVersion:   &grafeaspb.Version{Name: "3.0.5", Kind: grafeaspb.Version_NORMAL, FullName: "3.0.5"},
					FixedVersion:      &grafeaspb.Version{Kind: grafeaspb.Version_MAXIMUM},
				}},
			}},
		}})
	w.ok(err)
}

func publicPEM(w *world, key *ecdsa.PrivateKey) []byte {
	w.tb.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	w.ok(err)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func signedBy(w *world, key *ecdsa.PrivateKey, message []byte) []byte {
	w.tb.Helper()
	sum := sha256.Sum256(message)
	sig, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
	w.ok(err)
	return sig
}
