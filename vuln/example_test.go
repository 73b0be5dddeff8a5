package vuln_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	grafeas "cloud.google.com/go/grafeas/apiv1"
	"google.golang.org/api/option"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/vuln"
)

// A report by Trivy is stored under a note of one's own, and then read as the
// gate reads it.
func Example() {
	ctx := context.Background()
	e, err := emulator.New(emulator.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = e.Close() }()
	client, err := grafeas.NewClient(ctx, option.WithGRPCConn(e.Conn()))
	if err != nil {
		fmt.Println(err)
		return
	}

	img, err := attestor.ParseImage("us-docker.pkg.dev/acme/prod/api@sha256:0000000000000000000000000000000000000000000000000000000000000001")
	if err != nil {
		fmt.Println(err)
		return
	}

	const report = `{"SchemaVersion": 2, "CreatedAt": "2026-11-20T12:00:00Z", "ArtifactType": "container_image",
		"ArtifactName": "us-docker.pkg.dev/acme/prod/api@sha256:0000000000000000000000000000000000000000000000000000000000000001",
		"Metadata": {"OS": {"Family": "alpine", "Name": "3.22.1"}},
		"Results": [{"Target": "api (alpine 3.22.1)", "Class": "os-pkgs", "Type": "alpine", "Vulnerabilities": [
			{"VulnerabilityID": "CVE-2019-14697", "PkgName": "musl", "InstalledVersion": "1.1.20-r4", "FixedVersion": "1.1.20-r5", "Severity": "CRITICAL"}]}]}`

	const note = "projects/acme-security/notes/trivy"
	in, err := vuln.Import(strings.NewReader(report), vuln.Target{Image: img, Note: note})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := vuln.Upload(ctx, vuln.UploadConfig{Client: client, Project: "acme"}, in); err != nil {
		fmt.Println(err)
		return
	}

	s, err := vuln.New(vuln.Config{Client: client, Now: time.Now, NoListLag: true})
	if err != nil {
		fmt.Println(err)
		return
	}

	scan := s.Scan(ctx, attestor.ScanRequest{Image: img, Needs: attestor.ScanNeeds{Trusted: []string{note}}})
	fmt.Println(scan.State, len(scan.Findings))
	v := scan.Findings[0]
	fmt.Println(v.ID, v.Severity, v.Package, v.Version, "fixed in", v.FixedVersion)

	scan = s.Scan(ctx, attestor.ScanRequest{Image: img}) // by a policy that trusts Google's scanner only
	fmt.Println(scan.State)
	// Output:
	// complete 1
	// CVE-2019-14697 CRITICAL musl 1.1.20-r4 fixed in 1.1.20-r5
	// not-found
}
