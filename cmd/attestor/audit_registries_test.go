package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
)

// TestAuditOfAWholeRegistry: a registry's name judges what the names of all its repositories judge, and a path with a
// slash what is below. Again with the same state, nothing is read again. What cannot be listed ends with 3, and writes
// no report.
func TestAuditOfAWholeRegistry(t *testing.T) {
	t.Parallel()
	reg := &heldRegistry{inner: registries.Memory(false), byHash: map[string]int{}}
	var closed atomic.Bool
	host := registries.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if closed.Load() && r.URL.Path == "/v2/_catalog" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		reg.ServeHTTP(w, r)
	}))
	repos := fill(t, host, 3, 4)
	google, env := emulatedBy(t, emulator.Options{})
	dir := t.TempDir()
	write(t, dir, "policy.yaml", sweptPolicy)

	run := func(name string, args ...string) (code int, out string) {
		write(t, dir, name+".yaml", fmt.Sprintf(sweptConfig, host, name+".db"))
		cmd := exec.Command(program(t), append([]string{"audit", "--config", name + ".yaml", "--state", name + ".state",
			"-o", "json", "--output-file", name + ".json"}, args...)...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
		text, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), string(text)
	}

	if code, out := run("named", repos...); code != 1 {
		t.Fatalf("the repositories by name: exit code %d\n%s", code, out)
	}
	for _, target := range []string{host, host + "/", host + "/acme/"} {
		name := strings.NewReplacer("/", "_", ":", "_").Replace("whole " + target)
		code, out := run(name, target)
		if code != 1 || !strings.Contains(out, target+": 3 repositories listed") || strings.Contains(out, "left out") {
			t.Fatalf("%s: exit code %d\n%s", target, code, out)
		}
		if d := cmp.Diff(reported(t, dir, "named.json"), reported(t, dir, name+".json")); d != "" {
			t.Errorf("%s: the reports differ (-by name +whole):\n%s", target, d)
		}

		reg.forget()
		if code, out := run(name, target); code != 1 || len(reg.reads()) > 0 {
			t.Errorf("%s again: exit code %d, %d manifests were read\n%s", target, code, len(reg.reads()), out)
		}
	}

	// The same repository by name and within: once.
	if code, out := run("both", repos[0], host); code != 1 || !strings.Contains(out, "2 repositories listed") {
		t.Errorf("both: exit code %d\n%s", code, out)
	}

	// Deny twins.
	if code, out := run("nothing", host+"/other/"); code != 2 || !strings.Contains(out, "there is no image to judge") {
		t.Errorf("nothing below: exit code %d\n%s", code, out)
	}
	google.SetBehaviour(emulator.Behaviour{Denied: []emulator.Denial{{Permission: "artifactregistry.repositories.list"}}})
	for _, args := range [][]string{{"us-docker.pkg.dev/acme"}, {"--project", "acme"}, append([]string{"--project", "acme"}, repos...)} {
		code, out := run("denied", args...)
		if code != 3 || !strings.Contains(out, "may not list") {
			t.Errorf("%q: exit code %d\n%s", args, code, out)
		}
	}
	google.SetBehaviour(emulator.Behaviour{})
	for i, args := range [][]string{{"us-docker.pkg.dev/acme"}, {"--project", "acme"}} {
		if code, out := run(fmt.Sprint("empty", i), args...); code != 2 || !strings.Contains(out, "there is no image to judge") {
			t.Errorf("%q: exit code %d\n%s", args, code, out)
		}
	}
	closed.Store(true)
	code, out := run("closed", append(slices.Clone(repos), host)...)
	if code != 3 || !strings.Contains(out, "does not show this identity its catalog") || !strings.Contains(out, "--file") {
		t.Errorf("a catalog that is not shown: exit code %d\n%s", code, out)
	}
	for _, name := range []string{"nothing", "denied", "empty0", "empty1", "closed"} {
		if _, err := os.Stat(filepath.Join(dir, name+".json")); err == nil {
			t.Errorf("%s: a report was written", name)
		}
	}
}

// catalogOf serves repositories with one tag each. What tags answers for a path comes first.
func catalogOf(t *testing.T, n int, tags func(w http.ResponseWriter, r *http.Request) bool) (host string) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case tags != nil && tags(w, r):
		case r.URL.Path == "/v2/_catalog":
			var page []string
			first := 0
			_, _ = fmt.Sscanf(r.URL.Query().Get("last"), "acme/r%d", &first)
			for i := first + 1; i <= n && len(page) < 1000; i++ {
				page = append(page, fmt.Sprintf("acme/r%05d", i))
			}
			_ = json.NewEncoder(w).Encode(map[string][]string{"repositories": page})
		case strings.HasSuffix(r.URL.Path, "/tags/list"):
			_, _ = io.WriteString(w, `{"tags":["v1"]}`)
		}
	}))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

func tagsOfRegistry(t *testing.T, host string, each func(ref string)) (said string, failed error) {
	t.Helper()
	r, whole, err := audit.ParseRegistry(host)
	if err != nil || !whole {
		t.Fatalf("%s: %t, %v", host, whole, err)
	}
	var out strings.Builder
	for ref, err := range (listedTargets{registries: []audit.Registry{r}}).tags(t.Context(), config.Registries{}, &out) {
		if err != nil {
			failed = err
			break
		}
		each(ref)
	}
	return out.String(), failed
}

// TestRepositoriesThatWereEmptied: a catalog keeps the names of repositories without an image. They are left out and
// named; any other answer, and a page that is missing later, ends the list.
func TestRepositoriesThatWereEmptied(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer func(w http.ResponseWriter, r *http.Request)
		fails  bool
	}{
		{"unknown", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, false},
		{"no tags", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"tags":null}`) }, false},
		{"denied", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, true},
		{"a second page is unknown", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("last") != "" {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			w.Header().Set("Link", `</v2/acme/r00002/tags/list?last=v1>; rel="next"`)
			_, _ = io.WriteString(w, `{"tags":["v1"]}`)
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := catalogOf(t, 3, func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != "/v2/acme/r00002/tags/list" {
					return false
				}
				tt.answer(w, r)
				return true
			})
			var refs []string
			said, err := tagsOfRegistry(t, host, func(ref string) { refs = append(refs, strings.TrimPrefix(ref, host)) })

			if (err != nil) != tt.fails {
				t.Errorf("%v, want an error: %t", err, tt.fails)
			}
			if tt.fails {
				if said != "" {
					t.Errorf("a part is told as the whole: %s", said)
				}
				return
			}
			if d := cmp.Diff([]string{"/acme/r00001:v1", "/acme/r00003:v1"}, refs); d != "" {
				t.Error(d)
			}
			if !strings.Contains(said, "left out: "+host+"/acme/r00002 (no tag)") {
				t.Errorf("it says %q", said)
			}
		})
	}
}

// TestThousandsOfRepositoriesInFlatMemory: what is kept for a repository is its name.
func TestThousandsOfRepositoriesInFlatMemory(t *testing.T) {
	if os.Getenv("GATE_TEST_ALL") == "" {
		t.Skip("GATE_TEST_ALL is not set")
	}
	const repositories = 5000
	host := catalogOf(t, repositories, nil)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}

	n, early, late := 0, uint64(0), uint64(0)
	if _, err := tagsOfRegistry(t, host, func(string) {
		switch n++; n {
		case repositories / 10:
			early = heap()
		case repositories:
			late = heap()
		}
	}); err != nil || n != repositories {
		t.Fatalf("%d tags, %v", n, err)
	}
	t.Logf("heap after %d repositories %d KiB, after %d %d KiB", repositories/10, early>>10, repositories, late>>10)
	if late > early+8<<20 {
		t.Errorf("the heap grew from %d to %d bytes", early, late)
	}
}
