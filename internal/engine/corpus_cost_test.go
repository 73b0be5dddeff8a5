package engine_test

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
)

// costly are the cases whose purpose is to cost more to read than to send.
func costly(c corpus.Case) bool {
	return regexp.MustCompile(
		`^bombs/|^traps/(02|03|10|12|13)|^registry/(an endless|an enormous|a manifest said)|gzip bomb|without a `+
			`length|^policies/(aliases|brackets|a hundred)|eight megabytes|very deep`).MatchString(c.Name) && !silent(c)
}

// mayAllocate is how much the service, and the stand-ins that share its
// process, may allocate for one hostile case: what it reads is a few megabytes
// at most, whatever it claims or unpacks to.
const mayAllocate = 96 << 20

// TestHostileInputCostsLittle: none of them takes the service's memory, its
// goroutines or its connections, and a good image is admitted after each kind.
// It is alone in the process, which it measures.
func TestHostileInputCostsLittle(t *testing.T) {
	const good = "traps/08 a key without a trusted root"
	all := corpus.All()
	var cases []corpus.Case

	for _, c := range all {
		if costly(c) || c.Name == good {
			cases = append(cases, c)
		}
	}

	if len(cases) < 35 {
		t.Fatalf("only %d cases", len(cases))
	}

	h := newHostileWorld(t, cases)
	admit := func(after string) {
		t.Helper()
		for _, p := range h.run(cases[slices.IndexFunc(cases, func(c corpus.Case) bool { return c.Name == good })]) {
			t.Errorf("after %s: %s", after, p)
		}
	}

	admit("nothing")
	goroutines, heap := runtime.NumGoroutine(), heapInUse()
	var before, after runtime.MemStats

	for _, c := range cases {
		runtime.ReadMemStats(&before)
		problems := h.run(c)
		runtime.ReadMemStats(&after)

		for _, p := range problems {
			t.Errorf("%s: %s", c.Name, p)
		}

		if grown := after.TotalAlloc - before.TotalAlloc; grown > mayAllocate {
			t.Errorf("%s: allocated %d MiB", c.Name, grown>>20)
		}
		if strings.HasPrefix(c.Name, "traps/") {
			admit(c.Name)
		}
	}

	admit("all of them")
	if kept := heapInUse() - heap; kept > 64<<20 {
		t.Errorf("%d MiB are still in use", kept>>20)
	}

	// Idle connections stay for the next request, in a pool; a leak is one for
	// every case.
	settled := func() bool { return runtime.NumGoroutine() < goroutines+40 }
	for range 500 {
		if settled() {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}

	if !settled() {
		t.Errorf("%d goroutines, there were %d", runtime.NumGoroutine(), goroutines)
	}
	if n := h.registry.Open(); n > 64 {
		t.Errorf("%d connections to the registry are open", n)
	}
	if a := h.do(http.MethodGet, "/health", ""); a.status != http.StatusOK {
		t.Errorf("/health is %d", a.status)
	}
}

// TestTrap11TheServiceIgnoresTheEnvironment: variables that cosign's library and
// Sigstore's read would look for signatures elsewhere, trust other keys, and
// fetch their roots. What is trusted is the policy's alone.
func TestTrap11TheServiceIgnoresTheEnvironment(t *testing.T) {
	home := t.TempDir()
	foreign := filepath.Join(home, "foreign.pem")
	if err := os.WriteFile(foreign, []byte("not a key"), 0o600); err != nil {
		t.Fatal(err)
	}

	for k, v := range map[string]string{
		"COSIGN_REPOSITORY": "127.0.0.1:1/elsewhere", "COSIGN_MAX_ATTACHMENT_SIZE": "1", "COSIGN_EXPERIMENTAL": "1", "COSIGN_DOCKER_MEDIA_TYPES": "1",
		"SIGSTORE_ROOT_FILE": foreign, "SIGSTORE_REKOR_PUBLIC_KEY": foreign, "SIGSTORE_CT_LOG_PUBLIC_KEY_FILE": foreign,
		"SIGSTORE_TSA_CERTIFICATE_FILE": foreign, "TUF_ROOT": filepath.Join(home, "tuf"), "TUF_MIRROR": "http://127.0.0.1:1", "HOME": home,
	} {
		t.Setenv(k, v)
	}

	var cases []corpus.Case
	admitted := 0

	for _, c := range corpus.All() {
		if strings.HasPrefix(c.Name, "traps/07") || strings.HasPrefix(c.Name, "traps/08") ||
			strings.HasPrefix(c.Name, "traps/09") || strings.HasPrefix(c.Name, "signatures/by ") {
			cases = append(cases, c)
			if c.Want.Verdict == attestor.Pass {
				admitted++
			}
		}
	}

	if admitted < 4 || admitted == len(cases) {
		t.Fatalf("%d of %d cases are admitted: too few to show anything", admitted, len(cases))
	}

	h := newHostileWorld(t, cases)
	for _, c := range cases {
		for _, p := range h.run(c) {
			t.Errorf("%s: %s", c.Name, p)
		}
	}

	if list, err := os.ReadDir(home); err != nil || len(list) != 1 {
		t.Errorf("left behind %v, %v", list, err)
	}
}

func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // far below the limit
}
