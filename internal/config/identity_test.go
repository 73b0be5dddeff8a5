package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/internal/config"
)

func loaded(t *testing.T, identity string) error {
	t.Helper()
	path := filepath.Join(t.TempDir(), "attestor.yaml")
	text := "policies: [p]\nregistries: {allowed: [r]}\nstore: {none: true}\nidentity:\n  audience: https://gate.example\n" + identity
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := config.Load(path, func(string) string { return "" }, func(string) error { return nil })
	return err
}

// What teams may grant must be said, and must not let one team's name match another's.
func TestTeamsSettings(t *testing.T) {
	const good = "{actions: [attest], images: ['r.example/{team}/**']}"
	for _, tt := range []struct{ name, teams, want string }{
		{"good", "{directory: teams, allow: [" + good + "]}", ""},
		{"a project for each team", "{directory: teams, allow: [{actions: [attest], images: ['r.example/acme-{team}/**']}]}", ""},
		{"no directory", "{allow: [" + good + "]}", "teams.directory: required"},
		{"no bound", "{directory: teams}", "teams.allow: required"},
		{"no actions", "{directory: teams, allow: [{images: ['r.example/**']}]}", "allow[0]: actions and images"},
		{"no images", "{directory: teams, allow: [" + good + ", {actions: [read]}]}", "allow[1]: actions and images"},
		{"prune", "{directory: teams, allow: [{actions: [prune], images: ['**']}]}", "no team's"},
		{"names that begin alike", "{directory: teams, allow: [{actions: [read], images: ['r.example/{team}*/**']}]}", "could match another's"},
		{"no pattern", "{directory: teams, allow: [{actions: [read], images: ['https://r.example/{team}']}]}", "has a scheme"},
		{"a misspelt mark", "{directory: teams, allow: [{actions: [read], images: ['r.example/{Team}/**']}]}", "no repository has"},
	} {
		err := loaded(t, "  teams: "+tt.teams+"\n")
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	if err := loaded(t, "  callers: []\n"); err == nil {
		t.Error("neither callers nor teams, and no error")
	}
}

func TestTeamsMayGrantWhatTheirNameSays(t *testing.T) {
	most, err := config.Teams{Allow: []config.TeamGrant{
		{Actions: []string{"attest", "check"}, Images: []string{"r.example/acme/{team}/**", "r.example/{team}-dev/**"}},
		{Actions: []string{"read"}, Images: []string{"r.example/shared/**"}},
	}}.Most("pay")
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, g := range most {
		got += fmt.Sprint(g.Actions, g.Images, ";")
	}
	if want := "[attest check] [r.example/acme/pay/** r.example/pay-dev/**];[read] [r.example/shared/**];"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestTeamFile(t *testing.T) {
	const good = "# ours\ncallers:\n  - email: a@acme.example\n    actions: [attest]\n    images: [r.example/pay/**]\n" +
		"  - patterns: {repository: acme/pay-*}\n    claims: {environment: prod}\n    actions: [check]\n    images: [r.example/pay/**]\n"
	callers, err := config.ParseTeam([]byte(good))
	if err != nil || len(callers) != 2 || callers[0].Line != 3 || callers[1].Line != 6 ||
		callers[1].Patterns["repository"] != "acme/pay-*" || callers[0].Email != "a@acme.example" {
		t.Errorf("%+v, %v", callers, err)
	}
	if callers, err := config.ParseTeam([]byte("callers: []\n")); err != nil || len(callers) != 0 {
		t.Errorf("a team without callers: %v, %v", callers, err)
	}

	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", "callers is missing"},
		{"comments alone", "# callers: []\n", "callers is missing"},
		{"null", "callers:\n", "is empty"},
		{"an unknown key", "team: pay\ncallers: []\n", `unknown key "team"`},
		{"a caller's unknown key", "callers: [{emial: a, actions: [read], images: [r/x]}]\n", "did you mean email"},
		{"nobody", "callers: [{actions: [read], images: [r/x]}]\n", "line 1: callers[0]: want one of"},
		{"two ways", "callers: [{email: a, subject: b, actions: [read], images: [r/x]}]\n", "want one of"},
		{"an email and a pattern", "callers: [{email: a, patterns: {b: c*}, actions: [read], images: [r/x]}]\n", "want one of"},
		{"no images", "callers:\n\n- {email: a, actions: [read]}\n", "line 3: callers[0]: actions and images"},
		{"a number for a text", "callers: [{email: 1.5, actions: [read], images: [r/x]}]\n", "callers[0].email"},
		{"two documents", "callers: []\n---\ncallers: []\n", "second document"},
		{"no YAML", "callers: [", "not YAML: "},
		{"too large", "# " + strings.Repeat("x", 1<<20) + "\ncallers: []\n", "larger than 1 MiB"},
		{"too many", "callers:\n" + strings.Repeat("- {email: a, actions: [read], images: [r/x]}\n", 5001), "at most 5000"},
	} {
		if _, err := config.ParseTeam([]byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}
