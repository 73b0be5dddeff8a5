package strictjson_test

import (
	stdjson "encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/internal/strictjson"
)

type document struct {
	User  string         `json:"user"`
	Count int            `json:"count"`
	List  []string       `json:"list"`
	Deep  *document      `json:"deep"`
	Free  map[string]any `json:"free"`
}

func spelling(name string) string {
	if strings.EqualFold(name, "user") {
		return "user"
	}
	return ""
}

func free(name string) bool { return name == "free" }

var (
	strict = strictjson.Rules{Depth: 3}
	grown  = strictjson.Rules{Unknown: true, Null: true, Surrogates: true, Spelling: spelling, Free: free}
)

func TestFaults(t *testing.T) {
	none := strictjson.Fault(-1)
	tests := []struct {
		name, text    string
		strict, grown strictjson.Fault
		at            string // of the strict one
	}{
		{"a document", `{"user":"a","count":1,"list":["x"],"deep":{"user":"b"}}`, none, none, ""},
		{"white space around it", " \n{}\t ", none, none, ""},
		{"nothing", "", strictjson.Empty, strictjson.Empty, ""},
		{"white space", " \n", strictjson.Empty, strictjson.Empty, ""},
		{"half", `{"user":"a"`, strictjson.Truncated, strictjson.Truncated, ""},
		{"half a string", `{"user":"a`, strictjson.Truncated, strictjson.Truncated, ""},
		{"half a null", `nul`, strictjson.Truncated, strictjson.Truncated, ""},
		{"no null", `nulL`, strictjson.Malformed, strictjson.Malformed, ""},
		{"no JSON", `user: a`, strictjson.Malformed, strictjson.Malformed, ""},
		{"a comment", `{} // x`, strictjson.Trailing, strictjson.Trailing, ""},
		{"two documents", `{}{}`, strictjson.Trailing, strictjson.Trailing, ""},
		{"half a document behind it", `{}{`, strictjson.Trailing, strictjson.Trailing, ""},
		{"a trailing comma", `{"list":["x",]}`, strictjson.Malformed, strictjson.Malformed, ""},
		{"duplicate", `{"user":"a","user":"b"}`, strictjson.Duplicate, strictjson.Duplicate, "/user"},
		{"duplicate, escaped", `{"user":"a","us\u0065r":"b"}`, strictjson.Duplicate, strictjson.Duplicate, "/user"},
		{"duplicate, of no field", `{"free":{"x":1,"x":2}}`, strictjson.Duplicate, strictjson.Duplicate, "/free/x"},
		{"another case", `{"User":"a"}`, strictjson.Unknown, strictjson.Spelling, "/User"},
		{"another case, as letters that fold", "{\"u\u017fer\":\"a\"}", strictjson.Unknown, strictjson.Spelling, "/u\u017fer"},
		{"another case, within free names", `{"free":{"User":"a"}}`, none, none, ""},
		{"another case, below a field", `{"deep":{"USER":"a"}}`, strictjson.Unknown, strictjson.Spelling, "/deep/USER"},
		{"unknown", `{"x":1}`, strictjson.Unknown, none, "/x"},
		{"null", `{"deep":{"list":null}}`, strictjson.Null, none, "/deep/list"},
		{"null alone", `null`, strictjson.Null, none, ""},
		{"wrong type", `{"list":["x",1]}`, strictjson.WrongType, strictjson.WrongType, "/list/1"},
		{"a number that does not fit", `{"count":1e999}`, strictjson.WrongType, strictjson.WrongType, "/count"},
		{"as deep as allowed", `{"free":{"a":[1]}}`, none, none, ""},
		{"deeper", `{"free":{"a":[[]]}}`, strictjson.TooDeep, none, ""},
		{"deeper than any", strings.Repeat("[", 20_000), strictjson.TooDeep, strictjson.Malformed, ""},
		{"invalid UTF-8", "{\"user\":\"\xff\"}", strictjson.Malformed, strictjson.Malformed, ""},
		{"invalid UTF-8 in a name", "{\"us\xffr\":1}", strictjson.Malformed, strictjson.Malformed, ""},
		{"half a surrogate pair", `{"user":"\ud800"}`, strictjson.Malformed, none, ""},
	}

	for _, tt := range tests {
		for rules, want := range map[*strictjson.Rules]strictjson.Fault{&strict: tt.strict, &grown: tt.grown} {
			var d document
			err := strictjson.Decode([]byte(tt.text), &d, *rules)
			e, _ := errors.AsType[*strictjson.Error](err)

			switch {
			case want == none && err != nil:
				t.Errorf("%s: %v with %+v", tt.name, err, *rules)

			case want != none && (e == nil || e.Fault != want):
				t.Errorf("%s: %v, want fault %d", tt.name, err, want)

			case want != none && rules == &strict && string(e.At) != tt.at:
				t.Errorf("%s: at %q, want %q", tt.name, e.At, tt.at)

			case want != none && (e.Error() == "" || len(e.Error()) > 200):
				t.Errorf("%s: message %q", tt.name, e.Error())
			}
		}
	}
}

// A hostile name neither fills the message nor breaks it.
func TestMessagesAreShort(t *testing.T) {
	name := strings.Repeat("ä", 5000)
	err := strictjson.Check([]byte(`{"`+name+`":1,"`+name+`":2}`), strict)
	if err == nil || len(err.Error()) > 200 || !strings.Contains(err.Error(), "duplicate key") {
		t.Errorf("Check = %.300v", err)
	}
}

// FuzzOneReading: a document that is accepted says the same to a reader that takes the
// last of duplicate names and ignores case.
func FuzzOneReading(f *testing.F) {
	for _, s := range []string{
		`{"user":"a"}`, `{"user":"a","User":"b"}`, `{"user":"a","user":"b"}`, `{"deep":{"USER":"x"}}`, `null`, `{"list":[null]}`,
		`{"user":"a"}{}`, `{"free":{"User":1,"user":2}}`, "{\"u\u017fer\":\"a\"}", `{"user":"\ud800"}`, `[`, ``, "\xff",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var ours, theirs document
		if err := strictjson.Decode(b, &ours, grown); err != nil {
			if e, ok := errors.AsType[*strictjson.Error](err); !ok || len(e.Error()) > 300 {
				t.Fatalf("%q: %v", b, err)
			}
			return
		}
		if err := stdjson.Unmarshal(b, &theirs); err != nil {
			t.Fatalf("%q is read here and not by encoding/json: %v", b, err)
		}
		if ours.User != theirs.User {
			t.Fatalf("%q: the user is %q here and %q there", b, ours.User, theirs.User)
		}
	})
}

// TestElements: each array has so many elements at most; names of an object are not counted.
func TestElements(t *testing.T) {
	for text, allowed := range map[string]bool{
		`{"list":["a","b","c"]}`:                      true,
		`{"list":["a","b","c","d"]}`:                  false,
		`{"free":{"a":[1,2,3],"b":[[1,2,3],[1],[]]}}`: true,
		`{"free":{"a":[[1,2,3,4]]}}`:                  false,
		`{"free":{"a":1,"b":2,"c":3,"d":4,"e":5}}`:    true,
	} {
		err := strictjson.Check([]byte(text), strictjson.Rules{Elements: 3})
		e, _ := errors.AsType[*strictjson.Error](err)
		switch {
		case allowed && err != nil:
			t.Errorf("%s: %v", text, err)
		case !allowed && (e == nil || e.Fault != strictjson.TooLong || e.Length != 3 || !strings.Contains(e.Error(), "more than 3")):
			t.Errorf("%s: %v, want a list that is too long", text, err)
		}

		if err := strictjson.Check([]byte(text), strictjson.Rules{}); err != nil {
			t.Errorf("%s, without a limit: %v", text, err)
		}
	}
}
