package event_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/event"
)

var fieldPattern = regexp.MustCompile(`(?m)^  (optional|repeated) (string|bool|int64) ([a-z_]+) = (\d+);$`)

// rowMessage makes the message of the topic's schema.
func rowMessage(t *testing.T) *dynamicpb.Message {
	t.Helper()
	types := map[string]descriptorpb.FieldDescriptorProto_Type{
		"string": descriptorpb.FieldDescriptorProto_TYPE_STRING, "bool": descriptorpb.FieldDescriptorProto_TYPE_BOOL,
		"int64": descriptorpb.FieldDescriptorProto_TYPE_INT64,
	}
	m := &descriptorpb.DescriptorProto{Name: new("Row")}
	text := string(event.TopicSchema())
	for i, f := range fieldPattern.FindAllStringSubmatch(text, -1) {
		label := descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL
		if f[1] == "repeated" {
			label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED
		}
		m.Field = append(m.Field, &descriptorpb.FieldDescriptorProto{Name: &f[3], Number: new(int32(i + 1)), Type: new(types[f[2]]), Label: &label})
	}
	if len(m.GetField()) != strings.Count(text, ";")-1 || len(m.GetField()) < 20 {
		t.Fatalf("%d fields in %s", len(m.GetField()), text)
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new("row.proto"), Syntax: new("proto2"), MessageType: []*descriptorpb.DescriptorProto{m},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return dynamicpb.NewMessage(file.Messages().ByName("Row"))
}

// Pub/Sub refuses a message that is not of its topic's schema: every row must be.
func TestRowsAreOfTheTopicsSchema(t *testing.T) {
	t.Parallel()
	revoked := event.Data{
		Revocation: "r", Kind: "person", Admitted: []string{"1"}, Reason: "SECRET reason", Image: &event.Image{Reference: "r.example/app"},
		Attestations: []event.Attestation{{Attestor: "projects/p/attestors/a", Digest: "sha256:aa"}}, Caller: &event.Caller{Subject: "SECRET caller"},
	}
	for _, e := range []event.Event{
		event.New(event.DecisionRecorded, "1", at, "", event.OfDecision(denied())),
		event.New(event.DecisionRecorded, "2", at, "", event.OfDecision(attestor.Decision{ID: "2", DurationMS: 1 << 40})),
		event.New(event.AttestationRevoked, "r", at, "", revoked),
		event.New(event.OverrideUsed, "3", at, "", event.Data{}),
	} {
		for _, parts := range [][]event.Part{nil, event.Parts()} {
			b, err := e.EncodeRow(parts)
			if err != nil {
				t.Fatal(err)
			}
			if err := protojson.Unmarshal(b, rowMessage(t)); err != nil {
				t.Errorf("%s: %v", b, err)
			}
			if parts == nil && strings.Contains(string(b), "SECRET") {
				t.Errorf("a row shows what its receiver does not include: %s", b)
			}
			var row map[string]any
			if err := json.Unmarshal(b, &row); err != nil {
				t.Fatal(err)
			}
			if _, err := time.Parse(time.RFC3339Nano, row["time"].(string)); err != nil || row["event_id"] != e.ID {
				t.Errorf("%s: %v", b, err)
			}
		}
	}
	if protojson.Unmarshal([]byte(`{"unknown": 1}`), rowMessage(t)) == nil {
		t.Error("the schema takes anything")
	}
}

// The table has the columns of the topic's schema, or Pub/Sub would not write it.
func TestTheTableFitsTheTopic(t *testing.T) {
	t.Parallel()
	text, err := event.TableSchema()
	if err != nil {
		t.Fatal(err)
	}
	var table []struct{ Name, Type, Mode string }
	if err := json.Unmarshal(text, &table); err != nil {
		t.Fatal(err)
	}
	fields := fieldPattern.FindAllStringSubmatch(string(event.TopicSchema()), -1)
	if len(fields) != len(table) {
		t.Fatalf("%d fields, %d columns", len(fields), len(table))
	}
	// Pub/Sub's documentation of BigQuery subscriptions, "Schema compatibility".
	fits := map[string][]string{"string": {"STRING", "TIMESTAMP", "JSON"}, "bool": {"BOOLEAN"}, "int64": {"INTEGER"}}
	for i, f := range fields {
		c := table[i]
		if c.Name != f[3] || !slices.Contains(fits[f[2]], c.Type) || (c.Mode == "REPEATED") != (f[1] == "repeated") {
			t.Errorf("column %+v of field %v", c, f)
		}
	}
}

var (
	queryPattern  = regexp.MustCompile("(?s)```sql\n(.*?)```")
	stringPattern = regexp.MustCompile(`'[^']*'|` + "`[^`]*`" + `|--[^\n]*`)
	wordPattern   = regexp.MustCompile(`\b[a-z][a-z_0-9]*\b`)
)

// The documented queries name columns of the table, and nothing else but what they name
// themselves.
func TestDocumentedQueriesNameColumns(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	columns := map[string]bool{}
	for _, f := range fieldPattern.FindAllStringSubmatch(string(event.TopicSchema()), -1) {
		columns[f[3]] = true
	}
	queries := queryPattern.FindAllStringSubmatch(string(page), -1)
	if len(queries) < 10 {
		t.Fatalf("%d queries", len(queries))
	}
	for _, q := range queries {
		text := stringPattern.ReplaceAllString(q[1], "")
		known := map[string]bool{}
		for _, a := range regexp.MustCompile(`\bAS ([a-z][a-z_0-9]*)`).FindAllStringSubmatch(text, -1) {
			known[a[1]] = true
		}
		named := 0
		for _, word := range wordPattern.FindAllString(text, -1) {
			if columns[word] {
				named++
			} else if !known[word] {
				t.Errorf("%q is no column and no name of this query:\n%s", word, q[1])
			}
		}
		if named == 0 {
			t.Errorf("no column in\n%s", q[1])
		}
	}
}
