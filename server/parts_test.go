package server_test

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server"
	"github.com/attestor-gate/attestor/server/watch"
)

// parts are what a server has beside its Gate, over one world. Every one of
// them fails with err while that is set.
type parts struct {
	w        *world
	err      error
	posture  attestor.Outcome
	occur    map[string]watch.Occurrence
	revoked  []server.Revocation
	onRevoke func()
}

// with gives a server all its parts.
func (p *parts) with(c *server.Config) {
	c.Decisions, c.Policies, c.Attestations, c.Simulator, c.Posture = p, p, p, p, p
	c.Watch = &watch.Config{Policies: p.w, Occurrences: p}
}

func (p *parts) Decision(_ context.Context, id string) (attestor.Record, error) {
	if p.err != nil {
		return attestor.Record{}, p.err
	}
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	for _, r := range p.w.records {
		if r.Decision.ID == id {
			return r, nil
		}
	}
	return attestor.Record{}, &attestor.Error{Kind: attestor.NotFound, Msg: "no such decision"}
}

// List is newest first; its token is how many decisions are older, which stays
// true while others are added.
func (p *parts) List(_ context.Context, f server.DecisionFilter) (server.DecisionPage, error) {
	if p.err != nil {
		return server.DecisionPage{}, p.err
	}
	all := p.w.decisions()
	older, err := strconv.Atoi("0" + f.PageToken)
	if f.PageToken == "" {
		older = len(all)
	}
	if err != nil || older > len(all) {
		return server.DecisionPage{}, &attestor.Error{Kind: attestor.Invalid, Msg: "pageToken is not one of this list"}
	}
	page := server.DecisionPage{Decisions: []attestor.Decision{}}
	for i, d := range slices.Backward(all[:older]) {
		ref, err := attestor.ParseReference(d.Image.Reference)
		if err == nil && f.Visible(ref.Repository()) &&
			(f.Image == "" || f.Image == d.Image.Reference || f.Image == d.Image.Requested || f.Image == string(d.Image.Digest)) &&
			(f.Verdict == "" || f.Verdict == d.Verdict) && (f.Repository == "" || f.Repository == ref.Repository()) &&
			(f.Since.IsZero() || !d.Time.Before(f.Since)) && (f.Until.IsZero() || d.Time.Before(f.Until)) {
			if len(page.Decisions) == f.PageSize {
				page.NextPageToken = strconv.Itoa(i + 1)
				break
			}
			page.Decisions = append(page.Decisions, d)
		}
	}
	return page, nil
}

func (p *parts) All() []server.PolicyInfo {
	if p.err != nil {
		panic(p.err)
	}
	return []server.PolicyInfo{{PolicyRef: worldPolicy{p.w}.Ref(), Images: []string{"registry.example/team/**"}, Text: "policy"}}
}

func (p *parts) Standing(ctx context.Context, img attestor.Image) (attestor.Standing, error) {
	if p.err != nil {
		return attestor.Standing{}, p.err
	}
	return p.w.Standing(ctx, nil, []attestor.Image{img})
}

func (p *parts) Revoke(_ context.Context, r server.Revocation) ([]attestor.Attestation, error) {
	if p.err != nil {
		return nil, p.err
	}
	if p.onRevoke != nil {
		p.onRevoke()
	}
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.revoked = append(p.revoked, r)
	var gone []attestor.Attestation
	p.w.standing = slices.DeleteFunc(p.w.standing, func(a attestor.Attestation) bool {
		if a.Digest != r.Image.Digest() {
			return false
		}
		gone = append(gone, a)
		return true
	})
	return gone, nil
}

func (p *parts) Simulate(_ context.Context, r server.SimulationRequest) (server.Simulation, error) {
	if p.err != nil {
		return server.Simulation{}, p.err
	}
	if string(r.Policy) != "good" {
		return server.Simulation{}, &attestor.Error{Kind: attestor.Invalid, Msg: "line 1: not a policy"}
	}
	s := server.Simulation{Policy: worldPolicy{p.w}.Ref(), Since: r.Since, Counts: server.SimulationCounts{Before: map[attestor.Outcome]int{}, After: map[attestor.Outcome]int{}}}
	for _, d := range p.w.decisions() {
		ref, err := attestor.ParseReference(d.Image.Reference)
		if err != nil || !r.Visible(ref.Repository()) {
			continue
		}
		s.Judged++
		s.Counts.Before[d.Verdict]++
		s.Counts.After[attestor.Deny]++
		if d.Verdict != attestor.Deny {
			s.Flips = append(s.Flips, attestor.Flip{Decision: d.ID, Time: d.Time, Image: d.Image.Reference, Before: d.Verdict, After: attestor.Deny, Reasons: []attestor.Reason{{Code: attestor.CodeUserRoot, Message: "runs as root"}}})
		}
	}
	return s, nil
}

func (p *parts) Judge(_ context.Context, document []byte) (server.PostureReport, error) {
	if p.err != nil {
		return server.PostureReport{}, p.err
	}
	if string(document) == "nonsense" {
		return server.PostureReport{}, &attestor.Error{Kind: attestor.Invalid, Msg: "not a service definition"}
	}
	return server.PostureReport{Verdict: p.posture, Findings: []server.PostureFinding{{Rule: "MIN_INSTANCES", Service: "api", Status: attestor.StatusDeny, Message: "no minimum", Fix: "--min-instances=1"}}}, nil
}

func (p *parts) Occurrence(_ context.Context, name string) (watch.Occurrence, error) {
	if p.err != nil {
		return watch.Occurrence{}, p.err
	}
	o, ok := p.occur[name]
	if !ok {
		return watch.Occurrence{}, &attestor.Error{Kind: attestor.NotFound, Msg: "no such occurrence"}
	}
	return o, nil
}

var errBoom = errors.New("boom: secret-detail")
