package watch

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/attestor-gate/attestor"
)

// maxLater is how many decisions on an image are read to find those that followed
// an override.
const maxLater = 500

// expire revokes the attestations of overrides that have expired. The policy set
// that end when the override was granted, so that neither Enforce nor the cap
// applies. An image that was admitted since keeps its attestations.
func (w *Watcher) expire(ctx context.Context, r Request, report *Report) error {
	if w.c.Revoke == nil {
		return nil
	}

	for token := ""; ; {
		page, next, err := w.c.History.Overridden(ctx, w.c.Now().Add(-w.c.Window), token)
		if err != nil {
			return err
		}

		// One that fails does not keep the others. The next run tries it again.
		for _, d := range page {
			done, err := w.expireOne(ctx, r, d)
			switch {
			case err != nil:
				report.Failed++
				w.c.Logger.LogAttrs(ctx, slog.LevelError,
					"an expired override could not be revoked; the next run tries again",
					slog.String("decision_id", d.ID), slog.Any("error", err))
			case done:
				report.Expired++
			}
		}

		if next == "" || ctx.Err() != nil {
			return ctx.Err()
		}
		token = next
	}
}

// expireOne revokes the attestations of an override, if it has expired. It reports
// whether it did.
func (w *Watcher) expireOne(ctx context.Context, r Request, d attestor.Decision) (bool, error) {
	if d.BreakGlass == nil || d.BreakGlass.Expires == nil || w.c.Now().Before(*d.BreakGlass.Expires) ||
		len(d.Attestations) == 0 {
		return false, nil
	}

	img, err := imageOf(d)
	if err != nil {
		return false, err
	}
	if !r.Caller.May(attestor.ActionRejudge, img.Repository()) {
		return false, nil
	}

	// The attestations may have another ground by now, and then stay: a later pass,
	// or an override that is in force. After a revocation there are none.
	later, err := w.c.History.Of(ctx, img, maxLater)
	if err != nil {
		return false, err
	}
	for _, l := range later {
		if l.Time.After(d.Time) && (admitted(l) || inForce(l, w.c.Now()) || revoked(l)) {
			return false, nil
		}
	}

	why := fmt.Sprintf("decision %s: the override by %s ended at %s",
		d.ID, d.BreakGlass.By, d.BreakGlass.Expires.UTC().Format(time.RFC3339))
	if err := w.c.Revoke(ctx, img, why, r.callerRef(), r.RequestID); err != nil {
		return false, err
	}

	w.metrics.revoked.Inc()
	w.c.Logger.LogAttrs(ctx, slog.LevelWarn, "revoked an expired override",
		slog.String("decision_id", d.ID), slog.String("image_digest", string(img.Digest())))
	return true, nil
}

// inForce reports whether a decision is an override that has not expired.
func inForce(d attestor.Decision, now time.Time) bool {
	return d.BreakGlass != nil && len(d.Attestations) > 0 &&
		(d.BreakGlass.Expires == nil || now.Before(*d.BreakGlass.Expires))
}

// revoked reports whether a decision records a revocation.
func revoked(d attestor.Decision) bool {
	for _, r := range d.Refusals() {
		if r.Code == attestor.CodeRevoked {
			return true
		}
	}
	return false
}
