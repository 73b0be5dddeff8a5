package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"time"
)

// The program has no profiler: a port that shows memory is one more to
// guard. The harness builds one with it, by an overlay.
//
//go:embed profiler.go.txt
var profilerSource string

const profilerAddr = "127.0.0.1:16060"

func profilerEnv(profile string) []string {
	if profile == "" {
		return nil
	}
	return []string{"BENCH_PPROF=" + profilerAddr}
}

// profiler writes an overlay for `go build -overlay`.
func profiler(dir string) (string, error) {
	source, overlay := filepath.Join(dir, "profiler.go"), filepath.Join(dir, "overlay.json")
	at, err := filepath.Abs("cmd/attestor/profiler.go")
	if err != nil {
		return "", err
	}

	// The overlay adds a file to the program that the repository does not have there.
	b, err := json.Marshal(map[string]any{"Replace": map[string]string{at: source}})
	if err != nil {
		return "", err
	}
	return overlay, errors.Join(os.WriteFile(source, []byte(profilerSource), 0o600), os.WriteFile(overlay, b, 0o600))
}

// profiling takes a CPU profile until what it returns is called, and a profile
// of all allocations so far then.
func profiling(ctx context.Context, dir string) func() error {
	own, err := os.Create(filepath.Join(dir, "standins.pprof"))
	if err == nil {
		err = pprof.StartCPUProfile(own)
	}
	cpu := make(chan error, 1)
	const seconds = 15
	go func() { cpu <- save(ctx, fmt.Sprintf("profile?seconds=%d", seconds), filepath.Join(dir, "cpu.pprof")) }()
	return func() error {
		pprof.StopCPUProfile()
		return errors.Join(err, own.Close(), <-cpu, save(ctx, "allocs", filepath.Join(dir, "allocs.pprof")))
	}
}

// profileSweep takes a CPU profile a moment after a sweep has started; a sweep
// that is over before that leaves none.
func profileSweep(ctx context.Context, dir string) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}

		if err := save(ctx, "profile?seconds=4", filepath.Join(dir, "sweep.pprof")); err != nil {
			fmt.Fprintln(os.Stderr, "bench: no profile of the sweep:", err)
		}
	}()
	return func() { <-done }
}

func save(ctx context.Context, what, path string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()

	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+profilerAddr+"/debug/pprof/"+what, nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{}).DialContext}}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()

	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return errors.Join(fmt.Errorf("profile: %s", resp.Status), err)
	}
	return os.WriteFile(path, b, 0o600)
}
