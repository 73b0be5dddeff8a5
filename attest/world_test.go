package attest_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/api/iterator"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/attest"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

const (
	attestorName = "projects/sec/attestors/gate"
	noteName     = "projects/sec/notes/gate"
	repository   = "us-docker.pkg.dev/acme/prod/api"
)

// clock moves a little with every look, as clocks do, and by what is waited.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time { return c.advance(time.Microsecond) }

func (c *clock) advance(d time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	return c.now
}

func (c *clock) pause(ctx context.Context, d time.Duration) error {
	c.advance(d)
	return ctx.Err()
}

// world is Google, emulated, with one attestor.
type world struct {
	*standin.Services
	t       testing.TB
	clock   *clock
	journal *memoryJournal
}

func newWorld(t testing.TB, b emulator.Behaviour) *world {
	t.Helper()
	w := &world{t: t, clock: newClock(), journal: &memoryJournal{}}
	w.Services = standin.StartServices(t, emulator.Options{Now: w.clock.Now, Behaviour: b})
	return w
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// attestor makes an attestor and its note, without keys.
func (w *world) attestor(name string) {
	w.t.Helper()
	note := strings.Replace(name, "/attestors/", "/notes/", 1)
	w.note(note)
	project, id, _ := strings.Cut(strings.TrimPrefix(name, "projects/"), "/attestors/")
	_, err := w.Binauthz.CreateAttestor(w.t.Context(), &binaryauthorizationpb.CreateAttestorRequest{
		Parent: "projects/" + project, AttestorId: id,
		Attestor: &binaryauthorizationpb.Attestor{Name: name, AttestorType: &binaryauthorizationpb.Attestor_UserOwnedGrafeasNote{
			UserOwnedGrafeasNote: &binaryauthorizationpb.UserOwnedGrafeasNote{NoteReference: note},
		}},
	})

	must(w.t, err)
}

func (w *world) note(name string) {
	w.t.Helper()
	project, id, _ := strings.Cut(strings.TrimPrefix(name, "projects/"), "/notes/")
	_, err := w.Grafeas.CreateNote(w.t.Context(), &grafeaspb.CreateNoteRequest{
		Parent: "projects/" + project, NoteId: id,
		Note: &grafeaspb.Note{Type: &grafeaspb.Note_Attestation{Attestation: &grafeaspb.AttestationNote{
			Hint: &grafeaspb.AttestationNote_Hint{HumanReadableName: "gate"},
		}}},
	})

	must(w.t, err)
}

// keys replaces the attestor's keys.
func (w *world) keys(name string, keys ...*binaryauthorizationpb.AttestorPublicKey) {
	w.t.Helper()
	ctx := w.t.Context()
	a, err := w.Binauthz.GetAttestor(ctx, &binaryauthorizationpb.GetAttestorRequest{Name: name})
	must(w.t, err)
	a.GetUserOwnedGrafeasNote().PublicKeys = keys
	_, err = w.Binauthz.UpdateAttestor(ctx, &binaryauthorizationpb.UpdateAttestorRequest{Attestor: a})
	must(w.t, err)
}

// pkix is an attestor's entry for a public key.
func pkix(t testing.TB, id string, pub crypto.PublicKey, alg binaryauthorizationpb.PkixPublicKey_SignatureAlgorithm) *binaryauthorizationpb.AttestorPublicKey {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	must(t, err)
	return &binaryauthorizationpb.AttestorPublicKey{Id: id, PublicKey: &binaryauthorizationpb.AttestorPublicKey_PkixPublicKey{
		PkixPublicKey: &binaryauthorizationpb.PkixPublicKey{
			PublicKeyPem: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), SignatureAlgorithm: alg,
		},
	}}
}

const p256 = binaryauthorizationpb.PkixPublicKey_ECDSA_P256_SHA256

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return k
}

// keyFile writes a PKCS#8 file and returns its signer.
func keyFile(t testing.TB, key crypto.Signer) attest.Signer {
	t.Helper()
	s, err := attest.NewKeyFileSigner(writeKey(t, key))
	must(t, err)
	return s
}

func writeKey(t testing.TB, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	path := filepath.Join(t.TempDir(), "key.pem")
	must(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	return path
}

// kmsKey makes a key in Cloud KMS and returns its version's name.
func (w *world) kmsKey(id string, alg kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm) string {
	w.t.Helper()
	ctx := w.t.Context()
	ring := "projects/sec/locations/global/keyRings/gate"
	if _, err := w.KMS.GetKeyRing(ctx, &kmspb.GetKeyRingRequest{Name: ring}); err != nil {
		_, err := w.KMS.CreateKeyRing(ctx, &kmspb.CreateKeyRingRequest{Parent: "projects/sec/locations/global", KeyRingId: "gate"})
		must(w.t, err)
	}

	k, err := w.KMS.CreateCryptoKey(ctx, &kmspb.CreateCryptoKeyRequest{Parent: ring, CryptoKeyId: id, CryptoKey: &kmspb.CryptoKey{
		Purpose:         kmspb.CryptoKey_ASYMMETRIC_SIGN,
		VersionTemplate: &kmspb.CryptoKeyVersionTemplate{Algorithm: alg},
	}})

	must(w.t, err)
	return k.GetName() + "/cryptoKeyVersions/1"
}

// kmsEntry is an attestor's entry for a KMS key.
func (w *world) kmsEntry(version string, alg binaryauthorizationpb.PkixPublicKey_SignatureAlgorithm) *binaryauthorizationpb.AttestorPublicKey {
	w.t.Helper()
	pub, err := w.KMS.GetPublicKey(w.t.Context(), &kmspb.GetPublicKeyRequest{Name: version})
	must(w.t, err)
	return &binaryauthorizationpb.AttestorPublicKey{
		Id: "//cloudkms.googleapis.com/v1/" + version,
		PublicKey: &binaryauthorizationpb.AttestorPublicKey_PkixPublicKey{PkixPublicKey: &binaryauthorizationpb.PkixPublicKey{
			PublicKeyPem: pub.GetPem(), SignatureAlgorithm: alg,
		}},
	}
}

func (w *world) kmsSigner(version string) attest.Signer {
	w.t.Helper()
	s, err := attest.NewKMSSigner(w.KMS, version, limit.Call(time.Minute))
	must(w.t, err)
	return s
}

func (w *world) config(attestors ...attest.AttestorConfig) attest.Config {
	return attest.Config{
		Grafeas: w.Grafeas, Analysis: w.Analysis, BinAuthz: w.Binauthz, Attestors: attestors, Journal: w.journal,
		Now: w.clock.Now, Limit: limit.Call(time.Minute), Timeout: 2 * time.Minute,
		Logger: slog.New(slog.DiscardHandler),
	}
}

func (w *world) newAttester(attestors ...attest.AttestorConfig) *attest.Attester {
	w.t.Helper()
	a, err := attest.New(w.config(attestors...))
	must(w.t, err)
	a.SetPause(w.clock.pause)
	return a
}

// gate makes the usual attestor with a key of its own, and an Attester for it.
func (w *world) gate() (*attest.Attester, attest.Signer) {
	w.t.Helper()
	w.attestor(attestorName)
	key := newKey(w.t)
	s := keyFile(w.t, key)
	w.keys(attestorName, pkix(w.t, attest.KeyID(s), key.Public(), p256))
	return w.newAttester(attest.AttestorConfig{Name: attestorName, Signer: s}), s
}

func digest(n int) attestor.Digest {
	return attestor.Digest(fmt.Sprintf("sha256:%064x", n+1))
}

func image(t testing.TB, n int) attestor.Image {
	t.Helper()
	img, err := attestor.ParseImage(repository + "@" + string(digest(n)))
	must(t, err)
	return img
}

// authorize has a single image pass, for real.
func authorize(t testing.TB, img attestor.Image, needs attestor.AttestNeeds) attestor.Authorization {
	t.Helper()
	if len(needs.Attestors) == 0 {
		needs.Attestors = []string{attestorName}
	}

	ev := attestor.Evidence{Image: img, Platforms: []attestor.PlatformEvidence{{Child: attestor.Child{Platform: "linux/amd64", Digest: img.Digest()}}}}
	a, err := attestor.Authorize("decision-1", pass(ev, needs))
	must(t, err)
	return a
}

// authorizeIndex has an index with children pass.
func authorizeIndex(t testing.TB, index attestor.Image, children int, needs attestor.AttestNeeds) attestor.Authorization {
	t.Helper()
	needs.Children = true
	if len(needs.Attestors) == 0 {
		needs.Attestors = []string{attestorName}
	}

	ev := attestor.Evidence{Image: index, Index: true}
	for i := range children {
		ev.Platforms = append(ev.Platforms, attestor.PlatformEvidence{Child: attestor.Child{Platform: fmt.Sprintf("linux/p%d", i), Digest: digest(1000 + i)}})
	}

	a, err := attestor.Authorize("decision-1", pass(ev, needs))
	must(t, err)
	return a
}

func pass(ev attestor.Evidence, needs attestor.AttestNeeds) attestor.Verdict {
	asked := []attestor.Question{{Check: attestor.CheckBase}, {Check: attestor.CheckUser}, {Check: attestor.CheckVulnerabilities}}
	var checks []attestor.Check

	for _, p := range ev.Platforms {
		for _, q := range asked {
			checks = append(checks, attestor.Check{Name: q.Check, Platform: p.Platform, Status: attestor.StatusPass})
		}
	}
	return attestor.NewVerdict(ev, attestor.PolicyRef{Name: "production", Mode: attestor.Enforce}, needs, asked, checks)
}

// stored lists what is under a note, straight from the store's point of view.
func (w *world) stored(note string) []*grafeaspb.Occurrence {
	w.t.Helper()
	w.clock.advance(time.Hour) // no list lags that long
	var out []*grafeaspb.Occurrence
	it := w.Grafeas.ListNoteOccurrences(w.t.Context(), &grafeaspb.ListNoteOccurrencesRequest{Name: note})

	for {
		o, err := it.Next()
		if err == iterator.Done { //nolint:errorlint // documented to be compared so
			return out
		}

		must(w.t, err)
		out = append(out, o)
	}
}

// valid has Binary Authorization's own helper validate an occurrence.
func (w *world) valid(name string, o *grafeaspb.Occurrence) bool {
	w.t.Helper()
	resp, err := w.Validate.ValidateAttestationOccurrence(w.t.Context(), &binaryauthorizationpb.ValidateAttestationOccurrenceRequest{
		Attestor: name, Attestation: o.GetAttestation(), OccurrenceNote: o.GetNoteName(), OccurrenceResourceUri: o.GetResourceUri(),
	})

	must(w.t, err)
	return resp.GetResult() == binaryauthorizationpb.ValidateAttestationOccurrenceResponse_VERIFIED
}

// oneValid is the end of most stories: one valid occurrence for the image.
func (w *world) oneValid(img attestor.Image) *grafeaspb.Occurrence {
	w.t.Helper()
	var found []*grafeaspb.Occurrence

	for _, o := range w.stored(noteName) {
		if strings.HasSuffix(o.GetResourceUri(), string(img.Digest())) && w.valid(attestorName, o) {
			found = append(found, o)
		}
	}

	if len(found) != 1 {
		w.t.Fatalf("%d valid occurrences of %s, want 1: %v", len(found), img, found)
	}
	return found[0]
}

func asError(err error) *attestor.Error {
	e, ok := errors.AsType[*attestor.Error](err)
	if !ok {
		return nil
	}
	return e
}

// once lets one call say that it has begun, and holds it.
func once(begun, release chan struct{}) func(proto.Message) bool {
	var first sync.Once
	return func(proto.Message) bool {
		first.Do(func() {
			close(begun)
			<-release
		})
		return false
	}
}

// about matches requests that mention a text.
func about(text string) func(proto.Message) bool {
	return func(m proto.Message) bool { return strings.Contains(prototext.Format(m), text) }
}

func authorizeIndexOf(t testing.TB, index attestor.Image, children []attestor.Digest) attestor.Authorization {
	t.Helper()
	ev := attestor.Evidence{Image: index, Index: true}

	for i, d := range children {
		ev.Platforms = append(ev.Platforms, attestor.PlatformEvidence{Child: attestor.Child{Platform: fmt.Sprintf("linux/p%d", i), Digest: d}})
	}

	a, err := attestor.Authorize("decision-1", pass(ev, attestor.AttestNeeds{Attestors: []string{attestorName}, Children: true}))
	must(t, err)
	return a
}

// A memoryJournal keeps intents as long as its world.
type memoryJournal struct {
	mu      sync.Mutex
	intents map[string][]byte // guarded by mu
}

// PutIntent implements [attest.Journal].
func (j *memoryJournal) PutIntent(_ context.Context, id string, data []byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.intents == nil {
		j.intents = map[string][]byte{}
	}

	j.intents[id] = bytes.Clone(data)
	return nil
}

// DeleteIntent implements [attest.Journal].
func (j *memoryJournal) DeleteIntent(_ context.Context, id string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.intents, id)
	return nil
}

// Intents implements [attest.Journal].
func (j *memoryJournal) Intents(context.Context) (map[string][]byte, error) {
	j.mu.Lock()
	defer j.mu.Unlock()

	out := make(map[string][]byte, len(j.intents))
	for id, data := range j.intents {
		out[id] = bytes.Clone(data)
	}

	return out, nil
}
