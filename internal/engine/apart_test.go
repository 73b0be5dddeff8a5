package engine_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/samples"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
	"github.com/attestor-gate/attestor/internal/when"
)

// A barrier holds calls while it is shut.
type barrier struct {
	came chan struct{} // one for each call that is held

	mu   sync.Mutex
	shut chan struct{} // nil: open; guarded by mu
}

func newBarrier() *barrier { return &barrier{came: make(chan struct{}, 1000)} }

func (b *barrier) hold() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shut = make(chan struct{})
}

func (b *barrier) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shut != nil {
		close(b.shut)
		b.shut = nil
	}
}

// pass returns when the barrier is open, or whoever called has left.
func (b *barrier) pass(left <-chan struct{}) {
	b.mu.Lock()
	shut := b.shut
	b.mu.Unlock()
	if shut == nil {
		return
	}

	b.came <- struct{}{}
	select {
	case <-shut:
	case <-left:
	}
}

// holding holds an answer behind its header, for which a client waits ten seconds at most.
type holding struct {
	http.ResponseWriter
	hold func()
	sent bool
}

func (h *holding) WriteHeader(status int) {
	h.sent = true
	h.ResponseWriter.WriteHeader(status)
	_ = http.NewResponseController(h.ResponseWriter).Flush() // whoever has left needs none
	h.hold()
}

func (h *holding) Write(b []byte) (int, error) {
	if !h.sent {
		h.WriteHeader(http.StatusOK)
	}
	return h.ResponseWriter.Write(b)
}

// neighbours is a world of two teams. The images of the team pay are in a registry of its own.
type neighbours struct {
	*world
	tokens map[string]string // by caller
	base   v1.Image
	other  *standin.Server // the registry of pay
	calls  *barrier        // of that registry
	made   int
}

// hours is longer than any test: what is held stays held until the test lets it go.
const hours = when.Duration(6 * time.Hour)

func newNeighbours(t *testing.T) *neighbours {
	t.Helper()
	issuer := corpus.NewIssuer()
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(issuer.KeySet(corpus.Google))
	}))
	t.Cleanup(keys.Close)

	n := &neighbours{tokens: map[string]string{}, calls: newBarrier(), base: baseImage(t)}
	n.world = newWorld(t, worldOptions{unstarted: true, quiet: true, config: func(c *config.Config) {
		c.Limits.CallerRate, c.Limits.TeamRate, c.Limits.Concurrency, c.Limits.Queue = 1e6, 1e6, 8, 64
		c.Limits.Deadline, c.Limits.Settle = hours, hours
		c.Dependencies.Timeouts.Registries, c.Dependencies.Timeouts.KMS = hours, hours
		c.Identity = &config.Identity{
			Audience: corpus.Audience, Issuers: []config.Issuer{{Issuer: corpus.Google, JWKS: keys.URL}},
		}
	}})
	n.http.Timeout = time.Duration(hours)
	n.other = n.upstream(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/manifests/") { // all callers of a host wait for its first answer together
			w = &holding{ResponseWriter: w, hold: func() { n.calls.pass(r.Context().Done()) }}
		}
		n.outside.Registry.ServeHTTP(w, r)
	}))
	n.config.Registries.Allowed = append(n.config.Registries.Allowed, n.other.Addr())
	n.config.ScanProjects[n.other.Addr()] = samples.Project
	n.writePolicy(strings.Replace(oneAttestor(), `"127.0.0.1:5000/app/**"`,
		fmt.Sprintf(`"127.0.0.1:5000/app/**", "%s/app/**"`, n.other.Addr()), 1))

	// Two callers of pay, so that the team has its whole share of the slots.
	teams := filepath.Join(n.dir, "teams")
	n.ok(os.Mkdir(teams, 0o750))
	own := []string{n.registry.Addr() + "/app/{team}/**", n.other.Addr() + "/app/{team}/**"}
	n.config.Identity.Teams = &config.Teams{Directory: teams, Allow: []config.TeamGrant{{Actions: []string{"attest", "check"}, Images: own}}}
	for team, callers := range map[string][]string{"pay": {"pay-1", "pay-2"}, "ship": {"ship-1"}} {
		text := "callers:\n"
		for _, caller := range callers {
			email := caller + "@acme.iam.gserviceaccount.com"
			n.tokens[caller] = issuer.Token(email)
			text += fmt.Sprintf("  - {email: %s, actions: [attest, check], images: [%q, %q]}\n", email,
				strings.Replace(own[0], "{team}", team, 1), strings.Replace(own[1], "{team}", team, 1))
		}
		n.ok(os.WriteFile(filepath.Join(teams, team+".yaml"), []byte(text), 0o600))
	}

	n.push("base/debian", "12", n.base)
	n.start()
	return n
}

// image is a new one of a team, in the registry of both.
func (n *neighbours) image(team, user string) string {
	n.tb.Helper()
	n.made++
	id := fmt.Sprint(n.made)
	ref := n.push("app/"+team+"/api", "v"+id, imageOn(n.tb, n.base, user, entry{"app", id}))
	n.scan(ref, samples.Clean)
	return ref
}

// elsewhere is a new image of a team in the registry of pay.
func (n *neighbours) elsewhere(team string) string {
	n.tb.Helper()
	ref := strings.Replace(n.image(team, "65532:65532"), n.registry.Addr(), n.other.Addr(), 1)
	n.scan(ref, samples.Clean)
	return ref
}

// ask is post by a caller.
func (n *neighbours) ask(caller, image string, dryRun bool) answer {
	body, err := json.Marshal(map[string]any{"image": image, "dryRun": dryRun})
	if err != nil {
		return answer{body: []byte(err.Error())}
	}
	req, err := http.NewRequestWithContext(n.tb.Context(), http.MethodPost, "http://"+n.address+"/v1/attest", bytes.NewReader(body))
	if err != nil {
		return answer{body: []byte(err.Error())}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+n.tokens[caller])
	return n.send(req)
}

// A question is one that ship asks meanwhile.
type question struct {
	image  string
	dryRun bool
	want   attestor.Outcome
}

// meanwhile lets pay ask about images while a fault holds them, and ship ask its questions as soon as enough of pay's calls
// are held. The fault ends only after ship's last answer: if ship waited for pay, the test would never end. Then pay's
// images are answered, too.
func (n *neighbours) meanwhile(t *testing.T, images []string, came <-chan struct{}, held int, end func(), questions []question) {
	t.Helper()
	defer end() // whatever happens: what is held would keep the test from ending
	told := make(chan answer, len(images))
	for i, image := range images {
		go func() { told <- n.ask(fmt.Sprintf("pay-%d", i%2+1), image, false) }()
	}
	for range held {
		select {
		case <-came:
		case a := <-told:
			t.Fatalf("told before %d calls were held: %d %s", held, a.status, a.body)
		}
	}

	for i, q := range questions {
		if a := n.ask("ship-1", q.image, q.dryRun); a.decision.Verdict != q.want {
			t.Errorf("question %d of another team: %d %s, want %s", i, a.status, a.body, q.want)
		}
	}

	// None of them may have been answered as if nothing were wrong.
	early := len(told)
	answers := make([]answer, 0, len(images))
	for range early {
		answers = append(answers, <-told)
	}
	for _, a := range answers {
		if a.status < http.StatusInternalServerError && a.status != http.StatusTooManyRequests {
			t.Errorf("told while its calls are held: %d %s", a.status, a.body)
		}
	}

	end()
	for range len(images) - early {
		<-told
	}
	for i, image := range images {
		if a := n.ask(fmt.Sprintf("pay-%d", i%2+1), image, false); a.decision.Verdict != attestor.Pass {
			t.Errorf("afterwards: %s is %d %s", image, a.status, a.body)
		}
	}
}

// several repeats a question about new images and known ones.
func (n *neighbours) several(known string, user string, dryRun bool, want attestor.Outcome) (out []question) {
	for range 8 {
		out = append(out, question{n.image("ship", user), dryRun, want}, question{known, false, attestor.Pass},
			question{n.image("ship", ""), false, attestor.Deny})
	}
	return out
}

// TestNobodyWaitsForAnothersFault blocks what one team's requests need, completely: their registry, the key's signatures, the
// quota of them. The requests of another team that do not need it are answered meanwhile, and rightly.
func TestNobodyWaitsForAnothersFault(t *testing.T) {
	t.Parallel()

	// The callers of pay take every slot that their team may have, and ask for more.
	t.Run("a registry, and a team that takes every slot it can", func(t *testing.T) {
		t.Parallel()
		n := newNeighbours(t)
		known := n.image("ship", "65532:65532")
		if a := n.ask("ship-1", known, false); a.decision.Verdict != attestor.Pass {
			t.Fatalf("%d %s", a.status, a.body)
		}

		var images []string
		for range 12 {
			images = append(images, n.elsewhere("pay"))
		}
		questions := n.several(known, "65532:65532", false, attestor.Pass)
		n.calls.hold()
		n.meanwhile(t, images, n.calls.came, 6, n.calls.release, questions) // three of four slots
	})

	t.Run("Cloud KMS does not answer", func(t *testing.T) {
		t.Parallel()
		n := newNeighbours(t)
		b := newBarrier()
		b.hold()
		n.signing(t, emulator.Fault{Method: "AsymmetricSign", Mutate: func(_, _ proto.Message) { b.pass(nil) }}, b)
	})

	t.Run("the quota of signatures is used up", func(t *testing.T) {
		t.Parallel()
		n := newNeighbours(t)
		b := newBarrier()
		n.signing(t, emulator.Fault{Method: "AsymmetricSign", Code: codes.ResourceExhausted,
			Reason: &errdetails.ErrorInfo{Reason: "RATE_LIMIT_EXCEEDED", Domain: "googleapis.com"},
			Match: func(proto.Message) bool {
				select {
				case b.came <- struct{}{}:
				default: // enough came
				}
				return true
			}}, b)
	})
}

// signing has pay ask for signatures that a fault keeps it from, and ship for what needs none.
func (n *neighbours) signing(t *testing.T, f emulator.Fault, b *barrier) {
	t.Helper()
	known := n.image("ship", "65532:65532")
	if a := n.ask("ship-1", known, false); a.decision.Verdict != attestor.Pass {
		t.Fatalf("%d %s", a.status, a.body)
	}
	images := []string{n.image("pay", "65532:65532"), n.image("pay", "65532:65532")}
	questions := n.several(known, "65532:65532", true, attestor.Pass)
	n.emulator().Inject(f)
	n.meanwhile(t, images, b.came, 1, func() { n.emulator().ClearFaults(); b.release() }, questions)
}
