// Package event has the events that the gate sends to others: CloudEvents 1.0 in
// their JSON format. A record writes them beside what they are about, and package courier
// delivers them.
package event

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Type is what has happened. Types are stable: a type never gets another meaning.
type Type string

// The types.
const (
	DecisionDenied  Type = "decision.denied"  // an image was refused, and no dry run
	OverrideUsed    Type = "override.used"    // a refusal was overridden, and the image attested
	OverrideExpired Type = "override.expired" // an override reached its end, and its attestations were deleted
	// attestations were deleted before an end, by a person or by re-judging
	AttestationRevoked Type = "attestation.revoked"
	AdmissionLost      Type = "admission.lost" // an admitted image would be refused now
	PolicyChanged      Type = "policy.changed" // the gate judges by other policies than before
	WatchStalled       Type = "watch.stalled"  // admitted images are not judged again, or overrides do not end

	// DecisionRecorded is each decision, dry runs and passes included. Only receivers
	// that name it get it.
	DecisionRecorded Type = "decision.recorded"
)

// Types lists those that a receiver gets unless it names some.
func Types() []Type {
	return []Type{
		DecisionDenied, OverrideUsed, OverrideExpired, AttestationRevoked, AdmissionLost, PolicyChanged, WatchStalled,
	}
}

// TableTypes lists those that a table of the record has: one row for each decision,
// override and revocation.
func TableTypes() []Type {
	return []Type{DecisionRecorded, OverrideUsed, OverrideExpired, AttestationRevoked}
}

// Known reports whether a type exists.
func (t Type) Known() bool { return t == DecisionRecorded || slices.Contains(Types(), t) }

// ID is the id of the event about a record. It is the same however often the
// event is written or sent. It has no full stop, since Standard Webhooks separate the
// id from what follows it by one.
func (t Type) ID(record string) string {
	return strings.ReplaceAll(string(t), ".", "-") + "-" + strings.ReplaceAll(record, ".", "-")
}

// An Event is what is recorded of an event: everything that some receiver may see.
type Event struct {
	ID      string    `json:"id"`
	Type    Type      `json:"type"`
	Time    time.Time `json:"time"`    // of what has happened
	Subject string    `json:"subject"` // the image by digest; "" where the event is about none
	Data    Data      `json:"data"`
}

// New returns the event of a type about a record.
func New(t Type, record string, at time.Time, subject string, data Data) Event {
	return Event{ID: t.ID(record), Type: t, Time: at.UTC(), Subject: subject, Data: data}
}

// A Part is a part of events that only receivers get that are configured to.
type Part string

// The parts.
const (
	Labels  Part = "labels"  // of requests, as callers set them
	Text    Part = "text"    // reasons that people gave, and messages of refusals
	Callers Part = "callers" // who asked, overrode or revoked
)

// Parts lists every part.
func Parts() []Part { return []Part{Labels, Text, Callers} }

// ContentType is that of an event in the JSON format.
const ContentType = "application/cloudevents+json; charset=utf-8"

// A cloudEvent is an Event as CloudEvents 1.0, "JSON Event Format", has it.
type cloudEvent struct {
	SpecVersion     string    `json:"specversion"`
	ID              string    `json:"id"`
	Source          string    `json:"source"`
	Type            Type      `json:"type"`
	Time            time.Time `json:"time"`
	Subject         string    `json:"subject,omitempty"`
	DataContentType string    `json:"datacontenttype"`
	DataSchema      string    `json:"dataschema"`
	Data            Data      `json:"data"`
}

// DataSchema names the schema of an event's data. docs/schema has it.
const DataSchema = "https://github.com/attestor-gate/attestor/event-v1.json"

// Encode returns the event as a receiver gets it: from source, and with the parts that
// it is configured to see.
func (e Event) Encode(source string, parts []Part) ([]byte, error) {
	b, err := json.Marshal(cloudEvent{
		SpecVersion: "1.0", ID: e.ID, Source: source, Type: e.Type, Time: e.Time, Subject: e.Subject,
		DataContentType: "application/json", DataSchema: DataSchema, Data: e.Data.only(parts),
	})
	if err != nil {
		return nil, fmt.Errorf("encoding event %s: %w", e.ID, err)
	}
	return b, nil
}
