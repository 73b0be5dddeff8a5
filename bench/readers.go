package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

// contended is how decisions fare on one CPU while people read reports.
type contended struct {
	alone, beside []time.Duration // of decisions
	reports       int             // that were read meanwhile
}

// reports are what each reader asks for: three periods, so that none can share another's
// computation.
//
//nolint:gochecknoglobals // constants
var reports = []string{"/report?since=7d", "/report?since=30d", "/report?since=90d"}

// readers measures decisions of a gate with one CPU, without and with three readers of
// reports. The record is the one of -record, or an empty one.
func (b *harness) readers(ctx context.Context) error {
	p, err := b.gateOfOneCPU(ctx)
	if err != nil {
		return err
	}
	defer p.stop()

	n := b.size.readers
	digests, err := b.stock.fresh(ctx, repository, "65532:65532", 2*n+1)
	if err != nil {
		return err
	}
	b.world.SetLatency(b.latency)
	defer b.world.SetLatency(0)

	// One decision before, so that connections and keys are there for both parts.
	s := newGate(p)
	if err := s.ask(ctx, client(1), b.ref("@", digests[2*n]), passes); err != nil {
		return err
	}
	if b.contended.alone, err = b.times(ctx, s, digests[:n]); err != nil {
		return err
	}

	// Each reader goes on until the decisions are made, or its first error.
	reading, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	read, failed := make([]int, len(reports)), make([]error, len(reports))
	for i, path := range reports {
		wg.Go(func() {
			for reading.Err() == nil && failed[i] == nil {
				if failed[i] = readAll(reading, p.url+path); failed[i] == nil {
					read[i]++
				}
			}
		})
	}

	// As many images, about which nobody has asked before.
	b.contended.beside, err = b.times(ctx, s, digests[n:2*n])
	stop()
	wg.Wait()

	for i := range reports {
		b.contended.reports += read[i]
		if read[i] == 0 {
			b.broken = append(b.broken, fmt.Sprintf("%s was never answered: %v", reports[i], failed[i]))
		}
	}
	return err
}

// gateOfOneCPU starts a gate with a copy of a record.
func (b *harness) gateOfOneCPU(ctx context.Context) (*process, error) {
	dir, err := os.MkdirTemp(b.dir, "readers")
	if err != nil {
		return nil, err
	}

	config, err := b.configure(dir, standin.Options{More: limits})
	if err != nil {
		return nil, err
	}
	if b.record != "" {
		if err := copyFile(filepath.Join(dir, "decisions.db"), b.record); err != nil {
			return nil, err
		}
	}

	return serve(ctx, b.binary, config, append(b.world.Env(), "GOMAXPROCS=1"))
}

func copyFile(to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was only read

	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}

// times asks about images one after the other.
func (b *harness) times(ctx context.Context, s *subject, digests []string) ([]time.Duration, error) {
	c := client(1)
	defer c.CloseIdleConnections()

	var out []time.Duration
	for _, image := range b.refs(digests) {
		start := time.Now()
		if err := s.ask(ctx, c, image, passes); err != nil {
			return nil, err
		}
		out = append(out, time.Since(start))
	}
	slices.Sort(out)
	return out, nil
}

// readAll reads a page to its end.
func readAll(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}

// readersTable is decisions beside readers.
func (b *harness) readersTable(w *strings.Builder) {
	c := b.contended
	if len(c.beside) == 0 {
		return
	}

	fmt.Fprintf(w, "### Decisions beside three readers of reports, one CPU (GOMAXPROCS=1), %v added to every "+
		"upstream call\n\n", b.latency)
	fmt.Fprintf(w, "| | p50 | p90 | p99 ms |\n| --- | ---: | ---: | ---: |\n")
	for _, row := range []struct {
		name  string
		times []time.Duration
	}{{"alone", c.alone}, {fmt.Sprintf("while %d reports were read", c.reports), c.beside}} {
		fmt.Fprintf(w, "| %s | %.1f | %.1f | %.1f |\n", row.name, ms(percentile(row.times, 0.5)),
			ms(percentile(row.times, 0.9)), ms(percentile(row.times, 0.99)))
	}

	ratio := ms(percentile(c.beside, 0.99)) / ms(percentile(c.alone, 0.99))
	fmt.Fprintf(w, "\nAt p99 %.2f times as long (target ≤ 1.5: %s).\n\n", ratio, met(ratio <= 1.5))
}
