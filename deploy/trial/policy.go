package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// A trial that enforces replaces the default rule of the project's policy. What the rule was is written into the policy's
// description by the same call: it is there exactly while the trial's rule is, it outlives a kill and the machine that
// the trial ran on, and only whoever may change the policy can change what will be put back.

// formerMark stands in a description between the name of a trial and what was before it.
const formerMark = " replaces: "

// errChanged means that somebody changed what a trial had set. It is theirs then.
var errChanged = errors.New("somebody changed the default rule of Binary Authorization, or the description in which the " +
	"trial kept the earlier one, since: it stays as it is; put back what it was")

// enforce has the project's policy ask for the trial's attestation, and puts the earlier rule back in the end.
func (t *trial) enforce(ctx context.Context, w *world) error {
	old, err := t.policy(ctx)
	if err != nil {
		return err
	}

	// What an earlier trial left must not be taken for what somebody chose.
	if strings.HasPrefix(old.GetDescription(), prefix) || asksForTrial(old) {
		return errors.New("the policy is an earlier trial's: run with -sweep first")
	}
	p, err := t.enforcing(old, w)
	if err != nil {
		return err
	}

	t.later("the policy", func(ctx context.Context) error { return t.putBack(ctx, old) })
	return t.make(ctx, func(ctx context.Context) error {
		_, err := t.binauthz.UpdatePolicy(ctx, &binaryauthorizationpb.UpdatePolicyRequest{Policy: p})
		return err
	})
}

func (t *trial) policy(ctx context.Context) (*binaryauthorizationpb.Policy, error) {
	p, err := t.binauthz.GetPolicy(ctx, &binaryauthorizationpb.GetPolicyRequest{Name: t.parent + "/policy"})
	if err != nil {
		return nil, fmt.Errorf("reading the policy: %w", err)
	}
	return p, nil
}

// enforcing is a policy with the trial's default rule. Exemptions and the rules of clusters stay as they are, and so does
// the etag: a change between reading and writing is not overwritten.
func (t *trial) enforcing(old *binaryauthorizationpb.Policy, w *world) (*binaryauthorizationpb.Policy, error) {
	former, err := protojson.Marshal(&binaryauthorizationpb.Policy{
		Description: old.GetDescription(), DefaultAdmissionRule: old.GetDefaultAdmissionRule(),
	})
	if err != nil {
		return nil, fmt.Errorf("encoding the earlier rule: %w", err)
	}

	p := proto.CloneOf(old)
	p.Description = t.run + formerMark + string(former)
	p.DefaultAdmissionRule = &binaryauthorizationpb.AdmissionRule{
		EvaluationMode:        binaryauthorizationpb.AdmissionRule_REQUIRE_ATTESTATION,
		RequireAttestationsBy: []string{w.attestor},
		EnforcementMode:       binaryauthorizationpb.AdmissionRule_ENFORCED_BLOCK_AND_AUDIT_LOG,
	}
	return p, nil
}

// restored is the policy with what was before the trial that its description names: nil where it names none. Only what
// a trial sets is replaced, and only while it is as the trial set it.
func restored(p *binaryauthorizationpb.Policy) (*binaryauthorizationpb.Policy, error) {
	run, text, ok := strings.Cut(p.GetDescription(), formerMark)
	if !ok || !strings.HasPrefix(run, prefix) {
		return nil, nil
	}

	rule, former := p.GetDefaultAdmissionRule(), &binaryauthorizationpb.Policy{}
	own := rule.GetEvaluationMode() == binaryauthorizationpb.AdmissionRule_REQUIRE_ATTESTATION &&
		rule.GetEnforcementMode() == binaryauthorizationpb.AdmissionRule_ENFORCED_BLOCK_AND_AUDIT_LOG &&
		len(rule.GetRequireAttestationsBy()) == 1 && strings.HasSuffix(rule.GetRequireAttestationsBy()[0], "/attestors/"+run)
	if err := protojson.Unmarshal([]byte(text), former); err != nil || former.GetDefaultAdmissionRule() == nil || !own {
		return nil, errChanged
	}

	// The etag stays: the service refuses this where the policy changes once more.
	back := proto.CloneOf(p)
	back.Description, back.DefaultAdmissionRule = former.GetDescription(), former.GetDefaultAdmissionRule()
	return back, nil
}

// putBack ends the enforcement of this trial; old is the policy before it.
func (t *trial) putBack(ctx context.Context, old *binaryauthorizationpb.Policy) error {
	p, err := t.policy(ctx)
	if err != nil {
		return err
	}
	back, err := restored(p)
	switch {
	case err != nil:
		return err
	case back == nil && p.GetDescription() == old.GetDescription() &&
		proto.Equal(p.GetDefaultAdmissionRule(), old.GetDefaultAdmissionRule()):
		return status.Error(codes.NotFound, "the policy was not changed")
	case back == nil || !strings.HasPrefix(p.GetDescription(), t.run+formerMark):
		return errChanged
	}
	_, err = t.binauthz.UpdatePolicy(ctx, &binaryauthorizationpb.UpdatePolicyRequest{Policy: back})
	return err
}

// sweepPolicy puts back what was before a trial that was killed.
func (t *trial) sweepPolicy(ctx context.Context) error {
	p, err := t.policy(ctx)
	if err != nil {
		return err
	}
	back, err := restored(p)
	switch {
	case err != nil:
		return err
	case back == nil && asksForTrial(p):
		return errChanged
	case back == nil:
		return nil
	}

	if _, err := t.binauthz.UpdatePolicy(ctx,
		&binaryauthorizationpb.UpdatePolicyRequest{Policy: back}); err != nil {
		return fmt.Errorf("putting back the policy: %w", err)
	}
	fmt.Fprintln(t.log, "the default rule of Binary Authorization is again", back.GetDefaultAdmissionRule().GetEvaluationMode(),
		back.GetDefaultAdmissionRule().GetEnforcementMode(), back.GetDefaultAdmissionRule().GetRequireAttestationsBy())
	return nil
}

// asksForTrial is whether a policy asks for the attestation of a trial.
func asksForTrial(p *binaryauthorizationpb.Policy) bool {
	return slices.ContainsFunc(p.GetDefaultAdmissionRule().GetRequireAttestationsBy(), func(a string) bool {
		return strings.Contains(a, "/attestors/"+prefix)
	})
}
