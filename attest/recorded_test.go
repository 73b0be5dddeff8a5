package attest_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/emulator"
)

// recorded is the beginning of a record that is kept.
func recorded() error { return nil }

var errDisk = errors.New("disk full")

// TestNothingIsStoredUnlessRecorded: a signature may be made meanwhile, and is
// dropped.
func TestNothingIsStoredUnlessRecorded(t *testing.T) {
	for name, auth := range map[string]attestor.Authorization{
		"image": authorize(t, image(t, 1), attestor.AttestNeeds{}),
		"dsse":  authorize(t, image(t, 1), attestor.AttestNeeds{DSSE: true, DSSENote: "projects/sec/notes/cv"}),
		"index": authorizeIndex(t, image(t, 1), 3, attestor.AttestNeeds{}),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, emulator.Behaviour{})
			a := w.kmsGate()
			w.note("projects/sec/notes/cv")
			made, err := a.Attest(t.Context(), auth, attestor.Standing{Known: true}, func() error { return errDisk })
			if !errors.Is(err, errDisk) || len(made) != 0 {
				t.Errorf("got %v, %v", made, err)
			}
			if n := len(w.Calls("CreateOccurrence")); n != 0 {
				t.Errorf("%d occurrences stored", n)
			}

			made, err = a.Attest(t.Context(), auth, attestor.Standing{Known: true}, recorded)
			must(t, err)
			if len(made) == 0 {
				t.Error("the next attempt made nothing")
			}
		})
	}
}

// TestSignedWhileRecorded: signing does not wait for the record, and storing
// does.
func TestSignedWhileRecorded(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{})
	a := w.kmsGate()
	must(t, a.Preflight(t.Context()))
	signing, release := make(chan struct{}), make(chan struct{})
	w.Inject(emulator.Fault{Method: "AsymmetricSign", Match: once(signing, release)})
	_, err := a.Attest(t.Context(), authorize(t, image(t, 1), attestor.AttestNeeds{}), attestor.Standing{Known: true}, func() error {
		<-signing // would hang if signing waited for this
		close(release)
		if n := len(w.Calls("CreateOccurrence")); n != 0 {
			t.Errorf("%d occurrences stored before it was recorded", n)
		}

		return nil
	})

	must(t, err)
	w.oneValid(image(t, 1))
}

// TestWhatStandsIsRecordedToo: with nothing to sign, the record still decides.
func TestWhatStandsIsRecordedToo(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{})
	a := w.kmsGate()
	auth := authorize(t, image(t, 1), attestor.AttestNeeds{})
	made, err := a.Attest(t.Context(), auth, attestor.Standing{Known: true}, recorded)
	must(t, err)
	begun := false
	again, err := a.Attest(t.Context(), auth, attestor.Standing{Known: true, Valid: made}, func() error { begun = true; return errDisk })
	if !begun || !errors.Is(err, errDisk) || len(again) != 1 || again[0].Created {
		t.Errorf("begun %t, got %v, %v", begun, again, err)
	}
}

// TestSharedWithOneWhoCannotRecord: who joined is told the truth, and can try
// again.
func TestSharedWithOneWhoCannotRecord(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{})
	a := w.kmsGate()
	must(t, a.Preflight(t.Context()))
	auth := authorize(t, image(t, 1), attestor.AttestNeeds{})
	failing, joined := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := a.Attest(t.Context(), auth, attestor.Standing{Known: true}, func() error { close(failing); <-joined; return errDisk })
		if !errors.Is(err, errDisk) {
			t.Errorf("the first got %v", err)
		}
	})

	<-failing
	_, err := a.Attest(t.Context(), auth, attestor.Standing{Known: true}, func() error { close(joined); return nil })
	wantError(t, err, attestor.CodeAttestationNotStored, "try again")
	wg.Wait()
	if n := len(w.Calls("CreateOccurrence")); n != 0 {
		t.Errorf("%d occurrences stored", n)
	}

	_, err = a.Attest(t.Context(), auth, attestor.Standing{Known: true}, recorded)
	must(t, err)
	w.oneValid(image(t, 1))
}

// TestAPanicWhileRecordingStoresNothing, and leaves nothing that hangs.
func TestAPanicWhileRecordingStoresNothing(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{})
	a := w.kmsGate()
	auth := authorize(t, image(t, 1), attestor.AttestNeeds{})
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_, _ = a.Attest(t.Context(), auth, attestor.Standing{Known: true}, func() error { panic("a bug") })
	}()

	for { // what the panic left may be joined until it has ended
		_, err := a.Attest(t.Context(), auth, attestor.Standing{Known: true}, recorded)
		if err == nil {
			break
		}
		wantError(t, err, attestor.CodeAttestationNotStored, "try again")
	}

	w.oneValid(image(t, 1))
	if n := len(w.Calls("CreateOccurrence")); n != 1 {
		t.Errorf("%d occurrences stored", n)
	}
}
