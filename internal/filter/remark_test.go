package filter_test

import (
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor/internal/filter"
)

// A code that is not known is looked for, since the record may have it, and a remark says so; no other filter has one.
func TestRemark(t *testing.T) {
	for _, tt := range []struct {
		name  string
		value map[string]string
		says  []string // nil: no remark
	}{
		{"nothing", nil, nil},
		{"a code", map[string]string{"reason": "USER_ROOT"}, nil},
		{"a code in lower case", map[string]string{"reason": "user_root"}, nil},
		{"another filter", map[string]string{"tag": "NOPE"}, nil},
		{"unheard of", map[string]string{"reason": "ZZZZZZZZZZ"}, []string{`no reason "ZZZZZZZZZZ"`, "another version"}},
		{"misspelt", map[string]string{"reason": "user_rot"}, []string{`no reason "USER_ROT"`, "did you mean USER_ROOT?"}},
		{"long", map[string]string{"reason": strings.Repeat("A", 500)}, []string{"another version"}},
	} {
		f, err := filter.Parse(tt.value, time.Now())
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}

		got := f.Remark()
		if (got == "") != (tt.says == nil) || len(got) > 250 {
			t.Errorf("%s: the remark is %q", tt.name, got)
		}
		for _, want := range tt.says {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %q lacks %q", tt.name, got, want)
			}
		}
		if strings.Contains(got, "did you mean") && tt.name != "misspelt" {
			t.Errorf("%s: %q guesses", tt.name, got)
		}
	}
}
