package page_test

import (
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor/internal/page"
)

// Every open override is shown or folded away, once, up to a bound.
func TestOpenOverridesAreFolded(t *testing.T) {
	for n, want := range map[int][2]int{0: {0, 0}, 1: {1, 0}, 5: {5, 0}, 6: {5, 1}, 205: {5, 200}, 5000: {5, 200}} {
		all := make([]page.Override, n)
		for i := range all {
			all[i].ID = strconv.Itoa(i)
		}
		first, rest := page.FirstOpen(all), page.RestOpen(all)
		if len(first) != want[0] || len(rest) != want[1] {
			t.Errorf("of %d: %d and %d, want %v", n, len(first), len(rest), want)
		}
		for i, o := range slices.Concat(first, rest) {
			if o.ID != strconv.Itoa(i) {
				t.Errorf("of %d: %s at %d", n, o.ID, i)
			}
		}
	}
}

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
