package attestor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// EncodeTo writes what json.Marshal returns. Of an image with many findings that is large, and Marshal holds it several
// times over while it is made: here the long lists are written entry by entry.
func (ev Evidence) EncodeTo(w io.Writer) error { return ev.EncodeUsing(w, EncodeFindings) }

// EncodeUsing is EncodeTo for who has encoded some findings before: encode writes what [EncodeFindings] does.
func (ev Evidence) EncodeUsing(w io.Writer, encode func(io.Writer, []Vulnerability) error) error {
	// In the place of each long list stands one entry without content.
	platforms := slices.Clone(ev.Platforms)
	var lists []long
	for i := range platforms {
		p := &platforms[i]
		lists = held(lists, "findings", &p.Scan.Findings, encode)
		lists = held(lists, "secrets", &p.Scan.Secrets, encodeList)

		p.SBOMs = slices.Clone(p.SBOMs)
		for j := range p.SBOMs {
			lists = held(lists, "packages", &p.SBOMs[j].Packages, encodeList)
		}
	}
	ev.Platforms = platforms
	rest, err := json.Marshal(ev)
	if err != nil {
		return fmt.Errorf("encoding evidence: %w", err)
	}

	// No text can contain a place: within it the quotation marks are escaped. The lists are in the order of the fields.
	for _, l := range lists {
		before, after, found := bytes.Cut(rest, l.place)
		if !found {
			return errors.New("encoding evidence: a list has no place in it")
		}
		if _, err := w.Write(before); err != nil {
			return err
		}
		if err := l.write(w); err != nil {
			return err
		}
		rest = after
	}
	_, err = w.Write(rest)
	return err
}

// long is a list that is written entry by entry, and the text in whose place.
type long struct {
	place []byte
	write func(io.Writer) error
}

// held puts one empty entry in the place of a list, if it has any.
func held[T any](lists []long, field string, list *[]T, encode func(io.Writer, []T) error) []long {
	if len(*list) == 0 {
		return lists
	}

	whole, empty := *list, make([]T, 1)
	*list = empty
	place, err := json.Marshal(empty)
	return append(lists, long{
		place: append([]byte(`"`+field+`":`), place...),
		write: func(w io.Writer) error {
			if err != nil {
				return err
			}
			if _, err := io.WriteString(w, `"`+field+`":`); err != nil {
				return err
			}
			return encode(w, whole)
		},
	})
}

func encodeList[T any](w io.Writer, list []T) error {
	if list == nil {
		_, err := io.WriteString(w, "null")
		return err
	}

	if _, err := io.WriteString(w, "["); err != nil {
		return err
	}

	// One encoder for all: each keeps a buffer of the longest entry.
	one := json.NewEncoder(unended{w})
	for i := range list {
		if i > 0 {
			if _, err := io.WriteString(w, ","); err != nil {
				return err
			}
		}
		if err := one.Encode(&list[i]); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, "]")
	return err
}

// unended leaves out line ends, of which an encoder writes one. JSON without indentation has no other.
type unended struct{ w io.Writer }

func (u unended) Write(p []byte) (int, error) {
	if _, err := u.w.Write(bytes.TrimSuffix(p, []byte("\n"))); err != nil {
		return 0, err
	}
	return len(p), nil
}
