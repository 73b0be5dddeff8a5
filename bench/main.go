// Bench measures the gate: it builds the program, runs it as a process of its
// own against a registry and Google's services that answer after a set time,
// drives it over HTTP, and prints what it took as one Markdown document. It
// fails where an answer is wrong or a decision makes a call twice, and never
// for a time: what a time means is up to whoever reads docs/performance.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

type options struct {
	quick    bool
	latency  time.Duration
	binary   string
	out      string
	peer     string
	peerURL  string
	peerNote string
	profile  string
	only     string
	record   string
	recorded string
	images   string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.BoolVar(&o.quick, "quick", false, "few of everything: under a minute, for CI")
	f.DurationVar(&o.latency, "latency", 20*time.Millisecond,
		"added to every upstream call where round trips are counted")
	f.StringVar(&o.binary, "binary", "", "measure this attestor, and build none")
	f.StringVar(&o.out, "out", "", "write the document to this file too")
	f.StringVar(&o.peer, "peer", "", "measure another service side by side: a command that starts it, "+
		"with $STANDIN_REGISTRY and $STANDIN_GOOGLE in its environment")
	f.StringVar(&o.peerURL, "peer-url", "http://127.0.0.1:8000/all", "where the peer takes images")
	f.StringVar(&o.peerNote, "peer-notes", "diy,nobody,snakeoil", "notes of project dev that the peer attests under")
	f.StringVar(&o.profile, "profile", "", "write CPU and allocation profiles of 64 at once to this directory; the "+
		"program is built with a profiler that it does not have otherwise")
	f.StringVar(&o.only, "only", "", "parts to run, of latency,load,start,readers,sweep,growth,soak; default all")
	f.StringVar(&o.record, "record", "", "the part readers begins with a copy of this SQLite record, such as "+
		"bench/record makes, and else with an empty one")
	f.StringVar(&o.recorded, "decisions", "", "the part growth fills records with so many decisions, such as "+
		"1000,1000000; a million take a quarter of an hour")
	f.StringVar(&o.images, "images", "", "the part sweep sweeps so many images, such as 10000,1000000; the stand-ins "+
		"keep 10 KB of each in memory")
	if err := f.Parse(args); err != nil {
		return err
	}

	b := &harness{options: o, size: full(), sequences: map[string][]sequence{}, loads: map[string][]loaded{}}
	if o.quick {
		b.size = quick()
	}

	// The document is written also where a condition does not hold: the errors follow it.
	err := b.run(ctx)
	document := b.document()
	fmt.Fprint(stdout, document)
	if o.out != "" {
		err = errors.Join(err, os.WriteFile(o.out, []byte(document), 0o600))
	}

	for _, broken := range b.broken {
		err = errors.Join(err, errors.New(broken))
	}
	return err
}

// size is how much of everything.
type size struct {
	sequence, starts, readers, sweep, soak int
	load                                   map[int]int // decisions, by how many at once
	growth                                 extent
}

func full() size {
	return size{sequence: 100, starts: 10, readers: 300, sweep: 10_000, soak: 100_000,
		load: map[int]int{1: 500, 16: 2000, 64: 3000, 256: 3000}, growth: fullExtent()}
}

func quick() size {
	return size{sequence: 10, starts: 3, readers: 20, sweep: 300, soak: 2_000,
		load: map[int]int{1: 50, 16: 200, 64: 1500, 256: 512}, growth: quickExtent()}
}

// harness is one run.
type harness struct {
	options
	size  size
	dir   string
	world *standin.World
	stock *stock
	heard *overheard
	hook  *httptest.Server // is told the gate's events

	binarySize int64
	layerSize  int64         // of the binary, compressed as in an image
	first      time.Duration // the first decision of a process
	sequences  map[string][]sequence
	loads      map[string][]loaded
	starts     []*process
	idle       use
	peak       map[string]int64
	soaked     []sample
	sweeps     []swept
	contended  contended
	growths    []growth
	recorder   string   // the program that fills records; "": not built yet
	wide       bool     // the base of many platforms is there
	broken     []string // conditions that do not hold
}

func (b *harness) run(ctx context.Context) (err error) {
	if b.dir, err = os.MkdirTemp("", "attestor-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()

	if b.binary == "" {
		if err := b.build(ctx); err != nil {
			return err
		}
	}

	info, err := os.Stat(b.binary)
	if err != nil {
		return err
	}
	b.binarySize = info.Size()
	if b.layerSize, err = gzipped(b.binary); err != nil {
		return err
	}

	if b.world, err = standin.New(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.world.Close()) }()

	b.heard = overhear(b.world.Emulator)
	if b.stock, err = newStock(b.world); err != nil {
		return err
	}
	b.hook = newHook()
	defer b.hook.Close()
	b.peak = map[string]int64{}
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{{"start", b.start}, {"latency,load", b.decisions}, {"readers", b.readers}, {"peer", b.peers},
		{"sweep", b.sweepAll}, {"growth", b.grows}, {"soak", b.soak}} {
		if b.only != "" && part.name != "peer" && !slices.ContainsFunc(strings.Split(part.name, ","), b.wants) {
			continue
		}
		if err := part.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

func (b *harness) wants(part string) bool {
	return b.only == "" || slices.Contains(strings.Split(b.only, ","), part)
}

// build makes the program as a release does.
func (b *harness) build(ctx context.Context) error {
	b.binary = filepath.Join(b.dir, "attestor")
	args := []string{"build", "-trimpath", "-ldflags=-s -w", "-o", b.binary}
	if b.profile != "" {
		overlay, err := profiler(b.dir)
		if err != nil {
			return err
		}
		args = append(args, "-overlay", overlay)
	}

	// Without cgo, as a release is built.
	cmd := exec.CommandContext(ctx, "go", append(args, "./cmd/attestor")...) //nolint:gosec // arguments of our own
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building attestor: %w: %s", err, clip(out))
	}
	return nil
}
