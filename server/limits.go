package server

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/attestor-gate/attestor"
)

// Limits are the limits that an operator sets, under limits in the
// configuration. MaxWait has its default there; the other fields take theirs
// here where they are zero. None can be switched off.
type Limits struct {
	MaxWait    time.Duration // limits.maxWait: the longest wait of a request; required
	Concurrent int           // limits.concurrency: requests that run at the same time; 64
	Queue      int           // limits.queue: requests that wait until one of those ends; 256
	CallerRate float64       // limits.callerRate: requests per second of one caller; 20; +Inf: not limited
	// limits.teamRate: requests per second of one team's callers together; 100; +Inf: not limited
	TeamRate float64
}

// Limits that nobody sets.
const (
	maxBody     = 1 << 20 // bytes of a request's body
	maxHeader   = 32 << 10
	callerBurst = 60 // requests that one caller may send at once
	teamBurst   = 300
	queueWait   = 5 * time.Second
	longWait    = time.Minute // in the queue of requests that read for long
)

// withDefaults fills in the fields that are zero.
func (l Limits) withDefaults() (Limits, error) {
	if l.MaxWait <= 0 {
		return Limits{}, errors.New("making a server: the longest wait of a request is required")
	}
	if l.Concurrent < 0 || l.Queue < 0 || l.CallerRate < 0 || math.IsNaN(l.CallerRate) ||
		l.TeamRate < 0 || math.IsNaN(l.TeamRate) {
		return Limits{}, errors.New("making a server: a limit is negative or not a number")
	}

	return Limits{
		MaxWait:    l.MaxWait,
		Concurrent: cmp.Or(l.Concurrent, 64),
		Queue:      cmp.Or(l.Queue, 256),
		CallerRate: cmp.Or(l.CallerRate, 20),
		TeamRate:   cmp.Or(l.TeamRate, 100),
	}, nil
}

// timeouts are those of connections and of the server's end.
type timeouts struct {
	readHeader time.Duration
	read       time.Duration // of header and body
	write      time.Duration // from the end of the header to the end of the answer
	idle       time.Duration // of a connection without a request
	drain      time.Duration // of the requests that run when the server is stopped
}

// newTimeouts returns the timeouts for requests that wait for maxWait at most.
// write is longer by the queue and by the work that follows the wait: judging,
// signing, recording; of a simulation, reading the record.
func newTimeouts(maxWait time.Duration) timeouts {
	return timeouts{
		readHeader: 5 * time.Second,
		read:       20 * time.Second,
		write:      maxWait + longWait + 2*time.Minute,
		idle:       90 * time.Second,
		drain:      30 * time.Second,
	}
}

// A limited error says when to try again.
type limited struct {
	after time.Duration
	err   error
}

func (l *limited) Error() string { return l.err.Error() }
func (l *limited) Unwrap() error { return l.err }

// maxCallers bounds the memory of the buckets.
const maxCallers = 10_000

// rates hold a token bucket for each caller, or each team.
type rates struct {
	whose   string // identity, team
	setting string // that says how many a second
	mu      sync.Mutex
	limit   rate.Limit
	burst   int
	now     func() time.Time
	buckets map[string]*rate.Limiter // guarded by mu
	shared  *rate.Limiter            // of the callers beyond maxCallers, all together
}

func newRates(whose, setting string, perSecond float64, burst int, now func() time.Time) *rates {
	limit := rate.Limit(perSecond)
	if math.IsInf(perSecond, 1) {
		limit = rate.Inf
	}

	return &rates{
		whose:   whose,
		setting: setting,
		limit:   limit,
		burst:   burst,
		now:     now,
		buckets: map[string]*rate.Limiter{},
		shared:  rate.NewLimiter(limit, burst),
	}
}

// allow takes a token from the caller's bucket and, of a team's caller, one from the team's. If one has none, the error
// says when it will, and the other loses none.
func (s *Server) allow(c attestor.Caller) error {
	giveBack, err := s.rates.take(callerKey(c))
	if err == nil && c.Team != "" {
		if _, err = s.teamRates.take(c.Team); err != nil {
			giveBack()
		}
	}
	if err != nil {
		s.metrics.limited(c.Team, "rate")
	}
	return err
}

// take takes a token from a bucket. The function that it returns gives it back.
func (r *rates) take(key string) (giveBack func(), err error) {
	now := r.now()
	reservation := r.bucket(key, now).ReserveN(now, 1)
	delay := reservation.DelayFrom(now)
	if delay == 0 {
		return func() { reservation.CancelAt(now) }, nil
	}

	// A refused request costs no token: a caller who goes on too fast is not
	// refused for ever.
	reservation.CancelAt(now)
	return nil, &limited{
		after: delay,
		err: &attestor.Error{
			Kind: attestor.TooMany,
			Msg: fmt.Sprintf(
				"this %s sends more requests than %v a second (%s), beyond a burst of %d",
				r.whose, float64(r.limit), r.setting, r.burst),
			Fix: "send the request again after the time in Retry-After",
		},
	}
}

// bucket returns the bucket of a caller.
func (r *rates) bucket(caller string, now time.Time) *rate.Limiter {
	r.mu.Lock()
	defer r.mu.Unlock()

	if b, ok := r.buckets[caller]; ok {
		return b
	}

	// A full bucket can be forgotten: a new one is full too.
	if len(r.buckets) >= maxCallers {
		for k, b := range r.buckets {
			if b.TokensAt(now) >= float64(r.burst) {
				delete(r.buckets, k)
			}
		}
	}

	// If there is still no room, the caller shares a bucket, and so is limited more
	// and not less.
	if len(r.buckets) >= maxCallers {
		return r.shared
	}
	b := rate.NewLimiter(r.limit, r.burst)
	r.buckets[caller] = b
	return b
}
