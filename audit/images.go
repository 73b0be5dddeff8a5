package audit

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/tally"
)

// indexImages keeps the newest decision on each image of a batch.
func (s *Store) indexImages(ctx context.Context, tx *txn, batch []queued) error {
	newest := map[string]queued{}
	for _, q := range batch {
		if q.decision == nil {
			continue // a decision that does not decode is in no report
		}

		name := imageName(*q.decision)
		if old, ok := newest[name]; !ok || q.position().before(old.position()) {
			newest[name] = q
		}
	}

	old, err := s.imagesBy(ctx, tx, "name", slices.Collect(maps.Keys(newest)))
	if err != nil {
		return err
	}

	facts := factSums{}
	var rows [][]any
	for _, name := range slices.Sorted(maps.Keys(newest)) {
		q := newest[name]
		before, known := old[name]
		if known && before.before(q.position()) {
			continue // there is a newer decision on the image
		}

		l := q.line
		if l == nil {
			line, err := s.lineOf(ctx, q)
			if err != nil {
				return err
			}
			if l, err = s.imageLine(q, line); err != nil {
				return err
			}
		}

		// The sums have one part for each image, at its newest decision: what the older one added is taken out again.
		if known {
			facts.take(before)
		}
		facts.add(q.at, l.facts, 1)
		rows = append(rows, []any{name, q.repository, q.at, q.id, l.text, l.packed, l.rank, l.warned})
	}

	columns := []string{"name", "repository", "at", "decision", "line", "packed", "rank", "warned"}
	err = upsert(ctx, tx, "images", columns, rows, `(name) DO UPDATE SET repository = excluded.repository,
		at = excluded.at, decision = excluded.decision, line = excluded.line, packed = excluded.packed,
		rank = excluded.rank, warned = excluded.warned`)
	if err != nil {
		return err
	}
	return facts.write(ctx, tx)
}

// An imageLine is what the table images and the sums have of the newest decision on an image.
type imageLine struct {
	text   string
	packed any // nil, or the text compressed, which is "" then
	rank   int
	warned bool
	facts  []tally.Fact
}

func (s *Store) imageLine(q queued, l tally.Line) (*imageLine, error) {
	text, err := stored(&l)
	if err != nil {
		return nil, fmt.Errorf("encoding the line of %s: %w", q.id, err)
	}

	out := &imageLine{text: text, rank: tally.Rank(l.Row), warned: len(l.Upcoming) > 0, facts: factsOf(l)}
	if s.packs() {
		out.text, out.packed = "", s.codec.Two(text, "")
	}
	return out, nil
}

// stored is a line as the table has it. l becomes what is read from there, so that what
// is added to the sums now is what is taken out again later.
func stored(l *tally.Line) (string, error) {
	b, err := json.Marshal(*l)
	if err != nil {
		return "", err
	}

	line := text(string(b))
	*l = tally.Line{}
	return line, json.Unmarshal([]byte(line), l)
}

// lineOf is the line of a decision, which must decode. One whose evidence is lost counts all the same, by
// what it says itself.
func (s *Store) lineOf(ctx context.Context, q queued) (tally.Line, error) {
	// A database that does not answer says nothing of the evidence: the batch stays in the queue. Otherwise the line
	// would lack its findings for good, and a report would show the image as clean.
	known, err := s.blobsOf(ctx, q.head)
	if err != nil && !evidenceGone(err) {
		return tally.Line{}, err
	}
	if err == nil {
		if r, err := s.full(ctx, q.head, known); err == nil {
			return tally.Project(r), nil
		}
	}
	return tally.Project(attestor.Record{Decision: *q.decision}), nil
}

// imageName is how a report names an image: by digest, or as requested.
func imageName(d attestor.Decision) string {
	return text(cmp.Or(d.Image.Reference, d.Image.Requested))
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
	row := s.from(ctx).QueryRowContext(ctx, `SELECT MIN(at) FROM decisions WHERE at >= $1`, max(since.UnixMicro(), 0))
	if err := row.Scan(&at); err != nil {
		return time.Time{}, s.fail("reading the oldest decision", err)
	}
	if !at.Valid {
		return time.Time{}, nil
	}
	return instantOf(&at.Int64), nil
}

// Version changes whenever something is recorded or pruned: it is how many entries the
// log has.
func (s *Store) Version(ctx context.Context) (string, error) {
	if s.none {
		return "", unsupported()
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	var size int64
	if err := s.from(ctx).QueryRowContext(ctx, `SELECT size FROM log_head`).Scan(&size); err != nil {
		return "", s.fail("reading the record's version", err)
	}
	return strconv.FormatInt(size, 10), nil
}
