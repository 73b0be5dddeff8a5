package engine

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/probe"
	"github.com/attestor-gate/attestor/report"
	"github.com/attestor-gate/attestor/server"
	"github.com/attestor-gate/attestor/server/admission"
)

// basesEvery is how often the tags of approved bases are looked up.
const basesEvery = time.Minute

// Serve answers on ln until ctx ends, and meanwhile completes what a crash left.
// It closes ln.
func (e *Engine) Serve(ctx context.Context, ln net.Listener) error {
	return e.serve(ctx, ln, net.Listen)
}

// listen opens a listener, as net.Listen does.
type listen func(network, address string) (net.Listener, error)

func (e *Engine) serve(ctx context.Context, ln net.Listener, open listen) (err error) {
	s, err := e.newService()
	if err != nil {
		return errors.Join(err, ln.Close())
	}

	// Ended with the service, whatever ends it, and before the record and the clients of other services are closed.
	work := newBackground(ctx)
	defer func() {
		if !work.end() {
			e.log.WarnContext(ctx, "some work in the background did not end; what it had begun is finished at the next start")
		}
	}()
	e.begin(work, s)

	// A gate whose admission is gone answers no cluster, and says nothing of that to whoever asks whether it is ready: it
	// ends, as it does without its other listener, so that it is started anew.
	serving, end := context.WithCancel(ctx)
	defer end()
	if e.Config.Admission != nil {
		stopped, fault := e.serveAdmission(work, s.Server, open)
		if fault != nil {
			return errors.Join(fault, ln.Close())
		}
		ended := make(chan error, 1)
		work.do(func(context.Context) {
			ended <- <-stopped
			end()
		})
		defer func() {
			work.stop()
			err = errors.Join(err, <-ended)
		}()
	}

	// Admission listens by now: a cluster that waits for this line can ask.
	e.log.InfoContext(ctx, "listening", slog.String("listen", ln.Addr().String()), slog.String("version", e.o.Version))
	return s.Serve(serving, ln)
}

// begin begins what is done beside requests.
func (e *Engine) begin(work *background, s *service) {
	work.do(e.Policies.Run)
	if e.teams != nil {
		work.do(e.teams.Run)
	}
	work.do(func(ctx context.Context) {
		if err := probe.Errors(e.probePolicies(ctx)); err != nil {
			e.log.ErrorContext(ctx, "policies name unconfigured attestors or keys", slog.String("error", err.Error()))
		}
	})
	work.do(func(ctx context.Context) {
		if err := probe.Errors(s.who(ctx)); err != nil && ctx.Err() == nil {
			e.log.ErrorContext(ctx, "issuers' keys cannot be read, and so their callers are refused",
				slog.String("error", err.Error()))
		}
	})

	// A service without attestors has nothing to warm.
	if e.Attester != nil {
		work.do(e.Attester.Warm)
	}
	work.do(e.recoverUntilDone)
	work.do(e.refreshBases)
	if e.Config.Store.SQLite != "" { // a file is for one instance
		work.do(func(ctx context.Context) { e.expireOverrides(ctx, s.Server) })
	}
	work.do(e.keepLog)
	work.do(e.copyLog)
	work.do(e.witnessLog)
	work.do(e.enterLog)
	if e.courier != nil {
		work.do(e.keepOutbox)
		work.do(e.courier.Run)
	}
	work.do(e.recordPolicies)
}

// ServeOnly answers on ln as [Engine.Serve] does, without admission and without any
// work beside requests: every call of the gate is then a request's.
func (e *Engine) ServeOnly(ctx context.Context, ln net.Listener) error {
	s, err := e.newService()
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	return s.Serve(ctx, ln)
}

// service is the HTTP service, joined to the stages.
type service struct {
	*server.Server
	who func(context.Context) []probe.Result // fetches what identifies callers, from each issuer
}

func (e *Engine) newService() (*service, error) {
	// Before anything is opened: an override that nothing would end must not be given.
	if err := e.checkOverrides(e.Policies.Set()); err != nil {
		return nil, err
	}
	who, err := newIdentity(context.Background(), e.Config.Identity, e.log)
	if err != nil {
		return nil, err
	}
	if e.teams = who.teams; e.teams != nil {
		e.metrics.MustRegister(teamGauges(e.teams)...)
	}
	html, problem, err := newPages(e)
	if err != nil {
		return nil, err
	}
	rules, err := e.newPostures()
	if err != nil {
		return nil, err
	}

	var key []byte
	if name := e.Config.Telemetry.HashKey; name != "" {
		if key, err = os.ReadFile(name); err != nil {
			return nil, fmt.Errorf("telemetry.hashKey: %w", err)
		}
	}

	// Without a record nothing is known of overrides: "none" would be a claim.
	overrides := e.Store.OpenOverrides
	if e.Config.Store.None {
		overrides = nil
	}

	l := e.Config.Limits
	s, err := server.New(server.Config{
		Gate: e.gate, Identity: who.verifier, Now: time.Now,
		Decisions: decisions{e.Store}, History: e.history(), Policies: policies{e.Policies},
		Attestations: attestations{e}, Overrides: overrides, Simulator: simulator{e.Store}, Posture: rules,
		Log: e.servedLog(), Prune: e.servedPrune(), Outbox: e.servedOutbox(), Pages: html, ProblemPage: problem,
		Text: e.decisionText, Watch: e.watch(), Ready: e.ready,
		Limits: server.Limits{
			MaxWait: time.Duration(l.MaxWait), Concurrent: l.Concurrency, Queue: l.Queue, CallerRate: l.CallerRate,
			TeamRate: l.TeamRate,
		},
		Logger: e.log, Registry: e.metrics, HashKey: key, Tracer: e.tracer,
	})
	return &service{s, who.issuers}, err
}

// serveAdmission answers AdmissionReviews on their own listener until the work ends;
// the channel says when it has stopped, and why where that is not this end.
func (e *Engine) serveAdmission(work *background, srv *server.Server, open listen) (<-chan error, error) {
	c := e.Config.Admission
	conf := admission.Config{
		Mode: admission.Mode(c.Mode), Policies: e.Policies, Attestations: attestations{e},
		Judge: srv.Admit, Exempt: c.Exempt, Overrides: e.Store.OpenOverrides, Logger: e.log,
	}
	if c.Record {
		conf.Record = e.recordAdmission
	}
	h, err := admission.New(conf)
	if err != nil {
		return nil, err
	}

	// Made before it listens: a wrong configuration leaves no port open.
	ln, err := open("tcp", c.Listen)
	if err != nil {
		return nil, err
	}

	if c.UnsafeOpen {
		e.log.WarnContext(
			work.ctx,
			"admission answers whoever can reach it: admission.unsafeOpen is set",
			slog.String("listen", c.Listen),
		)
	} else {
		// The API server sends no token: its certificate is what identifies it.
		identified, err := admission.TLS(c.Cert, c.Key, c.ClientCA)
		if err != nil {
			return nil, errors.Join(err, ln.Close())
		}
		ln = tls.NewListener(ln, identified)
	}

	stopped := make(chan error, 1)
	work.do(func(ctx context.Context) {
		err := srv.ServeHandler(ctx, ln, h)
		if err != nil {
			err = fmt.Errorf("admission: %w", err)
		}
		stopped <- err
	})
	return stopped, nil
}

// recordAdmission records what was decided about one image of a review.
func (e *Engine) recordAdmission(ctx context.Context, r attestor.Record) error {
	r.Decision.ID, r.Decision.Time, r.Decision.Emulated = newID(), time.Now().UTC(), e.Google.Emulated
	_, err := e.Store.Finish(ctx, r)
	return err
}

// refreshBases keeps what the tags of approved bases name, off the request path.
func (e *Engine) refreshBases(ctx context.Context) {
	ticker := time.NewTicker(basesEvery)
	defer ticker.Stop()

	// Each round reads the policies in force anew.
	for {
		var bases []attestor.ApprovedBase
		for _, p := range e.Policies.Set().All() {
			bases = append(bases, p.Needs().Bases...)
		}
		if err := e.Inspector.RefreshBases(ctx, bases); err != nil && ctx.Err() == nil {
			e.log.WarnContext(ctx, "some approved bases could not be looked up", slog.String("error", err.Error()))
		}

		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// decisionText is a decision as `attestor attest` prints it.
func (e *Engine) decisionText(d attestor.Decision) ([]byte, error) {
	var b bytes.Buffer
	err := report.Write(&b, report.Text, report.Decisions([]attestor.Decision{d}), report.Options{Version: e.o.Version})
	return b.Bytes(), err
}
