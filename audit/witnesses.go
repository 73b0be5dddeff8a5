package audit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/translog"
	"github.com/attestor-gate/attestor/internal/witness"
)

const (
	// witnessEvery is how often new entries are brought before a witness.
	witnessEvery = 10 * time.Second
	// witnessAgain is how long a round waits after one that failed, and doubles up to witnessAtMost.
	witnessAgain  = 2 * time.Second
	witnessAtMost = 5 * time.Minute
	// witnessFor bounds a round.
	witnessFor = time.Minute
	// witnessTries is how often one round asks: once by the size that is remembered, once by the size that the witness
	// names, and once more if another instance was quicker.
	witnessTries = 3
	// keepCosigned is how many checkpoints are kept of each witness. Witnesses are asked one after the other to cosign
	// one checkpoint before the next, so that of the newest few there is one which all of them cosigned that answer.
	keepCosigned = 4
)

// A cosigner is a witness with what it said last.
type cosigner struct {
	client *witness.Client

	mu      sync.Mutex
	asked   bool             // since this process started; guarded by mu
	old     int64            // entries that it saw last, as it says or as is remembered; guarded by mu
	notes   map[int64][]byte // the newest checkpoints that it cosigned, by their size; guarded by mu
	foreign map[string]bool  // rows of the database that are not of this log; guarded by mu
	at      int64            // the largest size of notes; guarded by mu
	since   time.Time        // when entries first waited for it; zero: none do; guarded by mu
	refused error            // it saw another history; guarded by mu
}

// A WitnessState says what a witness has cosigned.
type WitnessState struct {
	Name    string
	Entries int64         // of the newest checkpoint that it cosigned
	Behind  time.Duration // since entries first waited for it; 0: none do
	Refused bool          // it saw a history of the log that this one does not continue
}

// WitnessLog has the log's checkpoints cosigned by the witnesses until ctx ends, each by itself, and calls report with
// the error of each round and the witness's name, nil included. No decision, signature or copy waits for a witness.
// report is called by one goroutine for each witness.
func (s *Store) WitnessLog(ctx context.Context, report func(name string, err error)) {
	if s.none || s.notary == nil {
		return
	}
	var wg sync.WaitGroup
	for _, c := range s.notary.cosigners {
		wg.Go(func() { s.witnessBy(ctx, c, report) })
	}
	wg.Wait()
}

func (s *Store) witnessBy(ctx context.Context, c *cosigner, report func(name string, err error)) {
	pause := witnessAgain
	for {
		err := s.witnessRound(ctx, c)
		report(c.client.Key().Name(), err)

		wait := witnessEvery
		if err != nil {
			wait, pause = pause, min(2*pause, witnessAtMost)
		} else {
			pause = witnessAgain
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// witnessRound has the newest checkpoint cosigned by one witness, unless it was already.
func (s *Store) witnessRound(ctx context.Context, c *cosigner) error {
	ctx, cancel := context.WithTimeout(ctx, witnessFor)
	defer cancel()

	vkey, err := s.notary.verifier(ctx)
	if err != nil {
		return err
	}
	if err := s.loadCosigned(ctx, vkey); err != nil {
		return err
	}
	head, err := translog.ReadHead(ctx, s.read)
	if err != nil {
		return s.fail("reading the log", err)
	}
	if c.waiting(head.Size, s.now()) {
		return nil
	}

	// Only what is signed is shown: the signature says that this log continues all that was signed before.
	for range witnessTries {
		signed, err := s.proposed(ctx, c, head.Size)
		if err != nil {
			return err
		}
		next, err := s.ask(ctx, c, signed, vkey)
		if err != nil || next == 0 {
			return err
		}
		if next > head.Size {
			if head, err = s.grown(ctx, c, next); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("the witness %s refuses the size that it named itself", c.client.Key().Name())
}

// proposed returns the checkpoint that a witness is asked to cosign: the newest one that another witness cosigned and
// this one did not, so that there is one with the cosignatures of both, and else that of the tree of size entries.
func (s *Store) proposed(ctx context.Context, c *cosigner, size int64) ([]byte, error) {
	c.mu.Lock()
	at := max(c.at, c.old)
	c.mu.Unlock()
	if signed := s.notary.newestCosigned(at); signed != nil {
		return signed, nil
	}
	return s.notary.covering(ctx, size-1)
}

// newestCosigned returns the largest cosigned checkpoint of more than size entries; nil if there is none.
func (n *notary) newestCosigned(size int64) []byte {
	var signed []byte
	for _, c := range n.cosigners {
		c.mu.Lock()
		if c.at > size {
			signed, size = c.notes[c.at], c.at
		}
		c.mu.Unlock()
	}
	return signed
}

// grown reads the head again, because the witness saw next entries: another instance was quicker, or the log was put
// back.
func (s *Store) grown(ctx context.Context, c *cosigner, next int64) (translog.Head, error) {
	head, err := translog.ReadHead(ctx, s.read)
	if err != nil {
		return head, s.fail("reading the log", err)
	}
	if head.Size >= next {
		return head, nil
	}
	return head,
		c.refuse(fmt.Errorf("the witness %s saw this log with size %d, and its size is %d: the database was put "+
			"back to an "+
			"earlier state, or another gate signs under this name", c.client.Key().Name(), next, head.Size))
}

// ask asks once. next is the size to ask with again: that of the checkpoint which the witness cosigned last; 0: it
// cosigned.
func (s *Store) ask(ctx context.Context, c *cosigner, signed []byte, vkey string) (next int64, err error) {
	checkpoint, err := translog.OpenCheckpoint(signed, vkey)
	if err != nil {
		return 0, err
	}

	// The lock is not held while the witness is asked: states reads under it.
	c.mu.Lock()
	old := c.old
	c.mu.Unlock()
	if old > checkpoint.Size {
		return old, nil
	}

	proof, err := translog.ProveHistory(ctx, s.read, old, checkpoint)
	if err != nil {
		return 0, err
	}
	cosigned, err := c.client.Add(ctx, old, proof, signed, vkey)
	if conflict, ok := errors.AsType[*witness.ConflictError](err); ok {
		c.mu.Lock()
		defer c.mu.Unlock()

		// Nobody signed this size. It only chooses the proof with which the witness is asked again.
		c.old = conflict.Size
		return max(conflict.Size, 1), nil
	}
	if errors.Is(err, witness.ErrInconsistent) {
		return 0, c.refuse(fmt.Errorf("the witness %s does not cosign: %w", c.client.Key().Name(), err))
	}
	if err != nil {
		return 0, err
	}
	return 0, s.storeCosigned(ctx, c, cosigned, checkpoint.Size)
}

// refuse remembers that the witness saw another history. It is a witness's word, which nobody signed: it is reported,
// and does not keep the log from being signed.
func (c *cosigner) refuse(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused, c.old = err, c.at // what it claimed is asked anew
	return err
}

// waiting notes that a tree of size entries exists, and reports whether the witness need not be asked. Once after the
// start it is asked whatever the database says: a database that was put back says that all is cosigned.
func (c *cosigner) waiting(size int64, now time.Time) (done bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if size <= c.at {
		c.since = time.Time{}
		return c.refused == nil && c.asked
	}
	if c.since.IsZero() {
		c.since = now
	}
	return size == 0
}

// loadCosigned reads what the witnesses cosigned last from the database, where another instance may have written it.
func (s *Store) loadCosigned(ctx context.Context, vkey string) error {
	stored, err := s.cosignedRows(ctx)
	if err != nil {
		return s.fail("reading the cosigned checkpoints", err)
	}
	for _, c := range s.notary.cosigners {
		for _, note := range stored[c.client.Key().String()] {
			// One that another key signed, or another log's, says nothing about this log.
			cosigned, err := translog.OpenCosignature(note, vkey, c.client.Key())
			if err != nil {
				c.isForeign(note)
				continue
			}
			c.load(note, cosigned.Entries)
		}
	}
	return nil
}

// isForeign remembers a row of another log, which the next one of this log displaces.
func (c *cosigner) isForeign(note []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.foreign == nil {
		c.foreign = map[string]bool{}
	}
	c.foreign[string(note)] = true
}

// load takes a row of the database.
func (c *cosigner) load(note []byte, size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if size > c.at {
		c.at, c.old = size, max(c.old, size)
	}
	c.remember(note, size)
}

// remember keeps a cosigned checkpoint, and forgets the smallest of too many; c.mu is held.
func (c *cosigner) remember(note []byte, size int64) {
	if c.notes == nil {
		c.notes = map[int64][]byte{}
	}

	// Of two notes of one size the longer one has more cosignatures.
	if len(note) > len(c.notes[size]) {
		c.notes[size] = note
	}
	for len(c.notes) > keepCosigned {
		delete(c.notes, slices.Min(slices.Collect(maps.Keys(c.notes))))
	}
}

// cosignedRows returns the newest checkpoints that each witness cosigned, by its key as text.
func (s *Store) cosignedRows(ctx context.Context) (map[string][][]byte, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT witness, note FROM log_cosigned`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	out := map[string][][]byte{}
	for rows.Next() {
		var key, note string
		if err := rows.Scan(&key, &note); err != nil {
			return nil, err
		}
		out[key] = append(out[key], []byte(note))
	}
	return out, rows.Err()
}

// storeCosigned writes a cosigned checkpoint to the database, and deletes those that are too many, or of another log.
func (s *Store) storeCosigned(ctx context.Context, c *cosigner, cosigned []byte, size int64) error {
	key := c.client.Key().String()
	c.mu.Lock()
	foreign := slices.Collect(maps.Keys(c.foreign))
	c.mu.Unlock()
	err := s.tx(ctx, "recording a cosigned checkpoint", func(ctx context.Context, tx *txn) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO log_cosigned (witness, size, note) VALUES ($1, $2, $3)
			ON CONFLICT (witness, size) DO UPDATE SET note = excluded.note`, key, size, string(cosigned))
		if err != nil {
			return err
		}

		for _, note := range foreign {
			if _, err := tx.ExecContext(ctx, `DELETE FROM log_cosigned WHERE witness = $1 AND note = $2`, key,
				note); err != nil {
				return err
			}
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM log_cosigned WHERE witness = $1 AND size <
			(SELECT MIN(size) FROM (SELECT size FROM log_cosigned WHERE witness = $1 ORDER BY size DESC LIMIT $2) newest)`,
			key, keepCosigned)
		return err
	})
	if err != nil {
		return err
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	for _, note := range foreign {
		delete(c.foreign, note)
	}
	c.old, c.refused, c.asked = max(c.old, size), nil, true
	c.remember(cosigned, size)
	if size >= c.at {
		c.at, c.since = size, time.Time{}
	}
	return nil
}

// verifier returns the log's public key as text, and reads the key if that was not done yet.
func (n *notary) verifier(ctx context.Context) (string, error) {
	if _, err := n.load(ctx); err != nil {
		return "", err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.key.Verifier()
}

// cosigned returns a checkpoint that covers an index, with the cosignatures of as many witnesses as possible, and of
// such checkpoints the largest; nil if there is none. It is one of the few newest, so that a witness that is away for
// long does not keep the others' from being reported.
func (n *notary) cosigned(index int64) []byte {
	newest := n.newestSizes(index)
	bySize := map[int64][][]byte{}
	for _, c := range n.cosigners {
		c.mu.Lock()
		for size, note := range c.notes {
			if slices.Contains(newest, size) {
				bySize[size] = append(bySize[size], note)
			}
		}
		c.mu.Unlock()
	}

	var best [][]byte
	var at int64
	for size, notes := range bySize {
		if len(notes) > len(best) || len(notes) == len(best) && size > at {
			best, at = notes, size
		}
	}
	if best == nil {
		return nil
	}
	merged, err := translog.MergeCosigned(best...)
	if err != nil {
		return best[0] // of two trees of one size only one continues what was signed: its own note is whole
	}
	return merged
}

// newestSizes are the sizes, above index, of what the witness cosigned that is ahead of the others.
func (n *notary) newestSizes(index int64) []int64 {
	var ahead int64
	var out []int64
	for _, c := range n.cosigners {
		c.mu.Lock()
		if c.at > ahead {
			ahead, out = c.at, slices.Collect(maps.Keys(c.notes))
		}
		c.mu.Unlock()
	}
	return slices.DeleteFunc(out, func(size int64) bool { return size <= index })
}

// WitnessedCheckpoint returns one of the newest checkpoints that witnesses cosigned: with the cosignatures of as many
// as possible, and of such checkpoints the largest. The error is of kind NotFound if there is none yet.
func (s *Store) WitnessedCheckpoint(ctx context.Context) ([]byte, error) {
	if s.none {
		return nil, unsupported()
	}
	if s.notary == nil {
		return nil, unsigned()
	}
	if len(s.notary.cosigners) == 0 {
		return nil, &attestor.Error{
			Kind: attestor.Unsupported, Msg: "no witness cosigns the record's log",
			Fix: "set log.witnesses in the configuration",
		}
	}

	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if err := s.readCosigned(ctx); err != nil {
		return nil, err
	}
	if signed := s.notary.cosigned(-1); signed != nil {
		return signed, nil
	}
	return nil, &attestor.Error{
		Kind: attestor.NotFound, Msg: "no witness has cosigned a checkpoint yet",
		Fix: "ask again in a minute; the gate's log says if a witness does not answer",
	}
}

// readCosigned reads what other instances had cosigned.
func (s *Store) readCosigned(ctx context.Context) error {
	if len(s.notary.cosigners) == 0 {
		return nil
	}
	vkey, err := s.notary.verifier(ctx)
	if err != nil {
		return notSigned(err)
	}
	return s.loadCosigned(ctx, vkey)
}

// states says what each witness has cosigned.
func (n *notary) states(now time.Time) []WitnessState {
	var out []WitnessState
	for _, c := range n.cosigners {
		c.mu.Lock()
		state := WitnessState{Name: c.client.Key().Name(), Entries: c.at, Refused: c.refused != nil}
		if !c.since.IsZero() {
			state.Behind = max(0, now.Sub(c.since))
		}
		c.mu.Unlock()
		out = append(out, state)
	}
	return out
}
