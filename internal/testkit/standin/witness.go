package standin

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A Witness answers c2sp.org/tlog-witness for one log, and cosigns by c2sp.org/tlog-cosignature. It is written from the
// two specifications, without the code that the gate asks with. It is safe for concurrent use.
type Witness struct {
	name   string
	key    ed25519.PrivateKey
	log    note.Verifier
	origin string

	mu    sync.Mutex
	size  int64     // guarded by mu
	root  tlog.Hash // guarded by mu
	now   time.Time
	other http.HandlerFunc
	asked int
}

// NewWitness is a witness of the log with a public key, which saw nothing of it yet. seed makes its key.
func NewWitness(name, vkey string, seed byte) (*Witness, error) {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, err
	}
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	return &Witness{name: name, key: key, log: v, origin: v.Name(), now: time.Unix(1795000000, 0)}, nil
}

// Key is the witness's public key as text.
func (w *Witness) Key() string {
	return fmt.Sprintf("%s+%08x+%s", w.name, w.hash(), base64.StdEncoding.EncodeToString(w.public()))
}

func (w *Witness) public() []byte {
	return append([]byte{4}, w.key.Public().(ed25519.PublicKey)...) //nolint:forcetypeassert // crypto/ed25519 says so
}

func (w *Witness) hash() uint32 {
	sum := sha256.Sum256(append([]byte(w.name+"\n"), w.public()...))
	return binary.BigEndian.Uint32(sum[:])
}

// Saw is the size of the tree that it cosigned last.
func (w *Witness) Saw() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.size
}

// Asked is how often it was asked.
func (w *Witness) Asked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked
}

// Answer makes it answer by other; nil: as the specification says.
func (w *Witness) Answer(other http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.other = other
}

// ServeHTTP implements [http.Handler].
func (w *Witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	// The end of a connection is noticed only after its request was read.
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}

	w.mu.Lock()
	w.asked++
	other := w.other
	w.mu.Unlock()
	if other != nil {
		r.Body = io.NopCloser(bytes.NewReader(body))
		other(rw, r)
		return
	}

	// The specification has one request.
	if r.Method != http.MethodPost || r.URL.Path != "/add-checkpoint" {
		http.NotFound(rw, r)
		return
	}

	w.mu.Lock()
	defer w.mu.Unlock()
	status, answer := w.add(body)
	if status == http.StatusConflict {
		rw.Header().Set("Content-Type", "text/x.tlog.size")
	}
	rw.WriteHeader(status)
	_, _ = io.WriteString(rw, answer)
}

// add is the protocol's one request; w.mu is held.
func (w *Witness) add(body []byte) (status int, answer string) {
	head, signed, ok := strings.Cut(string(body), "\n\n")
	lines := strings.Split(head, "\n")
	sizeText, isOld := strings.CutPrefix(lines[0], "old ")
	old, err := strconv.ParseInt(sizeText, 10, 64)
	if !ok || !isOld || err != nil || old < 0 || len(lines) > 64 {
		return http.StatusBadRequest, "malformed\n"
	}
	var proof tlog.TreeProof
	for _, line := range lines[1:] {
		h, err := tlog.ParseHash(line)
		if err != nil {
			return http.StatusBadRequest, "malformed\n"
		}
		proof = append(proof, h)
	}

	// "If the checkpoint origin is unknown", 404; "if none of the signatures verify", 403.
	origin, _, _ := strings.Cut(signed, "\n")
	if origin != w.origin {
		return http.StatusNotFound, "unknown log\n"
	}

	// Opened by the log's key alone.
	n, err := note.Open([]byte(signed), note.VerifierList(w.log))
	if err != nil {
		return http.StatusForbidden, "not signed\n"
	}
	text := strings.Split(n.Text, "\n")
	size, err := strconv.ParseInt(text[1], 10, 64)
	if err != nil {
		return http.StatusBadRequest, "malformed\n"
	}
	root, err := tlog.ParseHash(text[2])
	if err != nil {
		return http.StatusBadRequest, "malformed\n"
	}

	// "The old size MUST be equal to or lower than the checkpoint size", else 400. 409 if it is not that of the latest
	// cosigned checkpoint, or if the sizes are equal and the roots are not. 422 if the proof does not verify.
	switch {
	case old > size:
		return http.StatusBadRequest, "old is larger\n"
	case old != w.size, old == size && w.size > 0 && root != w.root:
		return http.StatusConflict, fmt.Sprintf("%d\n", w.size)
	case old == 0 && len(proof) > 0, old > 0 && tlog.CheckTree(proof, size, root, old, w.root) != nil:
		return http.StatusUnprocessableEntity, "not consistent\n"
	}
	w.size, w.root = size, root
	return http.StatusOK, w.cosignature(n.Text)
}

// Cosign returns its signature line of a checkpoint, whatever it saw before.
func (w *Witness) Cosign(signed []byte) string {
	text, _, _ := strings.Cut(string(signed), "\n\n")
	return w.cosignature(text + "\n")
}

// Forget makes it know a signed checkpoint as the only one that it ever cosigned.
func (w *Witness) Forget(signed []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()

	// The protocol's own request with an old size of 0 sets it.
	w.size, w.root = 0, tlog.Hash{}
	if status, answer := w.add(append([]byte("old 0\n\n"), signed...)); status != http.StatusOK {
		return fmt.Errorf("%d %s", status, answer)
	}
	return nil
}

// cosignature is the signature line of a checkpoint's text.
func (w *Witness) cosignature(text string) string {
	at := w.now.Unix()
	signature := ed25519.Sign(w.key, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", at, text))
	raw := binary.BigEndian.AppendUint32(nil, w.hash())
	raw = binary.BigEndian.AppendUint64(raw, uint64(at)) //nolint:gosec // a date of this century
	return "— " + w.name + " " + base64.StdEncoding.EncodeToString(append(raw, signature...)) + "\n"
}
