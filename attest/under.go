package attest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"google.golang.org/api/iterator"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
)

const (
	// maxUnder bounds what is read of one note: more is an error, since a part would look like all.
	maxUnder = 10_000_000
	// pageTime bounds the wait for one page of a note.
	pageTime = time.Minute
)

// A Placed is a valid attestation and the image that it was stored for.
type Placed struct {
	Image attestor.Image // zero: the attestation names its digest, and no image
	attestor.Attestation
}

// Under lists every valid attestation under an attestor's note, whatever image it is of: what the attestor admits by.
// What does not verify admits nothing and is left out. It keeps one page in memory. After an error nothing follows, and
// what came before is not all.
func (v *Verifier) Under(ctx context.Context, name string) iter.Seq2[Placed, error] {
	return func(yield func(Placed, error) bool) {
		fail := func(err error) { yield(Placed{}, err) }

		// Keys are read before the list: an attestation by a key that was added meanwhile is found the next time.
		t, err := v.trust(ctx, name, v.c.Now())
		if err != nil {
			fail(err)
			return
		}

		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		it := v.c.Grafeas.ListNoteOccurrences(ctx, &grafeaspb.ListNoteOccurrencesRequest{Name: t.note, PageSize: maxPage})
		for n := 0; ; n++ {
			// The client reads a page within Next; a service that hangs ends it.
			hung := time.AfterFunc(pageTime, cancel)
			o, err := it.Next()
			hung.Stop()
			switch {
			case errors.Is(err, iterator.Done):
				return
			case err != nil:
				fail(listError(t.note, err))
				return
			case n >= maxUnder:
				fail(fault(attestor.CodeAttestorUnavailable,
					fmt.Sprintf("note %s holds more than %d occurrences", t.note, maxUnder),
					"find out which identity writes to the note, and take roles/containeranalysis.notes.attacher from it", nil))
				return
			}

			// Admission goes by the digest at the resource's end, whatever repository it names. What names no digest,
			// or does not verify by the attestor's keys, admits nothing.
			uri := o.GetResourceUri()
			d, err := attestor.ParseDigest(uri[strings.LastIndex(uri, "@")+1:])
			if err != nil {
				continue
			}
			c := t.check(o, t.note, d, v.c.Now())
			if c.why != "" {
				continue
			}
			img, _ := attestor.ParseImage(strings.TrimPrefix(uri, "https://")) // the digest admits, with or without an image
			if !yield(Placed{img, c.attestation(name, "")}, nil) {
				return
			}
		}
	}
}
