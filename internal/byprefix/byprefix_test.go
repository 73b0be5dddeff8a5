package byprefix_test

import (
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/internal/byprefix"
)

func TestVisit(t *testing.T) {
	var x byprefix.Index[string]
	visit := func(s string) string {
		var got []string
		x.Visit(s, func(v string) { got = append(got, v) })
		return strings.Join(got, " ")
	}
	if got := visit("a"); got != "" {
		t.Errorf("an empty index has %s", got)
	}

	for _, text := range []string{"ab", "", "abc", "b", "ab"} {
		x.Add(text, "<"+text+">")
	}
	for s, want := range map[string]string{
		"": "<>", "a": "<>", "ab": "<> <ab> <ab>", "abd": "<> <ab> <ab>", "abcd": "<> <ab> <ab> <abc>", "ba": "<> <b>",
	} {
		if got := visit(s); got != want {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	}
}
