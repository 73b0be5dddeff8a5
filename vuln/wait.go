package vuln

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/attestor-gate/attestor"
)

func (q question) sortedURIs() []string { return slices.Sorted(maps.Keys(q.uris)) }

// A poll asks one question again and again for all who wait for its answer.
type poll struct {
	cancel  context.CancelFunc
	waiters int           // guarded by Scanner.mu
	latest  answer        // guarded by Scanner.mu
	news    chan struct{} // guarded by Scanner.mu; closed when latest changes, and replaced
}

// wait joins the poll for q, or starts it, and leaves it with the first final answer,
// or when patience or ctx ends. It returns the last answer: that a scan is still
// running is one too.
func (s *Scanner) wait(ctx context.Context, q question, patience <-chan time.Time, first answer) attestor.Scan {
	p, leave := s.join(ctx, q, first)
	defer leave()

	for {
		s.mu.Lock()
		news, latest := p.news, p.latest
		s.mu.Unlock()
		if !latest.again {
			return latest.scan
		}

		select {
		case <-news:
		case <-patience:
			return latest.scan
		case <-ctx.Done():
			return latest.scan
		}
	}
}

// join starts the poll for q unless there is one. leave must be called.
func (s *Scanner) join(ctx context.Context, q question, first answer) (p *poll, leave func()) {
	key := q.key()
	s.mu.Lock()
	defer s.mu.Unlock()

	p, ok := s.polls[key]
	if !ok {
		// Detached from the first caller, whose leaving must not fail the others; it
		// ends when nobody waits any more. Every call in it has its own deadline.
		shared, cancel := context.WithCancel(context.WithoutCancel(ctx))
		p = &poll{cancel: cancel, latest: first, news: make(chan struct{})}
		s.polls[key] = p
		go s.run(shared, q, key, p)
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

// run reads until the answer is final, or nobody waits any more.
func (s *Scanner) run(ctx context.Context, q question, key string, p *poll) {
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

		latest := s.read(ctx, q)
		if ctx.Err() != nil {
			return // nobody waits; the read was cut short
		}

		s.mu.Lock()
		p.latest = latest
		close(p.news)
		p.news = make(chan struct{})
		if !latest.again {
			s.drop(key, p) // a later request reads for itself
		}

		s.mu.Unlock()
		if !latest.again {
			return
		}
		pause = min(pause*3/2, longPoll)
	}
}
