package engine_test

import (
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/client"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/filter"
	"github.com/attestor-gate/attestor/internal/samples"
	"github.com/attestor-gate/attestor/internal/testkit/pgtest"
)

// onBothRecords runs one test on a world of each database.
func onBothRecords(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		f(t, newWorld(t, worldOptions{quiet: true}))
	})
	t.Run("postgresql", func(t *testing.T) {
		t.Parallel()
		path := pgtest.File(t)
		f(t, newWorld(t, worldOptions{quiet: true, config: func(c *config.Config) { c.Store = config.Store{Postgres: path} }}))
	})
}

// admittedBefore records n admissions of one image, a second apart, all within
// the last day. Which of them belong to "the last day" while the clock moves is
// tested where the clock can be set, in audit.
func (w *world) admittedBefore(image string, n int) {
	w.tb.Helper()
	a := w.post(image, false)
	if a.decision.Verdict != attestor.Pass {
		w.tb.Fatalf("%d %s", a.status, a.body)
	}
	record, err := w.engine.Store.Record(w.tb.Context(), a.decision.ID)
	w.ok(err)

	oldest := time.Now().Add(-12 * time.Hour).UTC().Truncate(time.Microsecond)
	for i := range n - 1 {
		r := record
		r.Decision.ID = fmt.Sprintf("0100-%06d", i)
		r.Decision.Time = oldest.Add(time.Duration(i) * time.Second)
		_, err := w.engine.Store.Finish(w.tb.Context(), r)
		w.ok(err)
	}
}

// A list of the last day is read to its end, page by page, by everything that
// pages: the API, the page's link, a re-judging, the command line, a simulation.
func TestTheLastDayIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	const n = 1050
	onBothRecords(t, func(t *testing.T, w *world) {
		base := baseImage(t)
		w.push("base/debian", "12", base)
		good := w.push("app/good", "v1", imageOn(t, base, "65532:65532", entry{"app", "good"}))
		w.scan(good, samples.Clean)
		w.admittedBefore(good, n)

		t.Run("API", func(t *testing.T) {
			seen := map[string]bool{}
			query := url.Values{"since": {"1d"}, "verdict": {"pass"}, "pageSize": {"100"}}
			for {
				var page struct {
					Decisions     []attestor.Decision
					NextPageToken string
				}
				a := w.do(http.MethodGet, "/v1/decisions?"+query.Encode(), "")
				if a.status != http.StatusOK || json.Unmarshal(a.body, &page) != nil {
					t.Fatalf("after %d decisions: %d %s", len(seen), a.status, a.body)
				}
				for _, d := range page.Decisions {
					seen[d.ID] = true
				}
				if page.NextPageToken == "" {
					break
				}
				query.Set("pageToken", page.NextPageToken)
			}
			if len(seen) != n {
				t.Errorf("%d decisions, want %d", len(seen), n)
			}

			// The twin: the same token with another period is refused.
			query.Set("since", "2d")
			if a := w.do(http.MethodGet, "/v1/decisions?"+query.Encode(), ""); a.status != http.StatusBadRequest ||
				!strings.Contains(string(a.body), "another filter") {
				t.Errorf("another period: %d %s", a.status, a.body)
			}
		})

		t.Run("page", func(t *testing.T) {
			shown := regexp.MustCompile(`href="/decisions/([^"?]+)"`)
			next := regexp.MustCompile(`href="([^"]*)" rel="next"`)
			seen := map[string]bool{}
			for path := "/decisions?since=1d"; path != ""; {
				a := w.do(http.MethodGet, path, "")
				if a.status != http.StatusOK {
					t.Fatalf("after %d decisions: %d %s", len(seen), a.status, a.body)
				}
				before := len(seen)
				for _, m := range shown.FindAllStringSubmatch(string(a.body), -1) {
					seen[m[1]] = true
				}
				if len(seen) == before {
					t.Fatalf("%s shows nothing new after %d decisions: %s", path, before, a.body)
				}
				path = ""
				if m := next.FindStringSubmatch(string(a.body)); m != nil {
					path = html.UnescapeString(m[1])
				}
			}
			if len(seen) != n {
				t.Errorf("%d decisions, want %d", len(seen), n)
			}
		})

		t.Run("command line", func(t *testing.T) {
			records, err := client.New(client.Options{Server: "http://" + w.address, Notice: io.Discard})
			w.ok(err)
			defer func() { w.ok(records.Close()) }()
			got := 0
			for _, err := range records.Decisions(t.Context(), filter.Filter{Since: time.Now().Add(-24 * time.Hour)}) {
				w.ok(err)
				got++
			}
			if got != n {
				t.Errorf("%d decisions, want %d", got, n)
			}
		})

		t.Run("simulation", func(t *testing.T) {
			policy, err := json.Marshal(map[string]string{"policy": string(w.policyText()), "since": "1d"})
			w.ok(err)
			var result struct{ Judged int }
			a := w.do(http.MethodPost, "/v1/simulate", string(policy))
			if a.status != http.StatusOK || json.Unmarshal(a.body, &result) != nil || result.Judged != n {
				t.Errorf("%d, %d judged, want %d: %.500s", a.status, result.Judged, n, a.body)
			}
		})

		// Last, since it records a judgement of its own.
		t.Run("re-judging", func(t *testing.T) {
			var report struct {
				Covered, Failed, Left int
			}
			a := w.do(http.MethodPost, "/v1/rejudge", "{}")
			if a.status != http.StatusOK || json.Unmarshal(a.body, &report) != nil {
				t.Fatalf("%d %s", a.status, a.body)
			}
			if report.Covered != 1 || report.Failed != 0 || report.Left != 0 {
				t.Errorf("%s: want the one admitted image looked at, and none left", a.body)
			}
		})
	})
}

// policyText is the policy on disk.
func (w *world) policyText() []byte {
	w.tb.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, "policy.yaml"))
	w.ok(err)
	return b
}
