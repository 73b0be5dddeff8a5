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

// maxDepth is more than the nesting of any request of the API.
const maxDepth = 16

// decodeStrict reads one JSON value into v. Names match exactly, case included. It
// refuses unknown names, null and deep nesting beside what [strictjson] always
// refuses, and says what is wrong and where.
//
// RFC 8259, 4: when the names within an object are not unique, "the behavior of
// software that receives such an object is unpredictable". The gate must not
// judge another image than the one that a proxy or a log reads in the same body.
func decodeStrict(body []byte, v any) error {
	err := strictjson.Decode(body, v, strictjson.Rules{Depth: maxDepth})
	if e, ok := errors.AsType[*strictjson.Error](err); ok {
		return invalidJSON(e)
	}
	return err
}

// invalidJSON says what is wrong and where. It does not repeat values, which could
// be secrets.
func invalidJSON(f *strictjson.Error) error {
	e := &attestor.Error{Kind: attestor.Invalid, Err: f.Err}
	switch f.Fault {
	case strictjson.Empty:
		e.Msg, e.Fix = "the body is empty", "send a JSON object"
	case strictjson.TooDeep:
		e.Msg = fmt.Sprintf("the body is nested more than %d levels deep", f.Depth)
		e.Fix = "send a JSON object as /openapi.json describes it"
	case strictjson.Null:
		e.Msg, e.Fix = fmt.Sprintf("the body has null at %s", place(f.At)), "leave the field out"
	case strictjson.Trailing:
		e.Msg, e.Fix = "the body has data after the JSON value", "send exactly one JSON object"
	case strictjson.Unknown:
		e.Msg = fmt.Sprintf("the body has an unknown field at %s", place(f.At))
		e.Fix = "names are matched exactly, upper and lower case too; /openapi.json lists them"
	case strictjson.WrongType:
		e.Msg = fmt.Sprintf("the body has an invalid value at %s", place(f.At))
		e.Fix = "/openapi.json lists the values of this field"
		if f.Type != nil {
			e.Msg = fmt.Sprintf("the body has a %s at %s", kindName(f.Kind), place(f.At))
			e.Msg += ": " + typeName(f.Type) + " is required"
			e.Fix = ""
		}
	case strictjson.Duplicate:
		e.Msg = fmt.Sprintf("the body has a duplicate field at %s", place(f.At))
		e.Fix = "send each field once"
	case strictjson.Truncated:
		e.Msg, e.Fix = "the body is truncated: it ends within a JSON value", "send the request again"
	default:
		e.Msg = fmt.Sprintf("the body is not valid JSON at byte %d", f.Offset)
	}

	return e
}

// place is a position in the body, short and printable.
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
