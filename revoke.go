package attestor

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// A Revocation asks for the deletion of the attestations that this gate made of
// an image.
type Revocation struct {
	Image     Image
	Reason    string // of 10 to 1000 characters; recorded
	Caller    CallerRef
	RequestID string
}

// The length of a revocation's reason, in bytes and without spaces around it.
const (
	MinRevocationReason = 10
	MaxRevocationReason = 1000
)

// A Deletion deletes what this gate attested to an image, of an index to its
// children too, and returns it, on error too. It can be repeated.
type Deletion func(ctx context.Context, img Image) ([]Attestation, error)

// Revoke deletes the attestations of an image. The revocation is recorded before
// anything is deleted, so that a crash between the two is completed by
// [Gate.CompleteRevocation], and again with what was deleted. Revoking again is no
// error.
//
// Whether the caller may revoke is decided before: by a service's identities, or
// by the operating system. On error, what was deleted is returned all the same.
func (g *Gate) Revoke(ctx context.Context, r Revocation, remove Deletion) ([]Attestation, error) {
	r.Reason = strings.TrimSpace(r.Reason)
	switch {
	case r.Image.IsZero():
		return nil, &Error{Kind: Invalid, Msg: "a revocation needs an image by digest"}
	case len(r.Reason) < MinRevocationReason:
		return nil, &Error{
			Kind: Invalid, Msg: fmt.Sprintf("a revocation needs a reason of at least %d characters", MinRevocationReason),
			Fix: "say why; it will be read in the audit report",
		}
	case len(r.Reason) > MaxRevocationReason:
		return nil, &Error{Kind: Invalid, Msg: fmt.Sprintf("the reason is longer than %d characters", MaxRevocationReason)}
	}

	record := r.record(g.c.NewID(), g.c.Now().UTC(), g.c.Emulated)
	if err := g.c.Recorder.Begin(ctx, record); err != nil {
		return nil, err
	}
	return g.CompleteRevocation(ctx, record, remove)
}

// CompleteRevocation deletes what a recorded revocation is about and finishes its
// record. It can be repeated: until all is deleted, the record stays begun.
func (g *Gate) CompleteRevocation(ctx context.Context, r Record, remove Deletion) ([]Attestation, error) {
	revoked, err := remove(ctx, r.Evidence.Image)
	if err != nil {
		return revoked, err
	}

	r.Decision.Attestations = append([]Attestation{}, revoked...) // never null in JSON
	return revoked, g.c.Recorder.Finish(ctx, r)
}

// record is a Decision that no policy made: that is what tells it from an answer.
func (r Revocation) record(id string, now time.Time, emulated bool) Record {
	image := r.Image.String()
	return Record{
		Evidence: Evidence{Time: now, Image: r.Image, Requested: image},
		Decision: Decision{
			ID: id, Time: now, Emulated: emulated, Verdict: Deny,
			Image:     DecidedImage{Requested: image, Reference: image, Digest: r.Image.Digest()},
			Platforms: []PlatformSummary{}, Attestations: []Attestation{},
			Checks: []Check{{Name: CheckAttest, Status: StatusDeny, Reasons: []Reason{{
				Code: CodeRevoked, Severity: Refuses, Subject: image, Message: r.Reason,
			}}}},
			Caller: r.Caller, RequestID: r.RequestID,
		},
	}
}
