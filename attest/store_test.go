package attest_test

import (
	"crypto/ecdsa"
	"fmt"
	"strings"
	"testing"
	"time"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/attest"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/limit"
)

// rotation is a gate whose attestor had another key before.
type rotation struct {
	*world
	gate               *attest.Attester
	signer             attest.Signer
	mine, old, foreign *ecdsa.PrivateKey
}

// newRotation makes one. With overlap the attestor still has the old key.
func newRotation(t testing.TB, b emulator.Behaviour, overlap bool) *rotation {
	t.Helper()
	w := newWorld(t, emulator.Behaviour{Uniqueness: emulator.UniqueNone})
	w.attestor(attestorName)
	r := &rotation{world: w, mine: newKey(t), old: newKey(t), foreign: newKey(t)}
	r.signer = keyFile(t, r.mine)
	r.keys(attestorName, pkix(t, attest.KeyID(r.signer), r.mine.Public(), p256))
	if overlap {
		r.keys(attestorName, pkix(t, "old", r.old.Public(), p256), pkix(t, attest.KeyID(r.signer), r.mine.Public(), p256))
	}

	r.gate = r.newAttester(attest.AttestorConfig{Name: attestorName, Signer: r.signer})
	t.Cleanup(func() { w.SetBehaviour(emulator.Behaviour{}) })
	r.SetBehaviour(b)
	return r
}

// what may be there already, for image 1.
func (r *rotation) existing(kind string) *grafeaspb.Occurrence {
	t, img := r.t, image(r.t, 1)
	id := attest.KeyID(r.signer)

	switch kind {
	case "rotated", "older":
		return signed(t, r.old, "old", img.String(), attest.Payload(img))

	case "rotated, other bytes", "older, other bytes":
		return signed(t, r.old, "old", img.String(), compact(repository, img.Digest()))

	case "rotated, with scheme":
		return signed(t, r.old, "old", "https://"+img.String(), attest.Payload(img))

	case "foreign":
		return signed(t, r.foreign, "foreign", img.String(), compact(repository, img.Digest()))

	case "broken":
		return signed(t, r.foreign, id, img.String(), attest.Payload(img))

	case "about another":
		return signed(t, r.mine, id, img.String(), attest.Payload(image(t, 2)))

	case "other repository":
		return signed(t, r.old, "old", "gcr.io/other/api@"+string(img.Digest()), compact("gcr.io/other/api", img.Digest()))
	}
	return nil
}

// TestWhateverIsThereAlready tries everything that may be there under every
// behaviour of the service. The end is one attestation by the gate's key that
// Binary Authorization validates, or an honest error.
func TestWhateverIsThereAlready(t *testing.T) {
	kinds := []string{"nothing", "rotated", "older", "rotated, other bytes", "older, other bytes",
		"rotated, with scheme", "foreign", "broken", "about another", "other repository"}
	for _, kind := range kinds {
		for _, unique := range []emulator.Uniqueness{emulator.UniqueNoteAndResource, emulator.UniqueNoteResourceAndPayload, emulator.UniqueNone} {
			for bits := range 16 {
				b := emulator.Behaviour{Uniqueness: unique, RefuseUpdates: bits&1 != 0, RefuseDeletes: bits&2 != 0,
					ListLag: time.Duration(bits&4) * time.Second}
				known := bits&8 != 0
				t.Run(fmt.Sprintf("%s/%s/updates=%t,deletes=%t,lag=%s,known=%t", kind, unique, !b.RefuseUpdates,
					!b.RefuseDeletes, b.ListLag, known), func(t *testing.T) {
					placed(t, kind, b, known)
				})
			}
		}
	}
}

func placed(t *testing.T, kind string, b emulator.Behaviour, known bool) {
	older := strings.HasPrefix(kind, "older")
	r := newRotation(t, b, older)
	if o := r.existing(kind); o != nil {
		r.put(o)
	}

	before := attestor.Standing{}
	if known {
		var err error
		before, err = r.gate.Standing(t.Context(), []string{attestorName}, []attestor.Image{image(t, 1)})
		must(t, err)
	}

	r.ResetCalls()
	made, err := r.gate.Attest(t.Context(), authorize(t, image(t, 1), attestor.AttestNeeds{}), before, recorded)
	if older && len(r.Calls("DeleteOccurrence")) > 0 {
		t.Error("a valid attestation was deleted: there was a moment without one")
	}
	if len(r.Calls("CreateOccurrence")) > 3 {
		t.Errorf("%d creates", len(r.Calls("CreateOccurrence")))
	}
	if err != nil {
		stuck := b.RefuseUpdates && b.RefuseDeletes && b.Uniqueness != emulator.UniqueNone && !older
		if !stuck {
			t.Fatalf("error: %v", err)
		}
		if c := asError(err); c == nil || len(made) != 0 {
			t.Fatalf("%v with %v", err, made)
		}

		r.nothingValid()
		return
	}
	if len(made) != 1 {
		t.Fatalf("made %v", made)
	}

	var mine, valid int
	for _, o := range r.stored(noteName) {
		if strings.HasSuffix(o.GetResourceUri(), string(digest(1))) && r.valid(attestorName, o) {
			valid++
			if o.GetName() == made[0].Occurrence {
				mine++
			}
		}
	}

	if mine != 1 || valid > 2 || valid > 1 && !older {
		t.Errorf("%d valid, %d of them the answer %+v", valid, mine, made[0])
	}
	if !older && (made[0].PublicKeyID != attest.KeyID(r.signer) || !made[0].Created) {
		t.Errorf("made %+v, want it created by the gate's key", made[0])
	}

	intents, err := r.journal.Intents(t.Context())
	must(t, err)
	if len(intents) != 0 {
		t.Errorf("intents are left: %v", intents)
	}
}

func (w *world) nothingValid() {
	w.t.Helper()
	for _, o := range w.stored(noteName) {
		if w.valid(attestorName, o) {
			w.t.Errorf("%s is valid", o.GetName())
		}
	}
}

// TestRotationAddsASignature: while the attestor has both keys, so has the
// occurrence; when the old one has left, its signature goes.
func TestRotationAddsASignature(t *testing.T) {
	r := newRotation(t, emulator.Behaviour{}, true)
	img := image(t, 1)
	first := r.put(r.existing("older"))
	known, err := r.gate.Standing(t.Context(), []string{attestorName}, []attestor.Image{img})
	must(t, err)
	if len(known.Valid) != 1 || known.Valid[0].PublicKeyID != "old" {
		t.Fatalf("standing %+v", known)
	}

	made, err := r.gate.Attest(t.Context(), authorize(t, img, attestor.AttestNeeds{}), known, recorded)
	must(t, err)
	o := r.oneValid(img)
	if o.GetName() != first.GetName() || len(o.GetAttestation().GetSignatures()) != 2 || made[0].PublicKeyID != attest.KeyID(r.signer) {
		t.Fatalf("occurrence %v", o)
	}

	// The next key: the old one leaves, the present one stays.
	next := newKey(t)
	signer := keyFile(t, next)
	r.keys(attestorName, pkix(t, attest.KeyID(r.signer), r.mine.Public(), p256), pkix(t, attest.KeyID(signer), next.Public(), p256))
	gate := r.newAttester(attest.AttestorConfig{Name: attestorName, Signer: signer})
	_, err = gate.Attest(t.Context(), authorize(t, img, attestor.AttestNeeds{}), attestor.Standing{}, recorded)
	must(t, err)
	o = r.oneValid(img)
	var ids []string

	for _, s := range o.GetAttestation().GetSignatures() {
		ids = append(ids, s.GetPublicKeyId())
	}

	if want := []string{attest.KeyID(r.signer), attest.KeyID(signer)}; fmt.Sprint(ids) != fmt.Sprint(want) {
		t.Errorf("signatures by %v, want %v", ids, want)
	}
}

// TestAnOccurrenceOfAnotherRepositoryIsLeftAlone, and one by our key of the
// same digest stands for it: admission goes by digest.
func TestAnOccurrenceOfAnotherRepositoryIsLeftAlone(t *testing.T) {
	r := newRotation(t, emulator.Behaviour{}, false)
	img := image(t, 1)
	other := r.put(r.existing("other repository"))
	_, err := r.gate.Attest(t.Context(), authorize(t, img, attestor.AttestNeeds{}), attestor.Standing{}, recorded)
	must(t, err)
	var found bool

	for _, o := range r.stored(noteName) {
		found = found || o.GetName() == other.GetName() && o.GetAttestation().GetSignatures()[0].GetPublicKeyId() == "old"
	}

	if !found {
		t.Error("it was changed")
	}

	sibling, err := attestor.ParseImage("gcr.io/third/api@" + string(img.Digest()))
	must(t, err)
	made, err := r.gate.Attest(t.Context(), authorize(t, sibling, attestor.AttestNeeds{}), attestor.Standing{}, recorded)
	must(t, err)
	if len(made) != 1 || made[0].Created {
		t.Errorf("made %+v", made)
	}
}

// TestWritesThatFail has each write fail in each way. After it, what the
// caller was told is true, and the next attempt works.
func TestWritesThatFail(t *testing.T) {
	type failure struct {
		name  string
		fault emulator.Fault
		ok    bool // the attempt succeeds all the same
	}

	failures := []failure{
		{"unavailable once", emulator.Fault{Count: 1, Code: codes.Unavailable}, true},
		{"internal once", emulator.Fault{Count: 1, Code: codes.Internal}, true},
		{"unknown once", emulator.Fault{Count: 1, Code: codes.Unknown}, true},
		{"quota once", emulator.Fault{Count: 1, Code: codes.ResourceExhausted}, true},
		{"aborted once", emulator.Fault{Count: 1, Code: codes.Aborted}, true},
		{"answer lost", emulator.Fault{Count: 1, Code: codes.Unavailable, AnswerLost: true}, true},
		{"deadline after effect", emulator.Fault{Count: 1, Hang: true, AnswerLost: true}, true},
		{"deadline before effect", emulator.Fault{Count: 1, Hang: true}, true},
		{"every answer lost", emulator.Fault{Code: codes.Internal, AnswerLost: true}, true},
		{"unavailable for ever", emulator.Fault{Code: codes.Unavailable}, false},
		{"denied", emulator.Fault{Code: codes.PermissionDenied}, false},
	}

	for _, lag := range []time.Duration{0, 3 * time.Second} {
		for _, unique := range []emulator.Uniqueness{emulator.UniqueNoteAndResource, emulator.UniqueNone} {
			for _, f := range failures {
				t.Run(fmt.Sprintf("create/%s/lag=%s/%s", f.name, lag, unique), func(t *testing.T) {
					t.Parallel()
					f := f // each changes its own
					r := newRotation(t, emulator.Behaviour{ListLag: lag, Uniqueness: unique}, false)
					f.fault.Method = "CreateOccurrence"
					r.failing(f.fault, f.ok, "nothing")
				})
				t.Run(fmt.Sprintf("update/%s/lag=%s/%s", f.name, lag, unique), func(t *testing.T) {
					t.Parallel()
					f := f // each changes its own
					r := newRotation(t, emulator.Behaviour{ListLag: lag, Uniqueness: unique}, false)
					f.fault.Method = "UpdateOccurrence"
					r.failing(f.fault, f.ok || f.fault.Code == codes.PermissionDenied, "rotated")
				})
			}
		}
	}

	for _, f := range failures {
		t.Run("delete/"+f.name, func(t *testing.T) {
			t.Parallel()
			f := f // each changes its own
			r := newRotation(t, emulator.Behaviour{RefuseUpdates: true}, false)
			f.fault.Method = "DeleteOccurrence"

			// The client repeats a delete that was unavailable by itself.
			r.failing(f.fault, f.fault.Code == codes.Unavailable && f.fault.Count == 1, "rotated")
		})
		t.Run("create after delete/"+f.name, func(t *testing.T) {
			t.Parallel()
			f := f // each changes its own
			r := newRotation(t, emulator.Behaviour{RefuseUpdates: true, ListLag: 2 * time.Second}, false)
			f.fault.Method, f.fault.Skip = "CreateOccurrence", 1
			r.failing(f.fault, f.ok, "rotated")
		})
	}
}

func (r *rotation) failing(f emulator.Fault, ok bool, kind string) {
	t := r.t
	c := r.config(attest.AttestorConfig{Name: attestorName, Signer: r.signer})
	if f.Hang || f.Method == "DeleteOccurrence" && f.Code == codes.Unavailable { // the client repeats such deletes
		c.Limit = limit.Call(time.Second)
	}

	gate, err := attest.New(c)
	must(t, err)
	gate.SetPause(r.clock.pause)
	if o := r.existing(kind); o != nil {
		r.put(o)
		r.clock.advance(time.Minute)
	}

	r.Inject(f)
	made, err := gate.Attest(t.Context(), authorize(t, image(t, 1), attestor.AttestNeeds{}), attestor.Standing{}, recorded)

	switch {
	case ok && err != nil:
		t.Fatalf("error: %v", err)
	case err == nil:
		o := r.oneValid(image(t, 1))
		if len(made) != 1 || made[0].Occurrence != o.GetName() || !made[0].Created {
			t.Fatalf("made %+v, stored %s", made, o.GetName())
		}
	case len(made) != 0 || asError(err) == nil || asError(err).Kind != attestor.Upstream:
		t.Fatalf("made %+v with %v", made, err)
	}

	r.ClearFaults()
	r.clock.advance(time.Minute)
	_, err = gate.Attest(t.Context(), authorize(t, image(t, 1), attestor.AttestNeeds{}), attestor.Standing{}, recorded)
	must(t, err)
	r.oneValid(image(t, 1))
	must(t, gate.Recover(t.Context()))
	r.oneValid(image(t, 1))
	intents, err := r.journal.Intents(t.Context())
	must(t, err)
	if len(intents) != 0 {
		t.Errorf("%d intents are left", len(intents))
	}
}

// TestAnswersAreNotBelieved: the service says that it stored the attestation,
// and shows something else.
func TestAnswersAreNotBelieved(t *testing.T) {
	spoil := func(_, m proto.Message) {
		for _, s := range m.(*grafeaspb.Occurrence).GetAttestation().GetSignatures() { //nolint:errcheck // nothing else comes here
			s.Signature = []byte("spoilt")
		}
	}

	rename := func(_, m proto.Message) { m.(*grafeaspb.Occurrence).Name = "" } //nolint:errcheck // nothing else comes here
	for _, method := range []string{"CreateOccurrence", "UpdateOccurrence"} {
		kind := "nothing"
		if method == "UpdateOccurrence" {
			kind = "rotated"
		}

		t.Run(method+" shows something else, and stored the right thing", func(t *testing.T) {
			r := newRotation(t, emulator.Behaviour{}, false)
			r.putAny(kind)
			r.Inject(emulator.Fault{Method: method, Mutate: spoil})
			made, err := r.gate.Attest(t.Context(), authorize(t, image(t, 1), attestor.AttestNeeds{}), attestor.Standing{}, recorded)
			must(t, err)
			if o := r.oneValid(image(t, 1)); made[0].Occurrence != o.GetName() {
				t.Errorf("made %+v", made)
			}
		})

		t.Run(method+" stored something else", func(t *testing.T) {
			r := newRotation(t, emulator.Behaviour{}, false)
			r.putAny(kind)
			r.Inject(emulator.Fault{Method: method, Mutate: spoil})
			r.Inject(emulator.Fault{Method: "GetOccurrence", Mutate: spoil})
			made, err := r.gate.Attest(t.Context(), authorize(t, image(t, 1), attestor.AttestNeeds{}), attestor.Standing{}, recorded)
			wantError(t, err, attestor.CodeAttestationNotStored, "another attestation than the one it was given")
			if len(made) != 0 {
				t.Errorf("made %+v", made)
			}
		})

		t.Run(method+" names nothing", func(t *testing.T) {
			r := newRotation(t, emulator.Behaviour{}, false)
			r.putAny(kind)
			r.Inject(emulator.Fault{Method: method, Mutate: rename})
			made, err := r.gate.Attest(t.Context(), authorize(t, image(t, 1), attestor.AttestNeeds{}), attestor.Standing{}, recorded)
			wantError(t, err, attestor.CodeAttestationNotStored)
			if len(made) != 0 {
				t.Errorf("made %+v", made)
			}
		})

		t.Run(method+" cannot be read back", func(t *testing.T) {
			r := newRotation(t, emulator.Behaviour{}, false)
			r.putAny(kind)
			r.Inject(emulator.Fault{Method: method, Mutate: spoil})
			r.Inject(emulator.Fault{Method: "GetOccurrence", Code: codes.PermissionDenied})
			_, err := r.gate.Attest(t.Context(), authorize(t, image(t, 1), attestor.AttestNeeds{}), attestor.Standing{}, recorded)
			wantError(t, err, attestor.CodeAttestorDenied, "roles/containeranalysis.occurrences.viewer")
		})
	}
}

func (r *rotation) putAny(kind string) {
	r.t.Helper()
	if o := r.existing(kind); o != nil {
		r.put(o)
	}
}

// TestAConflictThatNobodySees: the service refuses, and neither list nor read
// shows why. The answer is to try again, never success.
func TestAConflictThatNobodySees(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{})
	a, _ := w.gate()
	w.Inject(emulator.Fault{Method: "CreateOccurrence", Code: codes.AlreadyExists,
		Message: "occurrence ID \"../x\" already exists; occurrence ID \"0\" already exists"})
	made, err := a.Attest(t.Context(), authorize(t, image(t, 1), attestor.AttestNeeds{}), attestor.Standing{}, recorded)
	wantError(t, err, attestor.CodeAttestationConflict, "try again")
	if len(made) != 0 || !asError(err).Code.Retry() {
		t.Errorf("made %v", made)
	}
	if n := len(w.Calls("ListNoteOccurrences")); n < 5 {
		t.Errorf("looked %d times only", n)
	}

	t.Run("nor are lists allowed", func(t *testing.T) {
		w.Inject(emulator.Fault{Method: "ListNoteOccurrences", Skip: 1, Code: codes.PermissionDenied})
		_, err := a.Attest(t.Context(), authorize(t, image(t, 2), attestor.AttestNeeds{}), attestor.Standing{}, recorded)
		wantError(t, err, attestor.CodeAttestorDenied)
	})
}

// TestAHintIsChecked: the conflict names somebody's valid attestation of
// another image, which is not ours to answer with.
func TestAHintIsChecked(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{})
	a, _ := w.gate()
	made, err := a.Attest(t.Context(), authorize(t, image(t, 2), attestor.AttestNeeds{}), attestor.Standing{}, recorded)
	must(t, err)
	id := made[0].Occurrence[strings.LastIndex(made[0].Occurrence, "/")+1:]
	w.Inject(emulator.Fault{Method: "CreateOccurrence", Code: codes.AlreadyExists, Message: fmt.Sprintf("occurrence ID %q already exists", id)})
	made, err = a.Attest(t.Context(), authorize(t, image(t, 1), attestor.AttestNeeds{}), attestor.Standing{}, recorded)
	wantError(t, err, attestor.CodeAttestationConflict)
	if len(made) != 0 {
		t.Errorf("made %v", made)
	}
}
