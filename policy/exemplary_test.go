package policy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
)

// TestExemplaryIsOfAnImageThatThePolicyGoverns: whatever the pattern, the image is one that it matches, on a platform that the
// policy is about, and dated by the time that was given.
func TestExemplaryIsOfAnImageThatThePolicyGoverns(t *testing.T) {
	const digest = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	for pattern, want := range map[string]string{
		"**":                                "registry.example/app",
		"**/api":                            "registry.example/api",
		"**/acme/*":                         "registry.example/acme/app",
		"*/acme/**":                         "registry.example/acme/app",
		"*/**":                              "registry.example/app",
		"team-*/**":                         "team-app.example/app",
		"*.pkg.dev/acme/**":                 "app.pkg.dev/acme/app",
		"*:5000/api":                        "app:5000/api",
		"localhost:5000/**":                 "localhost:5000/app",
		"localhost/api":                     "localhost/api",
		"registry.example/acme/**":          "registry.example/acme/app",
		"registry.example/acme/*/api":       "registry.example/acme/app/api",
		"registry.example/acme/api":         "registry.example/acme/api",
		"us-docker.pkg.dev/*/prod/team-*/x": "us-docker.pkg.dev/app/prod/team-app/x",
	} {
		p := with(t, "  images: ['"+pattern+"']")
		ev := p.Exemplary("", today())
		parsed, err := attestor.ParsePattern(pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got := ev.Image.Repository(); got != want || !parsed.Match(got) {
			t.Errorf("%s: the image is of %q, want %q, which the pattern matches: %t", pattern, got, want, parsed.Match(got))
		}
		if ev.Image.Digest() != digest || ev.Requested != want+"@"+digest || !ev.Time.Equal(today()) ||
			ev.MediaType != "application/vnd.oci.image.manifest.v1+json" || len(ev.Platforms) != 1 {
			t.Errorf("%s: %+v", pattern, ev)
		}

		// One that is named is taken instead.
		if got := p.Exemplary("registry.example/named/api", today()).Image.Repository(); got != "registry.example/named/api" {
			t.Errorf("%s: named, the image is of %q", pattern, got)
		}
	}

	for lines, want := range map[string]string{
		"": "linux/amd64", "  platforms: [linux/arm64, linux/amd64]": "linux/arm64", "  platforms: [linux/s390x]": "linux/s390x",
	} {
		var more []string
		if lines != "" {
			more = append(more, lines)
		}
		e := with(t, more...).Exemplary("", today()).Platforms[0]
		if e.Platform != want || e.Digest != digest {
			t.Errorf("%q: platform %s, %s, want %s", lines, e.Platform, e.Digest, want)
		}

		// An image is older than what is known of it, and as large as its layers.
		if e.Config.Created == nil || !e.Config.Created.Equal(today().Add(-time.Hour)) {
			t.Errorf("%q: made at %v", lines, e.Config.Created)
		}
		var size int64
		seen := map[attestor.Digest]bool{}
		for _, l := range e.Layers {
			size += l.Size
			seen[l.Digest], seen[l.DiffID] = true, true
		}
		if len(e.Layers) != 2 || size != e.Config.Size || size != 20<<20 || len(seen) != 4 {
			t.Errorf("%q: %d bytes in %+v, want %d", lines, size, e.Layers, e.Config.Size)
		}
	}

	// What stands for no valid name is evidence of nothing, which passes nothing.
	p := with(t)
	ev := p.Exemplary("no valid name", today())
	if !ev.Image.IsZero() || len(ev.Platforms) != 0 || !ev.Time.Equal(today()) {
		t.Errorf("of no image: %+v", ev)
	}
	if v := p.Judge(ev); v.Outcome() == attestor.Pass || !strings.Contains("deny error", string(v.Outcome())) {
		t.Errorf("evidence of no image is judged %s", v.Outcome())
	}
}
