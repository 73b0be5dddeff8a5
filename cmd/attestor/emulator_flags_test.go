package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	"github.com/attestor-gate/attestor/emulator"
)

// TestEmulatorFlags: each flag of the table in docs/emulator.md sets the behaviour that the table says, and no other; and the
// table has each flag of behaviour.
func TestEmulatorFlags(t *testing.T) {
	report := filepath.Join(t.TempDir(), "trial.json")
	if err := os.WriteFile(report, []byte(`{"format":"attestor-trial/1","behaviour":{"refuseUnions":true}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		flag, value string
		want        emulator.Behaviour
		fault       *emulator.Fault
	}{
		{"uniqueness", "none", emulator.Behaviour{Uniqueness: emulator.UniqueNone}, nil},
		{"uniqueness", "note+resource+payload", emulator.Behaviour{Uniqueness: emulator.UniqueNoteResourceAndPayload}, nil},
		{"refuse-creates", "true", emulator.Behaviour{RefuseCreates: true}, nil},
		{"refuse-updates", "true", emulator.Behaviour{RefuseUpdates: true}, nil},
		{"refuse-deletes", "true", emulator.Behaviour{RefuseDeletes: true}, nil},
		{"refuse-batches", "true", emulator.Behaviour{RefuseBatches: true}, nil},
		{"partial-batches", "2", emulator.Behaviour{PartialBatches: 2}, nil},
		{"refuse-unions", "true", emulator.Behaviour{RefuseUnions: true}, nil},
		{"list-lag", "3s", emulator.Behaviour{ListLag: 3 * time.Second}, nil},
		{"empty-pages", "3", emulator.Behaviour{EmptyPages: 3}, nil},
		{"unreachable", "us-east1,us-west1", emulator.Behaviour{Unreachable: []string{"us-east1", "us-west1"}}, nil},
		{"deny", "a.b.c", emulator.Behaviour{Denied: []emulator.Denial{{Permission: "a.b.c"}}}, nil},
		{"deny", "a.b.c@projects/p", emulator.Behaviour{Denied: []emulator.Denial{{Permission: "a.b.c", Resource: "projects/p"}}}, nil},
		{"enforce-iam", "true", emulator.Behaviour{EnforceIAM: true}, nil},
		{"quota", "GetNote=60/1m", emulator.Behaviour{Quotas: []emulator.Quota{{Method: "GetNote", Limit: 60, Per: time.Minute}}}, nil},
		{"behave-like", report, emulator.Behaviour{RefuseUnions: true}, nil},
		{"latency", "GetNote=200ms", emulator.Behaviour{}, &emulator.Fault{Method: "GetNote", Latency: 200 * time.Millisecond}},
		{"latency", "*=200ms", emulator.Behaviour{}, &emulator.Fault{Latency: 200 * time.Millisecond}},
		{"fault", "GetNote=UNAVAILABLE", emulator.Behaviour{}, &emulator.Fault{Method: "GetNote", Code: codes.Unavailable}},
		{"fault", "GetNote=NOT_FOUND:3", emulator.Behaviour{}, &emulator.Fault{Method: "GetNote", Code: codes.NotFound, Count: 3}},
	}

	shown := map[string]bool{}
	for _, c := range cases {
		shown[c.flag] = true
		var f emulatorFlags
		cmd := &cobra.Command{}
		f.register(cmd)
		if err := cmd.ParseFlags([]string{"--" + c.flag + "=" + c.value}); err != nil {
			t.Errorf("--%s=%s: %v", c.flag, c.value, err)
			continue
		}
		if err := f.likeTrial(cmd.Flags().Changed); err != nil {
			t.Errorf("--%s=%s: %v", c.flag, c.value, err)
		}
		faults, err := f.parse()
		if err != nil {
			t.Errorf("--%s=%s: %v", c.flag, c.value, err)
		}
		if d := cmp.Diff(c.want, f.behaviour); d != "" {
			t.Errorf("--%s=%s (-want +got):\n%s", c.flag, c.value, d)
		}
		if c.fault == nil && len(faults) > 0 || c.fault != nil && (len(faults) != 1 || !cmp.Equal(*c.fault, faults[0])) {
			t.Errorf("--%s=%s has the faults %+v, want %+v", c.flag, c.value, faults, c.fault)
		}
	}

	// The document's rows begin with their flags.
	doc, err := os.ReadFile("../../docs/emulator.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, row := range regexp.MustCompile(`(?m)^\| (`+"`"+`--[^|]*) \|`).FindAllSubmatch(doc, -1) {
		for _, flag := range regexp.MustCompile(`--([a-z-]+)`).FindAllSubmatch(row[1], -1) {
			documented[string(flag[1])] = true
		}
	}
	if d := cmp.Diff(shown, documented); d != "" || len(documented) < 10 {
		t.Errorf("shown here, and in docs/emulator.md (-shown +documented):\n%s", d)
	}
}
