package posture

import (
	"slices"
	"strconv"
	"strings"
)

// constraints are those of Cloud Run, each with the value that lifts it.
func constraints() map[string]string {
	return map[string]string{"run.allowedIngress": "all", "run.allowedVPCEgress": "",
		"run.allowedBinaryAuthorizationPolicies": ""}
}

// guarded are constraints that are on or off, with what each of them keeps as it is: nobody may switch the check of
// invokers off, nor put source into a definition. A plan need not have them; where it does, they must enforce.
func guarded() map[string]string {
	return map[string]string{"run.managed.requireInvokerIam": "the check of invokers",
		"run.managed.disableInlinedSource": "that source is built to an image"}
}

const organizationPolicy = "google_org_policy_policy"

// legacyPolicies are the older resources for organisation policies, by what they are on.
func legacyPolicies() []string {
	return []string{"google_organization_policy", "google_folder_organization_policy",
		"google_project_organization_policy"}
}

// A restriction is what one policy says of one constraint.
type restriction struct {
	address, constraint string
	found               string // why it restricts nothing; "" if it does
	open                string // what of it is known only after apply
	dry                 bool   // is only logged
}

// restrictions are what a plan's policies say of Cloud Run's constraints, in both forms.
func (p *plan) restrictions() []restriction {
	var out []restriction
	for _, r := range p.of(organizationPolicy) {
		name := constraintName(r.after.at("name").written())
		worthless, ours := constraints()[name]
		kept, guards := guarded()[name]
		if !ours && !guards {
			continue
		}

		spec := r.after.block("spec")
		one := restriction{address: r.address, constraint: name}

		// A spec is enforced; dry_run_spec alone only logs.
		if !present(spec) {
			spec, one.dry = r.after.block("dry_run_spec"), true
		}
		switch rules := listed(spec, "rules"); {
		case isTrue(spec.at("reset")):
			one.found = "is reset, and restricts nothing"
		case guards:
			one.found = rules.enforces(kept)
		default:
			one.found = rules.restricts(worthless)
		}
		one.open = spec.hidden(r.address+".spec", "rules", "reset")

		out = append(out, one)
	}

	for _, r := range p.of(legacyPolicies()...) {
		name := constraintName(r.after.at("constraint").written())
		if _, ours := constraints()[name]; !ours {
			continue
		}

		one := restriction{address: r.address, constraint: name, found: legacyRestricts(r.after, constraints()[name]),
			open: r.after.hidden(r.address, "list_policy", "restore_policy")}
		out = append(out, one)
	}

	return out
}

// constraintName is a constraint without what stands before it: "constraints/", or the policy's parent.
func constraintName(s string) string { return s[strings.LastIndex(s, "/")+1:] }

// restricts says why the rules of a policy restrict nothing, or "". worthless is the value that lifts the constraint. A
// rule under a condition is an exception, unless the condition always holds.
func (n *node) restricts(worthless string) string {
	restricted := false
	for _, r := range items(n) {
		if r.forSome() {
			continue
		}

		switch {
		case isTrue(r.at("allow_all")), listsValue(r.block("values").at("allowed_values"), worthless):
			return "allows everything"
		case isSet(r.block("values").at("allowed_values")), isTrue(r.at("deny_all")):
			restricted = true
		case denies(r.block("values").at("denied_values"), worthless):
			restricted = true
		}
	}

	if restricted {
		return ""
	}

	return "restricts nothing"
}

// enforces says why the rules of a policy do not enforce what is on or off, or "".
func (n *node) enforces(kept string) string {
	enforced := false
	for _, r := range items(n) {
		switch {
		case r.forSome():
		case isTrue(r.at("enforce")):
			enforced = true
		default:
			return "does not enforce " + kept
		}
	}

	// Exceptions alone enforce nothing for the rest.
	if !enforced {
		return "does not enforce " + kept
	}
	return ""
}

// forSome reports whether a rule has a condition that may be false. Such a rule restricts, or lifts, for some resources
// only: it counts for neither.
func (n *node) forSome() bool {
	condition := n.block("condition").at("expression")
	return isSet(n.at("condition")) && parseCondition(condition.written()).byCases() != always
}

// isTrue reports whether a value is known and true, in each spelling that the provider takes: "TRUE", "True", "1".
func isTrue(n *node) bool {
	if n == nil || n.kind != nodeText {
		return false
	}
	v, err := strconv.ParseBool(n.text)
	return err == nil && v
}

// legacyRestricts is the same for the older resources: "list_policy" allows or denies values, "restore_policy" takes
// the default of the constraint, which restricts nothing.
func legacyRestricts(n *node, worthless string) string {
	list := n.block("list_policy")
	allow, deny := list.block("allow"), list.block("deny")

	switch {
	case isOneOf(allow.at("all"), "true"), listsValue(allow.at("values"), worthless):
		return "allows everything"
	case isSet(allow.at("values")), isOneOf(deny.at("all"), "true"), denies(deny.at("values"), worthless):
		return ""
	}

	return "restricts nothing"
}

// listsValue reports whether a list has a value, which may be written with "is:".
func listsValue(n *node, value string) bool {
	return value != "" && slices.ContainsFunc(items(n), func(v *node) bool { return isOneOf(v, value, "is:"+value) })
}

// denies reports whether denied values restrict: the value that lifts the constraint must be among them, where there is
// one.
func denies(n *node, worthless string) bool {
	return isSet(n) && (worthless == "" || n.kind == nodeUnknown || listsValue(n, worthless))
}

func organizationPolicies(c *judging) answer {
	seen := map[string]bool{}
	var faults, dry []fault
	for _, r := range c.s.plan.restrictions() {
		// Those that a plan need not have do not make it one that was to have the others.
		if _, ours := constraints()[r.constraint]; ours {
			seen[r.constraint] = true
		}

		switch {
		case r.open != "" && r.found != "allows everything": // which a part that is known says
			c.opens(r.open, "")
		case r.found != "":
			faults = append(faults, fault{subject: r.address, found: clip(r.address) + " " + r.found})
		case r.dry:
			dry = append(dry, fault{subject: r.address, found: clip(r.address) + " only logs"})
		}
	}

	if len(seen)+len(faults)+len(dry) == 0 && c.open == "" {
		return notInPlan()
	}

	for name := range constraints() {
		if !seen[name] {
			faults = append(faults, fault{subject: name, found: name + " is not set"})
		}
	}

	// A map has no order, and two runs report the same.
	slices.SortFunc(faults, func(a, b fault) int { return strings.Compare(a.found, b.found) })

	m := remedy{terraform: block(`resource "google_org_policy_policy" "ingress"`,
		`name   = "PARENT/policies/run.allowedIngress"`,
		`parent = "PARENT"`,
		block("spec", block("rules", block("values", `allowed_values = ["internal-and-cloud-load-balancing"]`))))}

	switch {
	case len(faults) > 0:
		return violated("run.allowedIngress, run.allowedVPCEgress and run.allowedBinaryAuthorizationPolicies", m,
			faults...)
	case c.open != "":
		return afterApplyIn(c.open)
	case len(dry) > 0:
		return answer{state: stateWarned, found: listFaults(dry),
			required: "a spec, once the log of the dry run is empty",
			remedy:   remedy{terraform: "# write the block spec like dry_run_spec"}}
	}

	return satisfied("ingress, VPC egress and Binary Authorization are restricted")
}
