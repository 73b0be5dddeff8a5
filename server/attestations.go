package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/attestor-gate/attestor"
)

// Attestations are those of this gate.
type Attestations interface {
	// Standing lists what stands for an image under every attestor of the gate,
	// each verified or with why it is not.
	Standing(ctx context.Context, img attestor.Image) (attestor.Standing, error)
	// Revoke deletes what this gate attested to an image, and records it. It
	// returns what was deleted, on error too.
	Revoke(ctx context.Context, r attestor.Revocation) ([]attestor.Attestation, error)
}

// listAttestations answers GET /v1/attestations.
func (s *Server) listAttestations(k *call) error {
	img, err := k.image(attestor.ActionRead)
	if err != nil {
		return err
	}
	standing, err := s.c.Attestations.Standing(k.ctx, img)
	if err != nil {
		return err
	}
	if !standing.Known {
		return &attestor.Error{Kind: attestor.Upstream, Code: attestor.CodeAttestorUnavailable, Msg: "the attestations could not be looked up", Fix: "try again"}
	}
	return s.answer(k, http.StatusOK, struct {
		Image   attestor.Image                `json:"image"`
		Valid   []attestor.Attestation        `json:"valid"`
		Invalid []attestor.InvalidAttestation `json:"invalid"`
	}{img, some(standing.Valid), some(standing.Invalid)})
}

// revoke answers DELETE /v1/attestations.
func (s *Server) revoke(k *call) error {
	img, err := k.image(attestor.ActionRevoke)
	if err != nil {
		return err
	}
	reason := strings.TrimSpace(k.query["reason"])
	if len(reason) < attestor.MinRevocationReason || len(reason) > attestor.MaxRevocationReason {
		return &attestor.Error{Kind: attestor.Invalid, Msg: fmt.Sprintf("reason has %d characters: want %d to %d", len(reason), attestor.MinRevocationReason, attestor.MaxRevocationReason), Fix: "say why; it will be read in the audit report"}
	}
	gone, err := s.c.Attestations.Revoke(k.ctx, attestor.Revocation{
		Image: img, Reason: reason, RequestID: requestID(k.ctx),
		Caller: attestor.CallerRef{Subject: k.caller.Subject, Issuer: k.caller.Issuer},
	})
	s.c.Logger.LogAttrs(k.ctx, slog.LevelWarn, "revocation", slog.String("image_digest", string(img.Digest())), slog.Int("revoked", len(gone)),
		slog.Bool("complete", err == nil), s.callerHash(k.caller), slog.String("request_id", requestID(k.ctx)))
	if err != nil {
		return err
	}
	return s.answer(k, http.StatusOK, struct {
		Image   attestor.Image         `json:"image"`
		Revoked []attestor.Attestation `json:"revoked"`
	}{img, some(gone)})
}

// image is the one that the query names, if the caller may do a to it.
func (k *call) image(a attestor.Action) (attestor.Image, error) {
	ref, err := attestor.ParseReference(k.query["image"])
	if err != nil {
		return attestor.Image{}, err
	}
	img, ok := ref.Pinned()
	if !ok {
		return attestor.Image{}, &attestor.Error{Kind: attestor.Invalid, Msg: "image is by tag, which may have moved", Fix: "name the image by digest: " + ref.Repository() + "@sha256:…"}
	}
	if !k.caller.May(a, img.Repository()) {
		return attestor.Image{}, &attestor.Error{
			Kind: attestor.Forbidden, Msg: "this identity may not do this to images of this repository: it lacks " + string(a),
			Fix: "ask whoever administers the gate to grant " + string(a),
		}
	}
	return img, nil
}

// some is never null in JSON.
func some[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
