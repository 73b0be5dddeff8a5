package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"

	"github.com/attestor-gate/attestor"
)

// Handle does what a message asks for. Nil acknowledges it: done, or nothing to
// do, or a denial, or poison. An error means that it should come again: an
// outage, or a scan that has not finished. An error of kind Invalid means that
// it was no message at all.
func (w *Watcher) Handle(ctx context.Context, caller attestor.Caller, body []byte, requestID string) error {
	p, err := decodePush(body)
	if err != nil {
		return err
	}
	m, err := classify(p)
	if err == nil && m.kind == kindRejudge && p.Subscription != w.c.Subscription {
		err = errors.New("what only the gate may ask for came by another subscription than its own")
	}
	if err != nil {
		w.poison(ctx, m, err)
		return nil
	}
	if m.ignore != "" {
		w.event(ctx, m, "ignored", nil)
		return nil
	}
	id := p.Subscription + "\n" + m.id
	if _, handled := w.seen.Get(id); handled {
		w.metrics.events.WithLabelValues(string(m.kind), "duplicate").Inc()
		return nil
	}
	outcome, err := w.dispatch(ctx, caller, m, requestID)
	if err != nil {
		w.event(ctx, m, "retry", err)
		return err
	}
	w.seen.Put(id, struct{}{}, 1)
	w.event(ctx, m, outcome, nil)
	return nil
}

func (w *Watcher) dispatch(ctx context.Context, caller attestor.Caller, m message, requestID string) (outcome string, err error) {
	switch m.kind {
	case kindOccurrence:
		return w.occurrence(ctx, caller, m, requestID)
	case kindRejudge:
		return w.own(ctx, caller, m, requestID)
	}
	return w.pushed(ctx, caller, m, requestID)
}

// poison names a message that nobody will ever understand, and lets it go.
func (w *Watcher) poison(ctx context.Context, m message, err error) {
	w.metrics.events.WithLabelValues(string(m.kind), "poison").Inc()
	w.c.Logger.ErrorContext(ctx, "poison message", slog.String("message_id", m.id), slog.String("event", string(m.kind)), slog.Any("error", err))
}

func (w *Watcher) event(ctx context.Context, m message, outcome string, err error) {
	w.metrics.events.WithLabelValues(string(m.kind), outcome).Inc()
	level, attrs := slog.LevelDebug, []slog.Attr{slog.String("message_id", m.id), slog.String("event", string(m.kind)), slog.String("outcome", outcome)}
	if err != nil || outcome == outcomeForbidden {
		level = slog.LevelWarn
	}
	if err != nil {
		attrs = append(attrs, slog.Any("error", err))
	}
	w.c.Logger.LogAttrs(ctx, level, "event", attrs...)
}

// What became of a message, and the label of its metric.
const (
	outcomeDone      = "done"
	outcomeDenied    = "denied"
	outcomeIgnored   = "ignored"
	outcomeForbidden = "forbidden"
)

// pushed judges what a build or a push brought, as far as a policy governs it.
func (w *Watcher) pushed(ctx context.Context, caller attestor.Caller, m message, requestID string) (string, error) {
	var mu sync.Mutex
	var errs []error
	outcome := outcomeIgnored
	var wg sync.WaitGroup
	turn := make(chan struct{}, w.c.Workers)
	for _, ref := range m.images {
		if _, governed := w.c.Policies.Govern(ref.Repository()); !governed {
			continue
		}
		turn <- struct{}{}
		wg.Go(func() {
			defer func() { <-turn }()
			got, err := outcomeIgnored, error(nil)
			if !w.artifact(ctx, caller, m, ref) {
				got, err = w.admit(ctx, caller, ref, map[string]string{LabelEvent: string(m.kind)}, requestID)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
			}
			outcome = worse(outcome, got)
		})
	}
	wg.Wait()
	return outcome, errors.Join(errs...)
}

// artifact reports whether a push brought a signature or another artifact
// instead of an image. Its manifest says so: an image that is pushed under a
// signature's tag is judged. What cannot be read is left for the Gate to tell.
func (w *Watcher) artifact(ctx context.Context, caller attestor.Caller, m message, ref attestor.Reference) bool {
	img, pinned := ref.Pinned()
	if w.c.Artifact == nil || m.kind != kindPush || !pinned {
		return false
	}

	// Nothing is read for a caller who may not have it judged.
	if !caller.May(attestor.ActionAttest, ref.Repository()) && !caller.May(attestor.ActionCheck, ref.Repository()) {
		return false
	}

	kind, err := w.c.Artifact(ctx, img, m.tag)
	return err == nil && kind != ""
}

// worse is what is more worth knowing of two images of one message.
func worse(a, b string) string {
	for _, o := range []string{outcomeForbidden, outcomeDenied, outcomeDone} {
		if a == o || b == o {
			return o
		}
	}
	return outcomeIgnored
}

// admit judges one image by the rights of whoever sends the messages: to
// attest, or else to look. An error asks for the message to come again.
func (w *Watcher) admit(ctx context.Context, caller attestor.Caller, ref attestor.Reference, labels map[string]string, requestID string) (string, error) {
	r := attestor.Request{Image: ref, Caller: caller, Labels: labels, RequestID: requestID}
	switch {
	case caller.May(attestor.ActionAttest, ref.Repository()):
	case caller.May(attestor.ActionCheck, ref.Repository()):
		r.DryRun = true
	default:
		return outcomeForbidden, nil
	}
	d, err := w.judge(ctx, r)
	switch {
	case attestor.KindOf(err) == attestor.NotFound, attestor.KindOf(err) == attestor.Invalid: // gone again, or never there
		return outcomeIgnored, nil
	case attestor.KindOf(err) == attestor.Forbidden:
		return outcomeForbidden, nil
	case err != nil:
		return "", err
	case d.Verdict == attestor.Pass:
		return outcomeDone, nil
	case d.Verdict == attestor.Undecided:
		return "", undecided(d)
	}
	return outcomeDenied, nil
}

// judge asks the Gate. Requests that could not be answered differently share
// an answer.
func (w *Watcher) judge(ctx context.Context, r attestor.Request) (attestor.Decision, error) {
	key := fmt.Sprintf("%q %q %t %q %q", r.Caller.Issuer, r.Caller.Subject, r.DryRun, r.Image.String(), r.Labels)
	return w.turns.take(ctx, key, func(ctx context.Context) (attestor.Decision, error) { return w.c.Admit(ctx, r) })
}

// undecided is a Decision that could not be made, as an error.
func undecided(d attestor.Decision) error {
	e := &attestor.Error{Kind: attestor.Upstream, Msg: "the image could not be judged yet; decision " + d.ID + " says why", Fix: "deliver the message again"}
	if d.Answer().RetryAfter > 0 {
		e.Kind = attestor.Unavailable
	}
	return e
}

// historyDepth is how far back an image's decisions are looked at.
const historyDepth = 100

// occurrence completes what waited for a scan, and judges again what was
// admitted. What Container Analysis said is looked up, and so is everything
// that is known of the image.
func (w *Watcher) occurrence(ctx context.Context, caller attestor.Caller, m message, requestID string) (string, error) {
	if w.c.Occurrences == nil || w.c.History == nil {
		return outcomeIgnored, nil
	}
	o, err := w.c.Occurrences.Occurrence(ctx, m.occurrence)
	switch {
	case attestor.KindOf(err) == attestor.NotFound:
		return outcomeIgnored, nil
	case err != nil:
		return "", err
	case o.Image.IsZero() || !o.Finished:
		return outcomeIgnored, nil
	}
	if _, governed := w.c.Policies.Govern(o.Image.Repository()); !governed {
		return outcomeIgnored, nil
	}
	if !caller.May(attestor.ActionRejudge, o.Image.Repository()) {
		return outcomeForbidden, nil
	}
	decisions, err := w.c.History.Of(ctx, o.Image, historyDepth)
	if err != nil {
		return "", err
	}
	last, ok := lastAsked(decisions, o.Image.Repository())
	switch {
	case !ok:
		return outcomeIgnored, nil
	case last.Verdict == attestor.Undecided:
		ref, err := attestor.ParseReference(last.Image.Reference)
		if err != nil {
			return outcomeIgnored, nil //nolint:nilerr // a record that cannot be read waits for nothing
		}
		labels := map[string]string{LabelEvent: string(m.kind)}
		maps.Copy(labels, last.Labels)
		return w.admit(ctx, caller, ref, labels, requestID)
	case admitted(last):
		flip, err := w.judgeAgain(ctx, caller, last, requestID)
		if err != nil {
			return "", err
		}
		if flip.Verdict == attestor.Deny {
			return outcomeDenied, nil
		}
		return outcomeDone, nil
	}
	return outcomeIgnored, nil
}

// lastAsked is the newest decision that was to be enforced, of a repository.
// One by a tag that could not be resolved is about no digest, and so not here.
func lastAsked(decisions []attestor.Decision, repository string) (attestor.Decision, bool) {
	for _, d := range decisions {
		img, err := parse(d)
		if err == nil && !d.DryRun && img.Repository() == repository {
			return d, true
		}
	}
	return attestor.Decision{}, false
}

// own judges again what another instance, or this one, found to be due.
func (w *Watcher) own(ctx context.Context, caller attestor.Caller, m message, requestID string) (string, error) {
	if w.c.History == nil {
		return outcomeIgnored, nil
	}
	if m.rejudge.PageToken != "" {
		_, err := w.Rejudge(ctx, Request{Caller: caller, RequestID: requestID, PageToken: m.rejudge.PageToken, revoked: m.rejudge.Revoked})

		// A token of an older version never becomes valid, however often its message
		// is delivered. The next scheduled run begins at the first page.
		if attestor.KindOf(err) == attestor.Invalid {
			w.poison(ctx, m, fmt.Errorf("the rest of a run cannot be continued; the next scheduled run covers it: %w", err))
			return outcomeIgnored, nil
		}
		return outcomeDone, err
	}
	record, err := w.c.History.Record(ctx, m.rejudge.Decision)
	if attestor.KindOf(err) == attestor.NotFound {
		return outcomeIgnored, nil
	}
	if err != nil {
		return "", err
	}
	d := record.Decision
	img, err := parse(d)
	if err != nil || img.String() != m.rejudge.Image || !admitted(d) {
		return outcomeIgnored, nil //nolint:nilerr // the record decides, not the message
	}
	if !caller.May(attestor.ActionRejudge, img.Repository()) {
		return outcomeForbidden, nil
	}
	flip, err := w.judgeAgain(ctx, caller, d, requestID)
	if err != nil {
		return "", err
	}
	if flip.Verdict == attestor.Undecided {
		return "", &attestor.Error{Kind: attestor.Upstream, Msg: "the image could not be judged yet; decision " + flip.Decision + " says why", Fix: "deliver the message again"}
	}
	if flip.Verdict == attestor.Deny {
		return outcomeDenied, nil
	}
	return outcomeDone, nil
}
