package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

const sweepAtOnce = 16 // attestor audit's default

// swept compares a sweep with what the stand-ins can answer.
type swept struct {
	images, calls int
	took, bare    time.Duration
	cpu           time.Duration // of the sweep, per image
	peak          int64         // bytes, resident
	spread        spreading
}

func (s swept) share() float64 { return s.bare.Seconds() / s.took.Seconds() }

// sweep has `attestor audit` judge a repository, and then has bare clients make
// the same calls: as many images at once, and of each first the manifest, then
// everything else side by side. No gate could be done sooner.
func (b *harness) sweep(ctx context.Context, repository string, images int) error {
	dir, err := os.MkdirTemp(b.dir, "sweep")
	if err != nil {
		return err
	}
	config, err := b.configure(dir, standin.Options{})
	if err != nil {
		return err
	}

	// Only the sweep's own calls count, not those that filled the stock.
	b.world.ResetCalls()
	b.heard.take()
	args := []string{"audit", b.world.Registry.Addr() + "/" + repository, "--config", config, "-o", "json",
		"--output-file", filepath.Join(dir, "report.json"), "--state", filepath.Join(dir, "audit.state")}
	cmd := exec.CommandContext(ctx, b.binary, args...) //nolint:gosec // the program that is measured
	cmd.Env = append(append(os.Environ(), b.world.Env()...), profilerEnv(b.profile)...)
	if b.profile != "" {
		defer profileSweep(ctx, b.profile)()
	}

	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	peak := watchPeak(cmd.Process.Pid)
	err = cmd.Wait()
	out := said.Bytes()
	if err != nil {
		return fmt.Errorf("attestor audit: %w: %s", err, clip(out))
	}

	s := swept{images: images, took: time.Since(start), peak: peak()}
	s.cpu = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()) / time.Duration(images)
	registry, _ := b.world.Registry.Totals()
	google, _ := b.world.Google.Totals()
	s.calls = int(registry + google)

	// Every image must pass: a sweep that fails early would be the fastest.
	if want := fmt.Sprintf("%s: %d pass", describe.Plural(images, "image"), images); !strings.Contains(string(out),
		want) {
		b.broken = append(b.broken, fmt.Sprintf("sweep: want %q, got %s", want, clip(out)))
	}

	// The same calls by bare clients, in the same minute and on the same machine: the quotient is the gate's own part.
	if s.bare, err = b.bare(ctx, repository, b.heard.take()); err != nil {
		return err
	}
	b.sweeps = append(b.sweeps, s)
	return nil
}

// watchPeak reads the most that a process had resident, until the function that it returns is called: what the kernel tells
// of a process that has ended includes what its parent had when it was started.
func watchPeak(pid int) func() int64 {
	stop, peak := make(chan struct{}), make(chan int64)
	go func() {
		most := int64(0)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			if status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status"); err == nil {
				most = max(most, kib(status, "VmHWM"))
			}
			select {
			case <-stop:
				peak <- most
				return
			case <-tick.C:
			}
		}
	}()
	return func() int64 {
		close(stop)
		return <-peak
	}
}

var digestPattern = regexp.MustCompile(`sha256:[0-9a-f]{64}`)

// bare makes the calls of a sweep again, by clients that do nothing else.
func (b *harness) bare(ctx context.Context, repository string, heard []proto.Message) (time.Duration, error) {
	// By the digest that a call names it is made again for its image.
	asked := map[string][]proto.Message{} // by digest
	for _, m := range heard {
		d := digestPattern.FindString(fmt.Sprint(m))
		asked[d] = append(asked[d], m)
	}

	r, err := b.newBareClient(repository, 4*sweepAtOnce)
	if err != nil {
		return 0, err
	}
	defer r.close()

	start := time.Now()
	body, _, err := r.get(ctx, "/tags/list")
	if err != nil {
		return 0, err
	}

	var list struct{ Tags []string }
	if err := json.Unmarshal(body, &list); err != nil {
		return 0, err
	}
	var first error
	each(sweepAtOnce, len(list.Tags), func(i int) error { return r.image(ctx, list.Tags[i], asked) }, &first)
	return time.Since(start), first
}

func (r *bareClient) image(ctx context.Context, tag string, asked map[string][]proto.Message) error {
	body, digest, err := r.get(ctx, "/manifests/"+tag)
	if err != nil {
		return err
	}
	var manifest struct{ Config struct{ Digest string } }
	if err := json.Unmarshal(body, &manifest); err != nil {
		return err
	}

	// After the manifest nothing waits for anything else.
	errs := make([]error, 1+len(asked[digest]))
	var wg sync.WaitGroup
	wg.Go(func() { _, _, errs[0] = r.get(ctx, "/blobs/"+manifest.Config.Digest) })
	for i, m := range asked[digest] {
		wg.Go(func() { errs[i+1] = r.call(ctx, m) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
