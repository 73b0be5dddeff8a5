package posture

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
)

const (
	perimeterType  = "google_access_context_manager_service_perimeter"
	perimetersType = "google_access_context_manager_service_perimeters"
)

// perimeterServices hold what the gate protects: images, keys, attestations.
func perimeterServices() []string {
	return []string{"artifactregistry.googleapis.com", "cloudkms.googleapis.com", "containeranalysis.googleapis.com"}
}

// A perimeter is one of VPC Service Controls, with what resources of their own add to it.
type perimeter struct {
	address  string
	bridge   bool
	enforced bool // has a status; false: spec alone, a dry run, which refuses nothing
	parts    []*node
	members  bool   // has projects or networks in it
	open     string // a part that is known only after apply
}

// perimeters are those of a plan.
func (p *plan) perimeters() []perimeter {
	var out []perimeter
	add := func(of *planned, n *node) {
		m := perimeter{address: of.address, bridge: isOneOf(n.at("perimeter_type"), "PERIMETER_TYPE_BRIDGE"),
			enforced: present(n.block("status"))}
		for _, name := range []string{"status", "spec"} {
			if part := n.block(name); present(part) && (name == "status" || !m.enforced) {
				m.parts = append(m.parts, part)
				m.members = m.members || isSet(part.at("resources"))
				m.open = cmp.Or(m.open, hiddenInPerimeter(part, of.address+"."+name))
			}
		}
		m.open = cmp.Or(m.open, n.hidden(of.address, "perimeter_type"))

		// Projects, and rules for what passes the perimeter, may be resources of their own.
		for _, suffix := range []string{"_resource", "_ingress_policy", "_egress_policy"} {
			name := strings.TrimSuffix(strings.TrimPrefix(suffix, "_"), "_policy")
			attribute := "perimeter"
			if suffix == "_resource" {
				attribute = "perimeter_name"
			}
			attached := p.attachments(perimeterType+suffix, attribute, perimeterType)
			for _, extra := range slices.Concat(attached[of], attached[nil]) {
				if slices.Contains(attached[nil], extra) && suffix == "_resource" {
					m.open = cmp.Or(m.open, extra.address+"."+attribute) // it may be in another perimeter
				}
				m.open = cmp.Or(m.open, hiddenInPerimeter(extra.after, extra.address))
				m.members = m.members || suffix == "_resource"
				m.parts = append(m.parts,
					&node{kind: nodeMapping,
						fields: map[string]*node{name + "_policies": {kind: nodeList, items: []*node{extra.after}}}})
			}
		}

		out = append(out, m)
	}

	for _, one := range p.of(perimeterType) {
		add(one, one.after)
	}
	for _, several := range p.of(perimetersType) {
		if isUnknown(several.after.at("service_perimeters")) {
			out = append(out, perimeter{address: several.address, open: several.address + ".service_perimeters"})
		}
		for _, one := range items(several.after.at("service_perimeters")) {
			add(several, one)
		}
	}

	return out
}

// hiddenInPerimeter is the path of a value that is known only after apply, in a part of a perimeter or in a rule for
// what passes it. Single projects, identities and services may be so: each is one more that is named.
func hiddenInPerimeter(n *node, path string) string {
	if isUnknown(n) {
		return path
	}
	for _, name := range []string{"resources", "restricted_services"} {
		if isUnknown(n.at(name)) {
			return path + "." + name
		}
	}

	for _, name := range []string{"access_levels", "ingress_policies", "egress_policies", "ingress_from", "ingress_to",
		"egress_from", "egress_to"} {
		if found := hiddenInRule(n.at(name), path+"."+name); found != "" {
			return found
		}
	}

	return ""
}

// hiddenInRule is the same for a rule of a perimeter, which may name identities and projects that are known only after
// apply.
func hiddenInRule(n *node, path string) string {
	if isUnknown(n) {
		return path
	}

	for _, item := range items(n) {
		if found := hiddenInRule(item, path); found != "" {
			return found
		}
	}

	for _, name := range sortedFields(n) {
		field := n.fields[name]

		if !isUnknown(field) && slices.Contains([]string{"identities", "resources", "roles"}, name) {
			continue
		}
		if found := hiddenInRule(field, path+"."+name); found != "" {
			return found
		}
	}

	return ""
}

// servicePerimeter asks that perimeters restrict the services of registry, keys
// and attestations. restrictedServices are the "services that are subject to the
// Service Perimeter restrictions": a perimeter without these protects none of the
// three. Several perimeters may share the task.
func servicePerimeter(c *judging) answer {
	restricted := map[string]bool{}
	unknown := false
	var faults, dry []fault

	all := c.s.plan.perimeters()
	for _, m := range all {
		if m.bridge { // connects perimeters, and restricts nothing of its own
			continue
		}

		restricts := false
		for _, part := range m.parts {
			list := part.at("restricted_services")
			restricts = restricts || isSet(list)
			unknown = unknown || list != nil && list.kind == nodeUnknown

			for _, s := range items(list) {
				restricted[s.written()] = true
				unknown = unknown || s.kind == nodeUnknown
			}
		}

		found := c.s.plan.opening(m)
		if m.open == "" {
			m.open = c.s.plan.hiddenLevel(m)
		}
		if m.open != "" {
			c.opens(m.open, "")
		}

		// What is not known may restrict: only what is known whole restricts nothing.
		if (!restricts || !m.members) && m.open == "" {
			found = "restricts nothing"
		}
		if found != "" {
			faults = append(faults, fault{subject: m.address, found: clip(m.address) + " " + found})
		}
		if !m.enforced {
			dry = append(dry, fault{subject: m.address, found: clip(m.address) + " only logs"})
		}
	}

	missing := slices.DeleteFunc(perimeterServices(), func(s string) bool { return restricted[s] })
	if len(all) > 0 && len(missing) > 0 && len(faults) == 0 && !unknown && c.open == "" {
		faults = append(faults, fault{found: "no perimeter restricts " + strings.Join(missing, ", ")})
	}

	switch {
	case len(all) == 0:
		return notInPlan()
	case len(faults) > 0:
		return violated("resources, "+strings.Join(perimeterServices(), ", ")+" in restricted_services, and no "+
			"rule that lets "+
			"every identity through", remedy{terraform: block("status", `resources = ["projects/NUMBER"]`,
			`restricted_services = ["`+strings.Join(perimeterServices(), `", "`)+`"]`)}, faults...)
	case c.open != "":
		return afterApplyIn(c.open)
	case len(missing) > 0:
		return afterApplyIn("a list of restricted services")
	case len(dry) > 0:
		// "spec" alone is a dry run, the first step of a rollout: it refuses nothing.
		return answer{state: stateWarned, found: listFaults(dry),
			required: "a status, once the log of the dry run is empty",
			remedy:   remedy{terraform: "# write the block status like spec"}}
	}

	return satisfied("registry, keys and attestations are restricted")
}

// opening says how a perimeter lets everybody through, or "": by a rule for any identity and every service, or by an
// access level that everybody has.
func (p *plan) opening(m perimeter) string {
	for _, part := range m.parts {
		for _, rule := range items(part.at("ingress_policies")) {
			if p.anybody(rule.block("ingress_from")) && everyService(rule.block("ingress_to")) {
				return "lets every identity in, from everywhere and to every service"
			}
		}

		for _, rule := range items(part.at("egress_policies")) {
			to := rule.block("egress_to")
			anywhere := slices.ContainsFunc(items(to.at("resources")), func(n *node) bool { return n.written() == "*" })
			if isAnyIdentity(rule.block("egress_from")) && anywhere && everyService(to) {
				return "lets every identity take data out, to every project and service"
			}
		}

		for _, level := range items(part.at("access_levels")) {
			if name, open := p.openLevel(level.written()); open {
				return "has the access level " + quote(name) + ", which every request has"
			}
		}
	}

	return ""
}

// hiddenLevel is a part of an access level of a perimeter that is known only after apply, and may make it everybody's.
func (p *plan) hiddenLevel(m perimeter) string {
	for _, part := range m.parts {
		for _, level := range items(part.at("access_levels")) {
			for _, r := range p.levels(level.written()) {
				if found := r.after.hidden(r.address, "basic", "custom"); found != "" {
					return found
				}
			}
		}
	}

	return ""
}

// levels are the access levels of a name.
func (p *plan) levels(name string) []*planned {
	var out []*planned
	for _, level := range p.of(levelType) {
		if name != "" && (level.name == name || lastPart(level.name) == lastPart(name)) {
			out = append(out, level)
		}
	}

	return out
}

// isAnyIdentity reports a rule for every identity: ANY_IDENTITY is "all identities outside the perimeter",
// ANY_USER_ACCOUNT and ANY_SERVICE_ACCOUNT all of one kind, of whatever organisation.
func isAnyIdentity(from *node) bool {
	return isOneOf(from.at("identity_type"), "ANY_IDENTITY", "ANY_USER_ACCOUNT", "ANY_SERVICE_ACCOUNT")
}

// anybody reports whether a rule is for every identity, whatever network it comes from.
func (p *plan) anybody(from *node) bool {
	if !isAnyIdentity(from) {
		return false
	}

	// Without a source the rule is for every network.
	sources := items(from.at("sources"))

	return len(sources) == 0 || slices.ContainsFunc(sources, func(n *node) bool {
		_, open := p.openLevel(n.at("access_level").written())
		return n.at("access_level").written() == "*" || open
	})
}

// everyService reports whether a rule is about all services, or all methods of one that the perimeter is for.
func everyService(to *node) bool {
	return slices.ContainsFunc(items(to.at("operations")), func(n *node) bool {
		name, methods := n.at("service_name").written(), items(n.at("method_selectors"))
		all := len(methods) == 0 ||
			slices.ContainsFunc(methods, func(m *node) bool { return isOneOf(m.at("method"), "*") })

		return name == "*" || all && slices.Contains(perimeterServices(), name)
	})
}

// openLevel reports whether an access level of the plan holds for every request, or for nearly every one.
func (p *plan) openLevel(name string) (string, bool) {
	for _, level := range p.levels(name) {
		if openExpression(level.after.block("custom").block("expr").at("expression").written()) {
			return name, true
		}

		// "AND" is the default: one condition that restricts is enough.
		basic := level.after.block("basic")
		conditions := items(basic.at("conditions"))
		open := slices.ContainsFunc(conditions, openCondition)
		if !isOneOf(basic.at("combining_function"), "OR") {
			open = open && !slices.ContainsFunc(conditions, func(n *node) bool { return !openCondition(n) })
		}
		if open {
			return name, true
		}
	}

	return "", false
}

// openExpression reports whether the expression of a custom level always holds; a look at the address that takes all of
// them does.
func openExpression(text string) bool {
	condition := parseCondition(text)
	all := func(e ast.Expr) truth {
		if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != "inIpRange" || len(e.AsCall().Args()) != 2 {
			return sometimes
		}

		var ranges []netip.Prefix
		list := []ast.Expr{e.AsCall().Args()[1]}
		if list[0].Kind() == ast.ListKind {
			list = list[0].AsList().Elements()
		}
		for _, item := range list {
			text, _ := literal(item).(string)
			if p, ok := addressRange(text); ok {
				ranges = append(ranges, p)
			}
		}
		if coversAll(ranges) {
			return always
		}

		return sometimes
	}

	return condition.root != nil && (condition.value(all) == always || condition.byCases() == always)
}

// openCondition reports whether a condition of a basic level holds for nearly every request. Its fields must all match,
// and "negate" turns the whole around: all addresses but some, or all people but some, are nearly all.
func openCondition(n *node) bool {
	restricts := false
	for _, field := range []string{"members", "regions", "required_access_levels", "device_policy",
		"vpc_network_sources"} {
		restricts = restricts || isSet(n.at(field))
	}

	if list := n.at("ip_subnetworks"); isSet(list) {
		ranges, _ := sources(list)
		restricts = restricts || !coversAll(ranges)
	}

	return restricts == isOneOf(n.at("negate"), "true")
}
