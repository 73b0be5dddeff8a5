package provenance_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify/provenance"
	"github.com/attestor-gate/attestor/verify/signed"
)

const digest = attestor.Digest("sha256:abababababababababababababababababababababababababababababababab")

// about makes a statement about digest.
func about(predicateType, predicate string) []byte {
	return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v0.1","predicateType":%q,"subject":[{"name":"x","digest":{"sha256":%q}}],"predicate":%s}`,
		predicateType, digest.Hex(), predicate)
}

// TestAttached: what builders other than Cloud Build write.
func TestAttached(t *testing.T) {
	const (
		v02, v1   = "https://slsa.dev/provenance/v0.2", "https://slsa.dev/provenance/v1"
		generator = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml@refs/tags/v2.1.0"
		branch    = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml@refs/heads/main"
		actions   = "https://token.actions.githubusercontent.com"
		sha       = "2ce3f90facdb51aeb950d5bc641e981be61fdf48"
		base      = "9d0236c3c08c9b96f5f5bee8617108cfad75df5c287a521ab601e1f31c5ca3b2"
	)

	generated := `{"builder":{"id":"` + generator + `"},"invocation":{"configSource":{"uri":"git+https://` +
		`github.com/acme/app@refs/tags/v1","digest":{"sha1":"` + sha + `"},"entryPoint":"release.yml"}}}`
	tests := []struct {
		name string
		st   signed.Statement
		want attestor.Provenance
	}{
		{
			name: "the builder itself signed",
			st:   signed.Statement{Payload: about(v02, generated), Subject: generator, Issuer: actions, Signer: "g"},
			want: attestor.Provenance{Builder: generator, SLSALevel: 3, SourceURI: "https://github.com/acme/app",
				Ref: "refs/tags/v1", Commit: sha, PredicateType: v02, KeyID: "g"},
		},
		{
			name: "somebody else says so",
			st: signed.Statement{Payload: about(v02, generated),
				Subject: "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1",
				Issuer:  actions, Signer: "g"},
			want: attestor.Provenance{Builder: generator, SLSALevel: 2, SourceURI: "https://github.com/acme/app",
				Ref: "refs/tags/v1", Commit: sha, PredicateType: v02, KeyID: "g"},
		},
		{
			name: "its namesake at another issuer",
			st:   signed.Statement{Payload: about(v02, generated), Subject: generator, Issuer: "https://issuer.example.com", Signer: "g"},
			want: attestor.Provenance{Builder: generator, SLSALevel: 2, SourceURI: "https://github.com/acme/app",
				Ref: "refs/tags/v1", Commit: sha, PredicateType: v02, KeyID: "g"},
		},
		{
			name: "the builder itself, from a branch",
			st: signed.Statement{Payload: about(v02, strings.Replace(generated, generator, branch, 1)),
				Subject: branch, Issuer: actions, Signer: "g"},
			want: attestor.Provenance{Builder: branch, SLSALevel: 2, SourceURI: "https://github.com/acme/app",
				Ref: "refs/tags/v1", Commit: sha, PredicateType: v02, KeyID: "g"},
		},
		{
			name: "GitHub's own, v1",
			st: signed.Statement{Payload: about(v1,
				`{"buildDefinition":{"externalParameters":{"workflow":{"ref":"refs/heads/main",
					"repository":"https://github.com/acme/app","path":".github/workflows/b.yml"}},
				"resolvedDependencies":[{"uri":"git+https://github.com/acme/app@refs/heads/main","digest":{"gitCommit":"`+
					sha+`"}}]},"runDetails":{"builder":{"id":"https://github.com/actions/runner/github-hosted"}}}`), Signer: "g"},
			want: attestor.Provenance{Builder: "https://github.com/actions/runner/github-hosted", SLSALevel: 2,
				SourceURI: "https://github.com/acme/app", Ref: "refs/heads/main", Commit: sha,
				PredicateType: v1, KeyID: "g"},
		},
		{
			name: "BuildKit, signed by a key",
			st: signed.Statement{
				Payload: about(v1, `{"buildDefinition":{"externalParameters":{"configSource":{"uri":"https://`+
					`github.com/acme/app.git#refs/heads/main:dir","digest":{"sha1":"`+sha+`"},"path":"Dockerfile"}},
				"resolvedDependencies":[{"uri":"pkg:docker/127.0.0.1%3A5000/base/debian@12?platform=linux%2Famd64","digest":{"sha256":"`+
					base+`"}}]},"runDetails":{"builder":{"id":""}}}`), Signer: "key k"},
			want: attestor.Provenance{SLSALevel: 1, SourceURI: "https://github.com/acme/app.git",
				Ref: "refs/heads/main", Commit: sha, PredicateType: v1, KeyID: "key k",
				Materials: map[string]attestor.Digest{"127.0.0.1:5000/base/debian": "sha256:" + base}},
		},
		{
			name: "GitLab's, whose source is a text",
			st: signed.Statement{Payload: about(v1,
				`{"buildDefinition":{"buildType":"https://docs.gitlab.com/ci/pipeline_security/slsa/provenance_v1",
					"externalParameters":{"source":"https://gitlab.com/acme/app","entryPoint":"build","variables":{"CI":"true"}},
				"resolvedDependencies":[{"uri":"https://gitlab.com/acme/app","digest":{"gitCommit":"`+sha+
					`"}}]},"runDetails":{"builder":{"id":"https://gitlab.com/acme/app/-/runners/12"}}}`),
				Issuer: "https://gitlab.com", Subject: "https://gitlab.com/acme/app//.gitlab-ci.yml@refs/heads/main", Signer: "g"},
			want: attestor.Provenance{Builder: "https://gitlab.com/acme/app/-/runners/12", SLSALevel: 2,
				SourceURI: "https://gitlab.com/acme/app", Commit: sha, PredicateType: v1, KeyID: "g"},
		},
		{
			name: "no source",
			st:   signed.Statement{Payload: about(v1, `{"runDetails":{"builder":{"id":"b"}}}`)},
			want: attestor.Provenance{Builder: "b", SLSALevel: 2, PredicateType: v1},
		},
	}

	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.want.Source, tt.want.Statement = "cosign", attestor.DigestOf(tt.st.Payload)
			got, problems := viaAttached(t, tt.st)
			if diff := cmp.Diff([]attestor.Provenance{tt.want}, got); diff != "" || len(problems) > 0 {
				t.Errorf("problems %v, provenance (-want +got):\n%s", problems, diff)
			}
		})
	}
}

// viaAttached asks about an image in a registry that is not Google's.
func viaAttached(t *testing.T, list ...signed.Statement) ([]attestor.Provenance, []attestor.Problem) {
	t.Helper()
	s, err := provenance.New(provenance.Config{Attached: attached{list: list}})
	if err != nil {
		t.Fatal(err)
	}

	return s.Provenance(t.Context(), []attestor.Image{elsewhere(t)}, attestor.ProvenanceNeeds{SignedBy: &attestor.SignedBy{Key: "k"}})
}

// TestRefusedStatements: signed, and yet no provenance of this image.
func TestRefusedStatements(t *testing.T) {
	const v1 = "https://slsa.dev/provenance/v1"
	for name, payload := range map[string]string{
		"nothing":            "",
		"null":               "null",
		"a list":             "[]",
		"another predicate":  string(about("https://example.com/p", "{}")),
		"no predicate":       string(about(v1, `"x"`)),
		"no predicate, v0.2": string(about("https://slsa.dev/provenance/v0.2", `"x"`)),
		"no predicate, v0.1": string(about("https://slsa.dev/provenance/v0.1", `["x"]`)),
		"a half material":    string(about("https://slsa.dev/provenance/v0.1", `{"recipe":{"definedInMaterial":0.5}}`)),
		"a subject of text":  strings.Replace(string(about(v1, "{}")), `"subject":[`, `"subject":["x",`, 1),
		"another digest":     strings.Replace(string(about(v1, "{}")), "abab", "cdcd", 1),
		"digest in capitals": strings.Replace(string(about(v1, "{}")), digest.Hex(), strings.ToUpper(digest.Hex()), 1),
		"no subject":         `{"_type":"https://in-toto.io/Statement/v1","predicateType":"` + v1 + `","predicate":{}}`,
		"no statement":       strings.Replace(string(about(v1, "{}")), "in-toto.io/Statement", "example.com/Statement", 1),
		"sha512 subject":     strings.Replace(string(about(v1, "{}")), `"sha256"`, `"sha512"`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			got, problems := viaAttached(t, signed.Statement{Payload: []byte(payload)})
			if len(got) > 0 || len(problems) != 1 || problems[0].Status != attestor.StatusDeny || problems[0].Code != attestor.CodeProvenanceMissing {
				t.Errorf("got %v, %+v", got, problems)
			}
		})
	}
}

// TestExternalParametersAreTheBuildTypes: SLSA leaves their form to the build type. No form makes a statement malformed, and one that is not
// known names no source.
func TestExternalParametersAreTheBuildTypes(t *testing.T) {
	const repository = "https://git.example/acme/app"
	for parameters, want := range map[string]string{
		`{"source": "` + repository + `"}`:                                       repository,
		`{"source": "git+` + repository + `@refs/heads/main"}`:                   repository,
		`{"source": {"uri": "` + repository + `"}}`:                              repository,
		`{"workflow": "build.yml", "source": "` + repository + `"}`:              repository,
		`{"workflow": {"repository": "` + repository + `"}, "source": "other"}`:  repository,
		`{"workflow": "build.yml"}`:                                              "",
		`{"workflow": {"repository": ["` + repository + `"]}}`:                   "",
		`{"configSource": "` + repository + `"}`:                                 "",
		`{"Source": "` + repository + `"}`:                                       "",
		`{"source": 7, "buildConfigSource": [], "workflow": {"repository": {}}}`: "",
		`{"source": {"uri": 7}}`:                                                 "",
		`{"source": {"uri": "` + repository + `", "ref": 7}}`:                    "",
		`{"workflow": {}, "source": "` + repository + `"}`:                       repository,
		`{"workflow": {"ref": "refs/heads/main", "digest": {"sha1": "1"}}}`:      "",
		`{"source": ""}`: "",
		`{"inputs": {"source": "` + repository + `"}}`: "",
		`["` + repository + `"]`:                       "",
		`"` + repository + `"`:                         "",
		`null`:                                         "",
	} {
		payload := about("https://slsa.dev/provenance/v1", `{"buildDefinition":{"externalParameters":`+parameters+`},"runDetails":{"builder":{"id":"b"}}}`)
		got, err := provenance.Parse(payload, digest)
		if err != nil || got.SourceURI != want || got.Builder != "b" {
			t.Errorf("%s: source %q, want %q, %v", parameters, got.SourceURI, want, err)
		}
		if want == "" && got.Ref+got.Commit != "" {
			t.Errorf("%s: no source, at %q, %q", parameters, got.Ref, got.Commit)
		}
	}
}

// TestSourceOfARecipe: SLSA v0.1 has the source in the material that the recipe names, "Index in materials containing the recipe steps". Grafeas,
// which Cloud Build writes it with, on that index: "Set to -1 if the recipe doesn't come from a material, as zero is default unset value".
func TestSourceOfARecipe(t *testing.T) {
	const (
		first, second = "https://git.example/acme/first", "https://git.example/acme/second"
		materials     = `[{"uri":"` + first + `","digest":{"sha1":"1"}},{"uri":"` + second + `","digest":{"sha1":"2"}}]`
		steps         = `"entryPoint":"cloudbuild.yaml"`
	)
	for _, tt := range []struct{ recipe, materials, source, ref, commit string }{
		{steps, materials, first, "", "1"}, // Protobuf leaves a zero out
		{steps + `,"definedInMaterial":0`, materials, first, "", "1"},
		{steps + `,"definedInMaterial":1`, materials, second, "", "2"},
		{steps + `,"definedInMaterial":"1"`, materials, second, "", "2"}, // Protobuf writes an int64 as text
		{steps + `,"definedInMaterial":-1`, materials, "", "", ""},
		{steps + `,"definedInMaterial":2`, materials, "", "", ""},
		{steps + `,"definedInMaterial":3`, materials, "", "", ""},
		{steps, `[]`, "", "", ""},

		// Steps that were given inline are of no source, whatever else the build had.
		{`"definedInMaterial":0`, materials, "", "", ""},
		{`"entryPoint":"","definedInMaterial":0`, materials, "", "", ""},

		{steps, `[{"uri":"` + first + `/commit/3"}]`, first, "", "3"},
		{steps, `[{"uri":"git+` + first + `@refs/tags/v1","digest":{"sha1":"1"}}]`, first, "refs/tags/v1", "1"},

		// A generation of an object is part of its name, and no git reference.
		{steps, `[{"uri":"gs://bucket/source.tgz#1665165361152729"}]`, "gs://bucket/source.tgz#1665165361152729", "", ""},
	} {
		predicate := `{"builder":{"id":"b"},"recipe":{` + tt.recipe + `},"materials":` + tt.materials + `}`
		got, err := provenance.Parse(about("https://slsa.dev/provenance/v0.1", predicate), digest)
		if err != nil || got.SourceURI != tt.source || got.Ref != tt.ref || got.Commit != tt.commit {
			t.Errorf("%s: source %q at %q, %q; %v", predicate, got.SourceURI, got.Ref, got.Commit, err)
		}
	}
}

// TestCommitOfADependency: SLSA v1 has the commit with the dependency that is the source, and only there unless the source has one.
func TestCommitOfADependency(t *testing.T) {
	const (
		app     = "https://git.example/acme/app"
		sourced = `{"source":{"uri":"git+` + app + `@refs/heads/main"}}`
		exact   = `{"source":{"uri":"git+` + app + `","digest":{"gitCommit":"1"}}}`
	)
	for _, tt := range []struct{ parameters, dependencies, want string }{
		{sourced, `{"uri":"git+` + app + `@refs/heads/main","digest":{"gitCommit":"2"}}`, "2"},
		{sourced, `{"uri":"` + app + `","digest":{"sha1":"2"}}`, "2"},
		{sourced, `{"uri":"git+https://git.example/acme/other@refs/heads/main","digest":{"gitCommit":"2"}}`, ""},
		{sourced, `{"uri":"git+https://git.example/acme/other","digest":{"gitCommit":"3"}},{"uri":"` + app + `","digest":{"gitCommit":"2"}}`, "2"},
		{exact, `{"uri":"git+` + app + `","digest":{"gitCommit":"2"}}`, "1"},
		{`{}`, `{"digest":{"gitCommit":"2"}}`, ""},
		{`{}`, `{"uri":"","digest":{"gitCommit":"2"}}`, ""},
	} {
		got, err := provenance.Parse(about("https://slsa.dev/provenance/v1", `{"buildDefinition":{"externalParameters":`+tt.parameters+
			`,"resolvedDependencies":[`+tt.dependencies+`]}}`), digest)
		if err != nil || got.Commit != tt.want {
			t.Errorf("%s, %s: commit %q, want %q, %v", tt.parameters, tt.dependencies, got.Commit, tt.want, err)
		}
	}
}

// TestSubjects: a statement is about every one of its subjects. An empty digest is no image's.
func TestSubjects(t *testing.T) {
	payload := func(subjects string) []byte {
		return []byte(`{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://slsa.dev/provenance/v1",` +
			`"predicate":{},"subject":[` + subjects + `]}`)
	}
	own, other := `{"digest":{"sha256":"`+digest.Hex()+`"}}`, `{"digest":{"sha256":"`+strings.Repeat("c", 64)+`"}}`
	for subjects, want := range map[string]bool{
		own: true, own + "," + other: true, other + "," + own: true, other + "," + own + "," + other: true, other: false, other + "," + other: false,
	} {
		if _, err := provenance.Parse(payload(subjects), digest); (err == nil) != want {
			t.Errorf("%s: %v, want it to be about the image: %v", subjects, err, want)
		}
	}
	if _, err := provenance.Parse(payload(`{"digest":{"sha512":"x"}},{"digest":{"sha256":""}}`), ""); err == nil {
		t.Error("a subject without a digest is about no digest")
	}
}

// TestLongTexts: what is longer than the record keeps is cut, and so no longer what a policy could name.
func TestLongTexts(t *testing.T) {
	for n, want := range map[int]string{512: strings.Repeat("b", 512), 513: strings.Repeat("b", 512) + "…"} {
		got, err := provenance.Parse(about("https://slsa.dev/provenance/v0.2", `{"builder":{"id":"`+strings.Repeat("b", n)+`"}}`), digest)
		if err != nil || got.Builder != want {
			t.Errorf("of %d bytes: %q, %v", n, got.Builder, err)
		}
	}
}

// TestFieldsOfTheBuildType: what earlier versions of SLSA leave to the build type, or do not know, makes no statement malformed, and replaces
// nothing of what they define.
func TestFieldsOfTheBuildType(t *testing.T) {
	const (
		source = "https://git.example/acme/app"
		v01    = `"builder":{"id":"b"},"recipe":{"type":"t","entryPoint":"cloudbuild.yaml"%s},"materials":[{"uri":"` + source + `"}]`
		v02    = `"builder":{"id":"b"},"invocation":{"configSource":{"uri":"git+` + source + `"%s}%s}`
	)
	for name, payload := range map[string][]byte{
		"v0.1": about("https://slsa.dev/provenance/v0.1", `{`+fmt.Sprintf(v01, "")+`}`),
		"v0.1, arguments of numbers": about("https://slsa.dev/provenance/v0.1",
			`{`+fmt.Sprintf(v01, `,"arguments":{"substitutions":{"_N":1}}`)+`}`),
		"v0.1, a list of arguments": about("https://slsa.dev/provenance/v0.1",
			`{`+fmt.Sprintf(v01, `,"arguments":["a",1],"environment":7`)+`,"metadata":"x"}`),
		"v0.2": about("https://slsa.dev/provenance/v0.2", `{`+fmt.Sprintf(v02, "", "")+`}`),
		"v0.2, parameters of any form": about("https://slsa.dev/provenance/v0.2",
			`{`+fmt.Sprintf(v02, `,"entryPoint":{"a":1}`, `,"parameters":[1],"environment":"x"`)+`,"buildConfig":[],"buildType":7}`),
		"v0.2, fields of the builder's own": about("https://slsa.dev/provenance/v0.2",
			`{`+fmt.Sprintf(v02, `,"repository":"https://git.example/evil/app","ref":["x"]`, "")+`}`),
		"v1, parameters of any form": about("https://slsa.dev/provenance/v1", `{"buildDefinition":{"buildType":7,"externalParameters":`+
			`{"source":"`+source+`"},"internalParameters":[{"a":1}]},"runDetails":{"builder":{"id":"b","version":7},"metadata":[],"byproducts":"x"}}`),
	} {
		got, err := provenance.Parse(payload, digest)
		if err != nil || got.SourceURI != source || got.Builder != "b" {
			t.Errorf("%s: source %q by %q, want %q, %v", name, got.SourceURI, got.Builder, source, err)
		}
	}
}

// TestGitLabIsNotOfLevel3: whoever signs for GitLab, and whatever its statement calls itself.
func TestGitLabIsNotOfLevel3(t *testing.T) {
	const (
		sha    = "2ce3f90facdb51aeb950d5bc641e981be61fdf48"
		issuer = "https://gitlab.com"
		runner = issuer + "/acme/app/-/runners/12"
		own    = issuer + "/acme/app//.gitlab-ci.yml@refs/heads/main"
		shared = issuer + "/acme/ci//build.yml@refs/tags/v1"
	)
	generator := "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml@refs/tags/v2.1.0"
	for name, tt := range map[string]struct {
		builder, subject string
		ext              certificate.Extensions
	}{
		"its service":           {runner, own, certificate.Extensions{}},
		"GitHub's best builder": {generator, own, certificate.Extensions{}},
		"with GitHub's subject": {generator, generator, certificate.Extensions{}},
		"with a whole certificate": {runner, shared, certificate.Extensions{
			Issuer: issuer, BuildSignerURI: shared, BuildSignerDigest: sha, BuildConfigURI: own, RunnerEnvironment: "gitlab-hosted",
			SourceRepositoryURI: issuer + "/acme/app", SourceRepositoryDigest: sha, SourceRepositoryRef: "refs/heads/main",
		}},
		"that calls itself GitHub-hosted": {runner, shared, certificate.Extensions{
			Issuer: issuer, BuildSignerURI: shared, BuildConfigURI: own, RunnerEnvironment: "github-hosted", SourceRepositoryURI: issuer + "/acme/app",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, problems := viaAttached(t, signed.Statement{
				Payload: about("https://slsa.dev/provenance/v1", `{"buildDefinition":{"externalParameters":{"source":"https://gitlab.com/acme/app"}},`+
					`"runDetails":{"builder":{"id":"`+tt.builder+`"}}}`),
				Subject: tt.subject, Issuer: issuer, Signer: "s", Extensions: tt.ext,
			})
			if len(got) != 1 || len(problems) != 0 || got[0].SLSALevel != 2 || got[0].SourceURI != "https://gitlab.com/acme/app" {
				t.Fatalf("%+v, %v: want level 2", got, problems)
			}
			if got[0].Workflow.Isolated() == "" {
				t.Error("it counts as isolated, so that a policy could raise it to level 3")
			}
		})
	}
}

// TestMaterials: which dependencies are images, and what they are called.
func TestMaterials(t *testing.T) {
	d := func(c string) string { return strings.Repeat(c, 64) }
	alpine := map[string]attestor.Digest{"index.docker.io/library/alpine": attestor.Digest("sha256:" + d("a"))}
	long := func(n int) string { return "pkg:docker/alpine@3?" + strings.Repeat("x", n-len("pkg:docker/alpine@3?")) }
	tests := []struct {
		name, list string
		want       map[string]attestor.Digest
	}{
		{"package URL", `{"uri":"pkg:docker/gcr.io/distroless/static-debian12@nonroot?platform=linux%2Famd64",` +
			`"digest":{"sha256":"` + d("a") + `"}}`,
			map[string]attestor.Digest{"gcr.io/distroless/static-debian12": attestor.Digest("sha256:" + d("a"))}},
		{"Docker Hub", `{"uri":"pkg:docker/alpine@3.20","digest":{"sha256":"` + d("a") + `"}}`,
			map[string]attestor.Digest{"index.docker.io/library/alpine": attestor.Digest("sha256:" + d("a"))}},
		{"reference", `{"uri":"gcr.io/cloud-builders/docker@sha256:` + d("a") + `","digest":{"sha256":"` + d("a") +
			`"}}`, map[string]attestor.Digest{"gcr.io/cloud-builders/docker": attestor.Digest("sha256:" + d("a"))}},
		{"docker-image", `{"uri":"docker-image://docker.io/library/golang:1.26@sha256:` + d("a") +
			`","digest":{"sha256":"` + d("a") + `"}}`,
			map[string]attestor.Digest{"index.docker.io/library/golang": attestor.Digest("sha256:" + d("a"))}},
		{"oci", `{"uri":"oci://ghcr.io/a/b:c","digest":{"sha256":"` + d("a") + `"}}`,
			map[string]attestor.Digest{"ghcr.io/a/b": attestor.Digest("sha256:" + d("a"))}},
		{"source", `{"uri":"git+https://github.com/a/b","digest":{"sha256":"` + d("a") + `"}}`, nil},
		{"object", `{"uri":"gs://bucket/x#1","digest":{"sha256":"` + d("a") + `"}}`, nil},
		{"package of another kind", `{"uri":"pkg:npm/alpine@3","digest":{"sha256":"` + d("a") + `"}}`, nil},
		{"bare name", `{"uri":"alpine","digest":{"sha256":"` + d("a") + `"}}`, nil},
		{"no digest", `{"uri":"pkg:docker/alpine@3.20"}`, nil},
		{"digest in capitals", `{"uri":"pkg:docker/alpine@3.20","digest":{"sha256":"` + d("A") + `"}}`, nil},
		{"package URL without a version", `{"uri":"pkg:docker/alpine?platform=linux%2Famd64","digest":{"sha256":"` + d("a") + `"}}`, alpine},
		{"package URL of 1,024 bytes", `{"uri":"` + long(1024) + `","digest":{"sha256":"` + d("a") + `"}}`, alpine},
		{"package URL of 1,025 bytes", `{"uri":"` + long(1025) + `","digest":{"sha256":"` + d("a") + `"}}`, nil},
		{"package URL of bad escapes", `{"uri":"pkg:docker/alpine%zz@3","digest":{"sha256":"` + d("a") + `"}}`, nil},
		{"package URL of no name", `{"uri":"pkg:docker/ALPINE@3","digest":{"sha256":"` + d("a") + `"}}`, nil},
		{"file on the web", `{"uri":"https://x.example/a@sha256:` + d("a") + `","digest":{"sha256":"` + d("a") + `"}}`, nil},
		{"repository of git over ssh", `{"uri":"git+ssh.example/a@sha256:` + d("a") + `","digest":{"sha256":"` + d("a") + `"}}`, nil},
		{"the same twice", `{"uri":"pkg:docker/alpine@1","digest":{"sha256":"` + d("a") +
			`"}},{"uri":"pkg:docker/alpine@2","digest":{"sha256":"` + d("a") + `"}}`,
			map[string]attestor.Digest{"index.docker.io/library/alpine": attestor.Digest("sha256:" + d("a"))}},
		{"two digests of one", `{"uri":"pkg:docker/alpine@1","digest":{"sha256":"` + d("a") +
			`"}},{"uri":"pkg:docker/alpine@2","digest":{"sha256":"` + d("b") +
			`"}},{"uri":"pkg:docker/alpine@1","digest":{"sha256":"` + d("a") + `"}}`, nil},
	}

	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for version, predicate := range map[string]string{
				"v0.1": `{"materials":[` + tt.list + `]}`, "v0.2": `{"materials":[` + tt.list + `]}`,
				"v1": `{"buildDefinition":{"resolvedDependencies":[` + tt.list + `]}}`,
			} {
				got, err := provenance.Parse(about("https://slsa.dev/provenance/"+version, predicate), digest)
				if diff := cmp.Diff(tt.want, got.Materials); diff != "" || err != nil {
					t.Errorf("%s: %v (-want +got):\n%s", version, err, diff)
				}
			}
		})
	}
}

// FuzzStatement: no bytes make a panic, or provenance of a digest that they do
// not name.
func FuzzStatement(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.json"))
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds")
	}

	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}

	f.Add(about("https://slsa.dev/provenance/v1", `{"buildDefinition":{"resolvedDependencies":[{"uri":"pkg:docker/a@b","digest":{"sha256":"x"}}]}}`))
	f.Add(about("https://slsa.dev/provenance/v0.1", `{"recipe":{"definedInMaterial":-1}}`))
	f.Add(about("https://slsa.dev/provenance/v0.1", `{"recipe":{"definedInMaterial":"0","entryPoint":"x"},"materials":[{"uri":"https://h/p/commit/x"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := provenance.Parse(b, digest)
		if err != nil {
			return
		}

		if !json.Valid(b) || !strings.Contains(string(b), digest.Hex()) && !strings.Contains(string(b), `\u`) {
			t.Errorf("%+v of %q", p, b)
		}

		for repository, d := range p.Materials {
			if _, err := attestor.ParseDigest(string(d)); err != nil || repository == "" {
				t.Errorf("material %q %q", repository, d)
			}
		}
	})
}
