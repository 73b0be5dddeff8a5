package engine_test

import (
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/samples"
)

// TestWhichOverridesLookLikePasses: an override with attestors of its own can be told from a pass, and one that was not
// attested, or is closed, does not matter.
func TestWhichOverridesLookLikePasses(t *testing.T) {
	t.Parallel()
	const own = "projects/dev/attestors/break-glass"
	text := overriding("{allowed: true}")
	granted := &attestor.BreakGlass{By: "oncall@acme.example", Reason: "INC-1 outage"}
	for _, tt := range []struct {
		name       string
		policy     string
		breakGlass *attestor.BreakGlass
		attested   string // the attestor; "": nobody
		state      *attestor.OverrideState
		want       bool
	}{
		{"by the ordinary attestor", text, granted, samples.Attestor, &attestor.OverrideState{Open: true}, true},
		{"of which the record knows no state", text, granted, samples.Attestor, nil, true},
		{"by an attestor of its own", strings.Replace(text, "{allowed: true}", "{allowed: true, attestors: ["+own+"]}", 1), granted, own, nil, false},
		{"by nobody", text, granted, "", nil, false},
		{"closed", text, granted, samples.Attestor, &attestor.OverrideState{Closed: attestor.ClosedPassed}, false},
		{"no override", text, nil, samples.Attestor, nil, false},
		{"a policy that cannot be read", "kind: GatePolicy", granted, samples.Attestor, nil, false},
	} {
		rec := attestor.Record{PolicyText: []byte(tt.policy), Decision: attestor.Decision{
			Verdict: attestor.Deny, BreakGlass: tt.breakGlass, Policy: &attestor.PolicyRef{Name: "window"}, OverrideState: tt.state,
		}}
		if tt.attested != "" {
			rec.Decision.Attestations = []attestor.Attestation{{Attestor: tt.attested}}
		}
		got := engine.Alike(rec)
		if (len(got) == 1 && got[0] == samples.Attestor) != tt.want || len(got) > 1 {
			t.Errorf("%s: %v, want %t", tt.name, got, tt.want)
		}
	}
}
