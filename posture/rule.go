package posture

import "slices"

// A rule is one control of docs/posture.md.
type rule struct {
	id    string
	means string // what a service that passes has
	jobs  bool   // applies to jobs too
	whole bool   // passes even where parts of the definition are known only after apply
	judge func(*judging) answer
}

// A RuleInfo documents a rule.
type RuleInfo struct {
	ID    string
	Means string
	Jobs  bool // applies to jobs too
}

// Rules lists every rule, in the order of findings.
func Rules() []RuleInfo {
	var out []RuleInfo
	for _, r := range rules() {
		out = append(out, RuleInfo{ID: r.id, Means: r.means, Jobs: r.jobs})
	}
	return out
}

func rules() []rule {
	return []rule{
		{"REGION_APPROVED", "the region is in the profile's list", true, true, regionApproved},
		{"INVOKER_AUTH", "unauthenticated calls are not allowed", true, true, invokerAuth},
		{"INGRESS_RESTRICTED", "ingress is internal or internal-and-cloud-load-balancing", false, false, ingressRestricted},
		{"DEFAULT_URL_DISABLED", "the run.app address is off where a load balancer fronts the service", false, false, defaultURLDisabled},
		{"DEDICATED_SERVICE_ACCOUNT", "a service account is set, and is not a default one", true, false, dedicatedServiceAccount},
		{"LEAST_PRIVILEGE", "the service account holds no basic role on the project", true, false, leastPrivilege},
		{"VPC_EGRESS", "a connector or Direct VPC egress is set", true, false, vpcEgress},
		{"STATIC_EGRESS_IP", "all traffic leaves through the VPC, where Cloud NAT gives it a fixed address", true, false, staticEgressIP},
		{"SECRETS_BY_REFERENCE", "no environment value looks like a secret", true, false, secretsByReference},
		{"SECRETS_AS_FILES", "secrets are mounted as files rather than set in the environment", true, false, secretsAsFiles},
		{"SECRET_VERSION_PINNED", "no secret is taken at latest", true, false, secretVersionPinned},
		{"MIN_INSTANCES", "at least one instance is kept warm", false, false, minInstances},
		{"MAX_INSTANCES", "an upper bound of instances is set", false, false, maxInstances},
		{"RESOURCE_LIMITS", "CPU and memory limits are set", true, false, resourceLimits},
		{"TIMEOUT_BOUNDED", "the request timeout is at most the profile's", false, false, timeoutBounded},
		{"CONCURRENCY_SET", "container concurrency is set", false, false, concurrencySet},
		{"IMAGE_BY_DIGEST", "the image is named by digest", true, false, imageByDigest},
		{"IMAGE_ATTESTED", "the image's digest carries a valid attestation of this gate", true, false, imageAttested},
		{"BINARY_AUTHORIZATION", "Binary Authorization is on, without a standing break-glass", true, false, binaryAuthorization},
		{"CMEK", "a customer-managed encryption key is set", true, false, cmek},
		{"PROBES", "a startup or liveness probe is set", false, false, probes},
		{"REVISION_JUDGED", "no traffic goes to a revision that is not this definition", false, false, revisionJudged},
	}
}

func isRule(id string) bool {
	return slices.ContainsFunc(rules(), func(r rule) bool { return r.id == id })
}

// afterApply is the answer about a value that a plan does not know yet.
func afterApply(what string) answer {
	return lacking(what+" is known only after apply", "judge the service as `gcloud run services describe --format export` prints it afterwards")
}
