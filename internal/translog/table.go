package translog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/mod/sumdb/tlog"
)

// A Leaf is one entry with what finds and opens it again.
type Leaf struct {
	Entry Entry
	Salt  []byte // of the entry's commitments

	encoded, short []byte // forms of Entry; nil: not made yet
}

// Prepared returns the leaf with the forms of its entry, which an append then need not make. The entry must not change
// any more.
func (l Leaf) Prepared() (Leaf, error) {
	encoded, err := l.Entry.Encode()
	if err != nil {
		return l, err
	}
	l.encoded, l.short = encoded, l.Entry.short(encoded)
	return l, nil
}

// A Stored leaf is one that the database has.
type Stored struct {
	Index  int64
	Kind   string
	ID     string
	Entry  []byte
	Salt   []byte // nil once the record's content was deleted
	Hashes []tlog.Hash
}

// A Table is the log in a database whose schema has the tables log_head and
// log_leaves. It is safe for concurrent use.
type Table struct {
	// Postgres says which of the two dialects the database has.
	Postgres bool
	// Exec runs a statement within a transaction; nil: tx.ExecContext. A store that
	// prepares [Table.Statements] runs them prepared.
	Exec func(ctx context.Context, tx *sql.Tx, text string, args ...any) (sql.Result, error)
	// Whole reports whether rows have entries as they are, which earlier versions need that may still read the log; nil:
	// rows have their short form.
	Whole func() bool

	mu   sync.Mutex
	last Head // as this process committed it last, which saves reading it; guarded by mu
}

const (
	// The head moves only from where the caller believes that it is. PostgreSQL, 13.2.1:
	// an UPDATE that waited for another transaction evaluates its condition anew on "the
	// updated version of the row". So of two instances that append, one commits and the
	// other finds no row, whatever either remembered.
	moveHeadText = `UPDATE log_head SET size = $1, peaks = $2 WHERE size = $3 AND peaks = $4`

	putLeafText = `INSERT INTO log_leaves (n, kind, id, entry, salt, hashes) VALUES ($1, $2, $3, $4, $5, $6)`

	// Head and leaves in one statement, and so in one round trip.
	appendText = `WITH head AS (` + moveHeadText + ` RETURNING size)
		INSERT INTO log_leaves (n, kind, id, entry, salt, hashes)
		SELECT u.n, u.kind, u.id, u.entry, u.salt, u.hashes
		FROM unnest($5::bigint[], $6::text[], $7::text[], $8::bytea[], $9::bytea[], $10::bytea[])
			AS u(n, kind, id, entry, salt, hashes)
		WHERE EXISTS (SELECT 1 FROM head)`

	headText = `SELECT size, peaks FROM log_head`
)

// Statements lists the statements that an append runs, for a store that prepares them.
func (t *Table) Statements() []string { return []string{moveHeadText, putLeafText, putLeavesText()} }

// Append appends leaves, in order, within tx, and returns the index of the first and
// the head after the last. Until tx ends no other transaction can append. After its
// commit the caller calls [Table.Committed] with the head.
func (t *Table) Append(ctx context.Context, tx *sql.Tx, leaves []Leaf) (first int64, after Head, err error) {
	t.mu.Lock()
	before := t.last
	t.mu.Unlock()

	// What this process remembers is right unless another one appended since. In that
	// case the head is read under a lock, and cannot move again.
	for range 2 {
		var moved bool
		if after, moved, err = t.appendTo(ctx, tx, before, leaves); err != nil || moved {
			return before.Size, after, err
		}
		if before, err = t.lockedHead(ctx, tx); err != nil {
			return 0, Head{}, err
		}
	}
	return 0, Head{}, errors.New("the log's head moved although it was locked")
}

// Committed remembers a head that a committed transaction left.
func (t *Table) Committed(h Head) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h.Size > t.last.Size {
		t.last = h
	}
}

// Lock makes other transactions that append wait for the end of tx.
func (t *Table) Lock(ctx context.Context, tx *sql.Tx) error {
	_, err := t.lockedHead(ctx, tx)
	return err
}

func (t *Table) lockedHead(ctx context.Context, tx *sql.Tx) (Head, error) {
	text := headText
	if t.Postgres { // an SQLite transaction that writes excludes all others
		text += ` FOR UPDATE`
	}
	return scanHead(tx.QueryRowContext(ctx, text))
}

func scanHead(row *sql.Row) (Head, error) {
	var size int64
	var peaks string
	if err := row.Scan(&size, &peaks); err != nil {
		return Head{}, fmt.Errorf("reading the log's head: %w", err)
	}
	return parseHead(size, peaks)
}

// appendTo appends if the tree in the database is the one of before.
func (t *Table) appendTo(
	ctx context.Context, tx *sql.Tx, before Head, leaves []Leaf,
) (after Head, moved bool, err error) {
	rows := make([]Stored, len(leaves))
	after = before
	for i, l := range leaves {
		if l.encoded == nil {
			if l, err = l.Prepared(); err != nil {
				return Head{}, false, err
			}
		}
		rows[i] = Stored{Index: after.Size, Kind: l.Entry.Kind, ID: l.Entry.ID, Entry: l.encoded, Salt: l.Salt}

		// The tree is of the entry itself, whatever its row has.
		after, rows[i].Hashes = after.Add(l.encoded)
		if t.Whole == nil || !t.Whole() {
			rows[i].Entry = l.short
		}
	}

	if t.Postgres {
		moved, err = t.putArrays(ctx, tx, before, after, rows)
	} else {
		moved, err = t.putRows(ctx, tx, before, after, rows)
	}
	return after, moved, err
}

func (t *Table) putArrays(ctx context.Context, tx *sql.Tx, before, after Head, rows []Stored) (bool, error) {
	// One array for each column.
	n, kind, id := make([]int64, len(rows)), make([]string, len(rows)), make([]string, len(rows))
	entry, salt, hashes := make([][]byte, len(rows)), make([][]byte, len(rows)), make([][]byte, len(rows))
	for i, r := range rows {
		n[i], kind[i], id[i] = r.Index, r.Kind, r.ID
		entry[i], salt[i], hashes[i] = r.Entry, r.Salt, joined(r.Hashes)
	}

	res, err := t.exec(ctx, tx, appendText, after.Size, after.encodePeaks(), before.Size, before.encodePeaks(),
		n, kind, id, entry, salt, hashes)
	if err != nil {
		return false, err
	}
	written, err := res.RowsAffected()
	return written > 0, err
}

func (t *Table) putRows(ctx context.Context, tx *sql.Tx, before, after Head, rows []Stored) (bool, error) {
	res, err := t.exec(ctx, tx, moveHeadText, after.Size, after.encodePeaks(), before.Size, before.encodePeaks())
	if err != nil {
		return false, err
	}
	if moved, err := res.RowsAffected(); err != nil || moved == 0 {
		return false, err
	}

	// A statement for each row takes longer than the row.
	for len(rows) > 0 {
		some, text := rows[:1], putLeafText
		if len(rows) >= leavesAt {
			some, text = rows[:leavesAt], putLeavesText()
		}
		args := make([]any, 0, 6*len(some))
		for _, r := range some {
			args = append(args, r.Index, r.Kind, r.ID, r.Entry, r.Salt, joined(r.Hashes))
		}
		if _, err := t.exec(ctx, tx, text, args...); err != nil {
			return false, err
		}
		rows = rows[len(some):]
	}
	return true, nil
}

// leavesAt is how many rows SQLite is given in one statement, where there are as many.
const leavesAt = 16

// putLeavesText is putLeafText of leavesAt rows.
func putLeavesText() string {
	const row = "(?, ?, ?, ?, ?, ?)"
	return `INSERT INTO log_leaves (n, kind, id, entry, salt, hashes) VALUES ` + row + strings.Repeat(", "+row, leavesAt-1)
}

func (t *Table) exec(ctx context.Context, tx *sql.Tx, text string, args ...any) (sql.Result, error) {
	if t.Exec != nil {
		return t.Exec(ctx, tx, text, args...)
	}
	return tx.ExecContext(ctx, text, args...)
}

// joined is hashes as a row has them, one after the other.
func joined(hashes []tlog.Hash) []byte {
	b := make([]byte, 0, len(hashes)*tlog.HashSize)
	for _, h := range hashes {
		b = append(b, h[:]...)
	}
	return b
}

// A Querier reads: a pool of connections, or a transaction.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// ReadHead returns the head as the database has it.
func ReadHead(ctx context.Context, q Querier) (Head, error) {
	return scanHead(q.QueryRowContext(ctx, headText))
}

const leafColumns = `SELECT n, kind, id, entry, salt, hashes FROM log_leaves `

// Find returns the leaf of a record. The error is [sql.ErrNoRows] if there is none.
func Find(ctx context.Context, q Querier, kind, id string) (Stored, error) {
	found, err := readLeaves(ctx, q, leafColumns+`WHERE kind = $1 AND id = $2`, kind, id)
	if err != nil {
		return Stored{}, err
	}
	if len(found) == 0 {
		return Stored{}, sql.ErrNoRows
	}
	return found[0], nil
}

// FindAll returns the leaves of records of a kind, by their ids. Records without one are
// not in the result.
func FindAll(ctx context.Context, q Querier, kind string, ids []string) (map[string]Stored, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	args, marks := []any{kind}, make([]string, len(ids))
	for i, id := range ids {
		args = append(args, id)
		marks[i] = "$" + strconv.Itoa(len(args))
	}
	found, err := readLeaves(ctx, q, leafColumns+`WHERE kind = $1 AND id IN (`+strings.Join(marks, ", ")+`)`, args...)
	if err != nil {
		return nil, err
	}

	out := make(map[string]Stored, len(found))
	for _, s := range found {
		out[s.ID] = s
	}
	return out, nil
}

// Leaves returns at most count leaves from index first on, in order.
func Leaves(ctx context.Context, q Querier, first int64, count int) ([]Stored, error) {
	return readLeaves(ctx, q, leafColumns+`WHERE n >= $1 ORDER BY n LIMIT $2`, first, count)
}

func readLeaves(ctx context.Context, q Querier, text string, args ...any) ([]Stored, error) {
	rows, err := q.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	var out []Stored
	for rows.Next() {
		var s Stored
		var hashes []byte
		if err := rows.Scan(&s.Index, &s.Kind, &s.ID, &s.Entry, &s.Salt, &hashes); err != nil {
			return nil, err
		}

		s.Entry = EntryOf(s.Kind, s.ID, s.Entry)
		if s.Hashes, err = split(hashes); err != nil {
			return nil, fmt.Errorf("log entry %d: %w", s.Index, err)
		}
		out = append(out, s)
	}
	return out, rows.Err()
}

func split(b []byte) ([]tlog.Hash, error) {
	if len(b) == 0 || len(b)%tlog.HashSize != 0 {
		return nil, damaged("its stored hashes are damaged")
	}
	out := make([]tlog.Hash, len(b)/tlog.HashSize)
	for i := range out {
		out[i] = tlog.Hash(b[i*tlog.HashSize : (i+1)*tlog.HashSize])
	}
	return out, nil
}

// Hashes returns the reader of stored hashes that package tlog computes roots, proofs
// and tiles with. Whoever uses a result checks it against a root: the reader returns
// what the database has.
func Hashes(ctx context.Context, q Querier) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		if len(indexes) == 0 {
			return nil, nil
		}

		// tlog's index of a hash says which entry completed its subtree.
		row, level := make([]int64, len(indexes)), make([]int, len(indexes))
		list := make([]string, len(indexes))
		for i, index := range indexes {
			l, n := tlog.SplitStoredHashIndex(index)
			row[i], level[i] = (n+1)<<l-1, l
			list[i] = strconv.FormatInt(row[i], 10)
		}

		found, err := readHashes(ctx, q, `WHERE n IN (`+strings.Join(list, ",")+`)`)
		if err != nil {
			return nil, err
		}
		out := make([]tlog.Hash, len(indexes))
		for i := range indexes {
			if level[i] >= len(found[row[i]]) {
				return nil, damaged(fmt.Sprintf("log entry %d or one of its hashes is missing", row[i]))
			}
			out[i] = found[row[i]][level[i]]
		}
		return out, nil
	})
}

func readHashes(ctx context.Context, q Querier, where string) (map[int64][]tlog.Hash, error) {
	rows, err := q.QueryContext(ctx, `SELECT n, hashes FROM log_leaves `+where)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	out := map[int64][]tlog.Hash{}
	for rows.Next() {
		var n int64
		var b []byte
		if err := rows.Scan(&n, &b); err != nil {
			return nil, err
		}

		if out[n], err = split(b); err != nil {
			return nil, fmt.Errorf("log entry %d: %w", n, err)
		}
	}
	return out, rows.Err()
}
