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
//   - The gate's own: a run that several instances take part in, and images of a sweep
//     that are judged in dry run ([Sweep]). They count only by [Config.Subscription],
//     whose topic nobody else may publish to.
//
// A message is acknowledged when it was handled, or never can be (it is logged as
// poison); it is delivered again after an outage. Pub/Sub delivers at least once
// and in any order. Handling a message twice is harmless: judging an image again
// gives the same answer, and attestations that exist are reused.
//
// # Runs
//
// [Watcher.Rejudge] judges again every image that stands admitted, by a pass or by
// an override, and for which the caller has the right to. It first ends the
// overrides that are past their end; [Watcher.Expire] does that alone.
//
// A run guarantees:
//
//   - It signs nothing: every judgement is a dry run.
//   - It covers each such image once, those first that were judged longest ago, and
//     then ends by itself. An instance claims a few images at a time. What it had
//     claimed when it was killed is free for others after two minutes; what was judged
//     is not judged twice. Where there is no topic, the next call goes on with the run.
//   - An unchanged verdict is a line in the record. A change is a decision with its
//     cause. An image without an answer is counted in Report.Failed.
//   - It revokes at most [Config.Cap] images, by all instances together. A run that
//     reached the cap is not continued, since an operator should look first.
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
	Finished bool           // the scan ended, whether it succeeded or not; always true for a finding
}

// History reads the decisions that were recorded.
type History interface {
	// Of lists at most n decisions about an image, or about an index that has it,
	// newest first.
	Of(ctx context.Context, img attestor.Image, n int) ([]attestor.Decision, error)
	// Decision returns a decision, or an [attestor.Error] of kind NotFound.
	Decision(ctx context.Context, id string) (attestor.Decision, error)
	// Record returns a decision with its evidence.
	Record(ctx context.Context, id string) (attestor.Record, error)
}

// Admissions is the record of what stands admitted, and of runs over it.
type Admissions interface {
	// Fill reads what earlier versions admitted, as far as ctx allows, and reports
	// whether all of it was read.
	Fill(ctx context.Context) (complete bool, err error)
	// AdmittedWith lists the admissions whose attestations include an image's.
	AdmittedWith(ctx context.Context, img attestor.Image) ([]attestor.Admission, error)

	// StartRun continues a caller's run, or starts one under the given id.
	StartRun(ctx context.Context, id string, caller attestor.CallerRef) (attestor.Run, error)
	// Run returns a run, or an [attestor.Error] of kind NotFound.
	Run(ctx context.Context, id string) (attestor.Run, error)
	// Claim takes at most n admissions that a run has not covered, for this instance
	// alone and for a while. It begins after another admission, and returns the last
	// one that it has read; zero: there are no more.
	Claim(
		ctx context.Context, run attestor.Run, after attestor.Admission, n int, visible func(repository string) bool,
	) (claimed []attestor.Admission, last attestor.Admission, err error)
	// Looked records what was found, and counts it once for a run.
	Looked(ctx context.Context, run attestor.Run, looks []attestor.Rejudgement) error
	// Left counts the admissions that a run has not covered, claimed ones included.
	Left(ctx context.Context, run attestor.Run, visible func(repository string) bool) (int, error)
	// MayRevoke counts a revocation of a run, unless it is beyond the limit. stopped is
	// true once for a run: for the first one beyond it.
	MayRevoke(ctx context.Context, run attestor.Run, limit int) (may, stopped bool, err error)
	// EndRun ends a run, and reports whether this call did.
	EndRun(ctx context.Context, run attestor.Run) (ended bool, err error)
}

// Overrides is the record of overrides.
type Overrides interface {
	// Overdue lists at most n open overrides that are past their end, in an order that
	// does not change, after the given one; after zero: from the first on.
	Overdue(ctx context.Context, after attestor.Override, n int) ([]attestor.Override, error)
	// Grounds returns what else admits the digests of an override.
	Grounds(ctx context.Context, o attestor.Override) (attestor.Grounds, error)
	// CloseOverride closes an override that nothing depends on any more.
	CloseOverride(ctx context.Context, o attestor.Override, why attestor.Closing, by string) error
	// Expired records that a run has ended every override that was overdue.
	Expired(ctx context.Context, id string, caller attestor.CallerRef, started time.Time) error
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

	// Reconsider is [attestor.Gate.Reconsider]; required with Admissions.
	Reconsider func(
		ctx context.Context, r attestor.Request, keep func(attestor.Decision) (bool, error),
	) (attestor.Decision, error)

	// Artifact returns the kind of artifact that an image's manifest is, such as
	// "signature", and "" for an image. tag may be "". A push of an artifact is
	// ignored. nil: every push is judged.
	Artifact func(ctx context.Context, img attestor.Image, tag string) (string, error)

	// Pin resolves the tags of a sweep. nil: the Gate does, and artifacts under tags are
	// judged.
	Pin func(ctx context.Context, ref attestor.Reference) (attestor.Image, error)

	History     History     // nil: notifications of Container Analysis are ignored; required with Admissions
	Admissions  Admissions  // nil: what was admitted is not known, so that no image is judged again
	Overrides   Overrides   // nil: overrides do not end
	Occurrences Occurrences // nil: notifications of Container Analysis are ignored
	Publisher   Publisher   // nil: a run judges every image in this process
	// Subscription is the subscription of the gate's own messages,
	// projects/P/subscriptions/S. Required with a Publisher: a message of any other
	// topic must not start work of the gate's own.
	Subscription string

	// Revoke deletes an image's attestations. nil: overrides do not end. nil, or Enforce
	// false: flips are only reported.
	Revoke  func(ctx context.Context, r attestor.Revocation) (attestor.RevocationRecord, error)
	Enforce bool
	Grace   time.Duration // how long an image may stay denied by a new finding; 24 h
	Cap     int           // images that one run may revoke; 20

	Logger   *slog.Logger         // nil: nothing is logged
	Registry *prometheus.Registry // nil: a new one
}

const (
	budget  = 45 * time.Second // of a run, so that it ends within the timeout of the request that started it
	workers = 4                // images that a message or a run judges at the same time
)

// A Watcher handles messages and runs. It is safe for concurrent use.
type Watcher struct {
	c         Config
	metrics   *metrics
	handled   *lru.Cache[string, struct{}] // ids of messages
	admitting *shared[attestor.Decision]
	looking   *shared[*Reversal]
	sweeping  chan struct{} // has an element for each image of a sweep that is being judged
}

// New returns a Watcher, or an error that says what is wrong with c.
func New(c Config) (*Watcher, error) {
	if c.Admit == nil || c.Policies == nil || c.Now == nil {
		return nil, errors.New("making a watcher: Admit, Policies or Now is missing")
	}
	if c.Admissions != nil && (c.History == nil || c.Reconsider == nil) {
		return nil, errors.New("making a watcher: Admissions is set, but History or Reconsider is missing")
	}
	if c.Grace < 0 || c.Cap < 0 {
		return nil, errors.New("making a watcher: grace or cap is negative")
	}
	if c.Enforce && c.Revoke == nil {
		return nil, errors.New("making a watcher: Enforce is set, but Revoke is missing")
	}
	if (c.Publisher == nil) != (c.Subscription == "") {
		return nil, errors.New("making a watcher: set both the topic to publish to and its subscription, or neither")
	}

	c.Grace = cmp.Or(c.Grace, 24*time.Hour)
	c.Cap = cmp.Or(c.Cap, 20)
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
	return &Watcher{
		c: c, metrics: m, handled: lru.New[string, struct{}](maxHandled),
		admitting: newShared[attestor.Decision](), looking: newShared[*Reversal](),
		sweeping: make(chan struct{}, sweepAtOnce),
	}, nil
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
