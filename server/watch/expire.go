package watch

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/attestor-gate/attestor"
)

// overduePage is how many overrides are read at a time.
const overduePage = 100

// An Expiry is the outcome of a run over the overrides that are past their end.
type Expiry struct {
	Ended   int  `json:"ended"`   // their attestations were deleted
	Kept    int  `json:"kept"`    // closed: their images have another ground by now
	Waiting int  `json:"waiting"` // their images are just being attested; the next run comes by
	Failed  int  `json:"failed"`  // see the log; the next run tries again
	Left    bool `json:"left"`    // the time was over; call again
}

// whole reports whether a run left nothing to do.
func (e Expiry) whole() bool { return e.Waiting == 0 && e.Failed == 0 && !e.Left }

// Expire deletes the attestations of the overrides that are past their end,
// whatever their age. The policy set that end when the override was granted, so
// that neither Enforce nor the cap applies. What passed since in its own right, or
// by another override that is in force, keeps its attestations.
func (w *Watcher) Expire(ctx context.Context, r Request) (Expiry, error) {
	if w.c.Overrides == nil || w.c.Revoke == nil {
		return Expiry{}, &attestor.Error{
			Kind: attestor.Unsupported,
			Msg:  "this gate keeps no overrides, so that it does not know which have reached their end",
			Fix:  "set an SQLite file or PostgreSQL under store in the configuration",
		}
	}

	started := w.c.Now()
	end := started.Add(budget)
	var report Expiry
	everything := true // that is overdue is the caller's to end
	for after := (attestor.Override{}); ; {
		page, err := w.c.Overrides.Overdue(ctx, after, overduePage)
		if err != nil {
			return Expiry{}, err
		}

		for _, o := range page {
			if !r.Caller.May(attestor.ActionRejudge, o.Image.Repository()) {
				everything = false
				continue
			}
			if ctx.Err() != nil || w.c.Now().After(end) {
				report.Left = true
				break
			}
			w.expireOne(ctx, r, o, &report)
		}

		if report.Left || len(page) < overduePage {
			break
		}
		after = page[len(page)-1]
	}

	// Only a run that left nothing counts as one that keeps promises.
	if everything && report.whole() {
		if err := w.c.Overrides.Expired(ctx, r.RequestID+"-expire", r.callerRef(), started); err != nil {
			return Expiry{}, err
		}
	}
	return report, nil
}

// expireOne ends one override and counts the outcome. One that fails does not keep
// the others.
func (w *Watcher) expireOne(ctx context.Context, r Request, o attestor.Override, report *Expiry) {
	closed, err := w.closeKept(ctx, o)
	if err == nil && closed {
		report.Kept++
		return
	}

	var record attestor.RevocationRecord
	if err == nil {
		record, err = w.c.Revoke(ctx, attestor.Revocation{
			Image: o.Image, Kind: attestor.RevokedAtEnd, Override: o.Decision, Caller: r.callerRef(),
			RequestID: r.RequestID,
			Reason:    fmt.Sprintf("the override by %s ended at %s", o.By, o.Expires.UTC().Format(time.RFC3339)),
		})
	}
	switch {
	case attestor.KindOf(err) == attestor.NotFound:
		report.Waiting++
		return
	case err != nil:
		report.Failed++
		w.c.Logger.LogAttrs(ctx, slog.LevelError, "an expired override could not be revoked; the next run tries again",
			slog.String("decision_id", o.Decision), slog.Any("error", err))
		return
	}

	report.Ended++
	w.metrics.revoked.Inc()
	w.c.Logger.LogAttrs(ctx, slog.LevelWarn, "revoked an expired override",
		slog.String("decision_id", o.Decision), slog.String("image_digest", string(o.Image.Digest())),
		slog.Int("revoked", len(record.Attestations)))
}

// closeKept closes an override whose digests all have another ground.
func (w *Watcher) closeKept(ctx context.Context, o attestor.Override) (bool, error) {
	g, err := w.c.Overrides.Grounds(ctx, o)
	if err != nil || len(g.Keep) < len(o.Digests) || len(o.Digests) == 0 {
		return false, err
	}

	why := attestor.ClosedOverridden
	if g.Passed {
		why = attestor.ClosedPassed
	}
	return true, w.c.Overrides.CloseOverride(ctx, o, why, g.By)
}
