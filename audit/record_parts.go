package audit

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/translog"
)

// partsOf returns the parts of finished records of a kind, by id, as the database has
// them now. Records that are not there are not in the result.
func (s *Store) partsOf(ctx context.Context, kind string, ids []string) (map[string]map[string][]byte, error) {
	queries := map[string]struct {
		text string
		scan func(*sql.Rows) (string, map[string][]byte, error)
	}{
		kindDecision: {`SELECT id, at, requested, repository, digest, verdict, policy, policy_digest, break_glass, body, evidence,
			packed FROM decisions WHERE state = 'finished' AND id IN `, s.scanDecision},
		kindOverride: {`SELECT decision, repository, digest, at, granted_to, reason, attestors, expires
			FROM overrides WHERE decision IN `, scanOverride},
		kindRevocation: {`SELECT id, body FROM revocations WHERE state = 'finished' AND id IN `, scanRevocation},
		kindPolicies:   {`SELECT id, n, at, body FROM policy_changes WHERE id IN `, scanPolicies},
	}

	q := queries[kind]
	marks, args := placeholders(ids)
	rows, err := s.read.QueryContext(ctx, q.text+`(`+marks+`)`, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	out := map[string]map[string][]byte{}
	for rows.Next() {
		id, parts, err := q.scan(rows)
		if err != nil {
			return nil, err
		}
		out[id] = parts
	}
	return out, rows.Err()
}

func (s *Store) scanDecision(rows *sql.Rows) (string, map[string][]byte, error) {
	var r row
	var t texts
	err := rows.Scan(&r.id, &r.at, &r.requested, &r.repository, &r.digest, &r.verdict, &r.policy, &r.policyDigest,
		&r.breakGlass, &t.first, &t.second, &t.packed)
	if err != nil {
		return "", nil, err
	}
	r.body, r.outline = s.unpack(t)
	parts, err := r.parts()
	return r.id, parts, err
}

func scanOverride(rows *sql.Rows) (string, map[string][]byte, error) {
	var id string
	var o overridePart
	err := rows.Scan(&id, &o.Repository, &o.Digest, &o.At, &o.GrantedTo, &o.Reason, &o.Attestors, &o.Expires)
	if err != nil {
		return "", nil, err
	}
	parts, err := o.parts()
	return id, parts, err
}

func scanRevocation(rows *sql.Rows) (string, map[string][]byte, error) {
	var id, body string
	if err := rows.Scan(&id, &body); err != nil {
		return "", nil, err
	}
	return id, map[string][]byte{kindRevocation: []byte(body)}, nil
}

// unlogged reports the records that have no entry. While those that are older than the
// log are still being entered, they are counted: it is not known which of them will
// have an entry and which somebody added.
func (v *verifier) unlogged(ctx context.Context) error {
	for _, q := range []struct{ kind, table, id, cond string }{
		{kindDecision, "decisions", "id", "state = 'finished'"},
		{kindOverride, "overrides", "decision", "1 = 1"},
		{kindRevocation, "revocations", "id", "state = 'finished'"},
		{kindPolicies, "policy_changes", "id", "1 = 1"},
	} {
		// One batch of records after the other, and not the next that have no entry: where
		// all have one, that statement would read the whole record, and what the gate records
		// in SQLite meanwhile would stay in the write-ahead log.
		//nolint:gosec // constants above
		text := fmt.Sprintf(`SELECT r.id, l.n IS NULL FROM (SELECT %[3]s AS id FROM %[2]s WHERE %[4]s AND %[3]s > $1
				ORDER BY %[3]s LIMIT $2) AS r
			LEFT JOIN log_leaves l ON l.kind = '%[1]s' AND l.id = r.id ORDER BY r.id`, q.kind, q.table, q.id, q.cond)

		for after := ""; ; {
			last, missing, n, err := v.unloggedIn(ctx, text, after)
			if err != nil {
				return err
			}
			for _, id := range missing {
				if !v.complete && q.kind != kindPolicies { // no policy change is older than the log
					v.done.NotEntered++
					continue
				}
				v.fault(Fault{Index: -1, Kind: q.kind, ID: id, Problem: "it has no entry in the log: the gate did " +
					"not record it"})
			}
			if n < verifyBatch {
				break
			}
			after = last
		}
	}
	return nil
}

// unloggedIn reads one batch of records: the last, how many there were, and those that
// have no entry.
func (v *verifier) unloggedIn(ctx context.Context, text, after string) (last string, missing []string,
	n int, err error) {
	ctx, cancel := context.WithTimeout(ctx, v.store.timeout)
	defer cancel()
	rows, err := v.store.read.QueryContext(ctx, text, after, verifyBatch)
	if err != nil {
		return "", nil, 0, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	for ; rows.Next(); n++ {
		var none bool
		if err := rows.Scan(&last, &none); err != nil {
			return "", nil, 0, err
		}
		if none {
			missing = append(missing, last)
		}
	}
	return last, missing, n, rows.Err()
}

// closed reports overrides that are closed by what the record does not have. An open
// override that somebody closed would not end.
func (v *verifier) closed(ctx context.Context) error {
	const text = `SELECT o.decision FROM overrides o WHERE o.closed_at IS NOT NULL AND NOT EXISTS
		(SELECT 1 FROM log_leaves l WHERE l.id = o.closed_by AND l.kind IN ('decision', 'revocation'))
		AND o.decision > $1 ORDER BY o.decision LIMIT $2`
	for after := ""; v.complete; {
		ids, err := idRows(v.store.read.QueryContext(ctx, text, after, verifyBatch))
		if err != nil {
			return err
		}
		for _, id := range ids {
			v.fault(Fault{Index: -1, Kind: kindOverride, ID: id, Problem: "it is closed, and nothing that was " +
				"recorded closed it"})
		}
		if len(ids) < verifyBatch {
			return nil
		}
		after = ids[len(ids)-1]
	}

	return nil
}

// blobs reads every blob and compares it with its hash, which the entries of decisions
// commit to, and finds the blobs that are missing.
func (v *verifier) blobs(ctx context.Context) error {
	for after := ""; ; {
		hashes, err := idRows(v.store.read.QueryContext(ctx,
			`SELECT hash FROM blobs WHERE hash > $1 ORDER BY hash LIMIT $2`, after, verifyBatch))
		if err != nil {
			return err
		}
		for _, hash := range hashes {
			err := v.store.blobs(ctx, map[string]bool{hash: true}, map[string][]byte{})
			if errors.Is(err, errDamaged) {
				v.fault(Fault{Index: -1, Kind: "evidence", ID: hash, Problem: "it was changed since it was recorded"})
			} else if err != nil {
				return err
			}
		}
		if len(hashes) < verifyBatch {
			return v.missingBlobs(ctx)
		}
		after = hashes[len(hashes)-1]
	}
}

// missingBlobs reports decisions whose evidence is not there.
func (v *verifier) missingBlobs(ctx context.Context) error {
	for after := ""; ; {
		batch, err := v.store.outlines(v.store.read.QueryContext(ctx, `SELECT id, body, evidence, packed FROM decisions
			WHERE state = 'finished' AND id > $1 ORDER BY id LIMIT $2`, after, missingBatch))
		if err != nil {
			return err
		}

		wanted := map[string]bool{}
		for _, b := range batch {
			for _, hash := range b.hashes {
				wanted[hash] = true
			}
		}
		marks, args := placeholders(slices.Sorted(maps.Keys(wanted)))
		have, err := idRows(v.store.read.QueryContext(ctx, `SELECT hash FROM blobs WHERE hash IN (`+marks+`)`, args...))
		if err != nil {
			return err
		}
		for _, hash := range have {
			delete(wanted, hash)
		}

		for _, b := range batch {
			lost := slices.DeleteFunc(b.hashes, func(hash string) bool { return !wanted[hash] })
			if len(lost) > 0 {
				v.fault(Fault{
					Index: -1, Kind: kindDecision, ID: b.id,
					Problem: fmt.Sprintf("evidence was removed: %s, such as %s", describe.Plural(len(lost), "part"),
						lost[0]),
				})
			}
		}
		if len(batch) < missingBatch {
			return nil
		}
		after = batch[len(batch)-1].id
	}
}

// missingBatch keeps the hashes of a batch's evidence below the number of parameters that
// the databases take.
const missingBatch = 50

// An outlined decision is its id with the hashes of its evidence.
type outlined struct {
	id     string
	hashes []string
}

func (s *Store) outlines(rows *sql.Rows, err error) ([]outlined, error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	var out []outlined
	for rows.Next() {
		var o outlined
		var t texts
		if err := rows.Scan(&o.id, &t.first, &t.second, &t.packed); err != nil {
			return nil, err
		}
		_, text := s.unpack(t)

		// Evidence that does not decode was changed, which its entry has shown.
		var parsed outline
		if json.Unmarshal([]byte(text), &parsed) == nil {
			o.hashes = parsed.hashes()
		}
		out = append(out, o)
	}
	return out, rows.Err()
}

// logComplete reports whether every record that is older than the log was entered into
// it, so that one without an entry is not the gate's.
func (s *Store) logComplete(ctx context.Context) (bool, error) {
	if s.entered.Load() {
		return true, nil
	}
	_, err := translog.Find(ctx, s.read, kindLog, entryComplete)
	switch {
	case err == nil:
		s.entered.Store(true)
		return true, nil
	case errors.Is(err, sql.ErrNoRows):
		return false, nil
	}
	return false, err
}
