package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

// recoverEvery is how often the record is searched for what a crash left.
const recoverEvery = time.Minute

// recoverUntilDone completes what a crash left begun, here or in an instance that
// is gone. The service answers meanwhile; nothing that is only begun counts as a
// pass.
func (e *Engine) recoverUntilDone(ctx context.Context) {
	ticker := time.NewTicker(recoverEvery)
	defer ticker.Stop()

	for {
		if err := e.Recover(ctx); err != nil && ctx.Err() == nil {
			e.log.ErrorContext(ctx, "decisions or revocations that a crash interrupted could not be finished yet; it "+
				"is tried again", slog.String("error", err.Error()))
		}

		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Recover completes once what a crash left begun: first the attestations that were
// being replaced, then the revocations, then the decisions. One that cannot be completed yet does not keep the others;
// decisions alone wait for the attestations.
func (e *Engine) Recover(ctx context.Context) error {
	replaced := e.Attester.Recover(ctx)

	// Younger ones may be at work still: in another process, or, where no other has
	// the record open, in this one.
	l := e.Config.Limits
	age := time.Duration(l.MaxWait) + time.Duration(l.Deadline) + 2*time.Duration(l.Settle)
	if e.Store.Alone() {
		age = min(age, time.Since(e.started))
	}

	// From here on it is a moment: what follows may take minutes, and what this process begins meanwhile is no crash's.
	before := time.Now().Add(-age)
	if _, err := e.Store.Fill(ctx); err != nil {
		return errors.Join(replaced, err)
	}

	// An attestation that cannot be replaced yet keeps no revocation, which drops the intents for its own images first.
	left := unfinished{errs: []error{replaced}}
	for r, err := range e.Store.PendingRevocations(ctx, time.Since(before)) {
		if err != nil {
			left.add(err) // one that cannot be read keeps no other
			continue
		}
		if _, err := e.revoker.Finish(ctx, r); err != nil {
			left.add(fmt.Errorf("revocation %s: %w", r.ID, err))
			continue
		}
		e.log.LogAttrs(ctx, slog.LevelWarn, "finished a revocation that a crash had interrupted",
			slog.String("image_digest", string(r.Image.Digest())))
	}

	// A decision is completed by the attestations that exist: one that is still to be replaced would make it an error.
	if replaced != nil {
		return left.err()
	}

	for r, err := range e.Store.Pending(ctx, time.Since(before)) {
		switch {
		// One that cannot be read is an error beside those that can.
		case err != nil:
			left.add(err)
			continue

		// What an earlier version wrote of a revocation is read by Fill.
		case r.Decision.Policy == nil:
			continue
		}

		d, err := e.recoverOne(ctx, r)
		switch {
		case err != nil:
			left.add(fmt.Errorf("decision %s: %w", r.Decision.ID, err))
		case d != nil:
			e.log.LogAttrs(ctx, slog.LevelWarn, "finished a decision that a crash had interrupted", d.LogAttrs()...)
		}
	}
	return left.err()
}

// maxUnfinished is how many failures one search of the record tells: a log line must stay one that can be read.
const maxUnfinished = 100

// unfinished collects why what was begun could not be finished.
type unfinished struct {
	errs []error
	more int
}

func (u *unfinished) add(err error) {
	if len(u.errs) > maxUnfinished {
		u.more++
		return
	}
	u.errs = append(u.errs, err)
}

func (u *unfinished) err() error {
	if u.more > 0 {
		return errors.Join(append(u.errs, fmt.Errorf("and %d more", u.more))...)
	}
	return errors.Join(u.errs...)
}

// recoverOne completes a decision; nil where there is nothing to complete it by.
func (e *Engine) recoverOne(ctx context.Context, r attestor.Record) (*attestor.Decision, error) {
	// The policy's text is part of the record: the one in force may be another.
	set, err := policy.Parse(policy.Source{Name: r.Decision.Policy.Name + ".yaml", Text: r.PolicyText})
	if err != nil {
		return nil, err
	}
	judged, ok := set.Named(r.Decision.Policy.Name)
	if !ok {
		return nil, nil //nolint:nilnil // the text is stored by its digest; it holds the policy it was stored for
	}

	d, err := e.gate.Recover(ctx, r, judged)
	return &d, err
}
