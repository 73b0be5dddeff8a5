package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/testkit/locked"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

// heldRegistry is a registry that counts what is read, and holds back one
// manifest while somebody waits for it.
type heldRegistry struct {
	inner http.Handler

	mu     sync.Mutex
	hold   string        // a path; guarded by mu
	held   chan struct{} // closed when it is asked for; guarded by mu
	free   chan struct{} // closed when it may go on; guarded by mu
	byHash map[string]int
}

func (h *heldRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	var free chan struct{}
	if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/manifests/sha256:") {
		h.byHash[r.URL.Path]++
	}
	if h.hold != "" && r.URL.Path == h.hold {
		h.hold, free = "", h.free
		close(h.held)
	}

	h.mu.Unlock()
	if free != nil {
		<-free
	}

	h.inner.ServeHTTP(w, r)
}

// holdBack holds the next request for path until what is returned is closed.
func (h *heldRegistry) holdBack(path string) (held <-chan struct{}, free chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hold, h.held, h.free = path, make(chan struct{}), make(chan struct{})
	return h.held, h.free
}

const sweptConfig = `
listen: 127.0.0.1:0
policies: [policy.yaml]
attestors: [{name: projects/dev/attestors/gate, kms: projects/dev/locations/global/keyRings/gate/cryptoKeys/gate/cryptoKeyVersions/1}]
registries: {allowed: ["%[1]s"]}
scanProjects: {"%[1]s": dev}
store: {sqlite: %[2]s}
`

const sweptPolicy = `
apiVersion: attestor/v1
kind: GatePolicy
metadata: {name: production}
spec:
  mode: enforce
  images: ["**"]
  base: {required: false}
  user: {nonRoot: true}
  vulnerabilities: {maximumFixableSeverity: ALLOW_ALL, maximumUnfixableSeverity: ALLOW_ALL, scan: {required: false}}
  attestors: [projects/dev/attestors/gate]
`

// An audit that is killed half-way, and run again with the same state, ends as
// one that was left alone, and asks for nothing twice.
func TestAuditIsKilledAndResumed(t *testing.T) {
	t.Parallel()
	reg := &heldRegistry{inner: registries.Memory(false), byHash: map[string]int{}}
	host := registries.Serve(t, reg)
	const repositories, tags = 3, 10
	repos := fill(t, host, repositories, tags)
	env := append(os.Environ(), emulated(t)...)
	dir := t.TempDir()
	write(t, dir, "policy.yaml", sweptPolicy)

	for _, run := range []string{"whole", "killed"} {
		write(t, dir, run+".yaml", fmt.Sprintf(sweptConfig, host, run+".db"))
	}

	sweep := func(run, output string) *exec.Cmd {
		cmd := exec.Command(program(t), append([]string{"audit", "--config", run + ".yaml", "--state", run + ".state", "--at-once", "4",
			"-o", "json", "--output-file", output}, repos...)...)
		cmd.Dir, cmd.Env = dir, env
		return cmd
	}

	whole := finishSweep(t, sweep("whole", "whole.json"))
	if want := "27 images: 15 pass, 12 would be refused, 0 could not be decided, 0 failed"; !strings.Contains(whole, want) {
		t.Fatalf("the undisturbed audit says %q, want %q", whole, want)
	}

	// Half of them are through when the one that is held back is asked for.
	held, free := reg.holdBack("/v2/acme/service-1/manifests/v5")
	killed := sweep("killed", "killed.json")
	var stderr bytes.Buffer
	killed.Stderr = &stderr
	if err := killed.Start(); err != nil {
		t.Fatal(err)
	}

	done := make(chan error, 1)
	go func() { done <- killed.Wait() }()

	select {
	case <-held:
	case err := <-done:
		t.Fatalf("the audit ended before it was killed: %v\n%s", err, &stderr)
	}

	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}

	<-done
	close(free)
	state, err := os.ReadFile(filepath.Join(dir, "killed.state"))
	if err != nil {
		t.Fatal(err)
	}

	lines := bytes.Count(state, []byte("\n")) - 1
	if lines < 5 || lines >= 27 {
		t.Fatalf("%d images were judged when it was killed, want about half of 27", lines)
	}
	if _, err := os.Stat(filepath.Join(dir, "killed.json")); err == nil {
		t.Error("the killed audit left a report")
	}

	reg.forget()
	resumed := finishSweep(t, sweep("killed", "killed.json"))
	if resumed != whole {
		t.Errorf("resumed, it says %q; undisturbed %q", resumed, whole)
	}
	if d := cmp.Diff(reported(t, dir, "whole.json"), reported(t, dir, "killed.json")); d != "" {
		t.Errorf("the reports differ (-undisturbed +resumed):\n%s", d)
	}

	again := map[string]bool{}
	for line := range bytes.Lines(state) {
		var r struct {
			Decision struct{ Image struct{ Digest string } }
		}
		if json.Unmarshal(line, &r) == nil && bytes.HasSuffix(line, []byte("\n")) {
			again[r.Decision.Image.Digest] = true
		}
	}

	for path := range reg.reads() {
		if digest := path[strings.LastIndex(path, "/")+1:]; again[digest] {
			t.Errorf("%s had been judged, and was read again", path)
		}
	}

	// The state of one audit is not that of another.
	other := exec.Command(program(t), "audit", "--config", "killed.yaml", "--state", "killed.state", "--output-file", "other.html", repos[0])
	other.Dir, other.Env = dir, env
	out, err := other.CombinedOutput()
	if code := other.ProcessState.ExitCode(); code != 2 && code != 3 || !strings.Contains(string(out), "belongs to another sweep") {
		t.Errorf("with another audit's state: exit code %d, %v\n%s", code, err, out)
	}
}

func (h *heldRegistry) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.byHash)
}

func (h *heldRegistry) reads() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[string]int{}

	for path, n := range h.byHash {
		out[path] = n
	}
	return out
}

// fill pushes images, every other one for root, the last tag of each
// repository being an alias of its first.
func fill(t *testing.T, host string, repositories, tags int) []string {
	t.Helper()
	var repos []string

	for r := range repositories {
		repo := fmt.Sprintf("%s/acme/service-%d", host, r)
		repos = append(repos, repo)
		var first v1.Image

		for tag := range tags {
			img, err := random.Image(64, 1)
			if err == nil {
				img, err = mutate.Config(img, v1.Config{User: []string{"65532:65532", "root"}[tag%2]})
			}
			if err == nil {
				var file *v1.ConfigFile
				if file, err = img.ConfigFile(); err == nil {
					file = file.DeepCopy()
					file.OS, file.Architecture = "linux", "amd64"
					img, err = mutate.ConfigFile(img, file)
				}
			}
			if tag == 0 {
				first = img
			}
			if tag == tags-1 {
				img = first
			}

			ref, e := name.NewTag(fmt.Sprintf("%s:v%d", repo, tag))
			if err == nil {
				err = e
			}
			if err == nil {
				err = remote.Write(ref, img)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return repos
}

// emulated starts Google's services for a program, whose environment it returns.
func emulated(t *testing.T) []string {
	t.Helper()
	_, env := emulatedBy(t, emulator.Options{})
	return env
}

// emulatedBy starts an emulator with options, and returns the variables that name it.
func emulatedBy(t *testing.T, o emulator.Options) (google *emulator.Emulator, env []string) {
	t.Helper()
	google = standin.StartServices(t, o).Emulator
	return google, standin.Environment(standin.Serve(t, google))
}

// program is this very test binary, which is the attestor under that name.
func program(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("attestor")
	if err != nil {
		t.Fatal(err)
	}

	return path
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// finishSweep runs an audit that finds images to refuse; its last line says how
// it went.
func finishSweep(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 {
		t.Fatalf("the audit ended with %v, want exit code 1\n%s", err, out)
	}

	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// reported is what a report says of each image, without when and under which
// id that was found.
func reported(t *testing.T, dir, file string) map[string]any {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}

	var all map[string]any
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}

	for _, field := range []string{"made", "since", "until", "trend"} {
		delete(all, field)
	}

	rows := all["rows"].([]any)
	for _, row := range rows {
		delete(row.(map[string]any), "id")
		delete(row.(map[string]any), "time")
		delete(row.(map[string]any), "requested") // of two tags of one image, either may have come first
	}

	slices.SortFunc(rows, func(a, b any) int {
		return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
	})
	return all
}

// A registry that limits how often it is asked is left alone for as long as it
// says, and then asked again: nothing is undecided for it.
func TestAuditWaitsForTheRegistry(t *testing.T) {
	t.Parallel()
	images := registries.Memory(false)
	var complaints atomic.Int64
	var filled atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limited := strings.Contains(r.URL.Path, "/manifests/") || strings.Contains(r.URL.Path, "/tags/")
		if n := complaints.Load(); filled.Load() && limited && n < 6 && complaints.CompareAndSwap(n, n+1) {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		images.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	host := strings.TrimPrefix(srv.URL, "http://")
	repos := fill(t, host, 1, 5)
	filled.Store(true)
	dir := t.TempDir()
	write(t, dir, "policy.yaml", sweptPolicy)
	write(t, dir, "attestor.yaml", fmt.Sprintf(sweptConfig, host, "record.db"))
	cmd := exec.Command(program(t), append([]string{"audit", "--config", "attestor.yaml", "--output-file", "report.html"}, repos...)...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), emulated(t)...)
	if got, want := finishSweep(t, cmd), "4 images: 2 pass, 2 would be refused, 0 could not be decided, 0 failed"; got != want || complaints.Load() != 6 {
		t.Errorf("after %d complaints it says %q, want %q", complaints.Load(), got, want)
	}
}

// On a terminal an audit says how far it is, how fast, and how long it will
// take; its last line says how it went.
func TestAuditShowsProgress(t *testing.T) {
	t.Parallel()
	tty, err := exec.LookPath("script")
	if err != nil {
		t.Skip("script, which lends a program a terminal, is not installed: apt-get install bsdutils")
	}

	reg := &heldRegistry{inner: registries.Memory(false), byHash: map[string]int{}}
	host := registries.Serve(t, reg)
	repos := fill(t, host, 1, 10)
	dir := t.TempDir()
	write(t, dir, "policy.yaml", sweptPolicy)
	write(t, dir, "attestor.yaml", fmt.Sprintf(sweptConfig, host, "record.db"))
	held, free := reg.holdBack("/v2/acme/service-0/manifests/v8")
	cmd := exec.Command(tty, "-qec", program(t)+" audit --config attestor.yaml --at-once 2 --output-file report.html "+repos[0], "/dev/null")
	cmd.Dir, cmd.Env = dir, append(append(os.Environ(), "TERM=xterm", "COLUMNS=120"), emulated(t)...)
	var out locked.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}

	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()

	select {
	case <-held: // the others are through, or nearly
	case err := <-done:
		t.Fatalf("the audit ended: %v\n%s", err, &out)
	}

	close(free)
	<-done

	for _, want := range []string{"judging", "/10", "it/s", "9 images: 5 pass, 4 would be refused"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not show %q:\n%q", want, out.String())
		}
	}

	if left := regexp.MustCompile(`\[\d+s:\d+s\]`); !left.MatchString(out.String()) {
		t.Errorf("it does not say how long is left:\n%q", out.String())
	}
}
