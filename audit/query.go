package audit

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/attestor-gate/attestor"
)

// head is a stored row, its evidence in outline.
type head struct {
	id, repository, body string
	at                   int64
	evidence             outline // where it was asked for
}

func (s *Store) heads(ctx context.Context, query string, args ...any) ([]head, error) {
	rows, err := s.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has it
	var out []head
	for rows.Next() {
		var h head
		var evidence string
		if err := rows.Scan(&h.id, &h.at, &h.repository, &h.body, &evidence); err != nil {
			return nil, err
		}
		if evidence != "" {
			if err := json.Unmarshal([]byte(evidence), &h.evidence); err != nil {
				return nil, fmt.Errorf("decoding evidence of %s: %w", h.id, err)
			}
		}
		out = append(out, h)
	}
	return out, rows.Err()
}

// position is a place in the list, newest first.
type position struct {
	at int64
	id string
}

// after fetches at most n rows below pos; a zero pos is the top.
func (s *Store) after(ctx context.Context, f Filter, pos position, n int, evidence bool) ([]head, func(string) bool, error) {
	q, err := f.query()
	if err != nil {
		return nil, nil, err
	}
	if pos != (position{}) {
		q.and("("+q.order+") < (?, ?)", pos.at, pos.id)
	}
	column := "''"
	if evidence {
		column = "d.evidence"
	}
	q.args = append(q.args, n)
	heads, err := s.heads(ctx, fmt.Sprintf(`SELECT d.id, d.at, d.repository, d.body, %s FROM %s WHERE %s ORDER BY %s LIMIT $%d`,
		column, q.from, strings.Join(q.cond, " AND "), strings.ReplaceAll(q.order, ",", " DESC,")+" DESC", len(q.args)), q.args...)
	return heads, q.keep, err
}

// A Page is part of a list, newest first.
type Page struct {
	Decisions []attestor.Decision
	Next      string // token of the next page; "": this was the last
}

// The size of a page where none is asked for, and at most.
const (
	DefaultPageSize = 50
	MaxPageSize     = 1000
)

// maxScanned bounds the rows that one page may look at and hide.
const maxScanned = 20_000

// List returns one page of the decisions that f chooses. token is "" or the
// Next of a page of the same filter; anything else is an [attestor.Error] of
// kind Invalid. The page after the first keeps the Since and Until of the first
// where f has a Period.
func (s *Store) List(ctx context.Context, f Filter, size int, token string) (Page, error) {
	const doing = "listing decisions"
	if size <= 0 {
		size = DefaultPageSize
	}
	size = min(size, MaxPageSize)
	f, pos, err := f.resume(token)
	if err != nil {
		return Page{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	page := Page{Decisions: []attestor.Decision{}}
	for scanned := 0; ; {
		heads, keep, err := s.after(ctx, f, pos, size+1, false)
		if err != nil {
			return Page{}, s.fail(doing, err)
		}
		for i, h := range heads {
			if len(page.Decisions) == size {
				page.Next = f.token(pos)
				return page, nil
			}
			pos = position{h.at, h.id}
			if !keep(h.repository) {
				continue
			}
			var d attestor.Decision
			if err := json.Unmarshal([]byte(h.body), &d); err != nil {
				return Page{}, s.fail(doing, fmt.Errorf("decoding decision %s: %w", heads[i].id, err))
			}
			page.Decisions = append(page.Decisions, d)
		}
		if len(heads) <= size {
			return page, nil
		}
		if scanned += len(heads); scanned >= maxScanned {
			page.Next = f.token(pos)
			return page, nil
		}
	}
}

// Record returns one finished decision with its evidence, or an error of kind
// NotFound.
func (s *Store) Record(ctx context.Context, id string) (attestor.Record, error) {
	const doing = "reading a decision"
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	heads, err := s.heads(ctx, `SELECT id, at, repository, body, evidence FROM decisions WHERE id = $1 AND state = 'finished'`, text(id))
	if err != nil {
		return attestor.Record{}, s.fail(doing, err)
	}
	if len(heads) == 0 {
		return attestor.Record{}, &attestor.Error{Kind: attestor.NotFound, Msg: "no such decision", Fix: "attestor decisions list has those that are recorded"}
	}
	r, err := s.full(ctx, heads[0], nil)
	if err != nil {
		return attestor.Record{}, s.fail(doing, err)
	}
	return r, nil
}

// batch is how many rows an iterator holds at a time.
const batch = 200

// Records walks all that f chooses, newest first, with evidence. It holds a
// batch at a time; after an error it ends.
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

// Decisions walks all that f chooses, newest first, without evidence.
func (s *Store) Decisions(ctx context.Context, f Filter) iter.Seq2[attestor.Decision, error] {
	return func(yield func(attestor.Decision, error) bool) {
		s.walk(ctx, f, false, func(h head, _ map[string][]byte) (bool, error) {
			var d attestor.Decision
			if err := json.Unmarshal([]byte(h.body), &d); err != nil {
				return false, err
			}
			return yield(d, nil), nil
		}, func(err error) { yield(attestor.Decision{}, err) })
	}
}

// walk gives each row to visit until it says false, and an error to fail.
func (s *Store) walk(ctx context.Context, f Filter, evidence bool, visit func(head, map[string][]byte) (bool, error), fail func(error)) {
	const doing = "reading decisions"
	var pos position
	known := map[string][]byte{}
	for {
		heads, keep, err := s.step(ctx, f, pos, evidence, known)
		if err != nil {
			fail(s.fail(doing, err))
			return
		}
		for _, h := range heads {
			if err := ctx.Err(); err != nil { // whoever asked is gone; a visit may be long work
				fail(s.fail(doing, err))
				return
			}
			pos = position{h.at, h.id}
			if !keep(h.repository) {
				continue
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
		if len(heads) < batch {
			return
		}
	}
}

// step fetches a batch and the blobs that it needs, within the time of one call.
func (s *Store) step(ctx context.Context, f Filter, pos position, evidence bool, known map[string][]byte) ([]head, func(string) bool, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	heads, keep, err := s.after(ctx, f, pos, batch, evidence)
	if err != nil || !evidence {
		return heads, keep, err
	}
	want := map[string]bool{}
	for _, h := range heads {
		if !keep(h.repository) {
			continue
		}
		for _, hash := range h.evidence.hashes() {
			want[hash] = true
		}
	}
	for hash := range known {
		if !want[hash] {
			delete(known, hash) // neighbours share; memory stays that of a batch
		}
	}
	return heads, keep, s.blobs(ctx, want, known)
}

// full joins a row with its blobs, fetching those that are not in known.
func (s *Store) full(ctx context.Context, h head, known map[string][]byte) (attestor.Record, error) {
	if known == nil {
		known = map[string][]byte{}
		want := map[string]bool{}
		for _, hash := range h.evidence.hashes() {
			want[hash] = true
		}
		if err := s.blobs(ctx, want, known); err != nil {
			return attestor.Record{}, err
		}
	}
	return join(h.body, h.evidence, known)
}

// blobs fetches what want names and into has not, each checked by its hash.
func (s *Store) blobs(ctx context.Context, want map[string]bool, into map[string][]byte) error {
	var missing []any
	var marks []string
	for hash := range want {
		if into[hash] == nil {
			missing = append(missing, hash)
			marks = append(marks, fmt.Sprintf("$%d", len(missing)))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	rows, err := s.read.QueryContext(ctx, `SELECT hash, data FROM blobs WHERE hash IN (`+strings.Join(marks, ", ")+`)`, missing...) //nolint:gosec // placeholders
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // rows.Err has it
	for rows.Next() {
		var hash string
		var packed sql.RawBytes
		if err := rows.Scan(&hash, &packed); err != nil {
			return err
		}
		data, err := s.dec.DecodeAll(packed, nil)
		if err != nil {
			return fmt.Errorf("unpacking %s: %w", hash, err)
		}
		if hashOf(data) != hash {
			return fmt.Errorf("what is stored as %s is something else", hash)
		}
		into[hash] = data
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for hash := range want {
		if _, ok := into[hash]; !ok {
			return errors.New("the record has lost " + hash)
		}
	}
	return nil
}
