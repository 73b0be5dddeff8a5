// Package watch decides what makes the gate judge an image without anyone
// asking for it by name: a build that finished, a push, a scan that moved, and
// the schedule by which what was admitted is judged again. How it is judged is
// left to the Gate; messages are hints, and nothing that they claim is
// believed but the digest they are about.
package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/lru"
)

// Occurrences looks up what a Container Analysis notification is about.
type Occurrences interface {
	// Occurrence is an [attestor.Error] of kind NotFound where there is none.
	Occurrence(ctx context.Context, name string) (Occurrence, error)
}

// An Occurrence is a scan's state or finding, as Container Analysis has it.
type Occurrence struct {
	Image    attestor.Image // zero: its resource is no image
	Finished bool           // a discovery whose scan is complete; a finding counts as finished
}

// History is what was decided before.
type History interface {
	// Of lists decisions about an image, or an index that it is a child of,
	// newest first.
	Of(ctx context.Context, img attestor.Image, n int) ([]attestor.Decision, error)
	// Passed lists decisions that passed since a time, newest first, in pages. The
	// time of the first page holds for the whole list: a token carries it, and
	// since is not looked at beside a token. A token of another list is an
	// [attestor.Error] of kind Invalid.
	Passed(ctx context.Context, since time.Time, token string) (page []attestor.Decision, next string, err error)
	// Overridden lists decisions that were overridden since a time, newest
	// first, in pages, as Passed does.
	Overridden(ctx context.Context, since time.Time, token string) (page []attestor.Decision, next string, err error)
	// Record returns one with its evidence.
	Record(ctx context.Context, id string) (attestor.Record, error)
}

// Publisher spreads work over instances: what is published comes back as
// messages to be handled. The Pub/Sub client's topic is one.
type Publisher interface {
	// Publish returns when the message is durable.
	Publish(ctx context.Context, data []byte, attributes map[string]string) error
}

// Config holds what a Watcher is made of. Admit, Policies and Now are
// required.
type Config struct {
	Admit    func(ctx context.Context, r attestor.Request) (attestor.Decision, error)
	Policies attestor.Policies
	Now      func() time.Time

	// Artifact returns the kind of artifact that an image's manifest is, such as
	// "signature", and "" for an image. tag may be "". A push of an artifact is
	// ignored. nil: whatever is pushed is judged.
	Artifact func(ctx context.Context, img attestor.Image, tag string) (string, error)

	History     History     // nil: nothing admitted is known, so that nothing is judged again
	Occurrences Occurrences // nil: notifications of Container Analysis are ignored
	Publisher   Publisher   // nil: what is to be judged again is judged in this process
	// Subscription is the only one whose messages are this gate's own work,
	// projects/P/subscriptions/S. Required with a Publisher: what publishes to
	// another topic must not start runs.
	Subscription string

	// Revoke deletes an image's attestations; nil, or Enforce false: flips are
	// reported only.
	Revoke  func(ctx context.Context, img attestor.Image, reason string, by attestor.CallerRef, requestID string) error
	Enforce bool
	Grace   time.Duration // how long an image may stay denied by a new finding; 24 h
	Cap     int           // images that one run may revoke; 20
	Window  time.Duration // how far back admitted images are looked for; 90 days
	Budget  time.Duration // how long one run may take; 45 s
	Workers int           // images judged at once; 4

	Logger   *slog.Logger         // nil: nothing is logged
	Registry *prometheus.Registry // nil: one of its own
}

// A Watcher handles messages and runs. It is safe for concurrent use.
type Watcher struct {
	c       Config
	metrics *metrics
	seen    *lru.Cache[string, struct{}] // ids of handled messages
	turns   *turns
}

// New returns a Watcher, or what is wrong with c.
func New(c Config) (*Watcher, error) {
	if c.Admit == nil || c.Policies == nil || c.Now == nil {
		return nil, errors.New("making a watcher: admission, policies or clock is missing")
	}
	if c.Grace < 0 || c.Cap < 0 || c.Window < 0 || c.Budget < 0 || c.Workers < 0 {
		return nil, errors.New("making a watcher: a limit is negative")
	}
	if c.Enforce && c.Revoke == nil {
		return nil, errors.New("making a watcher: it is to revoke, but has nothing to do so with")
	}
	if (c.Publisher == nil) != (c.Subscription == "") {
		return nil, errors.New("making a watcher: a publisher and the subscription by which its messages come back need each other")
	}
	if c.Grace == 0 {
		c.Grace = 24 * time.Hour
	}
	if c.Cap == 0 {
		c.Cap = 20
	}
	if c.Window == 0 {
		c.Window = 90 * 24 * time.Hour
	}
	if c.Budget == 0 {
		c.Budget = 45 * time.Second
	}
	if c.Workers == 0 {
		c.Workers = 4
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	m, err := newMetrics(c.Registry)
	if err != nil {
		return nil, err
	}
	return &Watcher{c: c, metrics: m, seen: lru.New[string, struct{}](maxSeen), turns: newTurns()}, nil
}

// Labels that the gate sets on decisions of its own making.
const (
	LabelEvent    = "attestor.event"    // the kind of message that asked
	LabelRejudges = "attestor.rejudges" // the decision that is judged again
)

// checker may look, in dry run, at what c may have judged again, and no more.
func checker(c attestor.Caller) attestor.Caller {
	out := attestor.Caller{Subject: c.Subject, Issuer: c.Issuer}
	for _, g := range c.Grants {
		for _, a := range g.Actions {
			if a == attestor.ActionRejudge {
				out.Grants = append(out.Grants, attestor.Grant{Actions: []attestor.Action{attestor.ActionCheck}, Images: g.Images})
			}
		}
	}
	return out
}

// parse reads the reference of a decision, which is canonical.
func parse(d attestor.Decision) (attestor.Image, error) {
	img, err := attestor.ParseImage(d.Image.Reference)
	if err != nil {
		return attestor.Image{}, fmt.Errorf("reading decision %s: %w", d.ID, err)
	}
	return img, nil
}

// admitted reports whether a decision made attestations stand.
func admitted(d attestor.Decision) bool {
	return d.Verdict == attestor.Pass && !d.DryRun && len(d.Attestations) > 0
}
