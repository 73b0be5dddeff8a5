package translog

import (
	"encoding/json"
	"errors"
	"fmt"
)

// An Opening is what a proof has beside the tree's hashes: the entry itself, and what
// opens its commitments. Nothing of it is authenticated until the proof is verified with
// the entry, and a part by its commitment.
type Opening struct {
	Entry string            `json:"entry"`
	Salt  []byte            `json:"salt,omitempty"`  // absent once the record's content was deleted
	Parts map[string]string `json:"parts,omitempty"` // contents by name, not necessarily all
}

// Encode returns the bytes for [Proof.Extra].
func (o Opening) Encode() ([]byte, error) {
	b, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encoding a proof: %w", err)
	}
	return b, nil
}

// ParseOpening is the inverse of Encode.
func ParseOpening(extra []byte) (Opening, error) {
	var o Opening
	if err := json.Unmarshal(extra, &o); err != nil || o.Entry == "" {
		return Opening{}, errors.New("the proof does not have its entry: it is not one that attestor made")
	}
	return o, nil
}
