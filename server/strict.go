package server

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/strictjson"
)

// maxDepth is far beyond what any request of the API needs.
const maxDepth = 16

// decodeStrict reads one JSON value into v. Names match exactly, case included; unknown
// names, null and deep nesting are refused beside what [strictjson] always refuses. The
// error says what was wrong and where.
func decodeStrict(body []byte, v any) error {
	err := strictjson.Decode(body, v, strictjson.Rules{Depth: maxDepth})
	if e, ok := errors.AsType[*strictjson.Error](err); ok {
		return invalidJSON(e)
	}
	return err
}

// invalidJSON says what was wrong without repeating what was sent.
func invalidJSON(f *strictjson.Error) error {
	e := &attestor.Error{Kind: attestor.Invalid, Err: f.Err}
	switch f.Fault {
	case strictjson.Empty:
		e.Msg = "the body is empty: want a JSON object"
	case strictjson.TooDeep:
		e.Msg = fmt.Sprintf("the body is nested more than %d deep", f.Depth)
	case strictjson.Null:
		e.Msg, e.Fix = fmt.Sprintf("the body has null at %s", place(f.At)), "leave the field out"
	case strictjson.Trailing:
		e.Msg, e.Fix = "the body has something after the JSON value", "send exactly one JSON object"
	case strictjson.Unknown:
		e.Msg = fmt.Sprintf("the body has an unknown field at %s", place(f.At))
		e.Fix = "names are matched exactly, upper and lower case too; /openapi.json lists them"
	case strictjson.WrongType:
		e.Msg = fmt.Sprintf("the body has a wrong value at %s", place(f.At))
		if f.Type != nil {
			e.Msg = fmt.Sprintf("the body has a %s at %s: want %s", kindName(f.Kind), place(f.At), typeName(f.Type))
		}
	case strictjson.Duplicate:
		e.Msg = fmt.Sprintf("the body has the same field twice: %s", place(f.At))
	case strictjson.Truncated:
		e.Msg = "the body ends in the middle of a JSON value"
	default:
		e.Msg = fmt.Sprintf("the body is not valid JSON at byte %d", f.Offset)
	}
	return e
}

// place names a place in the body, short and printable.
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
