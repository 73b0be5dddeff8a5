package translog

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// A Proof shows that an entry is in a log, to whoever knows the log's key
// (c2sp.org/tlog-proof).
type Proof struct {
	Extra      []byte // not authenticated by the proof; nil for none
	Index      int64
	Hashes     tlog.RecordProof
	Checkpoint []byte // signed
}

const (
	proofHeader = "c2sp.org/tlog-proof@v1"
	// MaxProof bounds a proof in bytes, its extra data included.
	MaxProof = 16 << 20
	// maxProofHashes is the depth of a tree of 2^63 entries.
	maxProofHashes = 63
)

// Encode returns the text of the proof.
func (p Proof) Encode() []byte {
	var b bytes.Buffer
	b.WriteString(proofHeader + "\n")
	if p.Extra != nil {
		b.WriteString("extra " + base64.StdEncoding.EncodeToString(p.Extra) + "\n")
	}

	// In this order, which c2sp.org/tlog-proof fixes.
	fmt.Fprintf(&b, "index %d\n", p.Index)
	for _, h := range p.Hashes {
		b.WriteString(h.String() + "\n")
	}
	b.WriteByte('\n')
	b.Write(p.Checkpoint)
	return b.Bytes()
}

// ParseProof is the inverse of Encode. It verifies nothing.
func ParseProof(text []byte) (Proof, error) {
	malformed := func(what string) (Proof, error) {
		return Proof{}, fmt.Errorf("the proof is malformed: %s (see c2sp.org/tlog-proof)", what)
	}
	if len(text) > MaxProof {
		return malformed(fmt.Sprintf("it has %d bytes; at most %d are allowed", len(text), MaxProof))
	}

	head, checkpoint, ok := bytes.Cut(text, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	if !ok || len(lines) < 2 || lines[0] != proofHeader {
		return malformed("it does not begin with " + proofHeader + ", or has no checkpoint")
	}

	p := Proof{Checkpoint: checkpoint}
	lines = lines[1:]
	if extra, ok := strings.CutPrefix(lines[0], "extra "); ok {
		b, err := base64.StdEncoding.Strict().DecodeString(extra)
		if err != nil {
			return malformed("its extra data are not base64")
		}
		p.Extra, lines = b, lines[1:]
	}

	if len(lines) == 0 {
		return malformed("it has no index")
	}
	index, ok := strings.CutPrefix(lines[0], "index ")
	n, err := strconv.ParseInt(index, 10, 64)
	if !ok || err != nil || n < 0 || strconv.FormatInt(n, 10) != index {
		return malformed("it has no index")
	}

	p.Index = n
	if len(lines)-1 > maxProofHashes {
		return malformed("it has too many hashes")
	}

	// The number is bounded before any is decoded.
	for _, line := range lines[1:] {
		h, err := parseHash(line)
		if err != nil {
			return malformed(err.Error())
		}
		p.Hashes = append(p.Hashes, h)
	}
	return p, nil
}

// Verify returns nil if entry is the one that the proof is of, and the log with the
// public key vkey has it.
func (p Proof) Verify(entry []byte, vkey string) (Checkpoint, error) {
	c, err := OpenCheckpoint(p.Checkpoint, vkey)
	if err != nil {
		return Checkpoint{}, err
	}

	// The checkpoint is verified first: what it says is only then the log's.
	if p.Index >= c.Size {
		return Checkpoint{}, fmt.Errorf("the proof is of entry %d; its checkpoint has size %d", p.Index, c.Size)
	}

	if err := tlog.CheckRecord(p.Hashes, c.Size, c.Root, p.Index, tlog.RecordHash(entry)); err != nil {
		return Checkpoint{}, fmt.Errorf("the log does not have this entry at index %d", p.Index)
	}
	return c, nil
}

// errInconsistent means that rows of the database are not those of the tree.
var errInconsistent = errors.New("the log's rows were changed since the checkpoint was signed")

// IsInconsistent reports whether an error of [Prove] or [CheckHistory] says that the
// database does not have the tree of a checkpoint.
func IsInconsistent(err error) bool { return errors.Is(err, errInconsistent) }

// damaged is the error of a row of the log that is gone, or not what the log wrote.
type damaged string

func (d damaged) Error() string { return string(d) }

// IsDamaged reports whether an error of reading hashes says what the database has: that it does not have the rows, or the
// tree, that it had. Any other error says that it could not be read, which proves nothing and may pass.
func IsDamaged(err error) bool {
	_, ok := errors.AsType[damaged](err)
	return ok || IsInconsistent(err)
}

// Prove returns the proof that a checkpoint's tree has the stored leaf. It never
// returns a proof that does not verify.
func Prove(ctx context.Context, q Querier, leaf Stored, signed []byte) (Proof, error) {
	c, err := UnverifiedCheckpoint(signed)
	if err != nil {
		return Proof{}, err
	}
	if leaf.Index >= c.Size {
		return Proof{}, fmt.Errorf("entry %d is not in the checkpoint of size %d", leaf.Index, c.Size)
	}

	hashes, err := tlog.ProveRecord(c.Size, leaf.Index, Hashes(ctx, q))
	if err != nil {
		return Proof{}, fmt.Errorf("proving entry %d: %w", leaf.Index, err)
	}

	// The rows may have been changed since: a proof that does not verify must not leave here.
	if err := tlog.CheckRecord(hashes, c.Size, c.Root, leaf.Index, tlog.RecordHash(leaf.Entry)); err != nil {
		return Proof{}, fmt.Errorf("entry %d: %w", leaf.Index, errInconsistent)
	}
	return Proof{Index: leaf.Index, Hashes: hashes, Checkpoint: signed}, nil
}

// CheckHistory returns nil if the log in the database continues the tree of an earlier
// checkpoint. It reads the hashes of a few large subtrees, and so finds another history
// at once. That each entry has its hash is found by reading all of them.
func CheckHistory(ctx context.Context, q Querier, c Checkpoint) error {
	head, err := ReadHead(ctx, q)
	if err != nil {
		return err
	}
	if head.Size < c.Size {
		return fmt.Errorf("the log has size %d and the checkpoint %d: %w", head.Size, c.Size, errInconsistent)
	}

	root, err := tlog.TreeHash(c.Size, Hashes(ctx, q))
	if err != nil {
		return fmt.Errorf("computing the root at size %d: %w", c.Size, err)
	}
	if root != c.Root {
		return fmt.Errorf("the log up to size %d is not that of the checkpoint: %w", c.Size, errInconsistent)
	}
	return nil
}
