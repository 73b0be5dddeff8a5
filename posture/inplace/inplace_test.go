package inplace_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/posture/inplace"
)

// TestApply: the field changes, and nothing else does.
func TestApply(t *testing.T) {
	set := func(value any, path ...string) inplace.Change { return inplace.Change{Path: path, Value: value} }
	remove := func(path ...string) inplace.Change { return inplace.Change{Path: path, Remove: true} }
	keep := func(value any, path ...string) inplace.Change {
		return inplace.Change{Path: path, Value: value, Keep: true}
	}
	for _, tt := range []struct {
		name, text string
		change     inplace.Change
		want       string
	}{
		{"replace, with a comment", "a: 1 # one\nb: 2\n", set(3, "a"), "a: 3 # one\nb: 2\n"},
		{"replace a quoted one", "a: 'it''s' # one\n", set("x: y", "a"), "a: 'x: y' # one\n"},
		{"a text that looks like a flag", "a: b\n", set("true", "a"), "a: 'true'\n"},
		{"insert", "# head\na:\n  # inner\n  b: 1\n", set("v", "a", "c"), "# head\na:\n  # inner\n  c: v\n  b: 1\n"},
		{"insert nested", "a:\n  b: 1\n", set(2, "a", "c", "d"), "a:\n  c:\n    d: 2\n  b: 1\n"},
		{"insert into a flow", "a: {b: 1}\n", set("v", "a", "c"), "a: {\"c\": \"v\", b: 1}\n"},
		{"insert into an empty flow", "a: {}\n", set("v", "a", "c"), "a: {\"c\": \"v\"}\n"},
		{"a field without a value", "a:\nb: 1\n", set("v", "a", "c"), "a:\n  c: v\nb: 1\n"},
		{"a field without a value, with a comment", "a: # none\nb: 1\n", set("v", "a", "c"), "a: # none\n  c: v\nb: 1\n"},
		{"every element", "a:\n- b: 1\n- c: 2\n", set(3, "a", "[]", "d"), "a:\n- d: 3\n  b: 1\n- d: 3\n  c: 2\n"},
		{"every element that lacks it", "a:\n- d: 1\n- c: 2\n", keep(3, "a", "[]", "d"), "a:\n- d: 1\n- d: 3\n  c: 2\n"},
		{"remove a line", "a:\n  b: 1 # gone\n  c: 2\n", remove("a", "b"), "a:\n  c: 2\n"},
		{"remove what is not there", "a: {}\n", remove("a", "b"), "a: {}\n"},
		{"JSON, replace", `{"a": "b", "c": 1}`, set(true, "a"), `{"a": true, "c": 1}`},
		{"JSON, insert on one line", `{"a": {"b": 1}}`, set("v", "a", "c"), `{"a": {"c": "v", "b": 1}}`},
		{"JSON, insert on lines of their own", "{\n  \"a\": 1\n}\n", set(2, "c"), "{\n  \"c\": 2,\n  \"a\": 1\n}\n"},
		{"JSON, remove the first", `{"a": {"b": 1, "c": 2}}`, remove("a", "b"), `{"a": {"c": 2}}`},
		{"JSON, remove the last", `{"a": {"b": 1, "c": 2}}`, remove("a", "c"), `{"a": {"b": 1}}`},
		{"JSON, null", `{"a": null}`, set("v", "a", "c"), `{"a": {"c":"v"}}`},
	} {
		got, err := inplace.Apply([]byte(tt.text), lineOf(tt.text), 1, tt.change)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", tt.name, err, got, tt.want)
		}
	}
}

// lineOf is where the document's first field is.
func lineOf(text string) int {
	n := 1
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			break
		}
		n++
	}
	return n
}

// TestFormsThatAreLeft: what cannot be changed by a piece of text is an error, and no guess.
func TestFormsThatAreLeft(t *testing.T) {
	for name, text := range map[string]string{
		"an alias": "x: &x {b: 1}\na: *x\n", "an anchor": "a: &x {b: 1}\nc: *x\n", "a block of text": "a:\n  b: |\n    text\n", "text for fields": "a: text\n",
		"a scalar over two lines": "a:\n  b: \"one\n    two\"\n", "no such place": "",
	} {
		if got, err := inplace.Apply([]byte(text), 1, 1, inplace.Change{Path: []string{"a", "b"}, Value: "v"}); !errors.Is(err, inplace.ErrForm) {
			t.Errorf("%s: %v\n%s", name, err, got)
		}
	}
}
