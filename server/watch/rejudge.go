package watch

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"github.com/attestor-gate/attestor"
)

// A Report is the outcome of a call. Covered, Changed, Failed, Left and Revoked
// are of the whole run so far, by all instances; the rest is of this call.
type Report struct {
	Run     string    `json:"run"`
	Started time.Time `json:"started"`
	Covered int       `json:"covered"` // admitted images that were judged, with or without an answer
	Changed int       `json:"changed"` // of these, with another verdict or cause than before
	Failed  int       `json:"failed"`  // of these, without an answer; see the log
	Left    int       `json:"left"`    // admitted images that the run has not covered yet
	Revoked int       `json:"revoked"`
	Stopped bool      `json:"stopped"` // more images were due for revocation than the cap

	Judged       int        `json:"judged"` // by this call
	Passed       int        `json:"passed"`
	Flips        []Reversal `json:"flips"` // the first 1,000
	FlipsOmitted int        `json:"flipsOmitted,omitempty"`
	Expired      int        `json:"expired"`   // overrides that this call ended
	Unrevoked    int        `json:"unrevoked"` // images that could not be revoked; see the log
	Continued    bool       `json:"continued"` // the rest was published, and goes on by itself
}

// maxFlips bounds the images that one answer lists.
const maxFlips = 1000

// A Reversal is an admitted image that would not be admitted now.
type Reversal struct {
	Image      string            `json:"image"`
	Admitted   string            `json:"admitted"` // the decision that admitted it
	BreakGlass bool              `json:"breakGlass,omitempty"`
	Decision   string            `json:"decision"` // the decision that recorded the refusal
	Verdict    attestor.Outcome  `json:"verdict"`
	Cause      attestor.Cause    `json:"cause"`
	Reasons    []attestor.Reason `json:"reasons"`
	Since      time.Time         `json:"since"` // of that decision
	Revoked    bool              `json:"revoked"`

	attested bool // it still has attestations
}

// A Request requests a run.
type Request struct {
	Caller    attestor.Caller // the run covers the images that it has [attestor.ActionRejudge] for
	RequestID string          // names the run where it starts one
}

func (r Request) callerRef() attestor.CallerRef {
	return attestor.CallerRef{Subject: r.Caller.Subject, Issuer: r.Caller.Issuer}
}

// visible selects the repositories of a run.
func (r Request) visible(repository string) bool {
	return r.Caller.May(attestor.ActionRejudge, repository)
}

// Rejudge judges the admitted images again, and reports those that would not be
// admitted now; see the package comment. It starts a run, or continues the
// caller's one that was not ended.
func (w *Watcher) Rejudge(ctx context.Context, r Request) (Report, error) {
	if w.c.Admissions == nil {
		return Report{}, &attestor.Error{
			Kind: attestor.Unsupported,
			Msg:  "this gate keeps no decisions, so that it does not know what it admitted",
			Fix:  "set an SQLite file or PostgreSQL under store in the configuration",
		}
	}

	// A run that did not know of older admissions would seem to have covered them.
	complete, err := w.c.Admissions.Fill(ctx)
	if err != nil {
		return Report{}, err
	}
	if !complete {
		return Report{}, &attestor.Error{
			Kind: attestor.Unavailable, Msg: "what earlier versions admitted is still being read from the record",
			Fix: "start the run again in a minute",
		}
	}

	// Overrides end first: what only an ended one admitted is not judged again.
	expired := 0
	if w.c.Overrides != nil && w.c.Revoke != nil {
		expiry, err := w.Expire(ctx, r)
		if err != nil {
			return Report{}, err
		}
		expired = expiry.Ended
	}

	run, err := w.c.Admissions.StartRun(ctx, r.RequestID, r.callerRef())
	if err != nil {
		return Report{}, err
	}
	report := Report{Flips: []Reversal{}, Expired: expired}
	if w.c.Publisher != nil {
		err = w.spread(ctx, r, run, &report)
	} else {
		_, err = w.part(ctx, r, run, &report)
	}
	if err != nil {
		return Report{}, err
	}
	return report, w.sum(ctx, r, run.ID, &report)
}

const (
	publishTimeout = 10 * time.Second
	// maxSpread is how many instances at most are asked to take part in a run, and
	// spreadBy how many admissions are left for one more.
	maxSpread = 32
	spreadBy  = 500
)

// spread publishes the run, so that several instances take part. Each message is
// the same: whoever gets it takes a share of what is left.
func (w *Watcher) spread(ctx context.Context, r Request, run attestor.Run, report *Report) error {
	left, err := w.c.Admissions.Left(ctx, run, r.visible)
	if err != nil {
		return err
	}

	for n := 0; n < maxSpread && n*spreadBy < left; n++ {
		if err := w.publish(ctx, run); err != nil {
			return err
		}
		report.Continued = true
	}
	if left == 0 {
		return w.end(ctx, run)
	}
	return nil
}

// publish publishes a message of the gate to itself.
func (w *Watcher) publish(ctx context.Context, run attestor.Run) error {
	data, err := json.Marshal(work{Run: run.ID})
	if err != nil {
		return err
	}

	// The request's time may be over. Publishing has its own.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	if err := w.c.Publisher.Publish(ctx, data, map[string]string{workAttribute: "1"}); err != nil {
		return &attestor.Error{
			Kind: attestor.Unavailable,
			Msg:  "the rest of the run could not be published to Pub/Sub",
			Fix:  "start the run again; it goes on where it ended",
			Err:  err,
		}
	}
	return nil
}

// sum adds the numbers of the whole run.
func (w *Watcher) sum(ctx context.Context, r Request, id string, report *Report) error {
	run, err := w.c.Admissions.Run(ctx, id)
	if err != nil {
		return err
	}
	report.Run, report.Started, report.Stopped = run.ID, run.Started, run.Stopped
	report.Covered, report.Changed, report.Failed, report.Revoked = run.Covered, run.Changed, run.Failed, run.Revoked
	report.Left, err = w.c.Admissions.Left(ctx, run, r.visible)
	return err
}

// end ends a run that has nothing left. One call of many logs it.
func (w *Watcher) end(ctx context.Context, run attestor.Run) error {
	ended, err := w.c.Admissions.EndRun(ctx, run)
	if err != nil || !ended {
		return err
	}
	if run, err = w.c.Admissions.Run(ctx, run.ID); err != nil {
		return err
	}
	w.c.Logger.LogAttrs(ctx, slog.LevelInfo, "judged again",
		slog.Int("judged", run.Covered), slog.Int("flips", run.Changed), slog.Int("failed", run.Failed),
		slog.Int("revoked", run.Revoked), slog.Bool("complete", true))
	return nil
}

// claimSize is how many admissions an instance takes at a time.
const claimSize = 8 * workers

// part does the share of a run that the budget allows. more reports whether there
// is something left that this instance could go on with.
func (w *Watcher) part(ctx context.Context, r Request, run attestor.Run, report *Report) (more bool, err error) {
	end := w.c.Now().Add(budget)

	// The list is walked from its beginning until a whole walk finds nothing to
	// claim: claims of an instance that was killed lapse meanwhile.
	after, found := attestor.Admission{}, 0
	for ctx.Err() == nil && !w.c.Now().After(end) {
		// Read again before each claim: another instance may have stopped or ended the run.
		if run, err = w.c.Admissions.Run(ctx, run.ID); err != nil {
			return false, err
		}
		if run.Stopped || !run.Ended.IsZero() {
			return false, nil
		}

		claimed, last, err := w.c.Admissions.Claim(ctx, run, after, claimSize, r.visible)
		if err != nil {
			return false, err
		}
		if last.Decision == "" {
			if found == 0 {
				return false, w.endIfDone(ctx, r, run)
			}
			after, found = attestor.Admission{}, 0
			continue
		}
		after = last
		found += len(claimed)
		if err := w.judgeAll(ctx, r, run, claimed, report); err != nil {
			return false, err
		}
	}
	return true, nil
}

// endIfDone ends a run that has nothing left. What other instances have claimed is
// left, and theirs to end.
func (w *Watcher) endIfDone(ctx context.Context, r Request, run attestor.Run) error {
	left, err := w.c.Admissions.Left(ctx, run, r.visible)
	if err != nil || left > 0 {
		return err
	}
	return w.end(ctx, run)
}

// judgeAll judges admissions side by side, records what was found, and then
// revokes.
func (w *Watcher) judgeAll(
	ctx context.Context, r Request, run attestor.Run, claimed []attestor.Admission, report *Report,
) error {
	flips := make([]*Reversal, len(claimed))
	var looks []attestor.Rejudgement

	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, workers)
	for i, a := range claimed {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			flip, look, err := w.rejudgeImage(ctx, r, a)

			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				// The request is over, and the image was judged for nobody.
				if ctx.Err() != nil {
					return
				}
				w.c.Logger.LogAttrs(ctx, slog.LevelWarn, "an admitted image could not be judged again",
					slog.String("decision_id", a.Decision), slog.Any("error", err))
				look = attestor.Rejudgement{Admission: a, Time: w.c.Now()}
			}
			looks, flips[i] = append(looks, look), flip
			report.Judged++
		})
	}
	wg.Wait()

	// What was found is durable before anything follows from it.
	recorded, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	if err := w.c.Admissions.Looked(recorded, run, looks); err != nil {
		return err
	}

	// Images are revoked one after another.
	for i, flip := range flips {
		if flip == nil || flip.Verdict == attestor.Undecided {
			continue
		}
		if flip.Verdict == attestor.Pass {
			report.Passed++
			continue
		}
		if !flip.attested {
			continue
		}
		if err := w.revoke(ctx, r, run, claimed[i], flip); err != nil {
			report.Unrevoked++
			w.c.Logger.LogAttrs(ctx, slog.LevelError, "an image could not be revoked; the next run tries again",
				slog.String("decision_id", claimed[i].Decision), slog.Any("error", err))
		}
		if len(report.Flips) == maxFlips {
			report.FlipsOmitted++
			continue
		}
		report.Flips = append(report.Flips, *flip)
	}
	return nil
}
