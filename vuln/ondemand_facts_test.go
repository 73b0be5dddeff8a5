package vuln_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/api/ondemandscanning/v1"
	"google.golang.org/api/option"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/vuln"
)

// onDemandOf reads a scan whose only page is an answer of the service.
func onDemandOf(t *testing.T, answer string, at time.Time) attestor.Scan {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, answer)
	}))
	defer server.Close()
	s, err := ondemandscanning.NewService(t.Context(), option.WithEndpoint(server.URL), option.WithHTTPClient(server.Client()))
	if err != nil {
		t.Fatal(err)
	}
	d, err := vuln.NewOnDemand(vuln.OnDemandConfig{
		Service: s, Name: scanName, Now: func() time.Time { return at }, Limit: limit.Call(time.Minute),
	})
	if err != nil {
		t.Fatal(err)
	}
	return d.Scan(t.Context(), attestor.ScanRequest{Image: api(t), Needs: attestor.ScanNeeds{Projects: []string{"scans"}}})
}

// occurrenceJSON is one about the image, with more fields.
func occurrenceJSON(t *testing.T, id, more string) string {
	return fmt.Sprintf(`{"resourceUri": %q, "noteName": "projects/goog-vulnz/notes/%s", %s}`, uri(api(t)), id, more)
}

// TestOnDemandWordsOfTomorrow: a severity, or a secret's kind or status, that this version does not know is not none. A
// word that it knows is what it was.
func TestOnDemandWordsOfTomorrow(t *testing.T) {
	for vulnerability, foreign := range map[string]bool{
		`{"packageIssue": [{"affectedPackage": "a", "effectiveSeverity": "WORST"}]}`:                            true,
		`{"packageIssue": [{"affectedPackage": "a"}], "effectiveSeverity": "WORST"}`:                            true,
		`{"packageIssue": [{"affectedPackage": "a"}], "severity": "WORST"}`:                                     true,
		`{"effectiveSeverity": "WORST", "severity": "LOW"}`:                                                     true,
		`{"packageIssue": [{"affectedPackage": "a", "effectiveSeverity": "LOW"}], "severity": "WORST"}`:         false,
		`{"packageIssue": [{"affectedPackage": "a", "effectiveSeverity": "LOW"}]}`:                              false,
		`{"packageIssue": [{"affectedPackage": "a"}], "effectiveSeverity": "LOW"}`:                              false,
		`{"packageIssue": [{"affectedPackage": "a"}], "severity": "LOW"}`:                                       false,
		`{"packageIssue": [{"affectedPackage": "a", "effectiveSeverity": "LOW", "fieldOfTomorrow": {"a": 1}}]}`: false,
	} {
		scan := onDemandOf(t, `{"occurrences": [`+occurrenceJSON(t, "CVE-1", `"kind": "VULNERABILITY", "vulnerability": `+vulnerability)+`]}`, start)
		if scan.State != attestor.ScanComplete || len(scan.Findings) != 1 {
			t.Fatalf("%s: %q, %+v", vulnerability, scan.State, scan.Problem)
		}
		if s := scan.Findings[0].Severity; s.Foreign() != foreign || !foreign && s != attestor.Low {
			t.Errorf("%s: %s", vulnerability, s)
		}
	}

	for secret, want := range map[string]attestor.Secret{
		`{"kind": "SECRET_KIND_GCP_API_KEY", "statuses": [{"status": "INVALID"}]}`: {Kind: "GCP_API_KEY", Status: "INVALID"},
		`{"kind": "SECRET_KIND_NEW", "statuses": [{"status": "INVALID"}]}`:         {Kind: "KIND_2147483647", Status: "INVALID"},
		`{"kind": "SECRET_KIND_GCP_API_KEY", "statuses": [{"status": "MAYBE"}]}`:   {Kind: "GCP_API_KEY", Status: "STATUS_2147483647"},
	} {
		scan := onDemandOf(t, `{"occurrences": [`+occurrenceJSON(t, "SECRET", `"kind": "SECRET", "secret": `+secret)+`]}`, start)
		want.Note = "projects/goog-vulnz/notes/SECRET"
		if diff := cmp.Diff([]attestor.Secret{want}, scan.Secrets); diff != "" || scan.State != attestor.ScanComplete {
			t.Errorf("%s: %q, -want +got:\n%s", secret, scan.State, diff)
		}
	}
}

// TestOnDemandKinds: a vulnerability without details is a finding all the same; an occurrence of a kind of tomorrow is named, and shows
// nothing by itself; one of a kind of today that reports none makes no sense.
func TestOnDemandKinds(t *testing.T) {
	known := occurrenceJSON(t, "CVE-1", `"kind": "VULNERABILITY", "vulnerability": {"effectiveSeverity": "LOW"}`)
	bare := occurrenceJSON(t, "CVE-2", `"kind": "VULNERABILITY"`)
	tomorrow := occurrenceJSON(t, "NEW", `"kind": "WEAKNESS"`)
	for _, tt := range []struct {
		list  string
		state attestor.ScanState
		ids   []string
		named []attestor.UnreadKind
	}{
		{known, attestor.ScanComplete, []string{"CVE-1"}, nil},
		{bare, attestor.ScanComplete, []string{"CVE-2"}, nil},
		{tomorrow, attestor.ScanFailed, nil, nil},
		{tomorrow + "," + tomorrow, attestor.ScanFailed, nil, nil},
		{known + "," + tomorrow, attestor.ScanComplete, []string{"CVE-1"}, []attestor.UnreadKind{{Kind: "WEAKNESS", Count: 1}}},
		{tomorrow + "," + known + "," + tomorrow, attestor.ScanComplete, []string{"CVE-1"}, []attestor.UnreadKind{{Kind: "WEAKNESS", Count: 2}}},
		{known + "," + occurrenceJSON(t, "x", `"kind": "BUILD", "build": {}`), attestor.ScanUnavailable, nil, nil},
		{known + "," + occurrenceJSON(t, "x", `"createTime": "2026-11-20T00:00:00Z"`), attestor.ScanUnavailable, nil, nil},
	} {
		scan := onDemandOf(t, `{"occurrences": [`+tt.list+`]}`, start)
		if scan.State != tt.state || !cmp.Equal(ids(scan.Findings), tt.ids) || !cmp.Equal(scan.Unread, tt.named) {
			t.Errorf("%s: %q, %v, %v (%+v)", tt.list, scan.State, ids(scan.Findings), scan.Unread, scan.Problem)
		}
	}
}

// TestOnDemandFacts: the scan is of the time of its newest occurrence, by either of its times, and is shown under the
// first of the image's names, whatever the order of the list.
func TestOnDemandFacts(t *testing.T) {
	one := func(uri, times string) string {
		return fmt.Sprintf(`{"resourceUri": %q, "noteName": "projects/goog-vulnz/notes/CVE-1", "kind": "VULNERABILITY", "vulnerability": `+
			`{"packageIssue": [{"affectedPackage": "a", "affectedCpeUri": "cpe:/o:debian:debian_linux:9"}]}%s}`, uri, times)
	}
	day := func(n int) time.Time { return time.Date(2026, 11, n, 0, 0, 0, 0, time.UTC) }
	bare, full := api(t).String(), uri(api(t))
	for _, tt := range []struct {
		name string
		list []string
		uri  string
		at   *time.Time
	}{
		{"no time", []string{one(full, "")}, full, nil},
		{"created", []string{one(full, `, "createTime": "2026-11-03T00:00:00Z"`)}, full, new(day(3))},
		{"updated since", []string{one(full, `, "createTime": "2026-11-03T00:00:00Z", "updateTime": "2026-11-05T00:00:00Z"`)}, full, new(day(5))},
		{"the newest is first", []string{one(bare, `, "createTime": "2026-11-05T00:00:00Z"`), one(full, `, "createTime": "2026-11-03T00:00:00Z"`)},
			full, new(day(5))},
		{"the newest is last", []string{one(full, `, "createTime": "2026-11-03T00:00:00Z"`), one(bare, `, "createTime": "2026-11-05T00:00:00Z"`)},
			full, new(day(5))},
		{"one has no time", []string{one(full, `, "createTime": "2026-11-03T00:00:00Z"`), one(full, "")}, full, new(day(3))},
	} {
		scan := onDemandOf(t, `{"occurrences": [`+strings.Join(tt.list, ",")+`]}`, start)
		if scan.State != attestor.ScanComplete || scan.Resource != tt.uri || !cmp.Equal(scan.Finished, tt.at) || scan.SecretsListed {
			t.Errorf("%s: %+v", tt.name, scan)
		}
		if scan.System == nil || scan.System.Name() != "debian 9" || scan.System.End == "" {
			t.Errorf("%s: %+v", tt.name, scan.System)
		}
	}
}

// TestOnDemandAnswersThatAreNone: no answer, and what cannot be read, is no scan; nor is one of an ended request.
func TestOnDemandAnswersThatAreNone(t *testing.T) {
	for _, answer := range []string{"", "no JSON", `{"occurrences": "none"}`, `{"occurrences": [` + occurrenceJSON(t, "CVE-1",
		`"kind": "VULNERABILITY", "vulnerability": {"packageIssue": [{"affectedVersion": {"epoch": 5000000000}}]}`) + `]}`} {
		scan := onDemandOf(t, answer, start)
		if scan.State != attestor.ScanUnavailable || scan.Problem == nil {
			t.Errorf("%q: %q, %+v", answer, scan.State, scan.Problem)
		}
	}

	d, err := vuln.NewOnDemand(vuln.OnDemandConfig{Service: serveScan(t, nil, 0, 0), Name: scanName})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req := attestor.ScanRequest{Image: api(t), Needs: attestor.ScanNeeds{Projects: []string{"scans"}}}
	if scan := d.Scan(ctx, req); scan.State != attestor.ScanUnavailable || !strings.Contains(scan.Problem.Message, "the request ended") {
		t.Errorf("an ended request: %q, %+v", scan.State, scan.Problem)
	}
	if scan := d.Scan(t.Context(), attestor.ScanRequest{Needs: req.Needs}); scan.State != attestor.ScanUnavailable || scan.Problem == nil {
		t.Errorf("no image: %q, %+v", scan.State, scan.Problem)
	}
}
