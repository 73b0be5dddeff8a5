package policy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
)

// otherPolicy is a policy that evidence was gathered for, and another one that judges it.
type otherPolicy struct {
	name     string
	old, new []string // lines of the strict policy
	change   func(*attestor.Evidence)
	want     []string // what the evidence cannot answer; none: the image passes by what is known
}

// changed is the strict policy with other lines. Lines of null are left out, and other bases take the place of its own.
func changed(t *testing.T, lines []string) string {
	t.Helper()
	others := slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "    approved:") })
	var out []string
	for _, l := range strings.Split(edited(t, lines...), "\n") {
		if !strings.HasSuffix(l, ": null") && (!others || !strings.HasPrefix(l, "      - {name: ")) {
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n")
}

// judgedAgain judges evidence that has nothing against the image by another policy than it was gathered for.
func judgedAgain(t *testing.T, tt otherPolicy) {
	t.Helper()
	old := one(t, changed(t, tt.old))
	ev := old.Exemplary(prodImage, today())
	if tt.change != nil {
		tt.change(&ev)
	}
	if got := old.Judge(ev).Outcome(); got != attestor.Pass {
		t.Fatalf("the policy that the evidence was gathered for says %s: %+v", got, old.Judge(ev).Checks())
	}

	report := simulate(t, setOf(t, changed(t, tt.new)), attestor.Record{
		Decision: attestor.Decision{ID: "1", Time: today(), Verdict: attestor.Pass}, Evidence: ev, PolicyText: old.Text(),
	})
	var got []string
	for _, f := range report.Flips {
		for _, r := range f.Reasons {
			if r.Code != attestor.CodeEvidenceMissing {
				t.Errorf("%s: %s", r.Code, r.Message)
			}
			got = append(got, r.Subject)
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(tt.want, got); diff != "" {
		t.Errorf("what the evidence cannot answer (-want +got):\n%s", diff)
	}

	// An image of which nobody knows is counted as that, and neither as a pass nor as a denial.
	counted := attestor.Pass
	if len(tt.want) > 0 {
		counted = attestor.Undecided
	}
	one := map[attestor.Outcome]int{counted: 1}
	if diff := cmp.Diff(one, report.After); diff != "" {
		t.Errorf("decisions (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(one, report.Images.After); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
}

// approvedBases is a line of approved bases.
func approvedBases(entries ...string) string {
	return "    approved: [" + strings.Join(entries, ", ") + "]"
}

const (
	staticTagged = "{name: static, repository: registry.example/base/static, tags: [latest], maxBehind: 14d}"
	javaTagged   = "{name: java, repository: registry.example/base/java, tags: [latest]}"
)

func byDigest(name, more string, digests ...string) string {
	for i, d := range digests {
		digests[i] = `"sha256:` + strings.Repeat(d, 64) + `"`
	}
	return "{name: " + name + ", repository: registry.example/base/" + name + ", digests: [" +
		strings.Join(digests, ", ") + "]" + more + "}"
}

// TestSimulateBelievesNoSilence: that evidence holds nothing against an image lets it pass by another policy only where
// everything was looked for that could.
func TestSimulateBelievesNoSilence(t *testing.T) {
	const (
		scanner   = "    scan: {required: true, trusted: [projects/p/notes/n]}"
		project   = "    scan: {required: true, projects: [acme-scans]}"
		own       = "    scan: {required: true}"
		unasked   = "    scan: {required: false}"
		unaskedBy = "    scan: {required: false, projects: [acme-scans]}"
		noSecrets = "  secrets: {found: ignore}"
	)
	vex := func(rest string) string { return "    vex: {accept: [fixed], " + rest + "}" }
	excused := findings(vulnerability("CVE-1-1", func(v *attestor.Vulnerability) {
		v.Severity, v.VEX = attestor.Critical, []attestor.VEX{{Project: "acme-security", Status: "fixed"}}
	}))
	unscanned := on(func(e *attestor.PlatformEvidence) { e.Scan = attestor.Scan{State: attestor.ScanNotFound} })
	unsearched := on(func(e *attestor.PlatformEvidence) { e.Scan.SecretsListed = false })
	remarks := on(func(e *attestor.PlatformEvidence) {
		e.Scan.Unread, e.Scan.KindsUnlisted = []attestor.UnreadKind{{Kind: "COMPLIANCE", Count: 1}}, true
	})
	cloudBuilt := on(func(e *attestor.PlatformEvidence) { e.Provenance[0].Source = "cloud-build" })

	of := func(check ...string) []string { return check }
	base, scan, secrets := attestor.CheckBase, attestor.CheckVulnerabilities, attestor.CheckSecrets
	provenance, packages := attestor.CheckProvenance, attestor.CheckPackages
	list := func(l ...string) []string { return l }

	for _, tt := range []otherPolicy{
		{"another limit", nil, list("    maximumEPSS: 0.4"), nil, nil},
		{"a scanner more", list(own), list(scanner), nil, of(secrets, scan)},
		{"a scanner less", list(scanner), list(own), nil, nil},
		{"a project more", list(own), list(project), nil, of(secrets, scan)},
		{"a project less", list(project), list(own), nil, of(secrets, scan)},
		{"a project more, and secrets do not count", list(own, noSecrets), list(project, noSecrets), nil, of(scan)},
		{"a project more, and nobody searched", list(own), list(project), unsearched, of(secrets, scan)},
		{"a project more, and there was no scan", list(unasked), list(unaskedBy), unscanned, of(secrets, scan)},
		{"the same, and there was no scan", list(unasked), list(unasked, "    maximumEPSS: 0.4"), unscanned, nil},

		{"a VEX project more", list(vex("projects: [a-project]")), list(vex("projects: [a-project, b-project]")), nil, nil},
		{"a VEX project more, and remarks", list(vex("projects: [a-project]")),
			list(vex("projects: [a-project, b-project]")), remarks, nil},
		{"a VEX project more, and an excuse", list(vex("projects: [acme-security]")),
			list(vex("projects: [acme-security, b-project]")), excused, of(scan)},
		{"the same VEX, and an excuse", list(vex("projects: [acme-security]")),
			list(vex("projects: [acme-security]"), "    maximumEPSS: 0.4"), excused, nil},
		{"another source of VEX", list(vex("sources: [" + ours + "]")), list(vex("sources: [" + vendors + "]")), nil, nil},
		{"dates of publication", list("    gracePeriod: null"), nil, nil, nil},
		{"the system was not looked up", list("    endOfLife: ignore"), list("    endOfLife: warn"), nil, of(scan)},
		{"the system was looked up", list("    endOfLife: warn"), list("    endOfLife: deny"), nil, nil},
		{"neither VEX nor the system", list("    endOfLife: ignore", vex("projects: [a-project]")),
			list("    endOfLife: deny", vex("projects: [b-project]")), nil, of(scan)},

		{"a scanner less, and the system", list(scanner, "    endOfLife: ignore"), list(own, "    endOfLife: deny"), nil, of(scan)},
		{"a project more, and VEX", list(own, noSecrets, vex("projects: [a-project]")),
			list(project, noSecrets, vex("projects: [b-project]")), nil, of(scan)},

		{"a base more, by tags", list(approvedBases(staticTagged)), list(approvedBases(staticTagged, javaTagged)), nil, of(base)},
		{"a base more, by digests", list(approvedBases(staticTagged)),
			list(approvedBases(staticTagged, byDigest("java", "", "7"))), nil, nil},
		{"a base more, by signed digests", list(approvedBases(staticTagged)),
			list(approvedBases(staticTagged, byDigest("java", ", signedBy: {key: /k}", "7"))), nil, of(base)},
		{"a digest more", list(approvedBases(byDigest("java", "", "7"))), list(approvedBases(byDigest("java", "", "7", "8"))), nil, nil},
		{"a signed digest more", list(approvedBases(byDigest("java", ", signedBy: {key: /k}", "7"))),
			list(approvedBases(byDigest("java", ", signedBy: {key: /k}", "7", "8"))), nil, of(base)},
		{"another signer", list(approvedBases(byDigest("java", ", signedBy: {key: /k}", "7"))),
			list(approvedBases(byDigest("java", ", signedBy: {key: /l}", "7"))), nil, of(base)},
		{"a base less", list(approvedBases(staticTagged, javaTagged)), list(approvedBases(staticTagged)), nil, nil},
		{"other tags", list(approvedBases(staticTagged)),
			list(approvedBases(strings.Replace(staticTagged, "latest", "stable", 1))), nil, of(base)},
		{"a weaker proof", list("    evidence: layers-exact"), nil, nil, of(base)},
		{"a stronger proof", nil, list("    evidence: layers-exact"), nil, nil},
		{"the same builders attest bases", list("    evidence: attested"),
			list("    evidence: attested", "    maximumEPSS: 0.4"), nil, nil},
		{"other builders attest bases", list("    evidence: attested"), list("    evidence: attested",
			`  provenance: {slsaLevel: 3, builders: ["https://builder.example/1", b]}`), nil, of(base)},
		{"fewer builders attest bases", list("    evidence: attested",
			`  provenance: {slsaLevel: 3, builders: ["https://builder.example/1", b]}`),
			list("    evidence: attested", `  provenance: {slsaLevel: 3, builders: ["https://builder.example/1"]}`), nil, of(base)},
		{"other signers attest bases", list("    evidence: attested", `  provenance: {builders: [b], signedBy: {key: /a}}`),
			list("    evidence: attested", "  provenance: {builders: [b]}"), cloudBuilt, of(base)},
		{"nobody attests bases", list("    evidence: attested"), list("    evidence: attested", "  provenance: null"), nil, of(base)},
		{"a base more, with limits of its own", list(approvedBases(staticTagged)), list(
			approvedBases(staticTagged, byDigest("java", "", "7")),
			"    baseFindings: {maximumFixableSeverity: LOW, maximumUnfixableSeverity: LOW}"), nil, of(scan)},
		{"a base more, with an end", list(approvedBases(staticTagged), "    endOfLife: deny"), list("    endOfLife: deny",
			approvedBases(staticTagged, byDigest("java", ", endOfLife: 2026-01-01", "7"))), nil, of(scan)},
		{"a base more, whose end does not count", list(approvedBases(staticTagged)), list("    endOfLife: ignore",
			approvedBases(staticTagged, byDigest("java", ", endOfLife: 2026-01-01", "7"))), nil, nil},

		{"the user has a number", nil, list("  user: {nonRoot: true, names: resolve}"), nil, nil},
		{"the upload time was not asked for", list("  scope: null"), list("  scope: {maxUploadAge: 2d}"), nil,
			of(attestor.CheckScope)},

		{"another signer of provenance", list("  provenance: {slsaLevel: 3, signedBy: {key: /a}}"),
			list("  provenance: {slsaLevel: 3, signedBy: {key: /b}}"), nil, of(provenance)},
		{"no signer of provenance", list("  provenance: {slsaLevel: 3, signedBy: {key: /a}}"),
			list("  provenance: {slsaLevel: 3}"), cloudBuilt, nil},
		{"a signer of provenance more", list("  provenance: {slsaLevel: 3}"),
			list("  provenance: {slsaLevel: 3, signedBy: {key: /a}}"), nil, of(provenance)},
		{"another signer of summaries", list(staged), list(strings.Replace(staged, "stage.pub", "other.pub", 1)), nil,
			of(provenance)},
		{"no signer of summaries", list(staged), list("  provenance: {slsaLevel: 2}"), nil, nil},
		{"Cloud Build as a builder", nil, list(`  provenance: {slsaLevel: 3, builders: ["https://builder.example/1", ` +
			`"https://cloudbuild.googleapis.com/GoogleHostedWorker"]}`), nil, nil},

		{"another signer of SBOMs", list(strings.Replace(sbomOptional, "sbom.pub", "other.pub", 1)), list(sbomOptional),
			nil, of(packages)},
		{"another signer of SBOMs, and there is none", list(strings.Replace(sbomOptional, "sbom.pub", "other.pub", 1)),
			list(sbomOptional), without, of(packages)},
		{"SBOMs were not looked for", nil, list(sbomOptional), nil, of(packages)},
		{"the same signer of SBOMs", list(sbomOptional), list(sbomRequired), nil, nil},
		{"a project more, and denied packages", list(own, noSecrets, sbomRequired),
			list(project, noSecrets, sbomRequired, "  packages: {deny: [{name: log4j}]}"), nil, of(packages, scan)},
		{"a project more, and no denied packages", list(own, noSecrets, sbomRequired),
			list(project, noSecrets, sbomRequired), nil, of(scan)},
	} {
		t.Run(tt.name, func(t *testing.T) { judgedAgain(t, tt) })
	}
}

// TestSimulateRulesOnWhatWasGatheredAlike: a rule is true or false only by evidence that was gathered as the policy would
// have it gathered.
func TestSimulateRulesOnWhatWasGatheredAlike(t *testing.T) {
	rule := func(expression string) string {
		return "  rules: [{name: r, message: m, expression: '" + expression + "'}]"
	}
	same := "    maximumEPSS: 0.4"
	project := []string{"    scan: {required: true, projects: [acme-scans]}", "  secrets: {found: ignore}"}
	for variable, tt := range map[string]struct {
		expression string
		old, new   []string
		also       []string // checks that the evidence cannot answer either
	}{
		"subject": {"subject.uploaded < time", []string{"  scope: {maxUploadAge: 2d}"},
			[]string{`  scope: {trustedDirectories: ["registry.example/acme/**"]}`}, nil},
		"user": {"user.uid != 0", []string{"  user: {nonRoot: true, names: resolve}"}, []string{"  user: {nonRoot: true}"}, nil},
		"base": {`base.name != "x"`, []string{approvedBases(staticTagged, javaTagged)},
			[]string{approvedBases(staticTagged)}, nil},
		"scan": {"size(scan.findings) == 0", []string{"    scan: {required: true}", "  secrets: {found: ignore}"}, project,
			[]string{attestor.CheckVulnerabilities}},
		"provenance": {"provenance.all(p, p.slsaLevel > 0)", nil, []string{"  provenance: null"}, nil},
		"sbom": {"size(sbom.packages) == 0", []string{strings.Replace(sbomRequired, "sbom.pub", "other.pub", 1)},
			[]string{sbomRequired}, []string{attestor.CheckPackages}},
		"vex": {"size(vex) == 0", []string{"    vex: {accept: [fixed], projects: [a-project]}"},
			[]string{"    vex: {accept: [fixed], projects: [b-project]}"}, nil},
	} {
		t.Run(variable, func(t *testing.T) {
			judgedAgain(t, otherPolicy{
				old: tt.old, new: append([]string{rule(tt.expression)}, tt.new...),
				want: slices.Sorted(slices.Values(append([]string{"r"}, tt.also...))),
			})
			judgedAgain(t, otherPolicy{old: tt.old, new: append([]string{rule("image.user != \"\""), same}, tt.new...), want: tt.also})
			judgedAgain(t, otherPolicy{old: tt.new, new: append([]string{rule(tt.expression), same}, tt.new...)})
		})
	}

	// What a rule would refuse by facts that were not gathered alike is no refusal either.
	judgedAgain(t, otherPolicy{
		old: []string{approvedBases(staticTagged, javaTagged)}, want: []string{"r"},
		new: []string{approvedBases(staticTagged), rule(`base.name == "x"`)},
	})
	judgedAgain(t, otherPolicy{
		old: []string{approvedBases(staticTagged, javaTagged)}, want: []string{"r"},
		new: []string{approvedBases(staticTagged), rule(`base.name == "x"`),
			`  provenance: {slsaLevel: 3, builders: ["https://builder.example/1"], ` + from + `}`},
	})
}
