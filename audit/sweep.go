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
// keeps a line for each reference in memory, and no decision.
type Sweep struct {
	// Resolve finds what a tag names; nil: the judge resolves, so that a digest
	// with several tags is judged for each, and told once. Judge asks the gate;
	// the reference is by digest where Resolve is set. Both may return a [Throttled]; an error of kind TooMany or
	// Unavailable is tried again too, and any other is that image's failure.
	Resolve func(context.Context, attestor.Reference) (attestor.Image, error)
	Judge   func(context.Context, attestor.Reference) (attestor.Decision, error)
	// Listed reports whether a reference, as it was listed, only stands for what a
	// repository has. Of those, artifacts such as signatures are set apart instead
	// of judged; a reference that somebody named, or that runs, is judged whatever
	// it is. nil: none is.
	Listed func(reference string) bool
	// Artifact returns the kind of artifact that an image's manifest is, "" for an
	// image; the reference is the listed one. nil: the Decision says it.
	Artifact func(ctx context.Context, ref attestor.Reference, img attestor.Image) (string, error)
	// Result is given every outcome, one at a time, those of an interrupted
	// sweep that this one continues first. An error from it ends the sweep.
	Result func(Result) error
	// Progress may be nil. It is called after every outcome, one at a time.
	Progress func(Progress)

	State string           // a file to continue from after an interrupt; "": none
	Key   string           // what the sweep is about: State is refused where it has another
	Most  int              // images at once, at most; 0: 16
	Now   func() time.Time // required
}

// A Result is one image's outcome: a Decision, or why there is none.
type Result struct {
	Reference string             `json:"reference"` // as it was listed
	Decision  *attestor.Decision `json:"decision,omitempty"`
	Failure   string             `json:"failure,omitempty"`  // public words
	Artifact  string             `json:"artifact,omitempty"` // the kind of artifact that was set apart, with or without a Decision
	Resumed   bool               `json:"-"`                  // from an earlier run
}

// told is what a Result with a Decision is about. An artifact that was set apart
// and the same one that somebody named are two.
func (r Result) told() string {
	if r.Artifact != "" {
		return "artifact " + r.Decision.Image.Reference
	}
	return r.Decision.Image.Reference
}

// Totals are how a sweep went.
type Totals struct {
	References int // listed
	Duplicates int // further references to a digest that was judged
	Passed     int
	Refused    int
	Undecided  int
	Failed     int // no decision: unknown image, not allowed, malformed
	Apart      int // artifacts, which are no images and were not judged as such
}

// Images is how many images have an outcome; what was set apart is none.
func (t Totals) Images() int { return t.Passed + t.Refused + t.Undecided + t.Failed }

// Progress is where a sweep stands.
type Progress struct {
	Totals
	Rate   float64       // references a second, in this run
	Left   time.Duration // at that rate; 0: not known
	AtOnce int           // what the servers seem to bear
}

// A Throttled error asks to come back later. After is the server's
// Retry-After; 0 where it gave none.
type Throttled struct {
	After time.Duration
	Err   error
}

func (t *Throttled) Error() string { return fmt.Sprintf("throttled for %v: %v", t.After, t.Err) }

func (t *Throttled) Unwrap() error { return t.Err }

const (
	defaultMost = 16
	maxTries    = 8

	maxReferences = 5_000_000
)

// Run sweeps. What it returned an error for can be continued with the same
// State and Key: what was judged is not judged again.
func (s Sweep) Run(ctx context.Context, refs References) (Totals, error) {
	if s.Judge == nil || s.Now == nil || s.Result == nil {
		return Totals{}, errors.New("sweeping: no judge, no clock or nobody to tell")
	}
	if s.Most <= 0 {
		s.Most = defaultMost
	}
	r := &sweep{Sweep: s, claimed: map[string]bool{}, told: map[string]bool{}, lane: newLane(s.Most, s.Now), start: s.Now()}
	list, err := r.collect(refs)
	if err != nil {
		return Totals{}, err
	}
	r.totals.References = len(list)
	if s.State != "" {
		if r.state, err = openState(s.State, s.Key, r.resume); err != nil {
			return r.totals, err
		}
		defer func() { _ = r.state.close() }() // closed with its error below, when all went well
	}
	if err := r.all(ctx, list); err != nil {
		return r.totals, err
	}
	if r.state != nil {
		return r.totals, r.state.close()
	}
	return r.totals, nil
}

// sweep is one run.
type sweep struct {
	Sweep
	lane  *lane
	state *stateFile
	start time.Time

	mu      sync.Mutex
	claimed map[string]bool // references that are judged, or being judged; true: by an earlier run, and not met in this one; guarded by mu
	told    map[string]bool // by digest, where the judge resolves: several tags may turn out to be one image; guarded by mu
	totals  Totals          // guarded by mu
	done    int             // references of this run; guarded by mu
	err     error           // the first that ends the sweep; guarded by mu
}

// collect reads the references, each once: the total must be known to say how
// long is left, and a source that fails does so before anything is judged.
func (r *sweep) collect(refs References) ([]string, error) {
	var list []string
	seen := map[string]bool{}
	for ref, err := range refs {
		if err != nil {
			return nil, fmt.Errorf("listing what to sweep: %w", err)
		}
		if !seen[ref] {
			seen[ref] = true
			list = append(list, ref)
		}
		if len(list) > maxReferences {
			return nil, &attestor.Error{Kind: attestor.Invalid, Msg: fmt.Sprintf("there are more than %d references to sweep", maxReferences), Fix: "sweep a part of the repositories at a time"}
		}
	}
	return list, nil
}

// resume takes over what an earlier run judged. Its failures are tried again.
func (r *sweep) resume(res Result) error {
	if res.Decision == nil {
		return nil
	}
	key := res.Decision.Image.Reference
	if r.Resolve == nil { // met again as it was listed
		r.told[res.told()] = true
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
	return r.tell(res)
}

func (r *sweep) all(ctx context.Context, list []string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for _, ref := range list {
		if err := r.lane.enter(ctx); err != nil {
			break // interrupted; or ended by an error, which r.err has
		}
		wg.Go(func() {
			defer r.lane.leave()
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

// one takes a reference to its outcome. An error ends the sweep.
func (r *sweep) one(ctx context.Context, ref string) error {
	parsed, err := attestor.ParseReference(ref)
	if err == nil && r.Resolve != nil {
		var img attestor.Image
		err = r.try(ctx, func() (err error) { img, err = r.Resolve(ctx, parsed); return err })
		if err == nil {
			parsed, err = attestor.ParseReference(img.String())
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return r.report(Result{Reference: ref, Failure: failure(err)})
	}
	if kind := r.artifact(ctx, ref, parsed); kind != "" {
		// Claimed apart from the image: whoever names the digest has it judged.
		if !r.claim("artifact " + parsed.String()) {
			return nil
		}
		return r.report(Result{Reference: ref, Artifact: kind})
	}
	if !r.claim(parsed.String()) {
		return nil
	}
	var d attestor.Decision
	err = r.try(ctx, func() (err error) { d, err = r.Judge(ctx, parsed); return err })
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case attestor.KindOf(err) == attestor.Unavailable && err != nil:
		return err // the gate is down: going on would only make failures
	case err != nil:
		return r.report(Result{Reference: ref, Failure: failure(err)})
	}
	return r.report(Result{Reference: ref, Decision: &d, Artifact: r.decidedArtifact(ref, d)})
}

// artifact returns the kind of artifact behind a listed reference; "" for what
// is to be judged. An error is the judge's to tell.
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

// decidedArtifact is the same by the judge's word. What passed is an image.
func (r *sweep) decidedArtifact(listed string, d attestor.Decision) string {
	if r.Listed == nil || !r.Listed(listed) || d.Verdict == attestor.Pass {
		return ""
	}
	return d.Image.Artifact
}

func failure(err error) string {
	msg := attestor.Message(err)
	if e, ok := errors.AsType[*attestor.Error](err); ok && e.Fix != "" {
		msg += "; " + e.Fix
	}
	return msg
}

// claim reports whether this reference is the first to a digest, and nobody
// has judged it.
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

// report makes an outcome last, and then tells it.
func (r *sweep) report(res Result) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Resolve == nil && res.Decision != nil {
		key := res.told()
		if r.told[key] {
			r.totals.Duplicates++
			r.done++
			r.progress()
			return nil
		}
		r.told[key] = true
	}
	if r.state != nil {
		if err := r.state.add(res); err != nil {
			return err
		}
	}
	r.done++
	return r.tell(res)
}

// tell counts; mu is held, or nothing else runs yet.
func (r *sweep) tell(res Result) error {
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

func (r *sweep) progress() {
	if r.Progress == nil {
		return
	}
	p := Progress{Totals: r.totals, AtOnce: r.lane.width()}
	if elapsed := r.Now().Sub(r.start).Seconds(); elapsed > 0 && r.done > 0 {
		p.Rate = float64(r.done) / elapsed
		left := r.totals.References - r.done
		p.Left = time.Duration(float64(left) / p.Rate * float64(time.Second)).Round(time.Second)
	}
	r.Progress(p)
}

// try calls f until it has an answer: what throttles slows everybody down.
func (r *sweep) try(ctx context.Context, f func() error) error {
	var pauses throttle.Pauses
	for tries := 1; ; tries++ {
		err := f()
		if err == nil {
			r.lane.wider()
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
		if err := r.lane.pause(ctx, pauses.Next(after)); err != nil {
			return err
		}
	}
}
