package tally_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/tally"
)

// Keys of facts are in the sums of every record: a text has one key for ever, however it is made.
func TestKeysOfFacts(t *testing.T) {
	t.Parallel()
	for group, want := range map[string]string{
		"":                       `[""]`,
		"pkg.dev/acme/app":       `["pkg.dev/acme/app"]`,
		"a b,c":                  `["a b,c"]`,
		`a"b`:                    `["a\"b"]`,
		`a\b`:                    `["a\\b"]`,
		"<a>&'~":                 `["<a>&'~"]`,
		"a\nb":                   `["a\nb"]`,
		"\x01":                   `["\u0001"]`,
		"\x7f":                   "[\"\x7f\"]",
		"b\u00e4r":               "[\"b\u00e4r\"]",
		"\u2028":                 `["\u2028"]`,
		"\xff":                   `["\ufffd"]`,
		strings.Repeat("x", 500): `["` + strings.Repeat("x", 400) + `…"]`,
	} {
		if got := tally.GroupFact(tally.Line{}, group).Key; got != want {
			t.Errorf("%q has the key %s, want %s", group, got, want)
		}
	}

	for c := range 0x80 {
		group := "a" + string(rune(c)) + "b"
		var want strings.Builder
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		if err := enc.Encode([]string{group}); err != nil {
			t.Fatal(err)
		}
		if got := tally.GroupFact(tally.Line{}, group).Key; got+"\n" != want.String() {
			t.Errorf("%q has the key %s, want %s", group, got, want.String())
		}
	}

	keys := map[tally.Kind]string{}
	for _, f := range tally.Facts(tally.Line{
		Row: tally.Row{Owner: "team"}, Fixes: map[string]attestor.Code{"update openssl": attestor.CodeFixableSeverityExceeded},
	}) {
		keys[f.Kind] = f.Key
		if _, err := f.Parts(); err != nil {
			t.Error(err)
		}
	}
	for kind, want := range map[tally.Kind]string{
		tally.KindImage: "null", tally.KindOwner: `["team"]`, tally.KindFix: `["update openssl","FIXABLE_SEVERITY_EXCEEDED"]`,
		tally.KindOwnerFix: `["team","update openssl","FIXABLE_SEVERITY_EXCEEDED"]`,
	} {
		if keys[kind] != want {
			t.Errorf("%s has the key %s, want %s", kind, keys[kind], want)
		}
	}
}
