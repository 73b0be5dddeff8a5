package audit

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/tally"
)

// A factKey is a row of image_sums.
type factKey struct {
	day  int64
	kind tally.Kind
	key  string
}

// factSums are what a transaction adds to image_sums.
type factSums map[factKey]*tally.Numbers

// factsOf are what the sums have of a line.
func factsOf(l tally.Line) []tally.Fact {
	return append(tally.Facts(l), tally.GroupFact(l, l.Row.Repository))
}

// add adds the facts of a decision as the table images has it, or takes them away where
// sign is -1.
func (s factSums) add(at int64, facts []tally.Fact, sign int64) {
	day := floorDiv(at, dayMicros)
	for _, f := range facts {
		key := factKey{day, f.Kind, f.Key}
		n := s[key]
		if n == nil {
			n = new(tally.Numbers)
			s[key] = n
		}
		n.Add(f.Numbers, sign)
	}
}

// take takes an image out of the sums, if it is in them.
func (s factSums) take(i storedImage) {
	if i.rank >= 0 {
		s.add(i.at, factsOf(i.line), -1)
	}
}

// write adds the sums to the table. What a batch adds and takes away is not written.
func (s factSums) write(ctx context.Context, tx *txn) error {
	numbers := []string{"images", "passed", "refused", "undecided", "n"}
	rows := make([][]any, 0, len(s))
	for key, n := range s {
		if *n != (tally.Numbers{}) {
			rows = append(rows, []any{
				key.day, string(key.kind), key.key, n.Images, n.Passed, n.Refused, n.Undecided, n.N,
			})
		}
	}

	var set []string
	for _, c := range numbers {
		set = append(set, c+" = image_sums."+c+" + excluded."+c)
	}
	return upsert(ctx, tx, "image_sums", append([]string{"day", "kind", "key"}, numbers...), rows,
		"(day, kind, key) DO UPDATE SET "+strings.Join(set, ", "))
}

// A storedImage is a row of images.
type storedImage struct {
	position
	name string
	line tally.Line
	rank int64
}

// imagesBy reads the images whose column has one of some values, by their names.
func (s *Store) imagesBy(ctx context.Context, tx *txn, column string, values []string) (map[string]storedImage, error) {
	out := map[string]storedImage{}
	for len(values) > 0 {
		some := values[:min(maxRows, len(values))]
		values = values[len(some):]

		marks, args := placeholders(some)
		found, err := s.imageRows(tx.QueryContext(ctx, `SELECT name, at, decision, rank, line, packed FROM images
			WHERE `+column+` IN (`+marks+`)`, args...))
		if err != nil {
			return nil, err
		}
		for _, i := range found {
			out[i.name] = i
		}
	}
	return out, nil
}

func (s *Store) imageRows(rows *sql.Rows, err error) ([]storedImage, error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	var out []storedImage
	for rows.Next() {
		var i storedImage
		var t texts
		if err := rows.Scan(&i.name, &i.at, &i.id, &i.rank, &t.first, &t.packed); err != nil {
			return nil, err
		}
		line, _ := s.unpack(t)
		if err := json.Unmarshal([]byte(line), &i.line); err != nil {
			return nil, fmt.Errorf("decoding the line of %s: %w", i.id, err)
		}
		out = append(out, i)
	}
	return out, rows.Err()
}

// forgetImages takes images whose newest decision is about to be removed out of the
// table and of the sums.
func (s *Store) forgetImages(ctx context.Context, tx *txn, ids []string) error {
	gone, err := s.imagesBy(ctx, tx, "decision", ids)
	if err != nil {
		return err
	}

	facts := factSums{}
	values := make([]any, 0, len(gone))
	for name, i := range gone {
		facts.take(i)
		values = append(values, name)
	}
	if err := facts.write(ctx, tx); err != nil {
		return err
	}
	if err := deleteFrom(ctx, tx, "images", "name", values); err != nil {
		return err
	}

	// An older decision that stays, since it is what admits the image, is now the newest.
	left, err := s.leftOn(ctx, tx, slices.Sorted(maps.Keys(gone)))
	if err != nil {
		return err
	}
	return s.indexImages(ctx, tx, left)
}

// leftOn reads the decisions on some images that are not pruned, whatever their age: those that admissions and open
// overrides refer to.
func (s *Store) leftOn(ctx context.Context, tx *txn, names []string) (out []queued, err error) {
	const perStatement = 100
	for some := range slices.Chunk(names, perStatement) {
		var marks []string
		var args []any
		for _, name := range some {
			if img, err := attestor.ParseImage(name); err == nil { // what has no digest is not admitted
				args = append(args, img.Repository(), string(img.Digest()))
				marks = append(marks, fmt.Sprintf("($%d, $%d)", len(args)-1, len(args)))
			}
		}
		if len(marks) == 0 {
			continue
		}

		of := `(repository, digest) IN (VALUES ` + strings.Join(marks, ", ") + `)`
		found, err := s.queuedRows(tx.QueryContext(ctx, `SELECT id, at, repository, body, evidence, packed FROM decisions
			WHERE state = 'finished' AND NOT moved AND id IN (
				SELECT decision FROM admissions WHERE `+of+` UNION SELECT changed FROM admissions WHERE `+of+`
				UNION SELECT decision FROM overrides WHERE closed_at IS NULL AND `+of+`)`, args...))
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

// sumImages adds one batch of earlier images to the sums, and returns how many it had.
func (s *Store) sumImages(ctx context.Context) (n int, err error) {
	err = s.tx(ctx, "summing up images", func(ctx context.Context, tx *txn) error {
		if err := s.lockIndex(ctx, tx); err != nil {
			return err
		}

		batch, err := s.imageRows(tx.QueryContext(ctx, `SELECT name, at, decision, rank, line, packed FROM images
			WHERE rank = -1 LIMIT $1`, indexBatch))
		if n = len(batch); err != nil || n == 0 {
			return err
		}

		facts := factSums{}
		for _, i := range batch {
			facts.add(i.at, factsOf(i.line), 1)
			_, err := tx.ExecContext(ctx, `UPDATE images SET rank = $1, warned = $2 WHERE name = $3`,
				tally.Rank(i.line.Row), len(i.line.Upcoming) > 0, i.name)
			if err != nil {
				return err
			}
		}
		return facts.write(ctx, tx)
	})
	return n, err
}

// Facts iterates over the sums of what reports say of the images whose newest decision
// is since a time, in no order. They are exact for any Since: those of whole UTC days are
// kept, and the images of the day that it divides are read. Of f, Since is heeded; any
// other field is an error of kind Unsupported, and so is Visible: see [Store.Images].
func (s *Store) Facts(ctx context.Context, f Filter) iter.Seq2[tally.Fact, error] {
	return func(yield func(tally.Fact, error) bool) {
		if err := s.facts(ctx, f, func(f tally.Fact) bool { return yield(f, nil) }); err != nil {
			yield(tally.Fact{}, s.fail("reading sums", err))
		}
	}
}

func (s *Store) facts(ctx context.Context, f Filter, yield func(tally.Fact) bool) error {
	if !s.none && !Whole(f) {
		return noSums()
	}
	if _, err := s.kept(ctx, f); err != nil {
		return err
	}
	if err := s.summed(ctx); err != nil {
		return err
	}

	// The day that Since divides is read image by image.
	whole, edges := divide(Filter{Since: f.Since}, dayMicros)
	for _, edge := range edges {
		for l, err := range s.linesOf(ctx, imageQuery{since: edge.Since, until: edge.Until}) {
			if err != nil {
				return err
			}
			for _, f := range factsOf(l) {
				if !yield(f) {
					return nil
				}
			}
		}
	}
	return s.wholeFacts(ctx, whole, yield)
}

// wholeFacts reads the sums of whole days.
func (s *Store) wholeFacts(ctx context.Context, days span, yield func(tally.Fact) bool) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	rows, err := s.from(ctx).QueryContext(ctx, `SELECT kind, key, CAST(SUM(images) AS BIGINT), CAST(SUM(passed) AS BIGINT),
			CAST(SUM(refused) AS BIGINT), CAST(SUM(undecided) AS BIGINT), CAST(SUM(n) AS BIGINT)
		FROM image_sums WHERE day >= $1 GROUP BY kind, key HAVING SUM(images) > 0`, days.from)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	for rows.Next() {
		var f tally.Fact
		if err := rows.Scan(&f.Kind, &f.Key, &f.Images, &f.Passed, &f.Refused, &f.Undecided, &f.N); err != nil {
			return err
		}
		if !yield(f) {
			return nil
		}
	}
	return rows.Err()
}

// Whole reports whether [Store.Facts] answers a filter.
func Whole(f Filter) bool { return Summable(f) && f.Repository == "" && f.Visible == nil }

// First iterates over the images whose newest decision is since a time, at most n of
// them: those that need somebody first, and of these the newest. n of 0 is all. Of f the
// same fields are heeded as by [Store.Facts].
func (s *Store) First(ctx context.Context, f Filter, n int) iter.Seq2[tally.Line, error] {
	return func(yield func(tally.Line, error) bool) {
		if !s.none && !Whole(f) {
			yield(tally.Line{}, noSums())
			return
		}

		left := n
		for rank := range int64(tally.Ranks) {
			for l, err := range s.linesOf(ctx, imageQuery{since: f.Since, rank: &rank, limit: left}) {
				if !yield(l, err) || err != nil {
					return
				}
				if left--; left == 0 {
					return
				}
			}
		}
	}
}

// maxWarned bounds the images that are read for the examples of a report.
const maxWarned = 1000

// Warned iterates over images that are refused from a later day on, newest first, at
// most a thousand. Of f the same fields are heeded as by [Store.Facts].
func (s *Store) Warned(ctx context.Context, f Filter) iter.Seq2[tally.Line, error] {
	if !s.none && !Whole(f) {
		return func(yield func(tally.Line, error) bool) { yield(tally.Line{}, noSums()) }
	}
	return s.linesOf(ctx, imageQuery{since: f.Since, warned: true, limit: maxWarned})
}

// dropEmptySums removes the sums of nothing that pruning leaves.
func (s *Store) dropEmptySums(ctx context.Context, before time.Time) error {
	for _, t := range []struct {
		table, key, start, count string
		unit                     int64
	}{
		{"image_sums", "day, kind, key", "day", "images", dayMicros},
		{"day_sums", "day, repository, policy, verdict", "day", "decisions", dayMicros},
		{"hour_sums", "hour, policy, verdict", "hour", "decisions", hourMicros},
	} {
		for n := int64(pruneBatch); n == pruneBatch; {
			err := s.tx(ctx, "pruning decisions", func(ctx context.Context, tx *txn) error {
				if err := s.lockIndex(ctx, tx); err != nil {
					return err
				}
				res, err := tx.ExecContext(ctx, `DELETE FROM `+t.table+` WHERE (`+t.key+`) IN (SELECT `+t.key+
					` FROM `+t.table+
					` WHERE `+t.start+` <= $1 AND `+t.count+` = 0 LIMIT $2)`, floorDiv(before.UnixMicro(), t.unit),
					pruneBatch)
				if err != nil {
					return err
				}
				n, err = res.RowsAffected()
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
