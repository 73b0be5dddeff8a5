package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/attest"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/policy"
	"github.com/attestor-gate/attestor/posture"
	"github.com/attestor-gate/attestor/server"
)

// simulateFor bounds one simulation: the service could not write its answer much
// later.
const simulateFor = 2 * time.Minute

const (
	// simulatePage is after which time a page of a simulation ends: its caller asks for the next one.
	simulatePage = 10 * time.Second
	// simulateBytes bounds the flips of a page, in bytes of JSON.
	simulateBytes = 2 << 20
)

// decisions is the record as package server asks for it.
type decisions struct{ store *audit.Store }

// Decision implements [server.Decisions].
func (d decisions) Decision(ctx context.Context, id string) (attestor.Record, error) {
	return d.store.Record(ctx, id)
}

// Revocation implements [server.Decisions].
func (d decisions) Revocation(ctx context.Context, id string) (attestor.RevocationRecord, error) {
	return d.store.Revocation(ctx, id)
}

// List implements [server.Decisions].
func (d decisions) List(ctx context.Context, f server.DecisionFilter) (server.DecisionPage, error) {
	page, err := d.store.List(audit.MayLag(ctx), f.Filter, f.PageSize, f.PageToken)
	if err != nil {
		return server.DecisionPage{}, err
	}
	return server.DecisionPage{Decisions: page.Decisions, NextPageToken: page.Next}, nil
}

// history is what the service shows of the record beside decisions.
func (e *Engine) history() *server.History {
	return &server.History{
		Revocations: func(ctx context.Context, f server.DecisionFilter) (server.RevocationPage, error) {
			page, err := e.Store.ListRevocations(audit.MayLag(ctx), f.Filter, f.PageSize, f.PageToken)
			return server.RevocationPage{Revocations: page.Revocations, NextPageToken: page.Next}, err
		},
		PolicyChanges: func(ctx context.Context, size int, token string) (server.PolicyChangePage, error) {
			page, err := e.Store.ListPolicyChanges(ctx, size, token)
			return server.PolicyChangePage{Changes: page.Changes, NextPageToken: page.Next}, err
		},
	}
}

// policies are those in force.
type policies struct{ watcher *policy.Watcher }

// All implements [server.Policies].
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

// attestations are those of every configured attestor.
type attestations struct{ engine *Engine }

// Pin implements [server.Attestations].
func (a attestations) Pin(ctx context.Context, ref attestor.Reference) (attestor.Image, error) {
	return a.engine.Inspector.Pin(ctx, ref)
}

// Standing implements [server.Attestations].
func (a attestations) Standing(ctx context.Context, img attestor.Image) (attestor.Standing, error) {
	return a.engine.Attester.Standing(ctx, a.engine.Config.AttestorNames(), []attestor.Image{img})
}

// Revoke implements [server.Attestations].
func (a attestations) Revoke(ctx context.Context, r attestor.Revocation) (attestor.RevocationRecord, error) {
	return a.engine.Revoke(ctx, r)
}

// Revoke deletes what this gate attested to an image, and records it: see
// [attestor.Revoker.Revoke].
func (e *Engine) Revoke(ctx context.Context, r attestor.Revocation) (attestor.RevocationRecord, error) {
	return e.revoker.Revoke(ctx, r)
}

// deleteAttestations is the [attestor.Deletion] of this gate: of what the record
// knows, and of what is listed under the attestors' notes and the policy's own.
func (e *Engine) deleteAttestations(
	ctx context.Context, record attestor.RevocationRecord,
) (attestor.Deleted, error) {
	signed, err := e.Store.AttestedTo(ctx, record.Image)
	if err != nil {
		return attestor.Deleted{}, err
	}

	// What has another ground stays: neither the listing nor the record may bring it in.
	kept := func(d attestor.Digest) bool { return slices.Contains(record.Kept, d) }
	signed.Images = slices.DeleteFunc(signed.Images, func(img attestor.Image) bool { return kept(img.Digest()) })
	signed.Attestations = slices.DeleteFunc(
		signed.Attestations, func(a attestor.Attestation) bool { return kept(a.Digest) },
	)
	signed.Summaries = slices.DeleteFunc(signed.Summaries, func(s attestor.Summary) bool { return kept(s.Digest) })
	if len(signed.Images) == 0 {
		return attestor.Deleted{}, nil
	}

	r := attest.Revocation{Images: signed.Images, Recorded: signed.Attestations}
	var needs attestor.AttestNeeds
	if p, ok := e.Policies.Govern(record.Image.Repository()); ok {
		needs = p.Needs().Attest
		if needs.DSSENote != "" {
			r.Notes = append(r.Notes, needs.DSSENote)
		}
	}

	// Attestations come first: they admit. A failure there does not keep a summary alive.
	var out attestor.Deleted
	out.Attestations, err = e.Attester.Revoke(ctx, r)
	var published error
	out.Summaries, out.Left, published = e.revokeSummaries(ctx, signed, needs)
	return out, errors.Join(err, published)
}

// simulator judges the record by another policy.
type simulator struct{ store *audit.Store }

// Simulate implements [server.Simulator].
func (s simulator) Simulate(ctx context.Context, r server.SimulationRequest) (server.Simulation, error) {
	set, err := policy.Parse(policy.Source{Name: "policy", Text: r.Policy})
	if err != nil {
		return server.Simulation{}, &attestor.Error{Kind: attestor.Invalid, Msg: err.Error()}
	}

	// The answer, and the token of its pages, are about one policy.
	all := set.All()
	if len(all) != 1 {
		return server.Simulation{}, &attestor.Error{Kind: attestor.Invalid, Msg: "want one policy"}
	}

	ctx, cancel := context.WithTimeout(ctx, simulateFor)
	defer cancel()

	// One place says what is judged, and a page is the same with an end. The context is the request's: where its caller
	// has left, the next record is not judged.
	sim, out := policy.NewSimulation(set, r.At), server.Simulation{Policy: all[0].Ref(), Since: r.Since}
	began := time.Now()
	for step, err := range s.store.Walk(audit.MayLag(ctx), simulated(r, out.Policy), r.PageToken, r.Sample) {
		if err != nil {
			return server.Simulation{}, err
		}

		out.Since = step.Since
		if !step.Skipped {
			sim.Add(step.Record, step.Newest)
			out.Reached = step.Record.Decision.Time
		}

		// A page ends by number, by size or by time, whichever is first.
		if r.PageSize > 0 && (sim.Records() >= r.PageSize || sim.Size() > simulateBytes ||
			time.Since(began) > simulatePage) {
			out.NextPageToken = step.Token
			break
		}
	}

	got := sim.Report()
	out.Judged, out.Counts = got.Judged, server.SimulationCounts{Before: got.Before, After: got.After}
	out.Images = server.SimulatedImages(got.Images)
	out.Flips, out.Upcoming = got.Flips, got.Upcoming
	if r.Sample > 1 {
		out.Sample = r.Sample
	}
	return out, nil
}

// simulated selects the decisions of a simulation. A token is bound to the policy and to the text of the period, and
// keeps the instant that the first page began with.
func simulated(r server.SimulationRequest, p attestor.PolicyRef) audit.Filter {
	f := audit.Filter{Since: r.Since, Visible: r.Visible}
	if r.PageSize > 0 {
		f.Period = fmt.Sprintf("simulate %s %s %s %d", p.Digest, r.Period, r.At.UTC().Format(time.DateOnly), r.Sample)
	}
	return f
}

// postures judges documents that callers of the service send.
type postures struct{ judge *posture.Judge }

// newPostures refuses a profile that cannot be read.
func (e *Engine) newPostures() (postures, error) {
	profile, err := posture.LoadProfile(e.Config.PostureProfile)
	if err != nil {
		return postures{}, err
	}

	c := posture.Config{Profile: profile, Now: time.Now}
	if attested := e.Attested(); attested != nil {
		c.Attested = server.VisibleAttested(attested.Attested)
	}
	judge, err := posture.New(c)
	return postures{judge}, err
}

// Judge implements [server.Posture].
func (p postures) Judge(ctx context.Context, document []byte) (attestor.PostureReport, error) {
	r, err := p.judge.Judge(ctx, posture.Input{Definitions: []posture.Source{{Name: "the document", Text: document}}})

	// A request is no file.
	for i := range r.Findings {
		r.Findings[i].File = ""
	}
	return r, err
}
