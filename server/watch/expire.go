package watch

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/attestor-gate/attestor"
)

// maxLater bounds the decisions on one image that are looked through for what
// came after an override.
const maxLater = 500

// expire revokes what break-glass signed and whose time, by its policy, is
// over. That was decided when the glass was broken, so that neither a switch
// nor a cap stands in the way; an image that has passed since keeps what it has.
func (w *Watcher) expire(ctx context.Context, r Request, report *Report) error {
	if w.c.Revoke == nil {
		return nil
	}
	for token := ""; ; {
		page, next, err := w.c.History.Overridden(ctx, w.c.Now().Add(-w.c.Window), token)
		if err != nil {
			return err
		}
		for _, d := range page {
			done, err := w.expireOne(ctx, r, d)
			switch {
			case err != nil:
				report.Failed++
				w.c.Logger.ErrorContext(ctx, "an override that is over could not be revoked", slog.String("decision_id", d.ID), slog.Any("error", err))
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

func (w *Watcher) expireOne(ctx context.Context, r Request, d attestor.Decision) (bool, error) {
	if d.BreakGlass == nil || d.BreakGlass.Expires == nil || w.c.Now().Before(*d.BreakGlass.Expires) || len(d.Attestations) == 0 {
		return false, nil
	}
	img, err := parse(d)
	if err != nil {
		return false, err
	}
	if !r.Caller.May(attestor.ActionRejudge, img.Repository()) {
		return false, nil
	}
	later, err := w.c.History.Of(ctx, img, maxLater)
	if err != nil {
		return false, err
	}
	for _, l := range later {
		if l.Time.After(d.Time) && (admitted(l) || stands(l, w.c.Now()) || revoked(l)) {
			return false, nil
		}
	}
	why := fmt.Sprintf("decision %s: the override by %s ended at %s", d.ID, d.BreakGlass.By, d.BreakGlass.Expires.UTC().Format(time.RFC3339))
	if err := w.c.Revoke(ctx, img, why, attestor.CallerRef{Subject: r.Caller.Subject, Issuer: r.Caller.Issuer}, r.RequestID); err != nil {
		return false, err
	}
	w.metrics.revoked.Inc()
	w.c.Logger.WarnContext(ctx, "revoked an override that is over", slog.String("decision_id", d.ID), slog.String("image_digest", string(img.Digest())))
	return true, nil
}

// stands reports a later override that is not over.
func stands(d attestor.Decision, now time.Time) bool {
	return d.BreakGlass != nil && len(d.Attestations) > 0 && (d.BreakGlass.Expires == nil || now.Before(*d.BreakGlass.Expires))
}

// revoked reports the record of a revocation.
func revoked(d attestor.Decision) bool {
	for _, r := range d.Refusals() {
		if r.Code == attestor.CodeRevoked {
			return true
		}
	}
	return false
}
