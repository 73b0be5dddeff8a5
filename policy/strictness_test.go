package policy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/policy"
)

// A leaf is one value that the schema describes: its path in messages, its types, and a document that holds it alone.
type leaf struct {
	path  string
	types []string // of JSON schema
	write func(value string) string
}

// leaves walks a schema down to its scalars.
func leaves(s map[string]any, path string, write func(string) string) []leaf {
	var out []leaf
	types := []string{}
	variants := []any{s}
	if list, ok := s["oneOf"].([]any); ok {
		variants = list
	}

	for _, v := range variants {
		variant, _ := v.(map[string]any)
		switch kind, _ := variant["type"].(string); kind {
		case "object":
			properties, _ := variant["properties"].(map[string]any)
			for name, p := range properties {
				next, _ := p.(map[string]any)
				out = append(out, leaves(next, strings.TrimPrefix(path+"."+name, "."), func(v string) string { return write("{" + name + ": " + v + "}") })...)
			}
			if more, ok := variant["additionalProperties"].(map[string]any); ok {
				out = append(out, leaves(more, path+".scope", func(v string) string { return write("{scope: " + v + "}") })...)
			}

		case "array":
			items, _ := variant["items"].(map[string]any)
			out = append(out, leaves(items, path+"[0]", func(v string) string { return write("[" + v + "]") })...)

		default:
			types = append(types, kind)
		}
	}

	if len(types) > 0 {
		out = append(out, leaf{path, types, write})
	}
	return out
}

// faultsAt are what the loader says of a path, each with its place.
func faultsAt(t *testing.T, text, path string) []string {
	t.Helper()
	_, err := policy.Parse(policy.Source{Name: "p.yaml", Text: []byte(text)})
	var all policy.Errors
	if !errors.As(err, &all) {
		t.Fatalf("%s loads: %v", text, err)
	}

	var out []string
	for _, d := range all {
		if d.Path == path {
			if d.Line != 1 || d.Column < 2 {
				t.Errorf("%s: without its place: %+v", text, d)
			}
			out = append(out, d.Message)
		}
	}

	return out
}

// TestScalarsOfEveryField: each boolean, number and text of a policy, as the schema has them, takes its own type as
// YAML 1.2 and JSON write it, and nothing else.
func TestScalarsOfEveryField(t *testing.T) {
	var doc map[string]any
	if err := json.Unmarshal(schemaText(t), &doc); err != nil {
		t.Fatal(err)
	}

	all := leaves(doc, "", func(v string) string { return v })
	count := map[string]int{}

	for _, l := range all {
		wrong := []string{"null", "~"}
		if !strings.HasSuffix(l.path, "]") { // in a list it would be an empty list
			wrong = append(wrong, "")
		}

		var right []string
		switch {
		case slices.Contains(l.types, "boolean"):
			right = []string{"true", "false"}
			wrong = append(wrong, `"true"`, `"false"`, `'false'`, "yes", "no", "on", "off", "True", "FALSE", "y", "0", "1", "!!str true")

		case slices.Equal(l.types, []string{"integer"}):
			right = []string{"1", "2"}
			wrong = append(wrong, `"1"`, `'1'`, "0x1", "0o1", "01", "1_0", "+1", "1.0", "1e0", "true", "one", "2026-11-01", "9223372036854775808")

		case slices.Contains(l.types, "number"):
			right = []string{"0.5", "1", "0"}
			wrong = append(wrong, `"0.5"`, `'1'`, "0x1", "01", "0_1", "+0.5", ".nan", ".inf", "true", "half")

		case slices.Contains(l.types, "integer"): // a duration: 0, or numbers with units
			right = []string{"0", "14d", `"14d"`}
			wrong = append(wrong, "14", "0x0", "1_0d", "true", "1.5", `"14"`)

		default:
			wrong = append(wrong, "true", "1", "1.10", "0x1F", "1_000", ".nan", "{}", "[]")
		}

		count[strings.Join(l.types, " ")]++

		for _, v := range wrong {
			if got := faultsAt(t, l.write(v), l.path); len(got) == 0 {
				t.Errorf("%s: nothing is said about %q", l.path, v)
			}
		}

		for _, v := range right {
			for _, message := range faultsAt(t, l.write(v), l.path) {
				if strings.Contains(message, "is not a") || strings.Contains(message, "is not true") || strings.Contains(message, "is empty") {
					t.Errorf("%s: %s: %s", l.path, v, message)
				}
			}
		}
	}

	if count["boolean"] < 8 || count["integer"] < 2 || count["number"] < 1 || count["string"] < 40 || count["integer string"] < 8 {
		t.Errorf("the schema was not walked in full: %v", count)
	}
}

// TestQuotedScalarsInCases: a test file is read as strictly, down to the evidence that it writes.
func TestQuotedScalarsInCases(t *testing.T) {
	for value, want := range map[string]string{
		`platform: {user: {uid: "0"}}`:                           "7:%d: cases[0].platform.user.uid: \"0\" is not a whole number; remove the quotes",
		`platform: {user: {uid: 0x10}}`:                          "cases[0].platform.user.uid",
		`platform: {user: {configured: 0}}`:                      "cases[0].platform.user.configured: \"0\" is not a text; put it in quotes",
		`platform: {base: {current: yes}}`:                       "cases[0].platform.base.current",
		`platform: {base: {current: "true"}}`:                    "cases[0].platform.base.current",
		`platform: {scan: {findings: [{fixable: on}]}}`:          "cases[0].platform.scan.findings[0].fixable",
		`platform: {scan: {findings: [{epss: "0.5"}]}}`:          "cases[0].platform.scan.findings[0].epss",
		`change: {index: "false"}`:                               "cases[0].change.index",
		`change: {platforms: [{provenance: [{slsaLevel: 03}]}]}`: "cases[0].change.platforms[0].provenance[0].slsaLevel",
		`platforms: {linux/amd64: {user: {uid: '1'}}}`:           "cases[0].platforms.linux/amd64.user.uid",
		`record: 1.10`: "cases[0].record",
		`image: ~`:     "cases[0].image",
	} {
		_, err := runCases(t, "cases:\n  - name: c\n    "+value+"\n    want: {verdict: pass}\n")
		if strings.Contains(want, "%d") {
			want = fmt.Sprintf(want, strings.Index(value, `"0"`)+5)
		}

		var all policy.Errors
		if !errors.As(err, &all) || !strings.Contains(err.Error(), want) || all[0].Line != 7 || all[0].Column < 5 {
			t.Errorf("%s: %v, want %s", value, err, want)
		}
	}

	// What is written as its type is read, null removes, and a time needs no quotes.
	report, err := runCases(t, `given: {labels: {team: "1"}}
cases:
  - name: c
    image: registry.example/acme/prod/api
    change: {uploaded: 2026-11-20T00:00:00Z, left: null}
    platform: {user: {configured: "65532:65532", uid: 65532, gid: 65532}, base: {current: true}}
    want: {verdict: pass}
`)

	if err != nil || report.Failed() != 0 {
		t.Errorf("%+v, %v", report.Results, err)
	}
}

// A given value is checked too: every case starts from it.
func TestQuotedScalarsInGiven(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"strict.yaml": strict, "strict_test.yaml": `apiVersion: attestor/v1
kind: GatePolicyTest
policies: [strict.yaml]
date: 2026-11-20
given: {index: "true"}
cases: [{name: c, want: {verdict: pass}}]
`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	_, err := policy.Test(filepath.Join(dir, "strict_test.yaml"))
	if err == nil || !strings.Contains(err.Error(), "strict_test.yaml:5:16: given.index") {
		t.Errorf("%v", err)
	}
}
