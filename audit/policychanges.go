package audit

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/event"
	"github.com/attestor-gate/attestor/internal/translog"
)

// kindPolicies is the kind of the log's entries of policy changes. They are not pruned: the names and digests of
// policies say nothing of an image or a person, and the decisions that they explain may be kept for longer than they
// are old.
const kindPolicies = "policies"

// policyPlace is what the entry of a policy change commits to beside its JSON: its place among the others.
type policyPlace struct {
	N  int64 `json:"n"`
	At int64 `json:"at"`
}

// policyParts is what the entry of a policy change commits to.
func policyParts(n, at int64, body string) (map[string][]byte, error) {
	place, err := json.Marshal(policyPlace{N: n, At: at})
	if err != nil {
		return nil, fmt.Errorf("encoding a log entry: %w", err)
	}
	return map[string][]byte{kindPolicies: []byte(body), "place": place}, nil
}

// RecordPolicies records that an instance put c.Policies in force, with an entry in the log, and reports whether it
// did: nothing is recorded where these policies are in force already, whichever instance recorded them. c.Changes is
// computed.
func (s *Store) RecordPolicies(ctx context.Context, c attestor.PolicyChange) (recorded bool, err error) {
	if s.none {
		return false, nil
	}

	c.Log, c.Time = nil, c.Time.UTC()
	c.Policies = slices.Clone(c.Policies)
	slices.SortFunc(c.Policies, func(a, b attestor.PolicyInForce) int { return strings.Compare(a.Name, b.Name) })
	err = s.tx(ctx, "recording the policies in force", func(ctx context.Context, tx *txn) error {
		recorded = false

		// Instances take turns from here to the commit: of two that reload the same files, the second one finds the
		// change of the first.
		if err := s.log.Lock(ctx, tx.Tx); err != nil {
			return err
		}
		n, before, err := lastPolicies(ctx, tx)
		if err != nil {
			return err
		}
		c.Changes = attestor.DiffPolicies(before.Policies, c.Policies)
		if len(c.Changes) == 0 && n > 0 {
			return nil
		}

		if err := s.putPolicies(ctx, tx, n+1, c); err != nil {
			return err
		}

		// The first policies of a record change nothing.
		if n > 0 {
			if err := s.publish(ctx, tx, event.New(event.PolicyChanged, c.ID, c.Time, "",
				event.OfPolicies(before, c))); err != nil {
				return err
			}
		}
		recorded = true
		return nil
	})
	return recorded && err == nil, err
}

// lastPolicies reads the newest change and its number; 0 where there is none.
func lastPolicies(ctx context.Context, tx *txn) (n int64, c attestor.PolicyChange, err error) {
	var body string
	err = tx.QueryRowContext(ctx, `SELECT n, body FROM policy_changes ORDER BY n DESC LIMIT 1`).Scan(&n, &body)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, c, nil
	}
	if err != nil {
		return 0, c, err
	}

	// A body that somebody damaged says nothing of what was in force, so that the policies are recorded anew.
	if json.Unmarshal([]byte(body), &c) != nil {
		c = attestor.PolicyChange{}
	}
	return n, c, nil
}

// putPolicies writes a change and its entry.
func (s *Store) putPolicies(ctx context.Context, tx *txn, n int64, c attestor.PolicyChange) error {
	encoded, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encoding a policy change: %w", err)
	}
	at, body := c.Time.UnixMicro(), text(string(encoded))

	_, err = tx.ExecContext(ctx, `INSERT INTO policy_changes (n, id, at, body) VALUES ($1, $2, $3, $4)`,
		n, c.ID, at, body)
	if err != nil {
		return err
	}

	parts, err := policyParts(n, at, body)
	if err != nil {
		return err
	}
	tx.logParts(kindPolicies, c.ID, at, parts)
	return nil
}

// policyBatch is how many changes are read at a time.
const policyBatch = 100

// PolicyChanges lists the recorded changes of policies, the newest first. One that was changed since it was recorded
// says so in Log.Changed, and nothing else but its id and time.
func (s *Store) PolicyChanges(ctx context.Context) iter.Seq2[attestor.PolicyChange, error] {
	return func(yield func(attestor.PolicyChange, error) bool) {
		if s.none {
			yield(attestor.PolicyChange{}, unsupported())
			return
		}
		for r, err := range s.policyChanges(ctx, math.MaxInt64) {
			if !yield(r.change, err) {
				return
			}
		}
	}
}

// policyChanges walks the changes before a number. After an error it ends.
func (s *Store) policyChanges(ctx context.Context, before int64) iter.Seq2[policyRow, error] {
	return func(yield func(policyRow, error) bool) {
		for {
			batch, err := s.policyChangesBefore(ctx, before)
			if err != nil {
				yield(policyRow{}, s.fail("reading the changes of policies", err))
				return
			}
			for _, r := range batch {
				before = r.n
				if !yield(r, nil) {
					return
				}
			}
			if len(batch) < policyBatch {
				return
			}
		}
	}
}

// A policyRow is a stored change, with what is shown of it.
type policyRow struct {
	n, at    int64
	id, body string
	change   attestor.PolicyChange
}

// policyChangesBefore reads a batch of changes, compared with their entries.
func (s *Store) policyChangesBefore(ctx context.Context, before int64) ([]policyRow, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	batch, err := policyRows(s.read.QueryContext(ctx,
		`SELECT n, id, at, body FROM policy_changes WHERE n < $1 ORDER BY n DESC LIMIT $2`, before, policyBatch))
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(batch))
	for i, r := range batch {
		ids[i] = r.id
	}
	leaves, err := translog.FindAll(ctx, s.read, kindPolicies, ids)
	if err != nil {
		return nil, err
	}

	for i := range batch {
		if err := batch[i].show(leaves); err != nil {
			return nil, err
		}
	}
	return batch, nil
}

// show sets what is shown of a change: its content where its entry has it, otherwise that it was changed.
func (r *policyRow) show(leaves map[string]translog.Stored) error {
	log := &attestor.LogEntry{Index: -1, Changed: changedNoEntry}
	if leaf, ok := leaves[r.id]; ok {
		parts, err := policyParts(r.n, r.at, r.body)
		if err != nil {
			return err
		}
		log.Index, log.Changed = leaf.Index, differs(leaf, parts, true)
	}

	if log.Changed == "" {
		if err := json.Unmarshal([]byte(r.body), &r.change); err != nil {
			return fmt.Errorf("decoding policy change %s: %w", r.id, err)
		}
	} else {
		r.change = attestor.PolicyChange{
			ID: r.id, Time: instantOf(&r.at), Policies: []attestor.PolicyInForce{}, Changes: []attestor.PolicyDiff{},
		}
	}
	r.change.Log = log
	return nil
}

func policyRows(rows *sql.Rows, err error) ([]policyRow, error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	var out []policyRow
	for rows.Next() {
		var r policyRow
		if err := rows.Scan(&r.n, &r.id, &r.at, &r.body); err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, rows.Err()
}

func scanPolicies(rows *sql.Rows) (string, map[string][]byte, error) {
	var r policyRow
	if err := rows.Scan(&r.id, &r.n, &r.at, &r.body); err != nil {
		return "", nil, err
	}
	parts, err := policyParts(r.n, r.at, r.body)
	return r.id, parts, err
}
