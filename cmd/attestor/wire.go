package main

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	artifactregistry "cloud.google.com/go/artifactregistry/apiv1"
	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/google/go-containerregistry/pkg/authn"
	ggcrgoogle "github.com/google/go-containerregistry/pkg/v1/google"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/attest"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/dependency"
	"github.com/attestor-gate/attestor/policy"
	"github.com/attestor-gate/attestor/server/telemetry"
	"github.com/attestor-gate/attestor/verify"
	"github.com/attestor-gate/attestor/verify/provenance"
	"github.com/attestor-gate/attestor/verify/signed"
	"github.com/attestor-gate/attestor/vuln"
)

// callTimeout bounds one call to Google where the configuration says nothing
// else: the official clients would retry for ever.
const callTimeout = 10 * time.Second

// within is at most d, and a third of the phase that it is part of: what is
// asked for, and asked again, must end before whoever waits for it gives up.
func within(phase, d duration) time.Duration {
	return min(time.Duration(d), time.Duration(phase)/3)
}

// store is what the engine needs of the record: [audit.Store], or [audit.None]
// where the configuration says so.
type store interface {
	attestor.Recorder
	attest.Journal
	verify.TagHistory
	Pending(ctx context.Context, olderThan time.Duration) ([]attestor.Record, error)
	Alone() bool
	Record(ctx context.Context, id string) (attestor.Record, error)
	Decisions(ctx context.Context, f audit.Filter) iter.Seq2[attestor.Decision, error]
	Export(ctx context.Context, w io.Writer, f audit.Filter) (int, error)
	Prune(ctx context.Context, before time.Time) (audit.Pruned, error)
	List(ctx context.Context, f audit.Filter, size int, token string) (audit.Page, error)
	Records(ctx context.Context, f audit.Filter) iter.Seq2[attestor.Record, error]
	Ready(ctx context.Context) error
	Close() error
}

// newEngine joins the stages. It reads files, opens the record, and contacts
// nobody else.
func newEngine(ctx context.Context, c config, em emulators, log *slog.Logger) (_ *engine, err error) {
	e := &engine{config: c, log: log, started: time.Now(), metrics: prometheus.NewRegistry()}
	defer func() {
		if err != nil {
			_ = e.close()
		}
	}()
	if err := e.observe(ctx); err != nil {
		return nil, err
	}
	e.policies, err = policy.NewWatcher(policy.WatcherConfig{Paths: c.Policies, Interval: time.Duration(c.PolicyReload), Logger: log})
	if err != nil {
		return nil, err
	}
	if e.store, err = openStore(ctx, c.Store); err != nil {
		return nil, err
	}
	e.closers = append(e.closers, e.store.Close)
	if e.google, err = dialGoogle(ctx, em, log, c.Dependencies.guardGoogle(e.calls)); err != nil {
		return nil, err
	}
	e.closers = append(e.closers, e.google.close)
	if err := e.dialTopic(ctx); err != nil {
		return nil, err
	}
	if e.inspector, e.signatures, err = newInspector(c, e.google, e.calls, e.store, log); err != nil {
		return nil, err
	}
	e.closers = append(e.closers, func() error { e.inspector.CloseIdleConnections(); return nil })
	scanner, err := vuln.New(vuln.Config{
		Client: e.google.grafeas, ScanProjects: c.ScanProjects, Now: time.Now, Logger: log,
		CallTimeout: within(c.Limits.Deadline, c.Dependencies.Timeouts.ContainerAnalysis),
		NoListLag:   e.google.emulated,
	})
	if err != nil {
		return nil, err
	}
	judged, err := withScans(ctx, scanner, c.scans, em)
	if err != nil {
		return nil, err
	}
	if e.attester, err = newAttester(c, e.google, e.store, log); err != nil {
		return nil, err
	}
	// Observing is also what keeps a panic in a stage to its own request.
	observed, err := telemetry.Observe(attestor.GateConfig{
		Policies: e.policies, Inspector: e.inspector, Scanner: judged, Attester: e.attester, Recorder: witnessed{e.store, c.heard},
		NewID: newID, Now: time.Now, Emulated: e.google.emulated,
		Deadline: time.Duration(c.Limits.Deadline), Settle: time.Duration(c.Limits.Settle),
	}, telemetry.Options{Registry: e.metrics, Tracer: e.tracer})
	if err != nil {
		return nil, err
	}
	e.metrics.MustRegister(append(cacheLookups(e.inspector), stalePolicies(e.policies))...)
	e.gate, err = attestor.NewGate(observed)
	return e, err
}

// witnessed tells of each decision once it is recorded.
type witnessed struct {
	attestor.Recorder
	heard func(attestor.Record) // nil: nobody listens
}

func (w witnessed) Finish(ctx context.Context, r attestor.Record) error {
	err := w.Recorder.Finish(ctx, r)
	if err == nil && w.heard != nil {
		w.heard(r)
	}
	return err
}

// stalePolicies is the alarm of a policy that somebody changed and that does
// not load: what is in force is not what is on the disk.
func stalePolicies(w *policy.Watcher) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "attestor_policies_stale", Help: "1 where the policies on disk do not load and the ones from before are in force.",
	}, func() float64 {
		if w.Err() != nil {
			return 1
		}
		return 0
	})
}

func openStore(ctx context.Context, c storeConfig) (store, error) {
	switch {
	case c.None:
		return audit.None{}, nil
	case c.Postgres != "":
		b, err := os.ReadFile(c.Postgres)
		if err != nil {
			return nil, fmt.Errorf("reading the connection string: %w", err)
		}
		return audit.Open(ctx, audit.Config{PostgreSQL: strings.TrimSpace(string(b)), Now: time.Now})
	}
	return audit.Open(ctx, audit.Config{SQLite: c.SQLite, Now: time.Now})
}

// signatures lends the checker of signatures to the inspector, through whose
// guarded connections it reads in turn.
type signatures struct{ *signed.Checker }

func newInspector(c config, g *google, calls *dependency.Calls, history verify.TagHistory, log *slog.Logger) (*verify.Inspector, *signed.Checker, error) {
	late := &signatures{}
	keys, err := c.builderKeys()
	if err != nil {
		return nil, nil, err
	}
	prov, err := provenance.New(provenance.Config{Grafeas: g.grafeas, ScanProjects: c.ScanProjects, Keys: keys, Attached: late, CallTimeout: within(c.Limits.Deadline, c.Dependencies.Timeouts.ContainerAnalysis)})
	if err != nil {
		return nil, nil, err
	}
	hosts := registries(c.Registries)
	hosts.Wrap = c.guardRegistries(calls)
	inspector, err := verify.New(verify.Config{
		Registries: hosts, FetchTimeout: within(c.Limits.Deadline, c.Dependencies.Timeouts.Registries), BaseTimeout: min(baseTimeout, time.Duration(c.Limits.Deadline)/2),
		Uploads:    &uploads{emulated: g.emulated, timeout: within(c.Limits.Deadline, c.Dependencies.Timeouts.ArtifactRegistry), guard: c.Dependencies.guardGoogle(calls)},
		Signatures: late, Provenance: prov, History: history, Now: time.Now, Logger: log,
	})
	if err != nil {
		return nil, nil, err
	}
	late.Checker, err = signed.New(signed.Config{
		Transport:   inspector.Transport(),
		Remote:      []remote.Option{remote.WithAuthFromKeychain(keychain()), remote.WithUserAgent("attestor/" + version)},
		Name:        inspector.NameOptions,
		TrustedRoot: c.TrustedRoot, Keys: kmsKeys{g.kms, within(c.Limits.Deadline, c.Dependencies.Timeouts.KMS)}, Now: time.Now, Logger: log,
	})
	return inspector, late.Checker, err
}

// baseTimeout bounds the look-up of one approved base.
const baseTimeout = 15 * time.Second

// builderKeys are Google's pinned ones, unless the configuration names its own.
func (c config) builderKeys() ([]provenance.Key, error) {
	var keys []provenance.Key
	for _, k := range c.BuilderKeys {
		b, err := os.ReadFile(k.File)
		if err != nil {
			return nil, fmt.Errorf("builderKeys: %w", err)
		}
		keys = append(keys, provenance.Key{ID: k.ID, PEM: b, Raw: k.Raw})
	}
	return keys, nil
}

// checkPolicies finds what policies name and the configuration or the disk does
// not have, before an image depends on it: attestors, and the keys and roots of
// bases' signatures.
func (e *engine) checkPolicies(ctx context.Context) error {
	var errs []error
	configured := e.attestorNames()
	for _, p := range e.policies.Set().All() {
		for _, name := range p.Needs().Attest.All() {
			if !slices.Contains(configured, name) {
				errs = append(errs, fmt.Errorf("policy %s: attestor %s is not in the configuration's attestors", p.Ref().Name, name))
			}
		}
		for _, b := range p.Needs().Bases {
			if b.SignedBy == nil {
				continue
			}
			if err := e.signatures.Validate(ctx, *b.SignedBy); err != nil {
				errs = append(errs, fmt.Errorf("policy %s: base %s: %w", p.Ref().Name, b.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// keychain finds credentials as docker and gcloud left them, or of the service
// account that runs this.
func keychain() authn.Keychain {
	return authn.NewMultiKeychain(ggcrgoogle.Keychain, authn.DefaultKeychain)
}

func registries(c registriesConfig) verify.Registries {
	out := verify.Registries{Keychain: keychain()}
	for _, host := range c.hosts() {
		r := verify.Registry{Host: host, Companions: c.Companions[host]}
		if c.plain(host) {
			r.Scheme = "http"
		}
		out.Hosts = append(out.Hosts, r)
	}
	return out
}

func (r registriesConfig) plain(host string) bool {
	for _, h := range r.PlainHTTP {
		if h == host {
			return true
		}
	}
	return false
}

// uploads asks Artifact Registry, which few policies need: its client is made
// by the first question.
type uploads struct {
	emulated bool
	timeout  time.Duration
	guard    googleGuard
	once     sync.Once
	client   *artifactregistry.Client
	err      error
}

func (u *uploads) Uploaded(ctx context.Context, img attestor.Image) (time.Time, error) {
	if u.emulated {
		return time.Time{}, &attestor.Error{Kind: attestor.Upstream, Code: attestor.CodeUploadTimeUnknown, Msg: "Artifact Registry is not emulated, so that the upload time is not known"}
	}
	u.once.Do(func() {
		u.client, u.err = artifactregistry.NewClient(context.WithoutCancel(ctx), u.guard.around(serviceRegistry, "")...)
	})
	if u.err != nil {
		return time.Time{}, &attestor.Error{Kind: attestor.Upstream, Code: attestor.CodeUploadTimeUnknown, Msg: "Artifact Registry cannot be asked", Err: u.err}
	}
	ctx, cancel := context.WithTimeout(ctx, u.timeout)
	defer cancel()
	return verify.ArtifactRegistry{Client: u.client}.Uploaded(ctx, img)
}

// kmsKeys reads public keys named gcpkms://projects/…/cryptoKeyVersions/N.
type kmsKeys struct {
	client  *kms.KeyManagementClient
	timeout time.Duration
}

func (k kmsKeys) PublicKey(ctx context.Context, uri string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, k.timeout)
	defer cancel()
	name := strings.TrimPrefix(uri, "gcpkms://")
	key, err := k.client.GetPublicKey(ctx, &kmspb.GetPublicKeyRequest{Name: name})
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the public key %s: %w", uri, err)
	case key.GetName() != name:
		return nil, fmt.Errorf("reading the public key %s: Cloud KMS answered with %q", uri, key.GetName())
	case key.GetPemCrc32C() == nil || key.GetPemCrc32C().GetValue() != int64(crc32.Checksum([]byte(key.GetPem()), crc32.MakeTable(crc32.Castagnoli))):
		return nil, fmt.Errorf("reading the public key %s: it does not match its checksum", uri)
	}
	return []byte(key.GetPem()), nil
}

func newAttester(c config, g *google, journal attest.Journal, log *slog.Logger) (*attest.Attester, error) {
	var attestors []attest.AttestorConfig
	for _, a := range c.Attestors {
		var signer attest.Signer
		var err error
		if a.KMS != "" {
			signer, err = attest.NewKMSSigner(g.kms, a.KMS, within(c.Limits.Settle, c.Dependencies.Timeouts.KMS))
		} else {
			signer, err = attest.NewKeyFileSigner(a.KeyFile)
		}
		if err != nil {
			return nil, fmt.Errorf("attestor %s: %w", a.Name, err)
		}
		attestors = append(attestors, attest.AttestorConfig{
			Name: a.Name, Signer: signer, AttestationProject: a.Project, PublicKeyID: a.PublicKeyID,
		})
	}
	return attest.New(attest.Config{
		Grafeas: g.grafeas, Analysis: g.analysis, BinAuthz: g.binauthz, Attestors: attestors, Journal: journal,
		Now: time.Now, CallTimeout: within(c.Limits.Settle, max(c.Dependencies.Timeouts.ContainerAnalysis, c.Dependencies.Timeouts.BinaryAuthorization)), Timeout: min(attestTimeout, time.Duration(c.Limits.Settle)/3*2), Logger: log,
	})
}

// attestTimeout bounds signing and storing one attestation.
const attestTimeout = 20 * time.Second
