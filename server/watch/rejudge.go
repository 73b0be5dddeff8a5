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

// A Report is the outcome of a run, or of a part of one.
type Report struct {
	Admitted      int        `json:"admitted"`  // admitted images that the run covered
	Published     int        `json:"published"` // of these, published to be judged by any instance
	Judged        int        `json:"judged"`    // of these, judged by this instance
	Passed        int        `json:"passed"`
	Flips         []Reversal `json:"flips"`
	Revoked       int        `json:"revoked"`
	Expired       int        `json:"expired"`                 // expired overrides that were revoked
	Stopped       bool       `json:"stopped"`                 // more images were due for revocation than the cap
	Failed        int        `json:"failed"`                  // images that could not be judged or revoked; see the log
	Continued     bool       `json:"continued"`               // the time was over, and the rest was published
	NextPageToken string     `json:"nextPageToken,omitempty"` // the time was over, and the rest starts here
}

// A Reversal is an admitted image that would not be admitted now.
type Reversal struct {
	Image    string            `json:"image"`
	Admitted string            `json:"admitted"` // the decision that admitted it
	Decision string            `json:"decision"` // the new decision
	Verdict  attestor.Outcome  `json:"verdict"`
	Cause    Cause             `json:"cause"`
	Reasons  []attestor.Reason `json:"reasons"`
	Since    time.Time         `json:"since"` // of the first decision that denied it for this cause
	Revoked  bool              `json:"revoked"`

	attested bool // it still has attestations
}

// A Request requests a run.
type Request struct {
	Caller    attestor.Caller // the run covers the images that it has [attestor.ActionRejudge] for
	RequestID string
	PageToken string // of the Report of an earlier part; "": the run starts

	revoked int // images that earlier parts of the run revoked
}

func (r Request) callerRef() attestor.CallerRef {
	return attestor.CallerRef{Subject: r.Caller.Subject, Issuer: r.Caller.Issuer}
}

// Rejudge judges the admitted images again, and reports those that would not be
// admitted now; see the package comment. When the time of the run is over, the
// Report has a token for the rest, or the rest was published.
func (w *Watcher) Rejudge(ctx context.Context, r Request) (Report, error) {
	if w.c.History == nil {
		return Report{}, &attestor.Error{
			Kind: attestor.Unsupported,
			Msg:  "this gate keeps no decisions, so that it does not know what it admitted",
			Fix:  "set an SQLite file or PostgreSQL under store in the configuration",
		}
	}

	report, err := w.run(ctx, r)
	if err != nil {
		return Report{}, err
	}

	// A run that reached the cap is not continued: an operator should look first.
	if report.NextPageToken != "" && !report.Stopped && w.c.Publisher != nil {
		// The request's time may be over. Publishing has its own.
		rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
		defer cancel()
		remaining := work{PageToken: report.NextPageToken, Revoked: r.revoked + report.Revoked}
		if err := w.publish(rest, remaining); err != nil {
			return Report{}, &attestor.Error{
				Kind: attestor.Unavailable,
				Msg:  "the rest of the run could not be published to Pub/Sub",
				Fix:  "start the run again",
				Err:  err,
			}
		}
		report.Continued, report.NextPageToken = true, ""
	}

	w.c.Logger.LogAttrs(ctx, slog.LevelInfo, "judged again",
		slog.Int("admitted", report.Admitted), slog.Int("published", report.Published),
		slog.Int("judged", report.Judged), slog.Int("flips", len(report.Flips)),
		slog.Int("revoked", report.Revoked+report.Expired),
		slog.Bool("complete", report.NextPageToken == "" && !report.Continued))
	return report, nil
}

const publishTimeout = 10 * time.Second

// publish publishes a message of the gate to itself.
func (w *Watcher) publish(ctx context.Context, message work) error {
	data, err := json.Marshal(message)
	if err != nil {
		return err
	}
	return w.c.Publisher.Publish(ctx, data, map[string]string{workAttribute: "1"})
}

// run does the part of a run that the budget allows: whole pages, and one at
// least, so that every part makes progress.
func (w *Watcher) run(ctx context.Context, r Request) (Report, error) {
	end := w.c.Now().Add(budget)
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
			return report, nil //nolint:nilerr // the token says that the run is not complete
		}
	}
}

// due returns the admissions of a page that are to be judged again. Of each image
// it is the newest, since pages are newest first; known has those of earlier pages.
func (w *Watcher) due(caller attestor.Caller, page []attestor.Decision, known map[string]bool) []attestor.Decision {
	var out []attestor.Decision
	for _, d := range page {
		img, err := imageOf(d)
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

// page judges the admissions of a page side by side, and then revokes.
func (w *Watcher) page(ctx context.Context, r Request, due []attestor.Decision, report *Report) {
	flips := make([]*Reversal, len(due))

	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, workers)
	for i, d := range due {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			flip, published, err := w.judgeOrPublish(ctx, r, d)

			mu.Lock()
			defer mu.Unlock()
			report.Admitted++
			switch {
			case err != nil:
				report.Failed++
				w.c.Logger.LogAttrs(ctx, slog.LevelWarn, "an admitted image could not be judged again",
					slog.String("decision_id", d.ID), slog.Any("error", err))
			case published:
				report.Published++
			default:
				report.Judged++
				flips[i] = &flip
			}
		})
	}

	wg.Wait()

	// Images are revoked one after another, so that the cap is exact.
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
			w.c.Logger.LogAttrs(ctx, slog.LevelError, "an image could not be revoked; the next run tries again",
				slog.String("decision_id", due[i].ID), slog.Any("error", err))
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

// judgeOrPublish judges an image again, or publishes it so that any instance can.
// An image whose grace may be over is judged here: only a run revokes, since only
// it knows how many it has revoked.
func (w *Watcher) judgeOrPublish(
	ctx context.Context, r Request, d attestor.Decision,
) (flip Reversal, published bool, err error) {
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

// judgeAgain judges an admitted image by the policy that governs it now. It signs
// nothing. An outage is a Reversal with verdict error, and not an error.
func (w *Watcher) judgeAgain(
	ctx context.Context, caller attestor.Caller, was attestor.Decision, requestID string,
) (Reversal, error) {
	ref, err := attestor.ParseReference(was.Image.Reference)
	if err != nil {
		return Reversal{}, fmt.Errorf("judging %s again: %w", was.ID, err)
	}

	// The labels are those of the admission, since the rules of a policy may use
	// them.
	labels := map[string]string{}
	maps.Copy(labels, was.Labels)
	labels[LabelRejudges] = was.ID

	now, err := w.judge(ctx, attestor.Request{
		Image: ref, Caller: checker(caller), DryRun: true, Labels: labels, RequestID: requestID,
	})
	if err != nil {
		return Reversal{}, err
	}

	flip := Reversal{
		Image: was.Image.Reference, Admitted: was.ID, Decision: now.ID,
		Verdict: verdict(now), Reasons: now.Refusals(), Since: now.Time,
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
	w.c.Logger.LogAttrs(ctx, slog.LevelWarn, "an admitted image would be refused now",
		slog.String("decision_id", now.ID), slog.String("admitted_by", was.ID),
		slog.String("image_digest", string(was.Image.Digest)),
		slog.String("verdict", string(flip.Verdict)), slog.String("cause", string(flip.Cause)))
	return flip, nil
}

// verdict returns Deny for every verdict that is neither a pass nor an error.
func verdict(d attestor.Decision) attestor.Outcome {
	if d.Verdict == attestor.Pass || d.Verdict == attestor.Undecided {
		return d.Verdict
	}
	return attestor.Deny
}
