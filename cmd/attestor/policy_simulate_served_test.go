package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSimulateGoesOn: a simulation through a service reads page after page. One that is interrupted goes on where it was, with
// the same result, and what was kept of another simulation is refused.
func TestSimulateGoesOn(t *testing.T) {
	t.Parallel()
	const pages = 4
	down := -1 // the page at which the service answers with an error
	var asked []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			PageSize  int    `json:"pageSize"`
			PageToken string `json:"pageToken"`
			Sample    int    `json:"sample"`
			At        string `json:"at"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.PageSize <= 0 {
			t.Errorf("%+v, %v", body, err)
		}
		asked = append(asked, body.PageToken)
		page := 0
		_, _ = fmt.Sscanf(body.PageToken, "page%d", &page) // "" is the first one
		if page == down {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write([]byte(`{"status": 500, "detail": "internal error"}`))
			return
		}
		next := ""
		if page < pages-1 {
			next = fmt.Sprintf("page%d", page+1)
		}
		// One image flips on each page, and another one on all of them.
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"policy": {"name": "p"}, "since": "2026-11-01T00:00:00Z", "judged": 10, "sample": %d,
			"counts": {"before": {"pass": 10}, "after": {"pass": 8, "deny": 2}},
			"images": {"judged": 2, "before": {"pass": 2}, "after": {"pass": 1, "deny": 1}}, "upcoming": [],
			"flips": [{"decision": "a%[2]d", "time": "2026-11-1%[3]dT00:00:00Z", "image": "r.example/a",
				"owner": "r", "before": "pass", "after": "deny", "reasons": [{"code": "USER_ROOT"}], "times": 1},
				{"decision": "b%[2]d", "time": "2026-11-1%[3]dT00:00:00Z", "image": "r.example/b%[2]d", "owner": "r",
					"before": "pass", "after": "deny", "reasons": [{"code": "USER_ROOT"}], "times": 1}],
			"reached": "2026-11-1%[3]dT00:00:00Z", "nextPageToken": %[4]q}`, body.Sample, page, 9-page, next)
	}))
	t.Cleanup(srv.Close)

	dir := t.TempDir()
	policy, kept := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "kept.json")
	text, err := os.ReadFile("../../deploy/policies/starter.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(policy, text, 0o600); err != nil {
		t.Fatal(err)
	}
	runs := func(code int, says string, args ...string) string {
		t.Helper()
		var stdout, stderr bytes.Buffer
		args = append([]string{"policy", "simulate", "--policy", policy, "--server", srv.URL}, args...)
		if got := run(args, strings.NewReader(""), &stdout, &stderr); got != code || !strings.Contains(stdout.String()+stderr.String(), says) {
			t.Errorf("%q: exit code %d, want %d, and %q in %s%s", args, got, code, says, &stdout, &stderr)
		}
		return stdout.String()
	}

	whole := runs(0, "40 recorded decisions on 8 images judged again; 5 images would be answered otherwise: 5 from pass to deny")
	if len(asked) != pages {
		t.Errorf("it asked %q", asked)
	}

	// Interrupted at the third page, and then once more: what was judged is asked for no more.
	asked, down = nil, 2
	runs(3, "the same command goes on from there", "--resume", kept)
	runs(3, "kept.json", "--resume", kept)
	runs(2, "is of another simulation", "--resume", kept, "--since", "7d")
	runs(2, "is of another simulation", "--resume", kept, "--sample", "3")
	runs(2, "is of another simulation", "--resume", kept, "--at", "2026-12-01")
	down = -1
	if got := runs(0, "40 recorded decisions", "--resume", kept); got != whole {
		t.Errorf("after an interruption: %s, want %s", got, whole)
	}
	if first := strings.Join(asked, " "); strings.Count(first, "page1") != 1 {
		t.Errorf("it asked %q", asked)
	}
	if _, err := os.Stat(kept); err == nil {
		t.Error("what was kept is there after the end")
	}

	if err := os.WriteFile(kept, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	runs(2, "is not what a simulation kept", "--resume", kept)
	runs(0, "a SAMPLE of one in 5 decisions: 40 recorded decisions", "--sample", "5")
}

// TestSimulateHasAnEnd: a service whose pages turn in a circle is asked for each once.
func TestSimulateHasAnEnd(t *testing.T) {
	t.Parallel()
	asked := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			PageToken string `json:"pageToken"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		if asked++; asked > 100 { // a client that goes round for ever is stopped
			w.WriteHeader(http.StatusNotFound)
			return
		}
		next := map[string]string{"": "a", "a": "b", "b": "a"}[body.PageToken]
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"policy": {"name": "p"}, "since": "2026-11-01T00:00:00Z", "judged": 1, "flips": [], "upcoming": [],
			"counts": {"before": {"pass": 1}, "after": {"pass": 1}},
			"images": {"judged": 1, "before": {"pass": 1}, "after": {"pass": 1}},
			"reached": "2026-11-10T00:00:00Z", "nextPageToken": %q}`, next)
	}))
	t.Cleanup(srv.Close)

	var stdout, stderr bytes.Buffer
	args := []string{"policy", "simulate", "--policy", "../../deploy/policies/starter.yaml", "--server", srv.URL}
	code := run(args, strings.NewReader(""), &stdout, &stderr)
	if code != 3 || asked != 3 || !strings.Contains(stderr.String(), "the same page of the simulation twice") {
		t.Errorf("exit code %d, want 3; asked %d times, want 3: %s%s", code, asked, &stdout, &stderr)
	}
}
