package watch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/throttle"
)

// MaxSwept is how many images one message of a sweep names at most.
const MaxSwept = 100

// sweepAtOnce is how many images of sweeps an instance judges at the same time, however many
// messages it gets.
const sweepAtOnce = 16

// sweepAttribute marks the gate's own messages with images of a sweep.
const sweepAttribute = "attestor.sweep"

// swept is a message of the gate to itself: judge these images, and sign nothing.
type swept struct {
	Images []string `json:"images"`
}

// Sweep publishes a message about images, at most [MaxSwept] of them. Whichever
// instance gets it judges them in dry run, and records that.
func Sweep(ctx context.Context, p Publisher, images []attestor.Reference) error {
	if len(images) == 0 || len(images) > MaxSwept {
		return fmt.Errorf("a message of a sweep has 1 to %d images, not %d", MaxSwept, len(images))
	}
	var s swept
	for _, i := range images {
		s.Images = append(s.Images, i.String())
	}
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := p.Publish(ctx, data, map[string]string{sweepAttribute: "1"}); err != nil {
		return &attestor.Error{
			Kind: attestor.Unavailable, Msg: "images of a sweep could not be published to Pub/Sub",
			Fix: "run the same command again", Err: err,
		}
	}
	return nil
}

// errOver says that an image was not judged in the time of its message.
var errOver = &attestor.Error{
	Kind: attestor.Unavailable, Msg: "the time of the message was over before its images were judged",
	Fix: "deliver the message again",
}

// sweep decodes a message of a sweep.
func (m *message) sweep(data []byte) error {
	var s swept
	if err := readMessage(data, &s); err != nil {
		return err
	}
	if n := len(s.Images); n == 0 || n > MaxSwept {
		return errors.New("the message is not one that the gate publishes")
	}
	for _, image := range s.Images {
		ref, err := attestor.ParseReference(image)
		if err != nil {
			return err
		}
		m.images = append(m.images, ref)
	}
	return nil
}

// swept judges the images of a sweep. It signs nothing, whatever rights the caller
// has. What could not be decided yet is published again by itself, so that the
// rest of the message is not judged twice. If all of it is left, somebody does not
// answer, and Pub/Sub delivers the message again after a while.
func (w *Watcher) swept(ctx context.Context, caller attestor.Caller, m message, requestID string) (string, error) {
	if w.c.Publisher == nil {
		return outcomeIgnored, nil
	}

	// The right to have images judged again, as in a run: without it nothing is read.
	caller = checker(caller)
	end := w.c.Now().Add(budget)
	var mu sync.Mutex
	var left []attestor.Reference
	var last error
	outcome := outcomeIgnored

	// A message beside many others has as much of it judged as it gets places for.
	var wg sync.WaitGroup
	for _, ref := range m.images {
		w.sweeping <- struct{}{}
		wg.Go(func() {
			defer func() { <-w.sweeping }()
			got, err := outcomeIgnored, error(errOver)
			if !w.c.Now().After(end) {
				got, err = w.sweepOne(ctx, caller, ref, requestID)
			}

			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				left, last = append(left, ref), err
				return
			}
			outcome = worse(outcome, got)
		})
	}
	wg.Wait()

	switch {
	case len(left) == 0:
		return outcome, nil
	case len(left) == len(m.images):
		return "", last
	}

	// The message is acknowledged only once its rest is durable.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	return outcome, Sweep(ctx, w.c.Publisher, left)
}

// sweepOne judges one image. An error says that it is to be judged again later.
func (w *Watcher) sweepOne(
	ctx context.Context, caller attestor.Caller, ref attestor.Reference, requestID string,
) (string, error) {
	if !caller.May(attestor.ActionCheck, ref.Repository()) {
		return outcomeForbidden, nil
	}
	if img, err := w.pin(ctx, ref); err == nil {
		if w.c.Artifact != nil {
			if kind, err := w.c.Artifact(ctx, img, ref.Tag()); err == nil && kind != "" {
				return outcomeIgnored, nil
			}
		}

		// By its digest, so that two tags of one image share a judgement.
		if ref, err = attestor.ParseReference(img.String()); err != nil {
			return "", err
		}
	}

	// A sweep is background work: its calls leave room for those that somebody waits for.
	d, err := w.judge(throttle.Background(ctx), attestor.Request{
		Image: ref, Caller: caller, DryRun: true, Labels: map[string]string{LabelEvent: string(kindSweep)},
		RequestID: requestID,
	})
	if err == nil && d.Verdict == attestor.Undecided && d.Answer().RetryAfter == 0 {
		return outcomeDone, nil // it is recorded so: asking again would change nothing soon
	}
	return outcomeOf(d, err)
}

// pin is the image behind a reference. Where it cannot be found, the reference is
// judged as it is, and the Gate reports why.
func (w *Watcher) pin(ctx context.Context, ref attestor.Reference) (attestor.Image, error) {
	if img, pinned := ref.Pinned(); pinned {
		return img, nil
	}
	if _, governed := w.c.Policies.Govern(ref.Repository()); !governed || w.c.Pin == nil {
		return attestor.Image{}, errors.New("nothing is read of what no policy governs; tags are resolved by the Gate")
	}
	return w.c.Pin(throttle.Background(ctx), ref)
}
