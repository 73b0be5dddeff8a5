package sbom_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/internal/testkit/slow"
	"github.com/attestor-gate/attestor/internal/testkit/toolbuild"
	"github.com/attestor-gate/attestor/verify/sbom"
)

// generator writes a bill of materials by BuildKit's protocol (docs/attestations/sbom-protocol.md, v0.33.1).
const generator = `package main

import (
	"os"
	"path/filepath"
)

func main() {
	name := filepath.Base(os.Getenv("BUILDKIT_SCAN_SOURCE")) + ".spdx.json"
	statement := ` + "`" + `{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://spdx.dev/Document","predicate":{
		"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT","name":"image","packages":[{"name":"openssl","SPDXID":"SPDXRef-1","versionInfo":"3.0.15",
		"externalRefs":[{"referenceCategory":"PACKAGE-MANAGER","referenceType":"purl","referenceLocator":"pkg:deb/debian/openssl@3.0.15"}]}]}}` + "`" + `
	if err := os.WriteFile(filepath.Join(os.Getenv("BUILDKIT_SCAN_DESTINATION"), name), []byte(statement), 0o644); err != nil {
		panic(err)
	}
}
`

// TestBuildKitDocuments: the attestation that BuildKit makes of what a generator writes is found in the index, is about the
// child, counts as a claim, and says nothing of another image.
func TestBuildKitDocuments(t *testing.T) {
	slow.Skip(t)
	s := newShelf(t)
	s.load()
	daemon, err := toolbuild.StartBuildKit(t.Context(), s.place.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if said, err := daemon.Close(); err != nil || t.Failed() {
			t.Errorf("buildkitd ended: %v, and said:\n%s", err, said)
		}
	})

	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module example.com/generator\n\ngo 1.26\n", "main.go": generator, "hello": "hello"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	compile := exec.CommandContext(t.Context(), "go", "build", "-o", "generate", ".")
	compile.Dir, compile.Env = dir, append(os.Environ(), "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0")
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	build := func(dockerfile, image string, args ...string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := daemon.Build(t.Context(), dir, s.place.Host+"/"+image, args...); err != nil {
			t.Fatal(err)
		}
	}
	build("FROM scratch\nCOPY generate /generate\nENTRYPOINT [\"/generate\"]\n", "generator:1")
	build("FROM scratch\nCOPY hello /hello\n", "acme/built:1", "--opt", "attest:sbom=generator="+s.place.Host+"/generator:1")

	of := builtSubject(t, s.place.Host, "acme/built")
	key := keyFile(t, corpus.NewKey())
	rule := attestor.SignedBy{Key: key}
	docs, notRead, problems := newSource(t, "").SBOMs(t.Context(), of, attestor.SBOMNeeds{SignedBy: &rule})
	if len(docs) != 1 || len(notRead)+len(problems) > 0 {
		t.Fatalf("%+v, %+v, %+v", docs, notRead, problems)
	}
	want := []attestor.Package{{Type: "deb", Name: "debian/openssl", Version: "3.0.15"}}
	if diff := gocmp.Diff(want, docs[0].Packages, cmpopts.EquateEmpty()); diff != "" || docs[0].SignedBy != "" || docs[0].Format != "spdx" {
		t.Errorf("%+v\n%s", docs[0], diff)
	}

	// The same attestations say nothing of an image that they are not about.
	of.Image = s.image
	if docs, _, _ := newSource(t, "").SBOMs(t.Context(), of, attestor.SBOMNeeds{}); len(docs) != 0 {
		t.Errorf("%+v", docs)
	}
}

// builtSubject is the one child of an index that BuildKit pushed, and its attestations.
func builtSubject(t *testing.T, host, repo string) sbom.Subject {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+"/v2/"+repo+"/manifests/1", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/vnd.oci.image.index.v1+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var index struct {
		Manifests []struct {
			Digest      attestor.Digest   `json:"digest"`
			Annotations map[string]string `json:"annotations"`
		} `json:"manifests"`
	}
	if err := json.Unmarshal(body, &index); err != nil {
		t.Fatal(err)
	}

	image := func(d attestor.Digest) attestor.Image {
		img, err := attestor.ParseImage(host + "/" + repo + "@" + string(d))
		if err != nil {
			t.Fatal(err)
		}
		return img
	}
	out := sbom.Subject{Index: image(corpus.Sum(body)), Siblings: 1}
	for _, m := range index.Manifests {
		if about := m.Annotations["vnd.docker.reference.digest"]; about == "" {
			out.Image = image(m.Digest)
		} else if !slices.Contains(out.InIndex, m.Digest) {
			out.InIndex = append(out.InIndex, m.Digest)
		}
	}
	if out.Image.IsZero() || len(out.InIndex) == 0 {
		t.Fatalf("no image and attestation in %s", body)
	}
	return out
}
