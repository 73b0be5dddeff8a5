package posture

import "slices"

// A rule is one control of docs/posture.md.
type rule struct {
	id    string
	means string   // what a service that passes has
	on    []string // the kinds of workload that it applies to; none: services and functions
	whole bool     // passes even where parts of the definition are known only after apply
	judge func(*judging) answer

	inputs bool // looks at arguments and variables
	// of a Terraform plan, which it is about instead of services; the first is what a plan without any would add
	resources []string
	optional  bool // that a plan has none is no missing evidence
}

// A RuleInfo documents a rule.
type RuleInfo struct {
	ID    string
	Means string
	Jobs  bool // applies to jobs too
	Plan  bool // is about what stands around services in a Terraform plan
	Build bool // is about Dockerfiles
}

// Rules lists every rule, in the order of findings.
func Rules() []RuleInfo {
	var out []RuleInfo
	for _, r := range rules() {
		out = append(out, RuleInfo{ID: r.id, Means: r.means, Jobs: r.appliesTo(kindJob), Plan: r.resources != nil,
			Build: slices.Contains(r.on, kindDockerfile)})
	}

	return out
}

// concerns reports whether a rule is put to a subject at all. Of workloads that the input does not define only the
// grants are known.
func (r rule) concerns(s *workload) bool {
	switch {
	case s.kind == kindPlan || s.kind == kindDockerfile:
		return (r.resources != nil) == (s.kind == kindPlan) &&
			slices.Contains(r.on, kindDockerfile) == (s.kind == kindDockerfile)
	case r.resources != nil || slices.Contains(r.on, kindDockerfile):
		return false
	}

	return !s.foreign || r.id == "INVOKER_AUTH"
}

// called are the workloads that answer requests.
func called() []string { return []string{kindService, kindFunction, kindInstance} }

// mounting are the workloads that can mount buckets and shares; a function cannot.
func mounting() []string { return []string{kindService, kindJob, kindPool, kindInstance} }

// appliesTo reports whether a rule is about workloads of a kind.
func (r rule) appliesTo(kind string) bool {
	if r.on == nil {
		return kind == kindService || kind == kindFunction
	}
	return slices.Contains(r.on, kind)
}

func rules() []rule { return slices.Concat(serviceRules(), planRules(), buildRules()) }

func serviceRules() []rule {
	all := workloadKinds()
	return []rule{
		{id: "REGION_APPROVED", means: "the region is in the profile's list", on: all, whole: true,
			judge: regionApproved},
		{id: "INVOKER_AUTH", means: "unauthenticated calls are not allowed", on: all, whole: true, judge: invokerAuth},
		{id: "INGRESS_RESTRICTED", means: "ingress is internal or internal-and-cloud-load-balancing",
			judge: ingressRestricted, on: called()},
		{id: "DEFAULT_URL_DISABLED", means: "the run.app address is off where a load balancer fronts the service",
			judge: defaultURLDisabled, on: []string{kindService, kindInstance}},
		{id: "DEDICATED_SERVICE_ACCOUNT", means: "a service account is set, and is not a default one", on: all,
			judge: dedicatedServiceAccount},
		{id: "LEAST_PRIVILEGE", means: "the service account holds no basic role on the project", on: all,
			judge: leastPrivilege},
		{id: "VPC_EGRESS", means: "a connector or Direct VPC egress is set", on: all, judge: vpcEgress},
		{id: "STATIC_EGRESS_IP", means: "all traffic leaves through the VPC, where Cloud NAT gives it a fixed address",
			on: all, judge: staticEgressIP},
		{id: "SECRETS_BY_REFERENCE", means: "no environment value looks like a secret", on: all,
			judge:  secretsByReference,
			inputs: true},
		{id: "SECRETS_AS_FILES", means: "secrets are mounted as files rather than set in the environment", on: all,
			judge: secretsAsFiles, inputs: true},
		{id: "SECRET_VERSION_PINNED", means: "no secret is taken at latest", on: all, judge: secretVersionPinned,
			inputs: true},
		{id: "MIN_INSTANCES", means: "at least one instance is kept warm", judge: minInstances},
		{id: "MAX_INSTANCES", means: "an upper bound of instances is set", judge: maxInstances},
		{id: "RESOURCE_LIMITS", means: "CPU and memory limits are set", on: all, judge: resourceLimits},
		{id: "TIMEOUT_BOUNDED", means: "the request timeout is at most the profile's", judge: timeoutBounded},
		{id: "CONCURRENCY_SET", means: "container concurrency is set", judge: concurrencySet},
		{id: "IMAGE_BY_DIGEST", means: "the image is named by digest", on: all, judge: imageByDigest},
		{id: "IMAGE_ATTESTED", means: "the image's digest carries a valid attestation of this gate", on: all,
			judge: imageAttested},
		{id: "BINARY_AUTHORIZATION", means: "Binary Authorization is on, without a standing break-glass", on: all,
			judge: binaryAuthorization},
		{id: "CMEK", means: "a customer-managed encryption key is set", on: all, judge: cmek},
		{id: "PROBES", means: "a startup or liveness probe is set", judge: probes, on: []string{kindService}},
		{id: "REVISION_JUDGED", means: "no traffic goes to a revision that is not this definition",
			judge: revisionJudged,
			on:    []string{kindService, kindPool, kindFunction}},
		{id: "SHELL_DISABLED", means: "nobody can open an SSH session in a running container", judge: shellDisabled,
			on: []string{kindService, kindPool, kindInstance}},
		{id: "ACCOUNT_REACH", means: "the service account cannot take the project over, nor read every secret", on: all,
			judge: accountReach},
		{id: "DATABASE_REGION", means: "the databases that it connects to are in regions of the profile's list",
			on:    all,
			judge: databaseRegion, inputs: true},
		{id: "BUILD_ACCOUNT", means: "source is built by an account of its own", judge: buildAccount},
		{id: "NETWORK_OWN", means: "traffic leaves by a network of one's own, not by the network default", on: all,
			judge: networkOwn},
		{id: "NFS_PRIVATE", means: "NFS shares are reached within the VPC", on: mounting(), judge: sharePrivate},
		{id: "MOUNTS_READ_ONLY", means: "buckets and shares are mounted for reading only", on: mounting(),
			judge: mountsReadOnly},
		{id: "KEY_REVOCATION", means: "the definition says what happens when the encryption key is revoked",
			on: []string{kindService, kindPool, kindInstance}, judge: keyRevocation},
	}
}

// Meanings explains rules by their id, for formats that describe them.
func Meanings() map[string]string {
	out := map[string]string{}
	for _, r := range rules() {
		out[r.id] = r.means
	}

	return out
}

func isRule(id string) bool {
	return slices.ContainsFunc(rules(), func(r rule) bool { return r.id == id })
}

// afterApply is the answer about a value that a plan does not know yet.
func afterApply(what string) answer {
	return missingEvidence(what+" is known only after apply",
		"write a value that the plan knows, or judge the service as `gcloud run services describe --format export` "+
			"prints it afterwards")
}
