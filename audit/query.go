package audit

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/attestor-gate/attestor"
)

// A head is a stored row without its blobs.
type head struct {
	id, repository, body string
	at                   int64
	evidence             outline // empty where the query left it out
	evidenceSize         int     // of its JSON
	matches              bool    // in a chunk: the plan's conditions hold
	index                int64   // of its entry in the log, where changed is set
	changed              string  // how it differs from what was recorded; "" for not at all
	damaged              error   // why its evidence does not decode

	override *attestor.OverrideState    // see addSince
	revoked  *attestor.RevocationRecord // see addSince
}

func (h head) position() position { return position{h.at, h.id} }

// heads runs a query for id, at, repository, body, evidence and packed.
func (s *Store) heads(ctx context.Context, query string, args ...any) ([]head, error) {
	rows, err := s.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	var out []head
	for rows.Next() {
		var h head
		var t texts
		if err := rows.Scan(&h.id, &h.at, &h.repository, &t.first, &t.second, &t.packed); err != nil {
			return nil, err
		}

		var evidence string
		h.body, evidence = s.unpack(t)
		if evidence != "" {
			// One row that does not decode says nothing of the others.
			if err := json.Unmarshal([]byte(evidence), &h.evidence); err != nil {
				h.evidence, h.damaged = outline{}, fmt.Errorf("decoding its evidence: %w", err)
			}
		}
		out = append(out, h)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return out, s.addSince(ctx, out)
}

// A Page is part of a list, newest first.
type Page struct {
	Decisions []attestor.Decision
	Next      string // token of the next page; "" on the last page
}

// Sizes of a page, in decisions.
const (
	DefaultPageSize = 50
	MaxPageSize     = 1000
)

// maxPage bounds a page in bytes of its decisions as they are recorded. A page that
// reaches it is shorter and has a token. One decision that is larger by itself is a
// page of its own.
const maxPage = 2 << 20

// List returns one page of the decisions that f selects. A size of 0 or less is
// [DefaultPageSize]; a larger one than [MaxPageSize] is that. A page may be shorter,
// even empty, and have a Next all the same: it is bounded in bytes, and in the
// number of decisions that are looked at. token is "" or the Next of a page of the
// same filter; anything else is an [attestor.Error] of kind Invalid. Where f has a
// Period, every page keeps the Since and Until of the first.
func (s *Store) List(ctx context.Context, f Filter, size int, token string) (Page, error) {
	const doing = "listing decisions"
	if s.none {
		return Page{}, unsupported()
	}

	if size <= 0 {
		size = DefaultPageSize
	}
	size = min(size, MaxPageSize)

	f, pos, err := resume(f, token)
	if err != nil {
		return Page{}, err
	}

	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	l, err := s.list(ctx, f, false)
	if err != nil {
		return Page{}, s.fail(doing, err)
	}

	// One row more than the page has room for: if it exists, there is a next page.
	found, err := l.next(ctx, pos, size+1)
	if err != nil {
		return Page{}, s.fail(doing, err)
	}
	if err := s.markChanged(ctx, found.heads, false); err != nil {
		return Page{}, s.fail(doing, err)
	}

	if err := s.addSince(ctx, found.heads); err != nil {
		return Page{}, s.fail(doing, err)
	}

	page := Page{Decisions: []attestor.Decision{}}
	bytes := 0
	for i, h := range found.heads {
		if len(page.Decisions) == size || i > 0 && bytes+len(h.body) > maxPage {
			page.Next = tokenOf(f, found.heads[i-1].position())
			return page, nil
		}

		d, err := h.decision()
		if err != nil {
			return Page{}, s.fail(doing, err)
		}
		page.Decisions = append(page.Decisions, d)
		bytes += len(h.body)
	}

	if found.more {
		page.Next = tokenOf(f, found.end)
	}
	return page, nil
}

// Decision returns one finished decision without its evidence, or an error of kind
// NotFound.
func (s *Store) Decision(ctx context.Context, id string) (attestor.Decision, error) {
	const doing = "reading a decision"
	if s.none {
		return attestor.Decision{}, unsupported()
	}

	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	h, err := s.headOf(ctx, id)
	if err != nil {
		return attestor.Decision{}, s.fail(doing, err)
	}
	d, err := h.decision()
	if err != nil {
		return attestor.Decision{}, s.fail(doing, fmt.Errorf("decoding decision %s: %w", id, err))
	}
	return d, nil
}

// Of lists at most n decisions about an image, or about an index that has it, newest
// first.
func (s *Store) Of(ctx context.Context, img attestor.Image, n int) ([]attestor.Decision, error) {
	page, err := s.List(ctx, Filter{Image: img.String()}, n, "")
	return page.Decisions, err
}

// headOf reads a finished row, compared with the log; its evidence is left out where it
// was changed.
func (s *Store) headOf(ctx context.Context, id string) (head, error) {
	heads := []head{{id: text(id)}}
	h := &heads[0]
	var t texts
	err := s.read.QueryRowContext(ctx, `SELECT at, repository, body, evidence, packed FROM decisions
		WHERE id = $1 AND state = 'finished'`, h.id).Scan(&h.at, &h.repository, &t.first, &t.second, &t.packed)
	if errors.Is(err, sql.ErrNoRows) {
		return head{}, noDecision()
	}
	if err != nil {
		return head{}, err
	}

	var evidence string
	h.body, evidence = s.unpack(t)
	if err := s.markChanged(ctx, heads, true); err != nil {
		return head{}, err
	}

	// The row fits its entry. Now the entry must be in the tree, or somebody could have changed both.
	if h.changed == "" {
		if ok, err := s.checkEntry(ctx, h.id); err != nil {
			return head{}, err
		} else if !ok {
			h.changed = changedLog
		}
	}
	if h.changed != "" {
		return *h, nil
	}
	if err := s.addSince(ctx, heads); err != nil {
		return head{}, err
	}
	if err := json.Unmarshal([]byte(evidence), &h.evidence); err != nil {
		return head{}, fmt.Errorf("decoding evidence of %s: %w", id, err)
	}
	return *h, nil
}

func noDecision() error {
	return &attestor.Error{
		Kind: attestor.NotFound,
		Msg:  "no such decision",
		Fix:  "list the recorded decisions with attestor decisions list",
	}
}

// Record returns one finished decision with its evidence, or an error of kind
// NotFound.
//
// A revocation that an earlier version recorded in the form of a decision is returned in
// that form: it is what was recorded, and what its entry in the log commits to.
// [attestor.AsRevocation] reads it. Lists have it as a revocation only.
func (s *Store) Record(ctx context.Context, id string) (attestor.Record, error) {
	const doing = "reading a decision"
	if s.none {
		return attestor.Record{}, unsupported()
	}

	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	h, err := s.headOf(ctx, id)
	if err != nil {
		return attestor.Record{}, s.fail(doing, err)
	}

	r, err := s.full(ctx, h, nil)

	// The row fits its entry, and a blob does not fit its hash: the change is shown, and the evidence is not.
	if errors.Is(err, errDamaged) {
		h.changed = "its evidence was changed since it was recorded"
		r, err = s.full(ctx, h, nil)
	}
	if err != nil {
		return attestor.Record{}, s.fail(doing, err)
	}
	return r, nil
}

// batch is how many rows an iterator holds in memory.
const batch = 200

// Records iterates over all decisions that f selects, newest first, with their
// evidence. It ends after an error.
func (s *Store) Records(ctx context.Context, f Filter) iter.Seq2[attestor.Record, error] {
	return func(yield func(attestor.Record, error) bool) {
		s.walk(ctx, f, true, func(h head, known map[string][]byte) (bool, error) {
			r, err := s.full(ctx, h, known)
			if err != nil {
				return false, err
			}
			return yield(r, nil), nil
		}, func(err error) { yield(attestor.Record{}, err) })
	}
}

// Decisions iterates over all decisions that f selects, newest first, without
// their evidence. It ends after an error.
func (s *Store) Decisions(ctx context.Context, f Filter) iter.Seq2[attestor.Decision, error] {
	return func(yield func(attestor.Decision, error) bool) {
		s.walk(ctx, f, false, func(h head, _ map[string][]byte) (bool, error) {
			d, err := h.decision()
			if err != nil {
				return false, err
			}
			return yield(d, nil), nil
		}, func(err error) { yield(attestor.Decision{}, err) })
	}
}

// walk calls visit with each row and the blobs of its batch, until visit returns
// false. It calls fail with the error that ends it.
func (s *Store) walk(
	ctx context.Context, f Filter, evidence bool,
	visit func(head, map[string][]byte) (bool, error), fail func(error),
) {
	const doing = "reading decisions"
	if s.none {
		fail(unsupported())
		return
	}

	// The plan has a deadline of its own, as each batch has.
	l, err := s.listWithin(ctx, f, evidence)
	if err != nil {
		fail(s.fail(doing, err))
		return
	}

	known := map[string][]byte{}
	for at := (step{more: true}); at.more; {
		if at, err = s.step(ctx, l, at.end, known); err != nil {
			fail(s.fail(doing, err))
			return
		}

		for _, h := range at.heads {
			// visit may take long, so that the caller may have left since the last row.
			if err := ctx.Err(); err != nil {
				fail(s.fail(doing, err))
				return
			}

			more, err := visit(h, known)
			if err != nil {
				fail(s.fail(doing, fmt.Errorf("decision %s: %w", h.id, err)))
				return
			}
			if !more {
				return
			}
		}
	}
}

// listWithin is [Store.list] within the timeout of one call.
func (s *Store) listWithin(ctx context.Context, f Filter, evidence bool) (*list, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return s.list(ctx, f, evidence)
}

// step reads the batch after pos and adds its blobs to known, within the timeout
// of one call.
func (s *Store) step(ctx context.Context, l *list, pos position, known map[string][]byte) (step, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	out, err := l.next(ctx, pos, batch)
	if err != nil {
		return out, err
	}
	out.heads = slices.DeleteFunc(out.heads, func(h head) bool { return !sampled(h.id, l.sample) })
	if err := s.markChanged(ctx, out.heads, l.evidence); err != nil {
		return out, err
	}
	if err := s.addSince(ctx, out.heads); err != nil || !l.evidence {
		return out, err
	}

	want := map[string]bool{}
	for _, h := range out.heads {
		if h.changed != "" {
			continue
		}
		for _, hash := range h.evidence.hashes() {
			want[hash] = true
		}
	}

	// Batches that follow each other share most blobs. Those that this one does not
	// need go, so that the memory is that of one batch.
	for hash := range known {
		if !want[hash] {
			delete(known, hash)
		}
	}
	return out, s.blobs(ctx, want, known)
}

// full joins a row with its blobs: those of known or, if that is nil, those that
// it reads.
func (s *Store) full(ctx context.Context, h head, known map[string][]byte) (attestor.Record, error) {
	if h.changed != "" {
		d, err := h.decision()
		return attestor.Record{Decision: d}, err
	}
	if h.damaged != nil {
		return attestor.Record{}, h.damaged
	}
	if known == nil {
		var err error
		if known, err = s.blobsOf(ctx, h); err != nil {
			return attestor.Record{}, err
		}
	}
	r, err := join(h.body, h.evidence, known)
	r.Decision.OverrideState, r.Decision.Revoked = h.override, h.revoked
	return r, err
}

// blobsOf reads all blobs of a row's evidence.
func (s *Store) blobsOf(ctx context.Context, h head) (map[string][]byte, error) {
	want := map[string]bool{}
	for _, hash := range h.evidence.hashes() {
		want[hash] = true
	}
	known := map[string][]byte{}
	return known, s.blobs(ctx, want, known)
}

// errDamaged means that stored evidence is not what was recorded.
var errDamaged = errors.New("the evidence was changed since it was recorded")

// A lostBlob is the hash of a blob that is gone.
type lostBlob string

func (l lostBlob) Error() string { return "the decision store has lost blob " + string(l) }

// evidenceGone reports whether an error of reading blobs is one of what is stored, so that no repeat will read it. Any
// other error is the database's, and may pass.
func evidenceGone(err error) bool {
	_, lost := errors.AsType[lostBlob](err)
	return lost || errors.Is(err, errDamaged)
}

// blobs reads the blobs of want that into lacks. Each is checked by its hash.
func (s *Store) blobs(ctx context.Context, want map[string]bool, into map[string][]byte) error {
	var missing []string
	for hash := range want {
		if into[hash] == nil {
			missing = append(missing, hash)
		}
	}
	return s.eachBlob(ctx, missing, func(hash string, data []byte) error {
		into[hash] = data
		return nil
	})
}

// eachBlob calls visit with each of some blobs, in no order. It holds one at a time, and
// each is checked by its hash. One that is gone is an error.
func (s *Store) eachBlob(ctx context.Context, hashes []string, visit func(hash string, data []byte) error) error {
	if len(hashes) == 0 {
		return nil
	}

	marks, args := placeholders(hashes)
	rows, err := s.from(ctx).QueryContext(ctx, `SELECT hash, data FROM blobs WHERE hash IN (`+marks+`)`, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	found := map[string]bool{}
	for rows.Next() {
		var hash string
		var packed sql.RawBytes
		if err := rows.Scan(&hash, &packed); err != nil {
			return err
		}

		data, err := s.codec.Unpack(packed)
		if err != nil {
			return fmt.Errorf("decompressing blob %s: %w: %w", hash, errDamaged, err)
		}

		// Evidence that was changed on disk must not explain a decision, nor be
		// judged again.
		if hashOf(data) != hash {
			return fmt.Errorf("blob %s has other content than its hash: %w", hash, errDamaged)
		}
		if err := visit(hash, data); err != nil {
			return err
		}
		found[hash] = true
	}
	if err := rows.Err(); err != nil {
		return err
	}

	// A blob that is gone is an error too: its findings would be missing from a
	// scan, which would then look clean.
	for _, hash := range hashes {
		if !found[hash] {
			return lostBlob(hash)
		}
	}
	return nil
}
