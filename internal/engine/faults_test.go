package engine_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
	"github.com/attestor-gate/attestor/internal/when"
)

// TestFaults disturbs every upstream call of a decision, one at a time, in
// every way, for every kind of image. Whatever happens: a pass is one by
// everybody's account and was proven as an undisturbed one is, the record says
// what the caller was told, nobody is denied's luck, nothing is left behind,
// and the next request gets the right answer.
//
// A sample of it runs always, another one with GATE_FAULT_SEED=N; all of it
// with GATE_TEST_ALL=1.
func TestFaults(t *testing.T) {
	t.Parallel()
	cases := map[string][]faultCase{} // by class of call and disturbance
	var mu sync.Mutex

	t.Run("undisturbed", func(t *testing.T) {
		for _, k := range faultKinds() {
			t.Run(k.name, func(t *testing.T) {
				t.Parallel()
				found := k.cases(t)
				mu.Lock()
				defer mu.Unlock()

				for _, c := range found {
					cases[c.class()] = append(cases[c.class()], c)
				}
			})
		}
	})

	if t.Failed() {
		return
	}

	all := sample(cases)
	total := 0

	for _, c := range cases {
		total += len(c)
	}

	t.Logf("%d of %d cases: %d kinds of image, %d classes of call and disturbance", len(all), total, len(faultKinds()), len(cases))
	for _, c := range all {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			c.run(t)
		})
	}
}

// sample picks a case of every second class, by the seed; or all.
func sample(classes map[string][]faultCase) []faultCase {
	seed, _ := strconv.Atoi(os.Getenv("GATE_FAULT_SEED"))
	var out []faultCase

	for n, class := range slices.Sorted(maps.Keys(classes)) {
		cases := classes[class]
		slices.SortFunc(cases, func(a, b faultCase) int { return strings.Compare(a.String(), b.String()) })
		switch h := fnv.New32a(); {
		case os.Getenv("GATE_TEST_ALL") == "1":
			out = append(out, cases...)
		case (n+seed)%2 == 0:
			fmt.Fprint(h, class, seed)
			out = append(out, cases[int(h.Sum32()%uint32(len(cases)))]) //nolint:gosec // a few dozen
		}
	}
	return out
}

// An upstreamCall is one call that an undisturbed decision makes.
type upstreamCall struct {
	google bool
	what   string // method and path
	nth    int    // of those, from 0
}

func (c upstreamCall) String() string {
	what := c.what
	if c.google {
		what = what[strings.LastIndex(what, "/")+1:]
	}
	return fmt.Sprintf("%s #%d", what, c.nth)
}

// class is the call without what differs from image to image.
func (c upstreamCall) class() string {
	if c.google {
		return c.what[strings.LastIndex(c.what, "/")+1:]
	}

	parts := strings.Split(c.what, "/")
	if len(parts) < 5 {
		return c.what
	}

	kind := parts[len(parts)-2]
	if strings.HasSuffix(c.what, ".sig") {
		kind = "signature"
	}

	return parts[2] + " " + kind
}

func (c upstreamCall) match(r *http.Request) bool { return r.Method+" "+r.URL.Path == c.what }

// A disturbance is one way in which a call goes wrong. It returns how often it
// did.
type disturbance struct {
	name     string
	registry standin.Fault
	google   func(w *world, c upstreamCall) (hits func() int)
}

func disturbances() []disturbance {
	status := func(f emulator.Fault) func(*world, upstreamCall) func() int {
		return func(w *world, c upstreamCall) func() int {
			f.Method, f.Skip = c.what[strings.LastIndex(c.what, "/")+1:], c.nth
			before := len(w.emulator().Calls(f.Method))
			w.emulator().Inject(f)
			return func() int { return len(w.emulator().Calls(f.Method)) - before - c.nth }
		}
	}

	stream := func(f standin.Fault) func(*world, upstreamCall) func() int {
		return func(w *world, c upstreamCall) func() int {
			f.Match, f.Skip = c.match, c.nth
			return w.google.Inject(f)
		}
	}

	bytes := func(how spoiling) func(*world, upstreamCall) func() int {
		return func(w *world, c upstreamCall) func() int { return w.spoiler.set(c, how) }
	}
	return []disturbance{
		{"refused", standin.Fault{Effect: standin.Refuse}, stream(standin.Fault{Effect: standin.Refuse})},
		{"cut half-way", standin.Fault{Effect: standin.Reset, Count: 1}, bytes(cutHalfWay)},
		{"silent", standin.Fault{Effect: standin.Silence}, stream(standin.Fault{Effect: standin.Silence})},
		{"told to come again", standin.Fault{Effect: standin.TooMany, RetryAfter: "1"}, status(emulator.Fault{Code: codes.ResourceExhausted})},
		{"failing once", standin.Fault{Effect: standin.Fail, Count: 1}, status(emulator.Fault{Code: codes.Internal, Count: 1})},
		{"failing", standin.Fault{Effect: standin.Fail, Status: http.StatusServiceUnavailable}, status(emulator.Fault{Code: codes.Unavailable})},
		{"wrong bytes", standin.Fault{Effect: standin.Corrupt, Count: 1}, bytes(wrongBytes)},
		{"answer lost", standin.Fault{Effect: standin.Lose, Count: 1}, status(emulator.Fault{Code: codes.Unavailable, AnswerLost: true, Count: 1})},
	}
}

// A faultCase is one disturbance of one call of one kind's decision.
type faultCase struct {
	kind   faultKind
	call   upstreamCall
	how    disturbance
	proven string // what the undisturbed decision says was found
}

func (c faultCase) String() string {
	return fmt.Sprintf("%s/%s/%s", c.kind.name, strings.ReplaceAll(c.call.String(), "/", " "), c.how.name)
}

func (c faultCase) class() string { return c.call.class() + "/" + c.how.name }

// world prepares an image of the kind; deadline is the patience of the service.
func (k faultKind) world(t *testing.T, deadline time.Duration, unique emulator.Uniqueness) (*world, faultSubject) {
	t.Helper()
	s := &spoiler{}
	w := newWorld(t, worldOptions{
		quiet: true, unstarted: true, google: s.before, behaviour: emulator.Behaviour{Uniqueness: unique},
		config: func(c *config.Config) {
			c.Limits.Deadline, c.Limits.Settle = when.Duration(deadline), when.Duration(deadline)
			c.Dependencies.Pause = when.Duration(200 * time.Millisecond) // a circuit that opens costs a test as little
		},
	})

	w.spoiler = s
	if k.config != nil {
		k.config(w, &w.config)
	}

	w.writePolicy(k.policy(w))
	subject := k.prepare(w)
	w.start()
	if k.again != nil {
		if a := w.post(subject.image, false); a.decision.Verdict != attestor.Pass {
			t.Fatalf("before: %d %s", a.status, a.body)
		}
		k.again(w, subject.image)
	}

	w.outside.ResetCalls()
	w.registry.ResetCalls()
	w.google.ResetCalls()
	return w, subject
}

// cases lists what can go wrong with the kind, from a decision with which
// nothing did.
func (k faultKind) cases(t *testing.T) []faultCase {
	w, subject := k.world(t, time.Minute, emulator.UniqueNoteAndResource)
	a := w.post(subject.image, false)
	if a.decision.Verdict != k.want {
		t.Fatalf("%s is %s, want %s: %s", k.name, a.decision.Verdict, k.want, a.body)
	}

	w.checkTold(t, a, k, subject, w.proven(a.decision))
	var calls []upstreamCall

	for _, from := range []struct {
		server *standin.Server
		google bool
	}{{w.registry, false}, {w.google, true}} {
		seen := map[string]int{}
		for _, c := range from.server.Calls() {
			if strings.HasPrefix(c.What, "GET /v2/app/") || strings.HasPrefix(c.What, "GET /v2/base/") || c.What == "GET /v2/" || from.google {
				calls = append(calls, upstreamCall{google: from.google, what: c.What, nth: seen[c.What]})
				seen[c.What]++
				continue
			}
			t.Fatalf("an unexpected call: %s", c.What)
		}
	}

	if len(calls) < 2 {
		t.Fatalf("only %d calls: %v", len(calls), calls)
	}

	var out []faultCase
	for _, call := range calls {
		for _, how := range disturbances() {
			out = append(out, faultCase{kind: k, call: call, how: how, proven: w.proven(a.decision)})
		}
	}

	return out
}

// patience is what the disturbed service has of it: long enough for a machine
// that is busy, short enough that silence costs little.
const patience = 3 * time.Second

func (c faultCase) run(t *testing.T) {
	unique := emulator.UniqueNone // would store a duplicate, so that one is seen
	if len(c.String())%2 == 0 {
		unique = emulator.UniqueNoteAndResource
	}

	w, subject := c.kind.world(t, patience, unique)
	var hits func() int
	if c.call.google {
		hits = c.how.google(w, c.call)
	} else {
		f := c.how.registry
		f.Match, f.Skip = c.call.match, c.call.nth
		hits = w.registry.Inject(f)
	}

	a := w.post(subject.image, false)
	if hits() < 1 {
		t.Errorf("nothing was disturbed: the calls were %v and %v", whats(w.registry), whats(w.google))
	}

	w.registry.ClearFaults()
	w.google.ClearFaults()
	w.emulator().ClearFaults()
	w.spoiler.set(upstreamCall{}, untouched)
	w.checkTold(t, a, c.kind, subject, c.proven)

	start, tries := time.Now(), 1
	next := w.post(subject.image, false)

	for ; next.decision.Verdict != c.kind.want && time.Since(start) < time.Minute; tries++ {
		w.checkTold(t, next, c.kind, subject, c.proven)
		time.Sleep(100 * time.Millisecond)
		next = w.post(subject.image, false)
	}

	w.checkTold(t, next, c.kind, subject, c.proven)
	if next.decision.Verdict != c.kind.want {
		t.Errorf("afterwards, undisturbed, it is %s, want %s: %s", next.decision.Verdict, c.kind.want, next.body)
	}
	if tries > 1 {
		t.Logf("told %s %v; right again after %v and %d requests; first %v", a.decision.Verdict, a.codes(),
			time.Since(start).Round(10*time.Millisecond), tries, next.codes())
	}

	w.stop()
	w.checkNothingLeft(t)
}

func whats(s *standin.Server) []string {
	var out []string
	for _, c := range s.Calls() {
		out = append(out, c.What)
	}
	return out
}

// checkTold holds an answer to the record, to what stands, and to what an
// undisturbed decision proves.
func (w *world) checkTold(t *testing.T, a answer, k faultKind, s faultSubject, proven string) {
	t.Helper()
	passed := a.status == http.StatusOK || a.decision.Verdict == attestor.Pass

	switch {
	case a.decision.ID == "" && a.status != http.StatusServiceUnavailable:
		t.Errorf("an answer without a decision: %d %s", a.status, a.body)
	case a.decision.ID != "" && a.decision.Answer().HTTPStatus != a.status:
		t.Errorf("%d with a decision that is %s", a.status, a.decision.Verdict)
	case a.decision.ID != "":
		if got := w.do(http.MethodGet, "/v1/decisions/"+a.decision.ID, ""); !sameDecision(got.body, a.body) {
			t.Errorf("told %s\nrecorded (%d) %s", a.body, got.status, got.body)
		}
	}

	if passed && (a.status != http.StatusOK || a.decision.Verdict != attestor.Pass || k.want != attestor.Pass) {
		t.Errorf("%d with %q of an image that is to be %s", a.status, a.decision.Verdict, k.want)
	}
	if passed && w.proven(a.decision) != proven {
		t.Errorf("passed on less than without the disturbance (-without +with):\n%s", cmp.Diff(proven, w.proven(a.decision)))
	}

	for _, image := range s.attests {
		stored, err := w.outside.Attestations(t.Context(), image)
		w.ok(err)
		valid := w.standing(image)

		switch {
		case passed && len(valid) != 1, len(stored) > 1, len(stored) != len(valid):
			t.Errorf("told %s, and of %s %d attestations are stored and %d valid", a.decision.Verdict, image, len(stored), len(valid))
		case k.want != attestor.Pass && k.again == nil && len(stored) > 0:
			t.Errorf("%s was attested to, which is to be %s", image, k.want)
		}
	}
}

func sameDecision(a, b []byte) bool {
	var x, y map[string]any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}

	// Where the log has a decision, and what became of its override since, is told in
	// the answer and is no part of what is recorded.
	for _, added := range []string{"log", "overrideState"} {
		delete(x, added)
		delete(y, added)
	}
	return cmp.Equal(x, y)
}

// keyDigest is of a key that is made anew in each world.
var keyDigest = regexp.MustCompile(`key sha256:[0-9a-f]{64}`)

// proven is what a decision says was found out, without what differs from run
// to run.
func (w *world) proven(d attestor.Decision) string {
	w.tb.Helper()
	for i := range d.Platforms {
		d.Platforms[i].Scan.Finished = nil
	}

	b, err := json.MarshalIndent(struct {
		Image         attestor.DecidedImage
		Platforms     []attestor.PlatformSummary
		Checks        []attestor.Check
		IndexAttested bool
	}{d.Image, d.Platforms, d.Checks, d.IndexAttested}, "", " ")

	w.ok(err)
	text := strings.ReplaceAll(string(b), w.registry.Addr(), "REGISTRY")
	return keyDigest.ReplaceAllString(text, "key KEY")
}

// checkNothingLeft is asked of a stopped service: it holds no connection.
// Goroutines are counted at the end of all tests.
func (w *world) checkNothingLeft(t *testing.T) {
	t.Helper()
	for until := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		registry, google := w.registry.Open(), w.google.Open()
		if registry+google == 0 {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("the service is stopped, and %d connections to the registry and %d to Google are left", registry, google)
		}
	}
}

// A spoiling is what a spoiler does to an answer of gRPC.
type spoiling int

const (
	untouched spoiling = iota
	cutHalfWay
	wrongBytes
)

// A spoiler stands before Google and damages the bytes of one call's answer.
type spoiler struct {
	mu   sync.Mutex
	call upstreamCall
	how  spoiling
	seen int
}

// set takes the place of what was set before.
func (s *spoiler) set(c upstreamCall, how spoiling) (hits func() int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.call, s.how, s.seen = c, how, 0
	return func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.seen - c.nth
	}
}

func (s *spoiler) before(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		how := untouched
		if s.how != untouched && s.call.match(r) {
			if s.seen == s.call.nth {
				how = s.how
			}
			s.seen++
		}

		s.mu.Unlock()
		if how == untouched {
			h.ServeHTTP(w, r)
			return
		}

		held := &heldWriter{ResponseWriter: w}
		h.ServeHTTP(held, r)
		body := held.body.Bytes()
		if how == cutHalfWay {
			_, _ = w.Write(body[:len(body)/2])
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}

		for i := 5; i < len(body); i++ { // after the frame's own length
			body[i] = 0xff
		}

		_, _ = w.Write(body)
	})
}

// heldWriter holds the body back.
type heldWriter struct {
	http.ResponseWriter
	body bytes.Buffer
}

func (h *heldWriter) Write(b []byte) (int, error) { return h.body.Write(b) }
func (h *heldWriter) Flush()                      {}
