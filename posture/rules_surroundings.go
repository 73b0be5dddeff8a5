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
		for _, form := range []string{"member", "binding", "policy"} {
			out = append(out, "google_"+level+"_iam_"+form)
		}
	}

	return out
}

// noBasicRoles judges every grant on projects, folders and organisations, in all
// three forms. A policy is one JSON text, and is read like the output of
// get-iam-policy.
func noBasicRoles(c *judging) answer {
	unknown, grants := false, 0
	faults, n := c.eachOf(projectGrants(), func(n *node) string {
		bindings, ok := grantsOf(n)
		unknown = unknown || !ok
		grants += len(bindings)

		for _, b := range bindings {
			switch {
			case isBasic(b.role.text):
				return "grants " + clip(b.role.text)
			case slices.ContainsFunc(b.members, func(m text) bool { return isPublic(m.text) }):
				return "grants everybody " + clip(b.role.text)
			}
		}

		return ""
	})

	switch {
	case n == 0:
		return notInPlan()
	case len(faults) > 0:
		return violated("a predefined role for the task, to a named member",
			remedy{terraform: `role = "roles/SERVICE.TASK"`}, faults...)
	case unknown: // Terraform computes the whole text, and with it every role
		return afterApply("an IAM policy")
	}

	return satisfied("%d grants on projects, folders and organisations, none of a basic role", grants)
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

	// A member that is known only after apply names a resource of the plan, such as
	// a service account, and so is not everybody.
	b := binding{role: r.text(n.at("role"), "role"), members: []text{r.text(n.at("member"), "member")}}
	for _, m := range r.list(n.at("members"), "members") {
		b.members = append(b.members, r.text(m, "members"))
	}

	return []binding{b}, len(r.errs) == 0
}

func keyless(c *judging) answer {
	keys, n := c.each("google_service_account_key", func(*node) string { return "is a key to download" })
	open, m := c.each("google_iam_workload_identity_pool_provider", func(n *node) string {
		if n.at("oidc") == nil || len(items(n.at("oidc"))) == 0 || isSet(n.at("attribute_condition")) {
			return "" // AWS names an account, SAML an identity provider
		}
		return "lets everybody at its issuer in"
	})
	switch faults := append(keys, open...); {
	case n+m == 0:
		return notInPlan()
	case len(faults) > 0:
		return violated("Workload Identity Federation with a condition, and no keys",
			remedy{terraform: `attribute_condition = "assertion.repository_owner == 'ORGANISATION'" # and no ` +
				`google_service_account_key`}, faults...)
	}

	return satisfied("tokens are exchanged, and no key is downloaded")
}

// perimeterServices hold what the gate protects: images, keys, attestations.
func perimeterServices() []string {
	return []string{"artifactregistry.googleapis.com", "cloudkms.googleapis.com", "containeranalysis.googleapis.com"}
}

// servicePerimeter asks that perimeters restrict the services of registry, keys
// and attestations. restrictedServices are the "services that are subject to the
// Service Perimeter restrictions": a perimeter without these protects none of the
// three. Several perimeters may share the task.
func servicePerimeter(c *judging) answer {
	const kind = "google_access_context_manager_service_perimeter"
	restricted := map[string]bool{}
	unknown := false
	bridge := func(n *node) bool { return isOneOf(n.at("perimeter_type"), "PERIMETER_TYPE_BRIDGE") }

	faults, n := c.each(kind, func(n *node) string {
		for _, name := range []string{"status", "spec"} {
			b := n.block(name)
			if b == nil || !isSet(b.at("resources")) || !isSet(b.at("restricted_services")) {
				continue
			}

			list := b.at("restricted_services")
			unknown = unknown || list.kind == nodeUnknown

			for _, s := range items(list) {
				restricted[s.written()] = true
				unknown = unknown || s.kind == nodeUnknown
			}

			return ""
		}

		if bridge(n) { // a bridge connects perimeters, and restricts nothing of its own
			return ""
		}

		return "restricts nothing"
	})

	missing := slices.DeleteFunc(perimeterServices(), func(s string) bool { return restricted[s] })
	if n > 0 && len(missing) > 0 && len(faults) == 0 && !unknown {
		faults = append(faults, fault{found: "no perimeter restricts " + strings.Join(missing, ", ")})
	}

	dry, _ := c.each(kind, func(n *node) string {
		if n.block("status") == nil && !bridge(n) {
			return "only logs"
		}
		return ""
	})

	switch {
	case n == 0:
		return notInPlan()
	case len(faults) > 0:
		return violated("resources, and "+strings.Join(perimeterServices(), ", ")+" in restricted_services",
			remedy{terraform: block("status", `resources = ["projects/NUMBER"]`,
				`restricted_services = ["`+strings.Join(perimeterServices(), `", "`)+`"]`)}, faults...)
	case len(missing) > 0:
		return afterApply("a list of restricted services")
	case len(dry) > 0:
		// "spec" alone is a dry run, the first step of a rollout: it refuses nothing.
		return answer{state: stateWarned, found: listFaults(dry), required: "a status, once the log of the dry run is empty",
			remedy: remedy{terraform: "# write the block status like spec"}}
	}

	return satisfied("registry, keys and attestations are restricted")
}

// constraints are those of Cloud Run, each with the value that lifts it.
func constraints() map[string]string {
	return map[string]string{"run.allowedIngress": "all", "run.allowedVPCEgress": "",
		"run.allowedBinaryAuthorizationPolicies": ""}
}

func organizationPolicies(c *judging) answer {
	seen := map[string]bool{}
	faults, _ := c.each("google_org_policy_policy", func(n *node) string {
		name := n.at("name").written()
		name = name[strings.LastIndex(name, "/")+1:]
		worthless, ours := constraints()[name]
		if !ours {
			return ""
		}

		seen[name] = true

		for _, r := range items(n.block("spec").at("rules")) {
			switch allowed := r.block("values").at("allowed_values"); {
			case isSet(r.at("condition")): // an exception
			case isOneOf(r.at("allow_all"), "TRUE", "true"), slices.ContainsFunc(items(allowed),
				func(v *node) bool { return worthless != "" && isOneOf(v, worthless, "is:"+worthless) }):
				return "allows everything"
			case isSet(allowed), isOneOf(r.at("deny_all"), "TRUE", "true"):
				return ""
			}
		}

		return "restricts nothing"
	})

	if len(seen) == 0 {
		return notInPlan()
	}

	for name := range constraints() {
		if !seen[name] {
			faults = append(faults, fault{subject: name, found: name + " is not set"})
		}
	}

	slices.SortFunc(faults, func(a, b fault) int { return strings.Compare(a.found, b.found) })

	if len(faults) > 0 {
		return violated("run.allowedIngress, run.allowedVPCEgress and run.allowedBinaryAuthorizationPolicies",
			remedy{terraform: block(`resource "google_org_policy_policy" "ingress"`,
				`name   = "PARENT/policies/run.allowedIngress"`, `parent = "PARENT"`, block("spec", block("rules", block("values",
					`allowed_values = ["internal-and-cloud-load-balancing"]`))))}, faults...)
	}

	return satisfied("ingress, VPC egress and Binary Authorization are restricted")
}

// admissionPolicy asks that Binary Authorization requires an attestation by
// default and in every cluster's rule, with no exemption wider than a repository.
func admissionPolicy(c *judging) answer {
	const kind, dryRun = "google_binary_authorization_policy", "DRYRUN_AUDIT_LOG_ONLY"
	rules := func(n *node) []*node {
		return append(items(n.at("cluster_admission_rules")), n.block("default_admission_rule"))
	}

	// REQUIRE_ATTESTATION without attestors is refused by the API; ALWAYS_DENY is
	// stricter. Any other mode, or an unknown one, admits images.
	blocks := func(rule *node) bool {
		return isOneOf(rule.at("evaluation_mode"), "ALWAYS_DENY") ||
			isOneOf(rule.at("evaluation_mode"), "REQUIRE_ATTESTATION") && isSet(rule.at("require_attestations_by"))
	}
	a := c.all(kind, "REQUIRE_ATTESTATION by the gate's attestor, and exemptions for single repositories only",
		block("default_admission_rule", `evaluation_mode = "REQUIRE_ATTESTATION"`, `enforcement_mode = `+
			`"ENFORCED_BLOCK_AND_AUDIT_LOG"`, `require_attestations_by = ["projects/P/attestors/gate"]`), "attestations are "+
			"required", func(n *node) string {
			for _, rule := range rules(n) {
				if !blocks(rule) {
					return "admits images without an attestation"
				}
			}

			for _, p := range items(n.at("admission_whitelist_patterns")) {
				if pattern := p.at("name_pattern").written(); wide(pattern) {
					return "admits all of " + clip(pattern)
				}
			}

			return ""
		})

	if dry, _ := c.each(kind, func(n *node) string {
		if slices.ContainsFunc(rules(n), func(r *node) bool { return isOneOf(r.at("enforcement_mode"), dryRun) }) {
			return "only logs"
		}
		return ""
	}); a.state == stateSatisfied && len(dry) > 0 {
		return answer{state: stateWarned, found: listFaults(dry),
			required: "ENFORCED_BLOCK_AND_AUDIT_LOG in every rule, once the log is empty",
			remedy:   remedy{terraform: `enforcement_mode = "ENFORCED_BLOCK_AND_AUDIT_LOG"`}}
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
	wildcard := slices.IndexFunc(parts, func(p string) bool { return strings.Contains(p, "*") })

	return len(parts) < 3 || wildcard >= 0 && wildcard < 3
}

func imagesScanned(c *judging) answer {
	return c.all("google_artifact_registry_repository", "scanning as the project has it",
		`vulnerability_scanning_config { enablement_config = "INHERITED" }`, "pushes are scanned where the project's "+
			"containerscanning.googleapis.com is on", func(n *node) string {
			if isOneOf(n.block("vulnerability_scanning_config").at("enablement_config"), "DISABLED") {
				return "is not scanned"
			}
			return ""
		})
}
