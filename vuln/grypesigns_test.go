package vuln_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/vuln"
)

// importedFrom imports a complete report of testdata/coverage, edited: old, new, …
func importedFrom(t *testing.T, file string, edits ...string) (vuln.Imported, error) {
	t.Helper()
	text := coverageReport(t, file)
	for i := 0; i < len(edits); i += 2 {
		if !strings.Contains(text, edits[i]) {
			t.Fatalf("%s has no %s", file, edits[i])
		}
	}
	return vuln.Import(strings.NewReader(strings.NewReplacer(edits...).Replace(text)), coverageTarget(t))
}

// refusalSays reports whether an import was refused with a text, or was not, where says is "".
func refusalSays(in vuln.Imported, err error, says string) bool {
	if says == "" {
		return err == nil && in.Discovery != nil
	}
	return attestor.KindOf(err) == attestor.Invalid && strings.Contains(attestor.Message(err), says) && in.Discovery == nil
}

// TestWhatGrypeWasToldToLeaveOut: each setting by which Grype looks at less refuses the report, and its usual value does not.
func TestWhatGrypeWasToldToLeaveOut(t *testing.T) {
	const fix, state, files, distro, archives, scope, compared, end = "whether they have a fix", "state of their fix", "excluded", "by hand",
		"were not looked into", "scope", "compared with no advisory", "past its end of life"
	for configuration, says := range map[string]string{
		`{}`:                                                   "",
		`{"only-fixed": true}`:                                 fix,
		`{"only-notfixed": true}`:                              fix,
		`{"ignore-wontfix": "wont-fix"}`:                       state,
		`{"exclude": ["/usr/**"]}`:                             files,
		`{"exclude": []}`:                                      "",
		`{"distro": "debian:12"}`:                              distro,
		`{"search": {}}`:                                       "",
		`{"search": {"scope": ""}}`:                            "",
		`{"search": {"scope": "Squashed"}}`:                    "",
		`{"search": {"scope": "all-layers"}}`:                  "",
		`{"search": {"scope": "AllLayers"}}`:                   "",
		`{"search": {"scope": "deep-squashed"}}`:               "",
		`{"search": {"scope": "DeepSquashed"}}`:                "",
		`{"search": {"scope": "top-layer"}}`:                   scope,
		`{"search": {"indexed-archives": true}}`:               "",
		`{"search": {"indexed-archives": false}}`:              archives,
		`{"match": {}}`:                                        "",
		`{"match": {"jvm": {}, "stock": {}}}`:                  "",
		`{"match": {"jvm": {"using-cpes": true}}}`:             "",
		`{"match": {"jvm": {"using-cpes": false}}}`:            compared,
		`{"match": {"stock": {"using-cpes": true}}}`:           "",
		`{"match": {"stock": {"using-cpes": false}}}`:          compared,
		`{"match": {"golang": {"using-cpes": false}}}`:         "", // Go's advisories go by module
		`{"alerts": {}}`:                                       "",
		`{"alerts": {"enable-eol-distro-warnings": true}}`:     "",
		`{"alerts": {"enable-eol-distro-warnings": false}}`:    end,
		`{"ignore": [{"vulnerability": "CVE-1"}], "x": "new"}`: "", // ignored matches are listed, and count
	} {
		in, err := importedFrom(t, "grype-complete.json", `"configuration": {`, `"configuration": `+configuration+`, "configuration-before": {`)
		if !refusalSays(in, err, says) {
			t.Errorf("%s: %v, want %q", configuration, err, says)
		}
	}
}

// TestDatabaseThatGrypeUsed: one that could not be used, or of no day, refuses the report. That a field is absent, or
// null, is no error.
func TestDatabaseThatGrypeUsed(t *testing.T) {
	const used, old = "could not be used", "how old"
	for status, says := range map[string]string{
		`{"built": "2026-11-20T06:00:00Z"}`:                                             "",
		`{"built": "2026-11-20T06:00:00Z", "valid": true, "error": null}`:               "",
		`{"built": "2026-11-20T06:00:00Z", "error": ""}`:                                "",
		`{"built": "2026-11-20T06:00:00Z", "valid": false}`:                             used,
		`{"built": "2026-11-20T06:00:00Z", "valid": true, "error": "checksum differs"}`: used + ": checksum differs",
		`{"built": "2026-11-20T06:00:00Z", "valid": true, "error": {"code": 7}}`:        used + `: {"code": 7}`,
		`{"valid": true}`:                     old,
		`{"built": "", "valid": true}`:        old,
		`{"built": "yesterday"}`:              old,
		`{"built": "2026-11-20", "valid": 0}`: "cannot be read",
	} {
		in, err := importedFrom(t, "grype-complete.json", `"status": {`, `"status": `+status+`, "status-before": {`)
		if !refusalSays(in, err, says) {
			t.Errorf("%s: %v, want %q", status, err, says)
		}
	}
}

// TestAgeOfAdvisoriesThatMatter: the database is as old as the oldest of what it holds for the image: the advisories
// for its distribution, and those for languages.
func TestAgeOfAdvisoriesThatMatter(t *testing.T) {
	at := func(day int) string { return fmt.Sprintf(`{"captured": "2026-11-%02dT00:00:00.123456789Z"}`, day) }
	built := time.Date(2026, 11, 20, 6, 0, 0, 0, time.UTC)
	of := func(day int) time.Time { return time.Date(2026, 11, day, 0, 0, 0, 123456789, time.UTC) }
	for _, tt := range []struct {
		name              string
		debian, languages string
		alpine            string
		want              time.Time
		says              string
	}{
		{"none is said", "{}", "{}", "{}", built, ""},
		{"the distribution's", at(18), "{}", "{}", of(18), ""},
		{"those for languages", "{}", at(17), "{}", of(17), ""},
		{"the older of two", at(18), at(17), "{}", of(17), ""},
		{"the older of two, the other way round", at(16), at(17), "{}", of(16), ""},
		{"another distribution's", "{}", "{}", at(1), built, ""},
		{"another distribution's, of no day", "{}", "{}", `{"captured": "x"}`, built, ""},
		{"newer than the database", at(29), "{}", "{}", built, ""},
		{"the distribution's, of no day", `{"captured": "x"}`, "{}", "{}", time.Time{}, "how old the advisories of debian"},
		{"those for languages, of no day", "{}", `{"captured": "x"}`, "{}", time.Time{}, "how old the advisories of github"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in, err := importedFrom(t, "grype-complete.json", `"debian": {}`, `"debian": `+tt.debian, `"github": {}`, `"github": `+tt.languages,
				`"alpine": {}`, `"alpine": `+tt.alpine)
			if !refusalSays(in, err, tt.says) {
				t.Fatalf("%v, want %q", err, tt.says)
			}
			if tt.says == "" && (in.Database == nil || !in.Database.Equal(tt.want)) {
				t.Errorf("the database is of %v, want %s", in.Database, tt.want)
			}
		})
	}
}

// TestWhoseAdvisoriesGrypeHas: a distribution is covered by the advisories that Grype compares it with, and by no others.
func TestWhoseAdvisoriesGrypeHas(t *testing.T) {
	providers := map[string][]string{
		"rhel": {"redhat", "rhel", "centos", "rocky", "rockylinux", "alma", "almalinux", "scientific", "scientific linux"},
		"alma": {"alma", "almalinux"}, "rocky": {"rocky", "rockylinux"}, "alpine": {"alpine", "postmarketos"},
		"amazon": {"amazonlinux", "amzn"}, "arch": {"arch", "archlinux"}, "mariner": {"mariner", "azurelinux"},
		"oracle": {"oraclelinux", "ol"}, "chainguard": {"chainguard"}, "debian": {"debian"}, "echo": {"echo"}, "fedora": {"fedora"},
		"hummingbird": {"hummingbird"}, "minimos": {"minimos"}, "photon": {"photon"}, "secureos": {"secureos"}, "sles": {"sles"},
		"ubuntu": {"ubuntu"}, "wolfi": {"wolfi"}, "github": nil, "nvd": nil, "kev": nil, "gentoo": nil,
	}
	families := []string{"gentoo", "github", "nvd"}
	for _, list := range providers {
		families = append(families, list...)
	}

	covered := func(family, db string) bool {
		in, err := importedFrom(t, "grype-complete.json", `"name": "debian"`, `"name": "`+strings.ToUpper(family)+`"`, `"providers": {`, db)
		if err != nil {
			t.Fatal(err)
		}
		return in.Coverage == vuln.Complete
	}
	for provider, list := range providers {
		for _, family := range families {
			db := `"providers": {"` + provider + `": {}}, "providers-before": {`
			if got, want := covered(family, db), slices.Contains(list, family); got != want {
				t.Errorf("%s by the advisories of %s: %t, want %t", family, provider, got, want)
			}
		}
	}

	// A database before schema 6 does not list them: it had those that every one had.
	always := []string{
		"alma", "almalinux", "alpine", "amazonlinux", "amzn", "azurelinux", "centos", "chainguard", "debian", "mariner", "ol",
		"oraclelinux", "redhat", "rhel", "rocky", "rockylinux", "sles", "ubuntu", "wolfi",
	}
	for _, family := range families {
		if got, want := covered(family, `"providers-of-none": {`), slices.Contains(always, family); got != want {
			t.Errorf("%s without a list: %t, want %t", family, got, want)
		}
	}
}

// TestAlertsOfPackages: an alert of any package speaks against the report; a package without one does not.
func TestAlertsOfPackages(t *testing.T) {
	const end = `{"alerts": [{"type": "distro-eol", "message": "m"}]}`
	for alerts, says := range map[string]string{
		`[]`:                                "",
		`[{"alerts": []}]`:                  "",
		`[{"alerts": []}, ` + end + `]`:     "debian 12.5 is past its end of life",
		`[` + end + `, {"alerts": []}]`:     "debian 12.5 is past its end of life",
		`[{"alerts": [{"type": "stale"}]}]`: "Grype warns about packages of debian 12.5 (stale)",
	} {
		in, err := importedFrom(t, "grype-complete.json", `"matches": []`, `"matches": [], "alertsByPackage": `+alerts)
		if err != nil || (says == "") != (in.Coverage == vuln.Complete) || !strings.Contains(in.Lacks, says) {
			t.Errorf("%s: %s: %q, %v, want %q", alerts, in.Coverage, in.Lacks, err, says)
		}
	}
}

// TestImageThatGrypeScanned: what Grype was asked for, what it scanned and the manifest may each name the image. Two
// names that contradict each other name none.
func TestImageThatGrypeScanned(t *testing.T) {
	const (
		ours   = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
		asked  = `"userInput": "registry.example/app@` + ours + `"`
		made   = `"manifestDigest": "` + ours + `"`
		listed = `"registry.example/app@` + ours + `"
   ]`
	)
	other := string(digest(7))
	no := func(s string) string { return strings.ReplaceAll(s, ours, other) }
	for _, tt := range []struct {
		name  string
		edits []string
		says  string
	}{
		{"by tag, of our manifest", []string{asked, `"userInput": "app:1"`}, ""},
		{"asked for ours, and nothing else is named", []string{made, `"manifestDigest": ""`, listed, "]"}, ""},
		{"asked for ours, the manifest is one that was computed", []string{made, no(made), listed, "]"}, ""},
		{"asked for the manifest, which is in an index", []string{listed, no(listed)}, ""},
		{"asked for the index that was scanned, of which the manifest is", []string{made, no(made)}, ""},
		{"asked for ours, another was scanned", []string{made, no(made), listed, no(listed)}, "contradicts itself"},
		{"asked for another, ours was scanned", []string{asked, no(asked)}, "contradicts itself"},
		{"another in all", []string{asked, no(asked), made, no(made), listed, no(listed)}, "another image"},
	} {
		in, err := importedFrom(t, "grype-complete.json", tt.edits...)
		if !refusalSays(in, err, tt.says) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.says)
		}
	}

	// Half a platform is not believed.
	for _, edit := range [][2]string{{`"architecture": "amd64"`, `"architecture": ""`}, {`"os": "linux"`, `"os": ""`}} {
		in, err := importedFrom(t, "grype-complete.json", made, no(made), edit[0], edit[1])
		if !refusalSays(in, err, "") {
			t.Errorf("%s: %v", edit[1], err)
		}
	}
	for name, edits := range map[string][]string{
		"matches of another type":  {`"matches": []`, `"matches": "none"`},
		"a target of another type": {`"target": {`, `"target": "app", "target-before": {`},
	} {
		in, err := importedFrom(t, "grype-complete.json", edits...)
		if !refusalSays(in, err, "looks like Grype's, but cannot be read") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFixThatGrypeReports: what is fixed has a fix, whether or not its version is said, and so comes under the limit
// for findings with one. What will not be fixed has none.
func TestFixThatGrypeReports(t *testing.T) {
	for fix, want := range map[string]attestor.Vulnerability{
		`{"state": "fixed", "versions": ["1.2"]}`:        {Fixable: true, FixedVersion: "1.2"},
		`{"state": "fixed", "versions": ["1.2", "2.1"]}`: {Fixable: true, FixedVersion: "1.2, 2.1"},
		`{"state": "fixed", "versions": []}`:             {Fixable: true, FixedVersion: "a later version"},
		`{"state": "fixed"}`:                             {Fixable: true, FixedVersion: "a later version"},
		`{"state": "wont-fix", "versions": ["1.2"]}`:     {},
		`{"state": "not-fixed", "versions": []}`:         {},
		`{"state": "unknown", "versions": ["1.2"]}`:      {},
		`{"state": "", "versions": []}`:                  {},
	} {
		in, err := importedFrom(t, "grype-complete.json", `"matches": []`, `"matches": [{"vulnerability": {"id": "CVE-2026-0001", "severity": "High", `+
			`"fix": `+fix+`}, "artifact": {"name": "a", "version": "1", "type": "deb"}}]`)
		if err != nil {
			t.Fatalf("%s: %v", fix, err)
		}
		got := scanOfImport(t, in).Findings
		if len(got) != 1 || got[0].Fixable != want.Fixable || got[0].FixedVersion != want.FixedVersion {
			t.Errorf("%s: %+v, want %+v", fix, got, want)
		}
	}
}

// TestLayersOfGrypesConfig: a layer counts only if the image's own config lists it.
func TestLayersOfGrypesConfig(t *testing.T) {
	encoded := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	ours := digest(4)
	whole := `{"rootfs": {"diff_ids": ["` + string(ours) + `"]}}    ` // its encoding ends without padding
	for name, tt := range map[string]struct {
		config string
		want   []attestor.Digest
	}{
		"listed":                {encoded(whole), []attestor.Digest{ours}},
		"not listed":            {encoded(strings.Replace(whole, "4\"]", "5\"]", 1)), nil},
		"no config":             {"", nil},
		"a config of two types": {encoded(`{"rootfs": {"diff_ids": ["` + string(ours) + `", 5]}}`), nil},
		"not base64 to its end": {encoded(whole) + "!", nil},
	} {
		in, err := importedFrom(t, "grype-complete.json", `"config": ""`, `"config": "`+tt.config+`"`, `"matches": []`, `"matches": [{"vulnerability": `+
			`{"id": "CVE-2026-0001", "severity": "High"}, "artifact": {"name": "a", "version": "1", "type": "deb", `+
			`"locations": [{"path": "/x", "layerID": "`+string(ours)+`"}]}}]`)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := scanOfImport(t, in).Findings
		if len(got) != 1 || got[0].Path != "/x" || !cmp.Equal(got[0].DiffIDs, tt.want) {
			t.Errorf("%s: %+v, want the layers %v", name, got, tt.want)
		}
	}
}
