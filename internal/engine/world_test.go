package engine_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"google.golang.org/api/iterator"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/status"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/attest"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/google"
	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/internal/samples"
	"github.com/attestor-gate/attestor/internal/testkit/locked"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
	"github.com/attestor-gate/attestor/internal/when"
)

// worldOptions shape a world. The zero value is what `attestor dev` has,
// without its sample images.
type worldOptions struct {
	policy    string                          // text, in which 127.0.0.1:5000 stands for the registry; "": dev's sample policy
	config    func(*config.Config)            // edits what dev would be configured with
	registry  func(http.Handler) http.Handler // what the service sees of the registry; pushes go past it
	google    func(http.Handler) http.Handler // what the service sees of Google
	behaviour emulator.Behaviour
	log       io.Writer // nil: nowhere
	quiet     bool      // no work beside requests, so that every upstream call is a request's
	unstarted bool      // the test calls start
}

// A world is the real service in this process, joined and served as serve and
// dev do, before a registry and Google's emulator that it reaches over TCP. A
// test speaks HTTP to it, as a build would.
type world struct {
	tb       testing.TB
	options  worldOptions
	outside  *standin.World  // past the wrappings: what tests prepare and look at
	registry *standin.Server // what the service sees: calls are recorded, and faults injected, here
	google   *standin.Server
	dir      string // policy and record
	config   config.Config
	listener net.Listener
	address  string // of the service, the same after a restart
	http     *http.Client
	spoiler  *spoiler // for harnesses that damage what Google answers

	engine *engine.Engine // nil: stopped
	cancel context.CancelFunc
	served chan error
}

// oneAttestor is dev's sample policy where overrides have the attestor of a pass: the
// only one that worlds are configured with.
func oneAttestor() string {
	return strings.Replace(samples.Policy, ", attestors: ["+samples.OverrideAttestor+"]", "", 1)
}

// newWorld starts one that ends with the test.
func newWorld(tb testing.TB, o worldOptions) *world {
	tb.Helper()
	w := &world{tb: tb, options: o, dir: tb.TempDir(), http: &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 256}}}
	var err error
	w.outside, err = standin.New(tb.Context())
	w.ok(err)
	tb.Cleanup(func() { w.ok(w.outside.Close()) })
	w.outside.SetBehaviour(o.behaviour)
	w.registry = w.upstream(wrapped(o.registry, w.outside.Registry.Upstream))
	w.google = w.upstream(wrapped(o.google, w.outside.Handler()))
	w.listen("127.0.0.1:0")
	w.address = w.listener.Addr().String()
	w.config = config.Config{
		Listen:       w.address,
		Policies:     []string{w.writePolicy(cmp.Or(o.policy, oneAttestor()))},
		PolicyReload: when.Duration(time.Second),
		Attestors:    []config.Attestor{{Name: samples.Attestor, KMS: samples.Key}},
		Registries:   config.Registries{Allowed: []string{w.registry.Addr()}},
		ScanProjects: map[string]string{w.registry.Addr(): samples.Project},
		Store:        config.Store{SQLite: filepath.Join(w.dir, "decisions.db")},
		Limits:       config.Limits{CallerRate: 1000},
	}

	w.ok(w.config.Finish(noEnv, engine.ProfileProblem))
	if o.config != nil {
		o.config(&w.config)
	}
	tb.Cleanup(w.http.CloseIdleConnections)
	if !o.unstarted {
		w.start()
	}
	tb.Cleanup(w.stop)
	return w
}

func wrapped(wrap func(http.Handler) http.Handler, h http.Handler) http.Handler {
	if wrap == nil {
		return h
	}
	return wrap(h)
}

func (w *world) ok(err error) {
	w.tb.Helper()
	if err != nil {
		w.tb.Fatal(err)
	}
}

// upstream serves h to the service.
func (w *world) upstream(h http.Handler) *standin.Server {
	w.tb.Helper()
	s, err := standin.Listen(h)
	w.ok(err)
	w.tb.Cleanup(s.Close)
	return s
}

func (w *world) listen(address string) {
	w.tb.Helper()
	var err error
	w.listener, err = net.Listen("tcp", address)
	w.ok(err)
}

// emulator is where Google's own errors are injected.
func (w *world) emulator() *emulator.Emulator { return w.outside.Emulator }

// writePolicy replaces the policy on disk.
func (w *world) writePolicy(text string) string {
	w.tb.Helper()
	path := filepath.Join(w.dir, "policy.yaml")
	w.ok(os.WriteFile(path, []byte(strings.ReplaceAll(text, "127.0.0.1:5000", w.registry.Addr())), 0o600))
	return path
}

// start joins and serves. A world that was stopped starts on what it left.
func (w *world) start() {
	w.tb.Helper()
	if w.listener == nil {
		w.listen(w.address)
	}

	log := slog.New(slog.DiscardHandler)
	if w.options.log != nil {
		log = engine.NewLogger(w.options.log, slog.LevelInfo, "")
	}

	ctx, cancel := context.WithCancel(context.WithoutCancel(w.tb.Context()))
	e, err := w.newEngine(ctx, google.EmulatedAt(w.google.Addr()), log)
	if err != nil {
		cancel()
		w.tb.Fatal(err)
	}

	w.engine, w.cancel, w.served = e, cancel, make(chan error, 1)
	ln := w.listener
	go func() {
		if w.options.quiet {
			w.served <- e.ServeOnly(ctx, ln)
			return
		}
		w.served <- e.Serve(ctx, ln)
	}()
}

// newEngine joins what the world's configuration says.
func (w *world) newEngine(ctx context.Context, em google.Emulators, log *slog.Logger) (*engine.Engine, error) {
	return engine.New(ctx, engine.Options{Config: w.config, Emulators: em, Logger: log, Version: "test"})
}

// stop ends the service as SIGTERM does, and leaves registry, Google and the
// record as they are.
func (w *world) stop() {
	w.tb.Helper()
	if w.engine == nil {
		return
	}

	w.cancel()
	err := errors.Join(<-w.served, w.engine.Close())
	w.engine, w.listener = nil, nil

	// The next service listens at the same address: a request by a connection of this one would find it closed.
	w.http.CloseIdleConnections()
	if err != nil {
		w.tb.Errorf("stopping the service: %v", err)
	}
}

func (w *world) restart() {
	w.tb.Helper()
	w.stop()
	w.start()
}

// handlerTransport answers without a network, so that what a test pushes is
// neither counted nor disturbed.
type handlerTransport struct{ http.Handler }

func (h handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}

	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	resp := rec.Result()
	resp.Request = r
	return resp, r.Body.Close()
}

// push stores an image or an index under a repository and tag, and returns its
// reference by digest.
func (w *world) push(repository, tag string, what interface{ Digest() (v1.Hash, error) }) string {
	w.tb.Helper()
	ref, err := name.NewTag(w.registry.Addr() + "/" + repository + ":" + tag)
	w.ok(err)
	transport := remote.WithTransport(handlerTransport{w.outside.Registry.Upstream})

	switch x := what.(type) {
	case v1.ImageIndex:
		err = remote.WriteIndex(ref, x, transport)
	case v1.Image:
		err = remote.Write(ref, x, transport)
	default:
		w.tb.Fatalf("cannot push a %T", what)
	}

	w.ok(err)
	digest, err := what.Digest()
	w.ok(err)
	return ref.Repository.Digest(digest.String()).Name()
}

// scan writes what the scanner would have written of an image, by digest.
func (w *world) scan(image string, found samples.Scan) {
	w.tb.Helper()
	w.ok(w.outside.Clients.WriteScan(w.tb.Context(), "https://"+image, found))
}

// An answer is what a client gets.
type answer struct {
	status   int
	header   http.Header
	body     []byte
	decision attestor.Decision // zero unless the body is one
}

// post asks the service to judge an image and, unless it is a dry run, to
// attest to it.
func (w *world) post(image string, dryRun bool) answer {
	w.tb.Helper()
	body, err := json.Marshal(map[string]any{"image": image, "dryRun": dryRun})
	w.ok(err)
	return w.do(http.MethodPost, "/v1/attest", string(body))
}

// do sends any request; a body is JSON. An answer that never came has status 0
// and says why in its body.
func (w *world) do(method, path, body string) answer {
	w.tb.Helper()
	req, err := http.NewRequestWithContext(w.tb.Context(), method, "http://"+w.address+path, strings.NewReader(body))
	w.ok(err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}

	return w.send(req)
}

func (w *world) send(req *http.Request) answer {
	resp, err := w.http.Do(req)
	if err != nil {
		return answer{body: []byte(err.Error())}
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header}
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		return answer{body: []byte(err.Error())}
	}

	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		_ = json.Unmarshal(a.body, &a.decision) // whoever wants one looks at its id
	}
	return a
}

// codes lists why the answer is no pass.
func (a answer) codes() []attestor.Code {
	var out []attestor.Code
	for _, r := range a.decision.Refusals() {
		out = append(out, r.Code)
	}
	return out
}

// standing asks two who share nothing with the gate's own memory: a verifier of
// its own, and Binary Authorization's validation. They must agree.
func (w *world) standing(image string) []attestor.Attestation {
	w.tb.Helper()
	img, err := attestor.ParseImage(image)
	w.ok(err)
	v, err := attest.NewVerifier(attest.VerifierConfig{Grafeas: w.outside.Grafeas,
		BinAuthz: w.outside.Binauthz, Now: time.Now, Limit: limit.Call(time.Minute)})
	w.ok(err)
	s, err := v.Standing(w.tb.Context(), []string{samples.Attestor}, []attestor.Image{img})
	w.ok(err)

	for _, a := range s.Valid {
		if why := w.invalid(a); why != "" {
			w.tb.Errorf("%s verifies, but Binary Authorization refuses it: %s", a.Occurrence, why)
		}
	}
	return s.Valid
}

// invalid is why Binary Authorization would not admit by an attestation.
func (w *world) invalid(a attestor.Attestation) string {
	w.tb.Helper()
	o, err := w.outside.Grafeas.GetOccurrence(w.tb.Context(), &grafeaspb.GetOccurrenceRequest{Name: a.Occurrence})
	w.ok(err)
	r, err := w.outside.Validate.ValidateAttestationOccurrence(w.tb.Context(), &binaryauthorizationpb.ValidateAttestationOccurrenceRequest{
		Attestor: a.Attestor, Attestation: o.GetAttestation(), OccurrenceNote: o.GetNoteName(), OccurrenceResourceUri: o.GetResourceUri(),
	})

	if err != nil {
		return status.Convert(err).Message()
	}
	if r.GetResult() != binaryauthorizationpb.ValidateAttestationOccurrenceResponse_VERIFIED {
		return cmp.Or(r.GetDenialReason(), r.GetResult().String())
	}

	return ""
}

// attested lists what is stored under the gate's note, valid or not, as often
// as it is.
func (w *world) attested() []string {
	w.tb.Helper()
	it := w.outside.Grafeas.ListNoteOccurrences(w.tb.Context(), &grafeaspb.ListNoteOccurrencesRequest{Name: samples.Note, PageSize: 1000})
	var out []string

	for {
		o, err := it.Next()
		if errors.Is(err, iterator.Done) {
			return out
		}

		w.ok(err)
		out = append(out, o.GetResourceUri())
	}
}

// recorded is what the record says of a decision.
func (w *world) recorded(id string) (attestor.Decision, bool) {
	w.tb.Helper()
	a := w.do(http.MethodGet, "/v1/decisions/"+id, "")
	return a.decision, a.status == http.StatusOK && a.decision.ID == id
}

// TestWorld shows what the harnesses built on it rely on: that a pass is one by
// everybody's account, that a denial leaves nothing, that a world can be
// stopped and started, and that both kinds of wrapping see the service only.
func TestWorld(t *testing.T) {
	t.Parallel()
	calls := map[string]*locked.Buffer{"registry": {}, "google": {}}
	seen := func(what string) func(http.Handler) http.Handler {
		return func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprintln(calls[what], r.Method, r.URL.Path)
				h.ServeHTTP(w, r)
			})
		}
	}

	w := newWorld(t, worldOptions{registry: seen("registry"), google: seen("google"), quiet: true})
	base := baseImage(t)
	w.push("base/debian", "12", base)
	good := w.push("app/good", "v1", imageOn(t, base, "65532:65532", entry{"app", "good"}))
	root := w.push("app/root", "v1", imageOn(t, base, "", entry{"app", "root"}))
	w.scan(good, samples.Clean)
	w.scan(root, samples.Clean)

	for what, b := range calls {
		if b.String() != "" {
			t.Errorf("preparing went through the %s that the service sees: %s", what, b)
		}
	}

	a := w.post(good, false)
	if a.status != http.StatusOK || a.decision.Verdict != attestor.Pass || len(w.standing(good)) != 1 {
		t.Fatalf("good: %d %s, standing %v", a.status, a.body, w.standing(good))
	}
	if r := w.post(root, false); r.status != http.StatusUnprocessableEntity || r.decision.Verdict != attestor.Deny || len(w.standing(root)) != 0 {
		t.Fatalf("root: %d %s, standing %v", r.status, r.body, w.standing(root))
	}

	for what, b := range calls {
		if b.String() == "" {
			t.Errorf("the service did not go through the %s that it was given", what)
		}
	}

	w.restart()
	if d, ok := w.recorded(a.decision.ID); !ok || d.Verdict != attestor.Pass {
		t.Errorf("after a restart the record says %v of %s", d.Verdict, a.decision.ID)
	}
}
