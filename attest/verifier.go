package attest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	binauthz "cloud.google.com/go/binaryauthorization/apiv1"
	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	grafeas "cloud.google.com/go/grafeas/apiv1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/internal/together"
)

const (
	// keysFor is how long an attestor's keys are used before they are read again.
	keysFor = time.Minute
	// maxAttestors bounds what is kept of attestors' keys.
	maxAttestors = 1000
)

// VerifierConfig holds what a Verifier is made of. Everything is required.
type VerifierConfig struct {
	Grafeas  *grafeas.Client
	BinAuthz *binauthz.BinauthzManagementClient
	Now      func() time.Time
	Limit    limit.Call // of one question; 0: [limit.Default]
}

// A Verifier reads attestations and checks each as admission does: by payload,
// digest, and a signature by one of the attestor's present keys. It needs no
// key of its own and is safe for concurrent use.
type Verifier struct {
	c        VerifierConfig
	reads    singleflight.Group
	noUnions atomic.Bool // the service refuses a filter over several digests

	mu     sync.Mutex
	trusts map[string]*trust // guarded by mu
}

// NewVerifier returns a Verifier, or an error that names what is missing.
func NewVerifier(c VerifierConfig) (*Verifier, error) {
	if c.Grafeas == nil || c.BinAuthz == nil || c.Now == nil {
		return nil, errors.New("making a verifier: client or clock is missing")
	}
	return &Verifier{c: c, trusts: map[string]*trust{}}, nil
}

// Standing lists the attestations of images under the notes of attestors, each
// verified or with why it is not. On error nothing is known.
func (v *Verifier) Standing(
	ctx context.Context,
	attestors []string,
	images []attestor.Image,
) (attestor.Standing, error) {
	return v.standing(ctx, attestors, images, nil)
}

// standing is Standing; of several keys that verify, it names the preferred one.
func (v *Verifier) standing(
	ctx context.Context,
	attestors []string,
	images []attestor.Image,
	prefer func(attestorName string) string,
) (attestor.Standing, error) {
	if len(attestors) == 0 || len(images) == 0 || slices.ContainsFunc(images, attestor.Image.IsZero) {
		return attestor.Standing{}, errors.New("listing attestations: no attestor or no image")
	}

	// All attestors or none: a partial answer would read as "not attested" for the
	// rest.
	found := make([][]checked, len(attestors))
	g, gctx := errgroup.WithContext(ctx)
	for i, name := range attestors {
		g.Go(together.Caught(func() error {
			var err error
			_, found[i], err = v.find(gctx, name, digests(images))
			return err
		}))
	}

	if err := g.Wait(); err != nil {
		return attestor.Standing{}, err
	}

	// Known is set only here, after every look-up succeeded.
	s := attestor.Standing{Known: true}
	for i, name := range attestors {
		preferred := ""
		if prefer != nil {
			preferred = prefer(name)
		}
		for _, c := range found[i] {
			a := c.attestation(name, preferred)
			if c.why == "" {
				s.Valid = append(s.Valid, a)
			} else {
				s.Invalid = append(s.Invalid, attestor.InvalidAttestation{Attestation: a, Why: c.why})
			}
		}
	}
	return s, nil
}

func digests(images []attestor.Image) []attestor.Digest {
	var out []attestor.Digest
	for _, img := range images {
		if !slices.Contains(out, img.Digest()) {
			out = append(out, img.Digest())
		}
	}
	return out
}

// find lists and checks the occurrences under the attestor's note. It costs one
// round trip, even where the attestor's keys have to be read again, which is done
// beside the list. Where something does not verify, the keys are read anew and all
// is checked once more, since the attestor may have got a key meanwhile.
func (v *Verifier) find(ctx context.Context, name string, ds []attestor.Digest) (*trust, []checked, error) {
	start := v.c.Now()
	old := v.cached(name)
	var t *trust
	var occurrences [][]*grafeaspb.Occurrence
	g, gctx := errgroup.WithContext(ctx)
	g.Go(together.Caught(func() (err error) {
		t, err = v.trust(gctx, name, start.Add(-keysFor))
		return err
	}))

	if old != nil {
		g.Go(together.Caught(func() (err error) {
			occurrences, err = v.lists(gctx, old.note, ds)
			return err
		}))
	}

	// The list went by the note that was known before. Where the attestor has another
	// note by now, that list is worth nothing.
	err := g.Wait()
	if err == nil && (old == nil || old.note != t.note) {
		occurrences, err = v.lists(ctx, t.note, ds)
	}
	if err != nil {
		return nil, nil, err
	}

	// Keys that were read before this call may be outdated; those that were read since
	// are not read a third time.
	found := t.checkAll(occurrences, ds, v.c.Now())
	if slices.ContainsFunc(found, func(c checked) bool { return c.why != "" }) && t.read.Before(start) {
		if t, err = v.trust(ctx, name, start); err != nil {
			return nil, nil, err
		}
		found = t.checkAll(occurrences, ds, v.c.Now())
	}
	return t, found, nil
}

func (t *trust) checkAll(occurrences [][]*grafeaspb.Occurrence, ds []attestor.Digest, now time.Time) []checked {
	var out []checked
	for i, d := range ds {
		for _, o := range occurrences[i] {
			out = append(out, t.check(o, t.note, d, now))
		}
	}
	return out
}

func (v *Verifier) cached(name string) *trust {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.trusts[name]
}

// trust returns the attestor as it was read at or after since. Those who ask
// at once share one read, which none of them can cancel for the others.
func (v *Verifier) trust(ctx context.Context, name string, since time.Time) (*trust, error) {
	if t := v.cached(name); t != nil && !t.read.Before(since) {
		return t, nil
	}

	// A read that others began before since may be joined once; the next one
	// begins after.
	for {
		t, err := v.joinRead(ctx, name)
		if err != nil || !t.read.Before(since) {
			return t, err
		}
	}
}

func (v *Verifier) joinRead(ctx context.Context, name string) (*trust, error) {
	var t *trust
	done := v.reads.DoChan(name, func() (any, error) {
		return together.Try(func() (any, error) { return v.read(ctx, name) })
	})
	select {
	case r := <-done:
		if r.Err != nil {
			return nil, r.Err
		}
		t, _ = r.Val.(*trust) //nolint:errcheck // read returns nothing else
		return t, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("reading attestor %s: %w", name, ctx.Err())
	}
}

func (v *Verifier) read(ctx context.Context, name string) (*trust, error) {
	ctx, cancel := v.c.Limit.StartShared(ctx)
	defer cancel()

	began := v.c.Now()
	att, err := v.c.BinAuthz.GetAttestor(ctx, &binaryauthorizationpb.GetAttestorRequest{Name: name})
	if err != nil {
		return nil, attestorError(name, err)
	}

	t := newTrust(att, began)

	// The answer must be about the attestor that was asked for: a project number in
	// place of its id would make two names for one, and caches and records go by name.
	if t.attestor != name || !notePattern.MatchString(t.note) {
		return nil, fault(attestor.CodeAttestorUnavailable,
			fmt.Sprintf("attestor %s was answered for by %q with the note %q", name, short(t.attestor), short(t.note)),
			"name attestors as projects/PROJECT/attestors/NAME, by project id, and give them a note", nil)
	}

	v.mu.Lock()
	defer v.mu.Unlock()

	if len(v.trusts) >= maxAttestors {
		clear(v.trusts)
	}
	v.trusts[name] = t
	return t, nil
}

// occurrence reads one by its name, as it is now: unlike lists, reads do not
// lag. It returns nil where there is none.
func (v *Verifier) occurrence(ctx context.Context, name string) (*grafeaspb.Occurrence, error) {
	ctx, cancel := v.c.Limit.Start(ctx)
	defer cancel()

	o, err := v.c.Grafeas.GetOccurrence(ctx, &grafeaspb.GetOccurrenceRequest{Name: name})
	if isNotFound(err) {
		return nil, nil //nolint:nilnil // absent is an answer
	}
	if err != nil {
		return nil, occurrenceError(name, err)
	}
	return o, nil
}
