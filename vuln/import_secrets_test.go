package vuln_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/vuln"
)

// withSecrets is what `trivy image --format json`, which looks for vulnerabilities and secrets unless it is told
// otherwise, writes of an image: a result for each file with secrets beside those with packages.
func withSecrets(results ...string) string {
	return `{"SchemaVersion": 2, "CreatedAt": "2026-11-20T12:00:00Z", "ArtifactType": "container_image",
		"ArtifactName": "x/y@` + string(digest(1)) + `",
		"Metadata": {"OS": {"Family": "debian", "Name": "12.5"}},
		"Results": [{"Target": "x/y (debian 12.5)", "Class": "os-pkgs", "Type": "debian", "Packages": [{"Name": "bash"}],
		"Vulnerabilities": [{"VulnerabilityID": "CVE-2026-1", "PkgName": "bash", "InstalledVersion": "5", "Severity": "LOW"}]}` +
		strings.Join(append([]string{""}, results...), ",") + `]}`
}

// leak is a result of Trivy's about one file, with a secret by each rule.
func leak(file string, rules ...string) string {
	var list []string
	for _, r := range rules {
		list = append(list, fmt.Sprintf(`{"RuleID": %q, "Category": "c", "Severity": "CRITICAL", "Title": "t", "StartLine": 1, "EndLine": 1,
			"Code": {"Lines": [{"Number": 1, "Content": "hunter2"}]}, "Match": "hunter2", "Layer": {"Digest": %q, "DiffID": %q}}`, r, digest(2), digest(3)))
	}
	return fmt.Sprintf(`{"Target": %q, "Class": "secret", "Secrets": [%s]}`, file, strings.Join(list, ","))
}

// TestSecretsOfAReport: a secret that Trivy found is stored and read as one, with its file and layer and without its
// value; a suppressed one too. The next import for the image replaces them.
func TestSecretsOfAReport(t *testing.T) {
	f, img := newFixture(t), api(t)
	c := vuln.UploadConfig{Client: f.client, Project: "acme"}
	trusting := attestor.ScanRequest{Image: img, Needs: attestor.ScanNeeds{Trusted: []string{houseNote}}}
	secret := func(kind, path string) attestor.Secret {
		return attestor.Secret{Kind: kind, Path: path, Status: "UNKNOWN", DiffID: digest(3), Note: houseNote + "-secrets"}
	}
	suppressed := `{"Target": "/app/test.pem", "Class": "secret", "ExperimentalModifiedFindings": [{"Type": "secret", "Status": "ignored",
		"Source": ".trivyignore", "Finding": {"RuleID": "private-key", "Layer": {"DiffID": "` + string(digest(3)) + `"}}}]}`

	for i, step := range []struct {
		report            string
		created, replaced int
		want              []attestor.Secret
	}{
		{withSecrets(leak("/app/key.json", "gcp-service-account"), leak("/app/.env", "aws-access-key-id", "aws-access-key-id")), 3, 0,
			[]attestor.Secret{secret("GCP_SERVICE_ACCOUNT_KEY", "/app/key.json"), secret("UNKNOWN", "/app/.env")}},
		{withSecrets(suppressed), 2, 3, []attestor.Secret{secret("UNKNOWN", "/app/test.pem")}},
		{withSecrets(), 1, 2, nil},
	} {
		in, err := vuln.Import(strings.NewReader(step.report), vuln.Target{Image: img, Note: houseNote})
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(fmt.Sprint(in.Secrets, in.Notes), "hunter2") {
			t.Errorf("step %d: the secret itself is stored", i)
		}
		got, err := vuln.Upload(t.Context(), c, in)
		if err != nil || got.Created != step.created || got.Replaced != step.replaced {
			t.Fatalf("step %d: %+v, %v, want %d created and %d replaced", i, got, err, step.created, step.replaced)
		}

		scan := f.scanner(t, nil).Scan(t.Context(), trusting)
		if scan.State != attestor.ScanComplete || len(scan.Findings) != 1 {
			t.Errorf("step %d: state %q with %d findings", i, scan.State, len(scan.Findings))
		}
		if diff := cmp.Diff(step.want, scan.Secrets); diff != "" {
			t.Errorf("step %d: (-want +got):\n%s", i, diff)
		}
	}
}

// TestSecretsAreBounded: secrets count among what can be imported, and their note is nobody else's.
func TestSecretsAreBounded(t *testing.T) {
	var b strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&b, `,{"RuleID": "r%d"}`, i)
	}
	report := withSecrets(`{"Target": "/a", "Class": "secret", "Secrets": [` + b.String()[1:] + `]}`)
	_, err := vuln.Import(strings.NewReader(report), vuln.Target{Image: api(t), Note: houseNote})
	if attestor.KindOf(err) != attestor.TooLarge {
		t.Errorf("100,000 secrets and a vulnerability: %v", err)
	}

	report = strings.Replace(withSecrets(leak("/a", "private-key")), "CVE-2026-1", "house-secrets", 1)
	_, err = vuln.Import(strings.NewReader(report), vuln.Target{Image: api(t), Note: "projects/acme-security/notes/house"})
	if attestor.KindOf(err) != attestor.Invalid || !strings.Contains(err.Error(), "the name of a vulnerability") {
		t.Errorf("a vulnerability with the name of the secrets' note: %v", err)
	}
}

// TestVulnerabilitiesOfEveryClass: a vulnerability that Trivy names counts in a result of whatever class.
func TestVulnerabilitiesOfEveryClass(t *testing.T) {
	for _, class := range []string{"lang-pkgs", "custom", "later", ""} {
		report := withSecrets(fmt.Sprintf(`{"Target": "t", "Class": %q, "Type": "t", "Vulnerabilities": [
			{"VulnerabilityID": "CVE-2026-2", "PkgName": "p", "InstalledVersion": "1", "Severity": "HIGH"}]}`, class))
		in, err := vuln.Import(strings.NewReader(report), vuln.Target{Image: api(t), Note: houseNote})
		if err != nil || len(in.Vulnerabilities) != 2 {
			t.Errorf("class %q: %d vulnerabilities, %v", class, len(in.Vulnerabilities), err)
		}
	}
}
