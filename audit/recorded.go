package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// recorded returns the bytes that were recorded of an answer: its JSON without white
// space between tokens and without its last member, log, which says where the record has
// it. Nothing else is changed, so that an answer that was changed stays so.
func recorded(answer []byte) ([]byte, error) {
	var compact bytes.Buffer
	if err := json.Compact(&compact, answer); err != nil {
		return nil, fmt.Errorf("the decision is not JSON: %w", err)
	}
	b := compact.Bytes()
	if len(b) == 0 || b[0] != '{' {
		return nil, errors.New("the decision is not a JSON object")
	}

	dec := json.NewDecoder(bytes.NewReader(b))
	if _, err := dec.Token(); err != nil { // {
		return nil, err
	}
	for dec.More() {
		// The member begins at the comma before its name.
		start := dec.InputOffset()
		name, err := dec.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, err
		}
		if name == "log" && !dec.More() {
			return append(bytes.Clone(b[:start]), '}'), nil
		}
	}
	return b, nil
}
