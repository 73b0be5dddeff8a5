package migrate_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
	"github.com/attestor-gate/attestor/policy/migrate"
)

func today() time.Time { return time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC) }

// options are what the tests add to every source.
func options(change ...func(*migrate.Options)) migrate.Options {
	o := migrate.Options{
		Images: []string{
			"gcr.io/**",
			"us-docker.pkg.dev/**",
			"us-central1-docker.pkg.dev/**",
		}, Attestors: []string{"projects/acme/attestors/gate"},
		Owner: "team-api", Expires: time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC), Now: today(),
	}
	for _, c := range change {
		c(&o)
	}
	return o
}

func source(t testing.TB, name string) policy.Source {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "public", name))
	if err != nil {
		t.Fatal(err)
	}
	return policy.Source{Name: name, Text: text}
}

// imported is the policy that an import writes.
func imported(t testing.TB, o migrate.Options, sources ...policy.Source) (*policy.Policy, migrate.Result) {
	t.Helper()
	result, err := migrate.Import(sources, o)
	if err != nil {
		t.Fatalf("%s: %v", sources[0].Name, err)
	}
	if result.Policy == nil {
		t.Fatalf("%s: nothing is written: %+v", sources[0].Name, result.LostFields())
	}
	return loaded(t, result.Policy), result
}

func loaded(t testing.TB, text []byte) *policy.Policy {
	t.Helper()
	set, err := policy.Parse(policy.Source{Name: "imported.yaml", Text: text})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return set.All()[0]
}

// An image is what both a source and an imported policy judge.
type image struct {
	repository string
	user       string
	age        int // days since its upload
	found      []finding
	builder    string // "": the default one
	from       string // the source repository
	attested   bool   // by somebody else, under a key of the source
	signed     bool   // the same, with cosign
}

// A finding is one occurrence, with its severity in each package.
type finding struct {
	note     string
	severity string
	packages []affected
}

type affected struct {
	severity string
	fixable  bool
}

func cve(id, severity string, fixable bool) finding {
	return finding{note: "projects/goog-vulnz/notes/" + id, severity: severity, packages: []affected{{severity, fixable}}}
}

// evidence is what the gate would find out about the image.
func (i image) evidence(p *policy.Policy) attestor.Evidence {
	ev := p.Exemplary(i.repository, today())
	ev.Uploaded = new(today().AddDate(0, 0, -i.age))
	e := &ev.Platforms[0]
	e.Config.User, e.User = i.user, userOf(i.user)
	e.Provenance = []attestor.Provenance{
		{Source: "cloud-build", Builder: "https://cloudbuild.googleapis.com/GoogleHostedWorker", SLSALevel: 3,
			SourceURI: i.from},
	}
	if i.builder != "" {
		e.Provenance[0].Builder = i.builder
	}
	e.Scan = attestor.Scan{State: attestor.ScanComplete, Note: attestor.Scan{}.By().Note, Finished: new(today()), Continuous: "ACTIVE"}
	for n, f := range i.found {
		for k, a := range f.packages {
			severity := attestor.Severity(a.severity)
			if a.severity == "SEVERITY_UNSPECIFIED" {
				severity = attestor.Unspecified
			}
			e.Scan.Findings = append(e.Scan.Findings, attestor.Vulnerability{
				ID: f.note[strings.LastIndex(f.note, "/")+1:], Note: f.note, Severity: severity, Fixable: a.fixable,
				Package: "package-" + string(rune('a'+n)) + string(rune('a'+k)), PackageType: "OS", Version: "1",
			})
		}
	}
	return ev
}

// userOf is what the gate makes of the users that the tests have: names are those of an /etc/passwd with root and app.
func userOf(configured string) attestor.User {
	name, group, grouped := strings.Cut(configured, ":")
	uids := map[string]int64{"": 0, "root": 0, "0": 0, "00": 0, "1000": 1000, "65532": 65532, "app": 1000}
	u := attestor.User{Configured: configured, UID: new(uids[name]), GID: new(int64(0)), Source: attestor.UserFromConfig}
	if name == "app" || name == "root" {
		u.Source = attestor.UserFromPasswd
	}
	if grouped {
		u.GID = new(uids[group])
	}
	return u
}

// TestPublicPolicies imports what others have published, and shows with images what the imported policy tells apart.
func TestPublicPolicies(t *testing.T) {
	good := func(change ...func(*image)) image {
		i := image{repository: "gcr.io/acme/api", user: "65532:65532"}
		for _, c := range change {
			c(&i)
		}
		return i
	}
	in := func(repository string) func(*image) { return func(i *image) { i.repository = repository } }
	with := func(f ...finding) func(*image) { return func(i *image) { i.found = f } }
	selects := func(parts ...string) func(*migrate.Options) { return func(o *migrate.Options) { o.Select = parts } }
	of := func(project string) func(*migrate.Options) {
		return func(o *migrate.Options) { o.Images = []string{"gcr.io/" + project + "/**"} }
	}

	for _, tt := range []struct {
		files   string
		options []func(*migrate.Options)
		passes  []image
		denies  []image
	}{
		{"voucher-testdata.toml", []func(*migrate.Options){selects("env2")},
			[]image{good(in("gcr.io/voucher-test-project/api")), good(in("gcr.io/voucher-test-project/api"), with(cve("CVE-1-1", "CRITICAL", true)))},
			[]image{good(), good(in("gcr.io/voucher-test-project-evil/api")),
				good(in("gcr.io/voucher-test-project/api"), func(i *image) { i.user = "root:root" })}},
		{"kritis-isp-example.yaml", nil,
			[]image{good(), good(with(cve("CVE-1-1", "HIGH", true))), good(with(cve("CVE-1-1", "CRITICAL", false)))},
			[]image{good(with(cve("CVE-1-1", "CRITICAL", true))), good(in("gcr.io/my/image"), with(cve("CVE-1-1", "CRITICAL", true))),
				good(with(cve("CVE-2017-1000082", "CRITICAL", true)))}},
		{"kritis-isp-tutorial.yaml", nil, []image{good(with(cve("CVE-1-1", "MEDIUM", true)))}, []image{good(with(cve("CVE-1-1", "HIGH", true)))}},
		{"kritis-isp-2018.yaml", nil, []image{good()},
			[]image{good(in("gcr.io/acme/nginx-digest-whitelist"), with(cve("CVE-2017-1000081", "HIGH", true)))}},
		{"kritis-vsp-strict.yaml", nil,
			[]image{good(with(cve("CVE-1-1", "MEDIUM", false))), good(with(cve("CVE-2021-20305", "CRITICAL", true)))},
			[]image{good(with(cve("CVE-1-1", "HIGH", false))), good(with(cve("CVE-1-1", "HIGH", true)))}},
		{"kritis-vsp-loose.yaml", nil, []image{good(with(cve("CVE-1-1", "CRITICAL", true)))},
			[]image{good(with(cve("CVE-1-1", "SEVERITY_UNSPECIFIED", true)))}},
		{"kritis-vsp-foundation.yaml", nil, []image{good(with(cve("CVE-1-1", "LOW", true)))},
			[]image{good(with(cve("CVE-1-1", "MEDIUM", false))), good(with(cve("CVE-1-1", "MEDIUM", true)))}},
		{"kritis-vsp-kubeflow.yaml", nil, []image{good(with(cve("CVE-1-1", "HIGH", false)))},
			[]image{good(with(cve("CVE-1-1", "HIGH", true))), good(with(cve("CVE-1-1", "CRITICAL", false)))}},
		{"project-cluster.yaml", []func(*migrate.Options){selects("us-east1-a.prod-cluster")}, []image{good()},
			[]image{good(with(cve("CVE-1-1", "MINIMAL", false))), good(func(i *image) { i.user = "" })}},
		{"project-attestor.json", nil, []image{good()}, []image{good(with(cve("CVE-1-1", "MINIMAL", true)))}},
		{"project-attestor.json kritis-vsp-strict.yaml", nil, []image{good(with(cve("CVE-1-1", "MEDIUM", true)))},
			[]image{good(with(cve("CVE-1-1", "HIGH", true)))}},
		{"platform-freshness.yaml", nil, []image{good(func(i *image) { i.age = 29 })}, []image{good(func(i *image) { i.age = 31 })}},
		{"platform-vulnerability.yaml", []func(*migrate.Options){of("acme")},
			[]image{good(with(cve("CVE-1-1", "HIGH", false))), good(with(cve("CVE-2022-11111", "CRITICAL", true)))},
			[]image{good(with(cve("CVE-1-1", "HIGH", true))), good(with(cve("CVE-2022-33333", "LOW", false)))}},
		{"platform-directory.yaml", nil, []image{good(in("us-central1-docker.pkg.dev/acme/my-directory/api"))},
			[]image{good(in("us-central1-docker.pkg.dev/acme/my-directory")), good(in("us-central1-docker.pkg.dev/acme/my-directory/sub/api")),
				good(in("us-central1-docker.pkg.dev/acme/my-directory-2/api")),
				good(in("us-central1-docker.pkg.dev/acme/my-directory/api"), func(i *image) { i.age = 40 })}},
		{"platform-slsa.json", []func(*migrate.Options){of("acme")},
			[]image{good(func(i *image) { i.from = "https://github.com/acme/api" }),
				good(func(i *image) { i.from = "https://source.cloud.google.com/my-project/my-source-repo" })},
			[]image{good(), good(func(i *image) { i.from = "https://github.com/acme-evil/api" }),
				good(func(i *image) { i.from = "https://github.com/acme/a/b" }),
				good(func(i *image) { i.from = "https://github.com/acme/api"; i.builder = "https://builder.example/1" })}},
		{"platform-sets.yaml", []func(*migrate.Options){selects("Production")},
			[]image{good(in("us-docker.pkg.dev/acme/prod/api"), with(cve("CVE-1-1", "MEDIUM", false)))},
			[]image{good(in("us-docker.pkg.dev/acme/prod/api"), with(cve("CVE-1-1", "MINIMAL", true))), good(in("us-docker.pkg.dev/other/prod/api")),
				good(in("us-docker.pkg.dev/acme/tools/x"), with(cve("CVE-1-1", "HIGH", false)))}},
	} {
		t.Run(tt.files, func(t *testing.T) {
			var sources []policy.Source
			for _, name := range strings.Fields(tt.files) {
				sources = append(sources, source(t, name))
			}
			p, _ := imported(t, options(tt.options...), sources...)
			for _, i := range tt.passes {
				if v := p.Judge(i.evidence(p)); v.Outcome() != attestor.Pass {
					t.Errorf("%+v: %s %+v\n%s", i, v.Outcome(), v.Checks(), p.Text())
				}
			}
			for _, i := range tt.denies {
				if v := p.Judge(i.evidence(p)); v.Outcome() != attestor.Deny {
					t.Errorf("%+v: %s\n%s", i, v.Outcome(), p.Text())
				}
			}
		})
	}
}

// TestLostRequirements: what a policy cannot express stops the import, and a placeholder refuses every image.
func TestLostRequirements(t *testing.T) {
	for _, tt := range []struct{ name, file, text, want string }{
		{"provenance of Voucher", "voucher-config.toml", "", "checks.provenance"},
		{"approved", "v.toml", "failon='low'\nscanner='metadata'\n[checks]\nsnakeoil=true\napproved=true\n", "checks.approved"},
		{"organization", "v.toml", "[checks]\nnobody=true\nis_shopify=true\n", "checks.is_shopify"},
		{"no repositories", "v.toml", "[checks]\nnobody=true\ndiy=true\n", "checks.diy"},
		{"only a star", "v.toml", "valid_repos=['gcr.io/*']\n[checks]\nnobody=true\ndiy=true\n", "checks.diy"},
		{"another scanner", "v.toml", "failon='low'\nscanner='clair'\n[checks]\nnobody=true\nsnakeoil=true\n", "scanner"},
		{"another store", "v.toml", "failon='low'\nscanner='metadata'\nmetadata_client='grafeasos'\n[checks]\nnobody=true\nsnakeoil=true\n", "metadata_client"},
		{"everything refused", "p.yaml", "defaultAdmissionRule: {evaluationMode: ALWAYS_DENY, enforcementMode: ENFORCED_BLOCK_AND_AUDIT_LOG}\n",
			"defaultAdmissionRule.evaluationMode"},
		{"alwaysDeny", "p.yaml", set1(`alwaysDeny: true`), "gkePolicy.checkSets[0].checks[0].alwaysDeny"},
		{"signatures", "p.yaml", set1(`sigstoreSignatureCheck: {sigstoreAuthorities: []}`), "gkePolicy.checkSets[0].checks[0].sigstoreSignatureCheck"},
		{"attestations", "platform-attested.yaml", "", "gkePolicy.checkSets[0].checks[1].simpleSigningAttestationCheck"},
		{"own CEL", "p.yaml", slsa(slsaRule + `, customConstraints: "true"}`),
			"gkePolicy.checkSets[0].checks[0].slsaCheck.rules[0].customConstraints"},
		{"any source", "p.yaml", set1(`slsaCheck: {rules: [{trustedBuilder: GOOGLE_CLOUD_BUILD}]}`), "gkePolicy.checkSets[0].checks[0].slsaCheck.rules[0]"},
		{"alternatives", "p.yaml", slsa(slsaRule+inProject+`[projects/acme]}}`, slsaRule+"}"),
			"gkePolicy.checkSets[0].checks[0].slsaCheck.rules[1]"},
		{"statements elsewhere", "p.yaml", slsa(slsaRule + inProject + `[projects/other]}}`),
			"gkePolicy.checkSets[0].checks[0].slsaCheck.rules[0].attestationSource"},
		{"scans elsewhere", "p.yaml", set1(`vulnerabilityCheck: {maximumFixableSeverity: LOW, maximumUnfixableSeverity: LOW, ` +
			`containerAnalysisVulnerabilityProjects: [projects/other]}`),
			"gkePolicy.checkSets[0].checks[0].vulnerabilityCheck.containerAnalysisVulnerabilityProjects"},
		{"two lists of directories", "p.yaml", set1(`trustedDirectoryCheck: {trustedDirPatterns: [gcr.io/acme]}`,
			`trustedDirectoryCheck: {trustedDirPatterns: [gcr.io/acme/*]}`),
			"gkePolicy.checkSets[0].checks[1].trustedDirectoryCheck"},
		{"no directory", "p.yaml", set1(`trustedDirectoryCheck: {trustedDirPatterns: [gcr.i*]}`), "gkePolicy.checkSets[0].checks[0].trustedDirectoryCheck"},
		{"blocked id", "p.yaml", set1(`vulnerabilityCheck: {maximumFixableSeverity: LOW, maximumUnfixableSeverity: LOW, blockedCves: ["cve 1"]}`),
			"gkePolicy.checkSets[0].checks[0].vulnerabilityCheck.blockedCves[0]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := policy.Source{Name: tt.file, Text: []byte(tt.text)}
			if tt.text == "" {
				s = source(t, tt.file)
			}
			o := options(func(o *migrate.Options) { o.Images = []string{"gcr.io/acme/**"} })
			result, err := migrate.Import([]policy.Source{s}, o)
			if err != nil || result.Policy != nil {
				t.Fatalf("%v\n%s", err, result.Policy)
			}
			lost := result.LostFields()
			if len(lost) != 1 || lost[0].Path != tt.want || lost[0].Note == "" {
				t.Errorf("lost: %+v, want %s", lost, tt.want)
			}

			// The placeholder must not let pass what passes everything else.
			o.Placeholders = true
			p, _ := imported(t, o, s)
			ev := p.Exemplary("gcr.io/acme/api", today())
			if v := p.Judge(ev); v.Outcome() != attestor.Deny {
				t.Errorf("with the placeholder: %s\n%s", v.Outcome(), p.Text())
			}
		})
	}
}

// The beginning of a rule of provenance, and of where its statements are.
const (
	slsaRule  = "{trustedBuilder: GOOGLE_CLOUD_BUILD, trustedSourceRepoPatterns: [github.com/acme/x]"
	inProject = ", attestationSource: {containerAnalysisAttestationProjects: "
)

// slsa is a platform policy of one check of provenance with these rules.
func slsa(rules ...string) string {
	return set1("slsaCheck: {rules: [" + strings.Join(rules, ", ") + "]}")
}

// set1 is a platform policy of one set with these checks.
func set1(checks ...string) string {
	return "gkePolicy:\n  checkSets:\n  - checks:\n    - " + strings.Join(checks, "\n    - ") + "\n"
}

// TestRefusedSources: nothing is guessed.
func TestRefusedSources(t *testing.T) {
	isp := "apiVersion: kritis.grafeas.io/v1beta1\nkind: ImageSecurityPolicy\nmetadata: {name: a}\nspec: "
	for _, tt := range []struct{ name, file, text, want string }{
		{"empty", "x.yaml", "", "no policy of a format"},
		{"comment", "x.yaml", "# nothing\n", "no policy of a format"},
		{"another kind", "x.yaml", "apiVersion: v1\nkind: Pod\n", "is not read"},
		{"admission of Kritis", "x.yaml", "apiVersion: kritis.grafeas.io/v1beta1\nkind: GenericAttestationPolicy\nspec: {}\n", "judges admission"},
		{"only who attests", "x.yaml", "apiVersion: kritis.grafeas.io/v1beta1\n" +
			"kind: AttestationAuthority\nmetadata: {name: a}\nspec: {noteReference: projects/p/notes/n}\n",
			"demand nothing"},
		{"the field that Kritis documents and does not read", "x.yaml",
			isp + "{packageVulnerabilityPolicy: {maximumSeverity: LOW}}\n", "packageVulnerabilityPolicy"},
		{"misspelt", "x.yaml", isp + "{packageVulnerabilityRequirements: {maximumseverity: LOW}}\n", "did you mean maximumSeverity?"},
		{"another type", "x.yaml", isp + "{packageVulnerabilityRequirements: LOW}\n", "want a mapping"},
		{"a list for a text", "x.yaml", isp + "{packageVulnerabilityRequirements: {maximumSeverity: [LOW]}}\n", "want one value"},
		{"a limit of nobody", "x.yaml", isp + "{packageVulnerabilityRequirements: {maximumSeverity: low}}\n", "maximumSeverity"},
		{"given twice", "x.yaml", isp + "{packageVulnerabilityRequirements: {maximumSeverity: LOW, maximumSeverity: CRITICAL}}\n", "maximumSeverity"},
		{"an alias", "x.yaml", isp + "{imageAllowlist: &a [b], imageAllowList: *a}\n", "anchors and aliases"},
		{"two policies", "x.yaml", isp + "{}\n---\n" + isp + "{}\n", "the sources have 2"},
		{"empty check sets", "x.yaml", "gkePolicy: {checkSets: []}\n", "nothing to import"},
		{"no set for other workloads", "x.yaml", "gkePolicy: {checkSets: [{scope: {kubernetesNamespace: a}, checks: [{alwaysDeny: true}]}]}\n",
			"other workloads have no check set"},
		{"no checks", "x.yaml", "gkePolicy: {checkSets: [{displayName: a}]}\n", "demands nothing"},
		{"a check that does not deny", "x.yaml", set1("alwaysDeny: false"), "alwaysDeny: false"},
		{"another mode of Google's own images", "x.yaml", "globalPolicyEvaluationMode: SOMETIMES\ndefaultAdmissionRule: " +
			"{evaluationMode: ALWAYS_DENY, enforcementMode: ENFORCED_BLOCK_AND_AUDIT_LOG}\n", "SOMETIMES"},
		{"a check of no kind", "x.yaml", set1("displayName: a"), "one kind of check, found 0"},
		{"a check of two kinds", "x.yaml", set1("alwaysDeny: true\n      imageFreshnessCheck: {maxUploadAgeDays: 1}"), "one kind of check, found 2"},
		{"a new kind of check", "x.yaml", set1("phaseOfMoonCheck: {}"), "phaseOfMoonCheck"},
		{"no days", "x.yaml", set1("imageFreshnessCheck: {}"), "maxUploadAgeDays"},
		{"days as a text", "x.yaml", set1(`imageFreshnessCheck: {maxUploadAgeDays: "30"}`), "whole number"},
		{"one limit missing", "x.yaml", set1("vulnerabilityCheck: {maximumFixableSeverity: LOW}"), "both are required"},
		{"a limit that is not specified", "x.yaml", set1("vulnerabilityCheck: {maximumFixableSeverity: LOW, " +
			"maximumUnfixableSeverity: MAXIMUM_ALLOWED_SEVERITY_UNSPECIFIED}"),
			"both are required"},
		{"another builder", "x.yaml", set1("slsaCheck: {rules: [{trustedBuilder: BUILDER_UNSPECIFIED, " +
			"trustedSourceRepoPatterns: [a.b/c]}]}"), "trustedBuilder"},
		{"everything allowed", "x.yaml", "defaultAdmissionRule: {evaluationMode: ALWAYS_ALLOW, " +
			"enforcementMode: ENFORCED_BLOCK_AND_AUDIT_LOG}\n", "demands nothing"},
		{"nobody attests", "x.yaml", "defaultAdmissionRule: {evaluationMode: REQUIRE_ATTESTATION, " +
			"enforcementMode: ENFORCED_BLOCK_AND_AUDIT_LOG}\n", "requireAttestationsBy"},
		{"a new mode", "x.yaml", "defaultAdmissionRule: {evaluationMode: SOMETIMES, enforcementMode: ENFORCED_BLOCK_AND_AUDIT_LOG}\n", "SOMETIMES"},
		{"no enforcement", "x.yaml", "defaultAdmissionRule: {evaluationMode: ALWAYS_DENY}\n", "enforcementMode"},
		{"groups without a choice", "v.toml", "[checks]\nnobody=true\n[required.prod]\nnobody=true\n", "--select one of all, prod"},
		{"a group twice", "v.toml", "[checks]\nnobody=true\n[required.all]\nnobody=true\n", "the same group"},
		{"no checks in force", "v.toml", "[checks]\nnobody=false\n", "demands nothing"},
		{"a check that is no boolean", "v.toml", "[checks]\nnobody='yes'\n", "line 2"},
		{"a check of nobody", "v.toml", "[checks]\nnobodyy=true\n", "is not a check of Voucher"},
		{"no failon", "v.toml", "scanner='metadata'\n[checks]\nsnakeoil=true\n", "failon"},
		{"capitals", "v.toml", "FailOn='low'\nscanner='metadata'\n[checks]\nsnakeoil=true\n", "not in lower case"},
		{"a check in capitals", "v.toml", "[checks]\nnobody=true\nDIY=true\n", "not in lower case"},
		{"an unknown field", "v.toml", "strict=true\n[checks]\nnobody=true\n", "strict"},
		{"deep", "v.toml", strings.Repeat("[", 200000), "deep"},
		{"deep YAML", "x.yaml", "spec: " + strings.Repeat("[", 60) + strings.Repeat("]", 60) + "\ngkePolicy: {}\n", "deeper than 50"},
		{"neither", "x.yaml", "just a text\n", "neither YAML nor"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			result, err := migrate.Import([]policy.Source{{Name: tt.file, Text: []byte(tt.text)}}, options())
			if err == nil || attestor.KindOf(err) != attestor.Invalid || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("%v, want %s\n%s", err, tt.want, result.Policy)
			}
		})
	}
}

// TestRefusedOptions: exceptions have an owner and an end, and a policy has images and attestors.
func TestRefusedOptions(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		change     func(*migrate.Options)
	}{
		{"no images", "no images are named", func(o *migrate.Options) { o.Images = nil }},
		{"no attestor", "name no attestor", func(o *migrate.Options) { o.Attestors = nil }},
		{"an owner without an end", "an owner and a last day", func(o *migrate.Options) { o.Expires = time.Time{} }},
		{"an end without an owner", "an owner and a last day", func(o *migrate.Options) { o.Owner = "" }},
		{"too long", "give a day from", func(o *migrate.Options) { o.Expires = today().AddDate(0, 4, 0) }},
		{"past", "give a day from", func(o *migrate.Options) { o.Expires = today().AddDate(0, 0, -2) }},
		{"an unknown part", "no source has a part", func(o *migrate.Options) { o.Select = []string{"nothing"} }},
		{"images that are no pattern", "spec.images", func(o *migrate.Options) { o.Images = []string{"https://gcr.io/acme"} }},
		{"a name that ends the line", "metadata.name", func(o *migrate.Options) { o.Name = "x\"}\nspec: {" }},
		{"an attestor that ends the line", "spec.attestors", func(o *migrate.Options) { o.Attestors = []string{"projects/a\"\n  - b"} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := migrate.Import([]policy.Source{source(t, "kritis-vsp-strict.yaml")}, options(tt.change))
			if err == nil || attestor.KindOf(err) != attestor.Invalid || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}

	if _, err := migrate.Import(nil, options()); err == nil {
		t.Error("no source is imported")
	}
	large := policy.Source{Name: "x.yaml", Text: make([]byte, migrate.MaxFile+1)}
	if _, err := migrate.Import([]policy.Source{large}, options()); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("%v", err)
	}
}

// TestExceptions: an allowed CVE is an exception with an owner and an end, or none at all.
func TestExceptions(t *testing.T) {
	with, _ := imported(t, options(), source(t, "kritis-vsp-strict.yaml"))
	if list := with.Exceptions(); len(list) != 1 || list[0].Owner != "team-api" || list[0].ID != "CVE-2021-20305" {
		t.Errorf("%+v", list)
	}

	without, result := imported(
		t,
		options(func(o *migrate.Options) { o.Owner, o.Expires = "", time.Time{} }),
		source(t, "kritis-vsp-strict.yaml"),
	)
	if len(without.Exceptions()) != 0 || !slices.ContainsFunc(result.Fields, func(f migrate.Field) bool {
		return f.Treatment == migrate.LeftOut && strings.HasSuffix(f.Path, "allowlistCVEs[0]")
	}) {
		t.Errorf("%+v %+v", without.Exceptions(), result.Fields)
	}
}

// TestCommentsHoldOneLine: nothing of a source can leave its comment or its quotes.
func TestCommentsHoldOneLine(t *testing.T) {
	text := `{"gkePolicy": {"checkSets": [{"displayName": "a\nspec: {mode: dryRun}", "imageAllowlist": {"allowPattern": ["x\n- y", "\u2028#"]},
  "checks": [{"slsaCheck": {"rules": [{
    "trustedBuilder": "GOOGLE_CLOUD_BUILD", "trustedSourceRepoPatterns": ["github.com/acme/x"], "customConstraints": "a\"\n  mode: dryRun\n#"}]}}]}]}}`
	o := options(func(o *migrate.Options) { o.Placeholders = true })
	p, _ := imported(t, o, policy.Source{Name: "p\nspec: {}.yaml", Text: []byte(text)})
	if p.Ref().Mode != attestor.Enforce || strings.Contains(string(p.Text()), "\nspec: {") {
		t.Errorf("%s", p.Text())
	}
}

// FuzzImport: nothing panics, an error is the caller's, and what is written loads.
func FuzzImport(f *testing.F) {
	names, err := filepath.Glob("testdata/public/*")
	if err != nil || len(names) < 12 {
		f.Fatalf("%d files, %v", len(names), err)
	}
	for _, name := range names {
		f.Add(filepath.Ext(name) == ".toml", source(f, filepath.Base(name)).Text)
	}
	f.Fuzz(func(t *testing.T, toml bool, text []byte) {
		s := policy.Source{Name: "x.yaml", Text: text}
		if toml {
			s.Name = "x.toml"
		}
		result, err := migrate.Import([]policy.Source{s}, options(func(o *migrate.Options) { o.Placeholders = true }))
		if err != nil {
			if attestor.KindOf(err) != attestor.Invalid || errors.Unwrap(err) != nil {
				t.Fatalf("%v", err)
			}
			return
		}
		loaded(t, result.Policy)
	})
}
