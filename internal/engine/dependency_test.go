package engine_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/samples"
	"github.com/attestor-gate/attestor/internal/testkit/locked"
	"github.com/attestor-gate/attestor/internal/when"
)

const anywherePolicy = `apiVersion: attestor/v1
kind: GatePolicy
metadata: {name: anywhere}
spec:
  mode: enforce
  images: ["**"]
  base: {required: false}
  user: {nonRoot: true}
  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH}
  attestors: [projects/dev/attestors/gate]
`

// opened reports an answer that says to come back later: an error verdict, 503
// with Retry-After, nothing signed.
func opened(a answer) bool {
	return a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") != "" && a.decision.Verdict == attestor.Undecided &&
		slices.Contains(a.codes(), attestor.CodeCircuitOpen) && len(a.decision.Attestations) == 0
}

// A registry that is gone is left alone, at once and for everybody; images of
// another are judged and signed as ever.
func TestOneRegistryDownIsNobodyElses(t *testing.T) {
	t.Parallel()
	const gone = "127.0.0.1:1"
	var log locked.Buffer
	w := newWorld(t, worldOptions{policy: anywherePolicy, quiet: true, log: &log, config: func(c *config.Config) {
		c.Registries.Allowed = append(c.Registries.Allowed, gone)
		c.ScanProjects[gone] = samples.Project
		c.Dependencies.Outages, c.Dependencies.Pause = 3, when.Duration(time.Hour)
	}})

	good := w.push("app/good", "v1", imageOn(t, baseImage(t), "65532", entry{"app", "1"}))
	w.scan(good, samples.Clean)
	lost := gone + "/app/lost@sha256:" + strings.Repeat("a", 64)
	w.scan(lost, samples.Clean)

	for i := range 10 {
		a := w.post(lost, false)
		if a.decision.Verdict != attestor.Undecided || (a.status != http.StatusBadGateway && !opened(a)) {
			t.Fatalf("%d: %d %s", i, a.status, a.body)
		}
		if i == 9 && !opened(a) {
			t.Errorf("after ten attempts it is asked still: %d %s", a.status, a.body)
		}
	}

	if a := w.post(good, false); a.status != http.StatusOK || len(w.standing(good)) != 1 {
		t.Errorf("another registry's image: %d %s", a.status, a.body)
	}
	if !strings.Contains(log.String(), `"dependency":"127.0.0.1:1"`) {
		t.Errorf("the log does not name it: %s", log.String())
	}
	if m := string(w.do(http.MethodGet, "/metrics", "").body); !strings.Contains(m, `attestor_circuits_open{dependency="127.0.0.1:1"} 1`) {
		t.Error("it is not seen in the metrics")
	}
}

// So is a key that does not answer: nothing is signed, nothing is denied.
func TestKeyThatDoesNotAnswerIsLeftAlone(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, method string }{
		{"the key", "AsymmetricSign"}, {"the scans", "grafeas.v1.Grafeas/ListOccurrences"}, {"the attestor", "GetAttestor"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{policy: anywherePolicy, quiet: true, config: func(c *config.Config) {
				c.Dependencies.Outages, c.Dependencies.Pause = 3, when.Duration(time.Hour)
			}})

			image := w.push("app/good", "v1", imageOn(t, baseImage(t), "65532", entry{"app", "1"}))
			w.scan(image, samples.Clean)
			remove := w.emulator().Inject(emulator.Fault{Method: tt.method, Code: codes.Unavailable})
			before := len(w.emulator().Calls(tt.method))
			var last answer

			for range 6 {
				if last = w.post(image, false); last.decision.Verdict != attestor.Undecided {
					t.Fatalf("%d %s", last.status, last.body)
				}
			}

			remove()
			if asked := len(w.emulator().Calls(tt.method)) - before; !opened(last) || asked < 3 || asked > 6 { // some were under way
				t.Errorf("asked %d times: %d %s", asked, last.status, last.body)
			}
			if a := w.post(image, false); !opened(a) { // it works again, and is given its pause all the same
				t.Errorf("after it: %d %s", a.status, a.body)
			}
			if n := len(w.standing(image)); n != 0 {
				t.Errorf("%d attestations stand", n)
			}
		})
	}
}
