package translog

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// entryVersion is the format of entries that this package writes, and the only one
// that it reads.
const entryVersion = 1

// SaltSize is the length of a salt in bytes.
const SaltSize = 16

// maxEntry bounds an entry in bytes. c2sp.org/tlog-tiles gives an entry's length 16 bits.
const maxEntry = 4 << 10

// An Entry is what the log says of one record. It holds no content: Parts has a
// commitment to each part of the record, by the part's name.
type Entry struct {
	Kind    string // of the record, such as "decision"
	ID      string // of the record, unique within its kind
	Time    time.Time
	Entered time.Time // when a record older than the log was added to it; zero for all others
	Parts   map[string]string
}

// wireEntry is an Entry as JSON. [json.Marshal] writes fields in this order and map
// keys sorted, so that one Entry has one encoding.
type wireEntry struct {
	V       int               `json:"v"`
	Kind    string            `json:"kind"`
	ID      string            `json:"id"`
	Time    time.Time         `json:"time"`
	Entered *time.Time        `json:"entered,omitempty"`
	Parts   map[string]string `json:"parts"`
}

// Encode returns the bytes that the log holds.
func (e Entry) Encode() ([]byte, error) {
	w := wireEntry{V: entryVersion, Kind: e.Kind, ID: e.ID, Time: e.Time.UTC(), Parts: e.Parts}
	if !e.Entered.IsZero() {
		entered := e.Entered.UTC()
		w.Entered = &entered
	}

	b, err := json.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("encoding a log entry: %w", err)
	}
	if len(b) > maxEntry {
		return nil, fmt.Errorf("a log entry has %d bytes; at most %d are allowed", len(b), maxEntry)
	}
	return b, nil
}

// ParseEntry is the inverse of Encode. It refuses every other encoding of the same
// entry, so that an entry cannot mean two things to two readers.
func ParseEntry(b []byte) (Entry, error) {
	if len(b) > maxEntry {
		return Entry{}, fmt.Errorf("a log entry has %d bytes; at most %d are allowed", len(b), maxEntry)
	}

	var w wireEntry

	// A member that is not known would be signed and mean nothing to this reader.
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&w); err != nil {
		return Entry{}, fmt.Errorf("decoding a log entry: %w", err)
	}

	if w.V != entryVersion {
		return Entry{}, fmt.Errorf("the log entry has version %d; this program reads version %d", w.V, entryVersion)
	}

	e := Entry{Kind: w.Kind, ID: w.ID, Time: w.Time.UTC(), Parts: w.Parts}
	if w.Entered != nil {
		e.Entered = w.Entered.UTC()
	}

	// Encoding it again is the only test of the one form: the decoder accepts many.
	again, err := e.Encode()
	if err != nil {
		return Entry{}, err
	}
	if !bytes.Equal(again, b) {
		return Entry{}, errors.New("the log entry is not in its canonical encoding")
	}
	return e, nil
}

// NewSalt returns a random key for commitments. A commitment without one could be
// compared with guesses of the content after the content was deleted.
func NewSalt() []byte {
	salt := make([]byte, SaltSize)
	_, _ = rand.Read(salt) // crypto/rand: Read "never returns an error"
	return salt
}

// Commit returns the commitment to one part: HMAC-SHA-256 by the salt over the part's
// name, a zero byte and its content. The name keeps two parts of equal content apart.
func Commit(salt []byte, name string, content []byte) string {
	mac := hmac.New(sha256.New, salt)
	mac.Write([]byte(name))
	mac.Write([]byte{0})
	mac.Write(content)
	return base64.RawStdEncoding.EncodeToString(mac.Sum(nil))
}

// CommitAll returns the commitments to all parts of a record, by name.
func CommitAll(salt []byte, parts map[string][]byte) map[string]string {
	out := make(map[string]string, len(parts))
	for name, content := range parts {
		out[name] = Commit(salt, name, content)
	}
	return out
}

// Differs returns the names of the parts that are not what the entry commits to, in
// order. A part that only one of the two has differs. A nil result means that all
// content is what was logged.
func (e Entry) Differs(salt []byte, parts map[string][]byte) []string {
	var out []string
	for name, content := range parts {
		if e.Parts[name] == "" || e.Parts[name] != Commit(salt, name, content) {
			out = append(out, name)
		}
	}

	for name := range e.Parts {
		if _, ok := parts[name]; !ok {
			out = append(out, name)
		}
	}

	slices.Sort(out)
	return out
}
