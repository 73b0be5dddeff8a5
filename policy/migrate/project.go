package migrate

import (
	"maps"
	"slices"

	"go.yaml.in/yaml/v4"

	"github.com/attestor-gate/attestor"
)

// A projectPolicy is the policy of a project, as gcloud container binauthz policy export writes it.
type projectPolicy struct {
	Name        string `yaml:"name"`
	Description string `yaml:"description"`
	ETag        string `yaml:"etag"`
	UpdateTime  string `yaml:"updateTime"`
	Global      string `yaml:"globalPolicyEvaluationMode"`
	Whitelist   []struct {
		NamePattern string `yaml:"namePattern"`
	} `yaml:"admissionWhitelistPatterns"`
	Default         admissionRule            `yaml:"defaultAdmissionRule"`
	Clusters        map[string]admissionRule `yaml:"clusterAdmissionRules"`
	Namespaces      map[string]admissionRule `yaml:"kubernetesNamespaceAdmissionRules"`
	ServiceAccounts map[string]admissionRule `yaml:"kubernetesServiceAccountAdmissionRules"`
	Istio           map[string]admissionRule `yaml:"istioServiceIdentityAdmissionRules"`
}

// An admissionRule says who must have attested to an image.
type admissionRule struct {
	EvaluationMode  string   `yaml:"evaluationMode"`
	EnforcementMode string   `yaml:"enforcementMode"`
	RequiredBy      []string `yaml:"requireAttestationsBy"`
}

// readProject reads a policy whose parts are its rules.
func readProject(source string, n *yaml.Node) ([]document, error) {
	var p projectPolicy
	if err := strict(source, n, &p); err != nil {
		return nil, err
	}

	doc := document{source: source, format: "Binary Authorization policy", helps: true}
	doc.always = func(d *draft) { p.always(d) }
	doc.parts = []part{
		{names: []string{"defaultAdmissionRule"}, apply: func(d *draft) { p.Default.apply(d, "defaultAdmissionRule") }},
	}

	// In the order of their keys, so that two imports of one source are the same.
	for _, m := range []struct {
		field string
		rules map[string]admissionRule
	}{
		{"clusterAdmissionRules", p.Clusters}, {"kubernetesNamespaceAdmissionRules", p.Namespaces},
		{"kubernetesServiceAccountAdmissionRules", p.ServiceAccounts}, {"istioServiceIdentityAdmissionRules", p.Istio},
	} {
		for _, key := range slices.Sorted(maps.Keys(m.rules)) {
			path, rule := m.field+"."+key, m.rules[key]
			doc.parts = append(
				doc.parts,
				part{names: []string{path, key}, apply: func(d *draft) { rule.apply(d, path) }},
			)
		}
	}
	return []document{doc}, nil
}

// always notes what exempts images whichever rule is in force.
func (p *projectPolicy) always(d *draft) {
	var patterns []string
	for _, w := range p.Whitelist {
		patterns = append(patterns, w.NamePattern)
	}

	d.exemption("admissionWhitelistPatterns", patterns)
	switch p.Global {
	case "", "DISABLE", "GLOBAL_POLICY_EVALUATION_MODE_UNSPECIFIED":
	case "ENABLE":
		d.note(
			"globalPolicyEvaluationMode",
			LeftOut,
			"",
			"it exempts Google's system images, which this gate does not judge unless a policy "+
				"governs them",
		)
	default:
		d.fail("%s: globalPolicyEvaluationMode: %s is not known", d.source, quote(p.Global))
	}
}

// apply takes from a rule what it says: who attests, and whether it blocks.
func (r *admissionRule) apply(d *draft, path string) {
	switch r.EnforcementMode {
	case "ENFORCED_BLOCK_AND_AUDIT_LOG":
		d.modes = append(d.modes, set(d, path+".enforcementMode", attestor.Enforce))
	case "DRYRUN_AUDIT_LOG_ONLY":
		d.modes = append(d.modes, set(d, path+".enforcementMode", attestor.DryRun))
	default:
		d.fail("%s: %s.enforcementMode: %s is not known", d.source, path, quote(r.EnforcementMode))
		return
	}

	d.note(path+".enforcementMode", Carried, "spec.mode", "%s", r.EnforcementMode)

	switch r.EvaluationMode {
	case "ALWAYS_DENY":
		d.note(
			path+".evaluationMode",
			Lost,
			"",
			"the rule refuses every image; a policy of this gate judges images. An image that no policy governs "+
				"is refused",
		)
	case "ALWAYS_ALLOW":
		// It takes nothing from another source, and by itself is no policy ([draft.refusesAny]).
		d.open = true
		d.note(path+".evaluationMode", LeftOut, "", "the rule allows every image")
	case "REQUIRE_ATTESTATION":
		if len(r.RequiredBy) == 0 {
			d.fail("%s: %s.requireAttestationsBy: is empty", d.source, path)
			return
		}
		// The gate attests for each of them or for none, and only by a key that the attestor itself lists: an attestor
		// whose owner did not add the gate's key makes every image fail, as a missing attestation did.
		for _, a := range r.RequiredBy {
			d.attestors = append(d.attestors, set(d, path+".requireAttestationsBy", a))
		}

		d.note(
			path+".requireAttestationsBy",
			Carried,
			"spec.attestors",
			"%s: the gate attests for each to what passes, with a key of the attestor, or for none",
			clipList(r.RequiredBy),
		)
	default:
		d.fail("%s: %s.evaluationMode: %s is not known", d.source, path, quote(r.EvaluationMode))
	}
}
