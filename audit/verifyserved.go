package audit

import (
	"context"
	"fmt"
	"slices"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/plain"
	"github.com/attestor-gate/attestor/internal/translog"
)

// A ServedLog is the log of a service, whose word is not believed.
type ServedLog struct {
	Checkpoint func(ctx context.Context) ([]byte, error)
	Tile       func(ctx context.Context, path string) ([]byte, error) // by its path of c2sp.org/tlog-tiles
	Proof      func(ctx context.Context, id string) ([]byte, error)   // of a decision
	// Witnessed returns the newest cosigned checkpoint. It is asked only if the request names witnesses.
	Witnessed func(ctx context.Context) ([]byte, error)
}

// VerifyServed compares what a service shows with its log, and the log with checkpoints,
// as [Store.Verify] does in the record itself. r.Key is required. It compares decisions
// alone: a service does not show the stored form of overrides and revocations, nor
// records that have no entry. Decisions that the service does not show are an error of
// kind Upstream, after all others were compared.
func VerifyServed(ctx context.Context, l ServedLog, r VerifyRequest) (Verification, error) {
	signed, err := l.Checkpoint(ctx)
	if err != nil {
		return Verification{}, err
	}
	c, err := translog.OpenCheckpoint(signed, r.Key)
	if err != nil {
		return Verification{}, &attestor.Error{
			Kind: attestor.Upstream, Msg: "the service's checkpoint cannot be relied on: " + err.Error(),
			Fix: "check the public key that you gave, and who answers at this address",
		}
	}

	v := &servedVerifier{verifier: verifier{r: r}, log: l}
	v.done.Entries = c.Size
	v.checkpoints = append(v.checkpoints, c)
	if err := v.witnessed(ctx); err != nil {
		return Verification{}, err
	}
	v.openKept(c.Size)
	v.openCosigned(nil, c.Size)

	entries, err := v.entries(ctx, c.Size)
	if err != nil {
		return v.done, err
	}

	// Prunes first: a decision that is missing may be excused by a prune that comes later in the log.
	for _, e := range entries {
		if e.entry.Kind == kindPrune {
			v.prunes = append(v.prunes, prune{e.Index, e.entry.Time})
		}
	}
	for _, e := range entries {
		if e.entry.Kind != kindDecision {
			continue
		}
		if err := v.decision(ctx, e); err != nil {
			return v.done, err
		}
	}
	return v.done, v.notShown()
}

type servedVerifier struct {
	verifier
	log    ServedLog
	hidden []string // ids of decisions that the service does not show, in the order of the log
}

// notShown is the error of decisions that could not be compared. A service answers about a decision that the caller may
// not read as about one that does not exist: neither "the record is unchanged" nor "it was removed" would be known.
func (v *servedVerifier) notShown() error {
	if len(v.hidden) == 0 {
		return nil
	}
	return &attestor.Error{
		Kind: attestor.Upstream,
		Msg: fmt.Sprintf("the service does not show %s of the log, the first one %s: the rest was compared",
			describe.Plural(len(v.hidden), "decision"), plain.Text(v.hidden[0])),
		Fix: "verify as an identity that may read every repository. A decision that the service does not " +
			"show even then " +
			"is missing from the record's index: verify the record itself, with --config",
	}
}

// witnessed asks for the cosigned checkpoint, which is compared as one that was kept. A service without one is no
// error: that its witnesses have cosigned nothing is reported as such.
func (v *servedVerifier) witnessed(ctx context.Context) error {
	if len(v.r.Witnesses) == 0 {
		return nil
	}
	signed, err := v.log.Witnessed(ctx)
	if kind := attestor.KindOf(err); kind == attestor.NotFound || kind == attestor.Unsupported {
		return nil
	}
	if err != nil {
		return err
	}
	v.r.Kept = append(slices.Clone(v.r.Kept), signed)
	return nil
}

// openKept verifies the checkpoints that were kept.
func (v *servedVerifier) openKept(size int64) {
	for _, signed := range v.r.Kept {
		c, err := translog.OpenCheckpoint(signed, v.r.Key)
		switch {
		case err != nil:
			v.logFault(-1, "a kept checkpoint cannot be relied on: %v", err)
		case c.Size > size:
			v.logFault(-1, "a kept checkpoint has size %d and the log has size %d: %s", c.Size, size, rolledBack)
		default:
			v.checkpoints = append(v.checkpoints, c)
		}
	}
}

// entries reads all entries from tiles, and compares the tree that they make with the
// checkpoints.
func (v *servedVerifier) entries(ctx context.Context, size int64) ([]logged, error) {
	var out []logged
	var head translog.Head
	for tile := range translog.EntryTiles(size) {
		v.atCheckpoints(head, false)
		data, err := v.log.Tile(ctx, tile.Path())
		if err != nil {
			return nil, err
		}
		bundle, err := translog.SplitEntries(data)
		if err != nil || len(bundle) != tile.Width {
			return nil, &attestor.Error{
				Kind: attestor.Upstream, Err: err,
				Msg: fmt.Sprintf("the service's tile %s does not have the width %d", tile.Path(), tile.Width),
			}
		}

		for _, b := range bundle {
			stored := translog.Stored{Index: head.Size, Entry: b}
			head, _ = head.Add(b)
			if len(v.checkpoints) > 0 {
				v.atCheckpoints(head, false)
			}
			entry, err := translog.ParseEntry(b)
			if err != nil {
				v.logFault(stored.Index, "the entry is malformed: %v", err)
				continue
			}
			stored.Kind, stored.ID = entry.Kind, entry.ID
			out = append(out, logged{stored, entry})
		}
	}
	v.atCheckpoints(head, false)
	return out, nil
}

// decision compares one decision as the service shows it with its entry.
func (v *servedVerifier) decision(ctx context.Context, l logged) error {
	proof, err := v.log.Proof(ctx, l.ID)
	if attestor.KindOf(err) == attestor.NotFound {
		v.hidden = append(v.hidden, l.ID)
		return nil
	}
	if err != nil {
		return err
	}

	// The service under test made the proof: it counts only as far as it verifies under the caller's key.
	p, err := CheckProof(proof, nil, v.r.Key)
	problem := ""
	switch {
	case err != nil:
		problem = err.Error()
	case p.Index != l.Index || p.Entry.ID != l.ID:
		problem = "the service proves another entry"
	case p.Decision == nil:
		return v.record(ctx, l, nil)
	}
	if problem != "" {
		v.fault(Fault{Index: l.Index, Kind: l.Kind, ID: l.ID, Problem: problem})
		return nil
	}
	v.done.Records++
	return nil
}
