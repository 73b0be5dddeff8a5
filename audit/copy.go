package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/objects"
	"github.com/attestor-gate/attestor/internal/translog"
)

const (
	// copyEvery is how often the log is copied, and compared with its copy.
	copyEvery = time.Minute
	// copyAtMost is how many bundles of entries one round copies. What is left is copied in the next one, at once.
	copyAtMost = 64
	// copyFor bounds a round.
	copyFor = 2 * time.Minute
	// copyAgain is how long a round waits after one that failed, and doubles up to copyEvery.
	copyAgain = 2 * time.Second
)

// checkpointObject is the name of the newest checkpoint of the copy, as c2sp.org/tlog-tiles has it.
func checkpointObject(origin string) string { return origin + "/checkpoint" }

func tileObject(origin string, t translog.Tile) string { return origin + "/tile/" + t.Path() }

// CopyLog copies the log's tiles and checkpoints to where they are kept outside of the database, in the layout of
// c2sp.org/tlog-tiles under the log's name, until ctx ends. It calls failed with the error of each round, nil included.
// No decision and no signature waits for it. It goes on where it, or another instance, was interrupted.
func (s *Store) CopyLog(ctx context.Context, failed func(error)) {
	if s.none || s.notary == nil || s.notary.c.Kept == nil {
		return
	}

	pause := copyAgain
	for {
		more, err := s.copyLog(ctx)
		failed(err)
		wait := copyEvery
		switch {
		case err != nil:
			wait, pause = pause, min(2*pause, copyEvery)
		case more:
			wait, pause = 0, copyAgain
		default:
			pause = copyAgain
		}

		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// CheckLog finds what would keep the log from being signed and copied: a key that cannot be read, a bucket that does
// not answer, a fork. It writes nothing. The error is of kind Unavailable.
func (s *Store) CheckLog(ctx context.Context) error {
	if s.none || s.notary == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, signFor)
	defer cancel()

	_, err := s.notary.load(ctx)
	if err == nil && s.notary.c.Kept != nil {
		_, _, err = s.notary.compare(ctx)
	}
	if err != nil {
		return &attestor.Error{
			Kind: attestor.Unavailable, Msg: "the record's log cannot be signed or copied: " + err.Error(),
			Fix: "see log.key and log.bucket in the configuration, and docs/record.md",
		}
	}
	return nil
}

// copyLog is one round. It reports whether there is more to copy.
func (s *Store) copyLog(ctx context.Context) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, copyFor)
	defer cancel()
	began := s.now()

	// The key and the database's checkpoint are read with the first signature.
	n := s.notary
	if _, err := n.load(ctx); err != nil {
		return false, err
	}
	kept, generation, err := n.compare(ctx)
	if err != nil {
		return false, err
	}
	signed, newest, err := n.toKeep(kept)
	if signed == nil || err != nil {
		n.keptUpTo(kept.Size, began)
		return false, err
	}

	// The checkpoint is written last, so that whoever reads it finds all tiles of its tree.
	c := &copier{store: s, bucket: n.c.Kept, origin: n.c.Origin, of: newest}
	if newest.Size > kept.Size {
		if more, err = c.tiles(ctx, kept.Size); more || err != nil {
			return more, err
		}
	}
	err = n.c.Kept.Put(ctx, checkpointObject(n.c.Origin), signed, generation)
	if errors.Is(err, objects.ErrChanged) {
		return true, nil // another instance wrote its own; the next round compares it
	}
	if err != nil {
		return false, err
	}
	n.keptUpTo(newest.Size, began)
	return false, nil
}

// A keptCheckpoint is the one in the bucket, with what it is written as.
type keptCheckpoint struct {
	translog.Checkpoint
	note []byte
}

// toKeep returns the checkpoint to copy; nil: there is nothing to copy. It is one that witnesses cosigned and that is
// larger than the bucket's, else the newest one, since no copy waits for a witness, else the bucket's with more
// cosignatures.
func (n *notary) toKeep(kept keptCheckpoint) ([]byte, translog.Checkpoint, error) {
	cosigned := n.cosigned(kept.Size - 1)
	var c translog.Checkpoint
	var err error
	if cosigned != nil {
		if c, err = translog.UnverifiedCheckpoint(cosigned); err != nil {
			return nil, c, err
		}
	}

	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case c.Size > kept.Size:
		return cosigned, c, nil
	case n.signed != nil && n.newest.Size > kept.Size:
		return n.signed, n.newest, nil
	case cosigned != nil && len(cosigned) > len(kept.note):
		return cosigned, c, nil
	default:
		return nil, translog.Checkpoint{}, nil
	}
}

// keptUpTo notes that the entries of a tree of size are kept outside, by a round that began at a time. What was
// appended since then waits since then, at the earliest.
func (n *notary) keptUpTo(size int64, began time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	more := size > n.kept
	switch n.kept = max(n.kept, size); {
	case n.kept >= n.newest.Size:
		n.unkept = time.Time{}
	case more:
		n.unkept = began
	}
}

// compare reads the checkpoint that is kept outside and compares the log with it, so that nothing is signed that does
// not continue it. Until it was read once, nothing is signed at all. A log that does not have the tree of that
// checkpoint is a fork, and is not signed until it has it again.
func (n *notary) compare(ctx context.Context) (kept keptCheckpoint, generation int64, err error) {
	signed, generation, err := n.c.Kept.Get(ctx, checkpointObject(n.c.Origin))
	if errors.Is(err, objects.ErrNone) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.compared, n.forked = true, nil
		return keptCheckpoint{}, 0, nil
	}
	if err != nil {
		return kept, 0, fmt.Errorf("reading the checkpoint that is kept outside of the database: %w", err)
	}

	n.mu.Lock()
	key := *n.key
	n.mu.Unlock()
	vkey, err := key.Verifier()
	if err != nil {
		return kept, 0, err
	}
	kept.note = signed
	kept.Checkpoint, err = translog.OpenCheckpoint(signed, vkey)
	if err != nil {
		return kept, 0, fmt.Errorf("the checkpoint that is kept outside of the database: %w", err)
	}

	// A database that cannot be read is no fork: the comparison is made again.
	err = translog.CheckHistory(ctx, n.store.read, kept.Checkpoint)
	if err != nil && !translog.IsInconsistent(err) {
		return kept, 0, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.compared, n.forked = true, nil
	if err != nil {
		n.forked = fmt.Errorf("the log is forked: it does not continue the checkpoint of size %d that is kept outside "+
			"of the database: %w", kept.Size, err)
		return kept, 0, n.forked
	}

	n.kept = max(n.kept, kept.Size)
	if kept.Size > n.newest.Size { // another instance signed it
		n.signed, n.newest = signed, kept.Checkpoint
	}
	return kept, generation, nil
}

// A copier copies the tiles of one checkpoint's tree.
type copier struct {
	store  *Store
	bucket *objects.Bucket
	origin string
	of     translog.Checkpoint
}

// tiles copies the tiles that a tree of size before does not have. It reports whether there is more to copy.
func (c *copier) tiles(ctx context.Context, before int64) (more bool, err error) {
	first, full := translog.Bundles(before), translog.Bundles(c.of.Size)
	if first, err = c.copied(ctx, first, full); err != nil {
		return false, err
	}

	to := min(full, first+copyAtMost)
	for n := first; n < to; n++ {
		for _, tile := range translog.FilledTiles(n) {
			if err := c.put(ctx, tile); err != nil {
				return false, err
			}
		}
	}
	if to < full {
		return true, nil
	}

	there := translog.EdgeTiles(before)
	for _, tile := range translog.EdgeTiles(c.of.Size) {
		if slices.Contains(there, tile) {
			continue
		}
		if err := c.put(ctx, tile); err != nil {
			return false, err
		}
	}
	return false, nil
}

// copied returns how many full bundles the copy has, between first and full: a copy that was interrupted has some
// beyond its checkpoint. They are written in order, each after the tiles that it completes, so that the end is found by
// halving.
func (c *copier) copied(ctx context.Context, first, full int64) (int64, error) {
	for first < full {
		middle := first + (full-first)/2
		_, _, err := c.bucket.Get(ctx, tileObject(c.origin, translog.EntryBundle(middle)))
		switch {
		case err == nil:
			first = middle + 1
		case errors.Is(err, objects.ErrNone):
			full = middle
		default:
			return 0, err
		}
	}
	return first, nil
}

// put copies one tile. One that is there must be the same: tiles never change.
func (c *copier) put(ctx context.Context, t translog.Tile) error {
	data, err := translog.ReadTileOf(ctx, c.store.read, t, c.of)
	if err != nil {
		return err
	}
	name := tileObject(c.origin, t)
	err = c.bucket.Put(ctx, name, data, 0)
	if !errors.Is(err, objects.ErrChanged) {
		return err
	}

	there, _, err := c.bucket.Get(ctx, name)
	if err != nil {
		return err
	}
	if !bytes.Equal(there, data) {
		return fmt.Errorf("the copy has another tile %s than the log: another gate wrote there, or somebody "+
			"changed it; "+
			"attestor decisions verify compares the log", name)
	}
	return nil
}
