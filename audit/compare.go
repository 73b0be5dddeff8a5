package audit

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/translog"
)

// What a decision says of itself where it is not the one that was recorded.
const (
	changedNoEntry = "it has no entry in the record's log: the gate did not record it"
	changedLog     = "its entry in the record's log was changed"
)

// decision decodes a row. One that was changed since it was recorded says so, and nothing
// of what its row claims but which image it is about.
func (h head) decision() (attestor.Decision, error) {
	var d attestor.Decision
	err := json.Unmarshal([]byte(h.body), &d)
	if h.changed == "" {
		d.OverrideState, d.Revoked = h.override, h.revoked
		if err != nil {
			err = fmt.Errorf("decoding decision %s: %w", h.id, err)
		}
		return d, err
	}

	image := d.Image
	if err != nil || image.Reference == "" {
		image = attestor.DecidedImage{Requested: h.repository, Reference: h.repository}
	}
	return attestor.Decision{
		ID: h.id, Time: instantOf(&h.at), Image: image, Verdict: attestor.Undecided,
		Platforms: []attestor.PlatformSummary{}, Checks: []attestor.Check{}, Attestations: []attestor.Attestation{},
		Log: &attestor.LogEntry{Index: h.index, Changed: h.changed},
	}, nil
}

// markChanged compares finished rows with the log's entries. all compares their columns
// and evidence too; otherwise only the body is, which is what a list shows.
func (s *Store) markChanged(ctx context.Context, heads []head, all bool) error {
	if len(heads) == 0 {
		return nil
	}
	complete, err := s.logComplete(ctx)
	if err != nil {
		return err
	}

	ids := make([]string, len(heads))
	for i, h := range heads {
		ids[i] = h.id
	}
	leaves, err := translog.FindAll(ctx, s.from(ctx), kindDecision, ids)
	if err != nil {
		return err
	}
	parts := map[string]map[string][]byte{}
	if all {
		if parts, err = s.partsOf(ctx, kindDecision, ids); err != nil {
			return err
		}
	}

	for i := range heads {
		h := &heads[i]
		leaf, ok := leaves[h.id]
		switch {
		case !ok && !complete:
			continue // it may be older than the log, and not entered yet
		case !ok:
			h.index, h.changed = -1, changedNoEntry
		case all:
			h.index, h.changed = leaf.Index, differs(leaf, parts[h.id], true)
		default:
			h.index, h.changed = leaf.Index, differs(leaf, map[string][]byte{partDecision: []byte(h.body)}, false)
		}
	}
	return nil
}

// differs says how parts of a record differ from its entry; "" for not at all. whole says
// that there must be all of them.
func differs(leaf translog.Stored, parts map[string][]byte, whole bool) string {
	entry, err := translog.ParseEntry(leaf.Entry)
	if err != nil || entry.Kind != leaf.Kind || entry.ID != leaf.ID {
		return changedLog
	}
	if whole {
		return logged{leaf, entry}.problem(parts)
	}

	for name, content := range parts {
		if entry.Parts[name] != translog.Commit(leaf.Salt, name, content) {
			return logged{leaf, entry}.problem(map[string][]byte{name: nil})
		}
	}

	return ""
}

// checkEntry reports whether the log has the entry of a decision at its place: in the
// tree of its head, and in that of its newest checkpoint. An error says that it could not be compared: a database that
// does not answer has changed nothing.
func (s *Store) checkEntry(ctx context.Context, id string) (ok bool, err error) {
	leaf, err := translog.Find(ctx, s.read, kindDecision, id)
	if errors.Is(err, sql.ErrNoRows) {
		return true, nil // markChanged has said so
	}
	if err != nil {
		return false, err
	}

	// The head is read before the hashes, so that all of its hashes are there.
	head, err := translog.ReadHead(ctx, s.read)
	if err != nil {
		return false, err
	}
	if leaf.Index < 0 || leaf.Index >= head.Size {
		return false, nil
	}
	hashes, err := tlog.ProveRecord(head.Size, leaf.Index, translog.Hashes(ctx, s.read))
	if err != nil {
		return differing(err)
	}
	included := tlog.CheckRecord(hashes, head.Size, head.Root(), leaf.Index, tlog.RecordHash(leaf.Entry)) == nil
	if !included {
		return false, nil
	}

	signed, err := s.storedCheckpoint(ctx)
	if err != nil || signed == nil {
		return true, err
	}
	c, err := translog.UnverifiedCheckpoint(signed)
	if err != nil {
		return false, nil //nolint:nilerr // what is stored is no checkpoint: it was changed
	}
	if c.Size <= leaf.Index {
		return true, nil
	}
	if _, err = translog.Prove(ctx, s.read, leaf, signed); err != nil {
		return differing(err)
	}
	return true, nil
}

// differing tells what the database has from that it could not be read.
func differing(err error) (same bool, _ error) {
	if translog.IsDamaged(err) {
		return false, nil
	}
	return false, err
}
