// Package preflight answers what a Binary Authorization policy would admit of what runs: it applies the policy's rules
// to workloads, and says of each image whether it is attested as its rule will ask, exempt, or going to be blocked.
//
// It decides nothing about images, and reads no attestation by itself: whether one is valid is the caller's look-up to
// say. What it does not know is never "admitted".
package preflight

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// A Policy is a project's Binary Authorization policy. The zero value admits nothing.
type Policy struct {
	name string
	p    *binaryauthorizationpb.Policy
}

// maxPolicy bounds a policy's text. The live service allows far less.
const maxPolicy = 4 << 20

// ReadPolicy reads what `gcloud container binauthz policy export` writes, or the same as JSON. name is what the report
// calls it if the text has no name. Errors are of kind Invalid.
func ReadPolicy(r io.Reader, name string) (*Policy, error) {
	invalid := func(msg string, err error) (*Policy, error) {
		return nil, &attestor.Error{
			Kind: attestor.Invalid, Msg: name + " is not a Binary Authorization policy: " + msg,
			Fix: "write one with gcloud container binauthz policy export", Err: err,
		}
	}

	text, err := io.ReadAll(io.LimitReader(r, maxPolicy+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if len(text) > maxPolicy {
		return invalid(fmt.Sprintf("it has more than %d bytes", maxPolicy), nil)
	}

	// The loader refuses duplicate keys, and protojson unknown fields: a rule that is misspelt must not read as no
	// rule.
	var tree any
	if err := yaml.Load(text, &tree); err != nil {
		return invalid("it is not YAML or JSON", err)
	}
	asJSON, err := json.Marshal(tree)
	if err != nil {
		return invalid("it is not one mapping of texts", err)
	}
	var p binaryauthorizationpb.Policy
	if err := protojson.Unmarshal(asJSON, &p); err != nil {
		return invalid(strings.TrimSpace(strings.ReplaceAll(err.Error(), "\u00a0", " ")), err)
	}
	return NewPolicy(&p, name)
}

// NewPolicy takes a policy as the API returns it. One with a rule that the service itself would refuse is an error of
// kind Invalid.
func NewPolicy(p *binaryauthorizationpb.Policy, name string) (*Policy, error) {
	if p.GetName() != "" {
		name = p.GetName()
	}
	out := &Policy{name: name, p: p}
	if err := out.check(); err != nil {
		return nil, &attestor.Error{
			Kind: attestor.Invalid,
			Msg:  name + " is not a complete Binary Authorization policy: " + err.Error(),
		}
	}
	return out, nil
}

// Name is the policy's own, projects/P/policy, or the file's.
func (p *Policy) Name() string { return p.name }

// AsksSystemPolicy reports whether Google's own images are exempt by the system policy.
func (p *Policy) AsksSystemPolicy() bool {
	return p.p.GetGlobalPolicyEvaluationMode() == binaryauthorizationpb.Policy_ENABLE
}

type ruleMap = map[string]*binaryauthorizationpb.AdmissionRule

// check refuses what the service refuses: a rule without a mode would otherwise be guessed at.
func (p *Policy) check() error {
	kinds := map[string]ruleMap{
		"clusterAdmissionRules":                  p.p.GetClusterAdmissionRules(),
		"kubernetesNamespaceAdmissionRules":      p.p.GetKubernetesNamespaceAdmissionRules(),
		"kubernetesServiceAccountAdmissionRules": p.p.GetKubernetesServiceAccountAdmissionRules(),
		"istioServiceIdentityAdmissionRules":     p.p.GetIstioServiceIdentityAdmissionRules(),
	}

	// "A valid policy has only one of the following rule maps non-empty."
	var given []string
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		if len(kinds[kind]) > 0 {
			given = append(given, kind)
		}
		for key, r := range kinds[kind] {
			if err := checkRule(r); err != nil {
				return fmt.Errorf("%s %s: %w", kind, key, err)
			}
		}
	}
	if len(given) > 1 {
		return fmt.Errorf("it has %s; only one kind of rules is allowed", strings.Join(given, " and "))
	}
	if p.p.GetDefaultAdmissionRule() == nil {
		return errors.New("defaultAdmissionRule is missing")
	}
	if err := checkRule(p.p.GetDefaultAdmissionRule()); err != nil {
		return fmt.Errorf("defaultAdmissionRule: %w", err)
	}
	return nil
}

var attestorForm = regexp.MustCompile(`\Aprojects/[^/\s]+/attestors/[^/\s]+\z`)

func checkRule(r *binaryauthorizationpb.AdmissionRule) error {
	requires := r.GetEvaluationMode() == binaryauthorizationpb.AdmissionRule_REQUIRE_ATTESTATION
	switch r.GetEvaluationMode() {
	case binaryauthorizationpb.AdmissionRule_ALWAYS_ALLOW, binaryauthorizationpb.AdmissionRule_ALWAYS_DENY,
		binaryauthorizationpb.AdmissionRule_REQUIRE_ATTESTATION:
	default:
		return errors.New("evaluationMode is missing or not known")
	}
	switch r.GetEnforcementMode() {
	case binaryauthorizationpb.AdmissionRule_ENFORCED_BLOCK_AND_AUDIT_LOG,
		binaryauthorizationpb.AdmissionRule_DRYRUN_AUDIT_LOG_ONLY:
	default:
		return errors.New("enforcementMode is missing or not known")
	}

	// A rule that requires attestations by nobody would admit everything.
	if requires != (len(r.GetRequireAttestationsBy()) > 0) {
		return errors.New("requireAttestationsBy goes with REQUIRE_ATTESTATION, and only with it")
	}
	for _, a := range r.GetRequireAttestationsBy() {
		if !attestorForm.MatchString(a) {
			return fmt.Errorf("%q is not projects/PROJECT/attestors/NAME", short(a))
		}
	}
	return nil
}

// A rule is one that applies to a workload.
type rule struct {
	name string
	*binaryauthorizationpb.AdmissionRule
}

func (r rule) dryRun() bool {
	return r.GetEnforcementMode() == binaryauthorizationpb.AdmissionRule_DRYRUN_AUDIT_LOG_ONLY
}

// String says in words what the rule asks.
func (r rule) String() string {
	text := "admits everything"
	switch r.GetEvaluationMode() {
	case binaryauthorizationpb.AdmissionRule_ALWAYS_DENY:
		text = "refuses everything"
	case binaryauthorizationpb.AdmissionRule_REQUIRE_ATTESTATION:
		text = "requires attestations by " + strings.Join(r.GetRequireAttestationsBy(), " and ")
	}
	if r.dryRun() {
		text += ", in dry run"
	}
	return r.name + " " + text
}

// rules lists the rules that may apply to a workload: one, or several if the policy's rules go by something that is not
// known of it. The workload is then as safe as by the strictest of them.
func (p *Policy) rules(w audit.Workload, cluster string) ([]rule, error) {
	byDefault := rule{"the default rule", p.p.GetDefaultAdmissionRule()}
	if w.Kind != audit.KindPod {
		return []rule{byDefault}, nil
	}

	pick := func(kind, key string, from ruleMap) ([]rule, error) {
		if r := from[key]; r != nil {
			return []rule{{"the rule of " + kind + " " + key, r}}, nil
		}
		return []rule{byDefault}, nil
	}
	switch {
	case len(p.p.GetClusterAdmissionRules()) > 0 && cluster == "":
		return nil, errors.New(
			"the policy has rules by cluster, and it is not known which cluster the pod is in: give " +
				"LOCATION.CLUSTER=FILE",
		)
	case len(p.p.GetClusterAdmissionRules()) > 0:
		return pick("cluster", cluster, p.p.GetClusterAdmissionRules())
	case len(p.p.GetKubernetesNamespaceAdmissionRules()) > 0:
		return pick("namespace", w.Namespace, p.p.GetKubernetesNamespaceAdmissionRules())
	case len(p.p.GetKubernetesServiceAccountAdmissionRules()) > 0:
		return pick(
			"service account",
			w.Namespace+":"+w.ServiceAccount,
			p.p.GetKubernetesServiceAccountAdmissionRules(),
		)
	}

	// "spiffe://<domain>/ns/<namespace>/sa/<serviceaccount> or <domain>/ns/<namespace>/sa/<serviceaccount>". A list of
	// pods does not say the mesh's domain, nor whether the pod is in the mesh.
	out := []rule{byDefault}
	identities := p.p.GetIstioServiceIdentityAdmissionRules()
	for _, key := range slices.Sorted(maps.Keys(identities)) {
		if strings.HasSuffix(key, "/ns/"+w.Namespace+"/sa/"+w.ServiceAccount) {
			out = append(out, rule{"the rule of identity " + key, identities[key]})
		}
	}
	return out, nil
}

// exempt returns the pattern that exempts an image, or "".
func (p *Policy) exempt(image string) string {
	for _, w := range p.p.GetAdmissionWhitelistPatterns() {
		if Matches(w.GetNamePattern(), image) {
			return w.GetNamePattern()
		}
	}
	return ""
}

// Matches reports whether an allowlist pattern of Binary Authorization covers an image, as the definition of a workload
// names it. "An image name pattern to allowlist, in the form registry/path/to/image. This supports a trailing *
// wildcard, but this is allowed only in text after the registry/ part. This also supports a trailing ** wildcard which
// matches subdirectories of a given entry." A pattern of another form covers nothing.
func Matches(pattern, image string) bool {
	registry, path, ok := strings.Cut(pattern, "/")
	if !ok || registry == "" || strings.Contains(registry, "*") || image == "" {
		return false
	}

	literal := strings.TrimRight(path, "*")
	if strings.Contains(literal, "*") || len(path)-len(literal) > 2 {
		return false
	}
	prefix := registry + "/" + literal
	rest, covered := strings.CutPrefix(image, prefix)
	switch len(path) - len(literal) {
	case 0:
		// The image by whichever tag or digest, unless the pattern names one.
		named := strings.ContainsAny(path, ":@")
		tagged := strings.HasPrefix(rest, "@") || strings.HasPrefix(rest, ":") && !strings.Contains(rest, "/")
		return covered && (rest == "" || tagged && !named)
	case 1:
		return covered && rest != "" && !strings.Contains(rest, "/")
	}
	return covered && rest != ""
}

func short(s string) string {
	const most = 200
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
