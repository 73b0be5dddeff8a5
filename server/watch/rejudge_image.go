package watch

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/throttle"
)

// rejudgeImage judges an admitted image by the policy that governs it now. It signs
// nothing, and records a Decision only where the verdict or its cause has changed.
// An outage is a Reversal with verdict error, and not an error. A nil Reversal
// means that the registry does not have the image any more.
func (w *Watcher) rejudgeImage(
	ctx context.Context, r Request, a attestor.Admission,
) (flip *Reversal, look attestor.Rejudgement, err error) {
	// Images are judged on goroutines that nothing else recovers: a bug that one image meets must not end the process,
	// at each run anew.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic while judging %s again: %v\n%s", a.Decision, p, debug.Stack())
		}
	}()

	ref, err := attestor.ParseReference(a.Image.String())
	if err != nil {
		return nil, attestor.Rejudgement{}, fmt.Errorf("judging %s again: %w", a.Decision, err)
	}
	base, err := w.baseline(ctx, a.Decision)
	if err != nil {
		return nil, attestor.Rejudgement{}, err
	}

	// The labels are those of the admission, since the rules of a policy may use them.
	labels := map[string]string{}
	maps.Copy(labels, base.was.Labels)
	labels[LabelRejudges] = a.Decision

	look = attestor.Rejudgement{Admission: a}

	// Nobody waits for it: where calls are paced, those of requests go first.
	now, err := w.c.Reconsider(throttle.Background(ctx), attestor.Request{
		Image: ref, Caller: checker(r.Caller), DryRun: true, Labels: labels, RequestID: r.RequestID,
	}, func(d attestor.Decision) (bool, error) { return compare(&look, base, d) })

	// An image that was deleted cannot be deployed, and says nothing new. It may be
	// pushed again, so that it stays among the admissions.
	if attestor.KindOf(err) == attestor.NotFound {
		look.Answered, look.Time, look.Verdict, look.Cause = true, w.c.Now(), a.Verdict, a.Cause
		return nil, look, nil
	}
	if err != nil {
		return nil, attestor.Rejudgement{}, err
	}

	flip = &Reversal{
		Image: a.Image.String(), Admitted: a.Decision, BreakGlass: a.BreakGlass,
		Decision: now.ID, Verdict: verdict(now), Cause: look.Cause, Reasons: now.Refusals(), Since: now.Time,
		attested: len(now.Attestations) > 0,
	}
	if look.Answered && look.Decision == "" {
		flip.Decision, flip.Since = a.Changed, a.Since
	}
	w.found(ctx, flip, a)
	return flip, look, nil
}

// compare fills in what a judgement says of an admission, and reports whether that
// is another verdict, or another cause of the same refusal, than the last look's.
func compare(look *attestor.Rejudgement, base baseline, d attestor.Decision) (changed bool, err error) {
	look.Time, look.Verdict = d.Time, verdict(d)

	// An outage says nothing of the image. Neither does it begin or end a denial.
	if look.Verdict == attestor.Undecided {
		look.Cause = attestor.CauseOutage
		return false, nil
	}
	if look.Verdict == attestor.Deny {
		if look.Cause, err = base.cause(d); err != nil {
			return false, err
		}

		// The same in part: a check beside the denial has no answer.
		if look.Cause == attestor.CauseOutage {
			return false, nil
		}
	}
	look.Answered = true

	// An override was refused to begin with, for whatever cause.
	was := look.Admission
	first := was.BreakGlass && was.Cause == "" && was.Verdict == look.Verdict
	if changed = !first && (look.Verdict != was.Verdict || look.Cause != was.Cause); changed {
		look.Decision = d.ID
	}
	return changed, nil
}

// found counts and logs a judgement.
func (w *Watcher) found(ctx context.Context, flip *Reversal, a attestor.Admission) {
	w.metrics.rejudged.WithLabelValues(string(flip.Verdict)).Inc()
	if flip.Verdict == attestor.Pass {
		return
	}

	w.metrics.flips.WithLabelValues(string(flip.Cause)).Inc()
	w.c.Logger.LogAttrs(ctx, slog.LevelWarn, "an admitted image would be refused now",
		slog.String("decision_id", flip.Decision), slog.String("admitted_by", a.Decision),
		slog.String("image_digest", string(a.Image.Digest())),
		slog.String("verdict", string(flip.Verdict)), slog.String("cause", string(flip.Cause)))
}

// verdict returns Deny for every verdict that is neither a pass nor an error.
func verdict(d attestor.Decision) attestor.Outcome {
	if d.Verdict == attestor.Pass || d.Verdict == attestor.Undecided {
		return d.Verdict
	}
	return attestor.Deny
}
