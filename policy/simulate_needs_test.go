package policy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

// TestSimulateKnowsWhatWasLookedUp: recorded evidence answers another policy where
// it was gathered for at least as much. Where it was not, what it holds is an error
// and not a refusal.
func TestSimulateKnowsWhatWasLookedUp(t *testing.T) {
	const missing = attestor.CodeEvidenceMissing
	const static = "      - {name: static, repository: registry.example/base/static, tags: [latest], maxBehind: 14d, signedBy: {key: /keys/base.pub}}"
	java := "digests: [\"sha256:" + strings.Repeat("7", 64) + "\"]"
	with := func(old, new string) func(string) string {
		return func(text string) string {
			if !strings.Contains(text, old) {
				t.Fatalf("the policy does not have %q", old)
			}
			return strings.Replace(text, old, new, 1)
		}
	}
	lines := func(list ...string) func(string) string { return func(string) string { return edited(t, list...) } }
	same := func(text string) string { return text }

	noBase := on(func(e *attestor.PlatformEvidence) { e.Base = attestor.Base{} })
	notUploaded := func(ev *attestor.Evidence) { ev.Uploaded = nil }
	critical := findings(vulnerability("CVE-1-1", func(v *attestor.Vulnerability) { v.Severity = attestor.Critical }))
	builder := on(func(e *attestor.PlatformEvidence) { e.Provenance[0].Builder = "other" })

	inNoSystem := on(func(e *attestor.PlatformEvidence) { e.System, e.Scan.System = nil, nil })
	inOldTable := on(inImage(system(attestor.SystemFromImage, "2030-06-30", func(s *attestor.System) {
		s.Table = "2020-01-01"
	})))
	systemUnread := on(func(e *attestor.PlatformEvidence) {
		inImage(system(attestor.SystemFromImage, "2030-06-30"))(e)
		e.Problems = []attestor.Problem{{Check: attestor.CheckVulnerabilities, Status: attestor.StatusError,
			Reason: attestor.Reason{Code: attestor.CodeSystemUnreadable, Message: "m"}}}
	})
	unproven := on(func(e *attestor.PlatformEvidence) { e.Provenance = nil })
	const membersDeny = "  user: {nonRoot: true, names: resolve, rootGroup: deny}"
	const numbersDeny = "  user: {nonRoot: true, names: refuse, rootGroup: deny}"
	memberByNumber := on(func(e *attestor.PlatformEvidence) {
		e.Problems = []attestor.Problem{{Check: attestor.CheckUser, Status: attestor.StatusDeny,
			Reason: attestor.Reason{Code: attestor.CodeGroupRoot, Message: "m"}}}
	})

	tests := []struct {
		name     string
		old, new func(string) string
		change   func(*attestor.Evidence)
		want     attestor.Code // of the one refusal; "" for a pass
	}{
		{"the same bases", same, lines("    maximumEPSS: 0.4"), noBase, attestor.CodeBaseNotApproved},
		{"a base that may be older", same, with("maxBehind: 14d", "maxBehind: 15d"), noBase, attestor.CodeBaseNotApproved},
		{"a stronger proof of the base", same, lines("    evidence: layers-exact"), noBase, attestor.CodeBaseNotApproved},
		{"a digest less", with(java, java[:len(java)-1]+", \"sha256:"+strings.Repeat("8", 64)+"\"]"), same, noBase, attestor.CodeBaseNotApproved},
		{"a base less", same, with(static+"\n", ""), noBase, attestor.CodeBaseNotApproved},
		{"a weaker proof of the base", same, lines("    evidence: attested"), noBase, missing},
		{"a base by another name", same, with("name: static,", "name: other,"), noBase, missing},
		{"a base of another repository", same, with("base/static,", "base/other,"), noBase, missing},
		{"another tag", same, with("tags: [latest]", "tags: [stable]"), noBase, missing},
		{"another signer of the base", same, with("/keys/base.pub", "/keys/other.pub"), noBase, missing},
		{"a digest more", same, with(java, java[:len(java)-1]+", \"sha256:"+strings.Repeat("8", 64)+"\"]"), noBase, missing},
		{"a base more", with(static+"\n", ""), same, noBase, missing},
		{"no base was looked for", with("    required: true", "    required: false"), same, noBase, missing},
		{"no base is asked for", with("name: static,", "name: other,"), with("    required: true", "    required: false"), noBase, ""},

		{"the upload time was asked for", same, lines(`  scope: {maxUploadAge: 2d}`), notUploaded, attestor.CodeUploadTimeUnknown},
		{"the upload time was not asked for", lines(`  scope: {trustedDirectories: ["registry.example/acme/**"]}`),
			lines(`  scope: {maxUploadAge: 2d}`), notUploaded, missing},
		{"other directories", lines(`  scope: {trustedDirectories: ["registry.example/acme/**"]}`), lines(
			`  scope: {trustedDirectories: ["registry.example/acme/x"]}`), notUploaded, attestor.CodeOutOfScope},

		{"names were looked up", lines("  user: {nonRoot: true, names: resolve}"),
			lines("  user: {nonRoot: true, names: resolve, minimumUID: 5}"), rootUser, attestor.CodeUserRoot},
		{"names are not to be looked up", lines("  user: {nonRoot: false}"), same, rootUser, attestor.CodeUserRoot},
		{"names are no longer looked up", lines("  user: {nonRoot: true, names: resolve}"), same, rootUser, attestor.CodeUserRoot},
		{"names were not looked up", same, lines("  user: {nonRoot: true, names: resolve}"), rootUser, missing},
		{"names were not looked up, of a number", same, lines("  user: {nonRoot: true, names: resolve}"), func(*attestor.Evidence) {}, ""},
		{"groups of a number were looked up", lines(membersDeny), lines(membersDeny), memberByNumber, attestor.CodeGroupRoot},
		{"groups of a number are no longer looked up", lines(membersDeny), lines("  user: {nonRoot: true, rootGroup: deny}"),
			memberByNumber, attestor.CodeGroupRoot},
		{"groups of a number were not looked up", lines("  user: {nonRoot: true, names: resolve}"), lines(membersDeny),
			func(*attestor.Evidence) {}, missing},
		{"neither names nor groups of a number were looked up", same, lines(membersDeny), func(*attestor.Evidence) {}, missing},
		{"groups of a number were not looked up, and names are refused", same, lines(numbersDeny), func(*attestor.Evidence) {},
			missing},
		{"groups of a number were looked up, and names were refused", lines(numbersDeny), lines(membersDeny),
			func(*attestor.Evidence) {}, ""},
		{"groups of a number were looked up, and names are refused", lines(numbersDeny), lines(numbersDeny), memberByNumber,
			attestor.CodeGroupRoot},

		{"the same scanners", same, lines("    maximumEPSS: 0.4"), critical, attestor.CodeFixableSeverityExceeded},
		{"a scanner more", same, lines("    scan: {required: true, trusted: [projects/p/notes/n]}"), critical, missing},
		{"a scanner less", lines("    scan: {required: true, trusted: [projects/p/notes/n]}"), same, critical, missing},
		{"a project more", same, lines("    scan: {required: true, projects: [acme-scans]}"), critical, missing},
		{"a project less", lines("    scan: {required: true, projects: [acme-scans]}"), same, critical, missing},
		{"a VEX project more", same, lines("    vex: {accept: [fixed], projects: [acme-security, acme-other]}"), critical, missing},
		{"a VEX project less", lines("    vex: {accept: [fixed], projects: [acme-security, acme-other]}"), same,
			critical, attestor.CodeFixableSeverityExceeded},
		{"a source of VEX more", same,
			lines("    vex: {accept: [fixed], projects: [acme-security], sources: [" + ours + "]}"), critical, missing},
		{"another source of VEX", lines("    vex: {accept: [fixed], sources: [" + ours + "]}"),
			lines("    vex: {accept: [fixed], sources: [" + vendors + "]}"), critical, missing},
		{"a source of VEX less", lines("    vex: {accept: [fixed], sources: [" + ours + ", " + vendors + "]}"),
			lines("    vex: {accept: [fixed], sources: [" + vendors + "]}"), critical, attestor.CodeFixableSeverityExceeded},
		{"the same sources of VEX", lines("    vex: {accept: [fixed], sources: [" + ours + "]}"),
			lines("    vex: {accept: [not_affected], sources: [" + ours + "]}"), critical,
			attestor.CodeFixableSeverityExceeded},
		{"the system was not looked up", lines("    endOfLife: ignore"), lines("    endOfLife: deny"), critical, missing},
		{"the system was looked up", lines("    endOfLife: warn"), lines("    endOfLife: deny"), critical, attestor.CodeFixableSeverityExceeded},
		{"the system is not to be looked up", lines("    endOfLife: deny"), lines("    endOfLife: ignore"), critical, attestor.CodeFixableSeverityExceeded},
		{"another grace", same, lines("    gracePeriod: {HIGH: 1d}"), critical, attestor.CodeFixableSeverityExceeded},
		{"grace, and dates were not asked for", with("    gracePeriod: {HIGH: 7d}\n", ""), same, critical, missing},
		{"no grace", same, with("    gracePeriod: {HIGH: 7d}\n", ""), critical, attestor.CodeFixableSeverityExceeded},
		{"grace, before and after", same, lines("    maximumEPSS: 0.4"), critical, attestor.CodeFixableSeverityExceeded},
		{"no grace, before and after", with("    gracePeriod: {HIGH: 7d}\n", ""), func(text string) string {
			return strings.Replace(with("    gracePeriod: {HIGH: 7d}\n", "")(text), "maximumEPSS: 0.5", "maximumEPSS: 0.4", 1)
		}, critical, attestor.CodeFixableSeverityExceeded},
		{"kinds that are not judged", same, lines("    scan: {required: true, trusted: [projects/p/notes/n]}"), on(func(e *attestor.PlatformEvidence) {
			e.Scan.Unread, e.Scan.KindsUnlisted = []attestor.UnreadKind{{Kind: "COMPLIANCE", Count: 1}}, true
		}), missing},
		{"a remark alone", same, lines("    scan: {required: true, trusted: [projects/p/notes/n]}"),
			findings(vulnerability("CVE-1-1", func(v *attestor.Vulnerability) { v.KnownExploited = nil })), missing},

		{"the same signer of provenance", same, lines(`  provenance: {slsaLevel: 2, builders: ["b"]}`), builder, attestor.CodeProvenanceBuilder},
		{"another signer of provenance", lines(`  provenance: {slsaLevel: 3, signedBy: {key: /a}}`),
			lines(`  provenance: {slsaLevel: 3, builders: ["b"], signedBy: {key: /b}}`), builder, missing},
		{"no signer of provenance", lines(`  provenance: {slsaLevel: 3, signedBy: {key: /a}}`),
			lines(`  provenance: {slsaLevel: 3}`), unproven, missing},
		{"no signer of summaries", lines(staged), lines(`  provenance: {slsaLevel: 2}`), unproven, missing},
		{"Cloud Build as a builder", same, lines(`  provenance: {slsaLevel: 3, builders: ["https://builder.example/1", ` +
			`"https://cloudbuild.googleapis.com/GoogleHostedWorker"]}`), unproven, missing},
		{"the same signer of summaries", lines(staged), lines(strings.Replace(staged, "2d", "1d", 1)), unproven,
			attestor.CodeProvenanceMissing},
		{"another signer of summaries", lines(staged), lines(strings.Replace(staged, "stage.pub", "other.pub", 1)), unproven,
			missing},
		{"summaries were not looked for", lines("  provenance: {slsaLevel: 2}"), lines(staged), unproven, missing},
		{"a system that is not known, alone", lines("    endOfLife: deny"),
			lines("    endOfLife: deny", "    scan: {required: true, trusted: [projects/p/notes/n]}"), inNoSystem, missing},
		{"an old table of ends, alone", lines("    endOfLife: deny"),
			lines("    endOfLife: deny", "    scan: {required: true, trusted: [projects/p/notes/n]}"), inOldTable, missing},
		{"a system that was not read, alone", lines("    endOfLife: warn"),
			lines("    endOfLife: warn", "    scan: {required: true, trusted: [projects/p/notes/n]}"), systemUnread, missing},
		{"the same signer of SBOMs", lines(sbomOptional), lines(sbomRequired), without, attestor.CodeSBOMMissing},
		{"another signer of SBOMs", lines(strings.Replace(sbomOptional, "sbom.pub", "other.pub", 1)), lines(sbomRequired),
			without, missing},
		{"SBOMs were not looked for", same, lines(sbomRequired), without, missing},
		{"SBOMs are not asked for", lines(sbomRequired), same, without, ""},
		{"provenance was not looked for", with("  provenance:", "  #"), same, on(func(e *attestor.PlatformEvidence) { e.Provenance = nil }), missing},
		{"provenance is not asked for", same, with("  provenance:", "  #"), builder, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			old := one(t, tt.old(strict))
			ev := old.Exemplary(prodImage, today())
			tt.change(&ev)
			report := simulate(t, setOf(t, tt.new(strict)), attestor.Record{
				Decision: attestor.Decision{ID: "1", Time: today(), Verdict: attestor.Pass}, Evidence: ev, PolicyText: old.Text(),
			})
			var want, got []attestor.Code
			if tt.want != "" {
				want = append(want, tt.want)
			}
			for _, f := range report.Flips {
				for _, r := range f.Reasons {
					got = append(got, r.Code)
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(want, slices.Compact(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestNeedsFollowTheSettings: what no setting asks for is not looked up.
func TestNeedsFollowTheSettings(t *testing.T) {
	needs := func(lines ...string) attestor.Needs { return with(t, lines...).Needs() }
	if !needs().UploadTime || needs(`  scope: {trustedDirectories: ["registry.example/acme/**"]}`).UploadTime {
		t.Error("the upload time is asked for where its age is limited, and only there")
	}
	if !needs().Scan.Advisories || one(t, minimal).Needs().Scan.Advisories {
		t.Error("publication dates are asked for where there is a grace period, and only there")
	}
	if v := needs("    vex: {accept: [fixed], sources: [" + ours + ", " + vendors + "]}").VEX; needs().VEX != nil ||
		!slices.Equal(v.Texts(), []string{oursText, vendorsText}) {
		t.Errorf("documents are asked for where sources are named, and only there: %q", v.Texts())
	}
	if needs().ResolveNames || !needs("  user: {nonRoot: true, names: resolve}").ResolveNames {
		t.Error("names are looked up where they may be resolved, and only there")
	}
	for line, want := range map[string]bool{
		"  user: {nonRoot: true, names: resolve, rootGroup: deny}":  true,
		"  user: {nonRoot: true, names: resolve, rootGroup: warn}":  false,
		"  user: {nonRoot: true, names: resolve, rootGroup: allow}": false,
		"  user: {nonRoot: true, names: refuse, rootGroup: deny}":   true,
		"  user: {nonRoot: true, names: refuse, rootGroup: warn}":   false,
	} {
		if needs(line).ResolveMembers != want {
			t.Errorf("%s: groups of a number are looked up: %t, want %t", line, !want, want)
		}
	}
}

// TestExemplaryEvidence: what test cases start from is what the settings ask for.
func TestExemplaryEvidence(t *testing.T) {
	of := func(p *policy.Policy) attestor.PlatformEvidence { return p.Exemplary(prodImage, today()).Platforms[0] }

	e := of(with(t))
	if !e.Base.Current || e.Base.Listed || e.Base.Name != "static" {
		t.Errorf("a base by tag: %+v", e.Base)
	}
	if e.Config.User != "65532:65532" || *e.User.UID != 65532 || *e.User.GID != 65532 {
		t.Errorf("user %q, %+v", e.Config.User, e.User)
	}
	if !slices.Equal(e.Scan.Analyses, []string{"OS"}) {
		t.Errorf("analyses %v", e.Scan.Analyses)
	}
	if p := e.Provenance[0]; p.Source != "cloud-build" || p.SLSALevel != 3 {
		t.Errorf("provenance %+v", p)
	}

	e = of(one(t, strings.Replace(strict, "tags: [latest], maxBehind: 14d", `digests: ["sha256:`+strings.Repeat("9", 64)+`"]`, 1)))
	if e.Base.Current || !e.Base.Listed || e.Base.Digest != attestor.Digest("sha256:"+strings.Repeat("9", 64)) {
		t.Errorf("a base by digest: %+v", e.Base)
	}
	e = of(with(t, "  provenance: {slsaLevel: 4, signedBy: {key: /k}}", "  user: {nonRoot: true, minimumUID: 70000}", "    scan: {packageTypes: [GO]}"))
	if p := e.Provenance[0]; p.Source != "cosign" || p.SLSALevel != 4 {
		t.Errorf("provenance by a signer: %+v", p)
	}
	if *e.User.UID != 70000 || !slices.Equal(e.Scan.Analyses, []string{"OS", "GO"}) {
		t.Errorf("user %+v, analyses %v", e.User, e.Scan.Analyses)
	}
}
