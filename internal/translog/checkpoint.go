package translog

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// maxCheckpoint bounds a checkpoint with its signatures, in bytes.
const maxCheckpoint = 16 << 10

// A Checkpoint says which entries a log has: those of the tree with this size and root.
type Checkpoint struct {
	Origin string
	Size   int64
	Root   tlog.Hash
}

// A Key signs checkpoints.
type Key struct {
	Origin string // the log's name: a URL without scheme, such as gate.example/decisions
	Public ed25519.PublicKey
	// Sign returns the Ed25519 signature of msg.
	Sign func(ctx context.Context, msg []byte) ([]byte, error)
}

// Verifier returns the key's public half as text, ORIGIN+HASH+KEY (c2sp.org/signed-note).
func (k Key) Verifier() (string, error) {
	return note.NewEd25519VerifierKey(k.Origin, k.Public)
}

// SignCheckpoint signs the tree of h. The caller has read h from committed rows: a
// signature on entries that a crash takes back would be the proof of a second history.
func (k Key) SignCheckpoint(ctx context.Context, h Head) ([]byte, error) {
	text := fmt.Sprintf("%s\n%d\n%s\n", k.Origin, h.Size, h.Root())
	signed, err := note.Sign(&note.Note{Text: text}, noteSigner{ctx: ctx, key: k})
	if err != nil {
		return nil, fmt.Errorf("signing a checkpoint: %w", err)
	}

	// A signature that nobody can verify is found here, not by whoever needs the proof.
	vkey, err := k.Verifier()
	if err != nil {
		return nil, err
	}

	if _, err := OpenCheckpoint(signed, vkey); err != nil {
		return nil, fmt.Errorf("signing a checkpoint: %w", err)
	}
	return signed, nil
}

// CheckKey returns an error unless a text has the form of a public key.
func CheckKey(vkey string) error {
	if _, err := note.NewVerifier(vkey); err != nil {
		return fmt.Errorf("%q is not the public key of a log: it is written ORIGIN+HASH+KEY: %w", vkey, err)
	}
	return nil
}

// noteSigner is a Key as package note asks for one.
type noteSigner struct {
	ctx context.Context //nolint:containedctx // note.Signer passes none
	key Key
}

func (s noteSigner) Name() string { return s.key.Origin }

// KeyHash is the key id of c2sp.org/signed-note: the first four bytes of
// "SHA-256(key name || 0x0A || signature type || public key)", of type 0x01, Ed25519.
func (s noteSigner) KeyHash() uint32 {
	sum := sha256.Sum256(append([]byte(s.key.Origin+"\n\x01"), s.key.Public...))
	return binary.BigEndian.Uint32(sum[:])
}

func (s noteSigner) Sign(msg []byte) ([]byte, error) { return s.key.Sign(s.ctx, msg) }

// OpenCheckpoint returns what a signed checkpoint says. The error says so if it is not
// signed by the key vkey, or not of that key's log.
func OpenCheckpoint(signed []byte, vkey string) (Checkpoint, error) {
	if len(signed) > maxCheckpoint {
		return Checkpoint{}, fmt.Errorf(
			"the checkpoint has %d bytes; at most %d are allowed",
			len(signed),
			maxCheckpoint,
		)
	}

	v, err := note.NewVerifier(vkey)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("the log's public key is malformed: it is written ORIGIN+HASH+KEY: %w", err)
	}

	n, err := note.Open(signed, note.VerifierList(v))
	if err != nil {
		if _, unverified := errors.AsType[*note.UnverifiedNoteError](err); unverified {
			return Checkpoint{}, fmt.Errorf("the checkpoint is not signed by the log's key %s", v.Name())
		}
		return Checkpoint{}, fmt.Errorf("opening a checkpoint: %w", err)
	}

	c, err := parseCheckpoint(n.Text)
	if err != nil {
		return Checkpoint{}, err
	}

	// c2sp.org/tlog-checkpoint: "the origin line MUST match the key name". Otherwise one
	// key's signature on another log's tree would count here.
	if c.Origin != v.Name() {
		return Checkpoint{}, fmt.Errorf("the checkpoint is of log %q, not of %q", c.Origin, v.Name())
	}
	return c, nil
}

// UnverifiedCheckpoint returns what a checkpoint claims. It checks no signature.
func UnverifiedCheckpoint(signed []byte) (Checkpoint, error) {
	if len(signed) > maxCheckpoint {
		return Checkpoint{}, fmt.Errorf(
			"the checkpoint has %d bytes; at most %d are allowed",
			len(signed),
			maxCheckpoint,
		)
	}

	// c2sp.org/signed-note: the signatures follow the text after an empty line.
	text, _, ok := strings.Cut(string(signed), "\n\n")
	if !ok {
		return Checkpoint{}, errors.New("the checkpoint has no signature")
	}
	return parseCheckpoint(text + "\n")
}

func parseCheckpoint(text string) (Checkpoint, error) {
	malformed := errors.New("the checkpoint is malformed: it has an origin, a size and a root hash, a line each")

	// Four parts: three lines, and what follows the last line feed.
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[0] == "" || lines[3] != "" {
		return Checkpoint{}, malformed
	}

	// c2sp.org/tlog-checkpoint: the size is a decimal number "with no leading zeroes".
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return Checkpoint{}, malformed
	}

	root, err := parseHash(lines[2])
	if err != nil {
		return Checkpoint{}, malformed
	}
	return Checkpoint{Origin: lines[0], Size: size, Root: root}, nil
}

func parseHash(s string) (tlog.Hash, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != tlog.HashSize {
		return tlog.Hash{}, errors.New("a hash is malformed")
	}
	return tlog.Hash(b), nil
}
