package verify_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/verify"
)

// What is wrong with a user or group is told with the file that it was looked for in, and what to do.
func TestWhatAccountsSay(t *testing.T) {
	accounts := func(passwd, group string) []rawLayer {
		return []rawLayer{corpus.TarLayer(corpus.Accounts(passwd, group)...)}
	}
	huge := strings.Repeat("#\n", 1<<20)
	for _, tt := range []struct {
		name, user string
		layers     []rawLayer
		code       attestor.Code
		status     attestor.Status
		says       string
	}{
		{"no such user", "web", accounts(root1000, ""), attestor.CodeUserUnresolved, attestor.StatusDeny,
			`user "web" cannot be resolved from the image's /etc/passwd: it has no entry of that name`},
		{"users that are not read", "app", accounts(huge, ""), attestor.CodeUserLookupFailed, attestor.StatusError,
			`the image's /etc/passwd could not be read for user "app": layer 1`},
		{"a user that is malformed", "app", accounts("app:x:1\n", ""), attestor.CodeUserUnresolved, attestor.StatusDeny, "the entry is malformed"},
		{"root by another name", "app", accounts(appRoot, "root:x:0:app\n"), attestor.CodeUserRootDisguised, attestor.StatusDeny,
			`user "app" has uid 0 in the image's /etc/passwd`},
		{"no such group", "1000:web", accounts(root1000, corpus.Groups), attestor.CodeGroupUnresolved, "",
			`group "web" cannot be resolved from the image's /etc/group: it has no entry of that name`},
		{"groups that are not read", "1000:app", accounts(root1000, huge), attestor.CodeGroupUnresolved, attestor.StatusError,
			`the image's /etc/group could not be read for group "app": layer 1`},
		{"a member", "app", accounts(root1000, "wheel:x:0:web,app\n"), attestor.CodeGroupRoot, attestor.StatusDeny,
			`user "app" is a member of group "wheel" in the image's /etc/group, which has gid 0`},
		{"another user of the number is a member", "1000:1000", accounts(root1000, "wheel:x:0:app\n"), attestor.CodeGroupRoot, attestor.StatusDeny,
			`user "app", who has the uid of "1000" in the image's /etc/passwd, is a member of group "wheel"`},
		{"groups of no gid", "app", accounts(root1000, "wheel:x:0x0:app\n"), attestor.CodeGroupUnresolved, "",
			`further groups of user "app" cannot be resolved from the image's /etc/group: the gid of a group with the member is "0x0"`},
		{"users with a control character", "1000:1000", accounts("app:x:1000:1:\x7f:/:\n", "root:x:0:\n"), attestor.CodeGroupUnresolved, "",
			"cannot be resolved from the image's /etc/passwd: it has control characters"},
		{"groups with a control character", "1000:1000", accounts(root1000, "root:x:0:\x01\n"), attestor.CodeGroupUnresolved, "",
			"cannot be resolved from the image's /etc/group: it has control characters"},
		{"tabs", "app", accounts("app:x:1000:1000:a\tname:/:\n", "a\tb:x:7:\n"), "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := newRegistry(t, nil)
			pushRaw(t, host, "app", "1", rawImage{User: tt.user, Layers: tt.layers})
			ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", attestor.Needs{ResolveNames: true, ResolveMembers: true})
			if tt.code == "" {
				wantCodes(t, ev.Problems)
				return
			}
			wantCodes(t, ev.Problems, tt.code)
			p := ev.Problems[0]
			if !strings.Contains(p.Message, tt.says) || !strings.Contains(p.Fix, "USER 65532:65532") || tt.status != "" && p.Status != tt.status {
				t.Errorf("%s: it says %q; %q; want %s: %q", p.Status, p.Message, p.Fix, tt.status, tt.says)
			}
		})
	}
}

// A base that cannot be read without a doubt is not known, and one whose index lists more than images is.
func TestIndexesOfBases(t *testing.T) {
	amd, arm, other := rawImage{Layers: layersOf("a")}, rawImage{Arch: "arm64", Layers: layersOf("arm")}, rawImage{Layers: layersOf("b")}
	lying := rawImage{Arch: "arm64", Layers: layersOf("a")}
	statement := corpus.Attestation(corpus.InToto)
	s, _ := statement.Bytes()
	a, _ := amd.Bytes()
	l, _ := lying.Bytes()
	for _, tt := range []struct {
		name    string
		entries []string
		says    string // "": it is known
		level   attestor.Level
	}{
		{"an image for each platform", []string{arm.Entry(), amd.Entry()}, "", attestor.LayersExact},
		{"with statements", []string{corpus.AttestationEntry(amd.Digest(), s), amd.Entry()}, "", attestor.LayersExact},
		{"with an entry that says no platform", []string{desc(ociManifest, s, ""), amd.Entry()}, "", attestor.LayersExact},
		{"another platform's image", []string{arm.Entry()}, "", ""},
		{"two for the platform", []string{amd.Entry(), other.Entry()}, "has two images for linux/amd64", ""},
		{"an index within", []string{desc(ociIndex, a, amd.Platform())}, "is an index itself", ""},
		{"of another size", []string{corpus.DescOf(ociManifest, amd.Digest(), len(a)-1, amd.Platform())}, "it has more", ""},
		{"whose config says another platform", []string{desc(ociManifest, l, amd.Platform())}, "lists " + string(lying.Digest())[:20], ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := newRegistry(t, nil)
			for _, img := range []rawImage{amd, arm, other, lying, statement} {
				pushRaw(t, host, "base", "c", img)
			}
			pushIndex(t, host, "base", "1", tt.entries...)
			pushRaw(t, host, "app", "1", rawImage{Layers: layersOf("a", "x")})
			ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", basesOf(host, nil))
			if ev.Base.Evidence != tt.level {
				t.Errorf("base = %+v, want %q", ev.Base, tt.level)
			}
			if tt.says == "" {
				wantCodes(t, ev.Problems)
				return
			}
			wantCodes(t, ev.Problems, attestor.CodeBaseUnresolved)
			if !strings.Contains(ev.Problems[0].Message, tt.says) {
				t.Errorf("it says %q, want %q", ev.Problems[0].Message, tt.says)
			}
		})
	}
}

// An image for a platform in another spelling is built on the base's image for it, and the platform is refreshed from then on.
func TestBaseOfAnotherSpelling(t *testing.T) {
	host := newRegistry(t, nil)
	arm := rawImage{Arch: "arm64", Layers: layersOf("a")}
	pushRaw(t, host, "base", "c", arm)
	pushIndex(t, host, "base", "1", arm.Entry())
	pushRaw(t, host, "app", "1", rawImage{Arch: "aarch64", Layers: layersOf("a", "x")})
	i := newInspector(t, host, nil)
	if _, others, refreshed := verify.KeptPlatforms(i); others != 0 || refreshed != 1 {
		t.Errorf("at the start: %d others, %d refreshed", others, refreshed)
	}
	ev := inspectOne(t, i, host+"/app:1", basesOf(host, nil))
	wantCodes(t, ev.Problems)
	if ev.Base.Evidence != attestor.LayersExact {
		t.Errorf("base = %+v", ev.Base)
	}
	if _, others, refreshed := verify.KeptPlatforms(i); others != 0 || refreshed != 2 {
		t.Errorf("%d others, %d refreshed; want 0, 2", others, refreshed)
	}

	for _, p := range []string{"linux/arm/v7.1", "linux/arm/v7.2"} {
		verify.Ensure(t.Context(), i, nil, p)
	}
	if _, others, refreshed := verify.KeptPlatforms(i); others != 2 || refreshed != 2 {
		t.Errorf("%d others, %d refreshed; want 2, 2", others, refreshed)
	}
}

// A base that is listed by digest, and cannot be read, is asked for again at once, and then less and less often.
func TestListedBaseThatCannotBeRead(t *testing.T) {
	f := &front{}
	host := newRegistry(t, f.wrap)
	clock := clockAt(now())
	d := pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("a")})
	pushRaw(t, host, "app", "1", rawImage{Layers: layersOf("a", "x")})
	i := newInspector(t, host, func(c *config) { c.Now = clock.Now })
	needs := basesOf(host, func(ab *attestor.ApprovedBase) { ab.Tags, ab.Digests = nil, []attestor.Digest{d} })
	down := func(w http.ResponseWriter, r *http.Request) bool {
		if !isManifest(r, "base") {
			return false
		}
		w.WriteHeader(http.StatusInternalServerError)
		return true
	}

	for n, tt := range []struct {
		after time.Duration
		up    bool
		reads int
	}{{0, false, 1}, {0, false, 1}, {0, false, 0}, {250*time.Millisecond - 1, false, 0}, {1, false, 1}, {250 * time.Millisecond, false, 0},
		{250 * time.Millisecond, true, 1}, {0, true, 0}} {
		clock.set(clock.Now().Add(tt.after))
		f.set(nil)
		if !tt.up {
			f.set(down)
		}
		ev := inspectOne(t, i, host+"/app:1", needs)
		if got := gets(f, manifestPath("base", d)); got != tt.reads || (ev.Base.Evidence != "") != tt.up {
			t.Errorf("%d: read %d times, want %d; base = %+v", n, got, tt.reads, ev.Base)
		}
	}
}

// Entries that some runtime could choose are not left out, whatever the policy is about; entries that look like statements
// are none.
func TestEntriesThatAreNoImages(t *testing.T) {
	amd, statement := rawImage{}, corpus.Attestation(corpus.InToto)
	a, _ := amd.Bytes()
	s, _ := statement.Bytes()
	about := func(change ...string) string { return corpus.AttestationEntry(amd.Digest(), s, change...) }
	for _, tt := range []struct {
		name, entry string
		code        attestor.Code
		says        string
	}{
		{"no platform", desc(ociManifest, a, `"platform":{}`), attestor.CodePlatformMissing, "does not say which platform"},
		{"no architecture", desc(ociManifest, a, `"platform":{"os":"linux","architecture":""}`), attestor.CodePlatformMissing, ""},
		{"an architecture that is not known", desc(ociManifest, a, `"platform":{"os":"linux","architecture":"unknown"}`), attestor.CodePlatformMissing, ""},
		{"a system that is not known", desc(ociManifest, a, `"platform":{"os":"unknown","architecture":"amd64"}`), attestor.CodePlatformMissing, ""},
		{"a statement without a platform", about(`"platform":{"os":"unknown","architecture":"unknown"},`, ""), attestor.CodeAttestationManifestInvalid,
			"its platform is not unknown/unknown"},
		{"a statement of another type", about(ociManifest, "application/vnd.acme"), attestor.CodeAttestationManifestInvalid, "it has media type"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := newRegistry(t, nil)
			pushRaw(t, host, "app", "c", amd)
			pushRaw(t, host, "app", "c", statement)
			pushIndex(t, host, "app", "1", amd.Entry(), tt.entry)
			needs := attestor.Needs{Platforms: []string{"linux/amd64"}}
			r, err := newInspector(t, host, nil).Resolve(t.Context(), parse(t, host+"/app:1"), needs)
			if err != nil {
				t.Fatal(err)
			}
			wantCodes(t, r.Problems, tt.code)
			if len(r.Left) > 0 || !strings.Contains(r.Problems[0].Message, tt.says) {
				t.Errorf("left %q; it says %q, want %q", platforms(r.Left), r.Problems[0].Message, tt.says)
			}
		})
	}
}

// Whoever named platforms that an index does not have is told those that it has.
func TestPlatformsOfAnIndexAreTold(t *testing.T) {
	host := newRegistry(t, nil)
	amd, arm := rawImage{}, rawImage{Arch: "arm64"}
	pushRaw(t, host, "app", "c", amd)
	pushRaw(t, host, "app", "c", arm)
	pushIndex(t, host, "app", "1", amd.Entry(), arm.Entry())
	r, err := newInspector(t, host, nil).Resolve(t.Context(), parse(t, host+"/app:1"), attestor.Needs{Platforms: []string{"linux/s390x", "linux/386"}})
	if err != nil {
		t.Fatal(err)
	}
	wantCodes(t, r.Problems, attestor.CodePlatformNotAllowed)
	const want = "the image is for linux/amd64, linux/arm64, the policy is about linux/s390x, linux/386"
	if p := r.Problems[0]; p.Message != want || p.Fix != "build the image for linux/s390x or linux/386" {
		t.Errorf("it says %q; %q, want %q", p.Message, p.Fix, want)
	}
}

// Each type that an artifact may have, by its config or by its layers.
func TestTypesOfArtifacts(t *testing.T) {
	host := newRegistry(t, nil)
	i := newInspector(t, host, nil)
	for kind, types := range map[string][]string{
		"signature": {simpleSigning, "application/vnd.dev.cosign.artifact.sig.v1+json", "application/vnd.cncf.notary.signature",
			"application/jose+json", "application/cose", "application/vnd.dev.sigstore.bundle.v0.3+json", simpleSigning + "; v=1"},
		"attestation": {dsse, corpus.InToto},
		"SBOM": {"text/spdx", "text/spdx+json", "text/spdx+xml", "application/spdx+json", "application/vnd.syft+json",
			"application/vnd.dev.cosign.artifact.sbom.v1+json", "application/vnd.cyclonedx+xml"},
		"build cache": {cacheConfig},
		"Helm chart": {"application/vnd.cncf.helm.config.v1+json", "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
			"application/vnd.cncf.helm.chart.provenance.v1.prov"},
	} {
		for _, mediaType := range types {
			for name, manifest := range map[string][]byte{
				"layer": raw(ociConfig, "", mediaType), "config": raw(mediaType, "", ociLayer), "layer of another config": raw(emptyConfig, "", mediaType),
			} {
				d := putManifest(t, host, "app", "x", ociManifest, manifest)
				got, err := i.Artifact(t.Context(), must(attestor.ParseImage(host+"/app@"+string(d))), "")
				if err != nil || got != kind {
					t.Errorf("%s as %s: %q, %v; want %q", mediaType, name, got, err, kind)
				}
			}
		}
	}

	// Whatever some runtime takes for an image's config is one.
	for _, config := range []string{
		"", "application/octet-stream", "application/json", "text/html", "text/plain", "application/vnd.docker.container.image.v1+json",
	} {
		d := putManifest(t, host, "app", "x", ociManifest, raw(config, "", ociLayer))
		if got, err := i.Artifact(t.Context(), must(attestor.ParseImage(host+"/app@"+string(d))), ""); err != nil || got != "" {
			t.Errorf("config of %q: %q, %v; want an image", config, got, err)
		}
	}
}
