package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
	"github.com/attestor-gate/attestor/internal/testkit/slow"
)

// A sweep that meets a quota of Google's asks more slowly, by the real clock, and ends as one that met none: nothing is
// undecided for it. With the same state, nothing is asked again.
func TestAuditMeetsAQuota(t *testing.T) {
	slow.Skip(t)
	t.Parallel()
	host := registries.Serve(t, registries.Memory(false))
	repos := fill(t, host, 3, 10)
	dir := t.TempDir()
	write(t, dir, "policy.yaml", sweptPolicy)

	sweep := func(run string, env []string) string {
		write(t, dir, run+".yaml", fmt.Sprintf(sweptConfig, host, run+".db"))
		cmd := exec.Command(program(t), append([]string{"audit", "--config", run + ".yaml", "--state", run + ".state", "--at-once", "4",
			"-o", "json", "--output-file", run + ".json"}, repos...)...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
		return finishSweep(t, cmd)
	}
	outcomes := func(g *emulator.Emulator) (answered, refused int) {
		for _, c := range g.Calls("ListOccurrences") {
			switch c.Code {
			case codes.OK:
				answered++
			case codes.ResourceExhausted:
				refused++
			}
		}
		return answered, refused
	}

	freely, env := emulatedBy(t, emulator.Options{})
	whole := sweep("whole", env)
	if want := "27 images: 15 pass, 12 would be refused, 0 could not be decided, 0 failed"; !strings.Contains(whole, want) {
		t.Fatalf("without a quota the audit says %q, want %q", whole, want)
	}
	calls, none := outcomes(freely)
	if calls < 20 || none != 0 {
		t.Fatalf("%d calls and %d refusals without a quota: this would prove nothing", calls, none)
	}

	limited, env := emulatedBy(t, emulator.Options{Behaviour: emulator.Behaviour{
		Quotas: []emulator.Quota{{Method: "ListOccurrences", Limit: calls / 4, Per: 500 * time.Millisecond}},
	}})
	// On a machine that is slow enough the quota is never used up: some calls are refused in any case.
	limited.Inject(emulator.Fault{Method: "ListOccurrences", Code: codes.ResourceExhausted, Skip: calls / 3, Count: 3})
	if got := sweep("limited", env); got != whole {
		t.Errorf("with a quota it says %q, without %q", got, whole)
	}
	answered, refused := outcomes(limited)
	if refused < 3 {
		t.Errorf("with a quota %d calls were answered and %d refused, want 3 or more refused", answered, refused)
	}
	if d := cmp.Diff(reported(t, dir, "whole.json"), reported(t, dir, "limited.json")); d != "" {
		t.Errorf("the reports differ (-without +with a quota):\n%s", d)
	}

	if got := sweep("limited", env); got != whole {
		t.Errorf("again with its state it says %q, want %q", got, whole)
	}
	if after, _ := outcomes(limited); after != answered {
		t.Errorf("%d calls more with the state of a sweep that ended", after-answered)
	}
}
