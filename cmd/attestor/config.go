package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/strictyaml"
	"github.com/attestor-gate/attestor/internal/when"
	"github.com/attestor-gate/attestor/posture"
)

// config is attestor.yaml. Unknown keys, wrong types and contradictions are
// errors at start, all reported at once; secrets are paths, never values.
type config struct {
	// Listen is HOST:PORT; 127.0.0.1:8080 by default. The variable PORT, which
	// Cloud Run sets, wins and listens on every address.
	Listen string `yaml:"listen"`

	// Policies are files, or directories whose *.yaml files are read. A change
	// on disk takes effect within PolicyReload (default 10s); one that does not
	// load leaves the old policies in force.
	Policies     []string `yaml:"policies"`
	PolicyReload duration `yaml:"policyReload"`

	// Attestors are those that policies may name, each with its signer.
	Attestors []attestorConfig `yaml:"attestors"`

	// Registries says which registries the gate may talk to, and how.
	Registries registriesConfig `yaml:"registries"`

	// ScanProjects gives the Google project that holds the scans of a registry
	// whose name does not say: {HOST: project}.
	ScanProjects map[string]string `yaml:"scanProjects"`

	// TrustedRoot is the trusted_root.json of the Sigstore instance that signs
	// approved bases, unless a base names its own.
	TrustedRoot string `yaml:"trustedRoot"`

	// BuilderKeys are the keys by which Cloud Build's provenance is verified,
	// where Google's pinned ones are not (or no longer) the right ones: with the
	// signature's whole keyid, a PEM file, and raw for a key that signs the
	// payload without DSSE's encoding.
	BuilderKeys []builderKeyConfig `yaml:"builderKeys"`

	// Store is where decisions are kept: {sqlite: FILE}, {postgres: FILE that
	// holds the connection string}, or {none: true}. SQLite is refused on Cloud
	// Run, whose disk does not last.
	Store storeConfig `yaml:"store"`

	// Identity says who may call. Without it the service listens on loopback
	// only.
	Identity *identityConfig `yaml:"identity"`

	// Limits bound what a request, a caller and the process may use.
	Limits limitsConfig `yaml:"limits"`

	// Dependencies bound the calls of what the gate asks.
	Dependencies dependenciesConfig `yaml:"dependencies"`

	// Rejudge says what POST /v1/rejudge does about images that were admitted
	// and would not be any more.
	Rejudge rejudgeConfig `yaml:"rejudge"`

	// Admission answers Kubernetes' AdmissionReviews, on a listener of its own:
	// the API server sends no token. None where it is left out.
	Admission *admissionConfig `yaml:"admission"`

	// PostureProfile is by which POST /v1/posture judges: baseline (the default),
	// hipaa, strict, or a file.
	PostureProfile string `yaml:"postureProfile"`

	// Telemetry shapes logs and traces.
	Telemetry telemetryConfig `yaml:"telemetry"`

	scans []string                                  // named on the command line
	wrap  func(http.RoundTripper) http.RoundTripper // a sweep's, which watches how registries answer
	heard func(attestor.Record)                     // a sweep's, which reports what was recorded
}

type attestorConfig struct {
	// Name is projects/P/attestors/A.
	Name string `yaml:"name"`
	// KMS is a key version, projects/…/cryptoKeyVersions/N. One of KMS and KeyFile.
	KMS string `yaml:"kms"`
	// KeyFile is a PKCS#8 private key in PEM.
	KeyFile string `yaml:"keyFile"`
	// PublicKeyID is the id under which the attestor has the key's public half.
	// Default: the one that gcloud gives it, see docs/attestations.md. Set it
	// where the key was added under another id, as Terraform's examples do.
	PublicKeyID string `yaml:"publicKeyId"`
	// Project holds the attestations; the attestor's own by default.
	Project string `yaml:"project"`
}

type registriesConfig struct {
	// Allowed are hosts, with port where they have one. Policies' images and
	// bases decide what is asked for; this decides who may be asked. Required.
	Allowed []string `yaml:"allowed"`
	// PlainHTTP are hosts spoken to without TLS. Loopback always is.
	PlainHTTP []string `yaml:"plainHTTP"`
	// Companions are further hosts that a registry needs: {HOST: [hosts]}, such
	// as its token server, or the storage at a private address that it
	// redirects to. Docker Hub's are known.
	Companions map[string][]string `yaml:"companions"`
}

type builderKeyConfig struct {
	ID   string `yaml:"id"`
	File string `yaml:"file"`
	Raw  bool   `yaml:"raw"`
}

type storeConfig struct {
	SQLite   string `yaml:"sqlite"`
	Postgres string `yaml:"postgres"`
	None     bool   `yaml:"none"`
}

type identityConfig struct {
	// Audience is what tokens must be meant for: the service's own URL, or the
	// custom audience of its Cloud Run service.
	Audience string `yaml:"audience"`
	// Issuers are accepted OIDC issuers; https://accounts.google.com by default.
	Issuers []issuerConfig `yaml:"issuers"`
	// IAPAudience accepts Identity-Aware Proxy's signed header, for pages only.
	IAPAudience string `yaml:"iapAudience"`
	// UnsafeTrustPlatform believes tokens whose signature Cloud Run has checked
	// and removed. Only for a service that nothing but Cloud Run can reach.
	UnsafeTrustPlatform bool `yaml:"unsafeTrustPlatform"`
	// Callers are who may do what. Nobody else may do anything.
	Callers []callerConfig `yaml:"callers"`
}

type issuerConfig struct {
	Issuer string `yaml:"issuer"`
	// JWKS is the URL of its keys; found by discovery when left out.
	JWKS string `yaml:"jwks"`
}

type callerConfig struct {
	// Issuer is https://accounts.google.com by default.
	Issuer string `yaml:"issuer"`
	// Email or Subject, exact; or Claims, all of which must match exactly.
	Email   string            `yaml:"email"`
	Subject string            `yaml:"subject"`
	Claims  map[string]string `yaml:"claims"`
	// Actions are attest, check, read, simulate, revoke, rejudge, break-glass, posture.
	Actions []string `yaml:"actions"`
	// Images are patterns of repositories.
	Images []string `yaml:"images"`
}

type admissionConfig struct {
	// Listen is HOST:PORT.
	Listen string `yaml:"listen"`
	// Mode is attested (a valid attestation by every attestor of the policy) or
	// judged (that, or to pass the policy now).
	Mode string `yaml:"mode"`
	// Cert, Key and ClientCA are PEM files: the gate's certificate, and who
	// signs the API server's. All three, or UnsafeOpen.
	Cert     string `yaml:"cert"`
	Key      string `yaml:"key"`
	ClientCA string `yaml:"clientCA"`
	// UnsafeOpen answers whoever can reach the listener, without TLS.
	UnsafeOpen bool `yaml:"unsafeOpen"`
	// Exempt are patterns of repositories that are admitted unseen.
	Exempt []attestor.Pattern `yaml:"exempt"`
}

type rejudgeConfig struct {
	// Revoke deletes the attestations of an image that a new finding denies,
	// after Grace (24h), of at most Cap images a run (20). False: it is reported.
	Revoke bool     `yaml:"revoke"`
	Grace  duration `yaml:"grace"`
	Cap    int      `yaml:"cap"`
	// Window is how far back admitted images are looked for; 90d.
	Window duration `yaml:"window"`
	// Topic spreads the work over instances, projects/P/topics/T: a run publishes
	// to it what is to be judged, and the rest of itself when its time is over.
	// Subscription pushes it back to /v1/events, projects/P/subscriptions/S. Both,
	// or none: what is judged again is judged by the instance that was called.
	Topic        string `yaml:"topic"`
	Subscription string `yaml:"subscription"`
}

type limitsConfig struct {
	// MaxWait caps how long a request may wait for a scan; 45s by default, which
	// stays below Cloud Run's time-out of 60s.
	MaxWait duration `yaml:"maxWait"`
	// Deadline bounds the gathering of evidence, Settle the signing; 30s and 30s.
	Deadline duration `yaml:"deadline"`
	Settle   duration `yaml:"settle"`
	// Concurrency is how many requests are judged at once (default 64), Queue
	// how many more may wait (256); beyond that 429.
	Concurrency int `yaml:"concurrency"`
	Queue       int `yaml:"queue"`
	// CallerRate is requests a second for one caller; 20.
	CallerRate float64 `yaml:"callerRate"`
}

// duration is written as everywhere: 45s, 1.5h, 1d12h.
type duration = when.Duration

const maxConfigSize = 1 << 20

// loadConfig reads, checks and completes a configuration. Paths in it are
// relative to the file.
func loadConfig(path string, getenv func(string) string) (config, error) {
	f, err := os.Open(path)
	if err != nil {
		return config{}, fmt.Errorf("reading the configuration: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfigSize+1))
	if err != nil {
		return config{}, fmt.Errorf("reading %s: %w", path, err)
	}
	if len(b) > maxConfigSize {
		return config{}, fmt.Errorf("%s is larger than 1 MiB", path)
	}
	c, err := parseConfig(b)
	if err != nil {
		return config{}, fmt.Errorf("%s:\n%w", path, err)
	}
	c.resolve(filepath.Dir(path))
	c.complete(getenv)
	if err := errors.Join(c.problems(getenv)...); err != nil {
		return config{}, fmt.Errorf("%s:\n%w", path, err)
	}
	return c, nil
}

// configTypes reports values that are not of their field's type, each with its place. The YAML library alone reads yes
// and on as true, 017 as 15, and an empty field as one that was left out.
func configTypes(b []byte) error {
	var document yaml.Node
	loader, err := yaml.NewLoader(bytes.NewReader(b))
	if err != nil {
		return err
	}
	if err := loader.Load(&document); err != nil {
		return nil //nolint:nilerr // parseConfig reports what is not YAML
	}

	var faults []error
	shape := strictyaml.Shape{Tag: "yaml", Identifiers: true}
	for _, fault := range shape.Check(&document, reflect.TypeFor[config]()) {
		faults = append(faults, fault)
	}
	return errors.Join(faults...)
}

func parseConfig(b []byte) (config, error) {
	if err := configTypes(b); err != nil {
		return config{}, err
	}

	var c config
	loader, err := yaml.NewLoader(bytes.NewReader(b), yaml.WithKnownFields())
	if err != nil {
		return config{}, err
	}
	if err := loader.Load(&c); err != nil {
		if errors.Is(err, io.EOF) { // nothing but comments: all that is required is missing
			return config{}, nil
		}
		if many, ok := errors.AsType[*yaml.LoadErrors](err); ok {
			var lines []error
			for _, e := range many.Errors {
				lines = append(lines, fmt.Errorf("line %d, column %d: %s", e.Mark.Line, e.Mark.Column, e.Message))
			}
			return config{}, errors.Join(lines...)
		}
		return config{}, err
	}
	var rest any
	if err := loader.Load(&rest); !errors.Is(err, io.EOF) {
		return config{}, errors.New("there is a second document; only one is read")
	}
	return c, nil
}

// resolve makes paths absolute, from the directory of the file.
func (c *config) resolve(dir string) {
	paths := []*string{&c.TrustedRoot, &c.Store.SQLite, &c.Store.Postgres}
	for i := range c.Policies {
		paths = append(paths, &c.Policies[i])
	}
	for i := range c.Attestors {
		paths = append(paths, &c.Attestors[i].KeyFile)
	}
	if c.Admission != nil {
		paths = append(paths, &c.Admission.Cert, &c.Admission.Key, &c.Admission.ClientCA)
	}
	if _, builtin := posture.Builtin(c.PostureProfile); !builtin {
		paths = append(paths, &c.PostureProfile)
	}
	paths = append(paths, &c.Telemetry.HashKey)
	if c.Telemetry.OTLP != nil {
		paths = append(paths, &c.Telemetry.OTLP.CA)
	}
	for i := range c.BuilderKeys {
		paths = append(paths, &c.BuilderKeys[i].File)
	}
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
}

// complete fills in what was left out.
func (c *config) complete(getenv func(string) string) {
	if port := getenv("PORT"); port != "" {
		c.Listen = ":" + port
	}
	c.Listen = or(c.Listen, "127.0.0.1:8080")
	c.PolicyReload = or(c.PolicyReload, duration(10*time.Second))
	c.Limits.MaxWait = or(c.Limits.MaxWait, duration(45*time.Second))
	c.Limits.Deadline = or(c.Limits.Deadline, duration(30*time.Second))
	c.Limits.Settle = or(c.Limits.Settle, duration(30*time.Second))
	c.Limits.Concurrency = or(c.Limits.Concurrency, 64)
	c.Limits.Queue = or(c.Limits.Queue, 256)
	c.Dependencies.complete()
	if c.Telemetry.OTLP != nil {
		c.Telemetry.OTLP.Sample = or(c.Telemetry.OTLP.Sample, 1)
	}
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

var (
	topicName        = regexp.MustCompile(`^projects/[^/]+/topics/[^/]+$`)
	subscriptionName = regexp.MustCompile(`^projects/[^/]+/subscriptions/[^/]+$`)
)

var attestorName = regexp.MustCompile(`^projects/[^/]+/attestors/[^/]+$`)

// problems lists every contradiction and omission.
func (c config) problems(getenv func(string) string) []error {
	var out []error
	bad := func(format string, args ...any) { out = append(out, fmt.Errorf(format, args...)) }
	if len(c.Policies) == 0 {
		bad("policies: name at least one file or directory; without a policy every image is refused")
	}
	if len(c.Registries.Allowed) == 0 {
		bad("registries.allowed: name the registries that may be asked, such as us-docker.pkg.dev")
	}
	seen := map[string]bool{}
	for i, a := range c.Attestors {
		switch {
		case !attestorName.MatchString(a.Name):
			bad("attestors[%d].name: %q is not projects/PROJECT/attestors/NAME", i, a.Name)
		case seen[a.Name]:
			bad("attestors[%d].name: %s stands twice", i, a.Name)
		case (a.KMS == "") == (a.KeyFile == ""):
			bad("attestors[%d]: want one of kms and keyFile", i)
		}
		seen[a.Name] = true
	}
	out = append(out, c.Store.problems(getenv)...)
	if c.Admission != nil {
		out = append(out, c.Admission.problems()...)
	}
	if c.Telemetry.OTLP != nil {
		out = append(out, c.Telemetry.OTLP.problems()...)
	}
	if c.Dependencies.InFlight < 0 || c.Dependencies.Outages < 0 {
		bad("dependencies: inFlight and outages are counts")
	}
	if r := c.Rejudge; (r.Topic != "" || r.Subscription != "") && (!topicName.MatchString(r.Topic) || !subscriptionName.MatchString(r.Subscription)) {
		bad("rejudge: want topic projects/PROJECT/topics/NAME and subscription projects/PROJECT/subscriptions/NAME, or neither")
	}
	if _, err := postureProfile(or(c.PostureProfile, "baseline")); err != nil {
		bad("postureProfile: %v", err)
	}
	if c.Identity == nil {
		if host, _, err := net.SplitHostPort(c.Listen); err != nil {
			bad("listen: %q is not HOST:PORT", c.Listen)
		} else if !isLoopback(host) {
			bad("listen: %s can be reached from elsewhere, and no identity is configured: configure identity, or listen on 127.0.0.1", c.Listen)
		}
	} else {
		out = append(out, c.Identity.problems()...)
	}
	return out
}

func (a admissionConfig) problems() []error {
	var out []error
	if _, _, err := net.SplitHostPort(a.Listen); err != nil {
		out = append(out, fmt.Errorf("admission.listen: %q is not HOST:PORT", a.Listen))
	}
	if a.Mode != "attested" && a.Mode != "judged" {
		out = append(out, fmt.Errorf("admission.mode: %q: want attested or judged", a.Mode))
	}
	files := 0
	for _, f := range []string{a.Cert, a.Key, a.ClientCA} {
		if f != "" {
			files++
		}
	}
	if files != 3 && (files != 0 || !a.UnsafeOpen) {
		out = append(out, errors.New("admission: want cert, key and clientCA, or unsafeOpen: true and none of them"))
	}
	return out
}

func (s storeConfig) problems(getenv func(string) string) []error {
	set := 0
	for _, on := range []bool{s.SQLite != "", s.Postgres != "", s.None} {
		if on {
			set++
		}
	}
	switch {
	case set != 1:
		return []error{errors.New("store: want one of sqlite, postgres and none")}
	case s.SQLite != "" && getenv("K_SERVICE") != "":
		return []error{errors.New("store.sqlite: Cloud Run's disk does not last; use store.postgres, or store.none")}
	}
	return nil
}

func (i identityConfig) problems() []error {
	var out []error
	if i.Audience == "" && !i.UnsafeTrustPlatform {
		out = append(out, errors.New("identity.audience: required; without it a token meant for another service would do"))
	}
	if len(i.Callers) == 0 {
		out = append(out, errors.New("identity.callers: nobody may do anything"))
	}
	for n, c := range i.Callers {
		given := 0
		for _, on := range []bool{c.Email != "", c.Subject != "", len(c.Claims) > 0} {
			if on {
				given++
			}
		}
		if given != 1 {
			out = append(out, fmt.Errorf("identity.callers[%d]: want one of email, subject and claims", n))
		}
		if len(c.Actions) == 0 || len(c.Images) == 0 {
			out = append(out, fmt.Errorf("identity.callers[%d]: actions and images are required", n))
		}
	}
	return out
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// hosts lists the registries that may be asked, each once.
func (r registriesConfig) hosts() []string {
	all := slices.Concat(r.Allowed, r.PlainHTTP)
	slices.Sort(all)
	return slices.Compact(all)
}
