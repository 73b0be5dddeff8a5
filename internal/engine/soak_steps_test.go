package engine_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/samples"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

// reconfigure replaces a text in the configuration of all instances, which read it when they start.
func (s *soak) reconfigure(from, to string) {
	s.tb.Helper()
	path := filepath.Join(s.dir, "attestor.yaml")
	text, err := os.ReadFile(path)
	s.ok(err)
	changed := strings.Replace(string(text), from, to, 1)
	if changed == string(text) {
		s.tb.Fatalf("the configuration has no %s", from)
	}
	s.ok(os.WriteFile(path, []byte(changed), 0o600))
}

// secondPolicy governs the images whose overrides end after a moment, and those of the second registry.
func (s *soak) secondPolicy() {
	s.tb.Helper()
	here, there := s.registry.Addr(), s.other.Addr()
	text := strings.NewReplacer(
		"name: sample", "name: ending",
		`"127.0.0.1:5000/app/**"`, fmt.Sprintf(`"%s/app/ending/**", "%s/app/away/**"`, here, there),
		"breakGlass: {allowed: true}", fmt.Sprintf("breakGlass: {allowed: true, expires: %s}", lasting),
		"127.0.0.1:5000", here,
	).Replace(oneAttestor())
	s.ok(os.WriteFile(filepath.Join(s.dir, "ending.yaml"), []byte(text), 0o600))

	s.reconfigure("policies: [policy.yaml]", "policies: [policy.yaml, ending.yaml]")
	s.reconfigure(fmt.Sprintf("allowed: [%q]", here), fmt.Sprintf("allowed: [%q, %q]", here, there))
	s.reconfigure(fmt.Sprintf("scanProjects: {%q: ", here), fmt.Sprintf("scanProjects: {%q: %s, %q: ", there, samples.Project, here))
}

// overrideEnds overrides the refusal of an index, one of whose children passes in its own right. Both instances end the
// override at the same time, while Google loses calls and answers: afterwards only what passes is attested.
func (s *soak) overrideEnds(t *testing.T) {
	t.Helper()
	s.calm() // what the test itself asks for must be answered
	m := s.indexWith(fmt.Sprintf("ending/n%d", s.done["an override's end"]), "")
	s.images[m.good], s.ended[m.index] = attestor.Pass, true
	var a answer
	for a.decision.BreakGlass == nil || len(a.decision.Attestations) != 3 || a.status != http.StatusOK {
		if a = s.override(m.index); a.decision.Verdict == attestor.Pass {
			t.Fatalf("an image that is refused passes: %s", a.body)
		}
	}
	if a.decision.BreakGlass.Expires == nil {
		t.Fatalf("an override without an end: %s", a.body)
	}
	for passed := false; !passed; {
		passed = s.post(m.good).decision.Verdict == attestor.Pass
	}
	<-time.After(time.Until(*a.decision.BreakGlass.Expires) + 50*time.Millisecond)

	s.emulator().Inject(emulator.Fault{Method: "DeleteOccurrence", Code: codes.Unavailable, Count: 1})
	s.emulator().Inject(emulator.Fault{Method: "DeleteOccurrence", Code: codes.Unavailable, AnswerLost: true, Count: 1})
	var both sync.WaitGroup
	for i := range s.instances {
		address, _ := s.at(i)
		both.Go(func() { s.posts(t, address, "/v1/expire") })
	}
	both.Wait()
	s.calm()

	// A run that failed is made again, as a scheduler would, until one says that nothing is left.
	for whole := false; !whole; {
		var left struct {
			Waiting, Failed int
			Left            bool
		}
		ended := s.do(http.MethodPost, "/v1/expire", "{}")
		s.ok(json.Unmarshal(ended.body, &left))
		whole = ended.status == http.StatusOK && left.Waiting+left.Failed == 0 && !left.Left
	}
	s.holds(t, "an override's end", m)
	s.did("an override's end")
}

// away has the second registry answer nothing while callers ask for an image of it again and again. It ends once the first
// instance, which they ask, has told others enough passes: if those waited, it would never end.
func (s *soak) away(t *testing.T) {
	t.Helper()
	const enough = 40
	s.calm()
	n := s.times("a registry that never answers")
	here := s.push("app/away", fmt.Sprintf("v%d", n), imageOn(t, baseImage(t), "65532:65532", entry{"app", fmt.Sprintf("away %d", n)}))
	ref := strings.Replace(here, s.registry.Addr(), s.other.Addr(), 1)
	s.scan(ref, samples.Clean)

	var held atomic.Int64
	s.other.Inject(standin.Fault{Effect: standin.Silence, Match: func(*http.Request) bool { held.Add(1); return true }})
	address, _ := s.at(0)
	over := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-over:
					return
				case <-time.After(200 * time.Millisecond): // an open circuit answers at once
				}
				if a := s.asks(address, ref, false); a.decision.ID != "" && a.decision.Verdict != attestor.Undecided {
					t.Errorf("%s is %s while its registry does not answer: %s", ref, a.decision.Verdict, a.body)
				}
			}
		})
	}

	passed := func() int {
		s.lock.Lock()
		defer s.lock.Unlock()
		return s.passed[address]
	}
	for held.Load() == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	for before := passed(); passed() < before+enough; {
		time.Sleep(10 * time.Millisecond)
	}

	// Whoever asks about it is answered before the registry is back, so that one instance alone attests to it.
	close(over)
	wg.Wait()
	s.other.ClearFaults()

	// Connections that idle are no growth: they end with the registry's restart.
	s.other.Down()
	s.ok(s.other.Up())
	s.lock.Lock()
	s.all = append(s.all, ref)
	s.images[ref] = attestor.Pass
	s.lock.Unlock()
	s.did("a registry that never answers")
}
