package translog

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"time"
)

// shortForm is the first byte of an entry in its short form. No JSON begins with it.
const shortForm = 1

// short is how a row has an entry: without the kind and the id, which are in columns beside it, and with commitments
// as bytes. Two fifths of the entry are left. encoded is the entry itself, and is returned where the short form would
// not give it back: what the tree is made of is always the entry itself.
func (e Entry) short(encoded []byte) []byte {
	b := binary.AppendVarint([]byte{shortForm}, e.Time.UnixMicro())
	if e.Entered.IsZero() {
		b = append(b, 0)
	} else {
		b = binary.AppendVarint(append(b, 1), e.Entered.UnixMicro())
	}

	// In one order, as in the entry.
	for _, name := range slices.Sorted(maps.Keys(e.Parts)) {
		sum, err := base64.RawStdEncoding.Strict().DecodeString(e.Parts[name])
		if err != nil || len(sum) != sha256.Size {
			return encoded
		}
		b = binary.AppendUvarint(b, uint64(len(name)))
		b = append(append(b, name...), sum...)
	}

	// A time of nanoseconds, for example, is more than the short form has.
	if !bytes.Equal(EntryOf(e.Kind, e.ID, b), encoded) {
		return encoded
	}
	return b
}

// EntryOf returns the entry of a row by its columns kind, id and entry. Versions before stored entries as they are, and
// so are those that have no short form. What is neither is returned as it is: it was changed, and does not have the
// hash that the tree has at its place.
func EntryOf(kind, id string, stored []byte) []byte {
	if len(stored) == 0 || stored[0] != shortForm {
		return stored
	}
	e, err := parseShort(stored[1:])
	if err != nil {
		return stored
	}

	e.Kind, e.ID = kind, id
	encoded, err := e.Encode()
	if err != nil {
		return stored
	}
	return encoded
}

// errShort means that bytes are not what short made.
var errShort = errors.New("the stored entry is damaged")

// parseShort reads what follows the first byte of a short form.
func parseShort(b []byte) (Entry, error) {
	at, n := binary.Varint(b)
	if n <= 0 || n == len(b) || b[n] > 1 {
		return Entry{}, errShort
	}
	e := Entry{Time: time.UnixMicro(at), Parts: map[string]string{}}

	entered := b[n] == 1
	if b = b[n+1:]; entered {
		if at, n = binary.Varint(b); n <= 0 {
			return Entry{}, errShort
		}
		e.Entered, b = time.UnixMicro(at), b[n:]
	}

	// Every length is compared with what is there before it is used.
	for len(b) > 0 {
		length, n := binary.Uvarint(b)
		if n <= 0 || length > maxEntry || len(b) < n+int(length)+sha256.Size {
			return Entry{}, errShort
		}
		name, sum := b[n:n+int(length)], b[n+int(length):][:sha256.Size]
		e.Parts[string(name)] = base64.RawStdEncoding.EncodeToString(sum)
		b = b[n+int(length)+sha256.Size:]
	}
	return e, nil
}
