package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestor-gate/attestor/internal/testkit/locked"
)

// A hostile request is sent many times at once.
type hostileRequest struct {
	method, path, media string
	body                []byte
}

// hostileRequests are, for each route, what costs most memory that a caller may ask
// for.
func hostileRequests() []hostileRequest {
	const megabyte = 1<<20 - 4096
	rows := func(n int, row string) string {
		var b strings.Builder
		for i := 0; b.Len() < n; i++ {
			fmt.Fprintf(&b, row+",", i)
		}
		return strings.TrimSuffix(b.String(), ",")
	}
	policy := func(images, cves int) string {
		return "apiVersion: attestor/v1\nkind: GatePolicy\nmetadata: {name: x}\nspec:\n  mode: enforce\n  base: {required: false}\n" +
			"  user: {nonRoot: true}\n  attestors: [projects/d/attestors/g]\n  images: ['**', " + rows(images, "a.io/%x") + "]\n" +
			"  vulnerabilities: {maximumFixableSeverity: HIGH, maximumUnfixableSeverity: HIGH, blockedCves: [" + rows(cves, "CVE-2026-1%x") + "]}\n"
	}
	object := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return b
	}

	const jsonType, yamlType = "application/json", "application/yaml"
	service := "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: api}\nspec: {template: {spec: {containers: [{image: x, env: [" +
		rows(megabyte-4096, "{name: a%x, value: v}") + "]}]}}}\n"
	out := []hostileRequest{
		{"POST", "/v1/attest", jsonType, []byte(`{"image":"` + strings.Repeat("a", megabyte) + `"}`)},
		{"POST", "/v1/attest", jsonType, []byte(`{"labels":{` + rows(megabyte, `"k%x":"v"`) + `}}`)},
		{"POST", "/v1/attest", jsonType, bytes.Repeat([]byte("["), megabyte)},
		{"POST", "/v1/simulate", jsonType, object(map[string]string{"policy": policy(200_000, 200_000)})},
		{"POST", "/v1/simulate", jsonType, object(map[string]string{"policy": strings.Repeat("- ", megabyte/4)})},
		{"POST", "/v1/simulate", jsonType, object(map[string]string{"policy": "a: &a [x,x]\n" + strings.Repeat("b: &b [*a,*a,*a]\n", 20_000)})},
		{"POST", "/v1/posture", yamlType, []byte(service)},
		{"POST", "/v1/posture", yamlType, bytes.Repeat([]byte("{a: "), megabyte/4)},
		{"POST", "/v1/events", jsonType, object(map[string]any{"message": map[string]string{"data": strings.Repeat("A", megabyte)}})},
		{"POST", "/v1/rejudge", jsonType, object(map[string]string{"pageToken": strings.Repeat("A", megabyte)})},
		{"GET", "/v1/attestations?image=" + strings.Repeat("a", 20_000), "", nil},
		{"DELETE", "/v1/attestations?image=x&reason=" + strings.Repeat("a", 20_000), "", nil},
	}
	for _, path := range []string{
		"/v1/decisions?pageSize=500", "/v1/decisions?pageSize=500&search=x", "/v1/decisions?pageSize=500&repository=registry.example/**",
		"/decisions?search=latest", "/report", "/", "/policies", "/bases", "/v1/policies", "/metrics", "/openapi.json", "/ready",
	} {
		out = append(out, hostileRequest{"GET", path, "", nil})
	}
	return out
}

// 512 MB are enough for whatever callers send, as the kernel counts them.
func TestMemoryOfHostileRequests(t *testing.T) {
	const allowed, atOnce, records = 512 << 10, 48, 400 // kB; of each request; in the record before
	address, pid := startLimited(t, "400MiB")
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: atOnce}, Timeout: 2 * time.Minute}
	defer client.CloseIdleConnections()

	send := func(r hostileRequest) int {
		req, err := http.NewRequestWithContext(t.Context(), r.method, address+r.path, bytes.NewReader(r.body))
		if err != nil {
			t.Error(err)
			return 0
		}
		req.Header.Set("Content-Type", r.media)
		resp, err := client.Do(req)
		if err != nil {
			return 0 // the server may end the connection of a body that it does not read
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body) // its status is what counts
		return resp.StatusCode
	}

	// Decisions with the largest labels that are allowed.
	labels := map[string]string{}
	for i := range 15 {
		labels[fmt.Sprint("label-", i)] = strings.Repeat("v", 1000)
	}
	for i := range records {
		body, err := json.Marshal(map[string]any{"image": fmt.Sprintf("registry.example/x/y%d:1", i), "dryRun": true, "labels": labels})
		if err != nil {
			t.Fatal(err)
		}
		if send(hostileRequest{"POST", "/v1/attest", "application/json", body}) == 0 {
			t.Fatal("the service does not answer")
		}
	}

	answered := map[int]int{}
	var mu sync.Mutex
	for _, r := range hostileRequests() {
		var wg sync.WaitGroup
		for range atOnce {
			wg.Go(func() {
				status := send(r)
				mu.Lock()
				defer mu.Unlock()
				answered[status]++
			})
		}
		wg.Wait()
	}

	peak := peakMemory(t, pid)
	t.Logf("%d MB at most, answers by status: %v", peak>>10, answered)
	if peak > allowed {
		t.Errorf("the process had %d MB, at most %d MB are allowed", peak>>10, allowed>>10)
	}
	if status := send(hostileRequest{method: "GET", path: "/health"}); status != http.StatusOK {
		t.Errorf("afterwards /health answers %d", status)
	}
	if answered[http.StatusOK] == 0 || answered[http.StatusBadRequest] == 0 {
		t.Errorf("the requests were not answered as expected: %v", answered)
	}
}

// startLimited runs attestor dev with a memory limit, and returns its address.
func startLimited(t *testing.T, limit string) (address string, pid int) {
	t.Helper()

	// The program as it is shipped: the race detector alone takes more memory than
	// is allowed.
	path := filepath.Join(t.TempDir(), "attestor")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, path, "dev", "--no-samples", "--listen", "127.0.0.1:0", "--registry-listen", "127.0.0.1:0",
		"--google-listen", "127.0.0.1:0", "--state", t.TempDir())
	cmd.Env = append(os.Environ(), "GOMEMLIMIT="+limit)
	var said locked.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		stop()
		t.Fatal(err)
	}

	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { stop(); <-ended })
	for range 1200 {
		for line := range strings.Lines(said.String()) {
			if i := strings.Index(line, "http://127.0.0.1:"); i >= 0 && strings.Contains(said.String(), "attestor: ready") {
				return strings.TrimRight(strings.Fields(line[i:])[0], "/.,"), cmd.Process.Pid
			}
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("attestor dev ended: %v\n%s", err, said.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Fatalf("attestor dev is not ready: %s", said.String())
	return "", 0
}

// peakMemory is the most memory that a process had, in kB, as the kernel counts it.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	return memoryOf(t, pid, "VmHWM:") >> 10
}

// memoryOf is a line of a process's status, in bytes.
func memoryOf(t *testing.T, pid int, line string) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for text := range strings.Lines(string(status)) {
		if fields := strings.Fields(text); len(fields) == 3 && fields[0] == line {
			n, err := strconv.Atoi(fields[1])
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatalf("the kernel does not say %s", line)
	return 0
}
