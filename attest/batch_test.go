package attest_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/emulator"
)

const (
	oneCreate  = "CreateOccurrence"
	allCreated = "BatchCreateOccurrences"
)

// creates are how many single creates and batches were asked for.
func (w *world) creates() [2]int { return [2]int{len(w.Calls(oneCreate)), len(w.Calls(allCreated))} }

// onceEach fails where an image of an index has no valid attestation, or more than one.
func (w *world) onceEach(index attestor.Image, children int) {
	w.t.Helper()
	w.oneValid(index)
	for i := range children {
		w.oneValid(index.Sibling(digest(1000 + i)))
	}
}

// nothingOf fails where anything of an image is stored.
func (w *world) nothingOf(img attestor.Image) {
	w.t.Helper()
	for _, o := range w.stored(noteName) {
		if strings.HasSuffix(o.GetResourceUri(), string(img.Digest())) {
			w.t.Errorf("%s is stored of %s", o.GetName(), img)
		}
	}
}

// TestAnIndexTakesTwoCreates: its children are stored by one call, and the index after them by another; what stands of
// all is one list.
func TestAnIndexTakesTwoCreates(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{})
	a := w.kmsGate()
	must(t, a.Preflight(t.Context()))
	index := image(t, 1)
	images := []attestor.Image{index}
	for i := range 3 {
		images = append(images, index.Sibling(digest(1000+i)))
	}

	w.ResetCalls()
	known, err := a.Standing(t.Context(), []string{attestorName}, images)
	must(t, err)
	made, err := a.Attest(t.Context(), authorizeIndex(t, index, 3, attestor.AttestNeeds{}), known, recorded)
	must(t, err)
	if n := len(w.Calls()); len(made) != 4 || w.creates() != [2]int{1, 1} || len(w.Calls("AsymmetricSign")) != 4 || n != 7 {
		t.Errorf("%d made by %d calls, creates %v, want 1 list, 4 signatures, 1 batch, 1 create", len(made), n, w.creates())
	}
	for _, m := range made {
		if !m.Created {
			t.Errorf("%s was not created", m.Digest)
		}
	}
	w.onceEach(index, 3)

	// The same list finds all of them, and each once.
	s, err := a.Standing(t.Context(), []string{attestorName}, images)
	must(t, err)
	var found []attestor.Digest
	for _, v := range s.Valid {
		found = append(found, v.Digest)
	}
	slices.Sort(found)
	if want := []attestor.Digest{digest(1), digest(1000), digest(1001), digest(1002)}; !slices.Equal(found, want) {
		t.Errorf("standing of %v, want %v", found, want)
	}
}

// TestBatchesThatFail: whatever becomes of a batch, an answer without an error means one valid attestation of each
// image, and an error that the index is not attested.
func TestBatchesThatFail(t *testing.T) {
	dropFirst := func(_, resp proto.Message) {
		r := resp.(*grafeaspb.BatchCreateOccurrencesResponse)
		r.Occurrences = r.GetOccurrences()[1:]
	}
	reverse := func(_, resp proto.Message) {
		slices.Reverse(resp.(*grafeaspb.BatchCreateOccurrencesResponse).GetOccurrences())
	}
	names := func(_, resp proto.Message) {
		for i, o := range resp.(*grafeaspb.BatchCreateOccurrencesResponse).GetOccurrences() {
			resp.(*grafeaspb.BatchCreateOccurrencesResponse).Occurrences[i] = &grafeaspb.Occurrence{
				Name: o.GetName(), ResourceUri: o.GetResourceUri(), NoteName: o.GetNoteName(),
			}
		}
	}
	anothers := func(_, resp proto.Message) {
		for _, o := range resp.(*grafeaspb.BatchCreateOccurrencesResponse).GetOccurrences() {
			o.ResourceUri = image(t, 99).String()
		}
	}

	for name, tt := range map[string]struct {
		b     emulator.Behaviour
		fault emulator.Fault
		fails bool
		again [2]int // creates of the next index: how the service is asked from then on
	}{
		"unknown method":             {b: emulator.Behaviour{RefuseBatches: true}, again: [2]int{4, 0}},
		"refused as invalid":         {fault: emulator.Fault{Code: codes.InvalidArgument}, again: [2]int{4, 0}},
		"stored in part":             {b: emulator.Behaviour{PartialBatches: 2}, again: [2]int{2, 1}},
		"denied":                     {fault: emulator.Fault{Code: codes.PermissionDenied, Count: 1}, fails: true, again: [2]int{1, 1}},
		"not available, not stored":  {fault: emulator.Fault{Code: codes.Unavailable, Count: 1}, again: [2]int{1, 1}},
		"stored, the answer lost":    {fault: emulator.Fault{Code: codes.Unavailable, AnswerLost: true, Count: 1}, again: [2]int{1, 1}},
		"stored, and timed out":      {fault: emulator.Fault{Code: codes.DeadlineExceeded, AnswerLost: true, Count: 1}, again: [2]int{1, 1}},
		"stored, and called invalid": {fault: emulator.Fault{Code: codes.InvalidArgument, AnswerLost: true, Count: 1}, again: [2]int{1, 1}},
		"answered without one":       {fault: emulator.Fault{Mutate: dropFirst, Count: 1}, again: [2]int{1, 1}},
		"answered in another order":  {fault: emulator.Fault{Mutate: reverse, Count: 1}, again: [2]int{1, 1}},
		"answered by names only":     {fault: emulator.Fault{Mutate: names, Count: 1}, again: [2]int{1, 1}},
		"answered with others":       {fault: emulator.Fault{Mutate: anothers, Count: 1}, again: [2]int{1, 1}},
	} {
		for _, unique := range []emulator.Uniqueness{emulator.UniqueNone, emulator.UniqueNoteAndResource} {
			for _, lag := range []time.Duration{0, 2 * time.Second} {
				t.Run(fmt.Sprintf("%s/%s/lag=%s", name, unique, lag), func(t *testing.T) {
					b := tt.b
					b.Uniqueness, b.ListLag = unique, lag
					w := newWorld(t, b)
					a := w.kmsGate()
					if f := tt.fault; f.Code != codes.OK || f.Mutate != nil {
						f.Method = allCreated
						w.Inject(f)
					}

					index := image(t, 1)
					made, err := a.Attest(t.Context(), authorizeIndex(t, index, 3, attestor.AttestNeeds{}), attestor.Standing{}, recorded)
					if (err != nil) != tt.fails {
						t.Fatalf("made %v, %v", made, err)
					}
					if err != nil {
						w.nothingOf(index)
					} else {
						w.onceEach(index, 3)
					}
					if n := len(w.Calls("AsymmetricSign")); n != 4 {
						t.Errorf("%d signatures, want 4", n)
					}

					w.ResetCalls()
					next := image(t, 2)
					auth := authorizeIndexOf(t, next, []attestor.Digest{digest(2000), digest(2001), digest(2002)})
					_, err = a.Attest(t.Context(), auth, attestor.Standing{}, recorded)
					must(t, err)
					if got := w.creates(); got != tt.again {
						t.Errorf("the next index took %v creates and batches, want %v", got, tt.again)
					}
				})
			}
		}
	}
}

// TestABatchThatMeetsAnother: an occurrence that no list shows yet is in the way of one child.
func TestABatchThatMeetsAnother(t *testing.T) {
	for _, lag := range []time.Duration{0, 2 * time.Second} {
		r := newRotation(t, emulator.Behaviour{ListLag: lag}, false)
		child := image(t, 1).Sibling(digest(1001))
		r.put(signed(t, r.foreign, "foreign", child.String(), compact(repository, child.Digest())))

		// The caller's word that nothing stands is wrong about this child.
		index := image(t, 1)
		_, err := r.gate.Attest(t.Context(), authorizeIndex(t, index, 3, attestor.AttestNeeds{}), attestor.Standing{Known: true}, recorded)
		must(t, err)
		r.onceEach(index, 3)
	}
}

// TestOneChildFails: a child that cannot be stored keeps the index from being attested, whatever became of the others.
func TestOneChildFails(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{RefuseBatches: true})
	a := w.kmsGate()
	index, child := image(t, 1), image(t, 1).Sibling(digest(1001))
	w.Inject(emulator.Fault{Method: oneCreate, Match: about(string(child.Digest())), Code: codes.PermissionDenied})
	made, err := a.Attest(t.Context(), authorizeIndex(t, index, 3, attestor.AttestNeeds{}), attestor.Standing{}, recorded)
	wantError(t, err, attestor.CodeAttestorDenied)
	if len(made) != 2 {
		t.Errorf("made %v, want the two other children", made)
	}
	w.nothingOf(index)
	w.nothingOf(child)
}

// TestNothingIsBatchedBeforeItIsRecorded: the record comes before the first attestation of a batch too.
func TestNothingIsBatchedBeforeItIsRecorded(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{})
	a := w.kmsGate()
	index := image(t, 1)
	_, err := a.Attest(t.Context(), authorizeIndex(t, index, 3, attestor.AttestNeeds{}), attestor.Standing{}, func() error {
		return context.DeadlineExceeded
	})
	if err == nil || w.creates() != [2]int{} || len(w.stored(noteName)) != 0 {
		t.Errorf("%v; %v creates and batches, %d stored", err, w.creates(), len(w.stored(noteName)))
	}
}

// TestIndexesThatShareChildren: two indexes at once with a child in common, and many requests for each.
func TestIndexesThatShareChildren(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{Uniqueness: emulator.UniqueNone, ListLag: time.Hour})
	a := w.kmsGate()
	must(t, a.Preflight(t.Context()))
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			n := i % 2
			children := []attestor.Digest{digest(1000), digest(1001 + n), digest(1003 + n)}
			made, err := a.Attest(t.Context(), authorizeIndexOf(t, image(t, n), children), attestor.Standing{Known: true}, recorded)
			if err != nil || len(made) != 4 {
				t.Errorf("index %d: made %v, %v", n, made, err)
			}
		})
	}
	wg.Wait()

	for _, d := range []attestor.Digest{digest(0), digest(1), digest(1000), digest(1001), digest(1002), digest(1003), digest(1004)} {
		w.oneValid(image(t, 0).Sibling(d))
	}
}

// TestAServiceWithoutUnions: where a filter over several digests is refused, each is listed, and from then on at once.
func TestAServiceWithoutUnions(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{RefuseUnions: true})
	a := w.kmsGate()
	index := image(t, 1)
	_, err := a.Attest(t.Context(), authorizeIndex(t, index, 2, attestor.AttestNeeds{}), attestor.Standing{}, recorded)
	must(t, err)

	images := []attestor.Image{index, index.Sibling(digest(1000)), index.Sibling(digest(1001))}
	for _, want := range []int{1 + 3, 3, 3} {
		w.ResetCalls()
		s, err := a.Standing(t.Context(), []string{attestorName}, images)
		must(t, err)
		if n := len(w.Calls("ListNoteOccurrences")); n != want || !s.Known || len(s.Valid) != 3 {
			t.Errorf("%d lists, want %d; standing %+v", n, want, s)
		}
	}

	// What fails for one digest as well was not the filter's fault: nothing is known, and nothing is remembered.
	w2 := newWorld(t, emulator.Behaviour{})
	b := w2.kmsGate()
	must(t, b.Preflight(t.Context()))
	remove := w2.Inject(emulator.Fault{Method: "ListNoteOccurrences", Code: codes.InvalidArgument})
	if s, err := b.Standing(t.Context(), []string{attestorName}, images); err == nil || s.Known {
		t.Errorf("standing %+v, %v, though every list was refused", s, err)
	}
	remove()
	w2.ResetCalls()
	if _, err := b.Standing(t.Context(), []string{attestorName}, images); err != nil || len(w2.Calls("ListNoteOccurrences")) != 1 {
		t.Errorf("%d lists afterwards, want 1: %v", len(w2.Calls("ListNoteOccurrences")), err)
	}
}

// TestAFloodAmongSeveralDigests: more attestations of one digest than anybody needs fail the list of all.
func TestAFloodAmongSeveralDigests(t *testing.T) {
	r := newRotation(t, emulator.Behaviour{Uniqueness: emulator.UniqueNone}, false)
	foreign := signed(t, r.foreign, "foreign", image(t, 1).String(), compact(repository, digest(1)))
	batch := slices.Repeat([]*grafeaspb.Occurrence{foreign}, 1000)
	for _, some := range [][]*grafeaspb.Occurrence{batch, batch[:1]} {
		_, err := r.Grafeas.BatchCreateOccurrences(t.Context(), &grafeaspb.BatchCreateOccurrencesRequest{Parent: "projects/sec", Occurrences: some})
		must(t, err)
	}
	images := []attestor.Image{image(t, 2), image(t, 1), image(t, 3)}
	s, err := r.gate.Standing(t.Context(), []string{attestorName}, images)
	wantError(t, err, attestor.CodeAttestorUnavailable, "more than 1000", string(digest(1)))
	if s.Known {
		t.Error("what stands is known of a note that is flooded")
	}
}
