package emulator

import (
	"context"

	binauthzpb "cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// GetPolicy answers a project's policy; that of a project which set none
// allows everything, as in the live service.
func (s binauthzService) GetPolicy(ctx context.Context, r *binauthzpb.GetPolicyRequest) (*binauthzpb.Policy, error) {
	if err := checkName(s.names.policy, "name", r.GetName()); err != nil {
		return nil, err
	}
	if err := s.require(ctx, "binaryauthorization.policy.get", r.GetName()); err != nil {
		return nil, err
	}

	s.store.mu.RLock()
	defer s.store.mu.RUnlock()
	return s.policy(r.GetName()), nil
}

// policy is the stored or the default policy. The caller holds the store's lock.
func (e *Emulator) policy(name string) *binauthzpb.Policy {
	if row, ok := e.store.get(tablePolicies, name); ok {
		return decode[binauthzpb.Policy](row)
	}

	p := &binauthzpb.Policy{
		Name:                       name,
		GlobalPolicyEvaluationMode: binauthzpb.Policy_ENABLE,
		DefaultAdmissionRule: &binauthzpb.AdmissionRule{
			EvaluationMode:  binauthzpb.AdmissionRule_ALWAYS_ALLOW,
			EnforcementMode: binauthzpb.AdmissionRule_ENFORCED_BLOCK_AND_AUDIT_LOG,
		},
	}

	p.Etag = etagOf(p)
	return p
}

func (s binauthzService) UpdatePolicy(
	ctx context.Context,
	r *binauthzpb.UpdatePolicyRequest,
) (*binauthzpb.Policy, error) {
	name := r.GetPolicy().GetName()
	if err := checkName(s.names.policy, "policy.name", name); err != nil {
		return nil, err
	}
	if err := s.require(ctx, "binaryauthorization.policy.update", name); err != nil {
		return nil, err
	}

	p := proto.CloneOf(r.GetPolicy())
	if err := s.checkPolicy(p); err != nil {
		return nil, err
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()

	// Compared and written under one lock, so that no write between them is lost.
	if err := checkEtag(p.GetEtag(), s.policy(name).GetEtag()); err != nil {
		return nil, err
	}
	p.UpdateTime = timestamppb.New(s.now())
	p.Etag = etagOf(p)
	return p, s.store.apply(change{table: tablePolicies, name: name, data: encode(p)})
}

func (s binauthzService) checkPolicy(p *binauthzpb.Policy) error {
	// The live service takes one kind of specific rules at a time.
	maps := 0
	rules := []*binauthzpb.AdmissionRule{p.GetDefaultAdmissionRule()}
	for _, m := range []map[string]*binauthzpb.AdmissionRule{
		p.GetClusterAdmissionRules(), p.GetKubernetesNamespaceAdmissionRules(),
		p.GetKubernetesServiceAccountAdmissionRules(), p.GetIstioServiceIdentityAdmissionRules(),
	} {
		if len(m) > 0 {
			maps++
		}
		for _, r := range m {
			rules = append(rules, r)
		}
	}

	if maps > 1 {
		return invalid("policy", "only one kind of specific admission rules may be set")
	}
	for _, r := range rules {
		if err := s.checkRule(r); err != nil {
			return err
		}
	}
	return nil
}

func (s binauthzService) checkRule(r *binauthzpb.AdmissionRule) error {
	required := r.GetEvaluationMode() == binauthzpb.AdmissionRule_REQUIRE_ATTESTATION
	switch {
	case r.GetEvaluationMode() == binauthzpb.AdmissionRule_EVALUATION_MODE_UNSPECIFIED:
		return invalid("policy", "an admission rule needs an evaluation_mode; the default rule is required")
	case r.GetEnforcementMode() == binauthzpb.AdmissionRule_ENFORCEMENT_MODE_UNSPECIFIED:
		return invalid("policy", "an admission rule needs an enforcement_mode")
	// A rule that requires attestations by nobody would admit everything.
	case required != (len(r.GetRequireAttestationsBy()) > 0):
		return invalid("policy", "require_attestations_by goes with REQUIRE_ATTESTATION, and only with it")
	}

	for _, a := range r.GetRequireAttestationsBy() {
		if err := checkName(s.names.attestor, "policy", a); err != nil {
			return err
		}
	}
	return nil
}

// GetSystemPolicy answers the policy that exempts Google's own images.
func (s systemPolicyService) GetSystemPolicy(
	_ context.Context,
	r *binauthzpb.GetSystemPolicyRequest,
) (*binauthzpb.Policy, error) {
	if err := checkName(s.names.systemPolicy, "name", r.GetName()); err != nil {
		return nil, err
	}
	return &binauthzpb.Policy{
		Name:                       r.GetName(),
		GlobalPolicyEvaluationMode: binauthzpb.Policy_DISABLE,
		AdmissionWhitelistPatterns: []*binauthzpb.AdmissionWhitelistPattern{
			{NamePattern: "gcr.io/google_containers/**"},
			{NamePattern: "gcr.io/gke-release/**"},
			{NamePattern: "registry.k8s.io/**"},
		},
		DefaultAdmissionRule: &binauthzpb.AdmissionRule{
			EvaluationMode:  binauthzpb.AdmissionRule_ALWAYS_DENY,
			EnforcementMode: binauthzpb.AdmissionRule_ENFORCED_BLOCK_AND_AUDIT_LOG,
		},
	}, nil
}
