package event_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/event"
	"github.com/attestor-gate/attestor/internal/testkit/schemas"
)

var at = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// denied is a decision with everything that must not reach every receiver.
func denied() attestor.Decision {
	reason := attestor.Reason{Code: attestor.CodeUserRoot, Severity: attestor.Refuses, Subject: "root", Message: "SECRET message"}
	return attestor.Decision{
		ID: "1", Time: at, Verdict: attestor.Deny, Labels: map[string]string{"team": "SECRET label"},
		Image:      attestor.DecidedImage{Requested: "r.example/app:v1", Reference: "r.example/app@sha256:" + strings.Repeat("a", 64)},
		Caller:     attestor.CallerRef{Subject: "SECRET caller", Issuer: "https://issuer.example"},
		Policy:     &attestor.PolicyRef{Name: "production", Mode: attestor.Enforce},
		Checks:     []attestor.Check{{Name: attestor.CheckUser, Status: attestor.StatusDeny, Reasons: []attestor.Reason{reason, reason}}},
		BreakGlass: &attestor.BreakGlass{Reason: "SECRET reason", By: "SECRET caller", Expires: &at},
	}
}

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := event.Schema()
	if err != nil {
		t.Fatal(err)
	}
	return schemas.Compile(t, text)
}

// Every receiver gets an event of the published schema, and no more than it includes.
func TestReceiversSeeWhatTheyInclude(t *testing.T) {
	t.Parallel()
	s := schema(t)
	e := event.New(event.OverrideUsed, "1", at, "r.example/app@sha256:aa", event.OfDecision(denied()))
	for _, tt := range []struct {
		parts []event.Part
		sees  []string
	}{
		{nil, nil},
		{[]event.Part{event.Labels}, []string{"label"}},
		{[]event.Part{event.Callers}, []string{"caller"}},
		{[]event.Part{event.Text}, []string{"message", "reason"}},
		{event.Parts(), []string{"label", "caller", "message", "reason"}},
	} {
		b, err := e.Encode("https://gate.example", tt.parts)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(doc); err != nil {
			t.Errorf("%v: %s: %v", tt.parts, b, err)
		}
		for _, secret := range []string{"label", "caller", "message", "reason"} {
			want := false
			for _, seen := range tt.sees {
				want = want || seen == secret
			}
			if got := strings.Contains(string(b), "SECRET "+secret); got != want {
				t.Errorf("%v: %s shown %t, want %t: %s", tt.parts, secret, got, want, b)
			}
		}
	}
	if e.Data.Reasons[0].Message == "" {
		t.Error("encoding for one receiver took the message from the next")
	}
}

// What a schema must refuse, so that it can fail.
func TestTheSchemaRefuses(t *testing.T) {
	t.Parallel()
	s := schema(t)
	good, err := event.New(event.DecisionDenied, "1", at, "", event.Data{}).Encode("https://gate.example", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, replace := range [][2]string{
		{`"specversion":"1.0"`, `"specversion":"0.3"`}, {`"type":"decision.denied"`, `"type":"decision.unknown"`},
		{`"id":"decision-denied-1"`, `"id":""`}, {`"data":{}`, `"data":{"codes":"one"}`}, {`"time":"2026`, `"time":"yesterday`},
	} {
		changed := strings.Replace(string(good), replace[0], replace[1], 1)
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(changed))
		if err != nil || changed == string(good) {
			t.Fatalf("%s, %v", changed, err)
		}
		if s.Validate(doc) == nil {
			t.Errorf("%s is accepted", changed)
		}
	}
}

// An event of a decision that has as much of everything as a decision may have stays small.
func TestEventsAreBounded(t *testing.T) {
	t.Parallel()
	d := denied()
	long := strings.Repeat("ü\x00", 100_000)
	d.Labels = map[string]string{}
	for n := range 1000 {
		d.Labels[strings.Repeat("l", n+1)] = long
		d.Checks[0].Reasons = append(d.Checks[0].Reasons,
			attestor.Reason{Code: attestor.CodeUserRoot, Severity: attestor.Refuses, Subject: long, Message: long})
		d.Attestations = append(d.Attestations, attestor.Attestation{Attestor: "projects/p/attestors/a", Digest: "sha256:aa"})
	}
	d.BreakGlass.Reason, d.RequestID, d.Caller.Subject = long, long, long
	b, err := json.Marshal(event.New(event.DecisionDenied, "1", at, "", event.OfDecision(d)))
	if err != nil || len(b) > 200_000 || strings.Contains(string(b), `\u0000`) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if got := event.OfDecision(d); len(got.Codes) != 1 || got.ReasonsOmitted != 1002-20 {
		t.Errorf("%d codes, %d reasons omitted", len(got.Codes), got.ReasonsOmitted)
	}
}
