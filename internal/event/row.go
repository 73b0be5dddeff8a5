package event

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// A Row is a decision, override or revocation as a row of a table. Members are absent
// where the record has no value, which a table reads as NULL. New members go to the end:
// the order is that of the fields in the schema of the topic.
type Row struct {
	// EventID is the same for each repetition of a row: count each once.
	EventID string `json:"event_id"`
	// EventType is decision.recorded, override.used, override.expired or attestation.revoked.
	EventType string `json:"event_type"`
	// Time is when it was decided or revoked.
	Time string `json:"time" column:"TIMESTAMP"`
	// Decision is the id of the decision.
	Decision string `json:"decision,omitempty"`
	// Revocation is the id of the revocation.
	Revocation string `json:"revocation,omitempty"`
	// Verdict is pass, deny or error.
	Verdict string `json:"verdict,omitempty"`
	// DryRun says that the decision signed nothing, whatever its verdict.
	DryRun bool `json:"dry_run"`
	// BreakGlass says that a refusal was overridden.
	BreakGlass bool `json:"break_glass"`
	// Emulated says that an emulator stood for Google.
	Emulated bool `json:"emulated"`
	// Image names the image by digest, or as requested where it could not be resolved.
	Image string `json:"image,omitempty"`
	// Repository is the image without tag and digest.
	Repository string `json:"repository,omitempty"`
	// Digest is the image's.
	Digest string `json:"digest,omitempty"`
	// Policy is the name of the policy.
	Policy string `json:"policy,omitempty"`
	// PolicyDigest is of the policy's text.
	PolicyDigest string `json:"policy_digest,omitempty"`
	// PolicyMode is enforce or dryRun.
	PolicyMode string `json:"policy_mode,omitempty"`
	// Codes are the codes of the reasons that refuse.
	Codes []string `json:"codes,omitempty"`
	// Subjects are what these reasons are about, such as CVEs.
	Subjects []string `json:"subjects,omitempty"`
	// DurationMS is how long the decision took, in milliseconds.
	DurationMS int64 `json:"duration_ms,omitempty"`
	// Attestations counts those that were stored, or deleted; 50 at most.
	Attestations int64 `json:"attestations,omitempty"`
	// Attestors are those of these attestations.
	Attestors []string `json:"attestors,omitempty"`
	// Expires is when the override ends.
	Expires string `json:"expires,omitempty" column:"TIMESTAMP"`
	// Kind is who revoked: person, expired or rejudged.
	Kind string `json:"kind,omitempty"`
	// Cause is why an admitted image was revoked.
	Cause string `json:"cause,omitempty"`
	// Admitted are the decisions that had admitted what was revoked.
	Admitted []string `json:"admitted,omitempty"`
	// RequestID is the id of the request.
	RequestID string `json:"request_id,omitempty"`
	// Caller is who asked, overrode or revoked, where the receiver includes callers.
	Caller string `json:"caller,omitempty"`
	// CallerIssuer is who vouches for the caller's name.
	CallerIssuer string `json:"caller_issuer,omitempty"`
	// Reason is what a person wrote, where the receiver includes text.
	Reason string `json:"reason,omitempty"`
	// Labels are the request's, where the receiver includes labels.
	Labels string `json:"labels,omitempty" column:"JSON"`
}

// EncodeRow returns the event as a row, with the parts that a receiver is configured to
// see.
func (e Event) EncodeRow(parts []Part) ([]byte, error) {
	d := e.Data.only(parts)
	r := Row{
		EventID: e.ID, EventType: string(e.Type), Time: e.Time.UTC().Format(time.RFC3339Nano), Decision: d.Decision,
		Revocation: d.Revocation, Verdict: d.Verdict, DryRun: d.DryRun, BreakGlass: d.BreakGlass, Emulated: d.Emulated,
		Codes: d.Codes, DurationMS: d.DurationMS, Attestations: int64(len(d.Attestations)),
		Kind: d.Kind, Cause: d.Cause,
		Admitted: d.Admitted, RequestID: d.RequestID, Reason: d.Reason,
	}

	if d.Image != nil {
		r.Image, r.Repository, r.Digest = d.Image.Reference, d.Image.Repository, d.Image.Digest
	}
	if d.Policy != nil {
		r.Policy, r.PolicyDigest, r.PolicyMode = d.Policy.Name, d.Policy.Digest, d.Policy.Mode
	}
	if d.Caller != nil {
		r.Caller, r.CallerIssuer = d.Caller.Subject, d.Caller.Issuer
	}
	if d.Expires != nil {
		r.Expires = d.Expires.UTC().Format(time.RFC3339Nano)
	}

	// A subject may be in several reasons.
	for _, reason := range d.Reasons {
		if reason.Subject != "" && !slices.Contains(r.Subjects, reason.Subject) {
			r.Subjects = append(r.Subjects, reason.Subject)
		}
	}
	for _, a := range d.Attestations {
		if !slices.Contains(r.Attestors, a.Attestor) {
			r.Attestors = append(r.Attestors, a.Attestor)
		}
	}

	if len(d.Labels) > 0 {
		labels, err := json.Marshal(d.Labels)
		if err != nil {
			return nil, fmt.Errorf("encoding the labels of event %s: %w", e.ID, err)
		}
		r.Labels = string(labels)
	}
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encoding event %s as a row: %w", e.ID, err)
	}
	return b, nil
}

// A column is a member of a [Row].
type column struct {
	name, proto, table, mode string
}

// columns lists the members in their order.
func columns() []column {
	var out []column
	t := reflect.TypeFor[Row]()
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")

		// The topic's and the table's schema come from one list, so that a row fits both.
		c := column{name: name, proto: "string", table: "STRING", mode: "NULLABLE"}
		switch f.Type.Kind() { //nolint:exhaustive // the kinds that a row has
		case reflect.Bool:
			c.proto, c.table = "bool", "BOOLEAN"
		case reflect.Int64:
			c.proto, c.table = "int64", "INTEGER"
		case reflect.Slice:
			c.mode = "REPEATED"
		}
		if special := f.Tag.Get("column"); special != "" {
			c.table = special
		}
		out = append(out, c)
	}
	return out
}

// TopicSchema is the schema of a topic of rows, for Pub/Sub: a Protocol Buffers definition.
// Its messages are published in the JSON encoding.
func TopicSchema() []byte {
	var b strings.Builder
	b.WriteString("syntax = \"proto2\";\n\nmessage Row {\n")

	// Numbers of fields follow the order of members, which never changes.
	for i, c := range columns() {
		label := "optional"
		if c.mode == "REPEATED" {
			label = "repeated"
		}
		fmt.Fprintf(&b, "  %s %s %s = %d;\n", label, c.proto, c.name, i+1)
	}
	b.WriteString("}\n")
	return []byte(b.String())
}

// TableSchema is the schema of a BigQuery table of rows, in the JSON form that bq and
// Terraform read.
func TableSchema() ([]byte, error) {
	type field struct {
		Name string `json:"name"`
		Type string `json:"type"`
		Mode string `json:"mode"`
	}
	var out []field
	for _, c := range columns() {
		out = append(out, field{c.name, c.table, c.mode})
	}
	b, err := json.MarshalIndent(out, "", "  ")
	return append(b, '\n'), err
}
