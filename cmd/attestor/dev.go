package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/google"
	"github.com/attestor-gate/attestor/internal/loopback"
	"github.com/attestor-gate/attestor/internal/ociregistry"
	"github.com/attestor-gate/attestor/internal/samples"
	"github.com/attestor-gate/attestor/internal/when"
)

// What `attestor dev` promises to be called, so that scripts can rely on it.
const (
	devProject  = samples.Project
	devAttestor = samples.Attestor
	devKey      = samples.Key
)

type devFlags struct {
	listen, registry, google string
	admission, admissionMode string
	state                    string
	policies                 []string
	noSamples                bool
}

func devCommand() *cobra.Command {
	f := &devFlags{}
	c := &cobra.Command{
		Use:   "dev",
		Short: "Run everything on this machine: registry, emulated Google, sample images, the service",
		Long: `Runs the gate with all that it needs, and no cloud: an OCI registry, Container Analysis, Cloud KMS and
Binary Authorization emulated over their own protocols, a key, an attestor, sample images, and the service.`,
		Example: "  attestor dev\n  attestor dev --registry-listen 127.0.0.1:5001 --state .attestor --policy mine.yaml",
		Args:    noArguments,
		RunE:    func(c *cobra.Command, _ []string) error { return f.run(c) },
	}

	c.Flags().StringVar(&f.listen, "listen", "127.0.0.1:8080", "address of the service")
	c.Flags().StringVar(&f.registry, "registry-listen", "127.0.0.1:5000", "address of the registry")
	c.Flags().StringVar(&f.google, "google-listen", "127.0.0.1:9090",
		"address of the emulated Google services, gRPC and REST")
	c.Flags().StringVar(
		&f.admission,
		"admission-listen",
		"",
		"answer Kubernetes' AdmissionReviews at this `ADDRESS`, such as 127.0.0.1:8443, without TLS; not at "+
			"all by default",
	)
	c.Flags().StringVar(
		&f.admissionMode,
		"admission-mode",
		"attested",
		"of --admission-listen: attested, judged, warn or warnJudged",
	)
	c.Flags().StringVar(&f.state, "state", "", "keep images, occurrences, keys and decisions in this `DIR`")
	c.Flags().StringArrayVar(&f.policies, "policy", nil,
		"judge by this `FILE` instead of the sample policy (repeatable)")
	c.Flags().BoolVar(&f.noSamples, "no-samples", false, "make no sample images")
	return c
}

// devParts are what runs beside the service.
type devParts struct {
	service, registry, google net.Listener
	emulator                  *emulator.Emulator
	dir                       string
	stop                      []func() error
}

func (p *devParts) close() error {
	var errs []error
	for i := len(p.stop) - 1; i >= 0; i-- {
		errs = append(errs, p.stop[i]())
	}
	return errors.Join(errs...)
}

func (f *devFlags) run(c *cobra.Command) (err error) {
	ctx, stderr := c.Context(), c.ErrOrStderr()
	log := newLogger(c, slog.LevelWarn)
	p := &devParts{}
	defer func() { err = errors.Join(err, p.close()) }()

	if err := f.start(p, log); err != nil {
		return stateProblem(f.state, err)
	}
	conf, err := f.configure(p)
	if err != nil {
		return stateProblem(f.state, err)
	}

	e, err := engine.New(ctx, engine.Options{
		Config: conf, Emulators: google.EmulatedAt(p.google.Addr().String()), Logger: log, Version: version,
	})
	if err != nil {
		return stateProblem(f.state, err)
	}

	p.stop = append(p.stop, e.Close)
	if err := prepareGoogle(ctx, e.Google); err != nil {
		return fmt.Errorf("preparing the emulated services: %w", err)
	}
	logKey, err := writeLogVerifier(ctx, conf)
	if err != nil {
		return err
	}
	printParts(c.OutOrStdout(), p, conf.Policies, logKey)
	printEnvironment(c.OutOrStdout(), p)
	if f.admission != "" {
		fmt.Fprintf(c.OutOrStdout(), "admission  http://%s/v1/admission (%s)\n", f.admission, f.admissionMode)
	}

	// Samples are pushed before the service is ready, so that a script finds them.
	if !f.noSamples {
		pushed, err := samples.Google{Grafeas: e.Google.Grafeas}.Push(ctx, p.registry.Addr().String())
		if err != nil {
			return fmt.Errorf("pushing the sample images: %w", err)
		}
		printSamples(c.OutOrStdout(), p, pushed, logKey)
	}

	if err := e.Attester.Preflight(ctx); err != nil {
		return err
	}

	// Serving begins before anything says "ready", which scripts wait for.
	served := make(chan error, 1)
	go func() { served <- e.Serve(ctx, p.service) }()
	if err := awaitHealth(ctx, conf.Listen, served); err != nil {
		return err
	}
	fmt.Fprintln(stderr, "attestor: ready")
	return <-served
}

// start opens every listener before anything is written to a disk, so that a
// port that is taken leaves nothing half-done.
func (f *devFlags) start(p *devParts, log *slog.Logger) error {
	// Nothing in dev asks who calls, so that every listener must be on loopback.
	if host, _, err := net.SplitHostPort(f.admission); f.admission != "" && (err != nil || !loopback.Host(host)) {
		return fmt.Errorf("--admission-listen %q: dev listens on this machine only: want 127.0.0.1:PORT", f.admission)
	}
	for _, l := range []struct {
		flag, address string
		into          *net.Listener
	}{{"--listen", f.listen, &p.service}, {"--registry-listen", f.registry, &p.registry},
		{"--google-listen", f.google, &p.google}} {
		host, _, err := net.SplitHostPort(l.address)
		if err != nil || !loopback.Host(host) {
			return fmt.Errorf(
				"%s %q: dev listens on this machine only, since nothing in it asks who is calling: want 127.0.0.1:PORT",
				l.flag, l.address)
		}

		ln, err := net.Listen("tcp", l.address)
		if err != nil {
			return portTaken(l.flag, l.address, err)
		}
		*l.into = ln
		p.stop = append(p.stop, func() error {
			if err := ln.Close(); !errors.Is(err, net.ErrClosed) {
				return err
			}
			return nil
		})
	}

	// Without --state all of it is temporary, and is removed at the end.
	p.dir = f.state
	if p.dir == "" {
		dir, err := os.MkdirTemp("", "attestor-dev-")
		if err != nil {
			return err
		}
		p.dir = dir
		p.stop = append(p.stop, func() error { return os.RemoveAll(dir) })
	} else if err := os.MkdirAll(p.dir, 0o750); err != nil {
		return fmt.Errorf("--state: %w", err)
	}

	// Without a directory to keep, nothing is written but the policy and the record.
	var kept string // "" keeps registry and emulator in memory
	if f.state != "" {
		kept = p.dir
	}
	registry, err := ociregistry.New(under(kept, "registry"))
	if err != nil {
		return err
	}

	if p.emulator,
		err = emulator.New(emulator.Options{StateDir: under(kept, "google"), Registry: registry}); err != nil {
		return err
	}
	p.stop = append(p.stop, p.emulator.Close)
	p.background(log, "registry", p.registry, registry)
	p.background(log, "google", p.google, p.emulator.Handler())
	return nil
}

func under(dir, name string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, name)
}

// background serves HTTP/1 and unencrypted HTTP/2, which gRPC needs.
func (p *devParts) background(log *slog.Logger, what string, ln net.Listener, h http.Handler) {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		Protocols:         new(http.Protocols),
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}

	// gRPC needs HTTP/2, which clients without TLS speak from the first byte.
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	go func() {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			//nolint:sloglint // no request
			log.Error("serving", slog.String("part", what), slog.String("error", err.Error()))
		}
	}()
	p.stop = append(p.stop, srv.Close)
}

// configure is the configuration that a user would have written.
func (f *devFlags) configure(p *devParts) (config.Config, error) {
	registry := p.registry.Addr().String()
	c := config.Config{
		Listen:   p.service.Addr().String(),
		Policies: f.policies,
		Attestors: []config.Attestor{
			{Name: devAttestor, KMS: devKey},
			{Name: samples.OverrideAttestor, KMS: samples.OverrideKey},
		},
		Registries:   config.Registries{Allowed: []string{registry}},
		ScanProjects: map[string]string{registry: devProject},
		Store:        config.Store{SQLite: filepath.Join(p.dir, "decisions.db")},
		Log:          &config.Log{Key: filepath.Join(p.dir, "log.pem"), Origin: "dev.localhost/decisions"},
		PolicyReload: when.Duration(time.Second), // somebody is editing it
	}
	if err := makeLogKey(c.Log.Key); err != nil {
		return config.Config{}, err
	}

	// A policy that is there is the user's, who may be editing it: it is not written again.
	if len(c.Policies) == 0 {
		path := filepath.Join(p.dir, "policy.yaml")
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			text := strings.ReplaceAll(samples.Policy, "127.0.0.1:5000", registry)
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				return config.Config{}, fmt.Errorf("writing the sample policy: %w", err)
			}
		}
		c.Policies = []string{path}
	}
	if f.admission != "" {
		c.Admission = &config.Admission{Listen: f.admission, Mode: f.admissionMode, UnsafeOpen: true, Record: true}
	}
	c.Limits.CallerRate = 1000 // there is one caller, and load is tried here
	return c, c.Finish(func(string) string { return "" }, engine.ProfileProblem)
}

// makeLogKey makes the key of the record's log, unless an earlier run did.
func makeLogKey(path string) error {
	_, err := os.Stat(path)
	if err == nil || !errors.Is(err, os.ErrNotExist) {
		return err
	}

	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}

	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}

	block := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := os.WriteFile(path, block, 0o600); err != nil {
		return fmt.Errorf("writing the log's key: %w", err)
	}

	return nil
}

// A logVerifier is the public key of the record's log.
type logVerifier struct {
	key  string
	file string // that holds it
}

// writeLogVerifier writes the log's public key beside its private one, for --key of attestor decisions verify.
func writeLogVerifier(ctx context.Context, conf config.Config) (logVerifier, error) {
	key, err := engine.LogVerifier(ctx, conf, os.Getenv)
	if err != nil {
		return logVerifier{}, err
	}

	v := logVerifier{key: key, file: strings.TrimSuffix(conf.Log.Key, ".pem") + ".pub"}
	if err := os.WriteFile(v.file, []byte(key+"\n"), 0o644); err != nil { //nolint:gosec // a public key is no secret
		return logVerifier{}, fmt.Errorf("writing the log's public key: %w", err)
	}
	return v, nil
}

// awaitHealth returns when the service answers.
func awaitHealth(ctx context.Context, address string, served <-chan error) error {
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/health", nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			return nil
		}

		select {
		case err := <-served:
			return err
		case <-ctx.Done():
			return nil
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// prepareGoogle makes key, note and attestor, as an operator would with gcloud.
func prepareGoogle(ctx context.Context, g *google.Clients) error {
	return samples.Google{KMS: g.KMS, Grafeas: g.Grafeas, Binauthz: g.Binauthz}.Prepare(ctx)
}

// printParts says what runs where.
func printParts(w io.Writer, p *devParts, policies []string, log logVerifier) {
	fmt.Fprintf(w, "service    http://%s\nregistry   %s\n"+
		"Google     %s (Container Analysis, Cloud KMS, Binary Authorization; emulated)\nattestor   %s\nlog key    %s, "+
		"in %s\npolicy     %s\n",
		p.service.Addr(), p.registry.Addr(), p.google.Addr(), devAttestor, log.key, log.file,
		strings.Join(policies, " "))
}

// printEnvironment says how every other command reaches these parts.
func printEnvironment(w io.Writer, p *devParts) {
	google := p.google.Addr().String()
	fmt.Fprintf(w, "\nevery command in this shell\n  export %s=http://%s CONTAINERANALYSIS_EMULATOR_HOST=%s "+
		"CLOUD_KMS_EMULATOR_HOST=%s "+
		"BINARYAUTHORIZATION_EMULATOR_HOST=%s %s=%s\n",
		variable("server"), p.service.Addr(), google, google, google, variable("attestor"), devAttestor)
}

// printSamples says what there is and what to try.
func printSamples(w io.Writer, p *devParts, pushed []samples.Sample, log logVerifier) {
	registry, service := p.registry.Addr().String(), "http://"+p.service.Addr().String()
	fmt.Fprintln(w, "\nimages")
	for _, s := range pushed {
		fmt.Fprintf(w, "  %-*s  %s\n", len(registry)+18, registry+"/"+s.Repository+":"+s.Tag, s.About)
	}

	self := os.Args[0]
	fmt.Fprintf(w, "\ntry\n")
	fmt.Fprintf(w, "  %s attest --server %s %s/app/good:v1\n", self, service, registry)
	fmt.Fprintf(w, "  %s attest --server %s %s/app/root:v1\n", self, service, registry)
	fmt.Fprintf(
		w,
		"  curl -s %s/v1/attest -H 'Content-Type: application/json' -d '{\"image\": \"%s/app/vulnerable:v1\"}'\n",
		service,
		registry,
	)

	fmt.Fprintf(w, "  %s decisions verify --server %s --key @%s\n", self, service, log.file)
	fmt.Fprintf(w, "  %s verify --emulator %s --attestor %s %s/app/good:v1\n\n", self, p.google.Addr(),
		devAttestor, registry)
}
