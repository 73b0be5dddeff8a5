package attest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"google.golang.org/api/iterator"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/together"
)

const (
	// maxListed is far above the attestations that one digest gets from its
	// attestor; more means that the note is being flooded.
	maxListed = 1000
	// atOnce bounds the concurrent lists of one call.
	atOnce = 16
	// listPage is asked for where a list is about one digest, and as much for each
	// further one up to maxPage, the most that Container Analysis gives.
	listPage = 100
	maxPage  = 1000
	// maxUnion bounds the digests of one filter: Container Analysis documents no
	// limit. A filter of this many has 6 KiB.
	maxUnion = 64
)

// lists lists what is stored of each digest under a note, in their order: by one
// list for all where the service takes such a filter, and it is not too long.
func (v *Verifier) lists(ctx context.Context, note string, ds []attestor.Digest) ([][]*grafeaspb.Occurrence, error) {
	union := maxUnion
	if v.noUnions.Load() {
		union = 1
	}

	out := make([][]*grafeaspb.Occurrence, 0, len(ds))
	parts := slices.Collect(slices.Chunk(ds, union))
	found := make([][][]*grafeaspb.Occurrence, len(parts))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i, part := range parts {
		g.Go(together.Caught(func() (err error) {
			found[i], err = v.list(gctx, note, part)
			return err
		}))
	}

	// A service that does not take the filter is asked about each digest. That is
	// remembered only where it answers then: otherwise the filter was not at fault.
	err := g.Wait()
	if err != nil && union > 1 && len(ds) > 1 && notUnderstood(err) {
		return v.listsSingly(ctx, note, ds)
	}
	if err != nil {
		return nil, err
	}
	for _, f := range found {
		out = append(out, f...)
	}
	return out, nil
}

// listsSingly is lists where a filter over several digests was refused.
func (v *Verifier) listsSingly(
	ctx context.Context, note string, ds []attestor.Digest,
) ([][]*grafeaspb.Occurrence, error) {
	out := make([][]*grafeaspb.Occurrence, len(ds))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i, d := range ds {
		g.Go(together.Caught(func() error {
			found, err := v.list(ctx, note, []attestor.Digest{d})
			if err == nil {
				out[i] = found[0]
			}
			return err
		}))
	}

	if err := g.Wait(); err != nil {
		return nil, err
	}
	v.noUnions.Store(true)
	return out, nil
}

// notUnderstood reports whether the service answered that it does not understand
// the request, whether or not a message was made of it.
func notUnderstood(err error) bool {
	if e, ok := errors.AsType[*attestor.Error](err); ok && e.Err != nil {
		err = e.Err
	}
	code := status.Code(err)
	return code == codes.InvalidArgument || code == codes.Unimplemented
}

// suffixes is a filter for occurrences of any of the digests, whatever repository
// they name: admission goes by digest.
func suffixes(ds []attestor.Digest) string {
	terms := make([]string, len(ds))
	for i, d := range ds {
		terms[i] = fmt.Sprintf("has_suffix(resourceUrl, %q)", string(d))
	}
	return strings.Join(terms, " OR ")
}

// list returns the attestations of digests under a note, by digest, in one list. It
// relies neither on the server's filter nor on the note's other writers: each answer
// is checked to be an attestation that names the digest.
func (v *Verifier) list(ctx context.Context, note string, ds []attestor.Digest) ([][]*grafeaspb.Occurrence, error) {
	ctx, cancel := v.c.Limit.Start(ctx)
	defer cancel()

	it := v.c.Grafeas.ListNoteOccurrences(ctx, &grafeaspb.ListNoteOccurrencesRequest{
		Name: note, Filter: suffixes(ds),
		PageSize: int32(min(listPage*len(ds), maxPage)), //nolint:gosec // at most 1,000
	})
	out := make([][]*grafeaspb.Occurrence, len(ds))
	for n := 0; ; n++ {
		o, err := it.Next()
		if errors.Is(err, iterator.Done) {
			return out, nil
		}
		if err != nil {
			return nil, listError(note, err)
		}

		if n >= maxListed*len(ds) {
			return nil, flooded(note, ds[0], len(ds))
		}
		for i, d := range ds {
			if o.GetAttestation() == nil || !namesDigest(o.GetResourceUri(), d) {
				continue
			}
			if len(out[i]) >= maxListed {
				return nil, flooded(note, d, 1)
			}
			out[i] = append(out[i], o)
		}
	}
}

// flooded is the error of a note with more occurrences than anybody needs.
func flooded(note string, d attestor.Digest, digests int) error {
	of := string(d)
	if digests > 1 {
		of += fmt.Sprintf(" and of %d more", digests-1)
	}
	return fault(
		attestor.CodeAttestorUnavailable,
		fmt.Sprintf("note %s holds more than %d attestations of %s", note, maxListed*digests, of),
		"find out which identity writes to the note, and take roles/containeranalysis.notes.attacher from it",
		nil,
	)
}
