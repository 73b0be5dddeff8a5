package engine_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/testkit/slow"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

// A summaryStep is a request of a pass at which the program is killed with SIGKILL. It is never answered.
type summaryStep struct {
	name string
	// hold has the request held until the release, and reached called when it comes.
	hold func(k *killer, reached func(), release <-chan struct{})
	// replaces: a summary by an older policy stands.
	replaces bool
	attested int // attestations that stand when the program is dead
}

// inRegistry holds a request without a body to the registry before it takes effect: of others a server does not notice
// that their caller is dead.
func inRegistry(match func(r *http.Request) bool) func(*killer, func(), <-chan struct{}) {
	return func(k *killer, reached func(), _ <-chan struct{}) {
		k.outside.Registry.Inject(standin.Fault{Effect: standin.Silence, Match: func(r *http.Request) bool {
			if !match(r) {
				return false
			}
			reached()
			return true
		}})
	}
}

func puts(r *http.Request) bool {
	return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/")
}

// summarySteps are the moments between which a summary and an attestation come to stand.
func summarySteps() []summaryStep {
	afterPut := func() func(*http.Request) bool {
		var stored atomic.Bool
		return func(r *http.Request) bool {
			if puts(r) {
				stored.Store(true)
				return false
			}
			return stored.Load()
		}
	}
	return []summaryStep{
		{name: "the summary is not stored yet", hold: inRegistry(func(r *http.Request) bool { return r.Method == http.MethodPost })},
		{name: "the summary is stored and not looked up yet", hold: inRegistry(afterPut())},
		{name: "the old summary is not deleted yet", replaces: true, attested: 1, hold: inRegistry(func(r *http.Request) bool {
			return r.Method == http.MethodDelete
		})},
		{name: "the summary stands and nothing is attested", hold: func(k *killer, reached func(), _ <-chan struct{}) {
			k.emulator().Inject(emulator.Fault{
				Method: "CreateOccurrence", Hang: true, Match: func(proto.Message) bool { reached(); return true },
			})
		}},
		{name: "it is attested and nobody knows", attested: 1, hold: func(k *killer, reached func(), release <-chan struct{}) {
			k.emulator().Inject(emulator.Fault{
				Method: "CreateOccurrence", Mutate: func(_, _ proto.Message) { reached(); <-release },
			})
		}},
	}
}

// TestSummariesOutliveAKill kills the real program between its summary and its attestation. Started again and asked
// again, it has one current summary and one attestation of the image, and whatever is attested has its record.
func TestSummariesOutliveAKill(t *testing.T) {
	slow.Skip(t)
	t.Parallel()
	k := newKiller(t, "sqlite", func(dir string) string { return filepath.Join(dir, "decisions.db") })
	private, public := summaryKey(t)
	at := filepath.Join(k.dir, "attestor.yaml")
	text, err := os.ReadFile(at)
	k.ok(err)
	k.ok(os.WriteFile(at, fmt.Appendf(text, "vsa: {verifier: %q, passed: {keyFile: %q}}\n", "https://gate.example/attestor", private), 0o600))
	policies := 0
	newPolicy := func() {
		policies++
		k.writePolicy(fmt.Sprintf("# %d\n", policies) + publishing("passed"))
	}
	newPolicy()
	published := publishingWorld{world: k.world}

	base := baseImage(t)
	for _, step := range summarySteps() {
		image := k.push("app/"+slug(step.name), "v1", imageOn(t, base, "65532:65532", entry{"app", step.name}))
		k.images[image] = attestor.Pass
		if step.replaces {
			k.begin()
			if a := k.post(image); a.decision.Verdict != attestor.Pass {
				t.Fatalf("%s: the first pass: %d %s", step.name, a.status, a.body)
			}
			k.kill()
			newPolicy()
		}
		k.begin()
		k.killHeld(t, step, image)

		k.freeClaims()
		k.begin()
		k.awaitRecovery(t)
		a := k.post(image)
		if a.decision.Verdict != attestor.Pass || len(a.decision.Summaries) != 1 {
			t.Errorf("%s: asked again: %d %s", step.name, a.status, a.body)
		}
		if got := published.summaries(image, public); len(got) != 1 {
			t.Errorf("%s: %d summaries stand, want 1: %+v", step.name, len(got), got)
		}
		if got := k.standing(image); len(got) != 1 {
			t.Errorf("%s: %d attestations stand, want 1", step.name, len(got))
		}
		k.kill()
	}

	k.begin()
	k.check(t)
	k.verifyLog(t)
}

// killHeld asks for an image and kills the program once it reaches the step.
func (k *killer) killHeld(t *testing.T, step summaryStep, image string) {
	t.Helper()
	reached, release := make(chan struct{}), make(chan struct{})
	step.hold(k, sync.OnceFunc(func() { close(reached) }), release)
	told := make(chan answer, 1)
	address := k.instances[0].address
	go func() { told <- k.postTo(address, image, false) }()
	select {
	case <-reached:
	case a := <-told:
		t.Fatalf("%s: answered without that step: %d %s", step.name, a.status, a.body)
	}

	k.kill()
	k.outside.Registry.ClearFaults()
	k.emulator().ClearFaults()
	close(release)
	if a := <-told; a.status != 0 {
		t.Errorf("%s: answered %d %s", step.name, a.status, a.body)
	}
	if got := k.standing(image); len(got) != step.attested {
		t.Errorf("%s: %d attestations stand, want %d", step.name, len(got), step.attested)
	}
}
