package verify_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/verify"
)

// A document is of one kind by its own media type, the registry's and its content, or of none.
func TestKindsOfDocuments(t *testing.T) {
	const dockerIndex = "application/vnd.docker.distribution.manifest.list.v2+json"
	config := desc(ociConfig, []byte("{}"), "")
	image, index := `"config":`+config+`,"layers":[]`, `"manifests":[]`
	doc := func(mediaType, content string) string {
		if mediaType != "" {
			mediaType = fmt.Sprintf(`"mediaType":%q,`, mediaType)
		}
		return `{"schemaVersion":2,` + mediaType + content + `}`
	}

	for _, tt := range []struct {
		name, doc, header string
		want              string // the media type
		code              attestor.Code
	}{
		{"an image", doc(ociManifest, image), ociManifest, ociManifest, ""},
		{"an image without a header", doc(ociManifest, image), "", ociManifest, ""},
		{"Docker's image", doc(dockerManifest, image), dockerManifest, dockerManifest, ""},
		{"an index", doc(ociIndex, index), ociIndex, ociIndex, ""},
		{"Docker's index", doc(dockerIndex, index), dockerIndex, dockerIndex, ""},
		{"an image that does not say", doc("", image), "", ociManifest, ""},
		{"an image that does not say, served as Docker's", doc("", image), dockerManifest, dockerManifest, ""},
		{"an index that does not say", doc("", index), "", ociIndex, ""},
		{"an index that does not say, served as Docker's", doc("", index), dockerIndex, dockerIndex, ""},

		{"an index that does not say, served as an image", doc("", index), ociManifest, "", attestor.CodeManifestInvalid},
		{"an index that does not say, served as a page", doc("", index), "text/html", "", attestor.CodeRegistryMisbehaves},
		{"an image that does not say, served as an index", doc("", image), dockerIndex, "", attestor.CodeManifestInvalid},
		{"an image served as an index", doc(ociManifest, image), ociIndex, "", attestor.CodeManifestInvalid},
		{"an image that says it is an index", doc(ociIndex, image), ociIndex, "", attestor.CodeManifestInvalid},
		{"an index that says it is an image", doc(ociManifest, index), ociManifest, "", attestor.CodeManifestInvalid},
		{"both, as an image", doc(ociManifest, image+","+index), ociManifest, "", attestor.CodeManifestInvalid},
		{"both, as an index", doc(ociIndex, image+","+index), ociIndex, "", attestor.CodeManifestInvalid},
		{"an index with a config", doc(ociIndex, index+`,"config":`+config), ociIndex, "", attestor.CodeManifestInvalid},
		{"an index with layers", doc(ociIndex, index+`,"layers":[]`), ociIndex, "", attestor.CodeManifestInvalid},
		{"a config alone", doc(ociManifest, `"config":`+config), ociManifest, "", attestor.CodeManifestInvalid},
		{"layers alone", doc(ociManifest, `"layers":[]`), ociManifest, "", attestor.CodeManifestInvalid},
		{"nothing", doc(ociManifest, `"x":1`), ociManifest, "", attestor.CodeManifestInvalid},
		{"another version", strings.Replace(doc(ociManifest, image), ":2,", ":3,", 1), ociManifest, "", attestor.CodeManifestInvalid},
		{"no version", strings.Replace(doc(ociManifest, image), `"schemaVersion":2,`, "", 1), ociManifest, "", attestor.CodeManifestInvalid},
		{"version 1", strings.Replace(doc(ociManifest, image), ":2,", ":1,", 1), ociManifest, "", attestor.CodeSchema1},
		{"with layers of schema 1", doc(ociManifest, image+`,"fsLayers":[]`), ociManifest, "", attestor.CodeSchema1},
		{"served as schema 1", doc(ociManifest, image), corpus.DockerSchema1, "", attestor.CodeSchema1},
		{"that says it is schema 1", doc(corpus.DockerSchema1, image), corpus.DockerSchema1, "", attestor.CodeSchema1},
		{"no JSON, served as schema 1", "signed", corpus.DockerSchema1, "", attestor.CodeSchema1},
		{"no JSON, served as an image", "signed", ociManifest, "", attestor.CodeManifestInvalid},
		{"no JSON, served as a page", "<html>", "text/html", "", attestor.CodeRegistryMisbehaves},
		{"no JSON, without a header", "<html>", "", "", attestor.CodeManifestInvalid},
		{"an artifact", doc("application/vnd.oci.artifact.manifest.v1+json", `"blobs":[]`), "", "", attestor.CodeArtifact},
		{"of another type", doc("application/vnd.acme", image), "application/vnd.acme", "", attestor.CodeManifestUnsupported},
	} {
		got, _, _, err := verify.ParseDocument([]byte(tt.doc), tt.header)
		if codeOf(err) != tt.code || tt.code == "" && (err != nil || got != tt.want) {
			t.Errorf("%s: %q, %v; want %q, %q", tt.name, got, err, tt.want, tt.code)
		}
	}
}

// An image that the policy is not about says so, whatever else is wrong with its platform, unless it says no platform at
// all: some runtime may then choose it.
func TestPlatformOfAnImageByItself(t *testing.T) {
	for _, tt := range []struct {
		name   string
		image  rawImage
		wanted []string
		code   attestor.Code
		left   []string
	}{
		{"wanted", rawImage{}, []string{"linux/amd64"}, "", nil},
		{"any", rawImage{Arch: "s390x"}, nil, "", nil},
		{"another one", rawImage{Arch: "arm64"}, []string{"linux/amd64"}, attestor.CodePlatformNotAllowed, []string{"linux/arm64"}},
		{"of another system", rawImage{OS: "windows"}, []string{"linux/amd64"}, attestor.CodePlatformNotAllowed, []string{"windows/amd64"}},
		{"of another system, which is wanted", rawImage{OS: "windows"}, []string{"windows/amd64"}, attestor.CodePlatformUnsupported, nil},
		{"of another system, where any is", rawImage{OS: "windows"}, nil, attestor.CodePlatformUnsupported, nil},
		{"none", rawImage{OS: corpus.Empty}, []string{"linux/amd64"}, attestor.CodePlatformMissing, nil},
	} {
		host := newRegistry(t, nil)
		pushRaw(t, host, "app", "1", tt.image)
		r, err := newInspector(t, host, nil).Resolve(t.Context(), parse(t, host+"/app:1"), attestor.Needs{Platforms: tt.wanted})
		if err != nil {
			t.Fatal(err)
		}
		var want []attestor.Code
		if tt.code != "" {
			want = append(want, tt.code)
		}
		wantCodes(t, r.Problems, want...)
		if (len(r.Children) == 1) != (tt.code == "") || !slices.Equal(platforms(r.Left), tt.left) {
			t.Errorf("%s: judged %q, left %q; want left %q", tt.name, platforms(r.Children), platforms(r.Left), tt.left)
		}
	}
}

// Only what the index lists, for the platform that it lists it for, is inspected as a child of it.
func TestChildOfTheIndexOnly(t *testing.T) {
	host := newRegistry(t, nil)
	amd, arm, other, statement := rawImage{}, rawImage{Arch: "arm64"}, rawImage{Layers: layersOf("other")}, corpus.Attestation(corpus.InToto)
	for _, img := range []rawImage{amd, arm, other, statement} {
		pushRaw(t, host, "app", "c", img)
	}
	s, _ := statement.Bytes()
	pushIndex(t, host, "app", "1", amd.Entry(), arm.Entry(), corpus.AttestationEntry(amd.Digest(), s))
	i := newInspector(t, host, nil)
	r, err := i.Resolve(t.Context(), parse(t, host+"/app:1"), attestor.Needs{})
	if err != nil {
		t.Fatal(err)
	}

	for _, tt := range []struct {
		name  string
		child attestor.Child
		code  attestor.Code
	}{
		{"a child", attestor.Child{Platform: "linux/amd64", Digest: amd.Digest()}, ""},
		{"for another's platform", attestor.Child{Platform: "linux/arm64", Digest: amd.Digest()}, attestor.CodeManifestInvalid},
		{"an image beside the index", attestor.Child{Platform: "linux/amd64", Digest: other.Digest()}, attestor.CodeManifestInvalid},
		{"a statement", attestor.Child{Platform: "unknown/unknown", Digest: statement.Digest()}, attestor.CodeManifestInvalid},
	} {
		ev := i.Inspect(t.Context(), r, tt.child, attestor.Needs{})
		var want []attestor.Code
		if tt.code != "" {
			want = append(want, tt.code)
		}
		wantCodes(t, ev.Problems, want...)
	}
}

// As many entries of a list of referrers are read as are judged of an index; a longer one is judged, and refused.
func TestReferrersThatAreRead(t *testing.T) {
	host := newRegistry(t, nil)
	signature := raw(ociConfig, "", simpleSigning)
	putManifest(t, host, "app", "s", ociManifest, signature)
	tag := "sha256-" + strings.Repeat("a", 64)
	for n, want := range map[int]string{2: "list of referrers", 3: ""} {
		d := pushIndex(t, host, "app", tag, slices.Repeat([]string{desc(ociManifest, signature, "")}, n)...)
		i := newInspector(t, host, func(c *config) { c.Limits.Descriptors = 2 })
		got, err := i.Artifact(t.Context(), must(attestor.ParseImage(host+"/app@"+string(d))), tag)
		if err != nil || got != want {
			t.Errorf("%d entries: %q, %v; want %q", n, got, err, want)
		}
	}
}

// withStatement pushes an image under app:1, whose layers are no base's, with BuildKit's statement about it.
func withStatement(t *testing.T, host, statement string) {
	t.Helper()
	app, att := rawImage{Layers: layersOf("squashed")}, corpus.Attestation(corpus.InToto)
	att.Layers[0].Blob = []byte(statement)
	pushRaw(t, host, "app", "child", app)
	pushRaw(t, host, "app", "statement", att)
	m, _ := att.Bytes()
	pushIndex(t, host, "app", "1", app.Entry(), corpus.AttestationEntry(app.Digest(), m))
}

// Unsigned provenance names images by package URLs, in two forms of statements.
func TestImagesThatProvenanceNames(t *testing.T) {
	host := newRegistry(t, nil)
	pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("base")})
	d := sum([]byte("d"))
	dep := func(uri string, d attestor.Digest) string {
		return fmt.Sprintf(`{"uri":%q,"digest":{"sha256":%q}}`, uri, d.Hex())
	}
	list := func(deps ...string) string { return "[" + strings.Join(deps, ",") + "]" }
	statement := func(materials, resolved string) string {
		return fmt.Sprintf(`{"predicate":{"materials":%s,"buildDefinition":{"resolvedDependencies":%s}}}`, materials, resolved)
	}
	many := make([]string, 40)
	for n := range many {
		many[n] = dep(fmt.Sprint("pkg:docker/r.example/x@v", n), sum(fmt.Append(nil, n)))
	}

	for _, tt := range []struct {
		name, statement string
		want            []string
	}{
		{"SLSA 0.2", statement(list(dep("pkg:docker/r.example/a@1?platform=linux%2Famd64", d)), "[]"), []string{"r.example/a@" + string(d)}},
		{"SLSA 1", statement("[]", list(dep("pkg:docker/r.example/a@1", d))), []string{"r.example/a@" + string(d)}},
		{"without a tag", statement(list(dep("pkg:docker/r.example/a", d)), "[]"), []string{"r.example/a@" + string(d)}},
		{"escaped", statement(list(dep("pkg:docker/r.example:5000%2Fteam%2Fa@1", d)), "[]"), []string{"r.example:5000/team/a@" + string(d)}},
		{"escaped wrongly", statement(list(dep("pkg:docker/r.example%zz", d)), "[]"), nil},
		{"no image", statement(list(dep("git+https://r.example/a", d)), "[]"), nil},
		{"no digest", statement(list(`{"uri":"pkg:docker/r.example/a@1"}`), "[]"), nil},
		{"no statement", "signed", nil},
		{"more than are told", statement(list(many...), "[]"), func() (texts []string) {
			for n := range 16 {
				texts = append(texts, "r.example/x@"+string(sum(fmt.Append(nil, n))))
			}
			return texts
		}()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			withStatement(t, host, tt.statement)
			ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", basesOf(host, nil))
			wantCodes(t, ev.Problems)
			var want []string
			for _, w := range tt.want {
				want = append(want, "unsigned provenance "+w)
			}
			if diff := cmp.Diff(want, ev.Base.Hints); diff != "" {
				t.Errorf("hints (-want +got):\n%s", diff)
			}
		})
	}
}

// What hints name is read where they name it, or where it could be, and of few digests.
func TestWhereHintsAreFollowed(t *testing.T) {
	f := &front{}
	host := newRegistry(t, f.wrap)
	for _, repo := range []string{"base", "other", "unsigned"} {
		pushRaw(t, host, repo, "1", rawImage{Layers: layersOf(repo)})
	}
	needs := attestor.Needs{BaseRequired: true}
	for _, repo := range []string{"base", "other", "unsigned"} {
		ab := attestor.ApprovedBase{Name: repo, Repository: host + "/" + repo, Tags: []string{"1"}}
		if repo != "unsigned" {
			ab.SignedBy = &attestor.SignedBy{Key: "/k.pub"}
		}
		needs.Bases = append(needs.Bases, ab)
	}
	digests := make([]attestor.Digest, 9)
	for n := range digests {
		digests[n] = sum(fmt.Append(nil, "digest ", n))
	}
	statement := func(uri func(n int) string, n int) string {
		var deps []string
		for k := range n {
			deps = append(deps, fmt.Sprintf(`{"uri":%q,"digest":{"sha256":%q}}`, uri(k), digests[k].Hex()))
		}
		return `{"predicate":{"materials":[` + strings.Join(deps, ",") + `]}}`
	}
	in := func(repo string) func(int) string {
		return func(int) string { return "pkg:docker/" + host + "/" + repo + "@1" }
	}

	for _, tt := range []struct {
		name, statement string
		want            map[string]int // digests that are read, by repository
	}{
		{"a repository that is approved", statement(in("base"), 1), map[string]int{"base": 1}},
		{"one that is approved without a signature", statement(in("unsigned"), 1), nil},
		{"one that is not approved, such as a mirror's", statement(in("mirror"), 1), map[string]int{"base": 1, "other": 1}},
		{"many digests", statement(in("base"), 9), map[string]int{"base": 4}},
		{"many digests anywhere", statement(in("mirror"), 9), map[string]int{"base": 2, "other": 2}},
		{"no digest", `{"predicate":{"materials":[]}}`, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			withStatement(t, host, tt.statement)
			f.set(nil)
			i := newInspector(t, host, func(c *config) { c.Signatures = &signer{} })
			inspectOne(t, i, host+"/app:1", needs)
			got := map[string]int{}
			for _, repo := range []string{"base", "other", "unsigned", "mirror"} {
				for _, d := range digests {
					got[repo] += gets(f, manifestPath(repo, d))
				}
				if got[repo] != tt.want[repo] {
					t.Errorf("%d digests were read of %s, want %d", got[repo], repo, tt.want[repo])
				}
			}
		})
	}
}
