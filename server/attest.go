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

// Limits of what a caller may attach to a decision.
const (
	maxLabels     = 64
	maxLabelKey   = 128
	maxLabelValue = 1024
	maxPolicyName = 253
)

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
	req.Caller, req.RequestID = k.caller, requestID(k.ctx)
	d, err := s.Admit(k.ctx, req)
	if err != nil {
		return err
	}
	answer := d.Answer()
	setRetryAfter(k.Response().Header(), answer.RetryAfter)
	return s.answer(k, answer.HTTPStatus, d)
}

// parse checks what the types do not. Rights are the Gate's to check.
func (b attestRequest) parse(maxWait time.Duration) (attestor.Request, error) {
	invalid := func(format string, args ...any) (attestor.Request, error) {
		return attestor.Request{}, &attestor.Error{Kind: attestor.Invalid, Msg: fmt.Sprintf(format, args...)}
	}
	ref, err := attestor.ParseReference(b.Image)
	if err != nil {
		return attestor.Request{}, err
	}
	wait := time.Duration(0)
	if b.Wait != "" {
		if wait, err = when.ParseDuration(b.Wait); err != nil {
			return invalid("wait: %s", err)
		}
	}
	if len(b.Labels) > maxLabels {
		return invalid("there are %d labels, at most %d are allowed", len(b.Labels), maxLabels)
	}
	for name, value := range b.Labels {
		switch {
		case name == "" || len(name) > maxLabelKey || len(value) > maxLabelValue:
			return invalid("a label is too long, or has no name: at most %d bytes for the name and %d for the value", maxLabelKey, maxLabelValue)
		case strings.HasPrefix(name, ownLabels):
			return invalid("labels that begin with %s are the gate's own", ownLabels)
		}
	}
	if len(b.Policy) > maxPolicyName {
		return invalid("the policy's name is too long")
	}
	req := attestor.Request{Image: ref, DryRun: b.DryRun, Policy: b.Policy, Wait: min(wait, maxWait), Labels: b.Labels}
	if b.BreakGlass != nil {
		req.BreakGlass = strings.TrimSpace(b.BreakGlass.Reason)
		if req.BreakGlass == "" { // "" would be no break-glass at all
			return invalid("breakGlass has no reason")
		}
	}
	return req, nil
}

// ownLabels begin the labels that the gate itself sets.
const ownLabels = "attestor."

// Admit asks the Gate, and logs and counts the decision: the one line that it
// gets, whoever asked for it.
func (s *Server) Admit(ctx context.Context, req attestor.Request) (attestor.Decision, error) {
	ctx, end := s.decisionSpan(ctx)
	d, err := s.c.Gate.Admit(ctx, req)
	end(d, err)
	if err != nil {
		return attestor.Decision{}, err
	}
	s.metrics.decision(d)
	level := slog.LevelInfo
	if d.BreakGlass != nil {
		level = slog.LevelWarn
	}
	attrs := append(d.LogAttrs(), s.callerHash(req.Caller), slog.String("request_id", req.RequestID))
	s.c.Logger.LogAttrs(ctx, level, "decision", attrs...)
	return d, nil
}
