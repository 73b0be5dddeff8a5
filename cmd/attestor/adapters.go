package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/policy"
	"github.com/attestor-gate/attestor/server"
)

// decisions lends the record to the service.
type decisions struct{ store store }

func (d decisions) Decision(ctx context.Context, id string) (attestor.Record, error) {
	return d.store.Record(ctx, id)
}

func (d decisions) List(ctx context.Context, f server.DecisionFilter) (server.DecisionPage, error) {
	filter := audit.Filter{
		Image: f.Image, Repository: f.Repository, Verdict: f.Verdict, Policy: f.Policy, Since: f.Since, Until: f.Until,
		Period: f.Period, Visible: f.Visible, BreakGlass: f.BreakGlass,
	}
	page, err := d.store.List(ctx, filter, f.PageSize, f.PageToken)
	if err != nil {
		return server.DecisionPage{}, err
	}
	return server.DecisionPage{Decisions: page.Decisions, NextPageToken: page.Next}, nil
}

// policies lends what is in force to the service.
type policies struct{ watcher *policy.Watcher }

func (p policies) All() []server.PolicyInfo {
	var out []server.PolicyInfo
	for _, pol := range p.watcher.Set().All() {
		info := server.PolicyInfo{PolicyRef: pol.Ref(), Text: string(pol.Text())}
		for _, pattern := range pol.Images() {
			info.Images = append(info.Images, pattern.String())
		}
		out = append(out, info)
	}
	return out
}

// attestations lends what stands, and its revocation, to the service.
type attestations struct{ engine *engine }

func (a attestations) Standing(ctx context.Context, img attestor.Image) (attestor.Standing, error) {
	return a.engine.attester.Standing(ctx, a.engine.attestorNames(), []attestor.Image{img})
}

func (a attestations) Revoke(ctx context.Context, r server.Revocation) ([]attestor.Attestation, error) {
	return a.engine.revoke(ctx, r.Image, r.Reason, r.Caller, r.RequestID)
}

func (e *engine) attestorNames() []string {
	var names []string
	for _, a := range e.config.Attestors {
		names = append(names, a.Name)
	}
	return names
}

// simulateFor bounds one simulation: the service could not write its answer
// much later.
const simulateFor = 2 * time.Minute

// simulator judges the record by another policy.
type simulator struct{ store store }

func (s simulator) Simulate(ctx context.Context, r server.SimulationRequest) (server.Simulation, error) {
	set, err := policy.Parse(policy.Source{Name: "policy", Text: r.Policy})
	if err != nil {
		return server.Simulation{}, &attestor.Error{Kind: attestor.Invalid, Msg: err.Error()}
	}
	all := set.All()
	if len(all) != 1 {
		return server.Simulation{}, &attestor.Error{Kind: attestor.Invalid, Msg: "want one policy"}
	}
	ctx, cancel := context.WithTimeout(ctx, simulateFor)
	defer cancel()
	got, err := policy.Simulate(set, s.store.Records(ctx, audit.Filter{Since: r.Since, Visible: r.Visible}))
	if err != nil {
		return server.Simulation{}, err
	}

	return server.Simulation{
		Policy: all[0].Ref(), Since: r.Since, Judged: got.Judged,
		Counts: server.SimulationCounts{Before: got.Before, After: got.After}, Flips: got.Flips,
	}, nil
}

// recover completes what a crash left begun, here or in an instance that is
// gone: first what was being replaced, then what was being recorded. The
// service answers meanwhile; nothing that is only begun counts as a pass.
func (e *engine) recover(ctx context.Context) {
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	for {
		if err := e.recoverOnce(ctx); err != nil && ctx.Err() == nil {
			e.log.ErrorContext(ctx, "what a crash left begun could not be completed yet", slog.String("error", err.Error()))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (e *engine) recoverOnce(ctx context.Context) error {
	if err := e.attester.Recover(ctx); err != nil {
		return err
	}
	// Younger ones may be at work still: in another process, or, where none has
	// the record open, in this one.
	l := e.config.Limits
	age := time.Duration(l.MaxWait) + time.Duration(l.Deadline) + 2*time.Duration(l.Settle)
	if e.store.Alone() {
		age = min(age, time.Since(e.started))
	}
	pending, err := e.store.Pending(ctx, age)
	if err != nil {
		return err
	}
	for _, r := range pending {
		if r.Decision.Policy == nil {
			if _, err := e.completeRevocation(ctx, r); err != nil {
				return err
			}
			continue
		}
		set, err := policy.Parse(policy.Source{Name: r.Decision.Policy.Name + ".yaml", Text: r.PolicyText})
		if err != nil {
			return err
		}
		judged, ok := set.Named(r.Decision.Policy.Name)
		if !ok {
			continue // the text is stored by its digest; it holds the policy it was stored for
		}
		d, err := e.gate.Recover(ctx, r, judged)
		if err != nil {
			return err
		}
		e.log.LogAttrs(ctx, slog.LevelWarn, "completed a decision that a crash had left begun", d.LogAttrs()...)
	}
	return nil
}
