package attest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/attest"
	"github.com/attestor-gate/attestor/emulator"
)

// kmsGate is a gate that signs by Cloud KMS, so that signatures are counted.
func (w *world) kmsGate() *attest.Attester {
	w.t.Helper()
	w.attestor(attestorName)
	version := w.kmsKey("k", kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256)
	w.keys(attestorName, w.kmsEntry(version, p256))
	return w.newAttester(attest.AttestorConfig{Name: attestorName, Signer: w.kmsSigner(version)})
}

// TestOneDigestManyAtOnce: 500 requests, each as the Gate makes them; one
// signature, one occurrence, one of them told that it created it.
func TestOneDigestManyAtOnce(t *testing.T) {
	for _, unique := range []emulator.Uniqueness{emulator.UniqueNone, emulator.UniqueNoteAndResource} {
		for _, lag := range []time.Duration{0, time.Hour} { // an hour: no list ever shows it
			t.Run(fmt.Sprintf("%s/lag=%s", unique, lag), func(t *testing.T) {
				w := newWorld(t, emulator.Behaviour{Uniqueness: unique, ListLag: lag})
				a := w.kmsGate()
				img := image(t, 1)
				auth := authorize(t, img, attestor.AttestNeeds{})
				var mu sync.Mutex
				created, names := 0, map[string]bool{}
				var wg sync.WaitGroup

				for i := range 500 {
					wg.Go(func() {
						known := attestor.Standing{}
						if i%2 == 0 {
							var err error
							if known, err = a.Standing(t.Context(), []string{attestorName}, []attestor.Image{img}); err != nil {
								t.Error(err)
							}
						}

						made, err := a.Attest(t.Context(), auth, known, recorded)
						mu.Lock()
						defer mu.Unlock()
						if err != nil || len(made) != 1 {
							t.Errorf("made %v, %v", made, err)
							return
						}

						names[made[0].Occurrence] = true
						if made[0].Created {
							created++
						}
					})
				}

				wg.Wait()
				if signed, stored := len(w.Calls("AsymmetricSign")),
					len(w.Calls("CreateOccurrence")); signed != 1 || stored != 1 || created != 1 || len(names) != 1 {
					t.Errorf("%d signatures, %d creates, %d told so, %d names", signed, stored, created, len(names))
				}

				w.oneValid(img)
			})
		}
	}
}

func TestManyDigestsAtOnce(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{})
	a := w.kmsGate()
	must(t, a.Preflight(t.Context()))
	w.ResetCalls()
	var wg sync.WaitGroup

	for i := range 500 {
		wg.Go(func() {
			if _, err := a.Attest(t.Context(), authorize(t, image(t, i), attestor.AttestNeeds{}), attestor.Standing{Known: true}, recorded); err != nil {
				t.Errorf("%d: %v", i, err)
			}
		})
	}

	wg.Wait()
	if n := len(w.Calls()); n != 1000 {
		t.Errorf("%d calls for 500 attestations, want 1000: sign and create", n)
	}

	stored := w.stored(noteName)
	for _, o := range stored {
		if !w.valid(attestorName, o) {
			t.Errorf("%s is not valid", o.GetName())
		}
	}

	if len(stored) != 500 {
		t.Errorf("%d stored", len(stored))
	}
}

// TestAColdKeyIsReadOnce, however many want it first.
func TestAColdKeyIsReadOnce(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{})
	a := w.kmsGate()
	before := len(w.Calls("GetPublicKey")) // this test's own
	reading, release := make(chan struct{}), make(chan struct{})
	w.Inject(emulator.Fault{Method: "GetPublicKey", Match: once(reading, release)})
	var wg sync.WaitGroup

	for i := range 10 {
		wg.Go(func() {
			_, err := a.Attest(t.Context(), authorize(t, image(t, i), attestor.AttestNeeds{}), attestor.Standing{Known: true}, recorded)
			if err != nil {
				t.Error(err)
			}
		})
	}

	<-reading
	close(release)
	wg.Wait()
	if n := len(w.Calls("GetPublicKey")) - before; n != 1 {
		t.Errorf("the key was read %d times", n)
	}
}

// TestOneWhoLeavesTakesNobodyAlong: the first caller gives up in the middle.
func TestOneWhoLeavesTakesNobodyAlong(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{})
	a := w.kmsGate()
	must(t, a.Preflight(t.Context()))
	signing, release := make(chan struct{}), make(chan struct{})
	w.Inject(emulator.Fault{Method: "AsymmetricSign", Match: once(signing, release)})
	auth := authorize(t, image(t, 1), attestor.AttestNeeds{})
	first, leave := context.WithCancel(t.Context())
	results := make(chan error, 2)
	go func() {
		_, err := a.Attest(first, auth, attestor.Standing{Known: true}, recorded)
		results <- err
	}()

	<-signing
	leave()
	wantError(t, <-results, attestor.CodeAttestationNotStored, "try again")
	go func() {
		made, err := a.Attest(t.Context(), auth, attestor.Standing{Known: true}, recorded)
		if err == nil && made[0].Created {
			err = errors.New("told that it created what another began")
		}
		results <- err
	}()

	close(release)
	must(t, <-results)
	if n := len(w.Calls("AsymmetricSign")); n != 1 {
		t.Errorf("%d signatures", n)
	}

	w.oneValid(image(t, 1))
}

// TestTwoInstancesAtOnce share nothing but the services.
func TestTwoInstancesAtOnce(t *testing.T) {
	for _, lag := range []time.Duration{0, 4 * time.Second} {
		t.Run(lag.String(), func(t *testing.T) {
			w := newWorld(t, emulator.Behaviour{ListLag: lag})
			one := w.kmsGate()
			two := w.newAttester(attest.AttestorConfig{Name: attestorName, Signer: w.kmsSigner(
				"projects/sec/locations/global/keyRings/gate/cryptoKeys/k/cryptoKeyVersions/1")})
			var wg sync.WaitGroup
			var mu sync.Mutex
			created := map[int]int{}

			for i := range 20 {
				for _, a := range []*attest.Attester{one, two} {
					wg.Go(func() {
						made, err := a.Attest(t.Context(), authorize(t, image(t, i), attestor.AttestNeeds{}), attestor.Standing{Known: true}, recorded)
						if err != nil || len(made) != 1 {
							t.Errorf("%d: %v, %v", i, made, err)
							return
						}

						mu.Lock()
						defer mu.Unlock()
						if made[0].Created {
							created[i]++
						}
					})
				}
			}

			wg.Wait()
			for i := range 20 {
				if created[i] != 1 {
					t.Errorf("image %d was created by %d decisions", i, created[i])
				}
				w.oneValid(image(t, i))
			}
		})
	}
}

// TestRotationDuringTraffic: an operator adds a key, moves the gates over one
// by one, and takes the old key away, while images are attested. No image that
// was answered for is without a valid attestation at any time.
func TestRotationDuringTraffic(t *testing.T) {
	r := newRotation(t, emulator.Behaviour{}, true)
	old := r.newAttester(attest.AttestorConfig{Name: attestorName, Signer: keyFile(t, r.old), PublicKeyID: "old"})
	const images = 30
	var wg sync.WaitGroup
	admitted := make([]chan struct{}, images)

	for i := range images {
		admitted[i] = make(chan struct{})
		wg.Go(func() {
			if _, err := old.Attest(t.Context(), authorize(t, image(t, i), attestor.AttestNeeds{}), attestor.Standing{}, recorded); err != nil {
				t.Error(err)
			}
			close(admitted[i])
		})
	}

	for i := range images {
		wg.Go(func() {
			<-admitted[i]
			for range 3 {
				s, err := r.gate.Standing(t.Context(), []string{attestorName}, []attestor.Image{image(t, i)})
				if err != nil || len(s.Valid) == 0 {
					t.Errorf("image %d: %+v, %v", i, s, err)
				}
				if _, err := r.gate.Attest(t.Context(), authorize(t, image(t, i), attestor.AttestNeeds{}), s, recorded); err != nil {
					t.Error(err)
				}
			}
		})
	}

	wg.Wait()
	r.keys(attestorName, pkix(t, attest.KeyID(r.signer), r.mine.Public(), p256))

	for i := range images {
		r.oneValid(image(t, i))
	}

	r.clock.advance(2 * time.Minute) // the keys are read again
	_, err := old.Attest(t.Context(), authorize(t, image(t, images), attestor.AttestNeeds{}), attestor.Standing{Known: true}, recorded)
	wantError(t, err, attestor.CodeKeyNotOfAttestor, "old", "public-keys add")
}

// TestSeveralAttestors: all or nothing, each reported.
func TestSeveralAttestors(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{})
	names := []string{attestorName, "projects/sec/attestors/second", "projects/other/attestors/third"}
	var configs []attest.AttestorConfig

	for _, name := range names {
		w.attestor(name)
		key := newKey(t)
		s := keyFile(t, key)
		w.keys(name, pkix(t, attest.KeyID(s), key.Public(), p256))
		configs = append(configs, attest.AttestorConfig{Name: name, Signer: s})
	}

	a := w.newAttester(configs...)
	must(t, a.Preflight(t.Context()))
	made, err := a.Attest(t.Context(), authorize(t, image(t, 1), attestor.AttestNeeds{Attestors: names}), attestor.Standing{}, recorded)
	must(t, err)

	for i, name := range names {
		if made[i].Attestor != name || !made[i].Created || !strings.HasPrefix(made[i].Occurrence, name[:strings.Index(name, "/attestors")]+"/occurrences/") {
			t.Errorf("%d: %+v", i, made[i])
		}
	}

	s, err := a.Standing(t.Context(), names, []attestor.Image{image(t, 1)})
	must(t, err)
	if len(s.Valid) != 3 {
		t.Errorf("standing %+v", s)
	}

	t.Run("one cannot sign: nothing is stored", func(t *testing.T) {
		w.keys("projects/other/attestors/third", pkix(t, "another", newKey(t).Public(), p256))
		w.clock.advance(2 * time.Minute)
		made, err := a.Attest(t.Context(), authorize(t, image(t, 2), attestor.AttestNeeds{Attestors: names}), attestor.Standing{}, recorded)
		wantError(t, err, attestor.CodeKeyNotOfAttestor, "projects/other/attestors/third")
		if len(made) != 0 {
			t.Errorf("made %v", made)
		}

		for _, o := range append(w.stored(noteName), w.stored("projects/sec/notes/second")...) {
			if strings.HasSuffix(o.GetResourceUri(), string(digest(2))) {
				t.Errorf("%s was stored", o.GetName())
			}
		}
	})

	t.Run("one that nobody configured", func(t *testing.T) {
		w.ResetCalls()
		_, err := a.Attest(t.Context(), authorize(t, image(t, 3), attestor.AttestNeeds{
			Attestors: []string{attestorName, "projects/sec/attestors/unknown"}}), attestor.Standing{}, recorded)
		wantError(t, err, attestor.CodeAttestorUnavailable, "projects/sec/attestors/unknown", "configuration")
		if len(w.Calls()) != 0 {
			t.Errorf("calls: %v", w.Calls())
		}
	})

	t.Run("one cannot store: what was made is reported", func(t *testing.T) {
		two := names[:2]
		w.Inject(emulator.Fault{Method: "CreateOccurrence", Match: about("projects/sec/notes/second"), Code: codes.PermissionDenied})
		made, err := a.Attest(t.Context(), authorize(t, image(t, 4), attestor.AttestNeeds{Attestors: two}), attestor.Standing{}, recorded)
		wantError(t, err, attestor.CodeAttestorDenied, "roles/containeranalysis.notes.attacher")
		if len(made) != 1 || made[0].Attestor != attestorName {
			t.Errorf("made %v", made)
		}

		w.ClearFaults()
		made, err = a.Attest(t.Context(), authorize(t, image(t, 4), attestor.AttestNeeds{Attestors: two}), attestor.Standing{}, recorded)
		must(t, err)
		if len(made) != 2 || made[0].Created || !made[1].Created {
			t.Errorf("made %+v", made)
		}
	})
}

// TestIndex: children first, the index when they stand.
func TestIndex(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{})
	a := w.kmsGate()
	index := image(t, 1)
	auth := authorizeIndex(t, index, 3, attestor.AttestNeeds{})
	made, err := a.Attest(t.Context(), auth, attestor.Standing{}, recorded)
	must(t, err)
	if len(made) != 4 || made[3].Digest != index.Digest() {
		t.Fatalf("made %+v", made)
	}

	for _, m := range made[:3] {
		if !m.Since.Before(made[3].Since) {
			t.Errorf("child %s at %s, index at %s", m.Digest, m.Since, made[3].Since)
		}
	}

	for _, o := range w.stored(noteName) {
		if !w.valid(attestorName, o) {
			t.Errorf("%s is not valid", o.GetName())
		}
	}

	third := image(t, 7)
	auth = authorizeIndexOf(t, third, []attestor.Digest{digest(2000), digest(2001)})
	w.Inject(emulator.Fault{Method: "BatchCreateOccurrences", Match: about(string(digest(2001))), Code: codes.PermissionDenied})
	made, err = a.Attest(t.Context(), auth, attestor.Standing{}, recorded)
	wantError(t, err, attestor.CodeAttestorDenied)
	if len(made) != 0 {
		t.Errorf("made %+v, of a batch that was refused", made)
	}

	for _, o := range w.stored(noteName) {
		if strings.HasSuffix(o.GetResourceUri(), string(third.Digest())) {
			t.Error("the index is attested although a child is not")
		}
	}
}

// TestDSSE: the second signature is where continuous validation reads it.
func TestDSSE(t *testing.T) {
	golden, err := os.ReadFile("testdata/payload.pae")
	must(t, err)
	img, err := attestor.ParseImage("us-docker.pkg.dev/proj/repo/img@sha256:" + strings.Repeat("a", 64))
	must(t, err)
	const dsseNote = "projects/sec/notes/cv"

	for _, note := range []string{"", dsseNote} {
		t.Run("note="+note, func(t *testing.T) {
			w := newWorld(t, emulator.Behaviour{})
			w.attestor(attestorName)
			w.note(dsseNote)
			key := newKey(t)
			s := keyFile(t, key)
			entry := pkix(t, attest.KeyID(s), key.Public(), p256)
			w.keys(attestorName, entry)
			a := w.newAttester(attest.AttestorConfig{Name: attestorName, Signer: s})
			if note == "" { // an attestation from before dsse was set
				_, err := a.Attest(t.Context(), authorize(t, img, attestor.AttestNeeds{}), attestor.Standing{}, recorded)
				must(t, err)
			}

			auth := authorize(t, img, attestor.AttestNeeds{DSSE: true, DSSENote: note})
			made, err := a.Attest(t.Context(), auth, attestor.Standing{}, recorded)
			must(t, err)
			o := w.oneValid(img)
			second := o
			if note == "" {
				if len(made) != 1 || len(o.GetAttestation().GetSignatures()) != 2 {
					t.Fatalf("made %+v, stored %v", made, o)
				}
			} else {
				if len(made) != 2 || made[1].Note != dsseNote {
					t.Fatalf("made %+v", made)
				}
				second = w.stored(dsseNote)[0]
			}

			sigs := second.GetAttestation().GetSignatures()
			opensslVerifies(t, second, len(sigs)-1, golden, entry.GetPkixPublicKey().GetPublicKeyPem(), "sha256", false)
			w.ResetCalls()
			again, err := a.Attest(t.Context(), auth, attestor.Standing{}, recorded)
			must(t, err)
			if len(again) != len(made) || again[0].Created || len(w.Calls("CreateOccurrence", "UpdateOccurrence")) != 0 {
				t.Errorf("again %+v", again)
			}
		})
	}
}

// TestDSSESwitchedOnLate, where the service neither updates nor takes a
// second: what admits the image is not deleted for it.
func TestDSSESwitchedOnLate(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{RefuseUpdates: true})
	a, _ := w.gate()
	img := image(t, 1)
	_, err := a.Attest(t.Context(), authorize(t, img, attestor.AttestNeeds{}), attestor.Standing{}, recorded)
	must(t, err)
	made, err := a.Attest(t.Context(), authorize(t, img, attestor.AttestNeeds{DSSE: true}), attestor.Standing{}, recorded)
	wantError(t, err, attestor.CodeAttestationNotStored, "it admits the image", "attestor revoke "+img.String())
	if len(made) != 0 || len(w.Calls("DeleteOccurrence")) != 0 {
		t.Errorf("made %v, deleted %d", made, len(w.Calls("DeleteOccurrence")))
	}

	w.oneValid(img)
	_, err = a.Revoke(t.Context(), attest.Revocation{Images: []attestor.Image{img}})
	must(t, err)
	_, err = a.Attest(t.Context(), authorize(t, img, attestor.AttestNeeds{DSSE: true}), attestor.Standing{}, recorded)
	must(t, err)
	if o := w.oneValid(img); len(o.GetAttestation().GetSignatures()) != 2 {
		t.Errorf("%v", o)
	}
}
