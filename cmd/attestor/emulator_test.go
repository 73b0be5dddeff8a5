package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor/emulator"
)

// TestBehaveLike: a trial's report decides what no flag decides.
func TestBehaveLike(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trial.json")
	report := `{"format":"attestor-trial/1","behaviour":{"uniqueness":"none","refuseUpdates":true,"refuseDeletes":true,
		"refuseBatches":true,"refuseUnions":true,"listLag":"3s","emptyPages":4,
		"noProviderNotes":true,"quotas":[{"method":"GetNote","limit":5,"per":"1s"}]}}`
	if err := os.WriteFile(path, []byte(report), 0o600); err != nil {
		t.Fatal(err)
	}
	const all = "none"
	found := emulator.Behaviour{
		RefuseUpdates: true, RefuseDeletes: true, RefuseBatches: true, RefuseUnions: true, ListLag: 3 * time.Second, EmptyPages: 4, NoProviderNotes: true,
		Quotas: []emulator.Quota{{Method: "GetNote", Limit: 5, Per: time.Second}},
	}

	f := emulatorFlags{behaveLike: path, uniqueness: "note+resource"}
	if err := f.likeTrial(func(string) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if f.uniqueness != all || !cmp.Equal(f.behaviour, found) {
		t.Errorf("uniqueness %s\n%s", f.uniqueness, cmp.Diff(found, f.behaviour))
	}

	flags := emulatorFlags{behaveLike: path, uniqueness: "note+resource"}
	if err := flags.likeTrial(func(string) bool { return true }); err != nil {
		t.Fatal(err)
	}
	if flags.uniqueness != "note+resource" || !cmp.Equal(flags.behaviour, emulator.Behaviour{}) {
		t.Errorf("the report overrides flags: %s, %+v", flags.uniqueness, flags.behaviour)
	}
}

func TestParseQuota(t *testing.T) {
	for text, want := range map[string]emulator.Quota{
		"AsymmetricSign=60/1m": {Method: "AsymmetricSign", Limit: 60, Per: time.Minute},
		"*=5/1s":               {Limit: 5, Per: time.Second},
	} {
		if got, err := parseQuota(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "x", "x=", "x=1", "x=1/", "x=/1s", "x=-1/1s", "x=1/0s", "x=1/-1s", "=1/1s", "x=a/1s"} {
		if got, err := parseQuota(text); err == nil {
			t.Errorf("%q is taken as %+v", text, got)
		}
	}
}
