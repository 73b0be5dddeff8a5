package attestor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// gather fills p.ev. It starts each look-up as soon as what it needs is known: a
// digest is asked about in the registry, in Container Analysis and among the
// attestations at the same time, so that a fresh image costs two round trips
// until it can be judged, and a cached one costs one.
func (p *attempt) gather(ctx context.Context) error {
	defer p.time("evidence")()

	needs := p.policy.Needs()
	if len(p.req.Platforms) > 0 {
		needs.Platforms = p.req.Platforms
	}
	p.ev = Evidence{
		Time:      p.start.UTC(),
		Requested: p.req.Image.Requested(),
		Labels:    p.req.Labels,
		Platforms: []PlatformEvidence{},
	}

	// One digest for everything that follows: a tag that moves meanwhile changes nothing.
	image, err := p.pin(ctx)
	if err != nil {
		return p.unresolved(err)
	}

	// The scan and the attestations need no more than the digest.
	early := p.early(ctx, needs, image)
	defer early.close()

	// Resolve is asked by the digest, never by the tag again.
	stop := p.time("resolve")
	resolved, err := p.gate.c.Inspector.Resolve(ctx, image.pinned(), needs)
	stop()
	if err != nil {
		return p.unresolved(err)
	}

	// What is judged is what was resolved, and its digest is the one that is answered and signed.
	p.ev.Image, p.ev.MediaType, p.ev.Index = resolved.Image, resolved.MediaType, resolved.Index
	p.ev.Left, p.ev.Uploaded, p.ev.Problems = resolved.Left, resolved.Uploaded, resolved.Problems
	p.dec.Image.Reference = resolved.Image.String()
	p.dec.Image.Digest, p.dec.Image.MediaType = resolved.Image.Digest(), resolved.MediaType
	if len(resolved.Children) == 0 { // what could run is an image, whatever else is said of it
		p.dec.Image.Artifact = resolved.Artifact
	}

	p.ev.Platforms = make([]PlatformEvidence, len(resolved.Children))
	scanned := ScannedChild(scannedOfIndex, resolved.Children, resolved.Left)

	// Of an index without such a child nobody knows which child the index's findings are
	// of. If the scanner's child was only left out, they are of that one.
	var parent Image
	if resolved.Index && scanned < 0 && !hasPlatform(scannedOfIndex, resolved.Left) {
		parent = resolved.Image
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		// On error nothing is known to stand: Attest looks again, and reports.
		if standing, err := early.standing(ctx, resolved); err == nil {
			p.standing = standing
		}
	})

	for i, child := range resolved.Children {
		var scan Scan
		var inner sync.WaitGroup
		wg.Go(func() {
			inner.Go(func() {
				// A scan of the index says nothing of a child that the scanner did not look at.
				r := ScanRequest{Image: resolved.Image.Sibling(child.Digest), Needs: needs.Scan, Wait: p.req.Wait, Parent: parent}
				if i == scanned && resolved.Index {
					r.Index = resolved.Image
				}
				defer p.time("scan")()
				scan = early.scan(ctx, r)
			})

			stop := p.time("inspect")
			evidence := p.gate.c.Inspector.Inspect(ctx, resolved, child, needs)
			stop()
			inner.Wait()
			evidence.Child, evidence.Scan = child, scan
			p.ev.Platforms[i] = evidence
		})
	}

	// The policy judges once everything was found, or was found to be unknown.
	wg.Wait()
	for _, e := range p.ev.Platforms {
		p.dec.Platforms = append(p.dec.Platforms, summarise(e, p.ev.Time))
	}
	return nil
}

// pin finds the digest that is asked about. A tag is looked up here and nowhere
// else, so that everything that follows is about the same bytes.
func (p *attempt) pin(ctx context.Context) (Image, error) {
	if img, ok := p.req.Image.Pinned(); ok {
		return img, nil
	}
	defer p.time("pin")()

	img, err := p.gate.c.Inspector.Pin(ctx, p.req.Image)
	if err == nil && (img.IsZero() || img.Repository() != p.req.Image.Repository()) {
		err = fmt.Errorf("it was pinned to %q", img)
	}
	return img, err
}

// unresolved turns a failed resolution into evidence, unless the request
// itself was at fault.
func (p *attempt) unresolved(err error) error {
	e, ok := errors.AsType[*Error](err)
	if ok && e.Kind != Upstream {
		return err
	}
	if !ok && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("resolving %s: %w", p.req.Image, err)
	}

	// The failure becomes evidence, so that the decision refuses with its reason and is recorded.
	reason := reasonOf(err, CodeRegistryUnavailable)
	status := StatusError
	if reason.Code.Status() == StatusDeny { // found out, and no: a host that may not be asked
		status = StatusDeny
	}
	p.ev.Problems = []Problem{{Check: CheckPlatforms, Status: status, Reason: reason}}
	return nil
}

// A future is the answer to a question that was asked early.
type future[T any] struct {
	done  chan struct{}
	value T
	err   error
}

func ask[T any](f func() (T, error)) *future[T] {
	a := &future[T]{done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.value, a.err = f()
	}()
	return a
}

func (a *future[T]) wait() (T, error) {
	<-a.done
	return a.value, a.err
}

// lookups ask what needs no more than a digest, while the registry is asked
// for what it names.
type lookups struct {
	gate   *Gate
	needs  Needs
	scans  *future[Scan]
	stands *future[Standing]
	image  Image
	cancel context.CancelFunc
}

// early starts what can be asked before the manifest is known. Its close must
// be called.
func (p *attempt) early(ctx context.Context, needs Needs, img Image) *lookups {
	ctx, cancel := context.WithCancel(ctx)
	l := &lookups{gate: p.gate, needs: needs, image: img, cancel: cancel}
	l.scans = ask(func() (Scan, error) {
		return p.gate.c.Scanner.Scan(ctx, ScanRequest{Image: img, Needs: needs.Scan, Wait: p.req.Wait}), nil
	})

	l.stands = ask(func() (Standing, error) {
		return p.gate.c.Attester.Standing(ctx, needs.Attest.All(), []Image{img})
	})
	return l
}

// close ends what is still being asked and leaves no goroutine behind.
func (l *lookups) close() {
	l.cancel()
	<-l.scans.done
	<-l.stands.done
}

// scan answers from what was started early where that was the same question.
func (l *lookups) scan(ctx context.Context, r ScanRequest) Scan {
	if r.Image == l.image && r.Index.IsZero() && r.Parent.IsZero() {
		scan, _ := l.scans.wait()
		return scan
	}
	return l.gate.c.Scanner.Scan(ctx, r)
}

// standing asks about the children too, once they are known; about the image
// itself it was asked early, and is not again.
func (l *lookups) standing(ctx context.Context, r Resolved) (Standing, error) {
	var children []Image
	for _, c := range r.Children {
		if c.Digest != r.Image.Digest() {
			children = append(children, r.Image.Sibling(c.Digest))
		}
	}

	if len(children) == 0 {
		return l.stands.wait()
	}
	rest, err := l.gate.c.Attester.Standing(ctx, l.needs.Attest.All(), children)
	if err != nil {
		return Standing{}, err
	}

	first, err := l.stands.wait()
	if err != nil {
		return Standing{}, err
	}
	return first.and(rest), nil
}

// summarise is the short form for answers.
func summarise(e PlatformEvidence, now time.Time) PlatformSummary {
	s := PlatformSummary{
		Child: e.Child, User: e.User,
		Base: BaseSummary{
			Name:      e.Base.Name,
			Reference: e.Base.Reference,
			Evidence:  e.Base.Evidence,
			Layers:    e.Base.Layers,
			Signer:    e.Base.Signer,
			Current:   e.Base.Current,
		},
		Scan: ScanSummary{
			State: e.Scan.State, Finished: e.Scan.Finished, Counts: e.Scan.Counts(), Secrets: len(e.Scan.Secrets),
		},
	}
	if e.Base.Superseded != nil {
		s.Base.Behind = fmt.Sprintf("%dd", int(now.Sub(*e.Base.Superseded).Hours()/24))
	} else if e.Base.Current {
		s.Base.Behind = "0d"
	}

	for _, v := range e.Scan.Findings {
		if v.Fixable {
			s.Scan.Fixable++
		}
	}
	return s
}
