package engine

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	kms "cloud.google.com/go/kms/apiv1"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/attest"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/courier"
	"github.com/attestor-gate/attestor/internal/dependency"
	"github.com/attestor-gate/attestor/internal/eol"
	"github.com/attestor-gate/attestor/internal/google"
	"github.com/attestor-gate/attestor/internal/referrers"
	"github.com/attestor-gate/attestor/policy"
	"github.com/attestor-gate/attestor/posture"
	"github.com/attestor-gate/attestor/server/teams"
	"github.com/attestor-gate/attestor/server/telemetry"
	"github.com/attestor-gate/attestor/summary"
	"github.com/attestor-gate/attestor/verify"
	"github.com/attestor-gate/attestor/verify/signed"
	"github.com/attestor-gate/attestor/vuln"
)

// LoadConfig reads attestor.yaml, with everything that is wrong in one error.
func LoadConfig(path string, getenv func(string) string) (config.Config, error) {
	return config.Load(path, getenv, ProfileProblem)
}

// ProfileProblem is what is wrong with a posture profile, built in or a file.
func ProfileProblem(name string) error {
	_, err := posture.LoadProfile(name)
	return err
}

// Options are what an Engine is made of. Config, Logger and Version are required.
type Options struct {
	Config    config.Config // finished: see [config.Config.Finish]
	Emulators google.Emulators
	Logger    *slog.Logger
	Version   string // of the program, for logs, traces and User-Agent

	Scans []string                                  // On-Demand scans to count beside the scanner's, by name
	Wrap  func(http.RoundTripper) http.RoundTripper // around what is asked of registries; nil: nothing
	// Limited is called with each call of Google's services that a quota refused; nil: it is not reported
	Limited  func(after time.Duration)
	Recorded func(attestor.Record) // called with each decision once it is recorded; nil: nobody

	// Unsigned is for dry runs by a configuration without attestors: none is asked, and nothing can be signed.
	Unsigned bool

	policies *policy.Watcher // in place of those that the configuration names; nil: those
}

// An Engine is every stage, joined. Its fields are for commands that ask one
// stage alone, and are only read.
type Engine struct {
	Config    config.Config
	Google    *google.Clients
	Policies  *policy.Watcher
	Store     *audit.Store
	Attester  *attest.Attester // nil where Options.Unsigned is set
	Inspector *verify.Inspector

	summaries *summary.Publisher // nil: the configuration has no vsa
	referrers *referrers.Client

	o          Options
	log        *slog.Logger
	signatures *signed.Checker
	scanner    *vuln.Scanner
	ends       *eol.Table // of distributions
	gate       *attestor.Gate
	revoker    *attestor.Revoker
	started    time.Time

	metrics *prometheus.Registry
	tracer  trace.TracerProvider // nil: no traces
	calls   *dependency.Calls
	teams   *teams.Teams     // nil: the configuration has all callers; set by newService
	courier *courier.Courier // nil: events have no receivers
	topic   *topic           // nil: what is judged again is judged in this process
	noTopic error            // of an examination: why there is no topic
	closers []func() error

	checked                  sync.Mutex
	good                     time.Time // when the attestors were last found to be good; guarded by checked
	keysAsked, deletionAsked asked     // guarded by checked
}

// New joins the stages. It reads files, opens the record, and contacts nobody
// else. Close must be called.
func New(ctx context.Context, o Options) (_ *Engine, err error) {
	c := o.Config
	e := &Engine{Config: c, o: o, log: o.Logger, started: time.Now(), metrics: prometheus.NewRegistry()}
	defer func() {
		if err != nil {
			_ = e.Close() // err says what is wrong
		}
	}()

	// What counts and traces calls comes first: everything after it is called through it.
	if err := e.observe(ctx); err != nil {
		return nil, err
	}

	// Every client of Google is made with it.
	guard := guardGoogle(c.Dependencies.Timeouts, e.calls)

	if e.Policies = o.policies; e.Policies == nil {
		e.Policies, err = policy.NewWatcher(policy.WatcherConfig{
			Paths: c.Policies, Interval: time.Duration(c.PolicyReload), Logger: e.log, Check: e.checkOverrides,
		})
		if err != nil {
			return nil, err
		}
	}

	// A key in Cloud KMS is asked for when it is needed: the clients are made after the record is opened.
	use := func(_ context.Context, f func(*kms.KeyManagementClient) error) error { return f(e.Google.KMS) }
	if e.Store, err = openStore(ctx, c, use); err != nil {
		return nil, err
	}
	e.closers = append(e.closers, e.Store.Close)

	dial := google.DialAnyhow // a dry run may need no scan, and an examination says what has no credentials
	if !o.Unsigned && o.policies == nil {
		dial = func(ctx context.Context, em google.Emulators, log *slog.Logger, guard google.Guard) (*google.Clients,
			error) {
			return google.Dial(ctx, em, log, guard)
		}
	}
	if e.Google, err = dial(ctx, o.Emulators, e.log, guard); err != nil {
		return nil, err
	}
	e.closers = append(e.closers, e.Google.Close)

	if err := e.dialTopic(ctx, guard); err != nil {
		return nil, err
	}

	if err := e.joinCourier(ctx, guard); err != nil {
		return nil, err
	}
	if err := e.joinInspector(guard); err != nil {
		return nil, err
	}

	// Registered once it exists: Close ends the last first.
	e.closers = append(e.closers, func() error { e.Inspector.CloseIdleConnections(); return nil })

	if o.Unsigned {
		return e, e.joinGate(ctx, nobody{})
	}

	if e.Attester, err = newAttester(c, e.Google, e.Store, e.log); err != nil {
		return nil, err
	}
	if err := e.joinSummaries(); err != nil {
		return nil, err
	}
	return e, e.joinGate(ctx, e.Attester)
}

// joinGate makes the Gate of the stages.
func (e *Engine) joinGate(ctx context.Context, attester attestor.Attester) error {
	scanner, err := e.newScanner(ctx)
	if err != nil {
		return err
	}

	// Observing is also what keeps a panic in a stage to its own request.
	observed, err := telemetry.Observe(attestor.GateConfig{
		Policies: e.Policies, Inspector: e.Inspector, Scanner: scanner, Attester: attester,
		Recorder: witnessed{e.Store, e.o.Recorded}, Summarizer: e.summarizer(),
		NewID: newID, Now: time.Now, Emulated: e.Google.Emulated,
		Deadline: time.Duration(e.Config.Limits.Deadline), Settle: time.Duration(e.Config.Limits.Settle),
	}, telemetry.Options{Registry: e.metrics, Tracer: e.tracer})
	if err != nil {
		return err
	}

	// Registered once, with the gate: a second registration would panic.
	e.metrics.MustRegister(append(cacheLookups(e.Inspector), stalePolicies(e.Policies))...)
	if !e.Config.Store.None {
		e.metrics.MustRegister(newWatchGauges(e.Store))
	}
	e.metrics.MustRegister(append(logMetrics(e.Store), replicaMetrics(e.Store)...)...)
	if e.gate, err = attestor.NewGate(observed); err != nil {
		return err
	}
	e.revoker, err = attestor.NewRevoker(attestor.RevokerConfig{
		Record: e.Store, Remove: e.deleteAttestations, NewID: newID, Now: time.Now, Emulated: e.Google.Emulated,
	})
	return err
}

// Close ends what New began, the last first.
func (e *Engine) Close() error {
	// What was made last may use what was made before it.
	var errs []error
	for _, c := range slices.Backward(e.closers) {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// Admit judges an image, and attests to it where its verdict allows.
func (e *Engine) Admit(ctx context.Context, r attestor.Request) (attestor.Decision, error) {
	// An override must end when its policy says: without a record nothing would end it.
	if r.BreakGlass != "" && e.Config.Store.None {
		if err := e.checkOverrides(e.Policies.Set()); err != nil {
			return attestor.Decision{}, &attestor.Error{Kind: attestor.Invalid, Msg: err.Error()}
		}
	}
	return e.gate.Admit(ctx, r)
}

// Attested answers whether an image has the attestations that its policy gives to
// a pass or an override, or those of every attestor of the configuration where no
// policy governs it; nil where no attestor is configured.
func (e *Engine) Attested() posture.Attested {
	names := e.Config.AttestorNames()
	if len(names) == 0 {
		return nil
	}

	// Without attestors in the policy there is nothing that it would give.
	needs := func(img attestor.Image) (attestor.AttestNeeds, bool) {
		p, governed := e.Policies.Set().Govern(img.Repository())
		if !governed || len(p.Needs().Attest.Attestors) == 0 {
			return attestor.AttestNeeds{}, false
		}
		return p.Needs().Attest, true
	}
	return attest.AttestedBy{Of: e.Attester, Attestors: names, Needs: needs}
}

// witnessed passes on each decision once it is recorded.
type witnessed struct {
	attestor.Recorder
	recorded func(attestor.Record) // nil: nobody
}

// Finish implements [attestor.Recorder].
func (w witnessed) Finish(ctx context.Context, r attestor.Record) (*attestor.LogEntry, error) {
	entry, err := w.Recorder.Finish(ctx, r)
	if err == nil && w.recorded != nil {
		w.recorded(r)
	}
	return entry, err
}

func newID() string {
	id, err := uuid.NewV7()
	if err != nil {
		panic("attestor: the system has no randomness") // crypto/rand does not fail on supported systems
	}
	return id.String()
}
