package attestor_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
)

func TestLabelsAreBoundedAsTheyAreWritten(t *testing.T) {
	many := func(n int, value string) map[string]string {
		out := map[string]string{}
		for i := range n {
			out[fmt.Sprintf("label-%d", i)] = value
		}
		return out
	}
	one := func(name, value string) map[string]string { return map[string]string{name: value} }

	for _, tt := range []struct {
		name   string
		labels map[string]string
		says   string // of the error; "": none
	}{
		{"none", nil, ""},
		{"text", one("team", "größer\nals\tnichts"), ""},
		{"the longest", one(strings.Repeat("n", 128), strings.Repeat("v", 1024)), ""},
		{"as many as allowed", many(64, "value"), ""},
		{"one too many", many(65, "value"), "at most 64"},
		{"without a name", one("", "v"), "1 to 128 bytes"},
		{"a name too long", one(strings.Repeat("n", 129), "v"), "1 to 128 bytes"},
		{"a value too long", one("n", strings.Repeat("v", 1025)), "at most 1024"},
		{"a control character in a value", one("n", "a\x01"), "control characters"},
		{"a control character in a name", one("n\x1b[31m", "a"), "control characters"},
		{"DEL", one("n", "\x7f"), "control characters"},
		{"C1 control character", one("n", "\u0085"), "control characters"},
		{"not UTF-8", one("n", "\xff"), "control characters"},
		{"together too long", many(17, strings.Repeat("v", 1000)), "at most 16384"},
		{"short, and long in JSON", many(4, strings.Repeat("<", 1000)), "at most 16384"},
	} {
		err := attestor.CheckLabels(tt.labels)
		if tt.says == "" && err != nil || tt.says != "" && (attestor.KindOf(err) != attestor.Invalid || !strings.Contains(attestor.Message(err), tt.says)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.says)
		}
	}
}
