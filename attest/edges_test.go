package attest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/attest"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/limit"
)

// panickyJournal is a bug in the middle of storing.
type panickyJournal struct{ *memoryJournal }

func (panickyJournal) PutIntent(context.Context, string, []byte) error { panic("a bug") }

// TestABugInOneRequestIsAnErrorOfThatRequest, and the gate goes on.
func TestABugInOneRequestIsAnErrorOfThatRequest(t *testing.T) {
	r := newRotation(t, emulator.Behaviour{RefuseUpdates: true}, false)
	r.put(r.existing("rotated"))
	c := r.config(attest.AttestorConfig{Name: attestorName, Signer: r.signer})
	c.Journal = panickyJournal{r.journal}
	gate, err := attest.New(c)
	must(t, err)
	gate.SetPause(r.clock.pause)
	made, err := gate.Attest(t.Context(), authorize(t, image(t, 1), attestor.AttestNeeds{}), attestor.Standing{}, recorded)
	if err == nil || len(made) != 0 || attestor.Message(err) != "internal error" {
		t.Errorf("made %v, %v", made, err)
	}

	_, err = gate.Attest(t.Context(), authorize(t, image(t, 2), attestor.AttestNeeds{}), attestor.Standing{}, recorded)
	must(t, err)
	r.oneValid(image(t, 2))
}

// TestRevokeWaitsForWhatIsBeingStored in the same process.
func TestRevokeWaitsForWhatIsBeingStored(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{ListLag: time.Hour})
	a := w.kmsGate()
	must(t, a.Preflight(t.Context()))
	storing, release := make(chan struct{}), make(chan struct{})
	w.Inject(emulator.Fault{Method: "CreateOccurrence", Match: once(storing, release)})
	attested, revoked := make(chan error, 1), make(chan int, 1)
	go func() {
		_, err := a.Attest(t.Context(), authorize(t, image(t, 1), attestor.AttestNeeds{}), attestor.Standing{Known: true}, recorded)
		attested <- err
	}()

	<-storing
	go func() {
		gone, err := a.Revoke(t.Context(), attest.Revocation{Images: []attestor.Image{image(t, 1)}})
		if err != nil {
			t.Error(err)
		}
		revoked <- len(gone)
	}()

	close(release)
	must(t, <-attested)
	if n := <-revoked; n != 1 {
		t.Errorf("%d revoked", n)
	}

	w.nothingValid()
}

// TestRecoverLeavesWorkInProgressAlone, and completes it once nobody works.
func TestRecoverLeavesWorkInProgressAlone(t *testing.T) {
	r := newRotation(t, emulator.Behaviour{RefuseUpdates: true}, false)
	r.put(r.existing("rotated"))
	creating, release := make(chan struct{}), make(chan struct{})
	first := true
	gate := r.newAttester(attest.AttestorConfig{Name: attestorName, Signer: r.signer})
	gate.SetPause(r.clock.pause)
	remove := r.Inject(emulator.Fault{Method: "DeleteOccurrence", Match: func(proto.Message) bool {
		if first {
			first = false
			close(creating)
			<-release
		}
		return false
	}})
	defer remove()
	done := make(chan error, 1)
	go func() {
		_, err := gate.Attest(t.Context(), authorize(t, image(t, 1), attestor.AttestNeeds{}), attestor.Standing{}, recorded)
		done <- err
	}()

	<-creating
	must(t, gate.Recover(t.Context())) // would hang at the emulator if it did anything
	intents, err := r.journal.Intents(t.Context())
	must(t, err)
	if len(intents) != 1 {
		t.Errorf("%d intents", len(intents))
	}

	close(release)
	must(t, <-done)
	r.oneValid(image(t, 1))
}

// TestLongKeyIDsAreShownWhole: the names of key versions are long.
func TestLongKeyIDsAreShownWhole(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{Uniqueness: emulator.UniqueNone})
	w.attestor(attestorName)
	key := newKey(t)
	id := "//cloudkms.googleapis.com/v1/projects/acme-security-production/locations/europe-west1/keyRings/" +
		"binary-authorization/cryptoKeys/admission-gate/cryptoKeyVersions/12"
	w.keys(attestorName, pkix(t, id, key.Public(), p256))
	w.put(signed(t, key, id, image(t, 1).String(), attest.Payload(image(t, 1))))
	w.put(signed(t, newKey(t), "x"+id, image(t, 1).String(), attest.Payload(image(t, 1))))
	v, err := attest.NewVerifier(attest.VerifierConfig{Grafeas: w.Grafeas, BinAuthz: w.Binauthz, Now: w.clock.Now, Limit: limit.Call(time.Minute)})
	must(t, err)
	s, err := v.Standing(t.Context(), []string{attestorName}, []attestor.Image{image(t, 1)})
	must(t, err)
	if s.Valid[0].PublicKeyID != id || s.Invalid[0].PublicKeyID != "x"+id || !strings.Contains(s.Invalid[0].Why, "x"+id) {
		t.Errorf("%+v", s)
	}
}

// TestStandingThatPanics: the look-ups of attestations run on goroutines of their own, where a panic would end the process.
// It is an error, with nothing that stands.
func TestStandingThatPanics(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{})
	v, err := attest.NewVerifier(attest.VerifierConfig{
		Grafeas: w.Grafeas, BinAuthz: w.Binauthz, Limit: limit.Call(time.Minute),
		Now: func() time.Time { panic("a bug") },
	})
	must(t, err)
	s, err := v.Standing(t.Context(), []string{attestorName}, []attestor.Image{image(t, 1)})
	if err == nil || !strings.Contains(err.Error(), "a bug") || s.Known || len(s.Valid) > 0 {
		t.Errorf("standing %+v, error %v; want the panic as an error", s, err)
	}
}

// TestMemoryIsBounded: however many images are attested, the names of their
// occurrences take a bounded memory.
func TestMemoryIsBounded(t *testing.T) {
	a, _ := newWorld(t, emulator.Behaviour{}).gate()
	if n := attest.SeenAfter(a, 100_000); n > 10_000 {
		t.Errorf("%d occurrences are remembered", n)
	}
}

// TestVerifyingNeedsNoSigner: an attestor that this gate has no key for is
// looked up all the same.
func TestVerifyingNeedsNoSigner(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{})
	a, _ := w.gate()
	_, err := a.Attest(t.Context(), authorize(t, image(t, 1), attestor.AttestNeeds{}), attestor.Standing{}, recorded)
	must(t, err)
	unrelated := w.newAttester(attest.AttestorConfig{Name: "projects/x/attestors/y", Signer: keyFile(t, newKey(t))})
	s, err := unrelated.Standing(t.Context(), []string{attestorName}, []attestor.Image{image(t, 1)})
	must(t, err)
	if len(s.Valid) != 1 {
		t.Errorf("%+v", s)
	}
}

// FuzzStatement has any payload believed only if it says what it must, as
// read by another parser.
func FuzzStatement(f *testing.F) {
	d := digest(1)
	good := compact(repository, d)
	if err := attest.CheckStatement(good, d); err != nil {
		f.Fatal("a seed that should be believed is not: ", err)
	}

	f.Add(good)
	f.Add(attest.Payload(image(f, 1)))
	f.Add([]byte(`{"critical":null}`))
	f.Add([]byte(`{"critical":{"image":{"docker-manifest-digest":"x"},"image":{"docker-manifest-digest":"y"}}}`))
	f.Add(append([]byte(" \n"), good...))
	f.Fuzz(func(t *testing.T, payload []byte) {
		if attest.CheckStatement(payload, d) != nil {
			return
		}
		var got struct {
			Critical struct {
				Image map[string]any `json:"image"`
				Type  string         `json:"type"`
			} `json:"critical"`
		}
		if err := json.Unmarshal(payload, &got); err != nil || got.Critical.Image["docker-manifest-digest"] != string(
			d) || got.Critical.Type != "Google cloud binauthz container signature" {
			t.Errorf("believed: %q", payload)
		}
	})
}

func ExamplePayload() {
	img, err := attestor.ParseImage("us-docker.pkg.dev/acme/prod/api@sha256:6e3d7e24e5a1d8b9c0f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f7")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(string(attest.Payload(img)))
	// Output:
	// {
	//   "critical": {
	//     "identity": {
	//       "docker-reference": "us-docker.pkg.dev/acme/prod/api"
	//     },
	//     "image": {
	//       "docker-manifest-digest": "sha256:6e3d7e24e5a1d8b9c0f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f7"
	//     },
	//     "type": "Google cloud binauthz container signature"
	//   }
	// }
}
