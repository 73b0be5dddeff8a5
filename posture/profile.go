package posture

import (
	"maps"
	"slices"
	"time"

	"github.com/attestor-gate/attestor/internal/exception"
)

// A level is what becomes of a rule that is broken.
type level string

const (
	deny level = "deny"
	warn level = "warn"
	off  level = "off"
	skip level = "skip" // of missing evidence only
)

// A Profile says which rules hold, and how strictly. [Builtin] and
// [ParseProfile] make one; the zero value is refused by [New].
type Profile struct {
	name       string
	levels     map[string]level // every rule's
	regions    []string
	maxTimeout time.Duration
	missing    level // skip, or deny: a rule without evidence is an error
	behindIAP  []string
	exceptions exception.List
}

// Name is what reports call it.
func (p Profile) Name() string { return p.name }

// Profiles lists the profiles that need no file.
func Profiles() []string { return []string{"baseline", "hipaa", "strict"} }

// Builtin is one of [Profiles].
func Builtin(name string) (Profile, bool) {
	p := Profile{name: name, levels: map[string]level{}, maxTimeout: time.Minute, missing: skip,
		regions: []string{"us-central1", "us-east1", "us-east4", "us-west1", "us-west2"}}

	// Every rule denies unless the profile says otherwise, a new rule too.
	for _, r := range rules() {
		p.levels[r.id] = deny
	}

	set := func(l level, ids ...string) {
		for _, id := range ids {
			p.levels[id] = l
		}
	}
	switch name {
	case "baseline":
		p.maxTimeout = 5 * time.Minute
		set(off, "REGION_APPROVED", "STATIC_EGRESS_IP", "CMEK", "KEY_REVOCATION", "DATABASE_REGION")
		set(warn, reachAdvice()...)
		set(warn, "CLOUD_ARMOR", "WAF_RULES", "RATE_LIMITED", "PRIVATE_GOOGLE_ACCESS", "SERVICE_PERIMETER",
			"ORGANIZATION_POLICIES", "IMAGES_SCANNED")
		set(off, "IDENTITY_AWARE_PROXY", "CONNECTOR_SIZED")
		set(warn, "PRIVATE_SERVICE_CONNECT", "BASE_BY_DIGEST", "CONTEXT_IGNORED")
		set(warn, advice()...)
		set(warn, "SHELL_DISABLED", "DEFAULT_URL_DISABLED", "VPC_EGRESS", "MIN_INSTANCES", "CONCURRENCY_SET",
			"SECRETS_AS_FILES",
			"SECRET_VERSION_PINNED", "PROBES")
	case "hipaa":
		set(off, "STATIC_EGRESS_IP")
		set(warn, "KEY_REVOCATION", "DATABASE_REGION")
		set(warn, reachAdvice()...)
		set(warn, advice()...)
		set(warn, "SECRETS_AS_FILES", "SECRET_VERSION_PINNED", "PROBES", "IDENTITY_AWARE_PROXY", "CONNECTOR_SIZED")
	case "strict":
		p.missing = deny
		set(warn, "KEY_REVOCATION")
	default:
		return Profile{}, false
	}

	return p, true
}

// advice are the rules about Dockerfiles whose breach is no way in.
func advice() []string {
	return []string{"USER_NOT_NUMERIC", "GROUP_ROOT", "BASE_SLIM", "PACKAGES_CLEANED", "ENTRYPOINT_EXEC",
		"DOCKERFILE_LINT"}
}

// reachAdvice are the rules about what a workload reaches that the source documents do not ask for.
func reachAdvice() []string {
	return []string{"ACCOUNT_REACH", "BUILD_ACCOUNT", "NETWORK_OWN", "MOUNTS_READ_ONLY", "DATABASE_ENCRYPTED"}
}

// extended is a copy that can be changed.
func (p Profile) extended(name string) Profile {
	p.name = name
	p.levels = maps.Clone(p.levels)
	p.regions = slices.Clone(p.regions)

	return p
}
