package attestor_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
)

func TestPatternOverlaps(t *testing.T) {
	for _, tt := range []struct {
		p, q string
		want bool
	}{
		{"h/a", "h/a", true},
		{"h/a", "h/b", false},
		{"h/team", "h/team-evil", false},
		{"h/*", "h/a", true},
		{"h/*", "h/a/b", false},
		{"h/**", "h/a/b", true},
		{"h/**", "h2/**", false},
		{"h/*-api", "h/prod-*", true},
		{"h/*-api", "h/*-web", false},
		{"h/a*", "h/*b", true},
		{"h/a*c", "h/b*c", false},
		{"h/**/api", "h/acme/**", true},
		{"h/**/api", "h/**/web", false},
		{"h/*/x", "h/y/*", true},
		{"**", "h/a", true},
		{"h/**", "h/**/**", true},
	} {
		p, q := pattern(t, tt.p), pattern(t, tt.q)
		if got := p.Overlaps(q); got != tt.want {
			t.Errorf("%s overlaps %s: %t, want %t", p, q, got, tt.want)
		}
		if got := q.Overlaps(p); got != tt.want {
			t.Errorf("%s overlaps %s: %t, want %t", q, p, got, tt.want)
		}
	}
	if (attestor.Pattern{}).Overlaps(pattern(t, "**")) {
		t.Error("the zero pattern overlaps everything")
	}
}

func TestPatternCovers(t *testing.T) {
	for _, tt := range []struct {
		p, q string
		want bool
	}{
		{"h/a", "h/a", true},
		{"h/a", "h/b", false},
		{"**", "h/a", true},
		{"**", "**", true},
		{"**", "*/app/**", true},
		{"*/app/**", "**", false},
		{"h/**", "h/a/b/*", true},
		{"h/*", "h/a", true},
		{"h/*", "h/**", false},
		{"h/*", "h/a/b", false},
		{"h/a", "h/*", false},
		{"h/a*", "h/ab*", true},
		{"h/ab*", "h/a*", false},
		{"h/*b", "h/a*b", true},
		{"h/a*b", "h/*b", false},
		{"h/**/api", "h/acme/**/api", true},
		{"h/acme/**/api", "h/**/api", false},
		{"h/**/api", "h/acme/**", false},
		{"*.pkg.dev/**", "eu-docker.pkg.dev/acme/**", true},
		{"h/team/**", "h/team-evil/**", false},
	} {
		if got := pattern(t, tt.p).Covers(pattern(t, tt.q)); got != tt.want {
			t.Errorf("%s covers %s: %t, want %t", tt.p, tt.q, got, tt.want)
		}
	}
	if (attestor.Pattern{}).Covers(pattern(t, "h/a")) || pattern(t, "**").Covers(attestor.Pattern{}) {
		t.Error("the zero pattern covers something, or is covered")
	}
}

func pattern(t testing.TB, s string) attestor.Pattern {
	t.Helper()
	p, err := attestor.ParsePattern(s)
	if err != nil {
		t.Fatal(err)
	}

	return p
}

// What both match, they overlap in.
func FuzzPatternOverlaps(f *testing.F) {
	f.Add("h/*/x", "h/y/*", "h/y/x")
	f.Add("h/**/api", "h/acme/**", "h/acme/a/api")
	f.Add("h/a*b*c", "h/*bb*", "h/abbc")
	f.Fuzz(func(t *testing.T, a, b, repository string) {
		p, errP := attestor.ParsePattern(a)
		q, errQ := attestor.ParsePattern(b)
		if errP != nil || errQ != nil || repository == "" || strings.Contains(repository, "*") {
			return
		}

		if p.Match(repository) && q.Match(repository) && !p.Overlaps(q) {
			t.Fatalf("%q and %q both match %q, and do not overlap", a, b, repository)
		}
		if p.Overlaps(q) != q.Overlaps(p) {
			t.Fatalf("%q and %q: not symmetrical", a, b)
		}
		if !p.Overlaps(p) {
			t.Fatalf("%q does not overlap itself", a)
		}

		// What covers another matches all that the other does.
		if !p.Covers(p) {
			t.Fatalf("%q does not cover itself", a)
		}
		if p.Covers(q) && (!p.Overlaps(q) || q.Match(repository) && !p.Match(repository)) {
			t.Fatalf("%q covers %q, and not in %q", a, b, repository)
		}
	})
}

func TestUnmatchablePatterns(t *testing.T) {
	for text, want := range map[string]string{
		"**": "", "**/api": "", "registry.example/**": "", "registry.example/acme/*": "",
		"registry.example/*/api": "", "localhost/app": "", "localhost:5000/**": "",
		"*/app": "", "*.pkg.dev/acme/**": "", "us*/app": "", "*-docker.pkg.dev/p/*-api": "", "registry.example/a.*": "", "registry.example/a-*_b": "",
		"registry.example/a__b/c---d": "", "registry.example/**/x": "", "index.docker.io/library/nginx": "",
		"index.docker.io/*/*": "", "index.docker.io/**": "",
		"[::1]:5000/app": "",

		"registry.example/app/.*": "not regular expressions",
		"registry.example/.*":     "not regular expressions", "registry.example/.*/api": "not regular expressions",
		"registry.example/App": `"App" cannot be part`, "registry.example/APP*": `"APP*" cannot be part`, "**/Team/*": `"Team" cannot be part`,
		"registry.example/..": "cannot be part", "registry.example/a..b": "cannot be part", "registry.example/./a": "cannot be part",
		"registry.example/-a": "cannot be part",
		"registry.example/a-": "cannot be part", "registry.example/*-": "cannot be part", "registry.example/_*": "cannot be part",
		"registry.example/a___b": "cannot be part", "registry.example/a._b": "cannot be part",
		"registry.example/[a-z]": "cannot be part",
		"app/.*":                 "not regular expressions",
		"app/api":                `"app" is not a registry`, "app/**": `"app" is not a registry`, "Registry/api": `"Registry" is not a registry`,
		"docker.io/library/nginx": "index.docker.io/library/NAME",
		"docker.io/**":            "index.docker.io/library/NAME", "index.docker.io/nginx": "index.docker.io/library/NAME",
		"index.docker.io/*": "index.docker.io/library/NAME",
	} {
		p, err := attestor.ParsePattern(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := p.Unmatchable(); want == "" && got != "" || want != "" && !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
	if (attestor.Pattern{}).Unmatchable() == "" {
		t.Error("the zero pattern matches nothing")
	}
}

// TestPropertyUnmatchable: whatever matches a repository is not called unmatchable.
func TestPropertyUnmatchable(t *testing.T) {
	matched, unmatchable := 0, 0
	for seed := range uint64(20_000) {
		r := rand.New(rand.NewPCG(seed, 16))
		word := func(letters string, n int) string {
			var b strings.Builder
			for range 1 + r.IntN(n) {
				b.WriteByte(letters[r.IntN(len(letters))])
			}
			return b.String()
		}

		ref, err := attestor.ParseReference(word("ab.", 3) + ".x/" + word("ab._-", 4) + "/" + word("ab", 2) + ":t")
		if err != nil {
			continue
		}

		segments := strings.Split(ref.Repository(), "/")
		for i, s := range segments { // some letters become stars, some segments a double star
			if at := r.IntN(len(s)); r.IntN(2) == 0 {
				segments[i] = s[:at] + "*" + s[at+r.IntN(len(s)-at):]
			}
			if r.IntN(5) == 0 {
				segments[i] = "**"
			}
		}

		p, err := attestor.ParsePattern(strings.Join(segments, "/"))
		if err != nil {
			continue
		}
		if p.Match(ref.Repository()) {
			matched++
			if why := p.Unmatchable(); why != "" {
				t.Fatalf("%s matches %s, and %s", p, ref.Repository(), why)
			}
		}
		if bad, err := attestor.ParsePattern(p.String() + "/" + word("aB.-", 3)); err == nil && bad.Unmatchable() != "" {
			unmatchable++
		}
	}

	if matched < 1000 || unmatchable < 1000 {
		t.Errorf("the trial shows little: %d matched, %d unmatchable", matched, unmatchable)
	}
}
