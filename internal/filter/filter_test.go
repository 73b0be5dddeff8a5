package filter_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/filter"
)

var now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// samples has, for each parameter of the table, a value, the filter that it makes,
// and values that are refused.
func samples() map[string]struct {
	text    string
	want    filter.Filter
	refused []string
} {
	digest := "sha256:" + strings.Repeat("ab", 32)
	return map[string]struct {
		text    string
		want    filter.Filter
		refused []string
	}{
		"id":         {"0199-000001", filter.Filter{ID: "0199-000001"}, []string{"a\nb"}},
		"image":      {"r.example/app:v1", filter.Filter{Image: "r.example/app:v1"}, []string{"sha256:ab", "https://r.example/app:v1", "app"}},
		"digest":     {"AB12cd34", filter.Filter{Digest: "sha256:ab12cd34"}, []string{"sha256:ab12cd3", "ab12cd3g", digest + "0", "md5:ab12cd34"}},
		"tag":        {"v1", filter.Filter{Tag: "v1"}, []string{"\x7f"}},
		"repository": {"r.example/app/**", filter.Filter{Repository: "r.example/app/**"}, []string{"a/**b", "r.example/app:v1", "APP", "app@" + digest, "-"}},
		"package":    {"openssl", filter.Filter{Package: "openssl"}, []string{strings.Repeat("x", 513)}},
		"cve":        {"CVE-2026-1", filter.Filter{CVE: "CVE-2026-1"}, []string{"\xff"}},
		"reason":     {"user_is_root", filter.Filter{Reason: "USER_IS_ROOT"}, []string{"user is root", "1"}},
		"caller":     {"build@acme.example", filter.Filter{Caller: "build@acme.example"}, []string{"\x00"}},
		"override":   {"true", filter.Filter{BreakGlass: true}, []string{"false"}},
		"revocation": {"0199-000008", filter.Filter{Revocation: "0199-000008"}, []string{"false"}},
		"policy":     {"production", filter.Filter{Policy: "production"}, []string{strings.Repeat("p", 254)}},
		"verdict":    {"error", filter.Filter{Verdict: attestor.Undecided}, []string{"Pass", "refused"}},
		"since":      {"1d12h", filter.Filter{Since: now.Add(-36 * time.Hour), Period: "since=1d12h&until="}, []string{"yesterday", "-1d"}},
		"until":      {"2026-11-20", filter.Filter{Until: now.Truncate(24 * time.Hour), Period: "since=&until=2026-11-20"}, []string{"1w"}},
		"search":     {"openssl", filter.Filter{Search: "openssl"}, []string{"a\tb"}},
	}
}

func TestEveryParameterIsReadAndWritten(t *testing.T) {
	tests := samples()
	if d := cmp.Diff(slices.Sorted(maps.Keys(tests)), slices.Sorted(slices.Values(filter.Names()))); d != "" {
		t.Fatalf("tested, and in the table (-tested +table):\n%s", d)
	}

	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := filter.Parse(map[string]string{name: " " + tt.text + " "}, now)
			if err != nil {
				t.Fatal(err)
			}
			got.Period = strings.ReplaceAll(got.Period, " ", "")
			if d := cmp.Diff(tt.want, got, cmpopts.IgnoreFields(filter.Filter{}, "Visible")); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}

			// What is sent to a service is what was parsed.
			again, err := filter.Parse(got.Values(), now.AddDate(0, 0, 1))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(got, again, cmpopts.IgnoreFields(filter.Filter{}, "Visible", "Period")); d != "" {
				t.Errorf("Values is read as another filter (-want +got):\n%s", d)
			}

			for _, text := range tt.refused {
				_, err := filter.Parse(map[string]string{name: text}, now)
				if attestor.KindOf(err) != attestor.Invalid || !strings.HasPrefix(attestor.Message(err), name+": ") {
					t.Errorf("%q: %v, want an error of kind Invalid that begins with the name", text, err)
				}
			}
		})
	}
}

func TestUnknownParametersAreNamed(t *testing.T) {
	_, err := filter.Parse(map[string]string{"verdict": "pass", "verdikt": "pass"}, now)
	e, ok := errors.AsType[*attestor.Error](err)
	if !ok || e.Kind != attestor.Invalid || !strings.Contains(e.Msg, `"verdikt"`) || !strings.Contains(e.Fix, "verdict") {
		t.Errorf("got %v", err)
	}
}

// A period that ends before it begins has nothing, which must not read as "there was nothing".
func TestPeriodsThatEndBeforeTheyBegin(t *testing.T) {
	for _, tt := range []struct {
		since, until string
		ok           bool
	}{
		{"2026-11-01", "2026-11-02", true},
		{"2d", "1d", true},
		{"2026-11-02", "2026-11-01", false},
		{"2026-11-02", "2026-11-02", false},
		{"1d", "2d", false},
		{"2026-11-01T01:00:00+01:00", "2026-11-01", false},
	} {
		_, err := filter.Parse(map[string]string{"since": tt.since, "until": tt.until}, now)
		if tt.ok != (err == nil) || !tt.ok && !strings.HasPrefix(attestor.Message(err), "until: ") {
			t.Errorf("since %s until %s: %v", tt.since, tt.until, err)
		}
	}
}

// Filters with one field more select another list, so that a page token of the one
// is not accepted for the other.
func TestFingerprintsDiffer(t *testing.T) {
	seen := map[string]string{filter.Filter{}.Fingerprint(): "the zero value"}
	for name, tt := range samples() {
		text := tt.want.Fingerprint()
		if other, ok := seen[text]; ok {
			t.Errorf("%s has the fingerprint of %s", name, other)
		}
		seen[text] = name
	}

	moving := filter.Filter{Since: now, Period: "since=1d"}
	later := filter.Filter{Since: now.Add(time.Minute), Period: "since=1d", Visible: func(string) bool { return true }}
	if moving.Fingerprint() != later.Fingerprint() {
		t.Error("a period that moves with the clock has another fingerprint later")
	}
}

func TestAlternatives(t *testing.T) {
	digest := "sha256:" + strings.Repeat("ab", 32)
	for _, tt := range []struct {
		text string
		f    filter.Filter
		want []string // the fields that are searched
	}{
		{"deadbeef", filter.Filter{}, []string{"id", "digest", "tag", "repository", "package", "caller", "policy"}},
		{digest, filter.Filter{}, []string{"digest"}},
		{"r.example/app@" + digest, filter.Filter{}, []string{"image"}},
		{"r.example/app:v1", filter.Filter{}, []string{"image"}},
		{"r.example/app", filter.Filter{}, []string{"repository", "package"}},
		{"CVE-2026-1234", filter.Filter{}, []string{"id", "tag", "cve", "caller", "policy"}},
		{"NO_POLICY", filter.Filter{}, []string{"id", "tag", "reason", "caller", "policy"}},
		{"build@acme.example", filter.Filter{}, []string{"id", "tag", "package", "caller", "policy"}},
		{"web", filter.Filter{Tag: "v1", Policy: "web"}, []string{"id", "repository", "package", "caller"}},
	} {
		f := tt.f
		f.Search = tt.text
		var got []string
		for _, g := range f.Alternatives() {
			values := g.Values()
			for name := range tt.f.Values() {
				if values[name] != tt.f.Values()[name] {
					t.Errorf("%s: the filter %s was lost", tt.text, name)
				}
				delete(values, name)
			}
			got = append(got, slices.Collect(maps.Keys(values))...)
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.text, d)
		}
	}
}
