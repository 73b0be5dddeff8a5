// Package attestor decides whether a container image may be admitted to
// production, and is the domain that everything else in this module serves.
//
// One attempt, from a request to a record:
//
//	Reference    what the caller wrote, made canonical           (image.go)
//	   │ rights and the governing policy, before any fetch       (caller.go, Policies)
//	Image        one resolution, one digest                      (Inspector.Resolve)
//	   │ bytes, base, user, scan, provenance, side by side       (Inspector, Scanner)
//	Evidence     facts and failures to find facts                (evidence.go)
//	   │ a pure function                                         (Policy.Judge)
//	Verdict      pass, deny or error; the zero value denies      (verdict.go)
//	   │ only a pass, or a granted break-glass                   (authorization.go)
//	Authorization
//	   │ signs, stores, verifies                                 (Attester)
//	Attestation
//	   │ durable before it is answered                           (Recorder)
//	Decision     the answer and the record, one type             (decision.go)
//
// The packages beneath this one each own a stage: verify what the image is,
// vuln what is known of it, policy what is required, attest what is said of
// it, audit what is remembered. They import this package and never each
// other; internal/engine joins them.
package attestor

import (
	"context"
	"time"
)

// Inspector finds out what an image is, from bytes that were hashed against
// the digest they were asked by.
type Inspector interface {
	// Pin finds the digest that a tag names, afresh, with errors as Resolve's: so
	// that what needs no more than a digest can be asked while Resolve works.
	Pin(ctx context.Context, ref Reference) (Image, error)
	// Index reports whether a digest is an index, as soon as its manifest is there and
	// before anything else of it is. Resolve, asked at the same time, fetches the
	// manifest no second time, and says what is wrong with it.
	Index(ctx context.Context, img Image) (bool, error)
	// Resolve fetches the manifest or index, once, and lists the runnable
	// children that needs wants judged. An unknown image is an [Error] of kind
	// NotFound, a registry that fails one of kind Upstream with its Code.
	Resolve(ctx context.Context, ref Reference, needs Needs) (Resolved, error)
	// Inspect gathers what the bytes of one child say. What is wrong, and what
	// could not be found out, are Problems in the evidence.
	Inspect(ctx context.Context, r Resolved, child Child, needs Needs) PlatformEvidence
}

// Resolved is an image as its registry describes it.
type Resolved struct {
	Image     Image
	MediaType string
	Index     bool
	Children  []Child // to be judged; for an image, itself with the platform of its config
	Left      []Child // runnable, but not among the policy's platforms
	Uploaded  *time.Time
	Problems  []Problem

	// Artifact is the kind of artifact that it is instead of an image, such as
	// "signature"; "" for an image, and for anything that some runtime could run.
	Artifact string
}

// Scanner asks what vulnerability scanning knows of manifests.
type Scanner interface {
	// Scans returns one Scan for each request, in their order. Each names the scanner that was asked. The children of
	// an index are asked about together, so that a scanner can answer them with one call.
	Scans(ctx context.Context, requests []ScanRequest) []Scan
}

// ScanRequest names the manifest whose scan is wanted.
type ScanRequest struct {
	Image Image
	Index Image // set for the one child whose scan may be found on its index's digest: the first linux/amd64 one
	Needs ScanNeeds
	Wait  time.Duration // how long to wait for a scan that has not finished

	// Parent is the index of an image none of whose children is the scanner's. What is
	// found on its digest counts against each of its children; a scan of it counts for
	// none, since it does not say which of them was looked at.
	Parent Image
}

// Policies chooses the policy that governs a repository.
type Policies interface {
	Govern(repository string) (Policy, bool)
	Named(name string) (Policy, bool)
}

// Policy judges. It does no I/O and has no clock but the evidence's.
type Policy interface {
	Ref() PolicyRef
	Text() []byte // the source, for the record
	Needs() Needs
	BreakGlass() BreakGlassPolicy
	Judge(ev Evidence) Verdict
}

// Attester signs and stores attestations, and says which stand.
type Attester interface {
	// Standing lists the attestations of images under attestors, each verified
	// or with why it is not.
	Standing(ctx context.Context, attestors []string, images []Image) (Standing, error)
	// Attest makes all that the authorization permits stand, reusing what
	// stands already. It calls begin once, to have recorded what is about to
	// stand, and may sign meanwhile; nothing is stored unless begin returned
	// nil, and begin has returned before Attest does. On error, what was made
	// is returned all the same.
	Attest(ctx context.Context, a Authorization, known Standing, begin func() error) ([]Attestation, error)
}

// Recorder keeps decisions. When its methods return nil, what they were given
// has been made durable.
type Recorder interface {
	// Begin notes that r is about to be attested to, before any attestation is
	// stored, so that a crash leaves a trace that can be completed.
	Begin(ctx context.Context, r Record) error
	// Finish records the answer before it is sent, and returns where the record's
	// transparency log has it; nil for a recorder without a log. Decision.Log is no
	// part of what is recorded.
	Finish(ctx context.Context, r Record) (*LogEntry, error)
}

// Record is a Decision with all that is needed to explain and repeat it.
type Record struct {
	Decision   Decision
	Evidence   Evidence
	PolicyText []byte
}
