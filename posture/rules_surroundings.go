package posture

import (
	"slices"
	"strings"
)

// projectGrants are the types of resources that grant roles on a project, or on
// a folder or organisation above it, whose grants its projects inherit.
func projectGrants() []string {
	var out []string
	for _, level := range []string{"project", "folder", "organization"} {
		for _, form := range grantForms() {
			out = append(out, "google_"+level+"_iam_"+form)
		}
	}

	return out
}

// guardedGrants are the types of resources that grant roles on what workloads depend on: secrets, keys, accounts,
// images and attestors. Nothing of it is for everybody.
func guardedGrants() []string {
	var out []string
	for _, of := range []string{"secret_manager_secret", "secret_manager_regional_secret",
		"kms_crypto_key", "kms_key_ring",
		"service_account", "artifact_registry_repository", "binary_authorization_attestor", "pubsub_topic",
		"pubsub_subscription",
		"cloudfunctions2_function", "cloud_run_v2_job", "cloud_tasks_queue", "iap_tunnel", "iap_tunnel_instance"} {
		for _, form := range grantForms() {
			out = append(out, "google_"+of+"_iam_"+form)
		}
	}

	return out
}

// otherGrants are those of a plan on anything else: buckets, notes, pools of identities. Of them only a grant to
// everybody counts. Who may call workloads and pass Identity-Aware Proxy are questions of other rules, and what runs
// outside Cloud Run is not judged.
func (p *plan) otherGrants() []*planned {
	var out []*planned
	for _, r := range p.resources {
		if r.opensOther() {
			out = append(out, r)
		}
	}

	return out
}

func (r *planned) opensOther() bool {
	if !r.othersGrant() {
		return false
	}

	bindings, _ := grantsOf(r.after)

	return slices.ContainsFunc(bindings, func(b binding) bool {
		return slices.ContainsFunc(b.members, func(m text) bool { return isPublic(m.text) })
	})
}

// othersGrant reports a resource that grants roles on anything that no other rule is about.
func (r *planned) othersGrant() bool {
	family, form := cutLast(r.kind, "_iam_")
	if !slices.Contains(grantForms(), form) || slices.Contains(projectGrants(), r.kind) ||
		slices.Contains(guardedGrants(), r.kind) {
		return false
	}
	for _, other := range []string{"google_cloud_run_", "google_cloudfunctions", "google_iap_web",
		"google_iap_app_engine", "google_app_engine"} {
		if strings.HasPrefix(family, other) {
			return false
		}
	}

	return true
}

// cutLast cuts a text at the last separator.
func cutLast(s, separator string) (before, after string) {
	i := strings.LastIndex(s, separator)
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i+len(separator):]
}

// narrowed are the lines that narrow a grant: another role, and members by name.
func narrowed(kind string, basic, public bool) []string {
	var lines []string
	if basic {
		lines = append(lines, `role = "roles/SERVICE.TASK"`)
	}

	switch {
	case public && strings.HasSuffix(kind, "_member"):
		lines = append(lines, `member = "group:PEOPLE@DOMAIN"`)
	case public && strings.HasSuffix(kind, "_binding"):
		lines = append(lines, `members = ["group:PEOPLE@DOMAIN"]`)
	case public:
		lines = append(lines, "# remove allUsers and allAuthenticatedUsers from the policy")
	}

	return lines
}

// noBasicRoles judges every grant on projects, folders and organisations, in all
// three forms. A policy is one JSON text, and is read like the output of
// get-iam-policy. A condition makes no basic role a narrow one.
func noBasicRoles(c *judging) answer {
	unknown, grants := false, 0
	everybody := func(b binding) string {
		if slices.ContainsFunc(b.members, func(m text) bool { return isPublic(m.text) }) {
			return "grants everybody " + clip(b.role.text)
		}
		return ""
	}

	var faults []fault
	var lines []string
	resources := append(c.s.plan.of(slices.Concat(projectGrants(), guardedGrants())...), c.s.plan.otherGrants()...)

	// A list of members that is computed may have everybody in it, on whatever it is.
	for _, p := range c.s.plan.resources {
		unknown = unknown || isUnknown(p.after.at("members")) && len(resources) > 0 && p.othersGrant()
	}
	for _, p := range resources {
		bindings, ok := grantsOf(p.after)
		unknown = unknown || !ok || c.s.plan.strange(p)
		grants += len(bindings)

		for _, b := range bindings {
			found := everybody(b)
			if isBasic(b.role.text) && slices.Contains(projectGrants(), p.kind) {
				found = "grants " + clip(b.role.text)
			}

			// A reference that is not known yet is to a role of one's own, as far as the
			// plan shows; any other may turn out to be a basic role.
			if b.role.unknown {
				to, _ := c.s.plan.points(p, p.after.at("role"), "role", customRoles()...)
				unknown = unknown || len(to) == 0
			}

			// A resource is named once, however many of its grants are wrong.
			if found != "" {
				faults = append(faults, fault{subject: p.address, found: clip(p.address) + " " + found})
				lines = append(lines, narrowed(p.kind, isBasic(b.role.text), everybody(b) != "")...)
				break
			}
		}
	}

	switch {
	case len(resources) == 0:
		return notInPlan()
	case len(faults) > 0:
		slices.Sort(lines)
		return violated("a predefined role for the task, to a named member",
			remedy{terraform: strings.Join(slices.Compact(lines), "\n")}, faults...)
	case unknown: // Terraform computes the whole text, and with it every role
		return afterApply("an IAM policy")
	}

	return satisfied("no grant of a basic role, and none to everybody, among %d", grants)
}

// grantsOf reads the grants of one resource. False: they are known only after
// apply, or cannot be read, and may be any.
func grantsOf(n *node) ([]binding, bool) {
	r := &reader{}
	if data := n.at("policy_data"); data != nil {
		docs, err := parse(Source{Name: "policy_data", Text: []byte(data.written())})
		if err != nil || len(docs) != 1 {
			return nil, false
		}

		bindings := r.bindings(docs[0])

		return bindings, len(r.errs) == 0
	}

	if n.has("bindings") {
		bindings := r.bindings(n)
		return bindings, len(r.errs) == 0
	}

	// A member that is known only after apply names a resource of the plan, such as
	// a service account, and so is not everybody.
	b := binding{role: r.text(n.at("role"), "role"), members: []text{r.text(n.at("member"), "member")}}
	for _, m := range r.list(n.at("members"), "members") {
		b.members = append(b.members, r.text(m, "members"))
	}

	// A whole list that is computed may have anybody in it.
	return []binding{b}, len(r.errs) == 0 && !isUnknown(n.at("members"))
}

// keyless asks that nobody downloads a key, and that an OIDC provider says whose tokens it accepts.
func keyless(c *judging) answer {
	keys, n := c.each("google_service_account_key", func(*node) string { return "is a key to download" })
	open, m := c.each("google_iam_workload_identity_pool_provider", func(n *node) string {
		// AWS names an account, SAML an identity provider, X.509 its trust anchors. Whatever is not one of them, or not
		// known yet, is taken for OIDC, whose issuers have strangers among their callers.
		if !present(n.at("oidc")) && (n.block("aws").filled() || n.block("saml").filled() || n.block("x509").filled()) {
			return ""
		}

		switch condition := n.at("attribute_condition"); {
		case isUnknown(condition):
			return undecided("attribute_condition")
		case !isSet(condition):
			return "lets everybody at its issuer in"
		case condition.kind != nodeUnknown && !restricts(condition.text, n.at("attribute_mapping")):
			return "lets everybody at its issuer in: its condition holds for tokens of strangers"
		}

		return ""
	})
	switch faults := append(keys, open...); {
	case n+m == 0:
		return notInPlan()
	case len(faults) > 0:
		return violated("Workload Identity Federation with a condition, and no keys",
			remedy{terraform: `attribute_condition = "assertion.repository_owner == 'ORGANISATION'" # and no ` +
				`google_service_account_key`}, faults...)
	case c.open != "":
		return afterApplyIn(c.open)
	}

	return satisfied("tokens are exchanged, and no key is downloaded")
}

// admissionPolicy asks that Binary Authorization requires an attestation by
// default and in every cluster's rule, with no exemption wider than a repository.
func admissionPolicy(c *judging) answer {
	const kind, enforced = "google_binary_authorization_policy", "ENFORCED_BLOCK_AND_AUDIT_LOG"

	// Rules of clusters, namespaces, accounts and identities count as much as the default.
	rules := func(n *node) []*node {
		all := []*node{n.block("default_admission_rule")}
		for _, name := range sortedFields(n) {
			if strings.HasSuffix(name, "_admission_rules") {
				all = append(all, items(n.at(name))...)
			}
		}

		return all
	}

	// REQUIRE_ATTESTATION without attestors is refused by the API; ALWAYS_DENY is
	// stricter. Any other mode, or an unknown one, admits images.
	blocks := func(rule *node) bool {
		return isOneOf(rule.at("evaluation_mode"), "ALWAYS_DENY") ||
			isOneOf(rule.at("evaluation_mode"), "REQUIRE_ATTESTATION") && isSet(rule.at("require_attestations_by"))
	}
	a := c.all(kind, "REQUIRE_ATTESTATION by the gate's attestor, and exemptions for single repositories only",
		block("default_admission_rule", `evaluation_mode = "REQUIRE_ATTESTATION"`, `enforcement_mode = `+
			`"ENFORCED_BLOCK_AND_AUDIT_LOG"`, `require_attestations_by = ["projects/P/attestors/gate"]`),
		"attestations are "+
			"required", func(n *node) string {
			for _, rule := range rules(n) {
				if isUnknown(rule.at("evaluation_mode")) {
					return undecided("evaluation_mode")
				}
				if !blocks(rule) {
					return "admits images without an attestation"
				}
			}

			for _, p := range items(n.at("admission_whitelist_patterns")) {
				if isUnknown(p.at("name_pattern")) {
					return undecided("admission_whitelist_patterns.name_pattern")
				}
				if pattern := p.at("name_pattern").written(); wide(pattern) {
					return "admits all of " + clip(pattern)
				}
			}

			// A list of rules or of exemptions that is known only after apply may have any.
			for _, name := range sortedFields(n) {
				decides := strings.HasSuffix(name, "_admission_rules") || name == "admission_whitelist_patterns"
				if isUnknown(n.at(name)) && decides {
					return undecided(name)
				}
			}
			for _, rule := range rules(n) {
				if isUnknown(rule.at("enforcement_mode")) {
					return undecided("enforcement_mode")
				}
			}

			return ""
		})

	// A policy that only logs is the first step of a rollout, and so a warning.
	if dry, _ := c.each(kind, func(n *node) string {
		if slices.ContainsFunc(rules(n), func(r *node) bool {
			return isSet(r.at("enforcement_mode")) && !isOneOf(r.at("enforcement_mode"), enforced)
		}) {
			return "only logs"
		}
		return ""
	}); a.state == stateSatisfied && len(dry) > 0 {
		return answer{state: stateWarned, found: listFaults(dry),
			required: "ENFORCED_BLOCK_AND_AUDIT_LOG in every rule, once the log is empty",
			remedy: remedy{terraform: block("default_admission_rule",
				`enforcement_mode = "ENFORCED_BLOCK_AND_AUDIT_LOG"`)}}
	}

	return a
}

// wide reports whether an exemption admits more than one repository. Host and
// project must be written out, and a repository beneath them: "gcr.io/acme/*"
// admits whatever is pushed to the project. Wildcards for tag or digest are part
// of one image.
func wide(pattern string) bool {
	name, _, _ := strings.Cut(pattern, "@")
	parts := strings.Split(name, "/")
	last := len(parts) - 1
	parts[last], _, _ = strings.Cut(parts[last], ":")

	// "gcr.io/example.com/acme/*" is all of the project "example.com:acme": a domain is a segment of its own.
	project := 2
	if len(parts) > project && ofGoogle(parts[0]) && strings.Contains(parts[1], ".") {
		project = 3
	}
	wildcard := slices.IndexFunc(parts, func(p string) bool { return strings.Contains(p, "*") })
	return len(parts) <= project || wildcard >= 0 && wildcard <= project
}

// ofGoogle reports whether a host is one of Google's registries, whose names say the project.
func ofGoogle(host string) bool {
	return host == "gcr.io" || strings.HasSuffix(host, ".gcr.io") || strings.HasSuffix(host, "-docker.pkg.dev")
}

func imagesScanned(c *judging) answer {
	return c.all("google_artifact_registry_repository", "scanning as the project has it",
		`vulnerability_scanning_config { enablement_config = "INHERITED" }`, "pushes are scanned where the project's "+
			"containerscanning.googleapis.com is on", func(n *node) string {
			switch scanned := n.block("vulnerability_scanning_config").at("enablement_config"); {
			case isUnknown(scanned):
				return undecided("vulnerability_scanning_config.enablement_config")
			case isOneOf(scanned, "DISABLED"):
				return "is not scanned"
			}
			return ""
		})
}
