package attestor_test

import (
	"errors"
	"reflect"
	"testing"

	"github.com/attestor-gate/attestor"
)

// toldOf lists the reasons of a decision's attest check with a code.
func toldOf(d attestor.Decision, code attestor.Code) (out []attestor.Reason) {
	for _, c := range d.Checks {
		for _, r := range c.Reasons {
			if c.Name == attestor.CheckAttest && r.Code == code {
				out = append(out, r)
			}
		}
	}
	return out
}

// TestSummariesThatStandAreRecorded: revocation finds a summary by the decision that published it, so that a decision
// names each one that stands, whether it passed or not.
func TestSummariesThatStandAreRecorded(t *testing.T) {
	standing := []attestor.Summary{{Digest: digest(1), Result: "PASSED", Reference: "r@sha256:2"}}
	for name, tt := range map[string]struct {
		status attestor.Status
		err    error
	}{
		"a pass":               {attestor.StatusPass, nil},
		"an error afterwards":  {attestor.StatusPass, errors.New("the registry is down")},
		"a refusal":            {attestor.StatusDeny, nil},
		"a refusal with error": {attestor.StatusDeny, errors.New("the registry is down")},
	} {
		s := newStages(t)
		s.standing.Known = true
		s.policy.needs.Attest.Summary = &attestor.SummaryNeeds{Refusals: true}
		s.policy.status["user"] = tt.status
		d, err := publishingGate(t, s, &publisher{standing: standing, err: tt.err}).Admit(t.Context(), attestor.Request{
			Image: reference(t, repository+":v7"), Caller: attestor.LocalCaller("me"),
		})
		if err != nil || !reflect.DeepEqual(d.Summaries, standing) {
			t.Errorf("%s: %+v, %v, want %+v", name, d.Summaries, err, standing)
		}
	}
}

// TestRefusalsThatAreNotPublished: where a refusal should have been published and was not, the denial says so once, as a
// warning; where none was to be published it says nothing.
func TestRefusalsThatAreNotPublished(t *testing.T) {
	down := &publisher{err: errors.New("the registry is down")}
	foreign := &attestor.Error{Kind: attestor.Upstream, Code: attestor.CodeRegistryNotAllowed, Msg: "not asked"}
	for name, tt := range map[string]struct {
		publisher attestor.Summarizer // nil: the gate has no key
		status    attestor.Status
		refusals  bool
		resolve   error
		verdict   attestor.Outcome
		warned    bool
	}{
		"published":             {&publisher{}, attestor.StatusDeny, true, nil, attestor.Deny, false},
		"failed":                {down, attestor.StatusDeny, true, nil, attestor.Deny, true},
		"no key":                {nil, attestor.StatusDeny, true, nil, attestor.Deny, true},
		"no key, not asked for": {nil, attestor.StatusDeny, false, nil, attestor.Deny, false},
		"not asked for":         {down, attestor.StatusDeny, false, nil, attestor.Deny, false},
		"no answer":             {down, attestor.StatusError, true, nil, attestor.Undecided, false},
		"not resolved":          {down, attestor.StatusPass, true, foreign, attestor.Deny, false},
	} {
		s := newStages(t)
		s.standing.Known = true
		s.resolve = tt.resolve
		s.policy.needs.Attest.Summary = &attestor.SummaryNeeds{Refusals: tt.refusals}
		s.policy.status["user"] = tt.status
		d, err := publishingGate(t, s, tt.publisher).Admit(t.Context(), attestor.Request{
			Image: reference(t, repository+":v7"), Caller: attestor.LocalCaller("me"),
		})
		if err != nil || d.Verdict != tt.verdict {
			t.Errorf("%s: %s, %v, want %s", name, d.Verdict, err, tt.verdict)
		}

		told := toldOf(d, attestor.CodeSummaryNotStored)
		if (len(told) == 1) != tt.warned || len(told) > 1 {
			t.Errorf("%s: told %+v, want it told: %t", name, told, tt.warned)
		}
		if len(told) == 1 && told[0].Severity != attestor.Warns {
			t.Errorf("%s: %s by what changes no verdict", name, told[0].Severity)
		}
	}
}

// TestRecoverAnOverrideWithoutSummaries: an override publishes no summary, so that none can be missing, and nobody is
// asked for one.
func TestRecoverAnOverrideWithoutSummaries(t *testing.T) {
	s := newStages(t)
	img := s.resolved.Image
	s.policy.needs.Attest.Summary = &attestor.SummaryNeeds{}
	s.policy.status["user"] = attestor.StatusDeny
	s.standing = attestor.Standing{
		Known: true, Valid: []attestor.Attestation{{Attestor: "projects/p/attestors/a", Digest: img.Digest()}},
	}
	platform := attestor.PlatformEvidence{Child: attestor.Child{Platform: "linux/amd64", Digest: img.Digest()}}
	ref := s.policy.ref
	begun := attestor.Record{
		Evidence: attestor.Evidence{Image: img, Platforms: []attestor.PlatformEvidence{platform}},
		Decision: attestor.Decision{
			ID: "id", Verdict: attestor.Deny, Policy: &ref, BreakGlass: &attestor.BreakGlass{Reason: "an outage"},
		},
	}

	for name, p := range map[string]attestor.Summarizer{"no key": nil, "down": &publisher{err: errors.New("down")}} {
		s.records = nil
		d, err := publishingGate(t, s, p).Recover(t.Context(), begun, s.policy)
		if err != nil || len(toldOf(d, attestor.CodeInterrupted)) != 0 || len(d.Attestations) != 1 {
			t.Errorf("%s: %+v, %v, want the override that was granted", name, d.Checks, err)
		}
	}
}
