package attest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor"
)

// intentsFor is how long an intent is completed after a crash. Later, the
// image is better judged again.
const intentsFor = time.Hour

// An intent says what is about to be deleted and made again. It holds the
// signed occurrence, so that completing it signs nothing.
type intent struct {
	Version    int            `json:"version"`
	Time       time.Time      `json:"time"`
	Decision   string         `json:"decision"`
	Attestor   string         `json:"attestor"`
	DSSENote   string         `json:"dsseNote,omitempty"`
	Image      attestor.Image `json:"image"`
	PAE        bool           `json:"pae"`
	Delete     []string       `json:"delete"`
	Occurrence []byte         `json:"occurrence"` // protobuf
}

const intentVersion = 1

// intentID is the same for whoever replaces the same thing, so that a later
// success ends an earlier intent.
func (t target) intentID() string {
	k := t.key()
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %t", k.attestor, k.note, k.image, k.pae))
	return "attest-" + hex.EncodeToString(sum[:16])
}

// replace deletes the occurrences that are in the way, none of which admits the
// image, and stores the attestation in their place. The intent is durable first,
// so that [Attester.Recover] can complete a replacement that a crash cut off.
func (p *placement) replace(ctx context.Context, blockers []checked) (attestor.Attestation, error) {
	p.replaced = true
	id := p.target.intentID()
	if err := p.writeIntent(ctx, id, blockers); err != nil {
		return attestor.Attestation{}, fault(
			attestor.CodeAttestationNotStored,
			"the intent to replace an attestation could not be recorded; nothing was deleted",
			"check the gate's database, then try again",
			err,
		)
	}

	// From here on the intent covers a crash.
	for i, c := range blockers {
		err := p.a.delete(ctx, c.occurrence.GetName())
		if err == nil || isNotFound(err) {
			continue
		}
		if i == 0 && refused(err) { // nothing was deleted
			p.a.forgetIntent(ctx, id)
		}

		return attestor.Attestation{}, p.failed(
			"delete "+c.occurrence.GetName()+", which no key of the attestor verifies and which is in the way",
			err,
		)
	}

	// Where this fails the intent stays, for recovery to store what was signed: until then nothing admits the image.
	made, err := p.create(ctx)
	if err == nil {
		p.a.forgetIntent(ctx, id)
	}
	return made, err
}

// writeIntent makes durable what is about to be done, with the occurrence as it was
// signed: completing it later takes no signature.
func (p *placement) writeIntent(ctx context.Context, id string, blockers []checked) error {
	occurrence, err := proto.Marshal(p.occurrence())
	if err != nil {
		return fmt.Errorf("encoding an occurrence: %w", err)
	}
	in := intent{
		Version:    intentVersion,
		Time:       p.a.c.Now().UTC(),
		Decision:   p.target.warrant.decision,
		Attestor:   p.target.conf.Name,
		DSSENote:   p.target.note,
		Image:      p.target.image,
		PAE:        p.target.key().pae,
		Occurrence: occurrence,
	}

	for _, c := range blockers {
		in.Delete = append(in.Delete, c.occurrence.GetName())
	}
	data, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encoding an intent: %w", err)
	}

	return p.a.c.Journal.PutIntent(ctx, id, data)
}

// forgetIntent removes an intent that was completed. A failure is only logged: the
// next recovery finds the attestation stored and removes the intent.
func (a *Attester) forgetIntent(ctx context.Context, id string) {
	if err := a.c.Journal.DeleteIntent(ctx, id); err != nil {
		a.c.Logger.LogAttrs(
			ctx,
			slog.LevelWarn,
			"a completed intent could not be removed; it is removed on the next recovery",
			slog.String("intent", id),
			slog.Any("error", err),
		)
	}
}

func (a *Attester) delete(ctx context.Context, name string) error {
	ctx, cancel := a.c.Limit.Start(ctx)
	defer cancel()
	return a.c.Grafeas.DeleteOccurrence(ctx, &grafeaspb.DeleteOccurrenceRequest{Name: name})
}

// Recover completes the replacements that a crash cut off between deleting and
// creating. It signs nothing: an intent holds the signed occurrence, which is
// verified against the attestor's present keys first. An intent that is too old
// or no longer verifies is dropped; one that fails is kept for the next time. It
// may be called at any time: it skips the intents of tasks of this process, and
// finds those done that another instance completed meanwhile.
func (a *Attester) Recover(ctx context.Context) error {
	intents, err := a.c.Journal.Intents(ctx)
	if err != nil {
		return fmt.Errorf("reading intents: %w", err)
	}
	var errs []error

	// A task of this process completes its own intent; doing it twice would store two
	// attestations.
	busy := a.atWork()
	for id, data := range intents {
		if slices.Contains(busy, id) {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, a.c.Timeout)
		err := a.finishIntent(ctx, id, data)
		cancel()
		if err != nil {
			errs = append(errs, fmt.Errorf("completing intent %s: %w", id, err))
		}
	}
	return errors.Join(errs...)
}

// atWork lists the intents that tasks of this process may have written.
func (a *Attester) atWork() []string {
	a.mu.Lock()
	defer a.mu.Unlock()

	var ids []string
	for _, k := range a.tasks {
		ids = append(ids, k.target.intentID())
	}
	return ids
}

// finishIntent finishes one intent, or drops it.
func (a *Attester) finishIntent(ctx context.Context, id string, data []byte) error {
	p, in, why, err := a.restore(ctx, data)
	if err != nil {
		return err
	}
	if why == "" {
		if why, err = p.redo(ctx, in); err != nil {
			return err
		}
	}

	a.c.Logger.LogAttrs(
		ctx,
		slog.LevelInfo,
		"intent removed",
		slog.String("intent", id),
		slog.String("decision_id", in.Decision),
		slog.String("outcome", why),
	)

	return a.c.Journal.DeleteIntent(ctx, id)
}

// restore rebuilds the state of the task that wrote an intent. why is the reason to
// drop the intent; "" if it is to be completed.
func (a *Attester) restore(ctx context.Context, data []byte) (p *placement, in intent, why string, err error) {
	in, o, ok := parseIntent(data)
	if !ok {
		return nil, in, "dropped: it is malformed", nil
	}

	// An old intent may speak of an image that would be denied by now.
	if age := a.c.Now().Sub(in.Time); age > intentsFor || age < -intentsFor {
		return nil, in, "dropped: it is too old", nil
	}

	// The configuration of today counts, not that of the crash.
	conf, ok := a.attestors[in.Attestor]
	if !ok {
		return nil, in, "dropped: its attestor is no longer configured", nil
	}

	// The target has no warrant, so that nothing can be signed for it.
	t := target{conf: conf, image: in.Image, note: in.DSSENote, forms: []form{plain}}
	switch {
	case in.DSSENote != "":
		t.forms = []form{pae}
	case in.PAE:
		t.forms = []form{plain, pae}
	}

	trust, err := a.verifier.trust(ctx, conf.Name, a.c.Now())
	if err != nil {
		return nil, in, "", err
	}
	p = &placement{a: a, target: t, trust: trust, note: trust.note, signatures: o.GetAttestation().GetSignatures()}
	if t.note != "" {
		p.note = t.note
	}

	// The journal is not trusted: its signatures count if the attestor's present keys
	// verify them, as for every other occurrence.
	if _, ok := p.satisfying([]checked{p.check(p.occurrence())}); !ok {
		return nil, in, "dropped: the attestor's keys no longer verify it", nil
	}
	return p, in, "", nil
}

func parseIntent(data []byte) (in intent, o *grafeaspb.Occurrence, ok bool) {
	o = &grafeaspb.Occurrence{}
	err := errors.Join(json.Unmarshal(data, &in), proto.Unmarshal(in.Occurrence, o))
	return in, o, err == nil && in.Version == intentVersion && !in.Image.IsZero()
}

// redo deletes the occurrences that the intent names, if they still admit nothing,
// and creates the attestation. One that is stored by now is kept.
func (p *placement) redo(ctx context.Context, in intent) (outcome string, err error) {
	found, err := p.list(ctx)
	if err != nil {
		return "", err
	}
	if _, ok := p.satisfying(found); ok {
		return "it was done already", nil
	}

	p.replaced = true
	for _, name := range in.Delete {
		c, ok, err := p.read(ctx, name)
		if err != nil {
			return "", err
		}

		// Only what is invalid still, and of this resource, is deleted: another
		// instance may have stored a valid attestation since.
		if !ok || !c.empty() || !p.sameResource(c) {
			continue
		}

		if err := p.a.delete(ctx, name); err != nil && !isNotFound(err) {
			return "", p.failed("delete "+name, err)
		}
	}

	if _, err := p.create(ctx); err != nil {
		return "", err
	}
	return "completed", nil
}
