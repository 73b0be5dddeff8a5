package audit

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
)

// In which repositories a finding was is kept in finding_places, as two numbers, which the table numbers has the texts
// of. Builds before kept the two texts, in finding_terms. Rows that are there are moved in small steps, and both tables
// are searched.

// A place says that a repository had a finding, by one of its terms.
type place struct{ term, repository string }

// repositoryKind is how the names of repositories begin in the table numbers.
const repositoryKind = "repository:"

// A blobIn is a blob of findings, by its hash, of a repository's decision.
type blobIn struct{ hash, repository string }

// indexFindings enters the findings of a batch that their repositories did not have before.
func (s *Store) indexFindings(ctx context.Context, tx *txn, batch []queued) error {
	wanted := map[blobIn]bool{}
	for _, q := range batch {
		for _, p := range q.evidence.Parts {
			if p.Findings != "" {
				wanted[blobIn{p.Findings, q.repository}] = true
			}
		}
	}

	var blobs []blobIn
	all := map[place]bool{}
	known := map[string]int64{}
	notes, err := s.notes(ctx, tx, wanted, known)
	if err != nil {
		return err
	}
	for b := range wanted {
		// The same findings come with most decisions on an image.
		if noted, err := notes.has(ctx, tx, b); err != nil {
			return err
		} else if noted {
			continue
		}

		terms, err := s.findingTerms(ctx, b.hash)
		if err != nil {
			return err
		}
		for _, term := range terms {
			all[place{term, b.repository}] = true
		}

		// Findings that are lost may be recorded again, and are entered then.
		if len(terms) > 0 {
			blobs = append(blobs, b)
		}
	}
	if err := notes.add(ctx, tx, blobs); err != nil {
		return err
	}
	return s.putPlaces(ctx, tx, slices.Collect(maps.Keys(all)), known)
}

// notes are the table that says which blobs of findings were entered.
type notes struct {
	table, column string
	key           func(b blobIn) []any // of column and repository
}

// notes are those of the form that is written now. Repositories of blobs get their numbers, which known has then.
func (s *Store) notes(ctx context.Context, tx *txn, blobs map[blobIn]bool, known map[string]int64) (notes, error) {
	if !s.shortens() {
		return notes{"finding_terms", "term", func(b blobIn) []any { return []any{findingsTerm(b.hash), b.repository} }}, nil
	}

	names := map[string]bool{}
	for b := range blobs {
		if name := repositoryKind + b.repository; known[name] == 0 {
			names[name] = true
		}
	}
	err := giveNumbers(ctx, tx, slices.Sorted(maps.Keys(names)), known)
	return notes{"finding_blobs", "hash", func(b blobIn) []any {
		return []any{hashBytes(b.hash), known[repositoryKind+b.repository]}
	}}, err
}

// compare is the order of the table.
func (b blobIn) compare(c blobIn) int {
	return cmp.Or(cmp.Compare(b.hash, c.hash), cmp.Compare(b.repository, c.repository))
}

func (n notes) has(ctx context.Context, tx *txn, b blobIn) (noted bool, err error) {
	err = tx.QueryRowContext(ctx, `SELECT COUNT(*) > 0 FROM `+n.table+` WHERE `+n.column+` = $1 AND repository = $2`,
		n.key(b)...).Scan(&noted)
	return noted, err
}

func (n notes) add(ctx context.Context, tx *txn, blobs []blobIn) error {
	rows := make([][]any, 0, len(blobs))
	for _, b := range blobs {
		rows = append(rows, n.key(b))
	}
	return insert(ctx, tx, n.table, []string{n.column, "repository"}, rows)
}

// forgetFindings removes the notes of blobs that are gone.
func forgetFindings(ctx context.Context, tx *txn, hashes []string) error {
	terms, keys := make([]any, 0, len(hashes)), make([]any, 0, len(hashes))
	for _, hash := range hashes {
		terms, keys = append(terms, findingsTerm(hash)), append(keys, hashBytes(hash))
	}
	if err := deleteFrom(ctx, tx, "finding_terms", "term", terms); err != nil {
		return err
	}
	return deleteFrom(ctx, tx, "finding_blobs", "hash", keys)
}

// hashBytes are the bytes of a blob's hash.
func hashBytes(hash string) []byte {
	b, err := hex.DecodeString(strings.TrimPrefix(hash, "sha256:"))
	if err != nil {
		return []byte(hash) // no version wrote one; it is another key all the same
	}
	return b
}

// findingTerms are the terms of a blob of findings. One that is lost has none: the
// search for other decisions must not end with it.
func (s *Store) findingTerms(ctx context.Context, hash string) ([]string, error) {
	blobs := map[string][]byte{}
	err := s.blobs(ctx, map[string]bool{hash: true}, blobs)
	if evidenceGone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err // the batch stays in the queue: without these terms, a search would never find the decision
	}
	s.summarize(hash, blobs[hash]) // the newest decisions are searched first

	// Of each of what may be many, two fields are needed.
	var findings []struct {
		ID      string `json:"id"`
		Package string `json:"package"`
	}
	if err := json.Unmarshal(blobs[hash], &findings); err != nil {
		return nil, nil //nolint:nilerr // as above
	}
	terms := map[string]bool{}
	for _, f := range findings {
		terms[cveTerm(f.ID)], terms[packageTerm(f.Package)] = true, true
	}
	return slices.Sorted(maps.Keys(terms)), nil
}

// termsIn are the terms of findings.
func termsIn(findings []attestor.Vulnerability) map[string]bool {
	terms := map[string]bool{}
	for _, v := range findings {
		terms[cveTerm(v.ID)], terms[packageTerm(v.Package)] = true, true
	}
	return terms
}

// putPlaces enters where findings are. known are numbers that the database has, and gets those that are looked up or
// given. The index must be locked: numbers are given one after the other.
func (s *Store) putPlaces(ctx context.Context, tx *txn, places []place, known map[string]int64) error {
	if s.shortens() {
		return numberPlaces(ctx, tx, places, known)
	}

	// Instances of the version before, which may be at work, search here.
	slices.SortFunc(places, place.compare)
	rows := make([][]any, 0, len(places))
	for _, p := range places {
		rows = append(rows, []any{p.term, p.repository})
	}
	return insert(ctx, tx, "finding_terms", []string{"term", "repository"}, rows)
}

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.term, q.term), cmp.Compare(p.repository, q.repository))
}

// numberPlaces is putPlaces of this version.
func numberPlaces(ctx context.Context, tx *txn, places []place, known map[string]int64) error {
	wanted := map[string]bool{}
	for _, p := range places {
		for _, name := range []string{p.term, repositoryKind + p.repository} {
			if known[name] == 0 {
				wanted[name] = true
			}
		}
	}
	if err := giveNumbers(ctx, tx, slices.Sorted(maps.Keys(wanted)), known); err != nil {
		return err
	}

	// In the order of the key, so that each of its pages is written once.
	pairs := make([][2]int64, 0, len(places))
	for _, p := range places {
		pairs = append(pairs, [2]int64{known[p.term], known[repositoryKind+p.repository]})
	}
	slices.SortFunc(pairs, func(a, b [2]int64) int { return slices.Compare(a[:], b[:]) })
	rows := make([][]any, 0, len(pairs))
	for _, p := range pairs {
		rows = append(rows, []any{p[0], p[1]})
	}
	return insert(ctx, tx, "finding_places", []string{"term", "repository"}, rows)
}

// giveNumbers adds the numbers of names to known. A name that has none gets the next one.
func giveNumbers(ctx context.Context, tx *txn, names []string, known map[string]int64) error {
	for some := range slices.Chunk(names, maxRows) {
		if err := readNumbers(ctx, tx, some, known); err != nil {
			return err
		}
	}
	names = slices.DeleteFunc(names, func(name string) bool { return known[name] > 0 })
	if len(names) == 0 {
		return nil
	}

	var last int64
	if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(n), 0) FROM numbers`).Scan(&last); err != nil {
		return err
	}
	rows := make([][]any, 0, len(names))
	for _, name := range names {
		last++
		known[name] = last
		rows = append(rows, []any{last, name})
	}

	// A number of two names would put findings where they are not: a conflict is an error.
	for some := range slices.Chunk(rows, maxRows) {
		st := statement{anonymous: tx.anonymous}
		st.values("numbers", []string{"n", "name"}, some)
		if _, err := tx.ExecContext(ctx, st.text.String(), st.args...); err != nil {
			return err
		}
	}
	return nil
}

// readNumbers adds the numbers that some names have to known.
func readNumbers(ctx context.Context, tx *txn, names []string, known map[string]int64) error {
	args := make([]any, 0, len(names))
	for _, name := range names {
		args = append(args, name)
	}
	st := statement{anonymous: tx.anonymous}
	st.add("SELECT n, name FROM numbers WHERE name IN (?"+strings.Repeat(", ?", len(names)-1)+")", args...)
	rows, err := tx.QueryContext(ctx, st.text.String(), st.args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	for rows.Next() {
		var n int64
		var name string
		if err := rows.Scan(&n, &name); err != nil {
			return err
		}
		known[name] = n
	}
	return rows.Err()
}

// byPlace adds the condition that a decision's repository had a finding, by its term.
func (s *Store) byPlace(ctx context.Context, p *plan, term string) error {
	// A row is moved from the first table to the second: whatever is moved meanwhile is found in one of them.
	const earlierOnes = `SELECT repository FROM finding_terms WHERE term = ? LIMIT ?`
	const numbered = `SELECT r.name FROM finding_places f JOIN numbers r ON r.n = f.repository
		WHERE f.term = (SELECT n FROM numbers WHERE name = ?) LIMIT ?`
	names, err := s.strings(ctx, earlierOnes, term, maxMerged+1)
	if err != nil {
		return err
	}
	more, err := s.strings(ctx, numbered, term, maxMerged+1)
	if err != nil {
		return err
	}
	for _, name := range more {
		names = append(names, strings.TrimPrefix(name, repositoryKind))
	}
	slices.Sort(names)
	p.among(slices.Compact(names), func(string) bool { return true })

	// Both tables are in one condition, and so in one state of the database.
	const isNumbered = `EXISTS (SELECT 1 FROM finding_places f WHERE f.term = (SELECT n FROM numbers WHERE name = ?)
		AND f.repository = (SELECT n FROM numbers WHERE name = '` + repositoryKind + `' || d.repository))`
	waiting, err := s.strings(ctx, `SELECT term FROM finding_terms LIMIT 1`)
	if err != nil {
		return err
	}
	if len(waiting) == 0 {
		p.rows.and(isNumbered, term)
		return nil
	}
	p.rows.and(`(EXISTS (SELECT 1 FROM finding_terms f WHERE f.term = ? AND f.repository = d.repository)
		OR `+isNumbered+`)`, term, term)
	return nil
}

// A mover moves rows of finding_terms, in their order.
type mover struct {
	after place // the last that was moved: before it there are none
	done  bool  // there are none
}

// moveBatch is how many rows one transaction moves. It is short, so that decisions can be recorded in between.
const moveBatch = 500

// moveFindings moves one batch of the findings that versions before entered. A crash leaves each of them in one table
// or the other. It returns indexBatch where there may be more, else 0.
func (s *Store) moveFindings(ctx context.Context) (n int, err error) {
	m := &s.indexer.mover
	if m.done || !s.shortens() {
		return 0, nil
	}

	var batch []place
	err = s.tx(ctx, "numbering findings", func(ctx context.Context, tx *txn) error {
		if err := s.lockIndex(ctx, tx); err != nil {
			return err
		}
		batch, err = placeRows(tx.QueryContext(ctx, `SELECT term, repository FROM finding_terms
			WHERE (term, repository) > ($1, $2) ORDER BY term, repository LIMIT $3`,
			m.after.term, m.after.repository, moveBatch))
		if err != nil || len(batch) == 0 {
			return err
		}

		// That a blob was entered is noted elsewhere now: it is entered once more, which changes nothing.
		last := batch[len(batch)-1]
		places := slices.DeleteFunc(slices.Clone(batch), func(p place) bool {
			return strings.HasPrefix(p.term, findingsTerm(""))
		})
		if err := numberPlaces(ctx, tx, places, map[string]int64{}); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM finding_terms WHERE (term, repository) > ($1, $2)
			AND (term, repository) <= ($3, $4)`, m.after.term, m.after.repository, last.term, last.repository)
		return err
	})
	if err != nil {
		return 0, err
	}

	if m.done = len(batch) < moveBatch; m.done {
		return 0, nil
	}
	m.after = batch[len(batch)-1]
	return indexBatch, nil
}

func placeRows(rows *sql.Rows, err error) ([]place, error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	var out []place
	for rows.Next() {
		var p place
		if err := rows.Scan(&p.term, &p.repository); err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, rows.Err()
}
