package corpus

import (
	"fmt"
	"math"
	"strings"
	"time"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/attestor-gate/attestor"
)

// scanned is a case about what Container Analysis says of an image that is
// otherwise good.
func scanned(name, policy string, want Want, say func(uri string) []*grafeaspb.Occurrence) Case {
	return Case{Name: name, Policy: policy, Want: want, Arrange: func(p *Place) {
		d := p.Push(p.Good())
		p.Scans[d] = say(p.Resource(d))
	}}
}

// indexFound is a case about what is said of an index's own digest, whose children
// are scanned, and neither of which is for linux/amd64.
func indexFound(name string, want Want, say func(uri string) []*grafeaspb.Occurrence) Case {
	return Case{Name: name, Policy: AnyBase, Want: want, Arrange: func(p *Place) {
		arm, z := p.Good(), p.Good()
		arm.Arch, z.Arch = "arm64", "s390x"
		p.PushTo(p.Repo, "arm64", arm)
		p.PushTo(p.Repo, "s390x", z)
		p.Notes = append(p.Notes, say(p.Resource(p.Manifest("1", OCIIndex, Index(arm.Entry(), z.Entry()))))...)
	}}
}

// policyOf is Standard with more said of vulnerabilities.
func policyOf(vulnerabilities string) string {
	return `
  base:
    required: true
    approved: [{name: debian, repository: $BASE, tags: ["1"]}]
  user: {nonRoot: true}
  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH` + vulnerabilities + `}`
}

const houseNote = "projects/acme-security/notes/trivy"

func scans() []Case {
	const group = "scans/"
	now := time.Now()
	type list = []*grafeaspb.Occurrence
	in := func(s grafeaspb.DiscoveryOccurrence_AnalysisStatus, changes ...Change) func(string) list {
		return func(uri string) list { return list{Discovery(uri, s, now, changes...)} }
	}

	done := grafeaspb.DiscoveryOccurrence_FINISHED_SUCCESS
	fact := func(f func(d *grafeaspb.DiscoveryOccurrence)) Change {
		return func(o *grafeaspb.Occurrence) { f(o.GetDiscovery()) }
	}
	none := waiting(attestor.CodeScanNotFound)
	return []Case{
		scanned(group+"none", "", none, func(string) list { return nil }),
		scanned(group+"findings but no scan", "", none,
			func(uri string) list { return list{Finding(uri, "CVE-2026-1", grafeaspb.Severity_LOW)} }),
		scanned(group+"pending", "", waiting(attestor.CodeScanPending), in(grafeaspb.DiscoveryOccurrence_PENDING)),
		scanned(group+"running", "", waiting(attestor.CodeScanRunning), in(grafeaspb.DiscoveryOccurrence_SCANNING)),
		scanned(group+"running, with a finding above the limit already", "",
			denied(attestor.CodeScanRunning, attestor.CodeFixableSeverityExceeded), func(uri string) list {
				return list{Discovery(uri, grafeaspb.DiscoveryOccurrence_SCANNING, now),
					Finding(uri, "CVE-2026-1", grafeaspb.Severity_CRITICAL)}
			}),
		scanned(group+"failed", "", denied(attestor.CodeScanFailed), in(grafeaspb.DiscoveryOccurrence_FINISHED_FAILED)),
		scanned(group+"finished, with errors", "", denied(attestor.CodeScanFailed), in(done, fact(func(d *grafeaspb.DiscoveryOccurrence) {
			d.AnalysisError = append(d.AnalysisError, status.New(codes.Internal, "layer 3 could not be read").Proto())
		}))),
		scanned(group+"unsupported", "", denied(attestor.CodeScanUnsupported),
			in(grafeaspb.DiscoveryOccurrence_FINISHED_UNSUPPORTED)),
		scanned(group+"without a status", "", undecided(attestor.CodeScanStateUnknown), in(0)),
		scanned(group+"with a status of tomorrow", "", undecided(attestor.CodeScanStateUnknown), in(77)),
		scanned(group+"no longer continuous", "", denied(attestor.CodeScanInactive), in(done, fact(func(d *grafeaspb.DiscoveryOccurrence) {
			d.ContinuousAnalysis = grafeaspb.DiscoveryOccurrence_INACTIVE
		}))),
		scanned(group+"not said to be continuous", "", denied(attestor.CodeScanInactive),
			in(done, fact(func(d *grafeaspb.DiscoveryOccurrence) { d.ContinuousAnalysis = 0 }))),
		scanned(group+"archived", "", denied(attestor.CodeScanArchived), in(done, fact(
			func(d *grafeaspb.DiscoveryOccurrence) { d.ArchiveTime = timestamppb.New(now.Add(-time.Minute)) }))),
		scanned(group+"stale", policyOf(", scan: {maxAge: 1h}"), denied(attestor.CodeScanTooOld), in(done)),
		scanned(group+"of the future", policyOf(", scan: {maxAge: 1h}"), admitted(), in(done, fact(
			func(d *grafeaspb.DiscoveryOccurrence) { d.LastScanTime = timestamppb.New(now.Add(time.Minute)) }))),
		scanned(group+"without a package type that is asked for", policyOf(", scan: {packageTypes: [OS, GO]}"),
			denied(attestor.CodeScanPackageTypeMissing), in(done, fact(func(d *grafeaspb.DiscoveryOccurrence) {
				d.AnalysisCompleted = &grafeaspb.DiscoveryOccurrence_AnalysisCompleted{AnalysisType: []string{"OS"}}
			}))),
		scanned(group+"by another kind of analysis", "", none,
			in(done, Under("projects/goog-analysis/notes/COMPLIANCE"))),
		scanned(group+"by a namesake's note", "", none,
			in(done, Under("projects/mallory/notes/PACKAGE_VULNERABILITY"))),
		scanned(group+"by a project that looks like Google's", "", none,
			in(done, Under("projects/goog-analysis-2/notes/PACKAGE_VULNERABILITY"))),
		scanned(group+"by a scanner that is not trusted", "", none, in(done, Under(houseNote))),
		scanned(group+"by another note of a trusted project", policyOf(
			", scan: {continuous: optional, trusted: ["+houseNote+"]}"), none, in(done, Under(houseNote+"-2"))),
		scanned(group+"of another digest", "", none,
			func(uri string) list { return list{Complete(uri[:len(uri)-2]+"00", now)} }),
		scanned(group+"of the same digest elsewhere", "", none, func(uri string) list {
			return list{Complete("https://elsewhere.example/app"+uri[len(uri)-72:], now)}
		}),
		scanned(group+"under a name with another scheme", "", none,
			func(uri string) list { return list{Complete("http"+uri[5:], now)} }),
		scanned(group+"succeeded, then failed", "", denied(attestor.CodeScanFailed), func(uri string) list {
			return list{Complete(uri, now, said(now.Add(-3*time.Hour))),
				Discovery(uri[8:], grafeaspb.DiscoveryOccurrence_FINISHED_FAILED, now, said(now.Add(-2*time.Hour)))}
		}),
		{Name: group + "of an index, and not of its second child", Policy: AnyBase, Want: denied(attestor.CodeScanNotOfChild), Arrange: func(p *Place) {
			amd, arm := p.Good(), p.Good()
			arm.Arch = "arm64"
			p.PushTo(p.Repo, "amd64", amd)
			p.Scans[p.PushTo(p.Repo, "arm64", arm)] = nil
			p.Manifest("1", OCIIndex, Index(amd.Entry(), arm.Entry()))
		}},
		indexFound(group+"a finding on an index without a child of the scanner's", denied(attestor.CodeFixableSeverityExceeded), func(uri string) list {
			return list{Finding(uri, "CVE-2026-1", grafeaspb.Severity_CRITICAL)}
		}),
		indexFound(group+"malware on an index without a child of the scanner's", denied(attestor.CodeMaliciousPackage), func(uri string) list {
			return list{Finding(uri, "MAL-2026-1", grafeaspb.Severity_MINIMAL)}
		}),
		indexFound(group+"nothing on an index without a child of the scanner's", admitted(),
			func(string) list { return nil }).
			mending("scans/a finding on an index without a child of the scanner's"),
		// The gate asks that project too, and takes its absence for nothing found there: neither for a scan nor for a
		// failure.
		scanned(group+"in a project that Container Analysis does not have", policyOf(", scan: {projects: [none]}"),
			none, func(string) list { return nil }),
		scanned(group+"beside a project that Container Analysis does not have", policyOf(", scan: {projects: [none]}"),
			admitted(), in(done)).
			mending("scans/in a project that Container Analysis does not have"),
		scanned(group+"finished", "", admitted(), in(done)).mending("scans/pending"),
		scanned(group+"fresh", policyOf(", scan: {maxAge: 30d}"), admitted(), in(done)).mending("scans/stale"),
		scanned(group+"with the package types that are asked for", policyOf(", scan: {packageTypes: [OS, GO]}"),
			admitted(), in(done, fact(func(d *grafeaspb.DiscoveryOccurrence) {
				d.AnalysisCompleted = &grafeaspb.DiscoveryOccurrence_AnalysisCompleted{AnalysisType: []string{"OS",
					"GO"}}
			}))).mending("scans/without a package type that is asked for"),
		scanned(group+"by the note that is trusted", policyOf(
			", scan: {continuous: optional, trusted: ["+houseNote+"]}"), admitted(), in(done, Under(houseNote))).
			mending("scans/by another note of a trusted project"),
	}
}

// said is when a scanner spoke last.
func said(at time.Time) Change {
	return func(o *grafeaspb.Occurrence) { o.GetDiscovery().LastScanTime = timestamppb.New(at) }
}

func findings() []Case {
	const group = "findings/"
	now := time.Now()
	type issue = grafeaspb.VulnerabilityOccurrence_PackageIssue
	with := func(severity grafeaspb.Severity, changes ...Change) func(string) []*grafeaspb.Occurrence {
		return func(uri string) []*grafeaspb.Occurrence {
			return []*grafeaspb.Occurrence{Complete(uri, now), Finding(uri, "CVE-2026-1", severity, changes...)}
		}
	}

	const medium, high, critical = grafeaspb.Severity_MEDIUM, grafeaspb.Severity_HIGH, grafeaspb.Severity_CRITICAL
	severities := func(own, effective, provider grafeaspb.Severity) Change {
		return Vulnerable(func(v *grafeaspb.VulnerabilityOccurrence, p *issue) {
			p.EffectiveSeverity, v.EffectiveSeverity, v.Severity = own, effective, provider
		})
	}

	unfixed := Vulnerable(func(v *grafeaspb.VulnerabilityOccurrence, p *issue) {
		p.FixAvailable, v.FixAvailable, p.FixedVersion = false, false,
			&grafeaspb.Version{Kind: grafeaspb.Version_MAXIMUM}
	})
	excused := func(note string) Change {
		return Vulnerable(func(v *grafeaspb.VulnerabilityOccurrence, _ *issue) {
			v.VexAssessment = &grafeaspb.VulnerabilityOccurrence_VexAssessment{NoteName: note,
				State: grafeaspb.VulnerabilityAssessmentNote_Assessment_NOT_AFFECTED}
		})
	}

	vex := policyOf(", vex: {accept: [not_affected], projects: [acme-security]}")
	fixable, unfixable := denied(attestor.CodeFixableSeverityExceeded), denied(attestor.CodeUnfixableSeverityExceeded)
	epss := func(p float64) Change {
		return Vulnerable(func(v *grafeaspb.VulnerabilityOccurrence, _ *issue) {
			v.Risk = &grafeaspb.Risk{Epss: &grafeaspb.ExploitPredictionScoringSystem{Score: p}}
		})
	}

	allowAll := strings.NewReplacer("Severity: MEDIUM", "Severity: ALLOW_ALL", "Severity: HIGH",
		"Severity: ALLOW_ALL").Replace(policyOf(""))

	return []Case{
		scanned(group+"at the limit", "", admitted(), with(medium)),
		scanned(group+"fixable, above the limit", "", fixable, with(high)),
		scanned(group+"unfixable, at the limit", "", admitted(), with(high, unfixed)),
		scanned(group+"unfixable, above the limit", "", unfixable, with(critical, unfixed)),
		scanned(group+"worse by the package than by the occurrence", "", fixable,
			with(medium, severities(critical, medium, medium))),
		scanned(group+"worse by the occurrence, the package says nothing", "", fixable,
			with(0, severities(0, critical, medium))),
		scanned(group+"without a severity", "", denied(attestor.CodeUnspecifiedSeverity), with(0)),
		scanned(group+"of a severity of tomorrow", "", denied(attestor.CodeUnknownFinding), with(99)),
		scanned(group+"of a severity of tomorrow, beside limits that allow all", allowAll,
			denied(attestor.CodeUnknownFinding), with(critical, severities(99, critical, critical))),
		scanned(group+"of the worst severity of today, beside limits that allow all", allowAll, admitted(),
			with(critical)).
			mending("findings/of a severity of tomorrow, beside limits that allow all"),
		scanned(group+"by anybody's note", "", fixable, with(critical, Under("projects/mallory/notes/CVE-2026-1"))),
		scanned(group+"marked unfixable, with a fixed version", "", fixable, with(high, Vulnerable(func(
			v *grafeaspb.VulnerabilityOccurrence, p *issue) {
			p.FixAvailable, v.FixAvailable = false, false
		}))),
		scanned(group+"blocked by name", policyOf(", blockedCves: [CVE-2026-1]"), denied(attestor.CodeCVEBlocked),
			with(grafeaspb.Severity_MINIMAL)),
		scanned(group+"malware, of the least severity", "", denied(attestor.CodeMaliciousPackage), func(uri string) []*grafeaspb.Occurrence {
			return []*grafeaspb.Occurrence{
				Discovery(uri, grafeaspb.DiscoveryOccurrence_FINISHED_SUCCESS, time.Now()),
				Finding(uri, "MAL-2026-1", grafeaspb.Severity_MINIMAL),
			}
		}),
		scanned(group+"known to be exploited", policyOf(", knownExploited: deny"), denied(attestor.CodeKnownExploited),
			with(medium, Vulnerable(func(v *grafeaspb.VulnerabilityOccurrence, _ *issue) {
				v.Risk = &grafeaspb.Risk{CisaKev: &grafeaspb.CISAKnownExploitedVulnerabilities{}}
			}))),
		scanned(group+"likely to be exploited", policyOf(", maximumEPSS: 0.5"), denied(attestor.CodeEPSSExceeded),
			with(medium, epss(0.97))),
		scanned(group+"with an invalid probability", policyOf(", maximumEPSS: 0.5"),
			denied(attestor.CodeEPSSExceeded), with(medium, epss(math.NaN()))),
		scanned(group+"without a probability", policyOf(", maximumEPSS: 0.5"),
			withAdvice(admitted(), attestor.CodeNotReported), with(medium)),
		scanned(group+"excused by whoever is trusted", vex, admitted(),
			with(critical, excused("projects/acme-security/notes/image-1"))),
		scanned(group+"excused by a stranger", vex, fixable, with(critical, excused("projects/mallory/notes/image-1"))),
		scanned(group+"anybody's, excused in a trusted project's name", vex, fixable, with(critical,
			Under("projects/mallory/notes/CVE-2026-1"), excused("projects/acme-security/notes/image-1"))),
		scanned(group+"excused by an exception that expired",
			policyOf(", allowedCves: [{id: CVE-2026-1, owner: o, reason: r, expires: 2020-01-01}]"),
			withAdvice(fixable, attestor.CodeExceptionExpired), with(critical)),
		scanned(group+"excused by an exception for another package", policyOf(", allowedCves: [{id: CVE-2026-1, "+
			"packages: [zlib], owner: o, reason: r, expires: 2099-01-01}]"), fixable, with(critical)),
		scanned(group+"the worst on the last of 1,500", "", fixable, func(uri string) []*grafeaspb.Occurrence {
			out := []*grafeaspb.Occurrence{Complete(uri, now)}
			for n := range 1500 {
				out = append(out, Finding(uri, fmt.Sprintf("CVE-2026-%d", n), grafeaspb.Severity_LOW))
			}
			return append(out, Finding(uri, "CVE-2026-LAST", critical))
		}),
	}
}

func withAdvice(w Want, codes ...attestor.Code) Want {
	w.Advice = codes
	return w
}
