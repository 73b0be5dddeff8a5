package audit

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"time"

	"github.com/attestor-gate/attestor"
)

// A Step is one decision of a walk through many, or a place where none is that was asked for.
type Step struct {
	Record  attestor.Record
	Skipped bool // there is no record: what is up to here was left out
	// Newest says that this is the newest decision on its image, as the search index has it.
	Newest bool
	Since  time.Time // of the walk: that of its first part
	// Token continues the walk after this step; "" at the end.
	Token string
}

// Walk iterates over the decisions that f selects, newest first, with their evidence, from where the token of a step of
// the same filter leads; "" is the beginning. It may be ended after any step and continued later: where f has a Period,
// every part keeps the Since and Until of the first. Of sample decisions it takes one, by a hash of their ids, if
// sample is more than 1. It holds one batch in memory, and ends after an error.
func (s *Store) Walk(ctx context.Context, f Filter, token string, sample int) iter.Seq2[Step, error] {
	return func(yield func(Step, error) bool) {
		if err := s.walkFrom(ctx, f, token, sample, yield); err != nil {
			yield(Step{}, s.fail("reading decisions", err))
		}
	}
}

func (s *Store) walkFrom(
	ctx context.Context, f Filter, token string, sample int, yield func(Step, error) bool,
) error {
	if s.none {
		return unsupported()
	}
	f, pos, err := resume(f, token)
	if err != nil {
		return err
	}
	l, err := s.listIndexed(ctx, f)
	if err != nil {
		return err
	}
	l.sample = sample

	known := map[string][]byte{}
	for at := (step{end: pos, more: true}); at.more; {
		if at, err = s.step(ctx, l, at.end, known); err != nil {
			return err
		}
		newest, err := s.newest(ctx, at.heads)
		if err != nil {
			return err
		}

		for _, h := range at.heads {
			// What is done with a record may take long, so that the caller may have left since the last one.
			if err := ctx.Err(); err != nil {
				return err
			}
			r, err := s.full(ctx, h, known)
			if err != nil {
				return fmt.Errorf("decision %s: %w", h.id, err)
			}
			if !yield(Step{Record: r, Newest: newest[h.id], Since: f.Since, Token: tokenOf(f, h.position())}, nil) {
				return nil
			}
		}

		// A caller who judges for a bounded time can stop where nothing was chosen. The last step has no token.
		end := Step{Skipped: true, Since: f.Since}
		if at.more {
			end.Token = tokenOf(f, at.end)
		}
		if !yield(end, nil) {
			return nil
		}
	}
	return nil
}

// listIndexed is a list with evidence, once the index has what was recorded until now: it says which decisions are the
// newest.
func (s *Store) listIndexed(ctx context.Context, f Filter) (*list, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if err := s.catchUp(ctx); err != nil {
		return nil, err
	}
	return s.list(ctx, f, true)
}

// newest returns which of some decisions are the newest ones on their images.
func (s *Store) newest(ctx context.Context, heads []head) (map[string]bool, error) {
	out := map[string]bool{}
	if len(heads) == 0 {
		return out, nil
	}
	ids := make([]string, len(heads))
	for i, h := range heads {
		ids[i] = h.id
	}

	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	marks, args := placeholders(ids)
	found, err := idRows(s.from(ctx).QueryContext(ctx, `SELECT decision FROM images WHERE decision IN (`+marks+`)`,
		args...))
	for _, id := range found {
		out[id] = true
	}
	return out, err
}

// sampled reports whether a sample of one in n has a decision.
func sampled(id string, n int) bool {
	if n <= 1 {
		return true
	}

	// The ids' hashes are evenly distributed, and the same decisions are in the sample each time.
	sum := sha256.Sum256([]byte(id))
	return binary.BigEndian.Uint64(sum[:])%uint64(n) == 0
}
