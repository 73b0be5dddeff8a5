package attest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/resource"
)

const (
	firstPause  = 100 * time.Millisecond
	longPause   = 2 * time.Second
	updateTries = 3
)

// place stores the attestation, unless it exists. The live service's rule for what
// is a duplicate is not documented, so it goes from the mildest way to the
// harshest: update in place, a second occurrence, delete and create. Nothing
// counts until it was read back and verified.
func (k *task) place(ctx context.Context) (attestor.Attestation, error) {
	p := k.placement
	if p.creates() {
		return k.batch.create(ctx, k)
	}

	if c, ok := p.satisfying(p.existing); ok {
		return p.done(c, false), nil
	}
	if c, ok := p.updatable(p.existing); ok {
		made, err := p.update(ctx, c)
		if err == nil || !p.noUpdates {
			return made, err
		}
	}
	return p.create(ctx)
}

// update adds the signatures to an occurrence that exists. It is idempotent, and so
// is repeated after an answer that was lost. A refusal sets noUpdates.
func (p *placement) update(ctx context.Context, c checked) (attestor.Attestation, error) {
	var err error
	delay := firstPause
	for range updateTries {
		var o *grafeaspb.Occurrence
		o, err = p.a.update(ctx, p.merged(c))
		if err == nil {
			return p.accept(ctx, o)
		}

		if refused(err) || isConflict(err) {
			p.noUpdates = true
			return attestor.Attestation{}, err
		}
		if p.a.pause(ctx, delay) != nil {
			break
		}

		delay *= 2

		// The update may have been applied and its answer lost, or somebody else may
		// have written: the next attempt merges with what is stored now, so that it
		// takes nobody's signature away.
		now, ok, readErr := p.read(ctx, c.occurrence.GetName())
		switch {
		case readErr != nil:
			continue
		case !ok:
			p.noUpdates = true
			return attestor.Attestation{}, err
		}

		if _, ok := p.satisfying([]checked{now}); ok {
			return p.done(now, true), nil
		}
		c = now
	}
	return attestor.Attestation{}, p.failed("update "+c.occurrence.GetName(), err)
}

func (a *Attester) update(ctx context.Context, o *grafeaspb.Occurrence) (*grafeaspb.Occurrence, error) {
	ctx, cancel := a.c.Limit.Start(ctx)
	defer cancel()
	return a.c.Grafeas.UpdateOccurrence(ctx, &grafeaspb.UpdateOccurrenceRequest{
		Name: o.GetName(), Occurrence: o, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"attestation"}},
	})
}

// create stores a new occurrence. A conflict with another one, and an answer that
// was lost, are followed up.
func (p *placement) create(ctx context.Context) (attestor.Attestation, error) {
	o, err := p.a.create(ctx, p.project(), p.occurrence())
	switch {
	case err == nil:
		return p.accept(ctx, o)
	case isConflict(err):
		return p.resolve(ctx, err, false)
	case refused(err):
		return attestor.Attestation{}, p.failed("store the attestation", err)
	}

	// Neither stored nor refused: it may be there, and creating it again might store a
	// second one.
	return p.resolve(ctx, err, true)
}

func (a *Attester) create(ctx context.Context, project string, o *grafeaspb.Occurrence) (*grafeaspb.Occurrence, error) {
	ctx, cancel := a.c.Limit.Start(ctx)
	defer cancel()
	return a.c.Grafeas.CreateOccurrence(
		ctx,
		&grafeaspb.CreateOccurrenceRequest{Parent: "projects/" + project, Occurrence: o},
	)
}

func (p *placement) project() string { return p.target.conf.AttestationProject }

func (p *placement) failed(what string, err error) error {
	return writeError(what, p.project(), p.note, err)
}

// accept takes an answer for a success only if the occurrence in it verifies, or the
// one that is stored under its name does.
func (p *placement) accept(ctx context.Context, o *grafeaspb.Occurrence) (attestor.Attestation, error) {
	c := p.check(o)
	if _, ok := p.satisfying([]checked{c}); ok && occurrencePattern.MatchString(o.GetName()) {
		return p.done(c, true), nil
	}

	// An answer may leave out what it stored. What counts is what admission will read.
	if occurrencePattern.MatchString(o.GetName()) {
		stored, ok, err := p.read(ctx, o.GetName())
		if err != nil {
			return attestor.Attestation{}, err
		}
		if ok {
			if _, ok := p.satisfying([]checked{stored}); ok {
				return p.done(stored, true), nil
			}
		}
	}

	return attestor.Attestation{}, fault(
		attestor.CodeAttestationNotStored,
		"Container Analysis answered with another attestation than the one it was given",
		"try again; if it persists, look for a proxy between the gate and Container Analysis that alters requests",
		errors.New(c.why),
	)
}

// resolve follows up a create that failed: somebody else's attestation exists (cause
// is a conflict), or the answer was lost. Because lists lag, it looks again until
// the time is up, and creates again only when the list can no longer hide what the
// first attempt stored.
func (p *placement) resolve(ctx context.Context, cause error, lost bool) (attestor.Attestation, error) {
	var waited, sinceWrite time.Duration
	for delay := firstPause; ; delay = min(2*delay, longPause) {
		found, err := p.search(ctx, cause)
		if err != nil && permanent(err) {
			return attestor.Attestation{}, err
		}
		if err == nil {
			made, decided, err := p.decide(ctx, found, lost)
			if decided {
				return made, err
			}

			// The list would show by now what the first attempt stored: it stored
			// nothing.
			if lost && sinceWrite >= resource.ListLag {
				o, err := p.a.create(ctx, p.project(), p.occurrence())
				switch {
				case err == nil:
					p.recreated = true
					return p.accept(ctx, o)
				case refused(err):
					return attestor.Attestation{}, p.failed("store the attestation", err)
				}
				cause, lost, sinceWrite = err, !isConflict(err), 0
			}
		}

		// The pauses alone are bounded too, so that a clock that does not move ends
		// the loop.
		if waited+delay > p.a.c.Timeout || p.a.pause(ctx, delay) != nil {
			return attestor.Attestation{}, p.unresolved(cause, lost)
		}
		waited += delay
		sinceWrite += delay
	}
}

func (p *placement) unresolved(cause error, lost bool) error {
	if lost {
		return p.failed("store the attestation", cause)
	}
	return fault(
		attestor.CodeAttestationConflict,
		"another attestation of "+p.target.image.String()+" by "+p.target.conf.Name+
			" is in the way, and it could not be read or replaced yet",
		"try again in a few seconds",
		cause,
	)
}

// permanent reports whether looking again would end the same way.
func permanent(err error) bool {
	e, ok := errors.AsType[*attestor.Error](err)
	return ok && (e.Code == attestor.CodeAttestorDenied || e.Err != nil && isNotFound(e.Err))
}

// decide acts on the occurrences that are stored now. It reports false if they are
// not enough to decide by yet.
func (p *placement) decide(
	ctx context.Context,
	found []checked,
	lost bool,
) (made attestor.Attestation, decided bool, err error) {
	if c, ok := p.satisfying(found); ok {
		return p.done(c, p.ours(c)), true, nil
	}
	if lost {
		return attestor.Attestation{}, false, nil
	}

	if c, ok := p.updatable(found); ok {
		made, err = p.update(ctx, c)
		if err == nil || !p.noUpdates {
			return made, true, err
		}
	}

	if c, ok := p.byAnother(found); ok {
		return p.done(c, false), true, nil
	}

	// Only an occurrence in which nothing verifies may be deleted: it admits nothing,
	// so that its absence denies nobody.
	var blockers []checked
	var admitting *checked // lacks a signature that is asked for
	for _, c := range found {
		switch {
		case !p.sameResource(c):
		case c.empty():
			blockers = append(blockers, c)
		default:
			admitting = &c
		}
	}

	if len(blockers) == 0 && admitting != nil && p.noUpdates {
		return attestor.Attestation{}, true, fault(
			attestor.CodeAttestationNotStored,
			admitting.occurrence.GetName()+" lacks a signature that the policy requires now, and Container Analysis"+
				" neither updates it nor stores a second; it was not deleted, since it admits the image",
			"attestor revoke "+p.target.image.String()+" --reason 'to be attested again', then attest again",
			nil,
		)
	}

	// A second deletion would mean that somebody stores invalid occurrences as fast as
	// they are deleted.
	if len(blockers) == 0 || p.replaced {
		return attestor.Attestation{}, false, nil
	}
	made, err = p.replace(ctx, blockers)
	return made, true, err
}

// byAnother finds an attestation in which another key of the attestor made all the
// signatures that are asked for. Where nothing can be added to it, it is reused:
// deleting it would leave the image without one meanwhile.
func (p *placement) byAnother(found []checked) (checked, bool) {
	for _, c := range found {
		if !p.sameResource(c) {
			continue
		}
		for _, s := range c.occurrence.GetAttestation().GetSignatures() {
			if c.signedBy(s.GetPublicKeyId(), p.target.forms) {
				return c, true
			}
		}
	}
	return checked{}, false
}

// ours reports whether an occurrence holds the very signatures of this task, which
// distinguishes a write whose answer was lost from somebody else's.
func (p *placement) ours(c checked) bool {
	return len(p.signatures) > 0 && !slices.ContainsFunc(p.signatures, func(mine *grafeaspb.Signature) bool {
		return !slices.ContainsFunc(c.occurrence.GetAttestation().GetSignatures(), func(s *grafeaspb.Signature) bool {
			return bytes.Equal(s.GetSignature(), mine.GetSignature())
		})
	})
}

var (
	occurrencePattern = regexp.MustCompile(`^projects/([^/]+)(/locations/[^/]+)?/occurrences/[^/]+$`)
	conflictPattern   = regexp.MustCompile(`occurrence ID "([0-9A-Za-z-]{1,64})"`)
)

// search lists, and reads the occurrence that the conflict names: reads do not lag.
// The name is a hint; the occurrence is checked like every other.
func (p *placement) search(ctx context.Context, cause error) ([]checked, error) {
	found, err := p.list(ctx)
	if err != nil {
		return nil, err
	}
	m := conflictPattern.FindStringSubmatch(status.Convert(cause).Message())
	if m == nil {
		return found, nil
	}

	listed := func(c checked) bool { return strings.HasSuffix(c.occurrence.GetName(), "/"+m[1]) }
	if slices.ContainsFunc(found, listed) {
		return found, nil
	}

	c, ok, err := p.read(ctx, fmt.Sprintf("projects/%s/occurrences/%s", p.project(), m[1]))
	if err == nil && ok && namesDigest(c.occurrence.GetResourceUri(), c.digest) &&
		sameNote(c.occurrence.GetNoteName(), p.note) {
		found = append(found, c)
	}
	return found, nil
}
