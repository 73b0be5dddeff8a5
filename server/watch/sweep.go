package watch

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/attestor-gate/attestor"
)

// A Report is the outcome of a run.
type Report struct {
	Admitted      int        `json:"admitted"`  // images that were looked at
	Published     int        `json:"published"` // of these, handed to other instances
	Judged        int        `json:"judged"`    // of these, judged here
	Passed        int        `json:"passed"`
	Flips         []Reversal `json:"flips"`
	Revoked       int        `json:"revoked"`
	Expired       int        `json:"expired"`                 // overrides whose time was over, revoked
	Stopped       bool       `json:"stopped"`                 // more were to be revoked than one run may
	Failed        int        `json:"failed"`                  // could not be looked at; the log says why
	Continued     bool       `json:"continued"`               // the run's time was over, and the rest of it was published
	NextPageToken string     `json:"nextPageToken,omitempty"` // the run's time was over; the next begins here
}

// A Reversal is an admitted image that would not be admitted now.
type Reversal struct {
	Image    string            `json:"image"`
	Admitted string            `json:"admitted"` // the decision that admitted it
	Decision string            `json:"decision"` // the one that would not
	Verdict  attestor.Outcome  `json:"verdict"`
	Cause    Cause             `json:"cause"`
	Reasons  []attestor.Reason `json:"reasons"`
	Since    time.Time         `json:"since"` // when it was first seen
	Revoked  bool              `json:"revoked"`

	attested bool // attestations stand still
}

// A Request asks for a run.
type Request struct {
	Caller    attestor.Caller // may have judged again what it has [attestor.ActionRejudge] for
	RequestID string
	PageToken string

	revoked int // before this part of the run
}

// Rejudge judges again what was admitted and is governed still. What turns out
// otherwise is reported; attestations are deleted only by the rule of
// [Watcher.revoke]. It ends when its time is over and says where to go on; with
// a Publisher it publishes the rest, so that a run completes by itself.
func (w *Watcher) Rejudge(ctx context.Context, r Request) (Report, error) {
	if w.c.History == nil {
		return Report{}, &attestor.Error{Kind: attestor.Unsupported, Msg: "this gate keeps no record of what it admitted"}
	}
	report, err := w.run(ctx, r)
	if err != nil {
		return Report{}, err
	}
	if report.NextPageToken != "" && !report.Stopped && w.c.Publisher != nil {
		// Stopped is for somebody to look at, and goes on by nobody's doing. The
		// caller's time may be over; publishing has its own.
		rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
		defer cancel()
		if err := w.publish(rest, work{PageToken: report.NextPageToken, Revoked: r.revoked + report.Revoked}); err != nil {
			return Report{}, &attestor.Error{Kind: attestor.Unavailable, Msg: "the rest of the run could not be published", Fix: "let the schedule run again", Err: err}
		}
		report.Continued, report.NextPageToken = true, ""
	}
	w.c.Logger.InfoContext(ctx, "judged again", slog.Int("admitted", report.Admitted), slog.Int("published", report.Published), slog.Int("judged", report.Judged),
		slog.Int("flips", len(report.Flips)), slog.Int("revoked", report.Revoked+report.Expired), slog.Bool("complete", report.NextPageToken == "" && !report.Continued))
	return report, nil
}

const publishTimeout = 10 * time.Second

func (w *Watcher) publish(ctx context.Context, what work) error {
	data, err := json.Marshal(what)
	if err != nil {
		return err
	}
	return w.c.Publisher.Publish(ctx, data, map[string]string{workAttribute: "1"})
}

// run is what there is time for.
func (w *Watcher) run(ctx context.Context, r Request) (Report, error) {
	end := w.c.Now().Add(w.c.Budget)
	report := Report{Flips: []Reversal{}}
	if r.PageToken == "" {
		if err := w.expire(ctx, r, &report); err != nil {
			return Report{}, err
		}
	}
	known := map[string]bool{}
	for token := r.PageToken; ; {
		page, next, err := w.c.History.Passed(ctx, w.c.Now().Add(-w.c.Window), token)
		if err != nil {
			return Report{}, err
		}
		w.page(ctx, r, w.due(r.Caller, page, known), &report)
		switch token = next; {
		case token == "":
			return report, ctx.Err()
		case report.Stopped, ctx.Err() != nil, w.c.Now().After(end):
			report.NextPageToken = token
			return report, nil //nolint:nilerr // the run's time is over, and it says so
		}
	}
}

// due are those of a page that stand to be judged again, one for each image:
// the newest, since pages are newest first.
func (w *Watcher) due(caller attestor.Caller, page []attestor.Decision, known map[string]bool) []attestor.Decision {
	var out []attestor.Decision
	for _, d := range page {
		img, err := parse(d)
		if err != nil || !admitted(d) || known[img.String()] {
			continue
		}
		known[img.String()] = true
		_, governed := w.c.Policies.Govern(img.Repository())
		if governed && caller.May(attestor.ActionRejudge, img.Repository()) {
			out = append(out, d)
		}
	}
	return out
}

// page judges, or has judged, and then revokes one after another, so that the
// cap is exact.
func (w *Watcher) page(ctx context.Context, r Request, due []attestor.Decision, report *Report) {
	flips := make([]*Reversal, len(due))
	var mu sync.Mutex
	var wg sync.WaitGroup
	turn := make(chan struct{}, w.c.Workers)
	for i, d := range due {
		turn <- struct{}{}
		wg.Go(func() {
			defer func() { <-turn }()
			flip, published, err := w.look(ctx, r, d)
			mu.Lock()
			defer mu.Unlock()
			report.Admitted++
			switch {
			case err != nil:
				report.Failed++
				w.c.Logger.WarnContext(ctx, "judging again failed", slog.String("decision_id", d.ID), slog.Any("error", err))
			case published:
				report.Published++
			default:
				report.Judged++
				flips[i] = &flip
			}
		})
	}
	wg.Wait()
	for i, flip := range flips {
		if flip == nil {
			continue
		}
		if flip.Verdict == attestor.Pass || (flip.Verdict == attestor.Deny && !flip.attested) {
			report.Passed += count(flip.Verdict == attestor.Pass)
			continue
		}
		if err := w.revoke(ctx, r, due[i], flip, report); err != nil {
			report.Failed++
			w.c.Logger.ErrorContext(ctx, "revocation failed", slog.String("decision_id", due[i].ID), slog.Any("error", err))
		}
		report.Flips = append(report.Flips, *flip)
	}
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// look hands an image to other instances where that is possible. Those whose
// time may have come are judged here, since they may have to be revoked.
func (w *Watcher) look(ctx context.Context, r Request, d attestor.Decision) (flip Reversal, published bool, err error) {
	if w.c.Publisher != nil {
		since, err := w.deniedSince(ctx, w.baseline(ctx, d))
		if err != nil {
			return Reversal{}, false, err
		}
		if !w.c.Enforce || since.IsZero() || w.c.Now().Sub(since) < w.c.Grace {
			return Reversal{}, true, w.publish(ctx, work{Image: d.Image.Reference, Decision: d.ID})
		}
	}
	flip, err = w.judgeAgain(ctx, r.Caller, d, r.RequestID)
	return flip, false, err
}

// judgeAgain puts an admitted image to the policy that governs it now, signing
// nothing. An outage is a Reversal with verdict error, and no error.
func (w *Watcher) judgeAgain(ctx context.Context, caller attestor.Caller, was attestor.Decision, requestID string) (Reversal, error) {
	ref, err := attestor.ParseReference(was.Image.Reference)
	if err != nil {
		return Reversal{}, fmt.Errorf("judging %s again: %w", was.ID, err)
	}
	labels := map[string]string{}
	maps.Copy(labels, was.Labels) // rules may look at them
	labels[LabelRejudges] = was.ID
	now, err := w.judge(ctx, attestor.Request{Image: ref, Caller: checker(caller), DryRun: true, Labels: labels, RequestID: requestID})
	if err != nil {
		return Reversal{}, err
	}
	flip := Reversal{
		Image: was.Image.Reference, Admitted: was.ID, Decision: now.ID, Verdict: verdict(now), Reasons: now.Refusals(), Since: now.Time,
		attested: len(now.Attestations) > 0,
	}
	w.metrics.rejudged.WithLabelValues(string(flip.Verdict)).Inc()
	if flip.Verdict == attestor.Pass {
		return flip, nil
	}
	base := w.baseline(ctx, was)
	if flip.Cause, err = base.cause(now); err != nil {
		return Reversal{}, err
	}
	since, err := w.deniedSince(ctx, base)
	if err != nil {
		return Reversal{}, err
	}
	if !since.IsZero() && since.Before(flip.Since) {
		flip.Since = since
	}
	w.metrics.flips.WithLabelValues(string(flip.Cause)).Inc()
	w.c.Logger.WarnContext(ctx, "an admitted image would be refused now", slog.String("decision_id", now.ID), slog.String("admitted_by", was.ID),
		slog.String("image_digest", string(was.Image.Digest)), slog.String("verdict", string(flip.Verdict)), slog.String("cause", string(flip.Cause)))
	return flip, nil
}

// verdict reads whatever is not a pass or an error as a denial.
func verdict(d attestor.Decision) attestor.Outcome {
	if d.Verdict == attestor.Pass || d.Verdict == attestor.Undecided {
		return d.Verdict
	}
	return attestor.Deny
}
