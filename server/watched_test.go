package server_test

import (
	"context"
	"slices"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server/watch"
)

// watched is what the watcher of a server has, over the record of its world. It
// fails as the parts do.
type watched struct{ *parts }

var (
	_ watch.History    = watched{}
	_ watch.Admissions = watched{}
	_ watch.Overrides  = watched{}
)

func (p watched) Of(ctx context.Context, img attestor.Image, n int) ([]attestor.Decision, error) {
	if p.err != nil {
		return nil, p.err
	}
	return p.w.store().Of(ctx, img, n)
}

func (p watched) Decision(ctx context.Context, id string) (attestor.Decision, error) {
	if p.err != nil {
		return attestor.Decision{}, p.err
	}
	return p.w.store().Decision(ctx, id)
}

func (p watched) Record(ctx context.Context, id string) (attestor.Record, error) {
	if p.err != nil {
		return attestor.Record{}, p.err
	}
	return p.w.store().Record(ctx, id)
}

func (p watched) Fill(ctx context.Context) (bool, error) {
	if p.err != nil {
		return false, p.err
	}
	return p.w.store().Fill(ctx)
}

func (p watched) AdmittedWith(ctx context.Context, img attestor.Image) ([]attestor.Admission, error) {
	return p.w.store().AdmittedWith(ctx, img)
}

func (p watched) StartRun(ctx context.Context, id string, by attestor.CallerRef) (attestor.Run, error) {
	return p.w.store().StartRun(ctx, id, by)
}

func (p watched) Run(ctx context.Context, id string) (attestor.Run, error) {
	return p.w.store().Run(ctx, id)
}

func (p watched) Claim(
	ctx context.Context, run attestor.Run, after attestor.Admission, n int, visible func(string) bool,
) ([]attestor.Admission, attestor.Admission, error) {
	return p.w.store().Claim(ctx, run, after, n, visible)
}

func (p watched) Looked(ctx context.Context, run attestor.Run, looks []attestor.Rejudgement) error {
	return p.w.store().Looked(ctx, run, looks)
}

func (p watched) Left(ctx context.Context, run attestor.Run, visible func(string) bool) (int, error) {
	return p.w.store().Left(ctx, run, visible)
}

func (p watched) MayRevoke(ctx context.Context, run attestor.Run, limit int) (bool, bool, error) {
	return p.w.store().MayRevoke(ctx, run, limit)
}

func (p watched) EndRun(ctx context.Context, run attestor.Run) (bool, error) {
	return p.w.store().EndRun(ctx, run)
}

func (p watched) Overdue(ctx context.Context, after attestor.Override, n int) ([]attestor.Override, error) {
	if p.err != nil {
		return nil, p.err
	}
	return p.w.store().Overdue(ctx, after, n)
}

func (p watched) Grounds(ctx context.Context, o attestor.Override) (attestor.Grounds, error) {
	return p.w.store().Grounds(ctx, o)
}

func (p watched) CloseOverride(ctx context.Context, o attestor.Override, why attestor.Closing, by string) error {
	return p.w.store().CloseOverride(ctx, o, why, by)
}

func (p watched) Expired(ctx context.Context, id string, by attestor.CallerRef, started time.Time) error {
	return p.w.store().Expired(ctx, id, by, started)
}

// revoke is an attestor.Revoker over a world.
func (p *parts) revoker() *attestor.Revoker {
	v, err := attestor.NewRevoker(attestor.RevokerConfig{
		Record: p.w.store(), Now: p.w.clock, NewID: p.w.id,
		Remove: func(_ context.Context, r attestor.RevocationRecord) (attestor.Deleted, error) {
			p.w.mu.Lock()
			defer p.w.mu.Unlock()

			var gone []attestor.Attestation
			p.w.standing = slices.DeleteFunc(p.w.standing, func(a attestor.Attestation) bool {
				if a.Digest != r.Image.Digest() || slices.Contains(r.Kept, a.Digest) {
					return false
				}
				gone = append(gone, a)
				return true
			})
			return attestor.Deleted{Attestations: gone}, nil
		},
	})
	if err != nil {
		panic(err)
	}
	return v
}
