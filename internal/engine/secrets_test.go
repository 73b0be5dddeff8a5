package engine_test

import (
	"encoding/base64"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/samples"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/internal/testkit/locked"
)

// TestSecretValueIsNowhere: whatever an occurrence holds of a secret's value, it reaches no answer, no page, no log and no file of the
// record; kind and place reach all that people read.
func TestSecretValueIsNowhere(t *testing.T) {
	t.Parallel()
	const value, where = "AIzaSyTheValueOfTheSecret", "/app/config/key.json"
	log := &locked.Buffer{}
	w := newWorld(t, worldOptions{log: log, quiet: true})
	base := baseImage(t)
	w.push("base/debian", "12", base)
	image := w.push("app/secret", "v1", imageOn(t, base, "65532:65532", entry{"app", "x"}))
	w.scan(image, samples.Clean)
	_, err := w.outside.Grafeas.CreateOccurrence(t.Context(), &grafeaspb.CreateOccurrenceRequest{
		Parent:     "projects/" + samples.Project,
		Occurrence: corpus.Secret("https://"+image, grafeaspb.SecretKind_SECRET_KIND_GCP_API_KEY, where, grafeaspb.SecretStatus_VALID),
	})
	w.ok(err)

	sent := 0
	w.emulator().Inject(emulator.Fault{Method: "ListOccurrences", Mutate: func(_, resp proto.Message) {
		for _, o := range resp.(*grafeaspb.ListOccurrencesResponse).GetOccurrences() {
			if s := o.GetSecret(); s != nil {
				sent++
				data, err := anypb.New(wrapperspb.String(value))
				w.ok(err)
				s.Data, s.Digest = data, &grafeaspb.Digest{Algo: "none", DigestBytes: []byte(value)}
				s.Statuses[0].Message, o.Remediation = value, value
			}
		}
	}})

	a := w.post(image, false)
	if codes := a.codes(); a.decision.Verdict != attestor.Deny || len(codes) != 1 || codes[0] != attestor.CodeSecretFound || sent == 0 {
		t.Fatalf("%d %s, %d sent", a.status, a.body, sent)
	}

	told := map[string]string{"the answer": string(a.body)}
	for _, path := range []string{
		"/v1/decisions/" + a.decision.ID, "/v1/decisions/" + a.decision.ID + "/policy", "/v1/decisions", "/report", "/",
		"/decisions/" + a.decision.ID, "/metrics",
	} {
		got := w.do(http.MethodGet, path, "")
		told[path] = string(got.body)
	}
	for _, path := range []string{"the answer", "/v1/decisions/" + a.decision.ID} {
		if !strings.Contains(told[path], "GCP_API_KEY") || !strings.Contains(told[path], where) {
			t.Errorf("%s says neither kind nor place: %s", path, told[path])
		}
	}

	w.stop()
	told["the log"] = log.String()
	files, err := filepath.Glob(filepath.Join(w.dir, "*"))
	w.ok(err)
	for _, f := range files {
		b, err := os.ReadFile(f)
		w.ok(err)
		told[f] = string(b)
	}
	for what, text := range told {
		for _, form := range []string{value, base64.StdEncoding.EncodeToString([]byte(value))[:24]} {
			if strings.Contains(text, form) {
				t.Errorf("%s holds the value", what)
			}
		}
	}
}

// TestKindsOfTomorrowWarn: an occurrence of a kind that nobody here knows, on an image or on a child of an index, stops nothing and is named.
func TestKindsOfTomorrowWarn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{quiet: true})
	base := baseImage(t)
	w.push("base/debian", "12", base)
	child := imageOn(t, base, "65532:65532", entry{"app", "x"})
	image := w.push("app/child", "v1", child)
	index := w.push("app/child", "v2", indexOf(t, child))
	w.scan(image, samples.Clean)
	_, err := w.emulator().Load(strings.NewReader(`{"name": "projects/` + samples.Project + `/occurrences/skill", "resourceUri": "https://` + image + `",
	  "noteName": "projects/goog-analysis/notes/AI_SKILL", "kind": "AI_SKILL_ANALYSIS", "aiSkillAnalysis": {"maxSeverity": "CRITICAL"}}`))
	w.ok(err)

	for _, ref := range []string{image, index} {
		a := w.post(ref, false)
		if a.decision.Verdict != attestor.Pass || !strings.Contains(string(a.body), "1 occurrence of kind AI_SKILL_ANALYSIS") {
			t.Errorf("%s: %d %s", ref, a.status, a.body)
		}
	}
}
