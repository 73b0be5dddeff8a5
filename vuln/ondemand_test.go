package vuln_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/api/ondemandscanning/v1"
	"google.golang.org/api/option"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/vuln"
)

const scanName = "projects/scans/locations/us/scans/7f2c"

// serveScan answers as the service does, with pages of two. After fails
// answers it fails with status.
func serveScan(t *testing.T, all occurrences, fails int, code int) *ondemandscanning.Service {
	t.Helper()
	calls := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		if calls > fails && code != 0 {
			http.Error(w, http.StatusText(code), code)
			return
		}
		if r.URL.Path != "/v1/"+scanName+"/vulnerabilities" {
			http.NotFound(w, r)
			return
		}

		from := len(r.URL.Query().Get("pageToken"))
		to := min(from+2, len(all))
		page := map[string]any{"occurrences": raw(t, all[from:to])}
		if to < len(all) {
			page["nextPageToken"] = strings.Repeat("x", to)
		}

		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(page); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	s, err := ondemandscanning.NewService(t.Context(), option.WithEndpoint(server.URL), option.WithHTTPClient(server.Client()))
	if err != nil {
		t.Fatal(err)
	}

	return s
}

func raw(t *testing.T, all occurrences) []json.RawMessage {
	t.Helper()
	out := []json.RawMessage{}

	for _, o := range all {
		b, err := protojson.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b)
	}
	return out
}

// TestOnDemand: a scan by name counts only if all of it is about the digest,
// and its project is trusted.
func TestOnDemand(t *testing.T) {
	img := api(t)
	high := grafeaspb.Severity_HIGH
	mine := func(id string) *grafeaspb.Occurrence {
		o := finding(img.String(), id, high)
		o.Kind, o.CreateTime = grafeaspb.NoteKind_VULNERABILITY, timestamppb.New(start)
		return o
	}

	other := finding(img.Sibling(digest(2)).String(), "CVE-9", high)
	local := finding("api:latest", "CVE-9", high)
	suffix := finding("us-docker.pkg.dev/acme/prod/api@"+"x"+string(digest(1)), "CVE-9", high)
	trusted := attestor.ScanNeeds{Projects: []string{"projects/scans"}}
	five := occurrences{mine("CVE-1"), mine("CVE-2"), mine("CVE-3"), mine("CVE-4"), mine("CVE-5")}
	tests := []struct {
		name  string
		all   occurrences
		needs attestor.ScanNeeds
		state attestor.ScanState
		code  attestor.Code
		says  string
	}{
		{"trusted, of the image", five, trusted, attestor.ScanComplete, "", ""},
		{"trusted by its bare name", five, attestor.ScanNeeds{Projects: []string{"scans"}}, attestor.ScanComplete, "", ""},
		{"of nobody's trust", five, attestor.ScanNeeds{}, attestor.ScanFailed, attestor.CodeScanNotTrusted, "project scans"},
		{"another project is trusted", five, attestor.ScanNeeds{Projects: []string{"projects/scans-2", "acme"}},
			attestor.ScanFailed, attestor.CodeScanNotTrusted, "project scans"},
		{"of another digest", occurrences{other}, trusted, attestor.ScanFailed, attestor.CodeScanNotTrusted, string(digest(2))},
		{"the last is of another digest", append(slices.Clone(five), other), trusted, attestor.ScanFailed, attestor.CodeScanNotTrusted, string(digest(2))},
		{"the first is of another digest", append(occurrences{other}, five...), trusted, attestor.ScanFailed, attestor.CodeScanNotTrusted, string(digest(2))},
		{"of a local image", occurrences{local}, trusted, attestor.ScanFailed, attestor.CodeScanNotTrusted, "api:latest"},
		{"of a digest that ends alike", occurrences{suffix}, trusted, attestor.ScanFailed, attestor.CodeScanNotTrusted, "@x"},
		{"without findings", nil, trusted, attestor.ScanFailed, attestor.CodeScanNotTrusted, "no findings"},
		{"with another kind among them", append(slices.Clone(five), complete(img.String())), trusted,
			attestor.ScanUnavailable, attestor.CodeScanUnavailable, ""},
	}

	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := vuln.NewOnDemand(vuln.OnDemandConfig{Service: serveScan(t, tt.all, 0, 0), Name: scanName})
			if err != nil {
				t.Fatal(err)
			}

			var scanner attestor.Scanner = d
			got := scanner.Scans(t.Context(), []attestor.ScanRequest{{Image: img, Needs: tt.needs}})[0]
			if got.State != tt.state {
				t.Fatalf("state %q, want %q (%+v)", got.State, tt.state, got.Problem)
			}
			if tt.state == attestor.ScanComplete {
				if len(got.Findings) != len(tt.all) || got.Problem != nil || got.Finished == nil || !got.Finished.Equal(start) || got.Note != scanName {
					t.Errorf("%+v", got)
				}
				return
			}
			if got.Problem == nil || got.Problem.Code != tt.code || !strings.Contains(got.Problem.Message, tt.says) || got.Problem.Fix == "" {
				t.Errorf("problem %+v, want %s saying %q", got.Problem, tt.code, tt.says)
			}
			if len(got.Findings) != 0 {
				t.Errorf("findings of a scan that does not count: %v", ids(got.Findings))
			}
		})
	}
}

// TestOnDemandFailures: half a list is no list.
func TestOnDemandFailures(t *testing.T) {
	img := api(t)
	var all occurrences

	for _, id := range []string{"CVE-1", "CVE-2", "CVE-3"} {
		all = append(all, finding(img.String(), id, grafeaspb.Severity_LOW))
	}

	tests := []struct {
		status int
		state  attestor.ScanState
		code   attestor.Code
		says   string
	}{
		{http.StatusForbidden, attestor.ScanUnavailable, attestor.CodeScanPermissionDenied, "roles/ondemandscanning.admin"},
		{http.StatusUnauthorized, attestor.ScanUnavailable, attestor.CodeScanPermissionDenied, "credentials"},
		{http.StatusNotFound, attestor.ScanNotFound, attestor.CodeScanNotFound, "does not exist, or has expired"},
		{http.StatusTooManyRequests, attestor.ScanUnavailable, attestor.CodeScanUnavailable, "quota"},
		{http.StatusServiceUnavailable, attestor.ScanUnavailable, attestor.CodeScanUnavailable, "UNAVAILABLE"},
		{http.StatusInternalServerError, attestor.ScanUnavailable, attestor.CodeScanUnavailable, "UNAVAILABLE"},
		{http.StatusBadGateway, attestor.ScanUnavailable, attestor.CodeScanUnavailable, "UNAVAILABLE"},
		{http.StatusGatewayTimeout, attestor.ScanUnavailable, attestor.CodeScanUnavailable, "DEADLINE_EXCEEDED"},
		{http.StatusBadRequest, attestor.ScanUnavailable, attestor.CodeScanUnavailable, "INVALID_ARGUMENT"},
		{http.StatusTeapot, attestor.ScanUnavailable, attestor.CodeScanUnavailable, "(Unknown)"},
	}

	for _, tt := range tests {
		for _, after := range []int{0, 1} {
			t.Run(http.StatusText(tt.status), func(t *testing.T) {
				t.Parallel()
				c := vuln.OnDemandConfig{Service: serveScan(t, all, after, tt.status), Name: scanName, Limit: limit.Call(time.Minute)}
				d, err := vuln.NewOnDemand(c)
				if err != nil {
					t.Fatal(err)
				}

				got := d.Scan(t.Context(), attestor.ScanRequest{Image: img, Needs: attestor.ScanNeeds{Projects: []string{"scans"}}})
				if got.State != tt.state || got.Problem == nil || got.Problem.Code != tt.code || !strings.Contains(got.Problem.Message, tt.says) {
					t.Errorf("state %q, problem %+v; want %q with %s saying %q", got.State, got.Problem, tt.state, tt.code, tt.says)
				}
			})
		}
	}
}

// TestOnDemandNames: what is not the name of a scan is refused before any call.
func TestOnDemandNames(t *testing.T) {
	for _, name := range []string{"", "7f2c", "projects/p/scans/7f2c", "projects/p/locations/us/occurrences/7f2c",
		scanName + "/vulnerabilities", "/" + scanName} {
		if _, err := vuln.NewOnDemand(vuln.OnDemandConfig{Service: &ondemandscanning.Service{}, Name: name}); attestor.KindOf(err) != attestor.Invalid {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := vuln.NewOnDemand(vuln.OnDemandConfig{Name: scanName}); err == nil {
		t.Error("no service was accepted")
	}
}
