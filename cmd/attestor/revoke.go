package main

import (
	"context"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/attest"
	"github.com/attestor-gate/attestor/audit"
)

const (
	minRevokeReason, maxRevokeReason = 10, 1000
	maxRevokeLooked                  = 500 // decisions
)

// revoke deletes this gate's attestations of an image, and of its children
// where it is an index that was judged here. It is recorded before, so that a
// crash in between is completed, and again with what was deleted.
//
// Whether the caller may is for whoever calls this to decide: the service by
// its identities, the command line by the operating system.
func (e *engine) revoke(ctx context.Context, img attestor.Image, reason string, by attestor.CallerRef, requestID string) ([]attestor.Attestation, error) {
	reason = strings.TrimSpace(reason)
	switch {
	case len(reason) < minRevokeReason:
		return nil, &attestor.Error{Kind: attestor.Invalid, Msg: "a revocation needs a reason of at least 10 characters", Fix: "say why; it will be read in the audit report"}
	case len(reason) > maxRevokeReason:
		return nil, &attestor.Error{Kind: attestor.Invalid, Msg: "the reason is longer than 1000 characters"}
	}
	now := time.Now().UTC()
	r := attestor.Record{
		Evidence: attestor.Evidence{Time: now, Image: img, Requested: img.String()},
		Decision: attestor.Decision{
			ID: newID(), Time: now, Emulated: e.google.emulated, Verdict: attestor.Deny,
			Image:     attestor.DecidedImage{Requested: img.String(), Reference: img.String(), Digest: img.Digest()},
			Platforms: []attestor.PlatformSummary{}, Attestations: []attestor.Attestation{},
			Checks: []attestor.Check{{Name: attestor.CheckAttest, Status: attestor.StatusDeny, Reasons: []attestor.Reason{{
				Code: attestor.CodeRevoked, Severity: attestor.Refuses, Subject: img.String(), Message: reason,
			}}}},
			Caller: by, RequestID: requestID,
		},
	}
	if err := e.store.Begin(ctx, r); err != nil {
		return nil, err
	}
	return e.completeRevocation(ctx, r)
}

// completeRevocation deletes and records. It is safe to repeat.
func (e *engine) completeRevocation(ctx context.Context, r attestor.Record) ([]attestor.Attestation, error) {
	revocation, err := e.revocation(ctx, r.Evidence.Image)
	if err != nil {
		return nil, err
	}
	revoked, err := e.attester.Revoke(ctx, revocation)
	if err != nil {
		return revoked, err
	}
	r.Decision.Attestations = append([]attestor.Attestation{}, revoked...)
	return revoked, e.store.Finish(ctx, r)
}

// revocation gathers what the record knows was made for an image.
func (e *engine) revocation(ctx context.Context, img attestor.Image) (attest.Revocation, error) {
	out := attest.Revocation{Images: []attestor.Image{img}}
	seen, known := map[attestor.Digest]bool{img.Digest(): true}, map[string]bool{}
	// What was signed was signed for a pass or an override. The note's own list
	// has the rest; the record adds what it does not show yet, so that the
	// newest decisions are enough, however often somebody asked.
	for _, f := range []audit.Filter{{Image: img.String(), Verdict: attestor.Pass}, {Image: img.String(), BreakGlass: true}} {
		n := 0
		for d, err := range e.store.Decisions(ctx, f) {
			if attestor.KindOf(err) == attestor.Unsupported {
				break // no record is kept: the image itself is all that is known
			}
			if err != nil {
				return attest.Revocation{}, err
			}
			for _, a := range d.Attestations {
				if !known[a.Occurrence] {
					known[a.Occurrence] = true
					out.Recorded = append(out.Recorded, a)
				}
			}
			if d.Image.Digest == img.Digest() { // else img was a child there: its index keeps its own attestation
				for _, p := range d.Platforms {
					if !seen[p.Digest] {
						seen[p.Digest] = true
						out.Images = append(out.Images, img.Sibling(p.Digest))
					}
				}
			}
			if n++; n >= maxRevokeLooked {
				break
			}
		}
	}
	if p, ok := e.policies.Govern(img.Repository()); ok {
		if note := p.Needs().Attest.DSSENote; note != "" {
			out.Notes = append(out.Notes, note)
		}
	}
	return out, nil
}
