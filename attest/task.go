package attest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/attestor-gate/attestor"
)

// A result is an error, or nil, that is set once and that any number wait for.
type result struct {
	done chan struct{} // closed by set
	err  error         // written before done is closed
}

func newResult() *result { return &result{done: make(chan struct{})} }

func (r *result) set(err error) {
	r.err = err
	close(r.done)
}

// setFrom sets r to what f returns. Where f panics, r becomes an error, so that
// nobody who waits for it goes on.
func (r *result) setFrom(f func() error) (err error) {
	err = errors.New("the call did not return")
	defer func() { r.set(err) }()
	err = f()
	return err
}

// wait reports whether r was set before ctx ended; only then may err be read.
func (r *result) wait(ctx context.Context) bool {
	select {
	case <-r.done:
		return true
	case <-ctx.Done():
		return r.isSet() // a result that is there counts, though the time is up too
	}
}

func (r *result) isSet() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// A task is the work on one target, shared by all requests that want it at the
// same time. It has a deadline of its own, so that a caller who leaves does not
// cancel it for the others.
type task struct {
	target    target
	batch     *batch               // with the others that its request started
	placement *placement           // written before signed is set to nil
	recorded  *result              // of the request that started it; see [Attester.Attest]
	signed    *result              // nil once its signatures are made and verified, or none are needed
	stored    *result              // nil once the occurrence is stored and was read back
	made      attestor.Attestation // written before stored is set
}

// A share is what one request has in the work on one target.
type share struct {
	existing attestor.Attestation // where task is nil: the attestation that is there
	task     *task
	started  bool // by this request, which alone reports the attestation as created
}

// errSibling marks what was given up because something else failed.
var errSibling = errors.New("another attestation of the same request failed")

// Attest makes all attestations that the authorization permits: of every image
// by every attestor, children before their index. Those that exist are reused.
// Nothing is stored before everything is signed and begin, which is called
// meanwhile, has recorded it. On error, what was made is returned all the same,
// and the next attempt finds it.
func (a *Attester) Attest(
	ctx context.Context, auth attestor.Authorization, known attestor.Standing, begin func() error,
) ([]attestor.Attestation, error) {
	targets, err := a.targets(auth)
	if err != nil {
		return nil, err
	}

	// Signing and recording take a round trip each, and so run side by side.
	recorded := newResult()
	shares := a.start(ctx, targets, known, recorded)
	var errs []error
	if err := recorded.setFrom(begin); err != nil {
		errs = append(errs, err)
	}

	// All tasks are waited for, also after a failure: what is stored in spite of
	// it must be reported.
	out := make([]attestor.Attestation, 0, len(shares))
	for _, s := range shares {
		made, err := s.wait(ctx)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, made)
	}
	return out, firstCause(errs)
}

// start joins the task for each target, or starts it where there is none.
func (a *Attester) start(ctx context.Context, targets []target, known attestor.Standing, recorded *result) []share {
	shares := make([]share, len(targets))
	var all, started []*task

	// Finding and adding are one step under the lock: of two requests for the
	// same target, exactly one starts the task, and so one signature is made.
	a.mu.Lock()
	defer a.mu.Unlock()

	for i, t := range targets {
		if existing, ok := a.known(t, known); ok {
			shares[i] = share{existing: existing}
			continue
		}
		k, ok := a.tasks[t.key()]
		if !ok {
			k = &task{target: t, recorded: recorded, signed: newResult(), stored: newResult()}
			a.tasks[t.key()] = k
		}
		shares[i] = share{task: k, started: !ok}
		all = append(all, k)
		if !ok {
			started = append(started, k)
		}
	}

	a.batches(started)
	for _, k := range started {
		go a.run(context.WithoutCancel(ctx), k, known, all)
	}
	return shares
}

// run does the work of a task: sign, wait until the whole request is signed and
// recorded, store. all are the request's tasks, this one among them.
func (a *Attester) run(ctx context.Context, k *task, known attestor.Standing, all []*task) {
	ctx, cancel := context.WithTimeout(ctx, a.c.Timeout)
	defer cancel()

	var made attestor.Attestation
	var err error
	defer func() {
		if r := recover(); r != nil {
			// A bug must neither attest nor take the other requests with it.
			a.c.Logger.LogAttrs(
				ctx, slog.LevelError, "attesting panicked",
				slog.Any("panic", r), slog.String("stack", string(debug.Stack())),
			)
			made, err = attestor.Attestation{}, fmt.Errorf("attesting: panic: %v", r)
		}
		a.end(k, made, err)
	}()

	k.placement, err = a.prepare(ctx, k.target, known)
	if err != nil {
		return
	}
	k.signed.set(nil)

	// All or nothing, as far as that can be had: a signing key that fails is
	// found out before the first attestation of the request is stored.
	for _, other := range all {
		if err = k.waitFor(ctx, other); err != nil {
			return
		}
	}

	// An attestation without a record of the decision would admit an image that
	// nobody can explain.
	if !k.recorded.wait(ctx) || k.recorded.err != nil {
		err = fault(
			attestor.CodeAttestationNotStored,
			"the request that was making this attestation could not be recorded; nothing was stored",
			"try again",
			ctx.Err(),
		)
		return
	}
	made, err = k.place(ctx)
}

// waitFor waits until another task of the same request is signed. An index
// waits until the others are stored: once it is attested, admission takes its
// children for attested as well.
func (k *task) waitFor(ctx context.Context, other *task) error {
	if other == k {
		return nil
	}
	if err := other.signed.outcome(ctx); err != nil {
		return err
	}

	if k.target.last && !other.target.last {
		return other.stored.outcome(ctx)
	}
	return nil
}

// outcome is how one task of a request waits for another: any failure of it is
// this one's too, marked as a consequence.
func (r *result) outcome(ctx context.Context) error {
	if !r.wait(ctx) {
		return fmt.Errorf("%w: %w", errSibling, ctx.Err())
	}
	if r.err != nil {
		return errSibling
	}
	return nil
}

// end sets the results of a task. What it made is remembered before the task is
// taken off the list, since a list of Container Analysis may not show it yet to
// the request that comes next.
func (a *Attester) end(k *task, made attestor.Attestation, err error) {
	if err == nil {
		a.remember(made)
	}
	k.made = made
	if !k.signed.isSet() {
		k.signed.set(err)
	}

	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.tasks, k.target.key())
	k.stored.set(err)
}

// wait returns the attestation of a share, or why there is none.
func (s share) wait(ctx context.Context) (attestor.Attestation, error) {
	if s.task == nil {
		return s.existing, nil
	}

	if !s.task.stored.wait(ctx) {
		return attestor.Attestation{}, fault(
			attestor.CodeAttestationNotStored,
			"the attestation was not stored in the time allowed",
			"try again: an attestation that is stored later is found and reused",
			ctx.Err(),
		)
	}

	made := s.task.made
	made.Created = made.Created && s.started
	return made, s.task.stored.err
}

// firstCause returns the first error that is not the consequence of another.
func firstCause(errs []error) error {
	for _, err := range errs {
		if !errors.Is(err, errSibling) {
			return err
		}
	}

	if len(errs) == 0 {
		return nil
	}
	return fault(
		attestor.CodeAttestationNotStored,
		"not every attestation of the image was made: the request that was making one of them failed",
		"try again",
		errs[0],
	)
}
