package posture

import (
	"slices"
	"strings"
)

func noBasicRoles(c *judging) answer {
	wrong := func(n *node) string {
		members := append(items(n.at("members")), n.at("member"))
		switch {
		case isBasic(n.at("role").written()):
			return "grants " + clip(n.at("role").text)
		case slices.ContainsFunc(members, func(m *node) bool { return isPublic(m.written()) }):
			return "grants everybody " + clip(n.at("role").written())
		}

		return ""
	}
	members, n := c.each("google_project_iam_member", wrong)
	bindings, m := c.each("google_project_iam_binding", wrong)
	switch faults := append(members, bindings...); {
	case n+m == 0:
		return notInPlan()
	case len(faults) > 0:
		return violated("a role for the task, to a named member", remedy{terraform: `role = "roles/SERVICE.TASK"`}, faults...)
	}

	return satisfied("%d grants on projects, none of a basic role", n+m)
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
			remedy{terraform: `attribute_condition = "assertion.repository_owner == 'ORGANISATION'", and no ` +
				`google_service_account_key`}, faults...)
	}

	return satisfied("tokens are exchanged, and no key is downloaded")
}

func servicePerimeter(c *judging) answer {
	const kind = "google_access_context_manager_service_perimeter"
	a := c.all(kind, "resources and restricted_services in its status",
		"status { resources = […], restricted_services = […] }", "services are restricted", func(n *node) string {
			for _, name := range []string{"status", "spec"} {
				if b := n.block(name); b != nil && isSet(b.at("resources")) && isSet(b.at("restricted_services")) ||
					isOneOf(n.at("perimeter_type"), "PERIMETER_TYPE_BRIDGE") {
					return ""
				}
			}
			return "restricts nothing"
		})
	if dry, _ := c.each(kind, func(n *node) string {
		if n.block("status") == nil && !isOneOf(n.at("perimeter_type"), "PERIMETER_TYPE_BRIDGE") {
			return "only logs"
		}
		return ""
	}); a.state == stateSatisfied && len(dry) > 0 {
		return answer{state: stateWarned, found: listFaults(dry), required: "a status, once the log of the dry run is quiet",
			remedy: remedy{terraform: "status { … } beside spec"}}
	}

	return a
}

// constraints of Cloud Run, and the value that makes each worthless.
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
			remedy{terraform: `google_org_policy_policy { name = "PARENT/policies/run.allowedIngress" spec { rules { values { ` +
				`allowed_values = ["internal-and-cloud-load-balancing"] } } } }`}, faults...)
	}

	return satisfied("ingress, VPC egress and Binary Authorization are restricted")
}

func admissionPolicy(c *judging) answer {
	const kind, dryRun = "google_binary_authorization_policy", "DRYRUN_AUDIT_LOG_ONLY"
	blocks := func(rule *node) bool {
		return isOneOf(rule.at("evaluation_mode"), "ALWAYS_DENY") || isOneOf(rule.at("evaluation_mode"), "REQUIRE_ATTESTATION") &&
			isSet(rule.at("require_attestations_by"))
	}
	a := c.all(kind, "REQUIRE_ATTESTATION, by the gate's attestor",
		`default_admission_rule { evaluation_mode = "REQUIRE_ATTESTATION", enforcement_mode = `+
			`"ENFORCED_BLOCK_AND_AUDIT_LOG", require_attestations_by = ["projects/P/attestors/gate"] }`, "attestations are "+
			"required", func(n *node) string {
			for _, rule := range append(items(n.at("cluster_admission_rules")), n.block("default_admission_rule")) {
				if !blocks(rule) {
					return "admits images without an attestation"
				}
			}

			for _, p := range items(n.at("admission_whitelist_patterns")) {
				if pattern := p.at("name_pattern").written(); strings.Count(pattern, "/") < 2 {
					return "admits all of " + clip(pattern)
				}
			}

			return ""
		})
	if dry, _ := c.each(kind, func(n *node) string {
		if isOneOf(n.block("default_admission_rule").at("enforcement_mode"), dryRun) {
			return "only logs"
		}
		return ""
	}); a.state == stateSatisfied && len(dry) > 0 {
		return answer{state: stateWarned, found: listFaults(dry), required: "ENFORCED_BLOCK_AND_AUDIT_LOG, once the log is quiet",
			remedy: remedy{terraform: `enforcement_mode = "ENFORCED_BLOCK_AND_AUDIT_LOG"`}}
	}

	return a
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
