package audit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/throttle"
)

// A Sweep judges many images, each digest once however many tags it has. It
// keeps a string for each reference in memory, and no decision.
type Sweep struct {
	// Resolve returns the digest of a tag. nil: the judge resolves, so that a digest
	// is judged once for each of its tags and reported once. Its errors, and those of
	// Judge: a [Throttled], or one of kind TooMany or Unavailable, is retried; any
	// other is a failure of that image.
	Resolve func(context.Context, attestor.Reference) (attestor.Image, error)
	// Judge requests a decision. The reference has a digest where Resolve is set.
	Judge func(context.Context, attestor.Reference) (attestor.Decision, error)
	// Listed reports whether a reference was found by listing a repository. Of
	// those, artifacts such as signatures are counted and not judged; a reference
	// that a person gave, or that runs, is judged whatever it is. nil: false for all.
	Listed func(reference string) bool
	// Artifact returns the kind of artifact that an image's manifest is, "" for an
	// image; ref is the reference as listed. nil: the Decision has the kind.
	Artifact func(ctx context.Context, ref attestor.Reference, img attestor.Image) (string, error)
	// Result is called with every result, one at a time; first with those of an
	// interrupted sweep that this one continues. An error from it ends the sweep.
	Result func(Result) error
	// Progress is called after every result, one at a time. It may be nil.
	Progress func(Progress)

	State string           // a file to continue from after an interrupt; "": none
	Key   string           // identifies images and policy; State must have the same
	Most  int              // images at the same time, at most; 0: 16
	Now   func() time.Time // required
}

// A Result is the outcome for one reference: a Decision, or why there is none.
type Result struct {
	Reference string             `json:"reference"` // as listed
	Decision  *attestor.Decision `json:"decision,omitempty"`
	Failure   string             `json:"failure,omitempty"`  // a public message
	Artifact  string             `json:"artifact,omitempty"` // the kind, of an artifact that is not counted among images
	Resumed   bool               `json:"-"`                  // from an earlier run
}

// subject identifies the image of a Result with a Decision. The same artifact
// found in a list, and given by a person, is reported twice.
func (r Result) subject() string {
	if r.Artifact != "" {
		return "artifact " + r.Decision.Image.Reference
	}
	return r.Decision.Image.Reference
}

// Totals count the results of a sweep.
type Totals struct {
	References int // listed
	Duplicates int // further references to a digest that was judged
	Passed     int
	Refused    int
	Undecided  int
	Failed     int // no decision: unknown image, not allowed, malformed
	Apart      int // artifacts, which are not images
}

// Images is how many images have a result. Artifacts are not among them.
func (t Totals) Images() int { return t.Passed + t.Refused + t.Undecided + t.Failed }

// Progress says how far a sweep is.
type Progress struct {
	Totals
	Rate   float64       // references per second, in this run
	Left   time.Duration // at that rate; 0: not known
	AtOnce int           // the present limit of calls at the same time
}

// A Throttled error asks to retry later. After is the server's Retry-After; 0 if
// it gave none.
type Throttled struct {
	After time.Duration
	Err   error
}

func (t *Throttled) Error() string { return fmt.Sprintf("throttled for %v: %v", t.After, t.Err) }

func (t *Throttled) Unwrap() error { return t.Err }

const (
	defaultMost = 16
	maxTries    = 8
)

// MaxReferences is how many references one sweep has at most.
const MaxReferences = 5_000_000

// TooManyReferences is the error of a list that is longer.
func TooManyReferences() error {
	return &attestor.Error{
		Kind: attestor.Invalid,
		Msg:  fmt.Sprintf("there are more references than the %d of one sweep", MaxReferences),
		Fix:  "sweep fewer repositories at a time",
	}
}

// Run judges the images of refs. After an error the sweep can be continued with
// the same State and Key: images with a decision are not judged again.
func (s Sweep) Run(ctx context.Context, refs References) (Totals, error) {
	if s.Judge == nil || s.Now == nil || s.Result == nil {
		return Totals{}, errors.New("sweeping: Judge, Now or Result is missing")
	}
	if s.Most <= 0 {
		s.Most = defaultMost
	}

	r := &sweep{
		Sweep:    s,
		claimed:  map[string]bool{},
		reported: map[string]bool{},
		limiter:  newLimiter(s.Most, s.Now),
		start:    s.Now(),
	}

	list, err := r.collect(refs)
	if err != nil {
		return Totals{}, err
	}
	r.totals.References = len(list)

	if s.State != "" {
		if r.state, err = openState(s.State, s.Key, r.resume); err != nil {
			return r.totals, err
		}
		defer func() { _ = r.state.close() }() // on success it is closed below, with its error
	}

	if err := r.all(ctx, list); err != nil {
		return r.totals, err
	}
	if r.state != nil {
		return r.totals, r.state.close()
	}
	return r.totals, nil
}

// A sweep is one run.
type sweep struct {
	Sweep
	limiter *limiter
	state   *stateFile
	start   time.Time

	mu sync.Mutex
	// claimed has the references that are judged or being judged; true: by an
	// earlier run, and not listed yet in this one. Guarded by mu.
	claimed map[string]bool
	// reported has the subjects that were reported, where the judge resolves:
	// several tags may have one digest. Guarded by mu.
	reported map[string]bool
	totals   Totals // guarded by mu
	done     int    // references of this run; guarded by mu
	err      error  // the first that ends the sweep; guarded by mu
}

// collect reads the references, each once. All are read before the first is
// judged: the total is needed to estimate the time that is left, and a list that
// fails must not look like a short one.
func (r *sweep) collect(refs References) ([]string, error) {
	var list []string
	known := map[string]bool{}
	for ref, err := range refs {
		if err != nil {
			return nil, fmt.Errorf("listing the images to sweep: %w", err)
		}
		if !known[ref] {
			known[ref] = true
			list = append(list, ref)
		}

		if len(list) > MaxReferences {
			return nil, TooManyReferences()
		}
	}
	return list, nil
}

// resume takes over a result of an earlier run, unless it is a failure: those are
// tried again.
func (r *sweep) resume(res Result) error {
	if res.Decision == nil {
		return nil
	}

	// This run claims a reference by its digest if it resolves itself, and as listed
	// if the judge does.
	key := res.Decision.Image.Reference
	if r.Resolve == nil {
		r.reported[res.subject()] = true
		ref, err := attestor.ParseReference(res.Reference)
		if err != nil {
			return damaged(err)
		}
		key = ref.String()
	}

	if _, again := r.claimed[key]; again {
		return nil
	}
	r.claimed[key] = true
	res.Resumed = true
	return r.deliver(res)
}

// all judges the references of a list, as many at the same time as the limiter
// allows. The first error that ends the sweep cancels the rest.
func (r *sweep) all(ctx context.Context, list []string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	var wg sync.WaitGroup
	for _, ref := range list {
		if err := r.limiter.acquire(ctx); err != nil {
			break // the sweep was interrupted, or r.err ended it
		}
		wg.Go(func() {
			defer r.limiter.release()
			if err := r.one(ctx, ref); err != nil {
				r.mu.Lock()
				if r.err == nil {
					r.err = err
				}
				r.mu.Unlock()
				cancel()
			}
		})
	}

	wg.Wait()

	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	return ctx.Err()
}

// one judges a reference and reports the result. An error ends the sweep.
func (r *sweep) one(ctx context.Context, ref string) error {
	parsed, err := attestor.ParseReference(ref)
	if err == nil && r.Resolve != nil {
		var img attestor.Image
		err = r.try(ctx, func() (err error) { img, err = r.Resolve(ctx, parsed); return err })
		if err == nil {
			parsed, err = attestor.ParseReference(img.String())
		}
	}

	// An interrupt is not a failure of the image: the next run judges it.
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return r.report(Result{Reference: ref, Failure: failure(err)})
	}

	// The key differs from the image's: if a person gives the digest of the same
	// artifact, it is judged.
	if kind := r.artifact(ctx, ref, parsed); kind != "" {
		if !r.claim("artifact " + parsed.String()) {
			return nil
		}
		return r.report(Result{Reference: ref, Artifact: kind})
	}

	if !r.claim(parsed.String()) {
		return nil
	}

	// While the gate is down every image would fail. The sweep ends instead, and
	// can be continued.
	var d attestor.Decision
	err = r.try(ctx, func() (err error) { d, err = r.Judge(ctx, parsed); return err })
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case attestor.KindOf(err) == attestor.Unavailable && err != nil:
		return err
	case err != nil:
		return r.report(Result{Reference: ref, Failure: failure(err)})
	}
	return r.report(Result{Reference: ref, Decision: &d, Artifact: r.decidedArtifact(ref, d)})
}

// artifact returns the kind of artifact of a listed reference, or "" for what is
// judged. That includes a manifest that cannot be read: the judge reports why.
func (r *sweep) artifact(ctx context.Context, listed string, at attestor.Reference) string {
	img, pinned := at.Pinned()
	if r.Artifact == nil || r.Listed == nil || !r.Listed(listed) || !pinned {
		return ""
	}

	ref, err := attestor.ParseReference(listed)
	if err != nil {
		return ""
	}

	var kind string
	if err := r.try(ctx, func() (err error) { kind, err = r.Artifact(ctx, ref, img); return err }); err != nil {
		return ""
	}
	return kind
}

// decidedArtifact is artifact by the judge's decision. An image that passed is
// counted as one, whatever kind it claims to be.
func (r *sweep) decidedArtifact(listed string, d attestor.Decision) string {
	if r.Listed == nil || !r.Listed(listed) || d.Verdict == attestor.Pass {
		return ""
	}
	return d.Image.Artifact
}

// failure is the public message of an error, with its fix.
func failure(err error) string {
	msg := attestor.Message(err)
	if e, ok := errors.AsType[*attestor.Error](err); ok && e.Fix != "" {
		msg += "; " + e.Fix
	}
	return msg
}

// claim reports whether the caller is to judge key: it is the first of this run to
// claim it, and no earlier run has judged it.
func (r *sweep) claim(key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()

	earlier, known := r.claimed[key]
	r.claimed[key] = false
	if !known {
		return true
	}

	if !earlier {
		r.totals.Duplicates++
	}
	r.done++
	r.progress()
	return false
}

// report writes a result to the state file and then delivers it.
func (r *sweep) report(res Result) error {
	r.mu.Lock()
	defer r.mu.Unlock()

	if r.Resolve == nil && res.Decision != nil {
		key := res.subject()
		if r.reported[key] {
			r.totals.Duplicates++
			r.done++
			r.progress()
			return nil
		}
		r.reported[key] = true
	}

	// The state comes first: a result that was delivered is never judged again. One
	// that was written and not delivered is delivered by the next run.
	if r.state != nil {
		if err := r.state.add(res); err != nil {
			return err
		}
	}
	r.done++
	return r.deliver(res)
}

// deliver counts a result and passes it to Result. mu must be held, unless no
// other goroutine runs yet.
func (r *sweep) deliver(res Result) error {
	switch {
	case res.Artifact != "":
		r.totals.Apart++
	case res.Decision == nil:
		r.totals.Failed++
	case res.Decision.Verdict == attestor.Pass:
		r.totals.Passed++
	case res.Decision.Verdict == attestor.Undecided:
		r.totals.Undecided++
	default:
		r.totals.Refused++
	}

	if err := r.Result(res); err != nil {
		return err
	}
	r.progress()
	return nil
}

// progress calls Progress. mu must be held.
func (r *sweep) progress() {
	if r.Progress == nil {
		return
	}

	p := Progress{Totals: r.totals, AtOnce: r.limiter.current()}
	if elapsed := r.Now().Sub(r.start).Seconds(); elapsed > 0 && r.done > 0 {
		p.Rate = float64(r.done) / elapsed
		left := r.totals.References - r.done
		p.Left = time.Duration(float64(left) / p.Rate * float64(time.Second)).Round(time.Second)
	}
	r.Progress(p)
}

// try calls f until it succeeds or fails for good, at most maxTries times. A server
// that throttles one call slows all of them down.
func (r *sweep) try(ctx context.Context, f func() error) error {
	var pauses throttle.Pauses
	for tries := 1; ; tries++ {
		err := f()
		if err == nil {
			r.limiter.succeeded()
			return nil
		}

		t, throttled := errors.AsType[*Throttled](err)
		kind := attestor.KindOf(err)
		if !throttled && kind != attestor.TooMany && kind != attestor.Unavailable || tries == maxTries {
			return err
		}

		var after time.Duration
		if throttled {
			after = t.After
		}
		if err := r.limiter.throttled(ctx, pauses.Next(after)); err != nil {
			return err
		}
	}
}
