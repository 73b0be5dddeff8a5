package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server"
	"github.com/attestor-gate/attestor/server/admission"
	"github.com/attestor-gate/attestor/server/identity"
)

func serveCommand() *cobra.Command {
	var path string
	var checkOnly, remoteEmulator bool
	c := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the HTTP service",
		Long:  "Runs the service. --check validates the configuration, the policies and the attestors, and ends.",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := loadConfig(path, os.Getenv)
			if err != nil {
				return err
			}
			em, err := findEmulators(os.Getenv, remoteEmulator)
			if err != nil {
				return err
			}
			log := serviceLogger(conf, c.ErrOrStderr())
			e, err := newEngine(c.Context(), conf, em, log)
			if err != nil {
				return err
			}
			if checkOnly {
				err := errors.Join(e.checkService(c.Context()), e.attester.Preflight(c.Context()), e.checkPolicies(c.Context()))
				if err == nil {
					fmt.Fprintln(c.OutOrStdout(), "configuration, policies and attestors are good")
				}
				return errors.Join(err, e.close())
			}
			ln, err := net.Listen("tcp", conf.Listen)
			if err != nil {
				return errors.Join(err, e.close())
			}
			return errors.Join(e.serve(c.Context(), ln), e.close())
		},
	}
	c.Flags().StringVar(&path, "config", "", "the configuration `FILE`")
	c.Flags().BoolVar(&checkOnly, "check", false, "validate configuration, policies and attestors, and end")
	c.Flags().BoolVar(&remoteEmulator, "allow-remote-emulator", false, "accept *_EMULATOR_HOST on another machine")
	_ = c.MarkFlagRequired("config")
	return c
}

// checkService finds what would keep the service from starting or from
// knowing its callers: their rights, their issuers' keys, limits, files.
func (e *engine) checkService(ctx context.Context) error {
	_, err := e.server()
	if err == nil {
		err = e.warm(ctx)
	}
	if a := e.config.Admission; a != nil && !a.UnsafeOpen {
		_, tlsErr := admission.TLS(a.Cert, a.Key, a.ClientCA)
		err = errors.Join(err, tlsErr)
	}
	return err
}

// serve answers on ln until ctx ends, having first completed what a crash left
// begun.
func (e *engine) serve(ctx context.Context, ln net.Listener) error {
	srv, err := e.server()
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	background, stop := context.WithCancel(ctx)
	defer stop()
	go e.policies.Run(background)
	go func() {
		if err := e.checkPolicies(background); err != nil {
			e.log.ErrorContext(background, "the policies ask for what is not there", slog.String("error", err.Error()))
		}
	}()
	go func() {
		if err := e.warm(background); err != nil && background.Err() == nil {
			e.log.ErrorContext(background, "issuers' keys cannot be read, and so their callers are refused", slog.String("error", err.Error()))
		}
	}()
	go e.recover(background)
	go e.refreshBases(background)
	if e.config.Admission != nil {
		stopped, err := e.serveAdmission(background, srv)
		if err != nil {
			return errors.Join(err, ln.Close())
		}
		defer func() { stop(); <-stopped }()
	}
	e.log.InfoContext(ctx, "listening", slog.String("listen", ln.Addr().String()), slog.String("version", version))
	return srv.Serve(ctx, ln)
}

// server joins the HTTP service to the stages.
func (e *engine) server() (*server.Server, error) {
	who, err := e.identity()
	if err != nil {
		return nil, err
	}
	e.warm = func(context.Context) error { return nil }
	if tokens, ok := who.(*identity.Tokens); ok {
		e.warm = tokens.Warm
	}
	html, err := newPages(e)
	if err != nil {
		return nil, err
	}
	var key []byte
	if name := e.config.Telemetry.HashKey; name != "" {
		if key, err = os.ReadFile(name); err != nil {
			return nil, fmt.Errorf("telemetry.hashKey: %w", err)
		}
	}
	rules, err := newPostures(e)
	if err != nil {
		return nil, err
	}
	l := e.config.Limits
	return server.New(server.Config{
		Gate: e.gate, Identity: who, Now: time.Now,
		Decisions: decisions{e.store}, Policies: policies{e.policies},
		Attestations: attestations{e}, Simulator: simulator{e.store}, Posture: rules,
		Pages: html, Watch: e.watch(),
		Ready:  e.ready,
		Limits: server.Limits{MaxWait: time.Duration(l.MaxWait), Concurrent: l.Concurrency, Queue: l.Queue, CallerRate: l.CallerRate},
		Logger: e.log, Registry: e.metrics, HashKey: key, Tracer: e.tracer,
	})
}

// refreshBases keeps what the tags of approved bases name, off the request
// path.
func (e *engine) refreshBases(ctx context.Context) {
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	for {
		var bases []attestor.ApprovedBase
		for _, p := range e.policies.Set().All() {
			bases = append(bases, p.Needs().Bases...)
		}
		if err := e.inspector.RefreshBases(ctx, bases); err != nil && ctx.Err() == nil {
			e.log.WarnContext(ctx, "some approved bases could not be looked up", slog.String("error", err.Error()))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// serveAdmission answers AdmissionReviews on their own listener until ctx
// ends; the channel closes when it has stopped.
func (e *engine) serveAdmission(ctx context.Context, srv *server.Server) (<-chan struct{}, error) {
	c := e.config.Admission
	h, err := admission.New(admission.Config{
		Mode: admission.Mode(c.Mode), Policies: e.policies, Attestations: attestations{e}, Judge: srv.Admit, Exempt: c.Exempt, Logger: e.log,
	})
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, err
	}
	if c.UnsafeOpen {
		e.log.WarnContext(ctx, "admission answers whoever can reach it: admission.unsafeOpen is set", slog.String("listen", c.Listen))
	} else {
		conf, err := admission.TLS(c.Cert, c.Key, c.ClientCA)
		if err != nil {
			return nil, errors.Join(err, ln.Close())
		}
		ln = tls.NewListener(ln, conf)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		if err := srv.ServeHandler(ctx, ln, h); err != nil {
			e.log.ErrorContext(ctx, "admission stopped", slog.String("error", err.Error()))
		}
	}()
	return stopped, nil
}

// identity is open on loopback where nothing else is configured; the
// configuration was refused where that could be reached from elsewhere.
func (e *engine) identity() (identity.Verifier, error) {
	c := e.config.Identity
	if c == nil {
		return identity.Open(attestor.LocalCaller(currentUser())), nil
	}
	rules, err := c.rules()
	if err != nil {
		return nil, err
	}
	issuers := []identity.Issuer{}
	for _, i := range c.Issuers {
		issuers = append(issuers, identity.Issuer{URL: i.Issuer, JWKS: i.JWKS})
	}
	return identity.New(identity.Config{
		Audience: c.Audience, Issuers: issuers, Rules: rules, IAPAudience: c.IAPAudience,
		UnsafeTrustPlatform: c.UnsafeTrustPlatform, Now: time.Now, Logger: e.log,
	})
}

const googleIssuer = "https://accounts.google.com"

func (c identityConfig) rules() ([]identity.Rule, error) {
	var rules []identity.Rule
	var errs []error
	for i, caller := range c.Callers {
		r := identity.Rule{Issuer: or(caller.Issuer, googleIssuer), Email: caller.Email, Subject: caller.Subject, Claims: caller.Claims}
		var g attestor.Grant
		for _, a := range caller.Actions {
			g.Actions = append(g.Actions, attestor.Action(a))
		}
		for _, s := range caller.Images {
			p, err := attestor.ParsePattern(s)
			if err != nil {
				errs = append(errs, fmt.Errorf("identity.callers[%d].images: %w", i, err))
			}
			g.Images = append(g.Images, p)
		}
		r.Grants = []attestor.Grant{g}
		rules = append(rules, r)
	}
	return rules, errors.Join(errs...)
}

// preflightFor is how long a good preflight is believed: it asks Google five
// times for each attestor, and probes come every few seconds.
const preflightFor = 30 * time.Second

func (e *engine) preflight(ctx context.Context) error {
	e.flight.Lock()
	defer e.flight.Unlock()
	if time.Since(e.flown) < preflightFor {
		return nil
	}
	err := e.attester.Preflight(ctx)
	if err == nil {
		e.flown = time.Now()
	}
	return err
}

// ready lists what must work for images to be admitted.
func (e *engine) ready(ctx context.Context) []server.Condition {
	return []server.Condition{
		{Name: "record", Err: e.store.Ready(ctx)},
		{Name: "attestors", Err: e.preflight(ctx)},
		{Name: "policies", Err: e.policies.Err(), Aside: true},
	}
}
