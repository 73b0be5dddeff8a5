package audit

import (
	"context"
	"time"

	"github.com/attestor-gate/attestor/internal/translog"
)

// A prune is the log's entry of one: from index on, records from before a time may be gone.
type prune struct {
	index  int64
	before time.Time
}

// pruneSpan is how many entries of the log are searched for prunes by one statement.
const pruneSpan = 50_000

// readPrunes reads the entries of prunes up to a size of the log. That they are the log's
// is found by walk. No statement reads more than a part of the log: in SQLite, what the
// gate records meanwhile stays in the write-ahead log until a statement ends.
func (v *verifier) readPrunes(ctx context.Context, size int64) error {
	for ; v.searched < size; v.searched = min(v.searched+pruneSpan, size) {
		if err := v.readPrunesIn(ctx, v.searched, min(v.searched+pruneSpan, size)); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) readPrunesIn(ctx context.Context, first, end int64) error {
	ctx, cancel := context.WithTimeout(ctx, v.store.timeout)
	defer cancel()

	rows, err := v.store.read.QueryContext(ctx, `SELECT n, id, entry FROM log_leaves
		WHERE n >= $1 AND n < $2 AND kind = $3 ORDER BY n`, first, end, kindPrune)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	for rows.Next() {
		var p prune
		var id string
		var b []byte
		if err := rows.Scan(&p.index, &id, &b); err != nil {
			return err
		}
		entry, err := translog.ParseEntry(translog.EntryOf(kindPrune, id, b))
		if err != nil {
			continue // walk reports it
		}
		p.before = entry.Time
		v.prunes = append(v.prunes, p)
	}
	return rows.Err()
}

// pruned reports whether a prune after an entry may have removed its record. A prune that
// began since the log's head was read counts too, and walk then goes on to its entry.
func (v *verifier) pruned(ctx context.Context, l logged) (bool, error) {
	if l.Kind == kindPolicies {
		return false, nil // a prune does not delete them
	}
	if v.prunedBy(l) || v.store == nil { // a service's log was read as a whole
		return v.prunedBy(l), nil
	}

	// A prune is entered before it removes anything. Only entries up to the log's head
	// count: a row behind it is nobody's, and would excuse whatever was removed.
	head, err := translog.ReadHead(ctx, v.store.read)
	if err != nil || head.Size <= v.searched {
		return false, err
	}
	v.newest = head
	if err := v.readPrunes(ctx, head.Size); err != nil {
		return false, err
	}
	return v.prunedBy(l), nil
}

func (v *verifier) prunedBy(l logged) bool {
	for _, p := range v.prunes {
		if p.index > l.Index && l.entry.Time.Before(p.before) {
			v.excused = max(v.excused, p.index)
			return true
		}
	}
	return false
}
