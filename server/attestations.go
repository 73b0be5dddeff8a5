package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
)

// Attestations reads and deletes the gate's attestations.
type Attestations interface {
	// Pin returns the image by digest that a reference names now: a tag is looked up once. It returns an
	// [attestor.Error] of kind NotFound where there is no such image.
	Pin(ctx context.Context, ref attestor.Reference) (attestor.Image, error)
	// Standing lists the attestations of an image under every attestor of the gate:
	// those that verify, and the others with the reason.
	Standing(ctx context.Context, img attestor.Image) (attestor.Standing, error)
	// Revoke deletes the gate's attestations of an image, and records that. The record
	// has the deleted ones, also with an error.
	Revoke(ctx context.Context, r attestor.Revocation) (attestor.RevocationRecord, error)
}

// listAttestations answers GET /v1/attestations. A tag is resolved here and nowhere else: the answer names the digest,
// which is what a revocation takes.
func (s *Server) listAttestations(k *call) error {
	ref, err := k.reference(attestor.ActionRead)
	if err != nil {
		return err
	}

	// The caller's right was checked on the reference, before anything is asked of a registry.
	img, err := s.c.Attestations.Pin(k.ctx, ref)
	if err != nil {
		return err
	}

	standing, err := s.c.Attestations.Standing(k.ctx, img)
	if err != nil {
		return err
	}

	// Not known is an error: an empty list would say that there are none.
	if !standing.Known {
		return &attestor.Error{
			Kind: attestor.Upstream,
			Code: attestor.CodeAttestorUnavailable,
			Msg:  "the attestations could not be read from Container Analysis",
			Fix:  "try again; GET /ready says whether the attestors can be reached",
		}
	}

	overrides, err := s.overridden(k.ctx, img, standing)
	if err != nil {
		return err
	}
	return s.answer(k, http.StatusOK, struct {
		Image     attestor.Image                `json:"image"`
		Valid     []attestor.Attestation        `json:"valid"`
		Invalid   []attestor.InvalidAttestation `json:"invalid"`
		Overrides []attestor.StandingOverride   `json:"overrides,omitzero"` // left out: no overrides are recorded
	}{img, nonNil(standing.Valid), nonNil(standing.Invalid), overrides})
}

// overridden lists the open overrides whose attestations stand; nil: none are recorded. A record that does not answer
// is an error: without it, an override would read like a pass.
func (s *Server) overridden(
	ctx context.Context, img attestor.Image, standing attestor.Standing,
) ([]attestor.StandingOverride, error) {
	if s.c.Overrides == nil {
		return nil, nil
	}

	open, err := s.c.Overrides(ctx, img)
	if err != nil {
		return nil, err
	}

	all := make([]attestor.StandingOverride, 0, len(open))
	for _, o := range open {
		all = append(all, o.Standing(s.c.Now()))
	}
	return standing.Overridden(all), nil
}

// revoke answers DELETE /v1/attestations.
func (s *Server) revoke(k *call) error {
	img, err := k.image(attestor.ActionRevoke)
	if err != nil {
		return err
	}

	// Somebody will ask why a service no longer deploys. The reason is recorded.
	reason := strings.TrimSpace(k.query["reason"])
	if n := utf8.RuneCountInString(reason); n < attestor.MinRevocationReason || n > attestor.MaxRevocationReason {
		return &attestor.Error{
			Kind: attestor.Invalid,
			Msg: fmt.Sprintf("reason has %s, %d to %d are allowed",
				describe.Plural(n, "character"), attestor.MinRevocationReason, attestor.MaxRevocationReason),
			Fix: "say why the attestations are revoked; the audit report shows it",
		}
	}

	record, err := s.c.Attestations.Revoke(k.ctx, attestor.Revocation{
		Image: img, Reason: reason, RequestID: requestID(k.ctx),
		Caller: attestor.CallerRef{Subject: k.caller.Subject, Issuer: k.caller.Issuer},
	})

	// Logged on failure too: some attestations may be gone.
	s.c.Logger.LogAttrs(k.ctx, slog.LevelWarn, "revocation",
		slog.String("image_digest", string(img.Digest())),
		slog.Int("revoked", len(record.Attestations)), slog.Bool("complete", err == nil),
		s.callerHash(k.caller), slog.String("request_id", requestID(k.ctx)))
	if err != nil {
		return err
	}
	return s.answer(k, http.StatusOK, struct {
		Image      attestor.Image         `json:"image"`
		Revocation string                 `json:"revocation"` // the id of its record
		Revoked    []attestor.Attestation `json:"revoked"`
		Summaries  []attestor.Summary     `json:"summaries,omitempty"` // verification summaries that were deleted
		Left       []attestor.LeftSummary `json:"left,omitempty"`      // those that the registry refused to delete
	}{img, record.ID, nonNil(record.Attestations), record.Summaries, record.Left})
}

// image returns the image of the query, if the caller has the right a for it.
func (k *call) image(a attestor.Action) (attestor.Image, error) {
	ref, err := k.reference(a)
	if err != nil {
		return attestor.Image{}, err
	}

	// A tag may have another digest now than the caller thinks.
	img, ok := ref.Pinned()
	if !ok {
		return attestor.Image{}, &attestor.Error{
			Kind: attestor.Invalid,
			Msg:  "image has a tag, which may have moved",
			Fix:  "name the image by digest, which GET /v1/attestations?image=" + ref.String() + " shows",
		}
	}
	return img, nil
}

// reference returns the reference of the query, if the caller has the right a for its repository.
func (k *call) reference(a attestor.Action) (attestor.Reference, error) {
	ref, err := attestor.ParseReference(k.query["image"])
	if err != nil {
		return attestor.Reference{}, err
	}
	if !k.caller.May(a, ref.Repository()) {
		return attestor.Reference{}, &attestor.Error{
			Kind: attestor.Forbidden,
			Msg:  "this identity lacks the right " + string(a) + " for images of this repository",
			Fix:  "ask an administrator of the gate to grant " + string(a) + " under identity.callers",
		}
	}
	return ref, nil
}

// nonNil returns s, or an empty slice that is [] in JSON and not null.
func nonNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
