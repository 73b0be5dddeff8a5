package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/objects"
	"github.com/attestor-gate/attestor/internal/translog"
	"github.com/attestor-gate/attestor/internal/witness"
)

// A LogKey says how the log's checkpoints are signed and kept.
type LogKey struct {
	Origin string // the log's name
	// Key returns the key. It is called again until it succeeds once.
	Key func(ctx context.Context) (translog.Key, error)
	// Wait is how long an answer waits for its proof; 0: it has none, and the proof
	// follows.
	Wait time.Duration
	// Kept is where the log is copied to, outside of the database; nil: nowhere.
	Kept *objects.Bucket
	// Witnesses cosign checkpoints; nil: nobody does.
	Witnesses []*witness.Client
}

// A notary signs checkpoints of the log, after the entries are committed: a signature
// takes long, and none must hold up a decision or be lost with one.
type notary struct {
	c     LogKey
	store *Store
	calls singleflight.Group

	cosigners []*cosigner // one for each witness

	mu       sync.Mutex
	key      *translog.Key       // once it was read; guarded by mu
	signed   []byte              // the newest checkpoint; guarded by mu
	signedAt time.Time           // when this process signed it; guarded by mu
	newest   translog.Checkpoint // what it says; guarded by mu
	stored   int64               // size of the newest one in the database; guarded by mu
	foreign  string              // the database's checkpoint where it is not of this key's log; guarded by mu
	kept     int64               // size of the newest one outside; guarded by mu
	unkept   time.Time           // when entries first waited to be kept outside; zero: none do; guarded by mu
	compared bool                // with what is kept outside; guarded by mu
	forked   error               // how the log differs from what is kept outside; guarded by mu
	failed   error               // of the last attempt; guarded by mu
	since    time.Time           // when entries first waited for a signature; zero: none do; guarded by mu
}

func newNotary(c LogKey, s *Store) *notary {
	n := &notary{c: c, store: s}
	for _, w := range c.Witnesses {
		n.cosigners = append(n.cosigners, &cosigner{client: w})
	}
	return n
}

// signFor bounds one signature with what it needs. Requests that wait for it have
// deadlines of their own.
const signFor = 20 * time.Second

// covering returns a signed checkpoint that has the entry of an index, and has one
// signed if the newest one has not.
func (n *notary) covering(ctx context.Context, index int64) ([]byte, error) {
	n.mu.Lock()
	signed, size := n.signed, n.newest.Size
	n.mu.Unlock()
	if signed != nil && size > index {
		return signed, nil
	}

	// A call that began before the entry was committed may have read the tree without
	// it. The one after that has it.
	for range 2 {
		// Whoever waits may leave, and the signature goes on for the others.
		ch := n.calls.DoChan("", func() (any, error) {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), signFor)
			defer cancel()
			err := n.sign(ctx, index)
			n.note(err)
			return nil, err
		})
		select {
		case r := <-ch:
			if r.Err != nil {
				return nil, r.Err
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}

		n.mu.Lock()
		signed, size = n.signed, n.newest.Size
		n.mu.Unlock()
		if signed != nil && size > index {
			return signed, nil
		}
	}
	return nil, fmt.Errorf("the log has no entry %d", index)
}

// note remembers how the last attempt went, for whoever watches.
func (n *notary) note(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.failed = err
	if err == nil {
		n.since = time.Time{}
	}
}

// sign signs the tree as it is in the database, if it has grown. The first time it is
// content with a checkpoint in the database that has the entry of index.
func (n *notary) sign(ctx context.Context, index int64) error {
	fresh, err := n.load(ctx)
	if err != nil {
		return err
	}
	if fresh && n.has(index) {
		return nil
	}

	// The head comes from committed rows, since no transaction of this connection is open.
	head, err := translog.ReadHead(ctx, n.store.read)
	if err != nil {
		return err
	}

	// What was signed before must be a part of it. Otherwise the database was rolled
	// back or rewritten, and a signature would make a second history that verifies.
	n.mu.Lock()
	before, key, known, forked := n.newest, *n.key, n.signed != nil, n.forked
	n.mu.Unlock()
	if forked != nil {
		return forked
	}
	if before.Size > 0 {
		if err := translog.CheckHistory(ctx, n.store.read, before); err != nil {
			return fmt.Errorf("the log does not continue the checkpoint of size %d that was signed: %w",
				before.Size, err)
		}
	}

	// The tree is the one that was signed: the key is not used again.
	if known && head.Size == before.Size {
		return nil
	}

	signed, err := key.SignCheckpoint(ctx, head)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.signed, n.signedAt = signed, n.store.now()
	n.newest = translog.Checkpoint{Origin: key.Origin, Size: head.Size, Root: head.Root()}
	return nil
}

// has reports whether a signed checkpoint has the entry of index.
func (n *notary) has(index int64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.signed != nil && n.newest.Size > index
}

// load reads the key and the newest checkpoint, from the database and from outside.
// fresh says that it did so now.
func (n *notary) load(ctx context.Context) (fresh bool, err error) {
	n.mu.Lock()
	loaded, compared := n.key != nil, n.compared
	n.mu.Unlock()

	if !loaded {
		key, err := n.c.Key(ctx)
		if err != nil {
			return false, fmt.Errorf("reading the log's key: %w", err)
		}
		stored, err := n.store.storedCheckpoint(ctx)
		if err != nil {
			return false, err
		}

		// One that another key signed, or another log's, says nothing about this log.
		vkey, err := key.Verifier()
		if err != nil {
			return false, err
		}
		c, err := translog.OpenCheckpoint(stored, vkey)
		n.mu.Lock()
		if n.key = &key; err == nil {
			n.signed, n.newest, n.stored = stored, c, c.Size
		} else {
			n.foreign = string(stored)
		}
		n.mu.Unlock()
	}

	if compared || n.c.Kept == nil {
		return !loaded, nil
	}
	_, _, err = n.compare(ctx)
	return true, err
}

// publish writes the newest checkpoint to the database, for other processes.
func (n *notary) publish(ctx context.Context) error {
	n.mu.Lock()
	signed, size, stored, foreign := n.signed, n.newest.Size, n.stored, n.foreign
	n.mu.Unlock()

	if size > stored {
		err := n.store.tx(ctx, "recording a checkpoint", func(ctx context.Context, tx *txn) error {
			// After the log got a new name or key, the old one's checkpoint is replaced whatever its size.
			_, err := tx.ExecContext(ctx, `INSERT INTO log_checkpoint (one, size, note) VALUES (1, $1, $2)
				ON CONFLICT (one) DO UPDATE SET size = excluded.size, note = excluded.note
				WHERE log_checkpoint.size < excluded.size OR log_checkpoint.note = $3`, size, string(signed), foreign)
			return err
		})
		if err != nil {
			return err
		}

		n.mu.Lock()
		n.stored = max(n.stored, size)
		n.mu.Unlock()
	}
	return nil
}

// storedCheckpoint returns the checkpoint in the database; nil if there is none.
func (s *Store) storedCheckpoint(ctx context.Context) ([]byte, error) {
	var signed string
	err := s.read.QueryRowContext(ctx, `SELECT note FROM log_checkpoint`).Scan(&signed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return []byte(signed), err
}

// signEvery is how often new entries get a checkpoint that no answer waits for.
const signEvery = time.Second

// KeepLog signs the log and publishes its checkpoints until ctx ends, and calls failed
// with the error of each attempt, nil included.
func (s *Store) KeepLog(ctx context.Context, failed func(error)) {
	if s.none || s.notary == nil {
		return
	}

	ticker := time.NewTicker(signEvery)
	defer ticker.Stop()
	for {
		failed(s.keepLog(ctx))
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// keepLog signs what was appended and publishes it.
func (s *Store) keepLog(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, signFor)
	defer cancel()

	// The size is read before the head: the log only grows, so that a head that is smaller was put back.
	signed := s.notary.size()
	head, err := translog.ReadHead(ctx, s.read)
	if err != nil {
		return s.fail("reading the log", err)
	}
	if head.Size < signed {
		return s.notary.putBack(head.Size, signed, s.now())
	}
	s.notary.waiting(head.Size, s.now())
	if head.Size > 0 {
		if _, err := s.notary.covering(ctx, head.Size-1); err != nil {
			return err
		}
	}
	return s.notary.publish(ctx)
}

// size is of the newest signed checkpoint.
func (n *notary) size() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.newest.Size
}

// putBack notes that the database has fewer entries than were signed: new ones would take the places of those that are
// gone, and would wait for a signature until there are as many again.
func (n *notary) putBack(entries, signed int64, now time.Time) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.failed = fmt.Errorf("the log does not continue the checkpoint of size %d that was signed: its size is %d, so "+
		"that the database was put back, or a replica was promoted that lacked the rest", signed, entries)
	if n.since.IsZero() {
		n.since = now
	}
	return n.failed
}

// waiting notes that a tree of size entries exists.
func (n *notary) waiting(size int64, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if size > n.newest.Size && n.since.IsZero() {
		n.since = now
	}
	if n.c.Kept != nil && size > n.kept && n.unkept.IsZero() {
		n.unkept = now
	}
}

// A LogState says how far the log is signed.
type LogState struct {
	Signed int64         // entries of the newest signed checkpoint
	Kept   int64         // entries of the newest one that is kept outside of the database
	Behind time.Duration // since entries first waited for a signature that they do not have yet; 0: none do
	Failed bool          // the last attempt failed

	Copied bool          // the log is copied to a place outside of the database
	Unkept time.Duration // since entries first waited for that; 0: none do
	// what is kept there is not of this log: it was rewritten, put back, or is written by another gate
	Forked bool

	Witnesses []WitnessState // one for each witness that is configured
}

// LogState returns how far the log is signed. It reads no database. ok is false where
// no key is configured.
func (s *Store) LogState() (state LogState, ok bool) {
	if s.none || s.notary == nil {
		return LogState{}, false
	}

	n := s.notary
	n.mu.Lock()
	defer n.mu.Unlock()
	state = LogState{Signed: n.newest.Size, Kept: n.kept, Failed: n.failed != nil}
	state.Copied, state.Forked = n.c.Kept != nil, n.forked != nil
	state.Witnesses = n.states(s.now())
	if !n.since.IsZero() {
		state.Behind = max(0, s.now().Sub(n.since))
	}
	if !n.unkept.IsZero() {
		state.Unkept = max(0, s.now().Sub(n.unkept))
	}

	return state, true
}

// unsigned is the answer to whoever asks for what only a signed log has.
func unsigned() error {
	return &attestor.Error{
		Kind: attestor.Unsupported,
		Msg:  "the record's log is not signed, so that it proves nothing to others",
		Fix:  "set log.key and log.origin in the configuration",
	}
}

// Checkpoint returns the newest signed checkpoint. It has all entries that were committed
// a second ago, if the key can be used.
func (s *Store) Checkpoint(ctx context.Context) ([]byte, error) {
	if s.none {
		return nil, unsupported()
	}
	if s.notary == nil {
		return nil, unsigned()
	}

	// Whoever asks often causes no more signatures than the entries do.
	s.notary.mu.Lock()
	signed, at := s.notary.signed, s.notary.signedAt
	s.notary.mu.Unlock()
	if age := s.now().Sub(at); signed != nil && age >= 0 && age < signEvery {
		return signed, nil
	}

	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	head, err := translog.ReadHead(ctx, s.read)
	if err != nil {
		return nil, s.fail("reading the log", err)
	}
	signed, err = s.notary.covering(ctx, head.Size-1)
	if err == nil {
		return signed, nil
	}

	s.notary.mu.Lock()
	defer s.notary.mu.Unlock()
	if s.notary.signed != nil {
		return s.notary.signed, nil
	}
	return nil, notSigned(err)
}

// notSigned is the error for what cannot be proven yet.
func notSigned(err error) error {
	return &attestor.Error{
		Kind: attestor.Unavailable,
		Msg:  "the log's checkpoint could not be signed; the record is kept, and its proof follows",
		Fix:  "ask again later; the gate's log has the reason",
		Err:  err,
	}
}

// LogTile returns a tile of the log, as c2sp.org/tlog-tiles names and encodes it, and
// whether it can never change. Only tiles of a signed checkpoint are returned.
func (s *Store) LogTile(ctx context.Context, path string) (data []byte, full bool, err error) {
	tile, err := translog.ParseTilePath(path)
	if err != nil {
		return nil, false, &attestor.Error{Kind: attestor.NotFound, Msg: err.Error()}
	}

	signed, err := s.Checkpoint(ctx)
	if err != nil {
		return nil, false, err
	}
	c, err := translog.UnverifiedCheckpoint(signed)
	if err != nil {
		return nil, false, err
	}
	if !tile.In(c.Size) {
		return nil, false, &attestor.Error{
			Kind: attestor.NotFound, Msg: fmt.Sprintf("the log of size %d has no such tile", c.Size),
			Fix: "take the size from /log/checkpoint",
		}
	}

	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	data, err = translog.ReadTile(ctx, s.read, tile)
	if err != nil {
		return nil, false, s.fail("reading a tile of the log", err)
	}
	return data, tile.Full(), nil
}

// leaveLog publishes what was signed and not published yet, as a command that records one
// decision leaves it. What cannot be written now is signed again by whoever comes next.
func (s *Store) leaveLog() {
	if s.notary == nil || s.read == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	_ = s.notary.publish(ctx)
}
