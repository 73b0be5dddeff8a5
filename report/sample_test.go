package report_test

import (
	"fmt"
	"iter"
	"time"

	"github.com/attestor-gate/attestor"
)

// estate is a made-up organisation's month, newest decision first: n images of
// some thirty teams, most of which pass by the end.
func estate(n int) iter.Seq2[attestor.Record, error] {
	return func(yield func(attestor.Record, error) bool) {
		for i := range n {
			if !yield(estateRecord(i, n), nil) {
				return
			}
		}
	}
}

func estateRecord(i, n int) attestor.Record {
	teams := []string{"payments", "checkout", "search", "ledger", "identity", "mobile-bff", "pricing", "catalogue",
		"shipping", "returns", "risk", "platform", "data", "ads", "support"}
	bases := []string{"distroless-static", "distroless-java", "acme-java", "acme-node", "debian-slim"}
	d := passed(i)
	now := day.AddDate(0, 0, 30)
	d.Time = now.Add(-time.Duration(i) * 30 * 24 * time.Hour / time.Duration(n))
	repo := fmt.Sprintf("us-docker.pkg.dev/acme/%s/service-%d", teams[i%len(teams)], i%211)
	d.Image = attestor.DecidedImage{Requested: repo + ":v1", Reference: repo + "@" + string(digest(i)), Digest: digest(i)}
	d.DryRun = true
	p := &d.Platforms[0]
	p.Base.Name, p.Base.Current = bases[i%len(bases)], i%7 != 0
	if !p.Base.Current {
		p.Base.Behind = fmt.Sprintf("%dd", i%60+1)
	}

	age := i * 10 / n // the further back, the worse
	p.Scan.Counts = map[attestor.Severity]int{attestor.Critical: i % 2 * age / 4, attestor.High: i%4 + age/3,
		attestor.Medium: i%9 + 2, attestor.Low: i % 13, attestor.Minimal: i % 5}
	ev := attestor.Evidence{Platforms: []attestor.PlatformEvidence{
		{Child: p.Child, Base: attestor.Base{Name: p.Base.Name, Evidence: attestor.LayersExact, Layers: 1},
			Layers: []attestor.Layer{{DiffID: digest(1)}, {DiffID: digest(2)}}}}}

	for j := range 3 {
		published := now.AddDate(0, 0, -(i*7+j*31)%200)
		v := attestor.Vulnerability{ID: fmt.Sprintf("CVE-2026-%d", j), Severity: attestor.Severities()[(i+j)%5],
			DiffIDs: []attestor.Digest{digest(1 + j%2)}, Published: &published}
		if (i+j)%11 == 0 {
			v.Published = nil
		}

		ev.Platforms[0].Scan.Findings = append(ev.Platforms[0].Scan.Findings, v)
	}

	estateVerdict(&d, i, age)
	return attestor.Record{Decision: d, Evidence: ev}
}

func estateVerdict(d *attestor.Decision, i, age int) {
	deny := func(check int, code attestor.Code, subject, message, fix string) {
		d.Verdict = attestor.Deny
		d.Checks[check].Status = attestor.StatusDeny
		d.Checks[check].Reasons = append(d.Checks[check].Reasons, attestor.Reason{Code: code, Subject: subject, Message: message, Fix: fix})
	}

	switch {
	case i%(12-age) == 3:
		deny(2, attestor.CodeFixableSeverityExceeded, "CVE-2026-1234", "CRITICAL in openssl 3.0.11, limit for fixable is MEDIUM", "update openssl to 3.0.15")
		if i%2 == 0 {
			deny(2, attestor.CodeFixableSeverityExceeded, "CVE-2026-77",
				"HIGH in log4j-core 2.17.0, limit for fixable is MEDIUM", "update log4j-core to 2.17.1")
		}

	case i%17 == 5:
		deny(0, attestor.CodeBaseOutdated, d.Platforms[0].Base.Name,
			"the base is 41 days behind its tag, the policy allows 14",
			"rebuild on the current "+d.Platforms[0].Base.Name)

	case i%29 == 7:
		deny(1, attestor.CodeUserNotSet, "", "no user is set, so that the image runs as root", "add USER 65532:65532 to the Dockerfile")

	case i%53 == 11:
		d.Platforms[0].Base = attestor.BaseSummary{}
		deny(0, attestor.CodeBaseNotApproved, "", "the image is built on no approved base; the author claims "+
			"docker.io/library/alpine:3.20", "build FROM one of distroless-static, acme-java")

	case i%61 == 13:
		d.Verdict = attestor.Undecided
		d.Checks[2].Status = attestor.StatusError
		d.Checks[2].Reasons = []attestor.Reason{{Code: attestor.CodeScanRunning, Message: "the scan is under way", Fix: "ask again when the scan has finished"}}
	}

	if i%97 == 0 {
		d.Checks[2].Exceptions = []attestor.AppliedException{
			{ID: "CVE-2025-9", Owner: "payments", Reason: "not reachable: the parser is never called",
				Expires: "2027-06-30", Subject: "CVE-2025-9 in zlib"}}
	}
	if i%211 == 1 {
		d.Checks[2].Exceptions = []attestor.AppliedException{{ID: "CVE-2025-31", Owner: "search",
			Reason: "fixed upstream, release due", Expires: "2026-12-31", Subject: "CVE-2025-31 in libxml2"}}
	}
	if i == 40 || i == 900 {
		d.DryRun, d.Verdict = false, attestor.Deny
		d.BreakGlass = &attestor.BreakGlass{Reason: "INC-4711: payments are down, the fix cannot wait for the rescan", By: "oncall@example.com"}
	}
	if i == 5 {
		d.Checks = append(d.Checks, attestor.Check{Name: attestor.CheckPolicy, Status: attestor.StatusWarn,
			Reasons: []attestor.Reason{{Code: attestor.CodeExceptionStale, Subject: "CVE-2024-3",
				Message: "it matched nothing", Fix: "remove it from the policy"}}})
	}
}
