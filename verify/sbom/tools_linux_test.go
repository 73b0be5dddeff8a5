package sbom_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/internal/testkit/slow"
	"github.com/attestor-gate/attestor/internal/testkit/toolbuild"
	"github.com/attestor-gate/attestor/verify/sbom"
)

// Documents that both versions of cosign, built from source, attach: attested in either form and format by a key, or
// without a signature.
func TestCosignDocuments(t *testing.T) {
	slow.Skip(t)
	spdx := moduleFile(t, "modernc.org/sqlite", "sbom.spdx.json")
	cyclone := moduleFile(t, "modernc.org/sqlite", "sbom.cdx.json")
	packages := map[string]int{}
	for name, doc := range map[string][]byte{"spdx.json": spdx, "cdx.json": cyclone} {
		read, err := sbom.Read(doc, sbom.MaxPackages)
		if err != nil {
			t.Fatal(err)
		}
		packages[name] = len(read.Packages)
	}

	for version, tool := range map[string]struct {
		module, pkg string
		flags       []string
	}{
		"v2": {"cosign2", "github.com/sigstore/cosign/v2/cmd/cosign", nil},
		"v3": {"cosign3", "github.com/sigstore/cosign/v3/cmd/cosign", []string{"--use-signing-config=false"}},
	} {
		bin, err := toolbuild.Build(t.Context(), tool.module, tool.pkg)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		for name, doc := range map[string][]byte{"spdx.json": spdx, "cdx.json": cyclone} {
			if err := os.WriteFile(filepath.Join(dir, name), doc, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cosign := func(args ...string) {
			t.Helper()
			cmd := exec.CommandContext(t.Context(), bin, args...)
			cmd.Dir, cmd.Env = dir, []string{"HOME=" + dir, "COSIGN_PASSWORD=", "PATH=" + os.Getenv("PATH")}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("cosign %q: %v\n%s", args, err, out)
			}
		}
		cosign("generate-key-pair")
		attest := slices.Clip(append([]string{"attest", "--key", "cosign.key", "--tlog-upload=false", "--yes"}, tool.flags...))

		for name, tt := range map[string]struct {
			args         []string
			file, format string
			signed       bool
		}{
			"bundle, SPDX": {
				append(attest, "--new-bundle-format=true", "--type", "spdxjson", "--predicate", "spdx.json"),
				"spdx.json", "spdx", true,
			},
			"bundle, CycloneDX": {
				append(attest, "--new-bundle-format=true", "--type", "cyclonedx", "--predicate", "cdx.json"),
				"cdx.json", "cyclonedx", true,
			},
			"classic, SPDX": {
				append(attest, "--new-bundle-format=false", "--type", "spdxjson", "--predicate", "spdx.json"),
				"spdx.json", "spdx", true,
			},
			"classic, CycloneDX": {
				append(attest, "--new-bundle-format=false", "--type", "cyclonedx", "--predicate", "cdx.json"),
				"cdx.json", "cyclonedx", true,
			},
			"attached": {
				[]string{"attach", "sbom", "--type", "spdx", "--input-format", "json", "--sbom", "spdx.json"},
				"spdx.json", "spdx", false,
			},
		} {
			t.Run(version+"/"+name, func(t *testing.T) {
				s := newShelf(t)
				s.load()
				cosign(append(tt.args[:len(tt.args):len(tt.args)], s.image.String())...)

				for key, signed := range map[string]bool{filepath.Join(dir, "cosign.pub"): tt.signed, keyFile(t, corpus.NewKey()): false} {
					rule := attestor.SignedBy{Key: key}
					docs, notRead, problems := newSource(t, "").SBOMs(t.Context(), sbom.Subject{Image: s.image}, attestor.SBOMNeeds{SignedBy: &rule})
					if len(docs) != 1 || len(notRead)+len(problems) > 0 {
						t.Fatalf("%d documents, %+v, %+v", len(docs), notRead, problems)
					}
					d := docs[0]
					if d.Format != tt.format || len(d.Packages) != packages[tt.file] || (d.SignedBy == rule.Text()) != signed {
						t.Errorf("%s with %d packages, signed by %q, want %t", d.Format, len(d.Packages), d.SignedBy, signed)
					}
				}
			})
		}
	}
}

// ko attaches an unsigned document under a tag of each image.
func TestKoDocuments(t *testing.T) {
	slow.Skip(t)
	bin, err := toolbuild.Build(t.Context(), "ko", "github.com/google/ko")
	if err != nil {
		t.Fatal(err)
	}
	s := newShelf(t)
	s.load()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module example.com/hello\n\ngo 1.26\n", "main.go": "package main\n\nfunc main() { println(\"hello\") }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), bin, "build", "--bare", "--sbom=spdx", "--insecure-registry", "--platform", "linux/amd64", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "KO_DEFAULTBASEIMAGE="+s.image.String(), "KO_DOCKER_REPO="+s.place.Host+"/hello")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("ko: %v\n%s", err, out)
	}
	ref, err := attestor.ParseReference(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	img, _ := ref.Pinned()

	docs, notRead, problems := newSource(t, "").SBOMs(t.Context(), sbom.Subject{Image: img}, attestor.SBOMNeeds{})
	if len(docs) != 1 || len(notRead)+len(problems) > 0 {
		t.Fatalf("%+v, %+v, %+v", docs, notRead, problems)
	}
	if d := docs[0]; d.Format != "spdx" || d.SignedBy != "" || !strings.HasPrefix(d.Place, "tag ") || len(d.Packages) == 0 {
		t.Errorf("%+v", d)
	}
}
