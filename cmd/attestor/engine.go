package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/user"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel/trace"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/attest"
	"github.com/attestor-gate/attestor/internal/dependency"
	"github.com/attestor-gate/attestor/policy"
	"github.com/attestor-gate/attestor/server/telemetry"
	"github.com/attestor-gate/attestor/verify"
	"github.com/attestor-gate/attestor/verify/signed"
)

// engine is every stage joined: what serve, dev and the local attest run.
type engine struct {
	config     config
	log        *slog.Logger
	google     *google
	policies   *policy.Watcher
	store      store
	attester   *attest.Attester
	inspector  *verify.Inspector
	signatures *signed.Checker
	gate       *attestor.Gate
	started    time.Time
	warm       func(context.Context) error // fetches what identifies callers; set with the server

	flight sync.Mutex
	flown  time.Time // when a preflight was last good; guarded by flight

	metrics *prometheus.Registry
	tracer  trace.TracerProvider // nil: no traces
	calls   *dependency.Calls
	topic   *topic // nil: what is judged again is judged in this process
	closers []func() error
}

func (e *engine) close() error {
	var errs []error
	for i := len(e.closers) - 1; i >= 0; i-- {
		errs = append(errs, e.closers[i]())
	}
	return errors.Join(errs...)
}

func newID() string {
	id, err := uuid.NewV7()
	if err != nil {
		panic("attestor: the system has no randomness") // crypto/rand does not fail on supported systems
	}
	return id.String()
}

// localJudge is the judge in this process.
type localJudge struct {
	engine *engine
	caller attestor.Caller
	notice io.Writer // progress
}

func (l *localJudge) Admit(ctx context.Context, r judgeRequest) (attestor.Decision, error) {
	if r.Wait > 0 {
		defer saysThatItWaits(l.notice, r.Image.String(), r.Wait)()
	}
	return l.engine.gate.Admit(ctx, attestor.Request{
		Image: r.Image, Caller: l.caller, DryRun: r.DryRun, Policy: r.Policy, Platforms: r.Platforms,
		Wait: r.Wait, BreakGlass: r.BreakGlass, Labels: r.Labels,
	})
}

func (l *localJudge) Close() error { return l.engine.close() }

// engineFlags say where decisions are made.
type engineFlags struct {
	server    string
	config    string
	remoteEmu bool
	policies  []string
	scans     []string
	wrap      func(http.RoundTripper) http.RoundTripper // of what is asked of registries; nil: none
	heard     func(attestor.Record)                     // of what was recorded; nil: nobody
	identity  tokenFlags
}

func (f *engineFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.server, "server", os.Getenv("ATTESTOR_SERVER"), "ask the service at this `URL` (also ATTESTOR_SERVER)")
	c.Flags().StringVar(&f.config, "config", "", "run in this process by this configuration `FILE`; attestor.yaml where there is one")
	c.Flags().BoolVar(&f.remoteEmu, "allow-remote-emulator", false, "accept *_EMULATOR_HOST on another machine")
	f.identity.register(c)
}

const defaultConfig = "attestor.yaml"

// judge is the service where --server names one, else an engine.
func (f *engineFlags) judge(c *cobra.Command) (judge, error) {
	if f.server != "" {
		if f.config != "" {
			return nil, errors.New("--server and --config exclude each other: a service has its own configuration")
		}
		if len(f.policies) > 0 || len(f.scans) > 0 {
			return nil, errors.New("--policy and --scan judge in this process: leave out --server")
		}
		token, err := f.identity.source(f.server, os.Getenv)
		if err != nil {
			return nil, err
		}
		return newClient(f.server, token, c.ErrOrStderr())
	}
	e, err := f.engine(c)
	if err != nil {
		return nil, err
	}
	return &localJudge{engine: e, caller: attestor.LocalCaller(currentUser()), notice: c.ErrOrStderr()}, nil
}

// engine starts the stages in this process.
func (f *engineFlags) engine(c *cobra.Command) (*engine, error) {
	path := f.config
	if path == "" {
		if _, err := os.Stat(defaultConfig); err != nil {
			return nil, errors.New("there is neither --server nor --config, and no attestor.yaml here: name a service, or a configuration to judge by; `attestor dev` starts one to try")
		}
		path = defaultConfig
	}
	conf, err := loadConfig(path, os.Getenv)
	if err != nil {
		return nil, err
	}
	if len(f.policies) > 0 {
		conf.Policies = f.policies
	}
	conf.scans, conf.wrap, conf.heard = f.scans, f.wrap, f.heard
	emulators, err := findEmulators(os.Getenv, f.remoteEmu)
	if err != nil {
		return nil, err
	}
	log := newLogger(c.ErrOrStderr(), slog.LevelWarn)
	return newEngine(c.Context(), conf, emulators, log)
}

func currentUser() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprintf("uid %d", os.Getuid())
}

// newLogger writes what Cloud Logging reads, and nothing under a key that is
// not on the list.
func newLogger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(telemetry.NewLogHandler(w, level, os.Getenv("GOOGLE_CLOUD_PROJECT")))
}
