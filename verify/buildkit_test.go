package verify_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/slow"
	"github.com/attestor-gate/attestor/internal/testkit/toolbuild"
)

// workshop is a directory with what images are made of.
type workshop struct {
	t   *testing.T
	dir string
	env []string
}

func newWorkshop(t *testing.T) *workshop {
	t.Helper()
	dir, tmp := t.TempDir(), t.TempDir()
	return &workshop{t: t, dir: dir, env: append(os.Environ(), "HOME="+dir, "TMPDIR="+tmp)}
}

func (w *workshop) write(path, content string) {
	w.t.Helper()
	path = filepath.Join(w.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *workshop) run(bin string, args ...string) {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), bin, args...)
	cmd.Dir, cmd.Env = w.dir, w.env
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("%s %q: %v\n%s", filepath.Base(bin), args, err, out)
	}
}

// fromSource is a program of a module under tools/.
func fromSource(t *testing.T, module, pkg string) string {
	t.Helper()
	bin, err := toolbuild.Build(t.Context(), module, pkg)
	if err != nil {
		t.Fatal(err)
	}

	return bin
}

// buildKit is a running buildkitd, and what it builds from.
type buildKit struct {
	*workshop
	daemon *toolbuild.BuildKit
}

// newBuildKit starts the daemon, which pushes to the given registries.
func newBuildKit(t *testing.T, hosts ...string) *buildKit {
	t.Helper()
	slow.Skip(t)
	daemon, err := toolbuild.StartBuildKit(t.Context(), hosts...)
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() {
		if said, err := daemon.Close(); err != nil || t.Failed() {
			t.Errorf("buildkitd ended: %v, and said:\n%s", err, said)
		}
	})
	return &buildKit{newWorkshop(t), daemon}
}

// build builds a Dockerfile and pushes it, with provenance.
func (b *buildKit) build(image, dockerfile, provenance string) {
	b.t.Helper()
	b.write("Dockerfile", dockerfile)
	if err := b.daemon.Build(b.t.Context(), b.dir, image, "--opt", "attest:provenance="+provenance); err != nil {
		b.t.Fatal(err)
	}
}

// Images that BuildKit and ko build here and now, in both registries: what is
// said of those that were recorded in testdata/images holds for them.
func TestBuildKitAndKo(t *testing.T) {
	for kind, start := range bothRegistries() {
		t.Run(kind, func(t *testing.T) {
			slow.Skip(t)
			host := start(t)
			amd, arm := baseImage(t, "amd64", 2), baseImage(t, "arm64", 2)
			push(t, host+"/base:1", index(t, amd, arm))
			b := newBuildKit(t, host)
			b.write("hello", "hello")
			from := "FROM " + host + "/base:1\nCOPY hello /hello\nUSER "
			b.build(host+"/bk:1", from+"65532:65532\n", "mode=max,version=v1")
			b.build(host+"/bkold:1", from+"65532\n", "mode=max,version=v0.2")
			b.build(host+"/bkmin:1", from+"0\n", "mode=min")
			b.build(host+"/onapp:1", "FROM "+host+"/bk:1\nCOPY hello /again\n", "mode=max")
			b.build(host+"/copied:1", "FROM "+host+"/base:1 AS base\nFROM scratch\nCOPY --from=base / /\nUSER 1000\n", "mode=max")
			ko(t, host)
			unsigned := "unsigned provenance " + host + "/base"

			for _, tt := range []struct {
				image string
				level attestor.Level
				uid   int64
				hint  string
			}{
				{host + "/bk:1", attestor.LayersExact, 65532, ""},
				{host + "/bkold:1", attestor.LayersExact, 65532, ""},
				{host + "/bkmin:1", attestor.LayersExact, 0, ""},
				{host + "/onapp:1", attestor.LayersExact, 65532, ""},
				{host + "/copied:1", "", 1000, unsigned},
				{host + "/ko:1", attestor.LayersExact, 0, "base.name " + host + "/base:1"},
			} {
				ev := inspectOne(t, newInspector(t, host, nil), tt.image, basesOf(host, nil))
				wantCodes(t, ev.Problems)
				want := 0
				if tt.level != "" {
					want = 2
				}
				if ev.Base.Evidence != tt.level || ev.Base.Layers != want {
					t.Errorf("%s: base = %+v, want %q by %d layers", tt.image, ev.Base, tt.level, want)
				}
				if value(ev.User.UID) != tt.uid {
					t.Errorf("%s: user = %+v, want %d", tt.image, ev.User, tt.uid)
				}
				if hints := strings.Join(ev.Base.Hints, "\n"); !strings.Contains(hints, tt.hint) {
					t.Errorf("%s: hints = %q, want %q among them", tt.image, hints, tt.hint)
				}
			}

			r, all := inspectAll(t, newInspector(t, host, nil), host+"/komulti:1", basesOf(host, nil))
			if !r.Index || len(all) != 2 {
				t.Fatalf("ko for two platforms: %+v", r)
			}

			for _, ev := range all {
				wantCodes(t, ev.Problems)
				if ev.Base.Evidence != attestor.LayersExact || ev.Base.Layers != 2 {
					t.Errorf("ko for %s: base = %+v", ev.Platform, ev.Base)
				}
			}
		})
	}
}

// ko builds a Go program onto the base, for one platform and for two.
func ko(t *testing.T, host string) {
	t.Helper()
	bin := fromSource(t, "ko", "github.com/google/ko")
	w := newWorkshop(t)
	w.write("go.mod", "module example.com/hello\n\ngo 1.26\n")
	w.write("main.go", "package main\n\nfunc main() { println(\"hello\") }\n")
	cache, err := exec.CommandContext(t.Context(), "go", "env", "GOCACHE", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}

	dirs := strings.Fields(string(cache))
	w.env = append(w.env, "GOCACHE="+dirs[0], "GOMODCACHE="+dirs[1], "GOFLAGS=", "GOWORK=off", "KO_DEFAULTBASEIMAGE="+host+"/base:1")

	for repo, platforms := range map[string]string{"ko": "linux/amd64", "komulti": "linux/amd64,linux/arm64"} {
		w.env = append(w.env, "KO_DOCKER_REPO="+host+"/"+repo)
		w.run(bin, "build", "--bare", "--sbom=none", "--insecure-registry", "--tags", "1", "--platform", platforms, ".")
	}
}
