package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/translog"
)

// Prove returns the proof that the log has a decision: a c2sp.org/tlog-proof, whose
// extra data are a [translog.Opening] with the stored JSON of the decision. The proof
// of a decision that was pruned has its entry alone.
func (s *Store) Prove(ctx context.Context, id string) ([]byte, error) {
	const doing = "proving a decision"
	if s.none {
		return nil, unsupported()
	}
	if s.notary == nil {
		return nil, unsigned()
	}

	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	leaf, err := translog.Find(ctx, s.read, kindDecision, text(id))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, &attestor.Error{
			Kind: attestor.NotFound, Msg: "the log has no such decision",
			Fix: "list the recorded decisions with attestor decisions list",
		}
	}
	if err != nil {
		return nil, s.fail(doing, err)
	}

	// A pruned decision has no row any more. Its entry is then proved alone.
	var t texts
	err = s.read.QueryRowContext(ctx, `SELECT body, evidence, packed FROM decisions
		WHERE id = $1 AND state = 'finished'`, text(id)).Scan(&t.first, &t.second, &t.packed)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, s.fail(doing, err)
	}

	opening := translog.Opening{Entry: string(leaf.Entry), Salt: leaf.Salt}
	if body, _ := s.unpack(t); body != "" {
		opening.Parts = map[string]string{partDecision: body}
	}

	// A checkpoint that witnesses cosigned proves more than a newer one.
	if err := s.readCosigned(ctx); err != nil {
		return nil, err
	}
	if cosigned := s.notary.cosigned(leaf.Index); cosigned != nil {
		if p, err := s.proof(ctx, leaf, opening, cosigned); err == nil {
			return p, nil
		}
	}

	signed, err := s.notary.covering(ctx, leaf.Index)
	if err != nil {
		return nil, notSigned(err)
	}
	p, err := s.proof(ctx, leaf, opening, signed)
	if err != nil {
		return nil, s.fail(doing, err)
	}
	return p, nil
}

func (s *Store) proof(
	ctx context.Context, leaf translog.Stored, opening translog.Opening, signed []byte,
) ([]byte, error) {
	p, err := translog.Prove(ctx, s.read, leaf, signed)
	if err != nil {
		return nil, err
	}
	if p.Extra, err = opening.Encode(); err != nil {
		return nil, err
	}
	return p.Encode(), nil
}

// attach adds the proof to the answer's entry, if a checkpoint is signed within the
// time that answers wait. A decision is recorded without it, and its proof follows.
func (s *Store) attach(ctx context.Context, entry *attestor.LogEntry, leaf translog.Leaf) {
	if s.notary == nil || entry == nil {
		return
	}
	entry.Origin = s.notary.c.Origin
	if s.notary.c.Wait <= 0 {
		return
	}

	ctx, cancel := context.WithTimeout(ctx, s.notary.c.Wait)
	defer cancel()
	signed, err := s.notary.covering(ctx, entry.Index)
	if err != nil {
		return
	}

	encoded, err := leaf.Entry.Encode()
	if err != nil {
		return
	}
	p, err := s.proof(ctx, translog.Stored{Index: entry.Index, Entry: encoded},
		translog.Opening{Entry: string(encoded), Salt: leaf.Salt}, signed)
	if err == nil {
		entry.Proof = string(p)
	}
}

// A Proven decision is what a proof shows.
type Proven struct {
	Entry      translog.Entry
	Index      int64
	Checkpoint translog.Checkpoint
	Decision   []byte // the recorded JSON; nil where the proof has the entry alone
	Cosigned   []translog.Cosignature
}

// CheckProof verifies a proof of [Store.Prove] or of an answer by the log's public key,
// without a record. content, unless nil, is the decision's JSON as somebody has it: an
// answer of the service, or its member log left out. Each of the witnesses must have cosigned the proof's checkpoint.
// The error says what does not hold.
func CheckProof(proof, content []byte, vkey string, witnesses ...translog.WitnessKey) (Proven, error) {
	p, err := translog.ParseProof(proof)
	if err != nil {
		return Proven{}, err
	}
	opening, err := translog.ParseOpening(p.Extra)
	if err != nil {
		return Proven{}, err
	}

	// The entry is believed because the tree has it, the content because the entry has
	// its commitment, and nothing because the proof's extra data say so.
	checkpoint, err := p.Verify([]byte(opening.Entry), vkey)
	if err != nil {
		return Proven{}, err
	}
	entry, err := translog.ParseEntry([]byte(opening.Entry))
	if err != nil {
		return Proven{}, err
	}
	if entry.Kind != kindDecision {
		return Proven{}, fmt.Errorf("the proof is of a %s and not of a decision", entry.Kind)
	}

	out := Proven{Entry: entry, Index: p.Index, Checkpoint: checkpoint}
	for _, w := range witnesses {
		cosigned, err := translog.OpenCosignature(p.Checkpoint, vkey, w)
		if err != nil {
			return Proven{}, err
		}
		out.Cosigned = append(out.Cosigned, cosigned)
	}
	if body, ok := opening.Parts[partDecision]; ok {
		out.Decision = []byte(body)
	}
	if content != nil {
		if content, err = recorded(content); err != nil {
			return out, err
		}
		if out.Decision != nil && string(out.Decision) != string(content) {
			return out, errors.New("the decision is not the one that was recorded")
		}
		out.Decision = content
	}
	if out.Decision != nil && entry.Parts[partDecision] != translog.Commit(opening.Salt, partDecision, out.Decision) {
		return out, errors.New("the decision is not the one that was recorded")
	}
	return out, nil
}
