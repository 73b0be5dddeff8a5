package page_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor/internal/page"
)

// A name may be broken after its separators, and what a caller wrote in it stays text.
func TestBreaks(t *testing.T) {
	for name, want := range map[string]string{
		"":                        "",
		"payments":                "payments",
		"127.0.0.1:5000/app":      "127.0.0.1:5000/<wbr>app",
		"a/b/":                    "a/<wbr>b/",
		"<b>/\"x\"":               "&lt;b&gt;/<wbr>&#34;x&#34;",
		"us-docker.pkg.dev/a/b/c": "us-docker.pkg.dev/<wbr>a/<wbr>b/<wbr>c",
	} {
		if got := string(page.Breaks(name)); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func TestSharesAddUp(t *testing.T) {
	for _, tt := range []struct {
		parts []int
		want  []string
	}{
		{[]int{4, 1, 1}, []string{"66 %", "17 %", "17 %"}},
		{[]int{1, 4, 1}, []string{"17 %", "66 %", "17 %"}},
		{[]int{1, 1, 1}, []string{"34 %", "33 %", "33 %"}},
		{[]int{2, 1, 0}, []string{"67 %", "33 %", "0 %"}},
		{[]int{5, 0, 0}, []string{"100 %", "0 %", "0 %"}},
		{[]int{0, 0, 0}, []string{"0 %", "0 %", "0 %"}},
		{[]int{9999, 1, 0}, []string{"over 99 %", "under 1 %", "0 %"}},
		{[]int{985, 8, 7}, []string{"98 %", "1 %", "1 %"}},
		{[]int{1, 9997, 2}, []string{"under 1 %", "over 99 %", "under 1 %"}},
	} {
		if d := cmp.Diff(tt.want, page.Shares(tt.parts...)); d != "" {
			t.Errorf("%v (-want +got):\n%s", tt.parts, d)
		}
	}
}
