package attestor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// gather fills p.ev. It starts each look-up as soon as what it needs is known, and
// asks about the children of an index together. The scan of a digest is looked up
// beside its manifest, and the attestations as soon as that says that there are no
// children, so that a fresh image costs two round trips until it can be judged, and a
// cached one costs one.
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

	// The scan needs no more than the digest, and takes the longest of all look-ups. The
	// attestations of an index are asked for with those of its children.
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

	return p.lookUp(ctx, early, resolved, needs)
}

// lookUp asks about all children of what was resolved, and about the attestations that stand, side by side.
func (p *attempt) lookUp(ctx context.Context, early *lookups, resolved Resolved, needs Needs) error {
	standing := ask(func() (Standing, error) { return early.standing(ctx, resolved.images()) })

	requests := p.scanRequests(resolved, needs)
	scans := ask(func() ([]Scan, error) {
		defer p.time("scan")()
		return early.scans(ctx, requests)
	})

	inspected := make([]*future[PlatformEvidence], len(resolved.Children))
	for i, child := range resolved.Children {
		inspected[i] = ask(func() (PlatformEvidence, error) {
			defer p.time("inspect")()
			return p.gate.c.Inspector.Inspect(ctx, resolved, child, needs), nil
		})
	}

	// The policy judges once everything was found, or was found to be unknown. All are waited for, also after one that
	// failed: nothing is left running.
	found, failed := scans.wait()
	p.ev.Platforms = make([]PlatformEvidence, len(resolved.Children))
	for i, child := range resolved.Children {
		evidence, err := inspected[i].wait()
		if failed = cmp.Or(failed, err); failed != nil {
			continue
		}

		// The child is the one that was asked about, whatever the evidence says.
		evidence.Child, evidence.Scan = child, found[i]
		p.ev.Platforms[i] = evidence
		p.dec.Platforms = append(p.dec.Platforms, evidence.Summary(p.ev.Time))
	}

	// On error nothing is known to stand: Attest looks again, and reports. A panic is a defect of the gate, which no
	// later answer may hide.
	stands, err := standing.wait()
	if err == nil {
		p.standing = stands
	} else if errors.Is(err, errPanic) {
		failed = cmp.Or(failed, err)
	}
	return failed
}

// scanRequests are the questions about the scans of the children, in their order.
func (p *attempt) scanRequests(resolved Resolved, needs Needs) []ScanRequest {
	scanned := ScannedChild(scannedOfIndex, resolved.Children, resolved.Left)

	// Of an index without such a child nobody knows which child the index's findings are
	// of. If the scanner's child was only left out, they are of that one.
	var parent Image
	if resolved.Index && scanned < 0 && !hasPlatform(scannedOfIndex, resolved.Left) {
		parent = resolved.Image
	}

	requests := make([]ScanRequest, len(resolved.Children))
	for i, child := range resolved.Children {
		requests[i] = ScanRequest{
			Image: resolved.Image.Sibling(child.Digest), Needs: needs.Scan, Wait: p.req.Wait, Parent: parent,
		}

		// A scan of the index says nothing of a child that the scanner did not look at.
		if i == scanned && resolved.Index {
			requests[i].Index = resolved.Image
		}
	}
	return requests
}

// pin finds the digest that is asked about. A tag is looked up here and nowhere
// else, so that everything that follows is about the same bytes.
func (p *attempt) pin(ctx context.Context) (Image, error) {
	if img, ok := p.req.Image.Pinned(); ok {
		return img, nil
	}
	defer p.time("pin")()

	img, err := p.gate.c.Inspector.Pin(ctx, p.req.Image)

	// An inspector that answers for another repository has a defect; its image is not judged.
	if err == nil && (img.IsZero() || img.Repository() != p.req.Image.Repository()) {
		err = fmt.Errorf("it was pinned to %q", img)
	}
	return img, err
}

// unresolved turns a failed resolution into evidence, unless the request
// itself was at fault.
func (p *attempt) unresolved(err error) error {
	// An error of the request, such as no such image, is answered and no decision.
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

// errPanic marks an answer that is missing since the look-up panicked.
var errPanic = errors.New("panic")

// ask starts f. Its panic is the answer's error: on a goroutine of its own it would end the process, and every other
// request with it.
func ask[T any](f func() (T, error)) *future[T] {
	a := &future[T]{done: make(chan struct{})}
	go func() {
		defer close(a.done)
		defer func() {
			if r := recover(); r != nil {
				a.err = fmt.Errorf("looking up evidence: %w: %v\n%s", errPanic, r, debug.Stack())
			}
		}()
		a.value, a.err = f()
	}()
	return a
}

func (a *future[T]) wait() (T, error) {
	<-a.done
	return a.value, a.err
}

// lookups ask about an image while the registry is asked for what its digest names.
type lookups struct {
	gate   *Gate
	needs  Needs
	image  Image
	scan   *future[[]Scan]
	stands *future[Standing]
	cancel context.CancelFunc
}

// errIndex says that the attestations of an index are asked for later.
var errIndex = errors.New("the image is an index")

// early starts what can be asked before the image is resolved. Its close must be called.
func (p *attempt) early(ctx context.Context, needs Needs, img Image) *lookups {
	ctx, cancel := context.WithCancel(ctx)
	l := &lookups{gate: p.gate, needs: needs, image: img, cancel: cancel}
	l.scan = ask(func() ([]Scan, error) {
		return scansOf(ctx, l.gate.c.Scanner, []ScanRequest{{Image: img, Needs: needs.Scan, Wait: p.req.Wait}}), nil
	})

	l.stands = ask(func() (Standing, error) {
		index, err := l.gate.c.Inspector.Index(ctx, img)
		switch {
		case err != nil:
			return Standing{}, err // Resolve meets the same, and reports it
		case index:
			return Standing{}, errIndex
		}
		return l.gate.c.Attester.Standing(ctx, needs.Attest.All(), []Image{img})
	})
	return l
}

// close ends what is still being asked and leaves no goroutine behind.
func (l *lookups) close() {
	l.cancel()
	<-l.scan.done
	<-l.stands.done
}

// standing is what stands of the images that are judged. What was asked early counts
// only where it was the same question.
func (l *lookups) standing(ctx context.Context, images []Image) (Standing, error) {
	if len(images) == 1 && images[0] == l.image {
		if standing, err := l.stands.wait(); !errors.Is(err, errIndex) {
			return standing, err
		}
	}
	return l.gate.c.Attester.Standing(ctx, l.needs.Attest.All(), images)
}

// scans answers from what was started early where that was the same question. The answer to the early question
// about an index would say nothing of a child.
func (l *lookups) scans(ctx context.Context, requests []ScanRequest) ([]Scan, error) {
	if len(requests) == 1 {
		if r := requests[0]; r.Image == l.image && r.Index.IsZero() && r.Parent.IsZero() {
			return l.scan.wait()
		}
	}
	return scansOf(ctx, l.gate.c.Scanner, requests), nil
}

// scansOf asks a scanner, and holds it to one answer for each request: an answer that is missing is no scan, and one
// too many would be some other image's.
func scansOf(ctx context.Context, s Scanner, requests []ScanRequest) []Scan {
	if len(requests) == 0 {
		return nil
	}
	scans := s.Scans(ctx, requests)
	if len(scans) == len(requests) {
		return scans
	}

	out := make([]Scan, len(requests))
	for i := range out {
		out[i] = Scan{State: ScanUnavailable, Problem: &Reason{
			Code: CodeScanUnavailable,
			Message: fmt.Sprintf("manifests that the scanner was asked about: %d; that it answered about: %d",
				len(requests), len(scans)),
			Fix: "report this as a defect of the gate",
		}}
	}
	return out
}

// images are the image and, of an index, its children: what attestations can be about.
func (r Resolved) images() []Image {
	out := []Image{r.Image}
	for _, c := range r.Children {
		if c.Digest != r.Image.Digest() {
			out = append(out, r.Image.Sibling(c.Digest))
		}
	}
	return out
}

// Summary is the short form for answers, with ages at now.
func (e PlatformEvidence) Summary(now time.Time) PlatformSummary {
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
