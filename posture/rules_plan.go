package posture

import (
	"slices"
	"strings"
)

// kindPlan is the kind of a Terraform plan as the subject of rules: those about
// the resources beside its services.
const kindPlan = "plan"

func planRules() []rule {
	on := func(id, means string, judge func(*judging) answer, resources ...string) rule {
		return rule{id: id, means: means, judge: judge, resources: resources}
	}
	return []rule{
		on("TLS_BOUNDED", "the load balancer answers nothing older than TLS 1.2", tlsBounded,
			slices.Concat(httpsProxies(), httpProxies(), sslPolicies())...),
		on("CLOUD_ARMOR", "every external backend has a security policy", cloudArmor, backends()...),
		on("WAF_RULES", "the security policy denies SQL injection and cross-site scripting", wafRules,
			globalArmor, regionalArmor, globalArmorRule, regionalArmorRule),
		on("RATE_LIMITED", "the security policy throttles or bans", rateLimited, globalArmor, regionalArmor,
			globalArmorRule, regionalArmorRule),
		on("IDENTITY_AWARE_PROXY", "a backend that people use is behind Identity-Aware Proxy", identityAwareProxy,
			slices.Concat(backends(), proxyGrants())...),
		on("PRIVATE_GOOGLE_ACCESS", "subnets reach Google's APIs privately", privateGoogleAccess,
			"google_compute_subnetwork"),
		on("CONNECTOR_SIZED", "a connector has a least and a most number of machines, and their type", connectorSized,
			"google_vpc_access_connector"),
		{id: "PRIVATE_SERVICE_CONNECT", means: "a published service accepts named consumers only",
			judge:     privateServiceConnect,
			resources: []string{serviceAttachment}, optional: true},
		on("DATABASE_PRIVATE", "databases have no public address", databasePrivate, databaseType, alloyType),
		on("DATABASE_ENCRYPTED", "databases refuse connections without TLS", databaseEncrypted, databaseType),
		on("NO_BASIC_ROLES", "nobody is granted a basic role, and everybody nothing", noBasicRoles,
			slices.Concat(projectGrants(), guardedGrants())...),
		on("KEYLESS", "nobody downloads a service account's key, and a workload identity provider says whose "+
			"tokens count",
			keyless, "google_iam_workload_identity_pool_provider", "google_service_account_key"),
		on("SERVICE_PERIMETER", "the perimeter restricts services, and refuses", servicePerimeter,
			perimeterType, perimetersType),
		on("ORGANIZATION_POLICIES", "the organisation restricts ingress, VPC egress and Binary Authorization "+
			"of Cloud Run",
			organizationPolicies, slices.Concat([]string{organizationPolicy}, legacyPolicies())...),
		on("ADMISSION_POLICY", "Binary Authorization requires an attestation, and blocks", admissionPolicy,
			"google_binary_authorization_policy"),
		on("IMAGES_SCANNED", "repositories have their pushes scanned", imagesScanned,
			"google_artifact_registry_repository"),
	}
}

// notInPlan is the answer for a plan without any resource of the rule's types.
// That is no pass; whether it is missing evidence, [judging.requireInPlan] says.
func notInPlan() answer {
	return answer{state: stateNotInPlan, found: "the plan has no resource that this rule is about"}
}

// requireInPlan turns "not in the plan" into missing evidence, where the profile
// requires evidence and no other plan of the input has such a resource.
func (c *judging) requireInPlan(r rule, a answer) answer {
	if a.state != stateNotInPlan || c.profile.missing != deny || r.optional || r.resources == nil {
		return a
	}

	// A plan of the same input may have what this one lacks, as where modules are applied apart.
	for _, other := range c.model.workloads {
		if other.kind != kindPlan || other == c.s {
			continue
		}

		there := *c
		if there.s = other; r.judge(&there).state != stateNotInPlan {
			return answer{state: stateNotInPlan, found: "another plan has the resources that this rule is about"}
		}
	}

	return missingEvidence(a.found, "add "+r.resources[0]+" to the plan, pass the plan that has it as well, "+
		"or, if there "+
		"is to be none, turn the rule off in a profile of your own: rules: {"+r.id+": off}")
}

// each applies wrong to every resource of a type. wrong returns a predicate, such
// as "has no SSL policy", or "" for a resource that keeps the rule, or what [undecided] makes.
func (c *judging) each(kind string, wrong func(*node) string) (faults []fault, n int) {
	for _, p := range c.s.plan.of(kind) {
		n++

		switch w := wrong(p.after); {
		case strings.HasPrefix(w, openMark):
			c.opens(p.address, w[len(openMark):])
		case w != "":
			faults = append(faults, fault{subject: p.address, found: clip(p.address) + " " + w})
		}
	}

	return faults, n
}

// opens notes a value that decides and is known only after apply: without a fault elsewhere the rule has no answer.
func (c *judging) opens(address, path string) {
	if c.open == "" {
		c.open = clip(strings.TrimSuffix(address+"."+path, "."))
	}
}

// eachOf is each for several types.
func (c *judging) eachOf(kinds []string, wrong func(*node) string) (faults []fault, n int) {
	for _, kind := range kinds {
		more, m := c.each(kind, wrong)
		faults, n = append(faults, more...), n+m
	}

	return faults, n
}

// all is the answer of a rule that every resource of a type has to keep. A plan
// without any has not kept it.
func (c *judging) all(kind, required, terraform, fine string, wrong func(*node) string) answer {
	switch faults, n := c.each(kind, wrong); {
	case n == 0:
		return notInPlan()
	case len(faults) > 0:
		return violated(required, remedy{terraform: terraform}, faults...)
	case c.open != "":
		return afterApplyIn(c.open)
	}

	return satisfied("%s", fine)
}

// isOneOf reports whether a value is known and one of values. An unknown value is
// not, so that a rule that asks for a value does not pass on it.
func isOneOf(n *node, values ...string) bool {
	return n != nil && n.kind == nodeText && slices.Contains(values, n.text)
}

// isSet reports whether a value is set, or will be after apply: a reference to a
// resource of the same plan is unknown until then, and is set.
func isSet(n *node) bool {
	return n != nil && (n.kind == nodeUnknown || n.kind == nodeText && n.text != "" ||
		n.kind == nodeList && len(n.items) > 0)
}

// items are the elements of a list; none where the list is unknown.
func items(n *node) []*node {
	if n == nil || n.kind != nodeList {
		return nil
	}
	return n.items
}

// tlsBounded asks for an SSL policy on every HTTPS proxy, and for TLS 1.2 in every SSL policy. Without a policy a proxy
// has Google's default, profile COMPATIBLE with TLS 1.0. A proxy for plain HTTP may only send requests on to HTTPS.
func tlsBounded(c *judging) answer {
	const fix = "min_tls_version = \"TLS_1_2\" # in google_compute_ssl_policy\n" +
		"ssl_policy = google_compute_ssl_policy.NAME.id # in google_compute_target_https_proxy"
	faults, policies := c.eachOf(sslPolicies(), func(n *node) string {
		switch version := n.at("min_tls_version"); {
		case isUnknown(version):
			return undecided("min_tls_version")
		case isOneOf(version, "TLS_1_2", "TLS_1_3"):
			return ""
		}
		return "allows versions older than TLS 1.2"
	})

	unknown, elsewhere := false, false
	entrances := c.s.plan.entrances()
	for _, e := range entrances {
		found := ""

		// A plain proxy may only redirect; one with TLS needs a policy that the input shows.
		switch {
		case e.plain && e.redirects == never:
			found = "serves plain HTTP, without TLS"
		case e.plain && e.redirects == sometimes:
			unknown = true
		case !e.plain && !e.ssl.unknown && e.ssl.text == "":
			found = "has no SSL policy, which allows TLS 1.0"
		case !e.plain && e.ssl.text != "" && len(c.model.named(e.ssl.text, sslPolicies()...)) == 0:
			elsewhere = true
		case !e.plain && e.ssl.unknown && !c.pointsAt(e.proxy, "ssl_policy", sslPolicies()...):
			elsewhere = true
		}

		if found != "" {
			faults = append(faults, fault{subject: e.proxy.address, found: clip(e.proxy.address) + " " + found})
		}
	}

	// A policy alone guards nothing, but it is judged: other configurations may
	// attach it by its name.
	switch {
	case policies+len(entrances) == 0:
		return notInPlan()
	case len(faults) > 0:
		return violated("TLS 1.2 at least", remedy{terraform: fix}, faults...)
	case unknown:
		return missingEvidence("the plan does not show the URL map of a proxy for plain HTTP",
			"pass the plan with its configuration, as `terraform show -json` prints it, or that of the URL map as well")
	}

	if elsewhere {
		return missingEvidence("the SSL policy that a proxy names is not in the input",
			"pass the plan that has it as well, or the output of `gcloud compute ssl-policies describe`")
	}
	if c.open != "" {
		return afterApplyIn(c.open)
	}

	return satisfied("load balancers accept TLS 1.2 and newer only")
}

// pointsAt reports whether a reference that is known only after apply is to a resource of the input, as far as its plan
// shows. A plan without its configuration does not; then any resource of the types may be meant.
func (c *judging) pointsAt(from *planned, attribute string, kinds ...string) bool {
	to, known := c.s.plan.points(from, from.after.at(attribute), attribute, kinds...)
	return len(to) > 0 || !known && len(c.s.plan.of(kinds...)) > 0
}

// cloudArmor asks for a security policy on each external backend. WAF_RULES and
// RATE_LIMITED judge what the policies do.
func cloudArmor(c *judging) answer {
	var faults []fault
	all := c.s.plan.of(backends()...)
	for _, p := range all {
		if !external(p) {
			continue
		}

		value := p.after.at("security_policy")
		policies, known := c.s.plan.points(p, value, "security_policy", globalArmor, regionalArmor)

		// A reference to something that is no security policy of the plan may turn out to be empty.
		if isUnknown(value) && !known && len(c.s.plan.of(globalArmor, regionalArmor)) == 0 {
			c.opens(p.address, "security_policy")
		}
		for _, policy := range policies {
			if isUnknown(policy.after.at("type")) && c.s.plan.wordingOf(policy.address).known {
				c.opens(policy.address, "type")
			}
		}

		switch {
		case !isSet(value):
			faults = append(faults, fault{subject: p.address, found: clip(p.address) + " has no security policy"})
		case slices.ContainsFunc(policies, func(policy *planned) bool { return !guardsBackends(policy.after) }):
			faults = append(faults, fault{subject: p.address, found: clip(p.address) + " has a security policy of " +
				"another type, " +
				"which does not guard backends"})
		}
	}

	switch {
	case len(all) == 0:
		return notInPlan()
	case len(faults) > 0:
		return violated("a security policy on each external backend",
			remedy{terraform: "security_policy = google_compute_security_policy.NAME.id"}, faults...)
	}

	if c.open != "" {
		return afterApplyIn(c.open)
	}

	return satisfied("every external backend has a security policy")
}

func (n *node) written() string {
	if n == nil || n.kind != nodeText {
		return ""
	}
	return n.text
}

// proxyGrants are the resources that say who may pass Identity-Aware Proxy.
func proxyGrants() []string {
	var out []string
	for _, of := range []string{"cloud_run_service", "backend_service", "region_backend_service", "type_compute",
		"forwarding_rule_service", "region_forwarding_rule_service", ""} {
		for _, form := range grantForms() {
			out = append(out, strings.ReplaceAll("google_iap_web_"+of+"_iam_"+form, "__", "_"))
		}
	}

	return out
}

// identityAwareProxy asks for a backend, or a service, behind Identity-Aware Proxy, and that not everybody may pass.
func identityAwareProxy(c *judging) answer {
	// A member from resources of which none is Google's may be everybody.
	for _, p := range c.s.plan.of(proxyGrants()...) {
		if c.s.plan.strange(p) {
			c.opens(p.address, "members")
		}
	}

	// A grant of roles/iap.httpsResourceAccessor to everybody opens the proxy again.
	opened, _ := c.eachOf(proxyGrants(), func(n *node) string {
		bindings, known := grantsOf(n)
		if !known {
			return undecided("members")
		}
		if slices.ContainsFunc(bindings, func(b binding) bool {
			return slices.ContainsFunc(b.members, func(m text) bool { return isPublic(m.text) })
		}) {
			return "lets everybody pass"
		}

		return ""
	})
	if len(opened) > 0 {
		return violated("named members in roles/iap.httpsResourceAccessor",
			remedy{terraform: `member = "group:PEOPLE@DOMAIN"`},
			opened...)
	}

	// One backend is enough: a backend for programs cannot have the proxy, and
	// nothing in a plan says which one people use.
	unknown := false
	behind, total := c.eachOf(backends(), func(n *node) string {
		on, known := c.s.behindProxy(n)
		unknown = unknown || !known
		if on {
			return "is behind it"
		}
		return ""
	})

	// A service can have the proxy itself, without a load balancer.
	direct, _ := c.eachOf(workloadTypesOf(kindService), func(n *node) string {
		if isOneOf(n.at("iap_enabled"), "true") {
			return "is behind it"
		}
		return ""
	})

	switch behind = append(behind, direct...); {
	case c.open != "":
		return afterApplyIn(c.open)
	case len(behind) > 0:
		return satisfied("%s", listFaults(behind))
	case unknown:
		return afterApply("whether a backend is behind Identity-Aware Proxy")
	case total == 0:
		return notInPlan()
	}

	return violated("iap on the backend that people use", remedy{terraform: "iap { enabled = true }"},
		fault{found: "no backend is behind Identity-Aware Proxy"})
}

// behindProxy reports whether Identity-Aware Proxy is on for a backend, and whether the plan says so. Older versions of
// Terraform's provider have no field "enabled": there a client turns it on.
func (s *workload) behindProxy(backend *node) (on, known bool) {
	iap := backend.at("iap")
	if iap != nil && iap.kind == nodeUnknown {
		return false, false
	}

	switch enabled := backend.block("iap").at("enabled"); {
	case enabled == nil:
		return s.form == formTerraform && isSet(backend.block("iap").at("oauth2_client_id")), true
	case enabled.kind == nodeUnknown:
		return false, false
	default:
		return isOneOf(enabled, "true"), true
	}
}

// otherPurposes are those of subnetworks that hold no machines and no workloads.
func otherPurposes() []string {
	return []string{"REGIONAL_MANAGED_PROXY", "GLOBAL_MANAGED_PROXY", "INTERNAL_HTTPS_LOAD_BALANCER",
		"PRIVATE_SERVICE_CONNECT",
		"PRIVATE_NAT", "PEER_MIGRATION"}
}

func privateGoogleAccess(c *judging) answer {
	return c.all("google_compute_subnetwork", "Private Google Access on each", "private_ip_google_access = true",
		"Google's APIs are reached privately", func(n *node) string {
			if isOneOf(n.at("purpose"), otherPurposes()...) || isOneOf(n.at("private_ip_google_access"), "true") {
				return ""
			}
			if isUnknown(n.at("private_ip_google_access")) {
				return undecided("private_ip_google_access")
			}
			return "reaches Google's APIs by the Internet"
		})
}

func connectorSized(c *judging) answer {
	return c.all("google_vpc_access_connector", "min_instances, max_instances and machine_type",
		"min_instances = 2\nmax_instances = 10\nmachine_type = \"e2-micro\"", "connectors are sized",
		func(n *node) string {
			for _, name := range []string{"min_instances", "max_instances", "machine_type"} {
				if isUnknown(n.at(name)) {
					return undecided(name)
				}
				if n.at(name).written() == "" {
					return "leaves " + name + " to the provider"
				}
			}
			return ""
		})
}

const serviceAttachment = "google_compute_service_attachment"

// privateServiceConnect asks that a service which is published by Private Service Connect accepts named consumers.
// "ACCEPT_AUTOMATIC: accept connections from any consumer".
func privateServiceConnect(c *judging) answer {
	return c.all(serviceAttachment, "ACCEPT_MANUAL, with consumer_accept_lists",
		"connection_preference = \"ACCEPT_MANUAL\"\n"+
			block("consumer_accept_lists", `project_id_or_num = "PROJECT"`, "connection_limit  = 10"),
		"published services accept named consumers only", func(n *node) string {
			switch preference := n.at("connection_preference"); {
			case isUnknown(preference):
				return undecided("connection_preference")
			case isOneOf(preference, "ACCEPT_MANUAL"):
				return ""
			}
			return "accepts every consumer of Private Service Connect"
		})
}

// connectable reports whether a database is reached by Private Service Connect.
func connectable(psc *node) bool {
	return psc != nil && psc.kind == nodeUnknown || slices.ContainsFunc(items(psc), func(n *node) bool {
		on := n.at("psc_enabled")
		return on != nil && on.kind == nodeUnknown || isOneOf(on, "true")
	})
}

const alloyType = "google_alloydb_instance"

func databasePrivate(c *judging) answer {
	faults, n := c.each(databaseType, func(n *node) string {
		ip := n.block("settings").block("ip_configuration")
		switch {
		case isUnknown(ip.at("ipv4_enabled")):
			return undecided("settings.ip_configuration.ipv4_enabled")
		case !isOneOf(ip.at("ipv4_enabled"), "false"):
			return "has a public address"
		case !isSet(ip.at("private_network")) && !connectable(ip.at("psc_config")):
			return "has no private address"
		}

		return ""
	})

	// AlloyDB is private unless it is asked to be public.
	more, m := c.each(alloyType, func(n *node) string {
		public := n.block("network_config").at("enable_public_ip")
		if public == nil || public.kind == nodeNull || isOneOf(public, "false") {
			return ""
		}
		if isUnknown(public) {
			return undecided("network_config.enable_public_ip")
		}
		return "has a public address"
	})

	switch faults = append(faults, more...); {
	case n+m == 0:
		return notInPlan()
	case len(faults) > 0:
		return violated("a private address alone", remedy{terraform: block("settings", block("ip_configuration",
			"ipv4_enabled = false", `private_network = "NETWORK"`))}, faults...)
	case c.open != "":
		return afterApplyIn(c.open)
	}

	return satisfied("databases have a private address alone")
}
