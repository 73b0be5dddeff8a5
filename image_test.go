package attestor_test

import (
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
)

const digestA = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func TestParseReference(t *testing.T) {
	for _, tt := range []struct{ name, in, want, message string }{
		{name: "tag", in: "us-docker.pkg.dev/acme/prod/api:v7", want: "us-docker.pkg.dev/acme/prod/api:v7"},
		{name: "digest", in: "us-docker.pkg.dev/acme/prod/api@" + digestA, want: "us-docker.pkg.dev/acme/prod/api@" + digestA},
		{name: "the digest wins over a tag", in: "us-docker.pkg.dev/acme/prod/api:v7@" + digestA, want: "us-docker.pkg.dev/acme/prod/api@" + digestA},
		{name: "port", in: "127.0.0.1:5000/app:1", want: "127.0.0.1:5000/app:1"},
		{name: "Docker Hub is canonical", in: "docker.io/library/alpine:3", want: "index.docker.io/library/alpine:3"},
		{name: "domain-scoped project", in: "gcr.io/example.com/proj/img:1", want: "gcr.io/example.com/proj/img:1"},
		{name: "empty", in: "", message: "image is empty"},
		{name: "scheme", in: "https://us-docker.pkg.dev/acme/prod/api:v7", message: `remove "https://"`},
		{name: "no registry", in: "alpine:3", message: "the registry is missing"},
		{name: "neither tag nor digest", in: "us-docker.pkg.dev/acme/prod/api", message: "neither tag nor digest"},
		{name: "neither, with a port", in: "127.0.0.1:5000/app", message: "neither tag nor digest"},
		{name: "no registry but a path", in: "team/alpine:3", message: "the registry is missing"},
		{name: "upper case", in: "us-docker.pkg.dev/Acme/prod/api:v7", message: "is not a repository"},
		{name: "short digest", in: "us-docker.pkg.dev/acme/prod/api@sha256:abc", message: "is not a digest"},
		{name: "upper-case digest", in: "us-docker.pkg.dev/acme/prod/api@sha256:" + strings.Repeat("A", 64), message: "is not a digest"},
		{name: "another algorithm", in: "us-docker.pkg.dev/acme/prod/api@sha512:" + strings.Repeat("a", 128), message: "is not a digest"},
		{name: "two digests", in: "us-docker.pkg.dev/a/b@" + digestA + "@" + digestA, message: "is not a digest"},
		{name: "space", in: "us-docker.pkg.dev/acme/prod/api :v7", message: "a character that no reference has"},
		{name: "newline", in: "us-docker.pkg.dev/acme/prod/api:v7\n", message: "a character that no reference has"},
		{name: "fullwidth", in: "us-docker.pkg.dev/acme/prod/api:v７", message: "a character that no reference has"},
		{name: "path tricks", in: "us-docker.pkg.dev/acme/../evil/api:v7", message: `".." is not a path segment`},
		{name: "too long", in: "us-docker.pkg.dev/" + strings.Repeat("a", 2000) + ":1", message: "at most 1024"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ref, err := attestor.ParseReference(tt.in)
			if tt.message == "" {
				if err != nil {
					t.Fatal(err)
				}
				if got := ref.String(); got != tt.want {
					t.Errorf("got %s, want %s", got, tt.want)
				}
				return
			}
			if err == nil {
				t.Fatalf("accepted as %s", ref)
			}
			if attestor.KindOf(err) != attestor.Invalid || !strings.Contains(attestor.Message(err), tt.message) {
				t.Errorf("got %v, want an invalid reference: …%s…", err, tt.message)
			}
		})
	}
}

func FuzzParseReference(f *testing.F) {
	for _, s := range []string{"us-docker.pkg.dev/acme/prod/api:v7", "a.b/c@" + digestA, "a.b/c:1@" + digestA,
		"127.0.0.1:5000/x:y", "docker.io/library/a:b", "localhost/a:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := attestor.ParseReference(s)
		if err != nil {
			if ref != (attestor.Reference{}) {
				t.Errorf("%q: refused, and yet %v was returned", s, ref)
			}
			return
		}

		again, err := attestor.ParseReference(ref.String())
		if err != nil || again.String() != ref.String() {
			t.Errorf("%q: the canonical form %q parses to %q, %v", s, ref, again, err)
		}
		if img, ok := ref.Pinned(); ok {
			if _, err := attestor.ParseImage(img.String()); err != nil {
				t.Errorf("%q: %v", s, err)
			}
		}
	})
}

func TestPattern(t *testing.T) {
	for _, tt := range []struct {
		pattern, repository string
		want                bool
	}{
		{"us-docker.pkg.dev/acme/prod/**", "us-docker.pkg.dev/acme/prod/api", true},
		{"us-docker.pkg.dev/acme/prod/**", "us-docker.pkg.dev/acme/prod/team/api", true},
		{"us-docker.pkg.dev/acme/prod/*", "us-docker.pkg.dev/acme/prod/team/api", false},
		{"us-docker.pkg.dev/acme/**", "us-docker.pkg.dev/acme-evil/x", false},
		{"us-docker.pkg.dev/acme/prod/api", "us-docker.pkg.dev/acme/prod/api-evil", false},
		{"us-docker.pkg.dev/acme/prod/api*", "us-docker.pkg.dev/acme/prod/api-v2", true},
		{"us-docker.pkg.dev/acme/prod/api*", "us-docker.pkg.dev/acme/prod/api/x", false},
		{"*.pkg.dev/acme/**", "us-docker.pkg.dev/acme/x", true},
		{"*.pkg.dev/acme/**", "evil.example/us-docker.pkg.dev/acme/x", false},
		{"**/api", "us-docker.pkg.dev/a/b/api", true},
		{"**", "anything/at/all", true},
		{"a/**/z", "a/z", true},
		{"a/**/z", "a/b/c/z", true},
		{"a/**/z", "a/b/c", false},
	} {
		p, err := attestor.ParsePattern(tt.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Match(tt.repository); got != tt.want {
			t.Errorf("%s on %s: got %v, want %v", tt.pattern, tt.repository, got, tt.want)
		}
	}

	for _, bad := range []string{"", "us-docker.pkg.dev", "https://x/y", "x//y", "x/y:tag", "x/y@" + digestA, "x/a**", "x/y z", "x/"} {
		if p, err := attestor.ParsePattern(bad); err == nil {
			t.Errorf("%q was accepted as %v", bad, p)
		}
	}

	if (attestor.Pattern{}).Match("") || (attestor.Pattern{}).Match("a/b") {
		t.Error("the zero pattern matches something")
	}
}
