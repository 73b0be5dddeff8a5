package server

import (
	"context"
	"net/http"

	"github.com/attestor-gate/attestor"
)

// Posture judges service definitions against the hardening rules.
type Posture interface {
	// Judge returns an [attestor.Error] of kind Invalid where the document, YAML or
	// JSON, is not a service definition. [CallerFrom] returns the caller, since a
	// definition may name images that they may not read.
	Judge(ctx context.Context, document []byte) (attestor.PostureReport, error)
}

// judgePosture answers POST /v1/posture. A denial is a 200: the call deploys
// nothing, and the report is what was asked for.
func (s *Server) judgePosture(k *call) error {
	report, err := s.c.Posture.Judge(WithCaller(k.ctx, k.caller), k.body)
	if err != nil {
		return err
	}
	report.Findings = nonNil(report.Findings)

	// A service that could not be judged must not look like one that passed.
	status := http.StatusOK
	if report.Verdict == attestor.Undecided {
		status = http.StatusBadGateway
	}
	return s.answer(k, status, report)
}

// VisibleAttested asks whether an image is attested only if the caller of the
// service may judge images of its repository: a definition can name any image, and
// the answer would reveal whether it is admitted.
type VisibleAttested func(ctx context.Context, img attestor.Image) (bool, error)

// Attested asks, or returns an error of kind Forbidden. A context without a caller
// is nobody's.
func (ask VisibleAttested) Attested(ctx context.Context, img attestor.Image) (bool, error) {
	if !CallerFrom(ctx).May(attestor.ActionPosture, img.Repository()) {
		return false, &attestor.Error{Kind: attestor.Forbidden, Msg: "not allowed to ask about " + img.Repository()}
	}
	return ask(ctx, img)
}
