package audit

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/tally"
)

// indexImages keeps the newest decision on each image of a batch.
func (s *Store) indexImages(ctx context.Context, tx *txn, batch []queued) error {
	newest := map[string]queued{}
	names := map[string]string{} // of decisions
	for _, q := range batch {
		if !q.recorded {
			continue
		}
		var d attestor.Decision
		if json.Unmarshal([]byte(q.body), &d) != nil {
			continue // a decision that does not decode is in no report
		}

		name := imageName(d)
		names[q.id] = name
		if old, ok := newest[name]; !ok || q.position().before(old.position()) {
			newest[name] = q
		}
	}

	var rows [][]any
	for _, name := range slices.Sorted(maps.Keys(newest)) {
		q := newest[name]

		// A decision whose evidence is lost counts all the same, by what it says itself.
		r, err := s.full(ctx, q.head, nil)
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			r = attestor.Record{}
			if err := json.Unmarshal([]byte(q.body), &r.Decision); err != nil {
				return err
			}
		}

		line, err := json.Marshal(tally.Project(r))
		if err != nil {
			return fmt.Errorf("encoding the line of %s: %w", q.id, err)
		}
		rows = append(rows, []any{name, q.repository, q.at, q.id, text(string(line))})
	}

	return upsert(ctx, tx, "images", []string{"name", "repository", "at", "decision", "line"}, rows,
		`(name) DO UPDATE SET repository = excluded.repository, at = excluded.at, decision = excluded.decision,
			line = excluded.line WHERE (images.at, images.decision) < (excluded.at, excluded.decision)`)
}

// imageName is how a report tells images apart: by digest, or as requested.
func imageName(d attestor.Decision) string {
	return text(cmp.Or(d.Image.Reference, d.Image.Requested))
}

// Images iterates over the newest decision on each image since a time, newest first:
// what a report needs of it. Of f, Since, Repository and Visible are heeded; any
// other field is an error of kind Unsupported, since the newest decision that it
// selects may be another one.
func (s *Store) Images(ctx context.Context, f Filter) iter.Seq2[tally.Line, error] {
	return func(yield func(tally.Line, error) bool) {
		if !s.none && !Summable(f) {
			yield(tally.Line{}, noSums())
			return
		}
		keep, err := s.kept(ctx, f)
		if err != nil {
			yield(tally.Line{}, s.fail("reading images", err))
			return
		}

		since := int64(0)
		if !f.Since.IsZero() {
			since = f.Since.UnixMicro()
		}
		for pos := (position{}); ; {
			lines, end, err := s.imageLines(ctx, since, pos, keep)
			for _, l := range lines {
				if !yield(l, nil) {
					return
				}
			}
			if err != nil {
				yield(tally.Line{}, s.fail("reading images", err))
				return
			}
			if end == (position{}) {
				return
			}
			pos = end
		}
	}
}

// imageBatch is how many images are read at once.
const imageBatch = 1000

// imageLines reads the lines that follow pos, and where they end: the zero position
// after the last one.
func (s *Store) imageLines(
	ctx context.Context, since int64, pos position, keep func(string) bool,
) (lines []tally.Line, end position, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	var st statement
	st.add("SELECT at, decision, repository, line FROM images WHERE at >= ?", since)
	if pos != (position{}) {
		st.add(" AND (at, decision) < (?, ?)", pos.at, pos.id)
	}
	st.add(" ORDER BY at DESC, decision DESC LIMIT ?", imageBatch)
	rows, err := s.read.QueryContext(ctx, st.text.String(), st.args...)
	if err != nil {
		return nil, position{}, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	n := 0
	for ; rows.Next(); n++ {
		var repository string
		var packed sql.RawBytes
		if err := rows.Scan(&end.at, &end.id, &repository, &packed); err != nil {
			return lines, position{}, err
		}
		if !keep(repository) {
			continue
		}
		var l tally.Line
		if err := json.Unmarshal(packed, &l); err != nil {
			return lines, position{}, fmt.Errorf("decoding the line of %s: %w", end.id, err)
		}
		lines = append(lines, l)
	}
	if n < imageBatch {
		end = position{}
	}
	return lines, end, rows.Err()
}

// Summable reports whether [Store.Images] answers a filter.
func Summable(f Filter) bool {
	rest := f
	rest.Since, rest.Repository, rest.Period, rest.Visible = time.Time{}, "", "", nil
	return len(rest.Values()) == 0
}

// kept brings the index up to date, and returns the condition on repositories.
func (s *Store) kept(ctx context.Context, f Filter) (func(string) bool, error) {
	if s.none {
		return nil, unsupported()
	}
	if err := s.settle(ctx); err != nil {
		return nil, err
	}
	return s.ofRepositories(ctx, f)
}

// ofRepositories is the condition on repositories of a filter.
func (s *Store) ofRepositories(ctx context.Context, f Filter) (func(string) bool, error) {
	visible := func(repository string) bool { return f.Visible == nil || f.Visible(repository) }
	switch {
	case f.Repository == "":
		return visible, nil
	case f.Full():
		return func(r string) bool { return r == f.Repository && visible(r) }, nil
	}
	matches, _, err := s.repositories(ctx, f)
	return func(r string) bool { return matches(r) && visible(r) }, err
}

// Oldest is the time of the oldest decision since a time, or the zero time where
// there is none.
func (s *Store) Oldest(ctx context.Context, since time.Time) (time.Time, error) {
	if s.none {
		return time.Time{}, unsupported()
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	var at sql.NullInt64
	row := s.read.QueryRowContext(ctx, `SELECT MIN(at) FROM decisions WHERE at >= $1`, max(since.UnixMicro(), 0))
	if err := row.Scan(&at); err != nil {
		return time.Time{}, s.fail("reading the oldest decision", err)
	}
	if !at.Valid {
		return time.Time{}, nil
	}
	return instantOf(&at.Int64), nil
}

// Newest names the newest decision: it changes whenever one is recorded or removed at
// the end of the list. "" where there is none.
func (s *Store) Newest(ctx context.Context) (string, error) {
	if s.none {
		return "", unsupported()
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	var p position
	row := s.read.QueryRowContext(ctx, `SELECT at, id FROM decisions WHERE state = 'finished'
		ORDER BY at DESC, id DESC LIMIT 1`)
	switch err := row.Scan(&p.at, &p.id); {
	case errors.Is(err, sql.ErrNoRows):
		return "", nil
	case err != nil:
		return "", s.fail("reading the newest decision", err)
	}
	return fmt.Sprint(p.at, " ", p.id), nil
}
