package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

// limits are those that a load test needs: one caller makes all requests, and may hold three of four places in the
// queue.
const limits = "limits: {callerRate: 1000000, concurrency: 64, queue: 512}"

const repository = "app/api"

// freshImages is a row of the loads.
const freshImages = "fresh images by digest"

// gate starts the gate with a record of its own.
func (b *harness) gate(ctx context.Context) (*process, error) {
	dir, err := os.MkdirTemp(b.dir, "gate")
	if err != nil {
		return nil, err
	}
	config, err := b.configure(dir, standin.Options{More: limits})
	if err != nil {
		return nil, err
	}
	return serve(ctx, b.binary, config, append(b.world.Env(), profilerEnv(b.profile)...))
}

// start measures starts without latency, and what an idle process holds.
func (b *harness) start(ctx context.Context) error {
	b.world.SetLatency(0)
	for i := range b.size.starts {
		p, err := b.gate(ctx)
		if err != nil {
			return err
		}
		b.starts = append(b.starts, p)
		if i == b.size.starts-1 {
			select {
			case <-time.After(2 * time.Second): // what it does at start is done
			case <-ctx.Done():
			}
			if b.idle, err = p.used(ctx); err != nil {
				p.stop()
				return err
			}
		}
		p.stop()
	}
	return nil
}

// decisions measures one decision after the other, in round trips, and then
// many at once, without latency.
func (b *harness) decisions(ctx context.Context) error {
	p, err := b.gate(ctx)
	if err != nil {
		return err
	}
	defer p.stop()

	s := newGate(p)
	if b.wants("latency") {
		if err := b.latencies(ctx, s); err != nil {
			return err
		}
	}

	if b.wants("load") {
		if err := b.allLoads(ctx, s); err != nil {
			return err
		}
	}

	u, err := p.used(ctx)
	b.peak[s.name] = u.peak
	return err
}

//nolint:gochecknoglobals // constants
var passes, denied = expectation{verdict: "pass", created: true}, expectation{verdict: "deny"}

func (b *harness) latencies(ctx context.Context, s *subject) error {
	n := b.size.sequence
	digests, err := b.stock.fresh(ctx, repository, "65532:65532", 2*n+1)
	if err != nil {
		return err
	}

	indexes, err := b.stock.freshIndexes(ctx, repository, 2*n)
	if err != nil {
		return err
	}
	root, err := b.stock.fresh(ctx, repository, "0", n)
	if err != nil {
		return err
	}

	b.world.SetLatency(b.latency)
	defer b.world.SetLatency(0)

	// The first decision of a process looks up what the others find.
	start := time.Now()
	if err := s.ask(ctx, client(1), b.ref("@", digests[2*n]), passes); err != nil {
		return err
	}
	b.first = time.Since(start)
	again := passes
	again.created = false
	for _, kind := range []struct {
		what   string
		images []string
		want   expectation
		target float64
		calls  budget
		bare   []string      // digests that bare clients ask about; nil: they do not
		more   time.Duration // than bare clients, at most
	}{
		{"fresh image by digest", b.refs(digests[:n]), passes, 4.4, budget{6, 6}, digests[:n], 8 * time.Millisecond},
		{"fresh image by tag", b.tags(digests[n : 2*n]), passes, 4.4, budget{6, 6}, nil, 0},
		{"index of three platforms by digest", b.refs(indexes[:n]), passes, 5.4, budget{16, 23}, indexes[:n],
			12 * time.Millisecond},
		{"index of three platforms by tag", b.tags(indexes[n:]), passes, 5.4, budget{16, 23}, nil, 0},
		{"the same digest again, judged afresh", b.refs(digests[:n]), again, 2.2, budget{2, 2}, digests[:n],
			8 * time.Millisecond},
		{"denied image by digest (root)", b.refs(root), denied, 0, budget{4, 4}, nil, 0},
	} {
		if err := b.sequential(ctx, s, kind.what, kind.images, kind.want, kind.target); err != nil {
			return err
		}
		b.within(s, kind.calls)
		if kind.bare == nil {
			continue
		}

		// In the same minute, on the same machine: the difference is the gate's own part.
		last := &b.sequences[s.name][len(b.sequences[s.name])-1]
		if last.bare, err = b.bareDecisions(ctx, kind.bare, last.heard); err != nil {
			return err
		}
		last.more = kind.more
	}
	return nil
}

// A budget is how many upstream calls a decision may make at most, and how many it made before the lists and creates of
// an index were joined.
type budget struct{ most, before int }

// within holds the sequence that was measured last to its budget. A peer has none.
func (b *harness) within(s *subject, calls budget) {
	last := &b.sequences[s.name][len(b.sequences[s.name])-1]
	last.budget = calls
	if last.calls > float64(calls.most) && s.name == "attestor" {
		b.broken = append(b.broken, fmt.Sprintf("%s: %.1f calls, at most %d are allowed", last.what,
			last.calls, calls.most))
	}
}

// ref names an image of the repository by what follows its name.
func (b *harness) ref(sep, what string) string {
	return b.world.Registry.Addr() + "/" + repository + sep + what
}

func (b *harness) refs(digests []string) []string {
	var out []string
	for _, d := range digests {
		out = append(out, b.ref("@", d))
	}
	return out
}

// tags names images by the tags that the stock gave them.
func (b *harness) tags(digests []string) []string {
	var out []string
	for _, d := range digests {
		out = append(out, b.ref(":", b.stock.tags[d]))
	}
	return out
}

func (b *harness) allLoads(ctx context.Context, s *subject) error {
	var last []string
	for _, atOnce := range []int{1, 16, 64, 256} {
		digests, err := b.stock.fresh(ctx, repository, "65532:65532", b.size.load[atOnce])
		if err != nil {
			return err
		}
		last = b.refs(digests)
		b.quiet()
		done := func() error { return nil }
		if atOnce == 64 && b.profile != "" && s.name == "attestor" {
			done = profiling(ctx, b.profile)
		}

		if err := b.load(ctx, s, freshImages, last, atOnce, passes); err != nil {
			return err
		}
		if err := done(); err != nil {
			return err
		}
	}
	b.quiet()
	return b.load(ctx, s, "the same digests again", last, 64, expectation{verdict: "pass"})
}

// quiet empties what the stand-ins remember of calls, which costs them time.
func (b *harness) quiet() {
	b.world.ResetCalls()
	b.heard.take()
}

// peers measures the other service on images that it has not seen.
func (b *harness) peers(ctx context.Context) error {
	if b.peer == "" {
		return nil
	}
	for name := range strings.SplitSeq(b.peerNote, ",") {
		hint := &grafeas.AttestationNote_Hint{HumanReadableName: name}
		if _, err := b.world.Grafeas.CreateNote(ctx, &grafeas.CreateNoteRequest{Parent: "projects/dev", NoteId: name,
			Note: &grafeas.Note{
				Type: &grafeas.Note_Attestation{Attestation: &grafeas.AttestationNote{Hint: hint}},
			}}); err != nil {
			return err
		}
	}

	s, err := startPeer(ctx, b.peer, b.peerURL, b.world)
	if err != nil {
		return err
	}
	defer s.stop()

	n := b.size.sequence
	digests, err := b.stock.fresh(ctx, repository, "65532:65532", n)
	if err != nil {
		return err
	}

	b.world.SetLatency(b.latency)
	images := b.refs(digests)
	err = errors.Join(b.sequential(ctx, s, "fresh image by digest", images, passes, 0),
		b.sequential(ctx, s, "the same digest again", images, passes, 0))
	b.world.SetLatency(0)
	if err == nil {
		err = b.allLoads(ctx, s)
	}

	u, useErr := s.used(ctx)
	b.peak[s.name] = u.peak
	return errors.Join(err, useErr)
}

func (b *harness) sweepAll(ctx context.Context) error {
	sizes := []string{strconv.Itoa(b.size.sweep)}
	if b.images != "" {
		sizes = strings.Split(b.images, ",")
	}
	defer b.world.SetLatency(0)

	// Each in a repository of its own, since a sweep lists all of one.
	for i, size := range sizes {
		n, err := strconv.Atoi(size)
		if err != nil {
			return fmt.Errorf("-images: %w", err)
		}
		swept := fmt.Sprintf("app/sweep-%d", i)
		digests, err := b.stock.fresh(ctx, swept, "65532:65532", n)
		if err != nil {
			return err
		}
		b.world.SetLatency(b.latency)
		if err := b.sweep(ctx, swept, n); err != nil {
			return err
		}
		if b.sweeps[i].spread, err = b.spread(ctx, swept, digests); err != nil {
			return fmt.Errorf("spread over instances: %w", err)
		}
		b.world.SetLatency(0)
		b.quiet()
	}
	return nil
}

// sample is what the gate holds after some decisions of the soak.
type sample struct {
	decisions int
	use
}

// soakTime is when the soak begins no further round.
const soakTime = 4 * time.Minute

// soak keeps the gate busy with images, a tenth of them new, and looks at its
// memory ten times.
func (b *harness) soak(ctx context.Context) error {
	p, err := b.gate(ctx)
	if err != nil {
		return err
	}
	defer p.stop()

	s := newGate(p)
	c := client(64)
	defer c.CloseIdleConnections()

	const rounds = 10
	per := b.size.soak / rounds
	var known []string
	start := time.Now()
	for round := range rounds {
		if time.Since(start) > soakTime {
			return nil
		}
		digests, err := b.stock.fresh(ctx, repository, "65532:65532", max(1, per/10))
		if err != nil {
			return err
		}

		fresh := b.refs(digests)
		images, created := slices.Clone(fresh), len(fresh)
		known = append(known, fresh...)
		for i := 0; len(images) < per; i++ {
			images = append(images, known[i%len(known)])
		}

		b.quiet()

		// The new ones first, since the others repeat them.
		var first error
		failed := each(64, len(fresh), func(i int) error { return s.ask(ctx, c, images[i], passes) }, &first)
		failed += each(64, len(images)-created,
			func(i int) error { return s.ask(ctx, c, images[created+i], expectation{verdict: "pass"}) }, &first)
		if failed > 0 {
			b.broken = append(b.broken, fmt.Sprintf("soak, round %d: %d of %d failed; the first: %v", round+1, failed,
				len(images), first))
		}

		u, err := p.used(ctx)
		if err != nil {
			return err
		}
		b.soaked = append(b.soaked, sample{(round + 1) * per, u})
	}
	return nil
}
