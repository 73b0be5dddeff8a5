package translog

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	// cosignatureType is the signature type of c2sp.org/tlog-cosignature with Ed25519.
	cosignatureType = 0x04
	// timeSize is the length of the time before a cosignature, in bytes.
	timeSize = 8
)

// A WitnessKey is the public key of a witness: somebody else, who signs a checkpoint of this log only if it continues
// the one that he signed before. It is a [note.Verifier] of his cosignatures.
type WitnessKey struct {
	name string
	hash uint32
	key  ed25519.PublicKey
	text string
}

// ParseWitnessKey reads a witness's public key as text, NAME+HASH+KEY.
//
// c2sp.org/tlog-cosignature: "The signature type of a timestamped Ed25519 witness cosignature is 0x04". A key of a log
// (0x01) is refused: a log that is its own witness shows nothing.
func ParseWitnessKey(text string) (WitnessKey, error) {
	malformed := func(found string) (WitnessKey, error) {
		return WitnessKey{},
			fmt.Errorf("%q is not the public key of a witness: %s; write NAME+HASH+KEY, as the witness "+
				"publishes it (c2sp.org/tlog-cosignature, type 0x04)", text, found)
	}

	name, rest, _ := strings.Cut(text, "+")
	hash, encoded, ok := strings.Cut(rest, "+")
	if !ok || name == "" || len(text) > maxCheckpoint || strings.ContainsFunc(name, unicode.IsSpace) ||
		!utf8.ValidString(name) {
		return malformed("it does not have three parts")
	}

	key, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || len(key) == 0 {
		return malformed("its key is not base64")
	}
	if key[0] != cosignatureType {
		return malformed(fmt.Sprintf("its key is of type %#04x", key[0]))
	}
	if len(key) != 1+ed25519.PublicKeySize {
		return malformed(fmt.Sprintf("its key has %d bytes and not %d", len(key)-1, ed25519.PublicKeySize))
	}

	// c2sp.org/signed-note: the key id is a hash of name, type and key. One that does not fit is a typing error in one
	// of them.
	sum := sha256.Sum256(append([]byte(name+"\n"), key...))
	want := binary.BigEndian.Uint32(sum[:])
	if got, err := strconv.ParseUint(hash, 16, 32); err != nil || len(hash) != 8 || uint32(got) != want {
		return malformed("its hash is not that of its name and key")
	}
	return WitnessKey{name: name, hash: want, key: key[1:], text: text}, nil
}

// Name is the witness's name: a URL without scheme.
func (w WitnessKey) Name() string { return w.name }

// KeyHash is the key's id in signatures.
func (w WitnessKey) KeyHash() uint32 { return w.hash }

// String is the key as text.
func (w WitnessKey) String() string { return w.text }

// Verify reports whether sig is the witness's signature of a checkpoint's text. c2sp.org/tlog-cosignature: a signature
// is the time, "a big-endian 64-bit" number of seconds, and an Ed25519 signature of "cosignature/v1", the line "time"
// and the text.
func (w WitnessKey) Verify(msg, sig []byte) bool {
	if len(sig) != timeSize+ed25519.SignatureSize || len(w.key) != ed25519.PublicKeySize {
		return false
	}

	// The witness's time is part of what it signed, so that nobody can change it.
	at := binary.BigEndian.Uint64(sig)
	signed := append([]byte("cosignature/v1\ntime "+strconv.FormatUint(at, 10)+"\n"), msg...)
	return ed25519.Verify(w.key, signed, sig[timeSize:])
}

// A Cosignature says that a witness signed a checkpoint, and when.
type Cosignature struct {
	Witness string    `json:"witness"`
	Entries int64     `json:"entries"` // of the checkpoint
	Time    time.Time `json:"time"`    // as the witness says it
}

// OpenCosignature returns what a witness says of a checkpoint. The error says so if the checkpoint is not signed by the
// log's key vkey and by the witness.
func OpenCosignature(signed []byte, vkey string, w WitnessKey) (Cosignature, error) {
	c, err := OpenCheckpoint(signed, vkey)
	if err != nil {
		return Cosignature{}, err
	}

	// The log's own signature was verified above; of the others only the witness's is looked for.
	n, err := note.Open(signed, note.VerifierList(w))
	if err != nil || len(n.Sigs) == 0 {
		return Cosignature{}, fmt.Errorf("the checkpoint of size %d is not cosigned by the witness %s", c.Size, w.name)
	}

	raw, err := base64.StdEncoding.DecodeString(n.Sigs[0].Base64)
	if err != nil || len(raw) < 4+timeSize {
		return Cosignature{}, fmt.Errorf("the cosignature of the witness %s is malformed", w.name)
	}

	// A time that no calendar has must not become another one.
	seconds := binary.BigEndian.Uint64(raw[4:])
	if seconds > maxSeconds {
		return Cosignature{}, fmt.Errorf("the cosignature of the witness %s has no possible time", w.name)
	}
	return Cosignature{Witness: w.name, Entries: c.Size, Time: time.Unix(int64(seconds), 0).UTC()}, nil
}

// maxSeconds is the last second of the year 9999.
const maxSeconds = 253402300799

// Cosign adds a witness's cosignature to a signed checkpoint: that of lines, the answer of c2sp.org/tlog-witness, which
// is valid and by the key w. Other lines are left out: "The client MUST ignore any cosignatures from unknown keys".
func Cosign(signed, lines []byte, vkey string, w WitnessKey) ([]byte, error) {
	if len(signed)+len(lines) > maxCheckpoint {
		return nil, fmt.Errorf("the answer of the witness %s is longer than allowed", w.name)
	}

	text, _, ok := bytes.Cut(signed, []byte("\n\n"))
	if !ok {
		return nil, errors.New("the checkpoint has no signature")
	}

	// The answer may have lines of other keys.
	for line := range bytes.Lines(lines) {
		alone := joinedBytes(text, []byte("\n\n"), line)
		// Each line is tried alone: a line of another key must not make this one fail.
		if n, err := note.Open(alone, note.VerifierList(w)); err != nil || len(n.Sigs) != 1 {
			continue
		}
		out := joinedBytes(signed, line)
		if _, err := OpenCosignature(out, vkey, w); err != nil {
			return nil, err
		}
		return out, nil
	}

	return nil, fmt.Errorf("the answer of the witness %s has no valid cosignature by its key", w.name)
}

// joinedBytes is all parts, one after the other, in memory of their own.
func joinedBytes(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// MergeCosigned returns one checkpoint with the signatures of all, each once. All are of one text, or the error says
// so.
func MergeCosigned(checkpoints ...[]byte) ([]byte, error) {
	var out []byte
	seen := map[string]bool{}
	for i, signed := range checkpoints {
		text, signatures, ok := bytes.Cut(signed, []byte("\n\n"))
		if !ok {
			return nil, errors.New("a checkpoint has no signature")
		}
		if i == 0 {
			out = joinedBytes(text, []byte("\n\n"))
		}

		// Signatures of one text under another would not verify, or would claim another tree.
		if !bytes.HasPrefix(out, joinedBytes(text, []byte("\n\n"))) {
			return nil, errors.New("the checkpoints are not of one tree")
		}
		for line := range bytes.Lines(signatures) {
			if !seen[string(line)] {
				seen[string(line)] = true
				out = append(out, line...)
			}
		}
	}

	return out, nil
}

// ProveHistory returns the proof that the tree of c continues the tree of its first old entries (RFC 6962, 2.1.2), for
// whoever saw that. It has no hashes where old is 0 or the whole tree. The error is one of [IsInconsistent] if the
// database does not have the tree of c.
func ProveHistory(ctx context.Context, q Querier, old int64, c Checkpoint) (tlog.TreeProof, error) {
	if err := CheckHistory(ctx, q, c); err != nil {
		return nil, err
	}

	// Whoever saw nothing, or all, needs no hashes.
	if old <= 0 || old >= c.Size {
		return nil, nil
	}

	proof, err := tlog.ProveTree(c.Size, old, Hashes(ctx, q))
	if err != nil {
		return nil, fmt.Errorf("proving that the log, of size %d, is a continuation of size %d: %w", c.Size, old, err)
	}
	return proof, nil
}
