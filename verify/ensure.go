package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/attestor-gate/attestor"
)

const (
	refreshesAtOnce = 8
	// retryAfter keeps a registry that is down from being asked by every
	// request: in between, the last answer stands.
	retryAfter = 5 * time.Second
	// firstRetry is how soon it is asked after it failed twice running.
	firstRetry = 250 * time.Millisecond
)

// An attempt is the last look-up of an entry.
type attempt struct {
	at     time.Time
	failed int // look-ups in a row
}

// pause is how long the next look-up waits. What failed once is asked again by
// the next request: one call that went wrong must not refuse everybody's
// images. It grows with what fails after that.
func (a attempt) pause() time.Duration {
	switch a.failed {
	case 0:
		return retryAfter
	case 1:
		return 0
	}
	return min(retryAfter, firstRetry<<min(a.failed-2, 10))
}

// RefreshBases looks up what the tags of approved bases name now, and reads
// bases that are new, for every platform that was asked about so far. Call it
// off the request path, every Limits.BaseRefresh. An error names what could not be
// looked up; everything else was.
func (i *Inspector) RefreshBases(ctx context.Context, bases []attestor.ApprovedBase) error {
	var problems []attestor.Problem
	for _, p := range i.bases.platforms() {
		problems = append(problems, i.bases.refreshAll(ctx, bases, bases, p, true)...)
	}
	var errs []error
	for _, p := range problems {
		errs = append(errs, errors.New(p.Message))
	}
	return errors.Join(errs...)
}

func (c *catalogue) platforms() []platform {
	c.mu.RLock()
	defer c.mu.RUnlock()
	found := []platform{{OS: "linux", Architecture: "amd64"}}
	for k := range c.records {
		if !slices.Contains(found, k.platform) {
			found = append(found, k.platform)
		}
	}
	return found
}

// ensure looks up what is not known, or was not looked at for a while, and
// reports what is still not known.
func (c *catalogue) ensure(ctx context.Context, bases []attestor.ApprovedBase, p platform) []attestor.Problem {
	return c.refreshAll(ctx, c.due(bases, p.normal()), bases, p.normal(), false)
}

// refreshAll refreshes the entries that are due side by side, each once however
// many ask, and reports on all.
func (c *catalogue) refreshAll(ctx context.Context, due, all []attestor.ApprovedBase, p platform, past bool) []attestor.Problem {
	slots := make(chan struct{}, refreshesAtOnce)
	var wg sync.WaitGroup
	for _, ab := range due {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			c.refreshOnce(ctx, ab, p, past)
		})
	}
	wg.Wait()
	return c.unresolved(all, p)
}

func flightOf(ab attestor.ApprovedBase, p platform) string {
	return fmt.Sprint(ab.Repository, ab.Tags, ab.Digests, p)
}

// refreshOnce is detached from whoever asks first, with its own deadline.
func (c *catalogue) refreshOnce(ctx context.Context, ab attestor.ApprovedBase, p platform, past bool) {
	flight := flightOf(ab, p)
	ch := c.flights.DoChan(fmt.Sprint(flight, past), func() (any, error) {
		work, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.i.limits.BaseTimeout)
		defer cancel()
		c.refresh(work, ab, p, past)
		failed := len(c.unresolved([]attestor.ApprovedBase{ab}, p)) > 0
		c.mu.Lock()
		defer c.mu.Unlock()
		a := attempt{at: c.i.c.Now()}
		if failed {
			a.failed = c.tried[flight].failed + 1
		}
		c.tried[flight] = a
		return nil, nil
	})
	select {
	case <-ctx.Done():
	case <-ch: // what failed is kept where it belongs, and reported from there
	}
}

// due lists the entries that are worth looking up.
func (c *catalogue) due(bases []attestor.ApprovedBase, p platform) []attestor.ApprovedBase {
	now := c.i.c.Now()
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.DeleteFunc(slices.Clone(bases), func(ab attestor.ApprovedBase) bool {
		if tried, ok := c.tried[flightOf(ab, p)]; ok && now.Sub(tried.at) < tried.pause() {
			return true
		}
		old := slices.ContainsFunc(ab.Tags, func(tag string) bool {
			t := c.tags[tagKey{ab.Repository, tag}]
			return t == nil || now.Sub(t.seen) > c.i.limits.BaseRefresh
		})
		unread := slices.ContainsFunc(c.wanted(ab, false), func(d attestor.Digest) bool { return !c.has(ab.Repository, d, p) })
		return !old && !unread
	})
}

// has must be called with c.mu held.
func (c *catalogue) has(repository string, d attestor.Digest, p platform) bool {
	_, ok := c.records[recordKey{repository, d, p}]
	return ok
}

// unresolved reports the entries of which too little is known to say that an
// image is not built on them.
func (c *catalogue) unresolved(bases []attestor.ApprovedBase, p platform) []attestor.Problem {
	now := c.i.c.Now()
	c.mu.RLock()
	defer c.mu.RUnlock()
	var problems []attestor.Problem
	for _, ab := range bases {
		var why []string
		lacks := func(d attestor.Digest) {
			failed := c.failed[recordKey{ab.Repository, d, p}]
			// A base that a tag named once, and that was deleted since, is
			// nobody's any more; it must not keep all else in doubt.
			if attestor.KindOf(failed) == attestor.NotFound && c.past(ab, d) {
				return
			}
			if !c.has(ab.Repository, d, p) {
				why = append(why, fmt.Sprintf("%s: %s", d, message(failed)))
			}
		}
		for _, tag := range ab.Tags {
			key := tagKey{ab.Repository, tag}
			t := c.tags[key]
			if t == nil || len(t.points) == 0 || now.Sub(t.seen) > c.validFor(ab) {
				why = append(why, fmt.Sprintf("tag %s: %s", tag, message(c.tagErrs[key])))
				continue
			}
		}
		for _, d := range c.wanted(ab, false) {
			lacks(d)
		}
		if len(why) > 0 {
			problems = append(problems, problem(attestor.CheckBase, attestor.CodeBaseUnresolved, ab.Name,
				fmt.Sprintf("approved base %s (%s) could not be looked up: %s", ab.Name, ab.Repository, clip(strings.Join(why, "; "))),
				"see that the gate may read "+ab.Repository+" and that it holds what the policy names, then try again"))
		}
	}
	return problems
}

// past reports whether an entry is about d only for what its tags named
// before. Must be called with c.mu held.
func (c *catalogue) past(ab attestor.ApprovedBase, d attestor.Digest) bool {
	return !slices.Contains(ab.Digests, d) && !slices.ContainsFunc(ab.Tags, func(tag string) bool {
		return c.tags[tagKey{ab.Repository, tag}].current() == d
	})
}

func message(err error) string {
	if err == nil {
		return "not looked up yet"
	}
	return attestor.Message(err)
}

// A BaseState is what is known of one approved base.
type BaseState struct {
	Base    attestor.ApprovedBase
	Tags    []TagState
	Problem string // why it could not be looked up; "" if it could
}

// A TagState is what one tag of a base names.
type TagState struct {
	Tag    string
	Digest attestor.Digest // "" if it was never looked up
	Since  time.Time       // first seen to name it
	Seen   time.Time       // last seen
}

// Bases reports on approved bases, for people. It asks nobody.
func (i *Inspector) Bases(bases []attestor.ApprovedBase) []BaseState {
	c := i.bases
	var states []BaseState
	for _, ab := range bases {
		s := BaseState{Base: ab}
		for _, p := range c.unresolved([]attestor.ApprovedBase{ab}, platform{OS: "linux", Architecture: "amd64"}) {
			s.Problem = p.Message
		}
		c.mu.RLock()
		for _, tag := range ab.Tags {
			ts := TagState{Tag: tag}
			if t := c.tags[tagKey{ab.Repository, tag}]; t.current() != "" {
				ts.Digest, ts.Since, ts.Seen = t.current(), t.points[len(t.points)-1].From, t.seen
			}
			s.Tags = append(s.Tags, ts)
		}
		c.mu.RUnlock()
		states = append(states, s)
	}
	return states
}
