package audit

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/translog"
)

// Kinds of entries in the record's log.
const (
	kindDecision   = "decision"   // a finished decision; its id and time are the decision's
	kindOverride   = "override"   // a granted override; its id is the decision's that granted it
	kindRevocation = "revocation" // a finished revocation
	kindPrune      = "prune"      // decisions from before the entry's time may be gone from here on
	kindLog        = "log"        // of the log itself
)

// Parts of a decision that its entry commits to.
const (
	// partDecision is the stored JSON of the decision, which is the answer without its
	// member log: whoever has an answer can check it.
	partDecision = "decision"
	// partRecord is what is stored beside it: the columns that lists and filters read,
	// and the evidence with the hashes of its blobs.
	partRecord = "record"
)

// recordPart is the content of partRecord. Entries commit to its JSON: a new column
// goes into a part of its own, or the entries that exist would not fit any more.
type recordPart struct {
	At           int64  `json:"at"`
	Requested    string `json:"requested"`
	Repository   string `json:"repository"`
	Digest       string `json:"digest"`
	Verdict      string `json:"verdict"`
	Policy       string `json:"policy"`
	PolicyDigest string `json:"policyDigest"`
	BreakGlass   bool   `json:"breakGlass"`
	Evidence     string `json:"evidence"`
}

// parts is what the entry of a row commits to.
func (r row) parts() (map[string][]byte, error) {
	beside, err := json.Marshal(recordPart{
		At: r.at, Requested: r.requested, Repository: r.repository, Digest: r.digest, Verdict: r.verdict,
		Policy: r.policy, PolicyDigest: r.policyDigest, BreakGlass: r.breakGlass, Evidence: r.outline,
	})
	if err != nil {
		return nil, fmt.Errorf("encoding a log entry: %w", err)
	}
	return map[string][]byte{partDecision: []byte(r.body), partRecord: beside}, nil
}

// leaf is the log's entry of a finished row. entered is the zero time, but for a row
// that is older than the log.
func (r row) leaf(entered time.Time) (translog.Leaf, error) {
	parts, err := r.parts()
	if err != nil {
		return translog.Leaf{}, err
	}

	return newLeaf(kindDecision, r.id, r.at, entered, parts), nil
}

// newLeaf is the log's entry of a record. at is in the unit of the store.
func newLeaf(kind, id string, at int64, entered time.Time, parts map[string][]byte) translog.Leaf {
	// Each entry has a salt of its own. Without it, short contents could be guessed from their commitments, even
	// after the record was pruned.
	salt := translog.NewSalt()
	return translog.Leaf{Salt: salt, Entry: translog.Entry{
		Kind: kind, ID: id, Time: instantOf(&at), Entered: entered, Parts: translog.CommitAll(salt, parts),
	}}
}

// overridePart is what the entry of an override commits to: what was granted. That it
// has ended is in the entry of what ended it.
type overridePart struct {
	Repository string `json:"repository"`
	Digest     string `json:"digest"`
	At         int64  `json:"at"`
	GrantedTo  string `json:"grantedTo"`
	Reason     string `json:"reason"`
	Attestors  string `json:"attestors"` // JSON
	Expires    *int64 `json:"expires"`
}

func (o overridePart) parts() (map[string][]byte, error) {
	b, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encoding a log entry: %w", err)
	}
	return map[string][]byte{kindOverride: b}, nil
}

// entryOf returns where the log has a decision; nil where it has none yet.
func (s *Store) entryOf(ctx context.Context, q translog.Querier, id string) (*attestor.LogEntry, error) {
	found, err := translog.Find(ctx, q, kindDecision, id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // a decision that is older than the log has no entry at first
	}
	if err != nil {
		return nil, err
	}
	return &attestor.LogEntry{Index: found.Index}, nil
}
