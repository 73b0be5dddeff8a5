package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/attestor-gate/attestor"
)

// maxDepth is far beyond what any request of the API needs.
const maxDepth = 16

// decodeStrict reads one JSON value into v. Names match exactly, case
// included; duplicate or unknown names, null, trailing data, wrong types,
// invalid UTF-8 and deep nesting are refused with what was wrong and where.
func decodeStrict(body []byte, v any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return &attestor.Error{Kind: attestor.Invalid, Msg: "the body is empty: want a JSON object"}
	}
	if err := scan(body, maxDepth, false); err != nil {
		return err
	}
	if err := json.Unmarshal(body, v, json.RejectUnknownMembers(true)); err != nil {
		return invalidJSON(err)
	}
	return nil
}

// scan walks the tokens of one value before anything is built from it, so that
// a hostile body costs no more than its own length.
func scan(body []byte, depth int, nullable bool) error {
	d := jsontext.NewDecoder(bytes.NewReader(body))
	for {
		t, err := d.ReadToken()
		switch {
		case errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
			return &attestor.Error{Kind: attestor.Invalid, Msg: "the body is empty: want a JSON object"}
		case err != nil:
			return invalidJSON(err)
		case d.StackDepth() > depth:
			return &attestor.Error{Kind: attestor.Invalid, Msg: fmt.Sprintf("the body is nested more than %d deep", depth)}
		case t.Kind() == 'n' && !nullable:
			return &attestor.Error{Kind: attestor.Invalid, Msg: fmt.Sprintf("the body has null at %s", place(d.StackPointer())), Fix: "leave the field out"}
		}
		if d.StackDepth() == 0 {
			break
		}
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return &attestor.Error{Kind: attestor.Invalid, Msg: "the body has something after the JSON value", Fix: "send exactly one JSON object"}
	}
	return nil
}

// invalidJSON says what was wrong without repeating what was sent.
func invalidJSON(err error) error {
	e := &attestor.Error{Kind: attestor.Invalid, Err: err}
	if s, ok := errors.AsType[*json.SemanticError](err); ok {
		switch {
		case errors.Is(err, json.ErrUnknownName):
			e.Msg, e.Fix = fmt.Sprintf("the body has an unknown field at %s", place(s.JSONPointer)), "names are matched exactly, upper and lower case too; /openapi.json lists them"
		case s.GoType != nil:
			e.Msg = fmt.Sprintf("the body has a %s at %s: want %s", kindName(s.JSONKind), place(s.JSONPointer), typeName(s.GoType))
		default:
			e.Msg = fmt.Sprintf("the body has a wrong value at %s", place(s.JSONPointer))
		}
		return e
	}
	if s, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		switch {
		case errors.Is(err, jsontext.ErrDuplicateName):
			e.Msg = fmt.Sprintf("the body has the same field twice: %s", place(s.JSONPointer))
		case errors.Is(err, io.ErrUnexpectedEOF):
			e.Msg = "the body ends in the middle of a JSON value"
		default:
			e.Msg = fmt.Sprintf("the body is not valid JSON at byte %d", s.ByteOffset)
		}
		return e
	}
	e.Msg = "the body is not valid JSON"
	return e
}

// place is where in the body, short and printable.
func place(p jsontext.Pointer) string {
	s := string(p)
	if s == "" {
		return "its top"
	}
	if len(s) > 100 {
		s = s[:100] + "…"
	}
	return fmt.Sprintf("%q", s)
}

func kindName(k jsontext.Kind) string {
	switch k {
	case '"':
		return "string"
	case '0':
		return "number"
	case 't', 'f':
		return "boolean"
	case '{':
		return "object"
	case '[':
		return "array"
	case 'n':
		return "null"
	}
	return "value of the wrong type"
}

func typeName(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	}
	return "a " + strings.ToLower(t.Kind().String())
}
