package vuln

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/attestor-gate/attestor/internal/together"
)

func (q question) sortedURIs() []string { return slices.Sorted(maps.Keys(q.uris)) }

// A poll asks about one group again and again for all who wait for its answers.
type poll struct {
	cancel  context.CancelFunc
	waiters int           // guarded by Scanner.mu
	latest  []answer      // guarded by Scanner.mu
	news    chan struct{} // guarded by Scanner.mu; closed when latest changes, and replaced
}

// wait joins the poll for g, or starts it, and leaves it when every answer is final,
// or when patience or ctx ends. It returns the last answers: that a scan is still
// running is one too.
func (s *Scanner) wait(ctx context.Context, g group, patience <-chan time.Time, first []answer) []answer {
	p, leave := s.join(ctx, g, first)
	defer leave()

	for {
		s.mu.Lock()
		news, latest := p.news, p.latest
		s.mu.Unlock()
		if !again(latest) {
			return latest
		}

		select {
		case <-news:
		case <-patience:
			return latest
		case <-ctx.Done():
			return latest
		}
	}
}

// join starts the poll for g unless there is one. leave must be called.
func (s *Scanner) join(ctx context.Context, g group, first []answer) (p *poll, leave func()) {
	key := g.key()
	s.mu.Lock()
	defer s.mu.Unlock()

	p, ok := s.polls[key]
	if !ok {
		// Detached from the first caller, whose leaving must not fail the others; it
		// ends when nobody waits any more. Every call in it has its own deadline.
		shared, cancel := context.WithCancel(context.WithoutCancel(ctx))
		p = &poll{cancel: cancel, latest: first, news: make(chan struct{})}
		s.polls[key] = p
		go s.run(shared, g, key, p)
	}

	p.waiters++
	return p, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if p.waiters--; p.waiters == 0 {
			p.cancel()
			s.drop(key, p)
		}
	}
}

// drop forgets p; the caller holds mu.
func (s *Scanner) drop(key string, p *poll) {
	if s.polls[key] == p {
		delete(s.polls, key)
	}
}

// The pauses between two reads of a poll: each is half as long again as the last.
const (
	firstPoll = time.Second
	longPoll  = 15 * time.Second
)

// run reads until all answers are final, or nobody waits any more.
func (s *Scanner) run(ctx context.Context, g group, key string, p *poll) {
	pause := firstPoll
	for {
		// Up to a fifth more, so that many gates do not ask in step.
		timer := time.NewTimer(pause + time.Duration(s.jitter()*float64(pause)/5))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}

		// No caller is on this goroutine, so that a panic would end the process. It ends the poll, with no scan.
		latest, err := together.Try(func() ([]answer, error) { return s.read(ctx, g), nil })
		if err != nil {
			s.c.Logger.ErrorContext(ctx, "reading a scan panicked", slog.String("error", err.Error()))
			latest = failedAll(g, err)
		}

		if ctx.Err() != nil {
			return // nobody waits; the read was cut short
		}

		s.mu.Lock()
		p.latest = latest
		close(p.news)
		p.news = make(chan struct{})
		if !again(latest) {
			s.drop(key, p) // a later request reads for itself
		}

		s.mu.Unlock()
		if !again(latest) {
			return
		}
		pause = min(pause*3/2, longPoll)
	}
}
