package attest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"

	"github.com/attestor-gate/attestor"
)

// A target is one occurrence to be made: an attestor's word about one image.
type target struct {
	conf    AttestorConfig
	image   attestor.Image
	warrant warrant // zero where an intent is resumed: nothing is signed then
	note    string  // "": the attestor's own
	forms   []form
	last    bool // an index: stored when everything else is
}

type flightKey struct {
	attestor, note, image string
	pae                   bool
}

func (t target) key() flightKey {
	return flightKey{attestor: t.conf.Name, note: t.note, image: t.image.String(), pae: slices.Contains(t.forms, pae)}
}

// A flight is the work on one target, shared by all who want it at once. It
// has a deadline of its own, so that nobody who leaves takes it from the rest.
type flight struct {
	target   target
	ready    chan struct{} // closed when it stands or is signed, or neither can be
	readyErr error         // set before ready is closed
	recorded *beginning    // of who started it
	done     chan struct{}
	made     attestor.Attestation // set before done is closed
	err      error                // set before done is closed
}

// A beginning is the record of who starts flights: it is written while they
// sign, and waited for before anything is stored.
type beginning struct {
	done chan struct{}
	kept bool // set before done is closed
}

// errSibling marks what was given up because something else failed.
var errSibling = errors.New("another attestation of the same request failed")

// Attest makes all that the authorization permits stand: every image under
// every attestor, children before their index. What stands already is reused;
// nothing is stored before everything is signed and begin, which is called
// meanwhile, has recorded it. On error, what was made is returned all the same,
// and the next attempt finds it.
func (a *Attester) Attest(ctx context.Context, auth attestor.Authorization, known attestor.Standing, begin func() error) ([]attestor.Attestation, error) {
	targets, err := a.targets(auth)
	if err != nil {
		return nil, err
	}
	made := make([]attestor.Attestation, len(targets))
	recorded := &beginning{done: make(chan struct{})}
	flights, mine := a.board(ctx, targets, known, recorded, made)
	err = recorded.write(begin)
	var errs []error
	if err != nil {
		errs = append(errs, err)
	}
	out := make([]attestor.Attestation, 0, len(targets))
	for i, f := range flights {
		if f != nil {
			made[i], err = f.wait(ctx)
			made[i].Created = made[i].Created && mine[i]
			if err != nil {
				errs = append(errs, err)
				continue
			}
		}
		out = append(out, made[i])
	}
	return out, worst(errs)
}

// targets lists the occurrences that an authorization asks for.
func (a *Attester) targets(auth attestor.Authorization) ([]target, error) {
	ws, err := warrants(auth)
	if err != nil {
		return nil, err
	}
	dsse, dsseNote := auth.DSSE()
	if dsse && dsseNote != "" && !notePattern.MatchString(dsseNote) {
		return nil, fault(attestor.CodeAttestorUnavailable, fmt.Sprintf("dsseNote %q is not a note", short(dsseNote)), "write projects/PROJECT/notes/NOTE in the policy", nil)
	}
	forms := []form{plain}
	if dsse && dsseNote == "" {
		forms = append(forms, pae)
	}
	var out []target
	for _, w := range ws {
		last := len(ws) > 1 && w.image == auth.Image()
		for _, name := range auth.Attestors() {
			conf, err := a.configured(name)
			if err != nil {
				return nil, err
			}
			out = append(out, target{conf: conf, image: w.image, warrant: w, forms: forms, last: last})
			if dsse && dsseNote != "" {
				out = append(out, target{conf: conf, image: w.image, warrant: w, note: dsseNote, forms: []form{pae}, last: last})
			}
		}
	}
	return out, nil
}

// board finds or starts a flight for each target. A target that is known to
// stand needs none: its attestation goes into made.
func (a *Attester) board(ctx context.Context, targets []target, known attestor.Standing, recorded *beginning, made []attestor.Attestation) (flights []*flight, mine []bool) {
	flights, mine = make([]*flight, len(targets)), make([]bool, len(targets))
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, t := range targets {
		if att, ok := a.stands(t, known); ok {
			made[i] = att
			continue
		}
		f, ok := a.flights[t.key()]
		if !ok {
			f = &flight{target: t, recorded: recorded, ready: make(chan struct{}), done: make(chan struct{})}
			a.flights[t.key()] = f
		}
		flights[i], mine[i] = f, !ok
	}
	for i, f := range flights {
		if mine[i] {
			go a.fly(context.WithoutCancel(ctx), f, known, others(flights, f))
		}
	}
	return flights, mine
}

// stands reports whether known has an attestation that this Attester verified
// and that its signer's key made. What else known says is looked at again.
func (a *Attester) stands(t target, known attestor.Standing) (attestor.Attestation, bool) {
	if !known.Known || t.note != "" || slices.Contains(t.forms, pae) {
		return attestor.Attestation{}, false
	}
	for _, v := range known.By(t.conf.Name, t.image) {
		if v.PublicKeyID != t.conf.PublicKeyID {
			continue
		}
		if r, ok := a.memory.find(v.Attestor, v.Note, v.Digest); ok && r.occurrence == v.Occurrence && r.keyID == v.PublicKeyID {
			v.Created = false
			return v, true
		}
	}
	return attestor.Attestation{}, false
}

func others(flights []*flight, f *flight) []*flight {
	var out []*flight
	for _, o := range flights {
		if o != nil && o != f {
			out = append(out, o)
		}
	}
	return out
}

// fly does the work: sign, wait until everything else is signed and it is
// recorded, store.
func (a *Attester) fly(ctx context.Context, f *flight, known attestor.Standing, others []*flight) {
	ctx, cancel := context.WithTimeout(ctx, a.c.Timeout)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			// A bug must neither sign nor take the other requests with it.
			a.c.Logger.LogAttrs(ctx, slog.LevelError, "attesting panicked", slog.Any("panic", r), slog.String("stack", string(debug.Stack())))
			f.made, f.err = attestor.Attestation{}, fmt.Errorf("attesting: panic: %v", r)
		}
		a.land(f)
	}()
	p, err := a.prepare(ctx, f.target, known)
	if f.err = err; err != nil {
		return
	}
	f.signal(nil)
	for _, o := range others {
		if f.err = o.waitFor(ctx, f.target.last && !o.target.last); f.err != nil {
			return
		}
	}
	if f.err = f.recorded.wait(ctx); f.err != nil {
		return
	}
	f.made, f.err = p.place(ctx)
}

// write calls begin. Should that panic, nothing is stored.
func (b *beginning) write(begin func() error) error {
	defer close(b.done)
	err := begin()
	b.kept = err == nil
	return err
}

// wait fails where nothing was recorded. Its error is for who shares a flight:
// its starter has begin's own.
func (b *beginning) wait(ctx context.Context) error {
	select {
	case <-b.done:
		if b.kept {
			return nil
		}
	case <-ctx.Done():
	}
	return fault(attestor.CodeAttestationNotStored, "the request that was attesting to this could not be recorded, so that nothing was stored", "try again", ctx.Err())
}

func (f *flight) signal(err error) {
	f.readyErr = err
	close(f.ready)
}

// land ends a flight. What it made is remembered before others may start one.
func (a *Attester) land(f *flight) {
	if f.err == nil {
		a.memory.note(f.made.Attestor, f.made.Note, f.made.Digest, f.made.Occurrence, f.made.PublicKeyID)
	}
	select {
	case <-f.ready:
	default:
		f.signal(f.err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.flights, f.target.key())
	close(f.done)
}

// waitFor is how one flight waits for another: until it is signed, or stored.
func (f *flight) waitFor(ctx context.Context, stored bool) error {
	c := f.ready
	if stored {
		c = f.done
	}
	select {
	case <-c:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errSibling, ctx.Err())
	}
	if f.readyErr != nil || stored && f.err != nil {
		return errSibling
	}
	return nil
}

// wait is how a caller waits.
func (f *flight) wait(ctx context.Context) (attestor.Attestation, error) {
	select {
	case <-f.done:
		return f.made, f.err
	case <-ctx.Done():
	}
	select {
	case <-f.done:
		return f.made, f.err
	default:
		return attestor.Attestation{}, fault(attestor.CodeAttestationNotStored, "the attestation was not stored in the time allowed",
			"try again; if it is stored later, it is found then", ctx.Err())
	}
}

// worst is the first error that is not the consequence of another.
func worst(errs []error) error {
	for _, err := range errs {
		if !errors.Is(err, errSibling) {
			return err
		}
	}
	if len(errs) > 0 {
		return fault(attestor.CodeAttestationNotStored, "not everything that belongs together could be attested", "try again", errs[0])
	}
	return nil
}
