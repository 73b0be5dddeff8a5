package attest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestor-gate/attestor"
)

// maxBatch is the most that Container Analysis creates by one call.
const maxBatch = 1000

// A batch stores the new occurrences of one request by one call: those of one
// attestor under one note, of the children or of the index. So whatever refuses one
// of them for the sake of the note or the project refuses all.
//
// What a batch that failed in part leaves behind is not documented. So its answer
// counts for a member only if it holds the member's own occurrence, which is verified
// as any other; for a member that it does not hold, the batch is a write whose answer
// was lost.
type batch struct {
	a       *Attester
	members []*task

	once    sync.Once
	results map[*task]batchResult // written by once
	joined  int                   // members that the call was about; written by once

	recreated atomic.Int32 // members that were created again, singly, after INVALID_ARGUMENT
}

// A batchResult is what the call did for one member. The zero value says that it may
// have stored the occurrence.
type batchResult struct {
	alone      bool // the call was not made, or stored nothing: create the occurrence singly
	occurrence *grafeaspb.Occurrence
	err        error
}

// batches puts the tasks that a request started together.
func (a *Attester) batches(started []*task) {
	type key struct {
		attestor, note string
		last           bool
	}

	found := map[key]*batch{}
	for _, k := range started {
		of := key{k.target.conf.Name, k.target.note, k.target.last}
		b, ok := found[of]
		if !ok {
			b = &batch{a: a}
			found[of] = b
		}

		b.members = append(b.members, k)
		k.batch = b
	}
}

// create stores the occurrence of a member. The first that comes makes the call for
// all: every member has decided by then whether it has one to create, since none
// comes before all are signed.
func (b *batch) create(ctx context.Context, k *task) (attestor.Attestation, error) {
	b.once.Do(func() { b.store(ctx) })

	p, r := k.placement, b.results[k]
	switch {
	case r.alone:
		return p.create(ctx)
	case r.occurrence != nil:
		return p.accept(ctx, r.occurrence)
	case r.err == nil:
		r.err = errors.New("the answer to a batch does not hold this occurrence")
	case refused(r.err) && status.Code(r.err) != codes.InvalidArgument:
		return attestor.Attestation{}, p.failed("store the attestation", r.err)
	}

	// It may be there, and creating it again might store a second one.
	made, err := p.resolve(ctx, r.err, true)
	if err == nil && p.recreated && status.Code(r.err) == codes.InvalidArgument {
		b.remember()
	}
	return made, err
}

// store makes the call.
func (b *batch) store(ctx context.Context) {
	b.results = map[*task]batchResult{}
	var joined []*task
	var occurrences []*grafeaspb.Occurrence
	for _, k := range b.members {
		if k.placement != nil && k.placement.creates() {
			joined = append(joined, k)
			occurrences = append(occurrences, k.placement.occurrence())
		}
	}
	b.joined = len(joined)

	all := func(r batchResult) {
		for _, k := range joined {
			b.results[k] = r
		}
	}
	if len(joined) < 2 || len(joined) > maxBatch || b.a.noBatches.Load() {
		all(batchResult{alone: true})
		return
	}

	answers, err := b.a.createAll(ctx, joined[0].placement.project(), occurrences)
	switch {
	case status.Code(err) == codes.Unimplemented:
		// There is no such method, so that nothing was stored.
		b.a.noBatches.Store(true)
		all(batchResult{alone: true})
	case isConflict(err):
		// A service that refuses a duplicate stores no second one: each member finds out
		// by itself whether it was the one that exists.
		all(batchResult{alone: true})
	case err != nil:
		all(batchResult{err: err})
	default:
		for _, k := range joined {
			b.results[k] = batchResult{occurrence: k.placement.among(answers)}
		}
	}
}

// remember notes that a batch was refused as invalid and stored nothing, while each
// member could be created singly: then it is batches that the service does not take.
// A batch that stored a part of its members was taken.
func (b *batch) remember() {
	if int(b.recreated.Add(1)) == b.joined {
		b.a.noBatches.Store(true)
	}
}

// createAll stores occurrences by one call.
func (a *Attester) createAll(
	ctx context.Context, project string, occurrences []*grafeaspb.Occurrence,
) ([]*grafeaspb.Occurrence, error) {
	ctx, cancel := a.c.Limit.Start(ctx)
	defer cancel()

	answer, err := a.c.Grafeas.BatchCreateOccurrences(
		ctx,
		&grafeaspb.BatchCreateOccurrencesRequest{Parent: "projects/" + project, Occurrences: occurrences},
	)
	if err != nil {
		return nil, fmt.Errorf("creating occurrences, %d of them: %w", len(occurrences), err)
	}
	return answer.GetOccurrences(), nil
}

// creates reports whether the placement begins by creating an occurrence.
func (p *placement) creates() bool {
	if _, ok := p.satisfying(p.existing); ok {
		return false
	}
	_, ok := p.updatable(p.existing)
	return !ok
}

// among finds the occurrence of this placement in the answer to a batch, whose order
// is not documented: the one with its very signatures, or else the one about its
// image, since an answer may leave out what it stored. Whether it is stored and
// verifies is asked by accept.
func (p *placement) among(answers []*grafeaspb.Occurrence) *grafeaspb.Occurrence {
	var about *grafeaspb.Occurrence
	for _, o := range answers {
		c := p.check(o)
		switch {
		case !p.sameResource(c):
		case p.ours(c):
			return o
		case about == nil:
			about = o
		}
	}
	return about
}
