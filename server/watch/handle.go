package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"

	"github.com/attestor-gate/attestor"
)

// Handle handles a message. nil acknowledges it: it was handled, there was nothing
// to do, the image was denied, or the message is poison. An error asks for it to
// be delivered again: after an outage, or when a scan has not finished. An error
// of kind Invalid means that the body is not a message.
func (w *Watcher) Handle(ctx context.Context, caller attestor.Caller, body []byte, requestID string) error {
	p, err := decodePush(body)
	if err != nil {
		return err
	}

	// The gate's own messages make instances work. Only the gate may publish to the
	// topic of this subscription.
	m, err := classify(p)
	own := m.kind == kindRejudge || m.kind == kindSweep
	if err == nil && own && p.Subscription != w.c.Subscription {
		err = errors.New("a message of the gate's own kind arrived by a subscription that is not rejudge.subscription")
	}

	// A poison message is acknowledged: it would be delivered until it expires, and
	// fail each time. The log names it.
	if err != nil {
		w.poison(ctx, m, err)
		return nil
	}
	if m.ignore != "" {
		w.event(ctx, m, outcomeIgnored, nil)
		return nil
	}

	// Pub/Sub delivers at least once. An id is unique within a topic only, and so is remembered with its subscription;
	// and with its sender, who names both: what one caller sent must not make another's message a duplicate.
	id := strings.Join([]string{caller.Issuer, caller.Subject, p.Subscription, m.id}, "\n")
	if _, handled := w.handled.Get(id); handled {
		w.metrics.events.WithLabelValues(string(m.kind), "duplicate").Inc()
		return nil
	}

	outcome, err := w.dispatch(ctx, caller, m, requestID)
	if err != nil {
		w.event(ctx, m, "retry", err)
		return err
	}

	// Remembered only now: a message that failed must be handled when it is
	// delivered again.
	w.handled.Put(id, struct{}{}, 1)
	if m.unnamed != nil {
		w.poison(ctx, m, m.unnamed)
	}
	w.event(ctx, m, outcome, nil)
	return nil
}

// dispatch handles a message by its kind.
func (w *Watcher) dispatch(
	ctx context.Context, caller attestor.Caller, m message, requestID string,
) (outcome string, err error) {
	switch m.kind {
	case kindOccurrence:
		return w.occurrence(ctx, caller, m, requestID)
	case kindRejudge:
		return w.own(ctx, caller, m, requestID)
	case kindSweep:
		return w.swept(ctx, caller, m, requestID)
	}
	return w.pushed(ctx, caller, m, requestID)
}

// poison counts and logs a message that cannot be handled.
func (w *Watcher) poison(ctx context.Context, m message, err error) {
	w.metrics.events.WithLabelValues(string(m.kind), "poison").Inc()
	w.c.Logger.LogAttrs(ctx, slog.LevelError, "poison message",
		slog.String("message_id", m.id), slog.String("event", string(m.kind)), slog.Any("error", err))
}

// event counts and logs the outcome of a message.
func (w *Watcher) event(ctx context.Context, m message, outcome string, err error) {
	w.metrics.events.WithLabelValues(string(m.kind), outcome).Inc()

	level, attrs := slog.LevelDebug, []slog.Attr{
		slog.String("message_id", m.id),
		slog.String("event", string(m.kind)),
		slog.String("outcome", outcome),
	}
	if err != nil || outcome == outcomeForbidden {
		level = slog.LevelWarn
	}
	if err != nil {
		attrs = append(attrs, slog.Any("error", err))
	}
	w.c.Logger.LogAttrs(ctx, level, "event", attrs...)
}

// Outcomes of a message. They are also a label of metrics.
const (
	outcomeDone      = "done"
	outcomeDenied    = "denied"
	outcomeIgnored   = "ignored"
	outcomeForbidden = "forbidden"
)

// pushed judges the images of a build or a push that a policy governs.
func (w *Watcher) pushed(ctx context.Context, caller attestor.Caller, m message, requestID string) (string, error) {
	var mu sync.Mutex
	var errs []error
	outcome := outcomeIgnored

	var wg sync.WaitGroup
	slots := make(chan struct{}, workers)
	for _, ref := range m.images {
		if _, governed := w.c.Policies.Govern(ref.Repository()); !governed {
			continue
		}

		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
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

	// If one image failed, the message is delivered again for all of them. Those
	// that were judged get the same answer.
	return outcome, errors.Join(errs...)
}

// artifact reports whether a push is of a signature or another artifact. The
// manifest decides: an image that is pushed under a signature's tag is judged. So
// is a manifest that cannot be read; the Gate reports why.
func (w *Watcher) artifact(ctx context.Context, caller attestor.Caller, m message, ref attestor.Reference) bool {
	img, pinned := ref.Pinned()
	if w.c.Artifact == nil || m.kind != kindPush || !pinned {
		return false
	}

	// The gate reads nothing from a registry for a caller who may not have the image
	// judged.
	if !caller.May(attestor.ActionAttest, ref.Repository()) && !caller.May(attestor.ActionCheck, ref.Repository()) {
		return false
	}

	kind, err := w.c.Artifact(ctx, img, m.tag)
	return err == nil && kind != ""
}

// worse returns the more severe of two outcomes.
func worse(a, b string) string {
	for _, o := range []string{outcomeForbidden, outcomeDenied, outcomeDone} {
		if a == o || b == o {
			return o
		}
	}
	return outcomeIgnored
}

// admit judges one image with the rights of the caller: to attest or, without
// that, to check. An error asks for the message to be delivered again.
func (w *Watcher) admit(
	ctx context.Context, caller attestor.Caller, ref attestor.Reference, labels map[string]string, requestID string,
) (string, error) {
	r := attestor.Request{Image: ref, Caller: caller, Labels: labels, RequestID: requestID}
	switch {
	case caller.May(attestor.ActionAttest, ref.Repository()):
	case caller.May(attestor.ActionCheck, ref.Repository()):
		r.DryRun = true
	default:
		return outcomeForbidden, nil
	}

	return outcomeOf(w.judge(ctx, r))
}

// outcomeOf is what a judgement makes of a message. An image that is gone, or never existed, stays so. An outage, or a
// scan that has not finished, does not: the error asks for the message to be delivered again.
func outcomeOf(d attestor.Decision, err error) (string, error) {
	switch {
	case attestor.KindOf(err) == attestor.NotFound, attestor.KindOf(err) == attestor.Invalid:
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

// judge requests a decision. The key has every part of the request that the answer
// depends on: only requests with the same answer share one.
func (w *Watcher) judge(ctx context.Context, r attestor.Request) (attestor.Decision, error) {
	key := fmt.Sprintf("%q %q %t %q %q", r.Caller.Issuer, r.Caller.Subject, r.DryRun, r.Image.String(), r.Labels)
	return w.admitting.judge(ctx, key, func(ctx context.Context) (attestor.Decision,
		error) {
		return w.c.Admit(ctx, r)
	})
}

// notJudged is the error of a message whose image could not be judged.
func notJudged(decision string) *attestor.Error {
	return &attestor.Error{
		Kind: attestor.Upstream,
		Msg:  "the image could not be judged; decision " + decision + " has the reason",
		Fix:  "deliver the message again",
	}
}

// undecided is notJudged, of kind Unavailable where the decision says when to try
// again.
func undecided(d attestor.Decision) error {
	e := notJudged(d.ID)
	if d.Answer().RetryAfter > 0 {
		e.Kind = attestor.Unavailable
	}
	return e
}

// historyDepth is how many decisions on an image are read.
const historyDepth = 100

// occurrence handles a notification of Container Analysis: it judges an image
// whose last decision waited for the scan, and judges again one that was admitted.
// The occurrence and the decisions are read; nothing of the message counts but the
// name.
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

	// The scan is of a platform's manifest, the decision perhaps of its index: the
	// image that was requested is judged.
	decisions, err := w.c.History.Of(ctx, o.Image, historyDepth)
	if err != nil {
		return "", err
	}
	outcome, waited := outcomeIgnored, error(nil)
	if last, ok := lastRequested(decisions, o.Image.Repository()); ok && last.Verdict == attestor.Undecided {
		if ref, err := attestor.ParseReference(last.Image.Reference); err == nil {
			labels := map[string]string{LabelEvent: string(m.kind)}
			maps.Copy(labels, last.Labels)
			outcome, waited = w.admit(ctx, caller, ref, labels, requestID)
		}
	}
	again, err := w.lookAgain(ctx, Request{Caller: caller, RequestID: requestID}, o.Image)
	return worse(outcome, again), errors.Join(waited, err)
}

// lookAgain judges again whatever stands admitted with an image. It revokes
// nothing.
func (w *Watcher) lookAgain(ctx context.Context, r Request, img attestor.Image) (string, error) {
	if w.c.Admissions == nil {
		return outcomeIgnored, nil
	}
	admissions, err := w.c.Admissions.AdmittedWith(ctx, img)
	if err != nil {
		return "", err
	}

	outcome := outcomeIgnored
	var errs []error
	for _, a := range admissions {
		key := fmt.Sprintf("%q %q %q %q", r.Caller.Issuer, r.Caller.Subject, a.Image.String(), a.Decision)
		flip, err := w.looking.judge(ctx, key, func(ctx context.Context) (*Reversal, error) {
			flip, look, err := w.rejudgeImage(ctx, r, a)
			if err != nil {
				return nil, err
			}
			return flip, w.c.Admissions.Looked(ctx, attestor.Run{}, []attestor.Rejudgement{look})
		})
		switch {
		case err != nil:
			errs = append(errs, err)
		case flip == nil:
		case flip.Verdict == attestor.Undecided:
			errs = append(errs, notJudged(flip.Decision))
		case flip.Verdict == attestor.Deny:
			outcome = worse(outcome, outcomeDenied)
		default:
			outcome = worse(outcome, outcomeDone)
		}
	}
	return outcome, errors.Join(errs...)
}

// lastRequested returns the newest decision on an image of a repository that was
// not a dry run. A decision on a tag that could not be resolved has no digest, and
// is not among them.
func lastRequested(decisions []attestor.Decision, repository string) (attestor.Decision, bool) {
	for _, d := range decisions {
		img, err := imageOf(d)
		if err == nil && !d.DryRun && img.Repository() == repository {
			return d, true
		}
	}
	return attestor.Decision{}, false
}

// own handles the gate's own messages: it takes part in a run, and publishes it
// again while something is left that this instance could go on with.
func (w *Watcher) own(ctx context.Context, caller attestor.Caller, m message, requestID string) (string, error) {
	if w.c.Admissions == nil || w.c.Publisher == nil {
		return outcomeIgnored, nil
	}

	// The run that was recorded counts, and not the message.
	run, err := w.c.Admissions.Run(ctx, m.rejudge.Run)
	if attestor.KindOf(err) == attestor.NotFound {
		return outcomeIgnored, nil
	}
	if err != nil {
		return "", err
	}
	if run.Stopped || !run.Ended.IsZero() {
		return outcomeIgnored, nil
	}

	r := Request{Caller: caller, RequestID: requestID}
	more, err := w.part(ctx, r, run, &Report{})
	if err != nil {
		return "", err
	}
	if more {
		return outcomeDone, w.publish(ctx, run)
	}

	// Others have claimed what is left. Should one of them be killed, its claims lapse,
	// and whoever comes back then finds them.
	report := Report{}
	if err := w.sum(ctx, r, run.ID, &report); err != nil {
		return "", err
	}
	if report.Left > 0 && !report.Stopped {
		return "", &attestor.Error{
			Kind: attestor.Unavailable, Msg: "other instances are judging what is left of the run",
			Fix: "deliver the message again",
		}
	}
	return outcomeDone, nil
}
