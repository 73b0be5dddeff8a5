package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/probe"
	"github.com/attestor-gate/attestor/server"
	"github.com/attestor-gate/attestor/server/admission"
)

// preflightFor is how long a good preflight is believed: it asks Google five
// times for each attestor, and probes come every few seconds.
const preflightFor = 30 * time.Second

// Names of checks that are asked in a way of their own.
const (
	record    = "record"
	attestors = "attestors"
)

// nobodyAsked is no question to any issuer.
func nobodyAsked(context.Context) []probe.Result { return nil }

// A check asks about something that the gate depends on.
type check struct {
	name  string // as /ready calls it
	ready bool   // /ready asks it
	start bool   // serve --check asks it
	ask   func(context.Context) []probe.Result
}

// checks is the one list of what the gate depends on. /ready, serve --check and doctor each take their part of it, so
// that a dependency is described once and no two of them disagree. Doctor takes all. who asks the issuers of callers'
// tokens.
func (e *Engine) checks(who func(context.Context) []probe.Result) []check {
	return []check{
		{name: record, ready: true, ask: e.probeRecord},
		{name: attestors, ready: true, start: true, ask: e.probeAttestors},
		{name: summaryKeys, ready: true, start: true, ask: e.probeSummaryKeys},
		{name: summaryDeletion, ready: true, ask: e.probeSummaryDeletion},
		{name: "policies", ready: true, start: true, ask: e.probeLoaded},
		{name: "policies' needs", start: true, ask: e.probePolicies},
		{name: "overrides", ask: e.probeOverrides}, // a service with one that cannot be ended does not start
		{name: "teams", ready: true, ask: e.probeTeams},
		{name: "identity", start: true, ask: who},
		{name: "admission", start: true, ask: e.probeAdmission},
		{name: "log", ask: e.probeLogKey},
		{name: "log's checkpoints", ask: e.probeLogKept},
		{name: "attestations", ask: e.probeAttestationProjects},
		{name: "scans", ask: e.probeScans},
		{name: "registries", ask: e.probeRegistries},
		{name: "bases", ask: e.probeBases},
		{name: "repositories", ask: e.probeRepositories},
		{name: "topic", ask: e.probeTopic},
		{name: "traces", ask: e.probeCollector},
	}
}

// Check finds everything that would keep the service from starting, from knowing
// its callers, or from signing: configuration, files, issuers' keys, attestors,
// and what policies name. It asks Google and the issuers.
func (e *Engine) Check(ctx context.Context) error {
	who := nobodyAsked
	s, err := e.newService()
	if err == nil {
		who = s.who
	}

	// The service is made as for serving, so that its own refusals are among the errors.
	errs := []error{err}
	for _, c := range e.checks(who) {
		if c.start {
			errs = append(errs, probe.Errors(c.ask(ctx)))
		}
	}

	// A gate that runs serves the other teams. What is about to be deployed can still be mended.
	if e.teams != nil {
		errs = append(errs, e.teams.Err())
	}
	return errors.Join(errs...)
}

// ready lists what must work for images to be admitted.
func (e *Engine) ready(ctx context.Context) []server.Condition {
	var out []server.Condition
	for _, c := range e.checks(nobodyAsked) {
		if !c.ready {
			continue
		}

		// What the configuration does not have is no condition.
		if e.summaries == nil && (c.name == summaryKeys || c.name == summaryDeletion) {
			continue
		}
		if e.teams == nil && c.name == "teams" {
			continue
		}
		condition := server.Condition{Name: c.name}
		switch c.name {
		case attestors:
			condition.Err = e.preflight(ctx)
		default:
			// Informational is what fails only if nothing else does.
			condition.Informational = true
			for _, r := range c.ask(ctx) {
				condition.Err = errors.Join(condition.Err, r.Err)
				condition.Informational = condition.Informational && (r.Err == nil || r.Informational)
			}
		}
		out = append(out, condition)
	}
	return out
}

// preflight is the attestors' preflight, asked again only after a while once it
// was good. One that failed is asked again at once.
func (e *Engine) preflight(ctx context.Context) error {
	e.checked.Lock()
	defer e.checked.Unlock()

	// The lock is held while Google is asked: of probes at one time one asks, and the others take its answer.
	if time.Since(e.good) < preflightFor {
		return nil
	}

	err := e.Attester.Preflight(ctx)
	if err == nil {
		e.good = time.Now()
	}
	return err
}

// probeLoaded reports whether the policies in force are those on the disk. Where a gate runs, those from before go on
// deciding, so that this is informational; a gate that is to start has none.
func (e *Engine) probeLoaded(context.Context) []probe.Result {
	r := probe.Ask("policies", joined(e.Config.Policies), "they load", 0, e.Policies.Err)
	r.Informational = e.o.policies == nil
	return []probe.Result{r}
}

// probeRecord commits a write as a decision does.
func (e *Engine) probeRecord(ctx context.Context) []probe.Result {
	return []probe.Result{probe.Ask("record", "the decision store", "a decision can be written", 0, func() error {
		return e.Store.Ready(ctx)
	})}
}

func (e *Engine) probeAttestors(ctx context.Context) []probe.Result { return e.Attester.Probe(ctx) }

// probePolicies finds what policies name and the configuration or the disk does
// not have, before an image depends on it: attestors, and the keys and roots of
// bases' signatures.
func (e *Engine) probePolicies(ctx context.Context) []probe.Result {
	configured := e.Config.AttestorNames()
	var out []probe.Result
	for _, p := range e.Policies.Set().All() {
		policy := "policy " + p.Ref().Name
		out = append(out, probe.Ask("policies", policy, "its attestors are configured", 0, func() error {
			var errs []error
			for _, name := range p.Needs().Attest.All() {
				if !slices.Contains(configured, name) {
					errs = append(errs, &attestor.Error{
						Kind: attestor.Invalid,
						Msg:  fmt.Sprintf("%s: attestor %s is not in the configuration's attestors", policy, name),
						Fix:  "add it to attestors with its key, or remove it from the policy",
					})
				}
			}
			return errors.Join(errs...)
		}))

		if n := p.Needs().Attest.Summary; n != nil {
			out = append(out, probe.Ask("policies", policy, "its summaries can be signed", 0, func() error {
				switch v := e.Config.VSA; {
				case v == nil:
					return &attestor.Error{
						Kind: attestor.Invalid, Msg: policy + " asks for verification summaries, and the " +
							"configuration has no vsa",
						Fix: "add vsa with its keys to the configuration, or remove spec.attest.vsa from the policy",
					}
				case n.Refusals && v.Refused == nil:
					return &attestor.Error{
						Kind: attestor.Invalid,
						Msg: policy + " asks for summaries of refusals, and the configuration " +
							"has no vsa.refused",
						Fix: "add vsa.refused with its key to the configuration, or set the policy's " +
							"spec.attest.vsa.publish to passed",
					}
				}
				return nil
			}))
		}

		// Bases without a signature need no key.
		for _, b := range p.Needs().Bases {
			if b.SignedBy == nil {
				continue
			}
			question := "what verifies signatures of base " + b.Name + " can be read"
			out = append(out, probe.Ask("policies", policy, question, 0, func() error {
				if err := e.signatures.Validate(ctx, *b.SignedBy); err != nil {
					return fmt.Errorf("%s: base %s: %w", policy, b.Name, err)
				}
				return nil
			}))
		}
	}
	return out
}

// probeOverrides reports overrides that nothing would end.
func (e *Engine) probeOverrides(context.Context) []probe.Result {
	return []probe.Result{probe.Ask("policies", "all policies", "their overrides are ended", 0, func() error {
		return e.checkOverrides(e.Policies.Set())
	})}
}

// probeAdmission reads the files by which the API server and the gate know each other.
func (e *Engine) probeAdmission(context.Context) []probe.Result {
	a := e.Config.Admission

	// An open listener reads no certificate.
	if a == nil || a.UnsafeOpen {
		return nil
	}

	asked := probe.Ask("admission", a.Listen, "certificate, key and client CA can be read", 0, func() error {
		_, err := admission.TLS(a.Cert, a.Key, a.ClientCA)
		return err
	})
	return []probe.Result{asked}
}

// joined lists files for a person.
func joined(files []string) string {
	if len(files) == 1 {
		return files[0]
	}
	return fmt.Sprintf("%s and %d more", files[0], len(files)-1)
}
