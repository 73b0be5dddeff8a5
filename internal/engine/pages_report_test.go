package engine_test

import (
	"encoding/csv"
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/report"
)

// Every number of the overview and the report that is a link opens a list of so many.
func TestNumbersOpenWhatTheyCount(t *testing.T) {
	t.Parallel()
	w, good, root, _, _ := pageWorld(t)
	w.post(good, true)
	w.post(root, true)
	w.post(root, true)
	link := regexp.MustCompile(`<a[^>]* href="(/(?:images|decisions)\?[^"]*)"[^>]*>([0-9][0-9,]*)(?: decisions?)?</a>`)
	counted := regexp.MustCompile(`(?:of )?([0-9][0-9,]*) (?:images?|decisions?), newest first`)

	for address, least := range map[string]int{"/": 5, "/report": 12, "/report?repository=app/root": 10,
		"/report?verdict=deny": 10, "/report?policy=dev": 5,
		"/report?owner=" + url.QueryEscape(path.Dir(strings.Split(good, "@")[0])): 8} {
		a := w.do(http.MethodGet, address, "")
		if a.status != http.StatusOK {
			t.Fatalf("%s: %d %s", address, a.status, a.body)
		}
		links := link.FindAllStringSubmatch(string(a.body), -1)
		if address != "/report?policy=dev" && len(links) < least {
			t.Errorf("%s has %d numbers that open something, want at least %d", address, len(links), least)
		}
		seen := map[string]bool{}
		for _, m := range links {
			to, want := html.UnescapeString(m[1]), m[2]
			if seen[to] {
				continue
			}
			seen[to] = true
			list := w.do(http.MethodGet, to, "")
			got := counted.FindStringSubmatch(string(list.body))
			if got == nil && strings.Contains(string(list.body), "No image matches") {
				got = []string{"", "0"}
			}
			if list.status != http.StatusOK || got == nil || got[1] != want {
				t.Errorf("%s: %s opens %d %v, want %s", address, to, list.status, got, want)
			}
		}
	}
}

// The report's downloads have what the report is about, and nothing for a caller that the page would not show.
func TestReportDownloads(t *testing.T) {
	t.Parallel()
	w, _, _, passed, refused := pageWorld(t)

	a := w.do(http.MethodGet, "/report?format=csv&verdict=deny", "")
	rows, err := csv.NewReader(strings.NewReader(string(a.body))).ReadAll()
	if err != nil || len(rows) != 2 || rows[1][0] != refused.ID {
		t.Errorf("CSV: %v %v", err, rows)
	}

	a = w.do(http.MethodGet, "/report?format=json", "")
	var s report.Summary
	if err := json.Unmarshal(a.body, &s); err != nil || s.Images != 2 || s.Passed != 1 || s.Refused != 1 ||
		len(s.Policies) != 1 || s.Policies[0].Decisions != 2 {
		t.Errorf("JSON: %v %s", err, a.body)
	}
	if disposition := a.header.Get("Content-Disposition"); !strings.Contains(disposition, "attestor-report.json") {
		t.Errorf("JSON: Content-Disposition is %q", disposition)
	}

	a = w.do(http.MethodGet, "/report?format=sarif", "")
	var sarif struct {
		Version string
		Runs    []struct{ Results []struct{ RuleID string } }
	}
	if err := json.Unmarshal(a.body, &sarif); err != nil || sarif.Version != "2.1.0" || len(sarif.Runs) != 1 || len(sarif.Runs[0].Results) == 0 {
		t.Errorf("SARIF: %v %s", err, a.body)
	}
	if strings.Contains(string(a.body), passed.ID) {
		t.Error("SARIF has an image that passed")
	}

	for _, format := range []string{"html", "junit", "x"} {
		if a := w.do(http.MethodGet, "/report?format="+format, ""); a.status != http.StatusBadRequest {
			t.Errorf("%s: %d, want 400", format, a.status)
		}
	}
}
