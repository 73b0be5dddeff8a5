package attest_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/attest"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/limit"
)

// A look-up lists once. It reads the attestor's keys if they are not known, and
// once more only if something does not verify by keys that were read before.
func TestWhatALookUpCosts(t *testing.T) {
	r := newRotation(t, emulator.Behaviour{Uniqueness: emulator.UniqueNone}, false)
	r.put(signed(t, r.mine, attest.KeyID(r.signer), image(t, 1).String(), compact(repository, digest(1))))
	r.put(signed(t, r.foreign, "foreign", image(t, 2).String(), compact(repository, digest(2))))

	for _, step := range []struct {
		name         string
		image        int
		cold         bool
		lists, reads int
	}{
		{"cold, it verifies", 1, true, 1, 1},
		{"cold, it does not", 2, true, 1, 1},
		{"warm, it verifies", 1, false, 1, 0},
		{"warm, it does not", 2, false, 1, 1},
	} {
		if step.cold {
			r.gate = r.newAttester(attest.AttestorConfig{Name: attestorName, Signer: r.signer})
		}

		r.ResetCalls()
		_, err := r.gate.Standing(t.Context(), []string{attestorName}, []attestor.Image{image(t, step.image)})
		must(t, err)
		if lists, reads := len(r.Calls("ListNoteOccurrences")), len(r.Calls("GetAttestor")); lists != step.lists || reads != step.reads {
			t.Errorf("%s: %d lists and %d reads, want %d and %d", step.name, lists, reads, step.lists, step.reads)
		}
	}
}

// Where the attestor has moved to another note, the attestations under its
// former one count no longer, and those under the new one do.
func TestAnAttestorThatMovedToAnotherNote(t *testing.T) {
	const moved = "projects/sec/notes/moved"
	r := newRotation(t, emulator.Behaviour{Uniqueness: emulator.UniqueNone}, false)
	r.note(moved)
	mine := signed(t, r.mine, attest.KeyID(r.signer), image(t, 1).String(), compact(repository, digest(1)))
	r.put(mine)
	under := r.put(change(signed(t, r.mine, attest.KeyID(r.signer), image(t, 1).String(), compact(repository, digest(1))),
		func(o *grafeaspb.Occurrence) { o.NoteName = moved }))

	look := func() attestor.Standing {
		s, err := r.gate.Standing(t.Context(), []string{attestorName}, []attestor.Image{image(t, 1)})
		must(t, err)
		return s
	}

	if s := look(); len(s.Valid) != 1 || s.Valid[0].Note != noteName {
		t.Fatalf("before: %+v", s)
	}

	r.Inject(emulator.Fault{Method: "GetAttestor", Mutate: func(_, m proto.Message) {
		m.(*binaryauthorizationpb.Attestor).GetUserOwnedGrafeasNote().NoteReference = moved //nolint:errcheck // it answers nothing else
	}})

	r.clock.advance(2 * time.Minute) // the attestor is read again

	if s := look(); len(s.Valid) != 1 || s.Valid[0].Occurrence != under.GetName() || len(s.Invalid) != 0 {
		t.Errorf("after: %+v", s)
	}
}

// Where something does not verify and the attestor's keys cannot be read anew,
// nothing is known: it may be by a key that the attestor has by now.
func TestKeysThatCannotBeReadAnew(t *testing.T) {
	r := newRotation(t, emulator.Behaviour{Uniqueness: emulator.UniqueNone}, false)
	r.put(signed(t, r.foreign, "foreign", image(t, 2).String(), compact(repository, digest(2))))
	_, err := r.gate.Standing(t.Context(), []string{attestorName}, []attestor.Image{image(t, 1)}) // the keys are known by now
	must(t, err)
	r.Inject(emulator.Fault{Method: "GetAttestor", Code: codes.PermissionDenied})

	s, err := r.gate.Standing(t.Context(), []string{attestorName}, []attestor.Image{image(t, 2)})

	wantError(t, err, attestor.CodeAttestorDenied)
	if s.Known || len(s.Valid)+len(s.Invalid) != 0 {
		t.Errorf("%+v", s)
	}
}

// The keys of several attestors are known side by side, and those of a bounded
// number of them.
func TestTheKeysOfManyAttestors(t *testing.T) {
	const bound = 1000
	w := newWorld(t, emulator.Behaviour{})
	var names []string

	for i := range bound + 1 {
		names = append(names, fmt.Sprintf("projects/sec/attestors/a%d", i))
		w.attestor(names[i])
	}

	v, err := attest.NewVerifier(attest.VerifierConfig{Grafeas: w.Grafeas, BinAuthz: w.Binauthz, Now: w.clock.Now, Limit: limit.Call(time.Minute)})
	must(t, err)
	reads := func(names ...string) int {
		w.ResetCalls()
		for _, name := range names {
			_, err := v.Standing(t.Context(), []string{name}, []attestor.Image{image(t, 1)})
			must(t, err)
		}
		return len(w.Calls("GetAttestor"))
	}

	if n := reads(names[:bound]...); n != bound {
		t.Errorf("%d reads of %d attestors", n, bound)
	}
	if n := reads(names[0], names[1], names[bound-1]); n != 0 {
		t.Errorf("%d of three known attestors were read again", n)
	}
	if n := reads(names[bound], names[0]); n != 2 {
		t.Errorf("%d reads of one more and of the first, want 2", n)
	}
}

// A note holds a thousand attestations of one digest at most: more means that
// somebody floods it, and the answer is not known.
func TestAThousandAttestationsOfOneDigest(t *testing.T) {
	const bound = 1000
	r := newRotation(t, emulator.Behaviour{Uniqueness: emulator.UniqueNone}, false)
	foreign := signed(t, r.foreign, "foreign", image(t, 1).String(), compact(repository, digest(1)))

	for range bound {
		r.put(foreign)
	}

	s, err := r.gate.Standing(t.Context(), []string{attestorName}, []attestor.Image{image(t, 1)})
	must(t, err)
	if len(s.Invalid) != bound {
		t.Errorf("%d are listed, want %d", len(s.Invalid), bound)
	}

	r.put(foreign)
	_, err = r.gate.Standing(t.Context(), []string{attestorName}, []attestor.Image{image(t, 1)})
	wantError(t, err, attestor.CodeAttestorUnavailable, "more than 1000")
}

// One look-up of many digests makes a bounded number of lists at once, whether or not the service takes a filter over
// several of them.
func TestListsAtOnceAreBounded(t *testing.T) {
	const bound, inOneFilter = 16, 64
	for name, tt := range map[string]struct {
		refuse bool
		images int
	}{"over several": {false, 2 * bound * inOneFilter}, "over one": {true, 5 * bound}} {
		t.Run(name, func(t *testing.T) {
			r := newRotation(t, emulator.Behaviour{RefuseUnions: tt.refuse}, false)
			var images []attestor.Image
			for i := range tt.images {
				images = append(images, image(t, i))
			}
			_, err := r.gate.Standing(t.Context(), []string{attestorName}, images[:2]) // it learns what the service takes
			must(t, err)

			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			var begun atomic.Int64
			full := make(chan struct{})
			r.Inject(emulator.Fault{Method: "ListNoteOccurrences", Hang: true, Match: func(proto.Message) bool {
				if begun.Add(1) == bound {
					close(full)
				}
				return true
			}})

			done := make(chan error, 1)
			go func() {
				_, err := r.gate.Standing(ctx, []string{attestorName}, images)
				done <- err
			}()

			<-full
			leave()

			if err := <-done; err == nil || begun.Load() != bound {
				t.Errorf("%v after %d lists at once, want %d", err, begun.Load(), bound)
			}
		})
	}
}

// What a note holds beside attestations is no attestation, valid or not.
func TestOnlyAttestationsAreListed(t *testing.T) {
	r := newRotation(t, emulator.Behaviour{}, false)
	r.put(signed(t, r.mine, attest.KeyID(r.signer), image(t, 1).String(), compact(repository, digest(1))))
	if s := r.standing(func(o *grafeaspb.Occurrence) { o.Details = nil }); !s.Known || len(s.Valid)+len(s.Invalid) != 0 {
		t.Errorf("%+v", s)
	}
}

// Who joins a reading of the keys that began too long ago has them read once more.
func TestAReadingThatBeganTooLongAgo(t *testing.T) {
	r := newRotation(t, emulator.Behaviour{}, false)
	asked := make(chan struct{}, 100)
	now := func() time.Time { asked <- struct{}{}; return r.clock.Now() }
	v, err := attest.NewVerifier(attest.VerifierConfig{Grafeas: r.Grafeas, BinAuthz: r.Binauthz, Now: now, Limit: limit.Call(time.Minute)})
	must(t, err)
	r.ResetCalls()
	reading, release := make(chan struct{}), make(chan struct{})
	r.Inject(emulator.Fault{Method: "GetAttestor", Match: once(reading, release)})
	done := make(chan error, 2)
	look := func() {
		_, err := v.Standing(t.Context(), []string{attestorName}, []attestor.Image{image(t, 1)})
		done <- err
	}

	go look()
	<-reading
	r.clock.advance(2 * time.Minute)

	for len(asked) > 0 {
		<-asked
	}

	go look()
	<-asked // the second has begun, and joins, or comes too late for that and reads by itself

	for range 1000 {
		runtime.Gosched()
	}

	close(release)

	must(t, <-done)
	must(t, <-done)
	if n := len(r.Calls("GetAttestor")); n != 2 {
		t.Errorf("%d reads, want 2", n)
	}
}
