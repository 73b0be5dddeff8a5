package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// recorded returns the bytes that were recorded of an answer: its JSON without white
// space between tokens and without the members that say what the record knows of the
// decision, which were never a part of it. Nothing else is changed, so that an answer
// that was changed stays so.
func recorded(answer []byte) ([]byte, error) {
	var compact bytes.Buffer
	if err := json.Compact(&compact, answer); err != nil {
		return nil, fmt.Errorf("the decision is not JSON: %w", err)
	}
	b := compact.Bytes()
	if len(b) == 0 || b[0] != '{' {
		return nil, errors.New("the decision is not a JSON object")
	}

	// The members are cut out of the text by their offsets. Decoding and encoding them again could change a number or
	// an escape, and with it the commitment.
	dec := json.NewDecoder(bytes.NewReader(b))
	if _, err := dec.Token(); err != nil { // {
		return nil, err
	}
	var members [][]byte
	for dec.More() {
		start := dec.InputOffset() // at the comma, but for the first member
		name, err := dec.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, err
		}
		if slices.Contains([]any{"log", "overrideState", "revoked"}, any(name)) {
			continue
		}
		members = append(members, bytes.TrimPrefix(b[start:dec.InputOffset()], []byte(",")))
	}
	return slices.Concat([]byte("{"), bytes.Join(members, []byte(",")), []byte("}")), nil
}
