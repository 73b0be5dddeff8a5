package server

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/when"
)

// attestRequest is the body of POST /v1/attest.
type attestRequest struct {
	Image      string            `json:"image"`
	DryRun     bool              `json:"dryRun"`
	Wait       string            `json:"wait"`
	Labels     map[string]string `json:"labels"`
	Policy     string            `json:"policy"`
	BreakGlass *struct {
		Reason string `json:"reason"`
	} `json:"breakGlass"`
}

// maxPolicyName is a policy's longest name, in bytes.
const maxPolicyName = 253

// attest answers POST /v1/attest.
func (s *Server) attest(k *call) error {
	var body attestRequest
	if err := decodeStrict(k.body, &body); err != nil {
		return err
	}

	req, err := body.parse(s.c.Limits.MaxWait)
	if err != nil {
		return err
	}

	// The caller is the one who was authenticated: the body has no field for it.
	req.Caller, req.RequestID = k.caller, requestID(k.ctx)
	d, err := s.Admit(k.ctx, req)
	if err != nil {
		return err
	}

	// A denial is not 200, so that a client that checks only the status fails closed.
	answer := d.Answer()
	setRetryAfter(k.Response().Header(), answer.RetryAfter)
	return s.answerDecision(k, answer.HTTPStatus, d)
}

// parse checks the values of the body. The Gate checks the caller's rights.
func (b attestRequest) parse(maxWait time.Duration) (attestor.Request, error) {
	invalid := func(fix, format string, args ...any) (attestor.Request, error) {
		return attestor.Request{}, &attestor.Error{Kind: attestor.Invalid, Msg: fmt.Sprintf(format, args...), Fix: fix}
	}

	ref, err := attestor.ParseReference(b.Image)
	if err != nil {
		return attestor.Request{}, err
	}

	wait := time.Duration(0)
	if b.Wait != "" {
		if wait, err = when.ParseDuration(b.Wait); err != nil {
			return invalid("write a duration such as 30s", "wait: %s", err)
		}
	}

	if err := attestor.CheckLabels(b.Labels); err != nil {
		return attestor.Request{}, err
	}
	for name := range b.Labels {
		// The audit report trusts these labels, so that callers may not set them.
		if strings.HasPrefix(name, ownLabels) {
			return invalid("use another name", "the gate itself sets the labels that begin with %s", ownLabels)
		}
	}

	if len(b.Policy) > maxPolicyName {
		return invalid("GET /v1/policies lists the names", "policy has %d bytes, at most %d are allowed",
			len(b.Policy), maxPolicyName)
	}

	// An override without a reason is refused: an empty reason would make it a
	// request without an override.
	req := attestor.Request{Image: ref, DryRun: b.DryRun, Policy: b.Policy, Wait: min(wait, maxWait), Labels: b.Labels}
	if b.BreakGlass != nil {
		req.BreakGlass = strings.TrimSpace(b.BreakGlass.Reason)
		if req.BreakGlass == "" {
			return invalid("give a reason, which the decision records", "breakGlass has no reason")
		}
	}
	return req, nil
}

// ownLabels is the prefix of the labels that the gate itself sets.
const ownLabels = "attestor."

// Admit asks the Gate for a decision, and counts and logs it. Every decision has
// one log line, whichever path requested it.
func (s *Server) Admit(ctx context.Context, req attestor.Request) (attestor.Decision, error) {
	ctx, end := s.decisionSpan(ctx)
	d, err := s.c.Gate.Admit(ctx, req)
	end(d, err)
	if err != nil {
		return attestor.Decision{}, err
	}

	s.decided(ctx, req, d)
	return d, nil
}

// decided counts and logs a decision that was recorded.
func (s *Server) decided(ctx context.Context, req attestor.Request, d attestor.Decision) {
	s.metrics.decision(d)

	// An override is a warning: somebody should look at it.
	level := slog.LevelInfo
	if d.BreakGlass != nil {
		level = slog.LevelWarn
	}
	attrs := append(d.LogAttrs(), s.callerHash(req.Caller), slog.String("request_id", req.RequestID))
	s.c.Logger.LogAttrs(ctx, level, "decision", attrs...)
}
