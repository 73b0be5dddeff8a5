package report_test

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/report"
)

// uploaded is SARIF as far as GitHub documents what it reads ("SARIF support for code scanning").
type uploaded struct {
	Schema  string `json:"$schema"`
	Version string
	Runs    []struct {
		Tool struct {
			Driver struct {
				Name  string
				Rules []struct {
					ID, HelpURI                       string
					ShortDescription, FullDescription struct{ Text string }
					Help                              struct{ Text, Markdown string }
					DefaultConfiguration              struct{ Level string }
					Properties                        map[string]any
				}
			}
		}
		Results []struct {
			RuleID, Level       string
			RuleIndex           *int
			Message             struct{ Text string }
			PartialFingerprints map[string]string
			Suppressions        []struct{ Kind, Status, Justification string }
			Locations           []struct {
				PhysicalLocation struct {
					ArtifactLocation struct{ URI string }
					Region           struct{ StartLine int }
				}
			}
		}
	}
}

// TestSARIFAsGitHubReadsIt checks the documented requirements: what a rule and a result must have, the levels, the numbers, the limits.
func TestSARIFAsGitHubReadsIt(t *testing.T) {
	posture := attestor.PostureReport{Profile: "hipaa", Services: 1, Verdict: attestor.Deny, Findings: []attestor.PostureFinding{
		{Rule: "PROBES", Service: "acme/us-east1/web", Kind: "service", File: "dir/a b.yaml", Line: 7,
			Status: attestor.StatusWarn, Message: "no probe", Fix: "add one"},
		{Rule: "CMEK", Service: "acme/us-east1/api", Kind: "service", File: "api.yaml", Line: 3, Status: attestor.StatusWarn, Message: "no key"},
		{Rule: "CMEK", Service: "acme/us-east1/web", Kind: "service", File: "web.yaml", Line: 3, Status: attestor.StatusDeny, Message: "no key"},
		{Rule: "VPC_EGRESS", Service: "acme/us-east1/web", Kind: "service", File: "web.yaml", Line: 3, Status: attestor.StatusPass, Message: "none, excepted",
			Exceptions: []attestor.AppliedException{{ID: "VPC_EGRESS", Owner: "a@acme.example", Reason: "r", Expires: "2027-01-31"}}},
	}}
	var b bytes.Buffer
	if err := report.Write(&b, report.SARIF, report.Services(posture, map[string]string{"CMEK": "a key is set",
		"PROBES": "a probe is set"}), report.Options{Version: "1"}); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"posture": b.String(), "decisions": encode(t, report.SARIF, report.Options{}, refused(1), undecided(2))} {
		var doc uploaded
		if err := json.Unmarshal([]byte(text), &doc); err != nil {
			t.Fatal(err)
		}
		if doc.Version != "2.1.0" || !strings.Contains(doc.Schema, "2.1.0") || len(doc.Runs) == 0 || len(doc.Runs) > 20 || len(text) > 10<<20 {
			t.Errorf("%s: version %s, schema %s, %d runs, %d bytes", name, doc.Version, doc.Schema, len(doc.Runs), len(text))
		}
		for _, run := range doc.Runs {
			driver := run.Tool.Driver
			if driver.Name == "" || len(driver.Rules) == 0 || len(driver.Rules) > 25_000 || len(run.Results) == 0 || len(run.Results) > 25_000 {
				t.Errorf("%s: driver %q, %d rules, %d results", name, driver.Name, len(driver.Rules), len(run.Results))
			}
			for _, r := range driver.Rules {
				severity, err := strconv.ParseFloat(r.Properties["security-severity"].(string), 64)
				if u, bad := url.Parse(r.HelpURI); err != nil || bad != nil || u.Scheme != "https" || severity <= 0 ||
					severity > 10 || r.ID == "" || len(r.ID) > 255 {
					t.Errorf("%s: rule %q, %s, severity %v", name, r.ID, r.HelpURI, r.Properties["security-severity"])
				}
				for what, text := range map[string]string{"shortDescription": r.ShortDescription.Text,
					"fullDescription": r.FullDescription.Text, "help": r.Help.Text, "help.markdown": r.Help.Markdown} {
					if text == "" || len(text) > 1024 {
						t.Errorf("%s: %s of %s has %d characters", name, what, r.ID, len(text))
					}
				}
				if tags, _ := r.Properties["tags"].([]any); !slices.Contains(tags, any("security")) || len(tags) > 20 {
					t.Errorf("%s: tags of %s: %v", name, r.ID, tags)
				}
				if !slices.Contains([]string{"note", "warning", "error"}, r.DefaultConfiguration.Level) {
					t.Errorf("%s: level of %s: %q", name, r.ID, r.DefaultConfiguration.Level)
				}
				if want := map[string]string{"CMEK": "8.0", "PROBES": "5.0"}[r.ID]; want != "" && r.Properties["security-severity"] != want {
					t.Errorf("%s: severity of %s is %v, want %s", name, r.ID, r.Properties["security-severity"], want)
				}
			}
			for _, r := range run.Results {
				if r.Message.Text == "" || len(r.Locations) == 0 ||
					r.PartialFingerprints["primaryLocationLineHash"] == "" || r.RuleIndex == nil && r.RuleID == "" {
					t.Errorf("%s: a result of %s lacks something: %+v", name, r.RuleID, r)
				}
				for _, l := range r.Locations {
					if uri := l.PhysicalLocation.ArtifactLocation.URI; uri == "" || strings.Contains(uri, " ") || l.PhysicalLocation.Region.StartLine < 1 {
						t.Errorf("%s: location %q, line %d", name, uri, l.PhysicalLocation.Region.StartLine)
					}
				}
				for _, s := range r.Suppressions {
					if s.Kind != "external" && s.Kind != "inSource" || s.Status != "accepted" || s.Justification == "" {
						t.Errorf("%s: suppression %+v", name, s)
					}
				}
			}
		}
	}
}

// TestSARIFLocationsAreRelative: GitHub refuses a whole upload for one location that is empty ("expected artifact
// location"), or that has a scheme other than the checkout's ("SARIF URI scheme … did not match the checkout URI scheme
// "file""). A registry with a port, and a file with a colon in its name, have none.
func TestSARIFLocationsAreRelative(t *testing.T) {
	at := func(reference string) attestor.Decision {
		d := refused(1)
		d.Image.Requested, d.Image.Reference = reference, reference+"@"+string(d.Image.Digest)
		return d
	}
	finding := func(service, file string) attestor.PostureFinding {
		return attestor.PostureFinding{Rule: "CMEK", Service: service, Kind: "service", File: file, Line: 3,
			Status: attestor.StatusDeny, Message: "no key"}
	}
	posture := report.Services(attestor.PostureReport{Services: 4, Verdict: attestor.Deny, Findings: []attestor.PostureFinding{
		finding("a", "a:b/c.yaml"), finding("exported resources", ""), finding("", ""), finding("d", "dir/e:f.yaml"),
	}}, nil)

	for name, tt := range map[string]struct {
		text string
		want []string
	}{
		"decisions": {encode(t, report.SARIF, report.Options{}, at("localhost:5000/app"), at("127.0.0.1:5000/app"), at("us-docker.pkg.dev/p/r/app")),
			[]string{"./localhost:5000/app@sha256:", "./127.0.0.1:5000/app@sha256:", "us-docker.pkg.dev/p/r/app@sha256:"}},
		"posture": {document(t, report.SARIF, posture, report.Options{}), []string{"./a:b/c.yaml", "exported%20resources", "unknown", "dir/e:f.yaml"}},
	} {
		var doc uploaded
		if err := json.Unmarshal([]byte(tt.text), &doc); err != nil {
			t.Fatal(err)
		}
		found := map[string]bool{}
		for _, run := range doc.Runs {
			for _, r := range run.Results {
				for _, l := range r.Locations {
					uri := l.PhysicalLocation.ArtifactLocation.URI
					if u, err := url.Parse(uri); err != nil || u.Scheme != "" || u.Host != "" || u.Path == "" {
						t.Errorf("%s: %q is not a relative reference: %v", name, uri, err)
					}
					for _, want := range tt.want {
						found[want] = found[want] || strings.HasPrefix(uri, want)
					}
				}
			}
		}
		for _, want := range tt.want {
			if !found[want] {
				t.Errorf("%s: no result is at %s", name, want)
			}
		}
	}
}
