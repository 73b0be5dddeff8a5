package throttle

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/attestor-gate/attestor/internal/when"
)

const (
	// counted is the time over which answers are counted to learn a rate: Google counts
	// most quotas by the minute.
	counted = time.Minute

	// burst is how far interactive calls may run ahead of the rate, so that the calls of
	// one decision need not follow each other at its pace. Background calls may not, and
	// so leave this much to interactive ones.
	burst = time.Second

	// A learnt rate falls by a twentieth with a refusal, and rises a little every
	// raiseEvery: a rate just above the quota costs a short pause at the end of a minute,
	// one below it costs calls that would have been answered.
	lower, raise, raiseBy = 0.95, 1.01, 0.1
	raiseEvery            = 10 * time.Second
	lowest                = 1.0 // calls a second
)

// A Pacer spreads the calls of one service, as one quota counts them. It knows a
// ceiling, or learns a rate from the calls that the service refuses. Until the first
// refusal, and without a ceiling, no call waits. It is safe for concurrent use.
type Pacer struct {
	ceiling float64 // calls a second; 0: none

	mu       sync.Mutex
	rate     float64   // 0: not known
	changed  time.Time // when rate was learnt, lowered or raised last
	next     time.Time // of the next call at that rate
	hold     time.Time // no call before
	pauses   Pauses    // where a refusal names no time
	answered bool      // a call, since the last refusal
	counts   [int(counted / time.Second)]struct {
		second int64
		calls  int
	}
}

// NewPacer returns a Pacer that makes at most ceiling calls a second in the long
// run; 0: as many as are answered.
func NewPacer(ceiling float64) *Pacer { return &Pacer{ceiling: ceiling, rate: ceiling} }

// Rate is the present rate in calls a second; 0: none is known.
func (p *Pacer) Rate() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rate
}

// Turn waits until a call may be made. It returns an [*Error] at once if ctx would
// end before then.
func (p *Pacer) Turn(ctx context.Context) error {
	ahead := burst
	if isBackground(ctx) {
		ahead = 0
	}

	for {
		now := time.Now()
		at := p.take(now, ahead)
		if at.IsZero() {
			return nil
		}
		if deadline, ok := ctx.Deadline(); ok && deadline.Before(at) {
			return &Error{After: at.Sub(now)}
		}
		if when.Sleep(ctx, at.Sub(now)) != nil {
			return fmt.Errorf("waiting for a turn: %w", ctx.Err())
		}
	}
}

// take reserves a call for now and returns zero, or returns the time to ask again.
func (p *Pacer) take(now time.Time, ahead time.Duration) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()

	if now.Before(p.hold) {
		return p.hold
	}
	if p.rate == 0 {
		return time.Time{}
	}

	// A learnt rate is tried a little higher from time to time: a quota may be raised,
	// and others who share it may leave.
	if p.rate != p.ceiling && now.Sub(p.changed) >= raiseEvery {
		p.set(p.rate*raise+raiseBy, now)
	}

	if at := p.next.Add(-ahead); now.Before(at) {
		return at
	}
	if p.next.Before(now) {
		p.next = now
	}
	p.next = p.next.Add(time.Duration(float64(time.Second) / p.rate))
	return time.Time{}
}

// set changes the rate within its bounds. mu must be held.
func (p *Pacer) set(rate float64, now time.Time) {
	rate = max(rate, lowest)
	if p.ceiling > 0 {
		rate = min(rate, p.ceiling)
	}
	p.rate, p.changed = rate, now
}

// Answered counts a call that was not refused.
func (p *Pacer) Answered() {
	p.mu.Lock()
	defer p.mu.Unlock()

	p.answered, p.pauses = true, Pauses{}
	second := time.Now().Unix()
	c := &p.counts[second%int64(len(p.counts))]
	if c.second != second {
		c.second, c.calls = second, 0
	}
	c.calls++
}

// Refused notes a call that was refused, and the time that the service asks to wait;
// 0 if it named none. Of calls that were made at the same time and refused together,
// the first alone lowers the rate.
func (p *Pacer) Refused(after time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()

	now := time.Now()
	if now.Before(p.hold) && !p.answered {
		return
	}

	if p.answered || p.rate == 0 {
		measured := p.measured(now)
		if p.rate > 0 {
			measured = min(measured, p.rate*lower)
		}
		p.set(measured, now)
	}
	p.answered = false
	p.hold = now.Add(p.pauses.Next(after))
	p.next = p.hold
}

// measured is how many calls a second were answered lately. mu must be held.
func (p *Pacer) measured(now time.Time) float64 {
	n := 0
	for _, c := range p.counts {
		if age := now.Unix() - c.second; age >= 0 && age < int64(len(p.counts)) {
			n += c.calls
		}
	}
	return float64(n) / counted.Seconds()
}

type backgroundKey struct{}

// Background marks the calls of work that nobody waits for, such as judging again:
// where a service is paced, interactive calls go before them.
func Background(ctx context.Context) context.Context {
	return context.WithValue(ctx, backgroundKey{}, true)
}

func isBackground(ctx context.Context) bool {
	background, _ := ctx.Value(backgroundKey{}).(bool)
	return background
}

// Refusal reports whether a service of Google refused a call because a quota was
// used up, and how long it asks to wait; 0 if it names no time. Such a call did
// nothing, and may be made again. Other uses of RESOURCE_EXHAUSTED, such as a message
// that is too large, are no refusal by a quota.
func Refusal(err error) (after time.Duration, refused bool) {
	s, ok := status.FromError(err)
	if !ok || s.Code() != codes.ResourceExhausted {
		return 0, false
	}
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *errdetails.RetryInfo:
			after, refused = min(max(d.GetRetryDelay().AsDuration(), 0), mostAsked), true
		case *errdetails.ErrorInfo:
			// google.api.ErrorReason: "The request is denied because there is not enough rate
			// quota for the consumer."
			refused = refused || d.GetReason() == "RATE_LIMIT_EXCEEDED"
		case *errdetails.QuotaFailure:
			refused = true
		}
	}
	return after, refused
}

// Status turns the [*Error] of a call that was not made into what the service would
// have answered, so that whoever asked gets the same answer. Any other error is returned
// as it is.
func Status(service string, err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	s := status.New(codes.ResourceExhausted, "calls of "+service+" are made more slowly, since its quota was used up")
	detailed, err := s.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(e.After)})
	if err != nil {
		return s.Err()
	}
	return detailed.Err()
}
