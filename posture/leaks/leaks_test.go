package leaks_test

import (
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor/posture/leaks"
)

// TestFind: tokens are made up here, from parts, so that nothing in this file is one.
func TestFind(t *testing.T) {
	began := time.Now()
	d, err := leaks.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d rules in %s", d.Rules(), time.Since(began).Round(time.Millisecond))
	if d.Rules() < 200 {
		t.Errorf("only %d rules", d.Rules())
	}
	const mixed = "k3Jx9Qw7Lm2Zr8Vt5Yb1Nc6Hd4Fg0SpA2BeX"
	for text, want := range map[string]string{
		"glpat-" + mixed[:20]: "gitlab-pat",
		"ghp_" + mixed:        "github-pat",
		`NPM = "npm_` + strings.ToLower(mixed) + `"`:                      "npm-access-token",
		"dop_v1_" + strings.Repeat("3fa9c2e7b1", 7)[:64]:                  "digitalocean-pat",
		"hvs." + strings.Repeat(mixed, 3)[:95]:                            "vault-service-token",
		`DATADOG_API_KEY = "` + strings.Repeat("a1f3c5e7b9", 4) + `"`:     "datadog-access-token",
		"https://example.com/path?x=1":                                    "",
		"ghp_" + strings.Repeat("a", 36):                                  "", // no entropy
		"LOG_LEVEL = \"info\"":                                            "",
		"projects/acme/secrets/glpat":                                     "",
		"us-docker.pkg.dev/a/b@sha256:" + strings.Repeat("3fa9c2e7b1", 6): "",
	} {
		if got := d.Find(text); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	// Behind a long text, and across the end of each piece of it.
	for _, before := range []int{1 << 20, 64<<10 - 1, 64<<10 - 20, 64<<10 - 45, 124<<10 - 20} {
		if got := d.Find(strings.Repeat("x", before) + " ghp_" + mixed + " " + strings.Repeat("x", 100)); got != "github-pat" {
			t.Errorf("behind %d bytes: %q", before, got)
		}
	}
}
