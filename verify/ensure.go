package verify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/together"
)

const (
	refreshesAtOnce = 8

	// retryAfter keeps a registry that is down from being asked by every request. In
	// between, the result of the last attempt counts.
	retryAfter = 5 * time.Second

	// firstRetry is the pause after the second failure in a row.
	firstRetry = 250 * time.Millisecond
)

// An attempt is the last look-up of an entry or of a tag.
type attempt struct {
	at     time.Time
	began  uint64 // the tick
	failed int    // look-ups in a row
}

// next is the attempt after a.
func (a attempt) next(at time.Time, failed bool) attempt {
	if !failed {
		return attempt{at: at}
	}
	return attempt{at: at, failed: a.failed + 1}
}

// pause returns the time until the next look-up. After one failure there is none: a
// single call that went wrong must not refuse everybody's images. It grows with every
// failure after that.
func (a attempt) pause() time.Duration {
	switch a.failed {
	case 0:
		return retryAfter
	case 1:
		return 0
	}
	return min(retryAfter, firstRetry<<min(a.failed-2, 10))
}

// resting reports whether the pause is not over.
func (a attempt) resting(now time.Time) bool { return now.Sub(a.at) < a.pause() }

// RefreshBases looks up what the tags of approved bases name now, and reads
// bases that are new, for every known platform that was asked about so far. Call
// it off the request path, about every minute. An error names the bases that could
// not be looked up; all others were.
func (i *Inspector) RefreshBases(ctx context.Context, bases []attestor.ApprovedBase) error {
	var errs []error
	for _, s := range i.bases.asked() {
		i.bases.refreshAll(ctx, s, bases, true)
		for _, p := range i.bases.unresolved(s, bases, 0) {
			errs = append(errs, errors.New(p.Message))
		}
	}
	return errors.Join(errs...)
}

// ensure looks up what is not known, or was not looked at for a while, and
// reports what is still not known.
func (c *catalogue) ensure(ctx context.Context, s *platformBases, bases []attestor.ApprovedBase) []attestor.Problem {
	c.refreshAll(ctx, s, c.due(s, bases), false)
	return c.unresolved(s, bases, 0)
}

// renew looks the tags up again whose last look-up began before since, reads
// what they name now, and reports what is still not known. It is called before
// an image is denied for its base: a base that moved a moment ago is found, and
// an image is denied by an answer that the registry gave after it was asked
// about. All who wait share a look-up; how often there is one is bounded.
func (c *catalogue) renew(
	ctx context.Context, s *platformBases, bases []attestor.ApprovedBase, since uint64,
) []attestor.Problem {
	waited, cancel := context.WithTimeout(ctx, c.i.limits.BaseTimeout)
	defer cancel()

	var tags []tagKey
	for _, ab := range bases {
		for _, tag := range ab.Tags {
			if key := (tagKey{ab.Repository, tag}); c.tag(key).looked <= since {
				tags = append(tags, key)
			}
		}
	}

	eachOf(tags, func(key tagKey) { c.lookSince(waited, key, since) })

	// Twice: a shared look-up that is under way may have begun before the tag moved.
	for range 2 {
		moved := slices.DeleteFunc(
			slices.Clone(bases),
			func(ab attestor.ApprovedBase) bool { return !c.unread(s, ab) || !c.movedSince(s, ab) },
		)
		c.refreshAll(waited, s, moved, false)
	}
	return c.unresolved(s, bases, since)
}

// recall reads what the tags of bases named before, as far as no attempt was made to, and reports whether there was any
// of it. Each digest is tried once, so that a stream of images that are denied causes no stream of requests.
func (c *catalogue) recall(ctx context.Context, s *platformBases, bases []attestor.ApprovedBase) bool {
	waited, cancel := context.WithTimeout(ctx, c.i.limits.BaseTimeout)
	defer cancel()

	untried := slices.DeleteFunc(slices.Clone(bases), func(ab attestor.ApprovedBase) bool {
		return !slices.ContainsFunc(c.wanted(ab, true), func(d attestor.Digest) bool {
			key := baseKey{ab.Repository, d}
			_, read := s.get(key)
			return !read && s.failure(key) == nil
		})
	})
	c.refreshAll(waited, s, untried, true)
	return len(untried) > 0
}

// eachOf runs f for all of list, some side by side.
func eachOf[T any](list []T, f func(T)) {
	slots := make(chan struct{}, refreshesAtOnce)
	var wg together.Group
	for _, v := range list {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			f(v)
		})
	}
	wg.Wait()
}

// refreshAll refreshes entries, each once however many ask.
func (c *catalogue) refreshAll(ctx context.Context, s *platformBases, bases []attestor.ApprovedBase, past bool) {
	eachOf(bases, func(ab attestor.ApprovedBase) { c.refreshOnce(ctx, s, ab, past) })
}

// entryKey is what of an entry decides which bases it is about.
func entryKey(ab attestor.ApprovedBase) string {
	return fmt.Sprintf("%q %q %q", ab.Repository, ab.Tags, ab.Digests)
}

// refreshOnce refreshes an entry. Callers at the same time share the work, which is
// detached from the one who came first and has its own deadline.
func (c *catalogue) refreshOnce(ctx context.Context, s *platformBases, ab attestor.ApprovedBase, past bool) {
	entry := entryKey(ab)
	ch := c.lookups.DoChan(fmt.Sprint("entry\x00", entry, s.platform, past), func() (any, error) {
		work, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.i.limits.BaseTimeout)
		defer cancel()

		// What a panic leaves unread is missing below, and counts as unknown.
		began := c.ticks.Add(1)
		_, err := together.Try(func() (struct{}, error) { c.refresh(work, s, ab, past); return struct{}{}, nil })
		c.notePanic(work, err)
		failed := len(c.unresolved(s, []attestor.ApprovedBase{ab}, 0)) > 0
		s.note(entry, attempt{at: c.i.c.Now(), began: began}, failed)
		return nil, nil
	})

	select {
	case <-ctx.Done():
	case <-ch: // a failure is kept with the tag or base, and reported from there
	}
}

// notePanic logs the panic of work that no caller waits for: whoever judges by what it did not find out says only that
// it is unknown.
func (c *catalogue) notePanic(ctx context.Context, err error) {
	if errors.Is(err, together.ErrPanic) {
		c.i.c.Logger.ErrorContext(ctx, "looking up approved bases panicked", slog.String("error", err.Error()))
	}
}

// refresh looks up what an entry's tags name now, and reads what they name and
// named, for one platform: as far back as it can matter, and with past as far
// as it can explain a denial.
func (c *catalogue) refresh(ctx context.Context, s *platformBases, ab attestor.ApprovedBase, past bool) {
	for _, tag := range ab.Tags {
		key := tagKey{ab.Repository, tag}
		if c.i.c.Now().Sub(c.tag(key).seen) < retryAfter { // for another platform, or another policy
			continue
		}
		select {
		case <-ctx.Done():
		case <-c.lookUp(ctx, key, false):
		}
	}

	eachOf(c.wanted(ab, past), func(d attestor.Digest) {
		key := baseKey{ab.Repository, d}
		b, err := c.read(ctx, s, key)
		if err == nil {
			s.add(key, b)
			return
		}

		s.fail(key, err)
		c.i.c.Logger.WarnContext(
			ctx,
			"approved base could not be read",
			slog.String("base", ab.Name),
			slog.String("image", ab.Repository+"@"+string(d)),
			slog.String("error", err.Error()),
		)
	})
}

// maxPoints bounds how much of a tag's past is looked at.
const maxPoints = 50

// wanted returns the digests that an entry approves, newest first: those listed,
// those that its tags name, and those that they named within maxBehind. With past,
// the older ones too, which explain a denial.
func (c *catalogue) wanted(ab attestor.ApprovedBase, past bool) []attestor.Digest {
	now := c.i.c.Now()
	digests := slices.Clone(ab.Digests)
	for _, tag := range ab.Tags {
		points := c.tag(tagKey{ab.Repository, tag}).points
		for n, p := range slices.Backward(points) {
			if len(points)-n > maxPoints || !past && p.Until != nil && now.Sub(*p.Until) > ab.MaxBehind {
				break
			}
			if !slices.Contains(digests, p.Digest) {
				digests = append(digests, p.Digest)
			}
		}
	}

	return digests
}

// due lists the entries that are worth looking up.
func (c *catalogue) due(s *platformBases, bases []attestor.ApprovedBase) []attestor.ApprovedBase {
	now := c.i.c.Now()
	return slices.DeleteFunc(slices.Clone(bases), func(ab attestor.ApprovedBase) bool {
		if tried, ok := s.attempt(entryKey(ab)); ok && tried.resting(now) {
			return true
		}
		old := slices.ContainsFunc(ab.Tags, func(tag string) bool {
			return now.Sub(c.tag(tagKey{ab.Repository, tag}).seen) > c.i.limits.BaseRefresh
		})
		return !old && !c.unread(s, ab)
	})
}

// unread reports whether an entry is about a base that was not read.
func (c *catalogue) unread(s *platformBases, ab attestor.ApprovedBase) bool {
	return slices.ContainsFunc(c.wanted(ab, false), func(d attestor.Digest) bool {
		_, ok := s.get(baseKey{ab.Repository, d})
		return !ok
	})
}

// movedSince reports whether a tag of an entry moved after its bases were last
// read, or their reading was last tried.
func (c *catalogue) movedSince(s *platformBases, ab attestor.ApprovedBase) bool {
	tried, ok := s.attempt(entryKey(ab))
	return !ok || slices.ContainsFunc(ab.Tags, func(tag string) bool {
		return c.tag(tagKey{ab.Repository, tag}).moved > tried.began
	})
}

// unresolved reports the entries of which too little is known to say that an image is
// not built on them: denying it then would turn a failure into an answer. With since,
// the look-ups of their tags must have begun after it.
func (c *catalogue) unresolved(s *platformBases, bases []attestor.ApprovedBase, since uint64) []attestor.Problem {
	var problems []attestor.Problem
	for _, ab := range bases {
		why := append(c.unseenTags(ab, since), c.unreadBases(s, ab)...)
		if len(why) == 0 {
			continue
		}

		texts := make([]string, 0, len(why))
		for _, w := range why {
			texts = append(texts, w.text)
		}
		p := problem(
			attestor.CheckBase,
			attestor.CodeBaseUnresolved,
			ab.Name,
			fmt.Sprintf(
				"approved base %s (%s) could not be looked up: %s",
				ab.Name,
				ab.Repository,
				clip(strings.Join(texts, "; ")),
			),
			"let the gate read "+ab.Repository+", check that it has the tags and digests of the policy, then try again",
		)
		p.RetryAfter = busyFor(why)
		problems = append(problems, p)
	}
	return problems
}

// A gap is something that is not known of an approved base, and why.
type gap struct {
	text string
	err  error // nil: it was not looked up yet
}

func newGap(what string, err error) gap {
	if err == nil {
		return gap{text: what + ": not looked up yet"}
	}
	return gap{text: what + ": " + attestor.Message(err), err: err}
}

// busyFor is how many seconds registries asked to wait, where that is all that
// is wrong; else 0, since waiting would not help.
func busyFor(gaps []gap) int {
	longest := 0
	for _, g := range gaps {
		e, ok := errors.AsType[*attestor.Error](g.err)
		if !ok || e.Code != attestor.CodeRegistryBusy || e.After <= 0 {
			return 0
		}
		longest = max(longest, e.RetryAfter())
	}
	return longest
}

// unseenTags says of which tags it is not known what they name.
func (c *catalogue) unseenTags(ab attestor.ApprovedBase, since uint64) []gap {
	now := c.i.c.Now()
	var why []gap
	for _, tag := range ab.Tags {
		t := c.tag(tagKey{ab.Repository, tag})
		old := len(t.points) == 0 || now.Sub(t.seen) > c.validFor(ab)
		if old || since > 0 && (t.looked <= since || t.err != nil) {
			why = append(why, newGap("tag "+tag, t.err))
		}
	}
	return why
}

// unreadBases says which bases of an entry could not be read.
func (c *catalogue) unreadBases(s *platformBases, ab attestor.ApprovedBase) []gap {
	var why []gap
	for _, d := range c.wanted(ab, false) {
		key := baseKey{ab.Repository, d}
		if _, ok := s.get(key); ok {
			continue
		}

		// A base that a tag named once, and that was deleted since, is
		// nobody's any more; it must not keep all else in doubt.
		failed := s.failure(key)
		if attestor.KindOf(failed) == attestor.NotFound && c.past(ab, d) {
			continue
		}
		why = append(why, newGap(string(d), failed))
	}
	return why
}

// past reports whether an entry is about d only for what its tags named
// before.
func (c *catalogue) past(ab attestor.ApprovedBase, d attestor.Digest) bool {
	return !slices.Contains(ab.Digests, d) && !slices.ContainsFunc(ab.Tags, func(tag string) bool {
		t := c.tag(tagKey{ab.Repository, tag})
		return t.current() == d
	})
}
