package engine_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/samples"
)

var update = flag.Bool("update", false, "write docs/api-answers.md")

// answersPage shows, for each call of the API, an answer that was given.
const answersPage = "../../docs/api-answers.md"

const answersHead = `# Answers of the API

This page is for people who write a client: one answer for each call of the [API](api.md), as the service gave it in the test that writes this page
(` + "`go test ./internal/engine -run TestAnswers -update`" + `). What differs from run to run is replaced: ids, times, digests' ends, durations and signatures.
Long lists are cut, marked by "…".
`

// ephemeral is what differs from run to run, with what stands for it.
var ephemeral = []struct{ pattern, as string }{
	{`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`, "01990000-0000-7000-8000-000000000000"},
	{`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`, "2026-11-29T12:00:00Z"},
	{`127\.0\.0\.1:\d+`, "127.0.0.1:5000"},
	{`"(durationMs|ageMs)": [0-9.]+`, `"$1": 12`},
	{`"(evidence|inspect|pin|resolve|scan|sign|place|settle|attest|record|policy|authorize|bases)": [0-9.]+`, `"$1": 1.5`},
	{`"(id|nextPageToken|etag)": "[A-Za-z0-9_=-]{60,}"`, `"$1": "…"`},
	{`"index": \d+`, `"index": 5`},
	{`"source": "[^"]*/policy.yaml"`, `"source": "/etc/attestor/policies/policy.yaml"`},
	{`"caller": \{\s+"subject": "[^"]*"`, `"caller": {"subject": "root"`},
}

// TestAnswers makes every call once and compares what docs/api-answers.md shows with what comes back.
func TestAnswers(t *testing.T) {
	w := newWorld(t, worldOptions{})
	base := baseImage(t)
	w.push("base/debian", "12", base)
	good := w.push("app/good", "v1", imageOn(t, base, "65532", entry{"app", "1"}))
	root := w.push("app/root", "v1", imageOn(t, base, "", entry{"app", "2"}))
	w.scan(good, samples.Clean)
	w.scan(root, samples.Clean)
	quoted := func(s string) string { b, _ := json.Marshal(s); return string(b) } //nolint:errchkjson // of text
	decision := w.post(root, true).decision.ID

	// The service records by itself with what it started, at some moment: whoever is first does it.
	inForce := attestor.PolicyChange{ID: "01990000-0000-7000-8000-000000000000", Time: time.Now(), Cause: attestor.PoliciesAtStart}
	for _, p := range w.engine.Policies.Set().All() {
		inForce.Policies = append(inForce.Policies, attestor.PolicyInForce{Name: p.Ref().Name, Digest: p.Ref().Digest, Source: p.File()})
	}
	if _, err := w.engine.Store.RecordPolicies(t.Context(), inForce); err != nil {
		t.Fatal(err)
	}

	var page bytes.Buffer
	page.WriteString(answersHead)
	for _, call := range []struct{ what, method, path, body string }{
		{"An image that passes is attested", http.MethodPost, "/v1/attest", `{"image":` + quoted(good) + `}`},
		{"An image that is refused", http.MethodPost, "/v1/attest", `{"image":` + quoted(root) + `}`},
		{"A mistake in the request", http.MethodPost, "/v1/attest", `{"Image":` + quoted(good) + `}`},
		{"An image that is not there", http.MethodPost, "/v1/attest", `{"image":` + quoted(w.registry.Addr()+"/app/none:v1") + `}`},
		{"Recorded decisions", http.MethodGet, "/v1/decisions?pageSize=1", ""},
		{"One decision that is not there", http.MethodGet, "/v1/decisions/01990000-0000-7000-8000-000000000001", ""},
		{"The proof of a decision, without a log key", http.MethodGet, "/v1/decisions/" + decision + "/proof", ""},
		{"An unknown filter", http.MethodGet, "/v1/decisions?colour=red", ""},
		{"The policies in force", http.MethodGet, "/v1/policies", ""},
		{"Attestations of an image", http.MethodGet, "/v1/attestations?image=" + good, ""},
		{"Another policy, tried on the record", http.MethodPost, "/v1/simulate", `{"since":"1d","policy":` + quoted(
			strings.ReplaceAll(samples.Policy, "nonRoot: true", "nonRoot: false")) + `}`},
		{"A service definition, judged", http.MethodPost, "/v1/posture", serviceDefinition},
		{"Admitted images, judged again", http.MethodPost, "/v1/rejudge", `{}`},
		{"Overrides that are over, ended", http.MethodPost, "/v1/expire", `{}`},
		{"Attestations, revoked", http.MethodDelete, "/v1/attestations?image=" + good + "&reason=incident+4711", ""},
		{"Revocations", http.MethodGet, "/v1/revocations?since=1d", ""},
		{"Changes of policies", http.MethodGet, "/v1/policy-changes", ""},
		{"Alive", http.MethodGet, "/health", ""},
		{"Able to decide", http.MethodGet, "/ready", ""},
		{"No such call", http.MethodGet, "/v1/nothing", ""},
		{"Another method", http.MethodPut, "/v1/attest", `{}`},
	} {
		a := w.do(call.method, call.path, call.body)
		if a.status == 0 || a.status == http.StatusInternalServerError {
			t.Fatalf("%s: %d %s", call.what, a.status, a.body)
		}
		fmt.Fprintf(&page, "\n## %s\n\n```http\n%s %s\n", call.what, call.method, call.path)
		if call.body != "" {
			fmt.Fprintf(&page, "Content-Type: application/json\n\n%s\n", cutText(call.body, 300))
		}
		fmt.Fprintf(&page, "```\n\n%d, `%s`:\n\n```json\n%s\n```\n", a.status, a.header.Get("Content-Type"), cutLines(indented(a.body), 150))
	}

	text := page.String()
	for _, e := range ephemeral {
		text = regexp.MustCompile(e.pattern).ReplaceAllString(text, e.as)
	}
	text = digestsOf(text)
	if *update {
		if err := os.WriteFile(answersPage, []byte(text), 0o644); err != nil { //nolint:gosec // documentation
			t.Fatal(err)
		}
		return
	}
	committed, err := os.ReadFile(answersPage)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(committed), text); diff != "" {
		t.Errorf("docs/api-answers.md shows other answers than the service gives (-page +service): run it with -update\n%s", diff)
	}
}

const serviceDefinition = `{"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"api"},` +
	`"spec":{"template":{"spec":{"containers":[{"image":"us-docker.pkg.dev/acme/prod/api:v7"}]}}}}`

// digestsOf gives every digest a short name by its order, so that a changed sample image changes nothing.
func digestsOf(text string) string {
	names := map[string]string{}
	return regexp.MustCompile(`[0-9a-f]{64}`).ReplaceAllStringFunc(text, func(d string) string {
		if names[d] == "" {
			names[d] = fmt.Sprintf("%064x", len(names)+1)
		}
		return names[d]
	})
}

// indented is JSON with two spaces.
func indented(body []byte) string {
	var b bytes.Buffer
	if json.Indent(&b, bytes.TrimSpace(body), "", "  ") != nil {
		return string(body)
	}
	return b.String()
}

// cutLines keeps the first lines of a long answer.
func cutLines(s string, most int) string {
	lines := strings.Split(s, "\n")
	if len(lines) <= most {
		return s
	}
	return strings.Join(lines[:most], "\n") + "\n…"
}

func cutText(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
