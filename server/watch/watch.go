// Package watch makes the gate judge images that nobody requested by name: those
// of a build, of a push, of a scan that finished, and those that were admitted
// before. The Gate judges; this package decides which image is judged, when, and
// whether an admission is revoked.
//
// # Messages
//
// Messages arrive by Pub/Sub push. A message is a hint: only the digest or the
// name in it is used, everything else is read from its source. A forged message
// can therefore cause work and never an attestation that a request would not get.
//
//   - A build or a push: each image that a policy governs is judged, with the rights
//     of the identity that sent the message; see [Watcher.Handle].
//   - A scan that finished: the image's last decision is looked up. If it waited for
//     the scan, the image is judged; if it admitted the image, the image is judged
//     again.
//   - The gate's own: an image, or the rest of a run, that another instance
//     published. They count only by [Config.Subscription], whose topic nobody else
//     may publish to.
//
// A message is acknowledged when it was handled, or never can be (it is logged as
// poison); it is delivered again after an outage. Pub/Sub delivers at least once
// and in any order. Handling a message twice is harmless: judging an image again
// gives the same answer, and attestations that exist are reused.
//
// # Runs
//
// [Watcher.Rejudge] judges again every image that was admitted within
// [Config.Window], that a policy still governs, and for which the caller has the
// right to. A run first revokes overrides whose time is over. It then walks the
// admissions, newest first; the newest one of an image counts.
//
// A run guarantees:
//
//   - It signs nothing: every judgement is a dry run.
//   - It covers every such image at least once, or says that it did not: it ends
//     with a token for the rest, or publishes the rest, or fails. An image without an
//     answer is among Report.Flips with verdict error, or counted in Report.Failed.
//   - It revokes at most [Config.Cap] images, in all its parts together: the count
//     travels with the rest. A run that reached the cap is not continued, since an
//     operator should look first.
//
// # Revocation
//
// Deleting attestations stops deployments, so that the safe side here is the other
// one: doubt keeps them. A run deletes the attestations of an image only if
// enforcement is on, the image is denied under the same policy, one of the denying
// findings was not known when it was admitted, nothing else is undecided, and it
// has been denied so for [Config.Grace] without having passed since. An outage, a
// changed policy, an old scan or an expired exception is reported and never
// revokes. Messages revoke nothing; a run judges itself what may be due.
package watch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/lru"
)

// Occurrences reads the occurrence that a notification of Container Analysis
// names.
type Occurrences interface {
	// Occurrence returns an [attestor.Error] of kind NotFound where there is none.
	Occurrence(ctx context.Context, name string) (Occurrence, error)
}

// An Occurrence is a scan's state or finding in Container Analysis.
type Occurrence struct {
	Image    attestor.Image // zero: the resource is not an image
	Finished bool           // the scan is complete; always true for a finding
}

// History reads the decisions that were recorded.
type History interface {
	// Of lists at most n decisions about an image, or about an index that has it,
	// newest first.
	Of(ctx context.Context, img attestor.Image, n int) ([]attestor.Decision, error)
	// Passed lists the decisions that passed since a time, newest first, in pages. The
	// time of the first page holds for the whole list: the token carries it, and since
	// is ignored beside a token. A token of another list is an [attestor.Error] of
	// kind Invalid.
	Passed(ctx context.Context, since time.Time, token string) (page []attestor.Decision, next string, err error)
	// Overridden lists the overridden decisions since a time, newest first, in pages
	// as Passed does.
	Overridden(ctx context.Context, since time.Time, token string) (page []attestor.Decision, next string, err error)
	// Record returns a decision with its evidence.
	Record(ctx context.Context, id string) (attestor.Record, error)
}

// A Publisher distributes work over instances: each message that is published is
// delivered to [Watcher.Handle] of one of them. A Pub/Sub topic is a Publisher.
type Publisher interface {
	// Publish returns nil once the message is durable.
	Publish(ctx context.Context, data []byte, attributes map[string]string) error
}

// Config is the configuration of a Watcher. Admit, Policies and Now are required.
type Config struct {
	Admit    func(ctx context.Context, r attestor.Request) (attestor.Decision, error)
	Policies attestor.Policies
	Now      func() time.Time

	// Artifact returns the kind of artifact that an image's manifest is, such as
	// "signature", and "" for an image. tag may be "". A push of an artifact is
	// ignored. nil: every push is judged.
	Artifact func(ctx context.Context, img attestor.Image, tag string) (string, error)

	History     History     // nil: admissions are not known, so that no image is judged again
	Occurrences Occurrences // nil: notifications of Container Analysis are ignored
	Publisher   Publisher   // nil: a run judges every image in this process
	// Subscription is the subscription of the gate's own messages,
	// projects/P/subscriptions/S. Required with a Publisher: a message of any other
	// topic must not start work of the gate's own.
	Subscription string

	// Revoke deletes an image's attestations. nil, or Enforce false: flips are only
	// reported.
	Revoke  func(ctx context.Context, img attestor.Image, reason string, by attestor.CallerRef, requestID string) error
	Enforce bool
	Grace   time.Duration // how long an image may stay denied by a new finding; 24 h
	Cap     int           // images that one run may revoke; 20
	Window  time.Duration // the age of admissions that a run covers, at most; 90 days

	Logger   *slog.Logger         // nil: nothing is logged
	Registry *prometheus.Registry // nil: a new one
}

const (
	budget  = 45 * time.Second // of a run, so that it ends within the timeout of the request that started it
	workers = 4                // images that a message or a run judges at the same time
)

// A Watcher handles messages and runs. It is safe for concurrent use.
type Watcher struct {
	c       Config
	metrics *metrics
	handled *lru.Cache[string, struct{}] // ids of messages
	shared  *shared
}

// New returns a Watcher, or an error that says what is wrong with c.
func New(c Config) (*Watcher, error) {
	if c.Admit == nil || c.Policies == nil || c.Now == nil {
		return nil, errors.New("making a watcher: Admit, Policies or Now is missing")
	}
	if c.Grace < 0 || c.Cap < 0 || c.Window < 0 {
		return nil, errors.New("making a watcher: grace, cap or window is negative")
	}
	if c.Enforce && c.Revoke == nil {
		return nil, errors.New("making a watcher: Enforce is set, but Revoke is missing")
	}
	if (c.Publisher == nil) != (c.Subscription == "") {
		return nil, errors.New("making a watcher: set both the topic to publish to and its subscription, or neither")
	}

	c.Grace = cmp.Or(c.Grace, 24*time.Hour)
	c.Cap = cmp.Or(c.Cap, 20)
	c.Window = cmp.Or(c.Window, 90*24*time.Hour)
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
	return &Watcher{c: c, metrics: m, handled: lru.New[string, struct{}](maxHandled), shared: newShared()}, nil
}

// Labels of the decisions that a Watcher requests.
const (
	LabelEvent    = "attestor.event"    // the kind of the message
	LabelRejudges = "attestor.rejudges" // the id of the decision that is judged again
)

// checker returns c with the right to check, where c has the right to have images
// judged again, and with no other. A run so cannot sign, whatever rights its
// caller has.
func checker(c attestor.Caller) attestor.Caller {
	out := attestor.Caller{Subject: c.Subject, Issuer: c.Issuer}
	for _, g := range c.Grants {
		for _, a := range g.Actions {
			if a == attestor.ActionRejudge {
				check := attestor.Grant{Actions: []attestor.Action{attestor.ActionCheck}, Images: g.Images}
				out.Grants = append(out.Grants, check)
			}
		}
	}
	return out
}

// imageOf returns the image of a decision, whose reference is canonical.
func imageOf(d attestor.Decision) (attestor.Image, error) {
	img, err := attestor.ParseImage(d.Image.Reference)
	if err != nil {
		return attestor.Image{}, fmt.Errorf("reading decision %s: %w", d.ID, err)
	}
	return img, nil
}

// admitted reports whether a decision admitted its image: it passed, and there are
// attestations.
func admitted(d attestor.Decision) bool {
	return d.Verdict == attestor.Pass && !d.DryRun && len(d.Attestations) > 0
}
