package verify

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/together"
)

type tagKey struct{ repository, tag string }

// tagState is what a tag was seen to name. It is copied, and its points are
// never written to: who has a copy reads it without a lock.
type tagState struct {
	loaded bool                // the history was read
	points []attestor.TagPoint // oldest first; the last one open
	seen   time.Time           // when the registry last answered; zero: not in this process

	looked uint64  // the tick at which the last look-up began
	moved  uint64  // the tick at which the tag was last found to name another digest
	tries  attempt // look-ups
	err    error   // of the last look-up

	pace       *rate.Limiter       // of look-ups before a denial
	unrecorded []attestor.TagPoint // observations that the store has not taken yet, oldest first
	recorded   time.Time           // the last observation that it took
}

const (
	// lookEvery and lookBurst bound the look-ups of one tag that denials ask for.
	// A registry does not notice four requests a second, and whoever waits for the
	// next one waits a quarter of a second at most, so that nobody has to be denied
	// without it.
	lookEvery = 250 * time.Millisecond
	lookBurst = 4

	// recordEvery is how often it is stored that a tag names what it named: a
	// base counts from the last time, so that a gate that was away for long does
	// not take one for younger than it is.
	recordEvery = 5 * time.Minute
	// maxUnrecorded bounds what waits for a store that takes nothing.
	maxUnrecorded = 64
)

func (t *tagState) current() attestor.Digest {
	if len(t.points) == 0 || t.points[len(t.points)-1].Until != nil {
		return ""
	}
	return t.points[len(t.points)-1].Digest
}

// tag returns what is known of a tag.
func (c *catalogue) tag(key tagKey) tagState {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.tags[key]
}

// change replaces what is known of a tag.
func (c *catalogue) change(key tagKey, how func(t *tagState)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tags[key]
	how(&t)
	c.tags[key] = t
}

// pace is the limit on look-ups of a tag that denials ask for.
func (c *catalogue) pace(key tagKey) *rate.Limiter {
	var pace *rate.Limiter
	c.change(key, func(t *tagState) {
		if t.pace == nil {
			t.pace = rate.NewLimiter(rate.Every(lookEvery), lookBurst)
		}
		pace = t.pace
	})
	return pace
}

// lookUp has the registry say what a tag names. One look-up of a tag is under
// way at a time, so that an older answer never follows a newer one; who asks
// meanwhile gets its result. It is detached from whoever asks first, with its
// own deadline. The result is in the tag's state.
func (c *catalogue) lookUp(ctx context.Context, key tagKey, paced bool) <-chan singleflight.Result {
	return c.lookups.DoChan("tag\x00"+key.repository+":"+key.tag, func() (any, error) {
		work, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.i.limits.BaseTimeout)
		defer cancel()
		var err error
		if paced {
			err = c.pace(key).Wait(work)
		}

		// The tick is taken before the registry is asked: whoever began later cannot
		// rely on the answer.
		began := c.ticks.Add(1)
		if err == nil {
			_, err = together.Try(func() (struct{}, error) { return struct{}{}, c.look(work, key) })
			c.notePanic(work, err)
		}

		c.change(key, func(t *tagState) {
			t.looked, t.err = began, err
			t.tries = t.tries.next(c.i.c.Now(), err != nil)
		})
		return nil, nil
	})
}

// lookSince looks a tag up unless a look-up began after since. One that is under way may
// have begun before; then it waits for the next one. A tag whose look-ups keep failing is
// not looked up again until its pause is over.
func (c *catalogue) lookSince(ctx context.Context, key tagKey, since uint64) {
	for {
		t := c.tag(key)
		if t.looked > since || t.tries.failed > 1 && t.tries.resting(c.i.c.Now()) {
			return
		}

		select {
		case <-ctx.Done():
			return
		case <-c.lookUp(ctx, key, true):
		}
	}
}

// look resolves one tag, and records what it names.
func (c *catalogue) look(ctx context.Context, key tagKey) error {
	if err := c.remember(ctx, key); err != nil {
		return err
	}

	raw, err := c.i.fetch.byTag(ctx, key.repository, key.tag)
	if err != nil {
		return err
	}

	c.observe(key, raw.digest)
	c.store(ctx, key)
	return nil
}

// remember reads a tag's history, once.
func (c *catalogue) remember(ctx context.Context, key tagKey) error {
	if c.tag(key).loaded {
		return nil
	}

	var points []attestor.TagPoint
	if c.i.c.History != nil {
		var err error
		if points, err = c.i.c.History.TagHistory(ctx, key.repository, key.tag); err != nil {
			return fault(
				attestor.CodeBaseUnresolved,
				"the history of its tags could not be read",
				"check the gate's store",
				err,
			)
		}
	}

	// A history that is read the wrong way round makes an old base current.
	if !inOrder(points) {
		return fault(
			attestor.CodeBaseUnresolved,
			"the history of its tags is not in order of time",
			"check the gate's store",
			nil,
		)
	}

	c.change(key, func(t *tagState) {
		if !t.loaded {
			t.loaded, t.points = true, newest(points)
		}
	})
	return nil
}

// inOrder reports whether points are a history: oldest first, without overlaps,
// and at most the last one open.
func inOrder(points []attestor.TagPoint) bool {
	for n := range points {
		if p := points[n]; p.Until != nil && p.Until.Before(p.From) {
			return false
		}
		if n > 0 && (points[n-1].Until == nil || points[n].From.Before(*points[n-1].Until)) {
			return false
		}
	}
	return true
}

// newest leaves out points beyond [attestor.MaxTagPoints], the oldest first.
func newest(points []attestor.TagPoint) []attestor.TagPoint {
	return points[max(0, len(points)-attestor.MaxTagPoints):]
}

// observe notes that a tag names d now.
func (c *catalogue) observe(key tagKey, d attestor.Digest) {
	now := c.i.c.Now()
	c.change(key, func(t *tagState) {
		// Rounded to what stores keep, so that a restart changes nothing.
		at := now.UTC().Truncate(time.Microsecond)
		if t.current() == d {
			t.seen = now
			t.enqueue(attestor.TagPoint{Repository: key.repository, Tag: key.tag, Digest: d, From: at})
			return
		}

		// Clocks go backwards, the order of what was seen does not: the new stretch
		// begins after the one before it. Where that is in the future, the base's age
		// is not known until the clock has caught up, which the policy refuses.
		points := slices.Clone(t.points)
		if n := len(points); n > 0 {
			last := &points[n-1]
			if !at.After(last.From) {
				at = last.From.Add(time.Microsecond)
			}
			if last.Until == nil {
				last.Until = new(at)
				if seen := t.seen.UTC().Truncate(time.Microsecond); seen.After(last.Seen) && !seen.After(at) {
					last.Seen = seen
				}
			}

			if last.Until.After(at) {
				at = *last.Until
			}
		}

		t.seen, t.moved = now, c.ticks.Add(1)
		p := attestor.TagPoint{Repository: key.repository, Tag: key.tag, Digest: d, From: at}
		t.points = newest(append(points, p))
		t.enqueue(p)
	})
}

// enqueue keeps an observation for the store: the first of each digest, and from
// time to time that it still holds.
func (t *tagState) enqueue(p attestor.TagPoint) {
	n := len(t.unrecorded)
	switch {
	case n == 0 && t.currentSince(p) && p.From.Sub(t.recorded) < recordEvery:
		return
	case n > 1 && t.unrecorded[n-1].Digest == p.Digest && t.unrecorded[n-2].Digest == p.Digest:
		n-- // begin and end of a stretch say all
	}
	kept := t.unrecorded[max(0, n+1-maxUnrecorded):n]
	t.unrecorded = append(slices.Clone(kept), p)
}

// currentSince reports whether p only repeats what is known.
func (t *tagState) currentSince(p attestor.TagPoint) bool {
	return t.current() == p.Digest && t.points[len(t.points)-1].From.Before(p.From)
}

// store hands the history what was observed. What it does not take now, it is
// given with the next look-up; until then, what was seen counts all the same,
// and only a restart forgets it.
func (c *catalogue) store(ctx context.Context, key tagKey) {
	if c.i.c.History == nil {
		c.change(key, func(t *tagState) { t.unrecorded = nil })
		return
	}

	for _, p := range c.tag(key).unrecorded {
		if err := c.i.c.History.RecordTag(ctx, p); err != nil {
			c.i.c.Logger.ErrorContext(
				ctx,
				"tag of an approved base could not be recorded",
				slog.String("repository", key.repository),
				slog.String("tag", key.tag),
				slog.String("error", err.Error()),
			)
			return
		}

		c.change(key, func(t *tagState) {
			if len(t.unrecorded) > 0 {
				t.unrecorded = t.unrecorded[1:]
			}
			t.recorded = p.From
		})
	}
}
