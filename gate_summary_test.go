package attestor_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
)

// A publisher answers as a test says.
type publisher struct {
	standing []attestor.Summary // of a lookup, and of what is published
	err      error
	asked    []string
}

func (p *publisher) Summarize(_ context.Context, _ attestor.Authorization, begin func() error) (attestor.Summaries, error) {
	p.asked = append(p.asked, "summarize")
	return attestor.Summaries{Standing: p.standing, Left: []attestor.LeftSummary{
		{Reference: "r@sha256:1", Why: "kept", Fix: "grant"}}}, errors.Join(begin(), p.err)
}

func (p *publisher) Refuse(context.Context, attestor.Refusal) (attestor.Summaries, error) {
	p.asked = append(p.asked, "refuse")
	return attestor.Summaries{Standing: p.standing}, p.err
}

func (p *publisher) Stands(context.Context, []attestor.Image, attestor.PolicyRef, attestor.SummaryNeeds) ([]attestor.Summary, error) {
	return p.standing, p.err
}

func publishingGate(t *testing.T, s *stages, p attestor.Summarizer) *attestor.Gate {
	t.Helper()
	g, err := attestor.NewGate(attestor.GateConfig{
		Policies: s, Inspector: s, Scanner: s, Attester: s, Recorder: s, Summarizer: p,
		NewID: s.id, Now: time.Now, Deadline: time.Minute, Settle: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestNoPassWithoutItsSummaries: where the policy asks for summaries, a decision passes only if one of each image
// stands, and nothing is attested otherwise.
func TestNoPassWithoutItsSummaries(t *testing.T) {
	one := []attestor.Summary{{Digest: digest(1), Result: "PASSED", Reference: "r@sha256:2"}}
	for name, tt := range map[string]struct {
		publisher *publisher
		want      attestor.Outcome
	}{
		"published": {&publisher{standing: one}, attestor.Pass},
		"none":      {&publisher{}, attestor.Undecided},
		"failed":    {&publisher{standing: one, err: errors.New("the registry is down")}, attestor.Undecided},
		"no key":    {nil, attestor.Undecided},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStages(t)
			s.standing.Known = true
			s.policy.needs.Attest.Summary = &attestor.SummaryNeeds{Refusals: true}
			var p attestor.Summarizer
			if tt.publisher != nil {
				p = tt.publisher
			}
			d, err := publishingGate(t, s, p).Admit(t.Context(), attestor.Request{
				Image: reference(t, repository+":v7"), Caller: attestor.LocalCaller("me"),
			})
			if err != nil || d.Verdict != tt.want {
				t.Fatalf("got %s, %v, want %s", d.Verdict, err, tt.want)
			}
			if (len(d.Attestations) > 0) != (tt.want == attestor.Pass) {
				t.Errorf("attested %+v with the verdict %s", d.Attestations, d.Verdict)
			}
			left := d.Checks[len(d.Checks)-1].Reasons
			if tt.publisher != nil && !slices.ContainsFunc(left, func(r attestor.Reason) bool { return r.Code == attestor.CodeSummaryNotDeleted }) {
				t.Errorf("what is left is not told: %+v", left)
			}
		})
	}
}

// TestRefusalsArePublishedOnRequest: a denial by an enforcing policy that asks for it, and nothing else; a summary that
// fails changes no denial.
func TestRefusalsArePublishedOnRequest(t *testing.T) {
	for name, tt := range map[string]struct {
		status attestor.Status
		asks   *attestor.SummaryNeeds
		dryRun bool
		asked  []string
	}{
		"a denial":          {attestor.StatusDeny, &attestor.SummaryNeeds{Refusals: true}, false, []string{"refuse"}},
		"not asked for":     {attestor.StatusDeny, &attestor.SummaryNeeds{}, false, nil},
		"no summaries":      {attestor.StatusDeny, nil, false, nil},
		"an error":          {attestor.StatusError, &attestor.SummaryNeeds{Refusals: true}, false, nil},
		"a dry run":         {attestor.StatusDeny, &attestor.SummaryNeeds{Refusals: true}, true, nil},
		"a pass in dry run": {attestor.StatusPass, &attestor.SummaryNeeds{Refusals: true}, true, nil},
	} {
		s := newStages(t)
		s.standing.Known = true
		s.policy.needs.Attest.Summary, s.policy.status["user"] = tt.asks, tt.status
		p := &publisher{err: errors.New("the registry is down")}
		d, err := publishingGate(t, s, p).Admit(t.Context(), attestor.Request{
			Image: reference(t, repository+":v7"), Caller: attestor.LocalCaller("me"), DryRun: tt.dryRun,
		})
		if err != nil || !slices.Equal(p.asked, tt.asked) {
			t.Errorf("%s: asked for %q, %v", name, p.asked, err)
		}
		if tt.status == attestor.StatusDeny && d.Verdict != attestor.Deny {
			t.Errorf("%s: the verdict is %s", name, d.Verdict)
		}
	}
}

// TestRecoverAsksForSummaries: what a crash left is a pass only if its summaries stand, and stays begun while that is
// not known.
func TestRecoverAsksForSummaries(t *testing.T) {
	s := newStages(t)
	img := s.resolved.Image
	s.policy.needs.Attest.Summary = &attestor.SummaryNeeds{}
	s.standing = attestor.Standing{Known: true, Valid: []attestor.Attestation{{Attestor: "projects/p/attestors/a", Digest: img.Digest()}}}
	ref := s.policy.ref
	begun := attestor.Record{
		Evidence: attestor.Evidence{Image: img, Platforms: []attestor.PlatformEvidence{{Child: attestor.Child{Platform: "linux/amd64", Digest: img.Digest()}}}},
		Decision: attestor.Decision{ID: "id", Verdict: attestor.Pass, Policy: &ref},
	}
	one := []attestor.Summary{{Digest: img.Digest(), Result: "PASSED"}}
	for name, tt := range map[string]struct {
		publisher attestor.Summarizer
		want      attestor.Outcome // "": an error
	}{
		"it stands":   {&publisher{standing: one}, attestor.Pass},
		"none stands": {&publisher{}, attestor.Undecided},
		"no key":      {nil, attestor.Undecided},
		"not known":   {&publisher{err: errors.New("down")}, ""},
	} {
		s.records = nil
		d, err := publishingGate(t, s, tt.publisher).Recover(t.Context(), begun, s.policy)
		if d.Verdict != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%s: %s, %v, want %q", name, d.Verdict, err, tt.want)
		}
	}
}

// TestAttestationsOfBeforeMakeNoPass: where the summary of a pass cannot be published, the answer is an error that says so,
// though every attestation stood before.
func TestAttestationsOfBeforeMakeNoPass(t *testing.T) {
	s := newStages(t)
	s.policy.needs.Attest.Summary = &attestor.SummaryNeeds{}
	s.before = []attestor.Attestation{{Attestor: "projects/p/attestors/a", Digest: digest(1)}}
	failed := &attestor.Error{Kind: attestor.Upstream, Code: attestor.CodeSummaryNotStored, Msg: "the registry is read-only", Fix: "grant it"}
	d, err := publishingGate(t, s, &publisher{err: failed}).Admit(t.Context(), attestor.Request{
		Image: reference(t, repository+":v7"), Caller: attestor.LocalCaller("me"),
	})
	if err != nil || d.Verdict != attestor.Undecided {
		t.Fatalf("got %s, %v, want an error", d.Verdict, err)
	}
	if !slices.ContainsFunc(d.Refusals(), func(r attestor.Reason) bool {
		return r.Code == attestor.CodeSummaryNotStored && r.Message == "the registry is read-only"
	}) {
		t.Errorf("the cause is not told: %+v", d.Refusals())
	}
}
