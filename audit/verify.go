package audit

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor/internal/translog"
)

// A Fault is one way in which the record is not what was recorded.
type Fault struct {
	Index   int64  `json:"index"` // of the log's entry; -1 where it is about none
	Kind    string `json:"kind"`  // of the record: "decision", "override", "revocation", "policies"; "log" for the log itself
	ID      string `json:"id,omitempty"`
	Problem string `json:"problem"`
}

// String is the fault as one line.
func (f Fault) String() string {
	s := f.Kind
	if f.ID != "" {
		s += " " + f.ID
	}
	if f.Index >= 0 {
		s += fmt.Sprintf(" (entry %d)", f.Index)
	}
	return s + ": " + f.Problem
}

// A VerifyRequest says what a record is compared with beside its own log.
type VerifyRequest struct {
	// Key is the log's public key as text. "": no signature is verified, and whoever
	// changed the whole database is not found.
	Key string
	// Kept are signed checkpoints that were kept outside of the database.
	Kept [][]byte
	// Witnesses are those whose cosignatures are looked for. It takes a Key.
	Witnesses []translog.WitnessKey
	// Required says that a witness without a cosigned checkpoint is a fault.
	Required bool
	// Fault is called with each fault.
	Fault func(Fault)
}

// A Verification says what was compared.
type Verification struct {
	Entries    int64 `json:"entries"`    // of the log
	Records    int64 `json:"records"`    // whose content is what was recorded
	Pruned     int64 `json:"pruned"`     // whose content was deleted by a recorded prune
	NotEntered int64 `json:"notEntered"` // that are older than the log and not entered yet
	Signed     int64 `json:"signed"`     // entries of the largest checkpoint that was compared; 0: none
	Faults     int64 `json:"faults"`

	// Cosigned is the largest checkpoint of each witness that was compared.
	Cosigned []translog.Cosignature `json:"cosigned,omitempty"`
}

// verifyBatch is how many entries are compared at a time.
const verifyBatch = 500

// Verify compares the whole record with its log, and the log with checkpoints. It holds
// one batch in memory, and may run beside a gate that records.
//
// It finds records that were changed, removed, reordered or added without an entry. A
// database that was changed as a whole, log included, or put back to an earlier state, is
// found by a checkpoint that was kept outside of it.
func (s *Store) Verify(ctx context.Context, r VerifyRequest) (Verification, error) {
	if s.none {
		return Verification{}, unsupported()
	}

	v := &verifier{store: s, r: r}
	head, err := translog.ReadHead(ctx, s.read)
	if err == nil {
		err = v.run(ctx, head)
	}
	if err != nil {
		return v.done, s.fail("verifying the record", err)
	}
	return v.done, nil
}

type verifier struct {
	store       *Store
	r           VerifyRequest
	done        Verification
	checkpoints []translog.Checkpoint
	prunes      []prune
	newest      translog.Head // that was read last
	searched    int64         // the entries before it were searched for prunes
	excused     int64         // the last prune that explains that a record is gone
	complete    bool          // every record that is older than the log was entered
}

func (v *verifier) fault(f Fault) {
	v.done.Faults++
	v.r.Fault(f)
}

func (v *verifier) logFault(index int64, format string, args ...any) {
	v.fault(Fault{Index: index, Kind: kindLog, Problem: fmt.Sprintf(format, args...)})
}

// run verifies the record whose log had a head when it was asked to.
func (v *verifier) run(ctx context.Context, head translog.Head) (err error) {
	v.done.Entries, v.newest = head.Size, head
	if err := v.openCheckpoints(ctx, head); err != nil {
		return err
	}
	if v.complete, err = v.store.logComplete(ctx); err != nil {
		return err
	}

	// Before the walk: a prune explains what is missing before it in the log.
	if err := v.readPrunes(ctx, head.Size); err != nil {
		return err
	}

	if err := v.walk(ctx, head); err != nil {
		return err
	}
	if err := v.unlogged(ctx); err != nil {
		return err
	}
	if err := v.closed(ctx); err != nil {
		return err
	}
	return v.blobs(ctx)
}

// openCheckpoints verifies the checkpoints: those that were kept, and the database's own.
func (v *verifier) openCheckpoints(ctx context.Context, head translog.Head) error {
	stored, err := v.store.storedCheckpoint(ctx)
	if err != nil {
		return err
	}

	cosigned, err := v.store.cosignedRows(ctx)
	if err != nil {
		return err
	}
	v.openCosigned(cosigned, head.Size)

	all := v.r.Kept
	if stored != nil && v.r.Key != "" {
		all = append([][]byte{stored}, all...)
	}
	for i, signed := range all {
		name := "a kept checkpoint"
		if i == 0 && stored != nil && v.r.Key != "" {
			name = "the database's checkpoint"
		}

		var c translog.Checkpoint
		if v.r.Key == "" {
			c, err = translog.UnverifiedCheckpoint(signed)
		} else {
			c, err = translog.OpenCheckpoint(signed, v.r.Key)
		}
		if err != nil {
			v.logFault(-1, "%s cannot be relied on: %v", name, err)
			continue
		}
		if c.Size > head.Size {
			v.logFault(-1, "%s has size %d and the log has size %d: %s", name, c.Size, head.Size, rolledBack)
			continue
		}
		v.checkpoints = append(v.checkpoints, c)
	}
	return nil
}

// openCosigned looks for what each witness cosigned, among the database's rows and the checkpoints that were kept. They
// are compared with the tree as every other checkpoint: a row that is not signed by the log's key is the only one left
// out, since it is of an earlier key or name of the log.
func (v *verifier) openCosigned(rows map[string][][]byte, size int64) {
	if v.r.Key == "" {
		return
	}
	for _, w := range v.r.Witnesses {
		var best translog.Cosignature
		for _, signed := range append(slices.Clone(rows[w.String()]), v.r.Kept...) {
			c, err := translog.OpenCosignature(signed, v.r.Key, w)
			if err == nil && c.Entries > best.Entries {
				best = c
			}
		}
		switch {
		case best.Entries > 0:
			v.done.Cosigned = append(v.done.Cosigned, best)
		case v.r.Required:
			v.logFault(-1, "no checkpoint is cosigned by the witness %s", w.Name())
		}
	}

	for _, key := range slices.Sorted(maps.Keys(rows)) {
		for _, signed := range rows[key] {
			c, err := translog.OpenCheckpoint(signed, v.r.Key)
			switch {
			case err != nil:
			case c.Size > size:
				v.logFault(-1, "a cosigned checkpoint has size %d and the log has size %d: %s", c.Size,
					size, rolledBack)
			default:
				v.checkpoints = append(v.checkpoints, c)
			}
		}
	}
}

const rolledBack = "the database was put back to an earlier state, or its log was cut off"

// walk follows the log from its first entry to its head, and on to a prune that was entered
// since and explains that a record is gone: what is behind the head explains nothing.
func (v *verifier) walk(ctx context.Context, want translog.Head) error {
	var head translog.Head
	for {
		next, err := v.walkTo(ctx, head, want)
		if err != nil || v.excused < want.Size || !next.Equal(want) {
			return err
		}
		if head, want = next, v.newest; want.Size <= v.excused {
			return fmt.Errorf("the log ends before %d, and a prune is at %d", want.Size, v.excused)
		}
		v.done.Entries = want.Size
	}
}

// walkTo follows the log from one head to another one, and returns how far it came. Faults
// in between are reported once.
func (v *verifier) walkTo(ctx context.Context, head, want translog.Head) (translog.Head, error) {
	broken := false
	for next := head.Size; next < want.Size; {
		v.atCheckpoints(head, broken)
		leaves, err := v.leaves(ctx, next, want.Size)
		if err != nil {
			return head, err
		}
		if len(leaves) == 0 {
			v.logFault(next, "the log ends here, and its size is %d: entries are missing", want.Size)
			return head, nil
		}

		var good []logged
		for _, l := range leaves {
			// Without an entry the tree cannot be computed any further. The records are
			// compared with their entries all the same.
			if l.Index != next {
				v.logFault(next, "%s", missing(next, l.Index))
				broken = true
			}
			next = l.Index + 1

			if !broken {
				var wrong string
				head, wrong = head.Follow(l)
				v.followed(l, wrong)
				if head.Size%verifyBatch != 0 && len(v.checkpoints) > 0 {
					v.atCheckpoints(head, broken)
				}
			}
			if entry, ok := v.entry(l); ok {
				good = append(good, logged{l, entry})
			}
		}
		if err := v.records(ctx, good); err != nil {
			return head, err
		}
	}
	v.atCheckpoints(head, broken)

	if !broken && !head.Equal(want) {
		v.logFault(-1, "the log's head is not that of its size %d", want.Size)
	}
	return head, nil
}

func missing(first, next int64) string {
	if next == first+1 {
		return "the entry is missing"
	}
	return fmt.Sprintf("entries %d to %d are missing", first, next-1)
}

// leaves reads the next batch, within the timeout of one call.
func (v *verifier) leaves(ctx context.Context, first, size int64) ([]translog.Stored, error) {
	ctx, cancel := context.WithTimeout(ctx, v.store.timeout)
	defer cancel()
	return translog.Leaves(ctx, v.store.read, first, int(min(verifyBatch, size-first)))
}

// followed reports what does not fit of a leaf.
func (v *verifier) followed(l translog.Stored, wrong string) {
	switch wrong {
	case translog.EntryChanged:
		v.logFault(l.Index, "the entry was changed: it does not have the hash that the log has at its place")
	case translog.HashesChanged:
		first := translog.SubtreeStart(l.Index)
		v.logFault(l.Index, "the entries %d to %d do not have the hash that the log has of them: "+
			"some were changed or reordered", first, l.Index)
	}
}

// entry decodes a leaf's entry.
func (v *verifier) entry(l translog.Stored) (translog.Entry, bool) {
	entry, err := translog.ParseEntry(l.Entry)
	if err != nil {
		v.logFault(l.Index, "the entry was changed: %v", err)
		return translog.Entry{}, false
	}
	if entry.Kind != l.Kind || entry.ID != l.ID {
		v.logFault(l.Index, "the entry is of %s %s and stored as that of %s %s", entry.Kind, entry.ID, l.Kind, l.ID)
		return translog.Entry{}, false
	}
	return entry, true
}

// atCheckpoints compares the tree with the checkpoints of its size.
func (v *verifier) atCheckpoints(head translog.Head, broken bool) {
	rest := v.checkpoints[:0]
	for _, c := range v.checkpoints {
		switch {
		case c.Size != head.Size && !broken:
			rest = append(rest, c)
			continue
		case broken:
			v.logFault(-1, "entries are missing, so that the log cannot be compared with the checkpoint of size %d",
				c.Size)
		case c.Root != head.Root():
			v.logFault(-1, "the log's first part, of size %d, is not that of the signed checkpoint: the log "+
				"was rewritten", c.Size)
		}
		v.done.Signed = max(v.done.Signed, c.Size)
	}

	v.checkpoints = rest
}

// A logged record is one that the log has.
type logged struct {
	translog.Stored
	entry translog.Entry
}

// records compares the records of a batch with their entries.
func (v *verifier) records(ctx context.Context, batch []logged) error {
	ctx, cancel := context.WithTimeout(ctx, v.store.timeout)
	defer cancel()

	byKind := map[string][]logged{}
	for _, l := range batch {
		byKind[l.Kind] = append(byKind[l.Kind], l)
	}

	// A fixed order, so that two runs report the same faults alike.
	for _, kind := range []string{kindDecision, kindOverride, kindRevocation, kindPolicies} {
		ids := make([]string, 0, len(byKind[kind]))
		for _, l := range byKind[kind] {
			ids = append(ids, l.ID)
		}
		if len(ids) == 0 {
			continue
		}

		found, err := v.store.partsOf(ctx, kind, ids)
		if err != nil {
			return err
		}
		for _, l := range byKind[kind] {
			if err := v.record(ctx, l, found[l.ID]); err != nil {
				return err
			}
		}
	}
	return nil
}

// record compares one record; parts is nil where there is none.
func (v *verifier) record(ctx context.Context, l logged, parts map[string][]byte) error {
	problem := l.problem(parts)
	if problem == "" {
		v.done.Records++
		return nil
	}

	// A record that is there and differs is never excused by a prune.
	if parts == nil {
		if pruned, err := v.pruned(ctx, l); err != nil {
			return err
		} else if pruned {
			v.done.Pruned++
			return nil
		}
	}

	v.fault(Fault{Index: l.Index, Kind: l.Kind, ID: l.ID, Problem: problem})
	return nil
}

// problem says how a record differs from its entry; "" for not at all.
func (l logged) problem(parts map[string][]byte) string {
	if parts == nil {
		return "it was removed: the log has it, and no prune after it removed records of its time"
	}
	if len(l.Salt) == 0 {
		return "it cannot be compared: the key of its entry's commitments is missing"
	}
	differs := l.entry.Differs(l.Salt, parts)
	if len(differs) == 0 {
		return ""
	}
	return "it was changed since it was recorded: " + strings.Join(describeParts(differs), ", ")
}

// describeParts says what the parts of a record hold.
func describeParts(names []string) []string {
	var out []string
	for _, name := range names {
		switch name {
		case partDecision:
			out = append(out, "what it says (body)")
		case partRecord:
			out = append(out, "what lists and filters read of it, or its evidence (columns)")
		default:
			out = append(out, name)
		}
	}
	return out
}
