package report_test

import (
	"fmt"
	"time"

	"github.com/attestor-gate/attestor"
)

var day = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func digest(n int) attestor.Digest { return attestor.Digest(fmt.Sprintf("sha256:%064x", n)) }

// passed is a decision on the n-th image without anything to complain of.
func passed(n int) attestor.Decision {
	uid := int64(65532)
	const repo = "us-docker.pkg.dev/acme/prod/api"
	return attestor.Decision{
		ID: fmt.Sprintf("0199-%06d", n), Time: day.Add(time.Duration(n) * time.Minute), DurationMS: 84,
		Image: attestor.DecidedImage{Requested: repo + ":v7", Reference: repo + "@" + string(digest(n)),
			Digest: digest(n), MediaType: "application/vnd.oci.image.manifest.v1+json"},
		Verdict: attestor.Pass,
		Policy:  &attestor.PolicyRef{Name: "production", Digest: digest(1 << 20), Mode: attestor.Enforce},
		Platforms: []attestor.PlatformSummary{{
			Child: attestor.Child{Platform: "linux/amd64", Digest: digest(n)},
			User:  attestor.User{Configured: "65532:65532", UID: &uid, GID: &uid, Source: attestor.UserFromConfig},
			Base: attestor.BaseSummary{Name: "distroless-static", Reference: "gcr.io/distroless/static@" + string(
				digest(77)), Evidence: attestor.LayersExact, Layers: 2, Current: true, Behind: "0d"},
			Scan: attestor.ScanSummary{State: attestor.ScanComplete, Finished: &day,
				Counts: map[attestor.Severity]int{attestor.High: 1, attestor.Low: 4}, Fixable: 1},
		}},
		Checks: []attestor.Check{
			{Name: attestor.CheckBase, Platform: "linux/amd64", Status: attestor.StatusPass, Reasons: []attestor.Reason{}},
			{Name: attestor.CheckUser, Platform: "linux/amd64", Status: attestor.StatusPass, Reasons: []attestor.Reason{}},
			{Name: attestor.CheckVulnerabilities, Platform: "linux/amd64", Status: attestor.StatusPass, Reasons: []attestor.Reason{}},
			{Name: attestor.CheckAttest, Status: attestor.StatusPass, Reasons: []attestor.Reason{}},
		},
		Attestations: []attestor.Attestation{{Attestor: "projects/acme/attestors/gate", Note: "projects/acme/notes/gate",
			Occurrence: "projects/acme/occurrences/1", Digest: digest(n), Created: true}},
		Caller: attestor.CallerRef{Subject: "build@acme.iam.gserviceaccount.com", Issuer: "https://accounts.google.com"},
	}
}

// refused is one with three vulnerabilities, two of which one update clears.
func refused(n int) attestor.Decision {
	d := passed(n)
	d.Verdict, d.Attestations = attestor.Deny, []attestor.Attestation{}
	reason := func(cve, pkg, fix string) attestor.Reason {
		return attestor.Reason{Code: attestor.CodeFixableSeverityExceeded, Severity: attestor.Refuses, Subject: cve,
			Message: "CRITICAL in " + pkg + ", limit for fixable is MEDIUM", Fix: fix}
	}

	d.Checks[2].Status = attestor.StatusDeny
	d.Checks[2].Reasons = []attestor.Reason{
		reason("CVE-2026-1234", "openssl 3.0.11", "update openssl to 3.0.15"),
		reason("CVE-2026-1235", "openssl 3.0.11", "update openssl to 3.0.15"),
		reason("CVE-2026-9", "zlib 1.2.13", "update zlib to 1.3.1"),
	}

	d.Checks[2].Exceptions = []attestor.AppliedException{{ID: "CVE-2025-9", Owner: "payments",
		Reason: "not reachable", Expires: "2026-12-31", Subject: "CVE-2025-9 in zlib"}}
	d.Checks[3] = attestor.Check{Name: attestor.CheckAttest, Status: attestor.StatusSkipped, Reasons: []attestor.Reason{
		{Code: attestor.CodeNotAttested, Severity: attestor.Informs, Message: "the image did not pass"}}}
	return d
}

// undecided is one whose scan has not finished.
func undecided(n int) attestor.Decision {
	d := refused(n)
	d.Verdict = attestor.Undecided
	d.Platforms[0].Scan = attestor.ScanSummary{State: attestor.ScanRunning}
	d.Checks[2] = attestor.Check{Name: attestor.CheckVulnerabilities, Platform: "linux/amd64", Status: attestor.StatusError, Reasons: []attestor.Reason{
		{Code: attestor.CodeScanRunning, Message: "the scan is under way", Fix: "wait for it: attestor attest --wait 10m"},
	}}

	return d
}

func overridden(n int) attestor.Decision {
	d := refused(n)
	d.BreakGlass = &attestor.BreakGlass{Reason: "INC-4711: payments are down", By: "oncall@example.com"}
	d.Attestations = passed(n).Attestations
	d.Checks[3] = passed(n).Checks[3]
	return d
}

// hostileText is an attack on every format.
const hostileText = "=cmd|'/c calc'!A0\x1b[2J\x1b]0;owned\x07\u009b31m\u202egnp.exe\u202c\x00\r\n" +
	"\t<script>alert(1)</script>](javascript:alert(1))|@everyone `x` &lt; \"'>\xff"

// hostile has an attack in every text that somebody else may choose.
func hostile(n int) attestor.Decision {
	const attack = hostileText
	d := refused(n)
	d.Image.Requested, d.Image.Reference = attack, attack
	d.Labels = map[string]string{attack: attack}
	d.Policy.Name = attack
	d.BreakGlass = &attestor.BreakGlass{Reason: attack, By: attack}
	d.Caller = attestor.CallerRef{Subject: attack, Issuer: attack}
	d.Platforms[0].Platform, d.Platforms[0].User.Configured, d.Platforms[0].Base.Name = attack, attack, attack
	d.Deploy = []string{attack}
	d.ID = attack

	for i := range d.Checks {
		d.Checks[i].Platform, d.Checks[i].Name = attack, attack
		d.Checks[i].Reasons = []attestor.Reason{{Code: attack, Subject: attack, Message: attack, Fix: attack}}
		d.Checks[i].Exceptions = []attestor.AppliedException{{ID: attack, Owner: attack, Reason: attack, Expires: attack, Subject: attack}}
	}

	d.Attestations = []attestor.Attestation{{Attestor: attack}}
	return d
}
