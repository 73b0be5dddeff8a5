// Package strictjson decodes JSON that can be read in one way only.
//
// RFC 8259 leaves open what readers do with duplicate names, with invalid UTF-8 and
// with text behind the value; encoding/json takes the last of duplicates, ignores the
// case of names and replaces invalid bytes. An author can so write one document that
// says one thing to this program and another to the next. Such documents are refused.
package strictjson

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/attestor-gate/attestor/internal/plain"
)

// Rules says what a document may have. The zero value is the strictest. Duplicate
// names, text behind the value and invalid UTF-8 are refused by every rule.
type Rules struct {
	Unknown bool // names that the target has no field for, as in formats that grow; they are ignored
	Null    bool // null
	Depth   int  // of arrays and objects within each other; 0: 10,000

	// Elements is how many an array may have; 0: any number. An element of two bytes can take a hundred where it is
	// decoded, so that a target with arrays of structs needs it.
	Elements int

	// Surrogates allows \ud800 and the like without its other half, which is valid JSON
	// (RFC 8259, 8.2) and no Unicode text.
	Surrogates bool

	// Spelling returns the exact name of the field that a reader who ignores case would
	// take a name for, or "". A name that differs from it is refused. It is for readers
	// by encoding/json; [Decode] compares names exactly.
	Spelling func(name string) string

	// Free reports whether the value of a name has names of its author's choice, which
	// are no fields and have no spelling.
	Free func(name string) bool
}

// A Fault is a kind of [Error].
type Fault int

// The faults of a document.
const (
	Malformed Fault = iota // not JSON, or not UTF-8, at Offset
	Empty                  // no value
	Truncated              // ends within a value
	Trailing               // text behind the value
	Duplicate              // Name is in one object twice
	Spelling               // Name differs from Want in case only
	TooDeep                // nested deeper than the rules allow
	Null                   // null
	Unknown                // the target has no field of this name
	WrongType              // Kind where Type is wanted
	TooLong                // an array has more elements than the rules allow
)

// Error is what is wrong with a document, and where. Callers write their own messages;
// the one of Error is without the place.
type Error struct {
	Fault  Fault
	At     jsontext.Pointer // "" for the top
	Offset int64            // of Malformed, in bytes
	Name   string           // of Duplicate and Spelling
	Want   string           // of Spelling
	Depth  int              // of TooDeep: the limit
	Length int              // of TooLong: the limit
	Kind   jsontext.Kind    // of WrongType
	Type   reflect.Type     // of WrongType; nil where the value is of the right type and yet wrong
	Err    error            // of the decoder, for the log
}

func (e *Error) Unwrap() error { return e.Err }

// Error returns a clause about the document: "it is …".
func (e *Error) Error() string {
	switch e.Fault {
	case Empty:
		return "it is empty"
	case Truncated:
		return "it is truncated"
	case Trailing:
		return "there is data after the JSON value"
	case Duplicate:
		return fmt.Sprintf("duplicate key %q", clip(e.Name))
	case Spelling:
		return fmt.Sprintf("key %q differs from %q in case only", clip(e.Name), e.Want)
	case TooDeep:
		return fmt.Sprintf("it is nested deeper than %d", e.Depth)
	case Null:
		return "it has a null"
	case Unknown:
		return "it has an unknown field"
	case WrongType:
		return "it does not match the schema"
	case TooLong:
		return fmt.Sprintf("it has a list of more than %d elements", e.Length)
	}
	return "it is not valid JSON"
}

// clip keeps hostile names from filling a message.
func clip(s string) string { return plain.Clip(s, 100) }

// Decode decodes the one value of b into v. Names match exactly, case included. Its
// error is an [*Error].
func Decode(b []byte, v any, r Rules) error {
	if err := Check(b, r); err != nil {
		return err
	}

	// The check has seen every token: what is decoded here can be read in one way only.
	err := json.Unmarshal(
		b, v, json.RejectUnknownMembers(!r.Unknown), jsontext.AllowInvalidUTF8(r.Surrogates),
	)
	if err != nil {
		return explain(err)
	}
	return nil
}

// Check reads the tokens of b and builds nothing, so that a hostile document costs no
// more than its own length. Its error is an [*Error].
func Check(b []byte, r Rules) error {
	// With surrogates allowed, the tokenizer would let invalid bytes pass too.
	if r.Surrogates && !utf8.Valid(b) {
		return &Error{Fault: Malformed}
	}

	d := jsontext.NewDecoder(bytes.NewBuffer(b), jsontext.AllowInvalidUTF8(r.Surrogates))
	if d.PeekKind() == 0 {
		if _, err := d.ReadToken(); errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return &Error{Fault: Empty}
		}
	}
	if err := r.value(d, r.Spelling != nil, 0); err != nil {
		return err
	}

	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &Error{Fault: Trailing}
	}
	return nil
}

// value reads one value within depth others. fields is false where names are free.
func (r Rules) value(d *jsontext.Decoder, fields bool, depth int) error {
	kind := d.PeekKind()
	switch {
	case kind == 'n' && !r.Null:
		if err := d.SkipValue(); err != nil { // "nul" is no null
			return explain(err)
		}
		return &Error{Fault: Null, At: d.StackPointer()}
	case kind != '[' && kind != '{':
		return explain(d.SkipValue())
	case r.Depth > 0 && depth >= r.Depth:
		return &Error{Fault: TooDeep, Depth: r.Depth}
	}
	if _, err := d.ReadToken(); err != nil {
		return explain(err)
	}

	end := kind + 2 // ] and } come two after [ and {
	for n := 0; d.PeekKind() != end; n++ {
		if kind == '[' && r.Elements > 0 && n >= r.Elements {
			return &Error{Fault: TooLong, Length: r.Elements}
		}

		inner := fields
		if kind == '{' {
			var err error
			if inner, err = r.name(d, fields); err != nil {
				return err
			}
		}
		if err := r.value(d, inner, depth+1); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return explain(err)
}

// name reads a name, and reports whether names within its value are fields. The
// tokenizer refuses duplicates.
func (r Rules) name(d *jsontext.Decoder, fields bool) (bool, error) {
	t, err := d.ReadToken()
	if err != nil || !fields {
		return false, explain(err)
	}
	name := t.String()
	if want := r.Spelling(name); want != "" && want != name {
		return false, &Error{Fault: Spelling, At: d.StackPointer(), Name: name, Want: want}
	}
	return r.Free == nil || !r.Free(name), nil
}

// explain turns an error of the decoder into an [*Error]; nil stays nil.
func explain(err error) error {
	if err == nil {
		return nil
	}

	if s, ok := errors.AsType[*json.SemanticError](err); ok {
		fault := WrongType
		if errors.Is(err, json.ErrUnknownName) {
			fault = Unknown
		}
		return &Error{Fault: fault, At: s.JSONPointer, Kind: s.JSONKind, Type: s.GoType, Err: err}
	}

	s, _ := errors.AsType[*jsontext.SyntacticError](err)
	switch {
	case s != nil && errors.Is(err, jsontext.ErrDuplicateName):
		return &Error{Fault: Duplicate, At: s.JSONPointer, Name: s.JSONPointer.LastToken(), Err: err}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &Error{Fault: Truncated, Err: err}
	case s != nil:
		return &Error{Fault: Malformed, Offset: s.ByteOffset, Err: err}
	}
	return &Error{Fault: Malformed, Err: err}
}
