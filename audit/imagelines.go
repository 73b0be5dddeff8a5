package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/attestor-gate/attestor/internal/tally"
)

// Images iterates over the newest decision on each image since a time, newest first:
// what a report needs of it. Of f, Since, Repository and Visible are heeded; any
// other field is an error of kind Unsupported, since the newest decision that it
// selects may be another one.
func (s *Store) Images(ctx context.Context, f Filter) iter.Seq2[tally.Line, error] {
	return s.ImagesOf(ctx, f, nil)
}

// ImagesOf is [Store.Images] for the lines whose row is selected; nil: all. Of the others no more than the row is
// decoded, which is a fraction of a line.
func (s *Store) ImagesOf(ctx context.Context, f Filter, of func(tally.Row) bool) iter.Seq2[tally.Line, error] {
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

		q := imageQuery{since: f.Since, keep: keep, of: of}
		if f.Full() {
			q.repository = f.Repository
		}
		s.linesOf(ctx, q)(yield)
	}
}

// CountImages counts what [Store.Images] iterates over. The database counts by repository, and no line is read.
func (s *Store) CountImages(ctx context.Context, f Filter) (int, error) {
	if !s.none && !Summable(f) {
		return 0, noSums()
	}
	keep, err := s.kept(ctx, f)
	if err != nil {
		return 0, s.fail("counting images", err)
	}

	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var st statement
	st.add("SELECT repository, COUNT(*) FROM images WHERE TRUE")
	if !f.Since.IsZero() {
		st.add(" AND at >= ?", f.Since.UnixMicro())
	}
	if f.Full() {
		st.add(" AND repository = ?", f.Repository)
	}
	st.add(" GROUP BY repository")
	rows, err := s.from(ctx).QueryContext(ctx, st.text.String(), st.args...)
	if err != nil {
		return 0, s.fail("counting images", err)
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	total := 0
	for rows.Next() {
		var repository string
		var n int
		if err := rows.Scan(&repository, &n); err != nil {
			return 0, s.fail("counting images", err)
		}
		if keep(repository) { // what a caller may not read is not counted for him either
			total += n
		}
	}
	return total, s.failed("counting images", rows.Err())
}

// An imageQuery selects images. Zero fields select all.
type imageQuery struct {
	since, until time.Time
	repository   string
	keep         func(repository string) bool
	of           func(tally.Row) bool
	rank         *int64
	warned       bool
	limit        int
}

// imageBatch is how many images are read at once.
const imageBatch = 1000

// linesOf iterates over the lines of images, those with the newest decisions first.
func (s *Store) linesOf(ctx context.Context, q imageQuery) iter.Seq2[tally.Line, error] {
	return func(yield func(tally.Line, error) bool) {
		if s.none {
			yield(tally.Line{}, unsupported())
			return
		}

		left := q.limit

		// Pages follow a position, not an offset: rows that are added meanwhile shift nothing.
		for pos := (position{}); ; {
			size := imageBatch
			if q.limit > 0 {
				size = min(size, left)
			}
			lines, end, n, err := s.imageLines(ctx, q, pos, size)
			for _, l := range lines {
				if !yield(l, nil) {
					return
				}
			}
			if err != nil {
				yield(tally.Line{}, s.fail("reading images", err))
				return
			}

			// n counts rows before q.keep left some out: a page of which little was kept is not the last one.
			if left -= n; n < size || left == 0 {
				return
			}
			pos = end
		}
	}
}

// imageLines reads n lines that follow pos, where they end, and how many there were
// before q.keep left some out.
func (s *Store) imageLines(
	ctx context.Context, q imageQuery, pos position, size int,
) (lines []tally.Line, end position, n int, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	var st statement
	st.add("SELECT at, decision, repository, line, packed FROM images WHERE TRUE")
	if !q.since.IsZero() {
		st.add(" AND at >= ?", q.since.UnixMicro())
	}
	if !q.until.IsZero() {
		st.add(" AND at < ?", q.until.UnixMicro())
	}
	if q.repository != "" {
		st.add(" AND repository = ?", q.repository)
	}
	if q.rank != nil {
		st.add(" AND rank = ?", *q.rank)
	}
	if q.warned {
		st.add(" AND warned")
	}
	if pos != (position{}) {
		st.add(" AND (at, decision) < (?, ?)", pos.at, pos.id)
	}
	st.add(" ORDER BY at DESC, decision DESC LIMIT ?", size)

	rows, err := s.from(ctx).QueryContext(ctx, st.text.String(), st.args...)
	if err != nil {
		return nil, position{}, 0, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	for ; rows.Next(); n++ {
		var repository string
		var t texts
		if err := rows.Scan(&end.at, &end.id, &repository, &t.first, &t.packed); err != nil {
			return lines, position{}, n, err
		}
		if q.keep != nil && !q.keep(repository) {
			continue
		}
		var l tally.Line
		line, _ := s.unpack(t)
		if q.of != nil {
			if row, ok := rowOf(line); ok && !q.of(row) {
				continue
			}
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			return lines, position{}, n, fmt.Errorf("decoding the line of %s: %w", end.id, err)
		}
		if q.of != nil && !q.of(l.Row) {
			continue
		}
		lines = append(lines, l)
	}
	return lines, end, n, rows.Err()
}

// rowOf decodes the row of a line, which is written first; false: it is not there, and the whole line says what it has.
func rowOf(line string) (row tally.Row, ok bool) {
	const first = `{"row":`
	if !strings.HasPrefix(line, first) {
		return tally.Row{}, false
	}
	err := json.NewDecoder(strings.NewReader(line[len(first):])).Decode(&row)
	return row, err == nil
}

// Latest is the time of the newest decision since a time, or the zero time where there
// is none.
func (s *Store) Latest(ctx context.Context, since time.Time) (time.Time, error) {
	// The limit is one line: the loop ends here.
	for l, err := range s.linesOf(ctx, imageQuery{since: since, limit: 1}) {
		return l.Row.Time, err
	}
	return time.Time{}, nil
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
	if err := s.catchUp(ctx); err != nil {
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
