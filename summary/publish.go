package summary

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/vsa"
)

// clockSkew is how far the clocks of two instances may differ.
const clockSkew = time.Minute

// A draft is a wanted summary with what is known before anything is stored.
type draft struct {
	want
	existing found   // that says the same and is current; zero: none
	old      []found // by the same policy
	bundle   []byte  // signed and verified; nil where existing suffices
}

// Summarize implements [attestor.Summarizer].
func (p *Publisher) Summarize(
	ctx context.Context, a attestor.Authorization, begin func() error,
) (attestor.Summaries, error) {
	wants, err := p.wants(a)
	if err != nil {
		return attestor.Summaries{}, errors.Join(err, begin())
	}
	ctx, cancel := context.WithTimeout(ctx, p.c.Timeout)
	defer cancel()

	// Looking up and signing take round trips, and so does recording: they run side by side.
	drafts := make([]draft, len(wants))
	errs := make([]error, len(wants))
	var wg sync.WaitGroup
	for i, w := range wants {
		wg.Go(func() { drafts[i], errs[i] = p.draft(ctx, w) })
	}
	begun := begin()
	wg.Wait()

	// All or nothing: a key that fails, or a record that does, leaves nothing stored.
	if err := errors.Join(append([]error{begun}, errs...)...); err != nil {
		return attestor.Summaries{}, first(append([]error{begun}, errs...))
	}
	return p.storeAll(ctx, drafts)
}

// first returns the first error that is there.
func first(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Refuse implements [attestor.Summarizer].
func (p *Publisher) Refuse(ctx context.Context, r attestor.Refusal) (attestor.Summaries, error) {
	switch {
	case r.Image().IsZero() || r.Decision() == "":
		return attestor.Summaries{}, errors.New("publishing a refusal: nothing was refused")
	case p.c.Refused == nil:
		return attestor.Summaries{}, fault(attestor.CodeSummaryNotStored,
			"the policy asks for summaries of refusals, and this gate has no key for them",
			"set vsa.refused in the configuration to a key of its own, or vsa.publish: passed in the policy", nil)
	}
	ctx, cancel := context.WithTimeout(ctx, p.c.Timeout)
	defer cancel()

	pr := p.predicate(r.Image(), r.Policy(), r.Time(), r.Decision())
	pr.VerificationResult, pr.VerifiedLevels = vsa.Failed, []string{vsa.Failed}
	d, err := p.draft(ctx, want{
		image: r.Image(), place: r.Summary().Place(r.Image()), key: p.c.Refused, predicate: pr,
	})
	if err != nil {
		return attestor.Summaries{}, err
	}
	return p.storeAll(ctx, []draft{d})
}

// draft finds out whether a wanted summary stands already, and signs it where it does not.
func (p *Publisher) draft(ctx context.Context, w want) (draft, error) {
	d := draft{want: w}
	if err := p.look(ctx, &d); err != nil || d.existing.manifest != "" {
		return d, err
	}

	// Read here, so that a key that cannot be read signs nothing.
	pub, err := w.key.public(ctx)
	if err != nil {
		return d, err
	}
	raw, err := seal(ctx, w.key, vsa.New(w.image.Repository(), w.image.Digest().Hex(), w.predicate))
	if err != nil {
		return d, err
	}

	// Verified before it is stored, by the code that reads statements of the registry.
	got, err := open(raw, pub, w.image.Digest())
	if err != nil || got.Predicate.VerificationResult != w.predicate.VerificationResult {
		return d, fault(attestor.CodeSignatureInvalid,
			w.key.Where()+" made a summary that its own public key does not verify; it was not stored",
			"try again; if it persists, find out what answers in place of the signing key", err)
	}
	d.bundle = raw
	return d, nil
}

// look fills in what stands.
func (p *Publisher) look(ctx context.Context, d *draft) error {
	all, err := p.find(ctx, d.place, p.keys())
	if err != nil {
		return err
	}

	d.existing, d.old = found{}, nil
	for _, f := range all {
		if !f.samePolicy(d.predicate.Policy.URI) {
			continue
		}
		if d.existing.manifest == "" && p.current(f, d.want) {
			d.existing = f
			continue
		}
		d.old = append(d.old, f)
	}

	return nil
}

// storeAll stores what has to be, in order, and then deletes what it replaces: there is no time without a summary.
func (p *Publisher) storeAll(ctx context.Context, drafts []draft) (attestor.Summaries, error) {
	var out attestor.Summaries
	for i := range drafts {
		s, left, err := p.store(ctx, &drafts[i])
		if err != nil {
			return out, err
		}
		out.Standing, out.Left = append(out.Standing, s), append(out.Left, left...)
	}
	return out, nil
}

// store makes one summary stand. Requests about the same digest in the same repository take turns, and the later ones
// find what the first has stored.
func (p *Publisher) store(ctx context.Context, d *draft) (attestor.Summary, []attestor.LeftSummary, error) {
	created := false
	if d.existing.manifest == "" {
		back, err := p.busy.take(ctx, d.place.String())
		if err != nil {
			return attestor.Summary{}, nil, p.failed(d.place, "store", err)
		}
		defer back()

		if err := p.look(ctx, d); err != nil {
			return attestor.Summary{}, nil, err
		}
		if d.existing.manifest == "" {
			if d.existing, err = p.put(ctx, *d); err != nil {
				return attestor.Summary{}, nil, err
			}
			created = true
		}
	}

	left, err := p.removeAll(ctx, d.old)
	if err != nil {
		return attestor.Summary{}, nil, err
	}
	return d.existing.summary(created), left, nil
}

// removeAll deletes statements. Those that the registry refuses to delete are returned; any other failure is an error,
// and trying again deletes the rest.
func (p *Publisher) removeAll(ctx context.Context, old []found) ([]attestor.LeftSummary, error) {
	var left []attestor.LeftSummary
	for _, f := range old {
		err := p.remove(ctx, f)
		if refusal, ok := errors.AsType[*refusedError](err); ok {
			left = append(left, attestor.LeftSummary{
				Digest: f.place.Digest(), Reference: f.place.Sibling(f.manifest).String(),
				Why: refusal.why, Fix: refusal.fix,
			})
			continue
		}
		if err != nil {
			return left, err
		}
	}

	return left, nil
}

// Revoke deletes every summary of the images that one of the gate's keys verifies, by whatever policy, in the places
// where they may be. It returns those that are gone, and those that the registry refused to delete; also with an error,
// which says that others may be left. Doing it again is no error.
func (p *Publisher) Revoke(
	ctx context.Context, images []attestor.Image, places []attestor.SummaryNeeds,
) (gone []attestor.Summary, left []attestor.LeftSummary, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.c.Timeout)
	defer cancel()

	// A policy's place may be the image's own: each place is searched once.
	seen := map[string]bool{}
	var errs []error
	for _, img := range images {
		for _, n := range places {
			at := n.Place(img)
			if seen[at.String()] {
				continue
			}
			seen[at.String()] = true

			g, l, err := p.revokeAt(ctx, at)
			gone, left = append(gone, g...), append(left, l...)
			if err != nil {
				errs = append(errs, fmt.Errorf("revoking the summaries of %s: %w", at, err))
			}
		}
	}
	return gone, left, errors.Join(errs...)
}

func (p *Publisher) revokeAt(
	ctx context.Context, at attestor.Image,
) (gone []attestor.Summary, left []attestor.LeftSummary, err error) {
	// A request that is storing one has to be through, so that what it stores is found.
	back, err := p.busy.take(ctx, at.String())
	if err != nil {
		return nil, nil, err
	}
	defer back()

	all, err := p.find(ctx, at, p.keys())
	if err != nil {
		return nil, nil, err
	}

	// One failure does not end the rest: each summary that goes is one that nobody takes for a pass.
	var errs []error
	for _, f := range all {
		l, err := p.removeAll(ctx, []found{f})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if len(l) == 0 {
			gone = append(gone, f.summary(false))
		}
		left = append(left, l...)
	}
	return gone, left, errors.Join(errs...)
}
