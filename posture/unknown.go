package posture

import (
	"slices"
	"strconv"
)

// What a Terraform plan does not know yet. A plan has true in "after_unknown" for two different things: for a value
// that the configuration takes from something which is made only by the apply, and for a setting that the
// configuration leaves to the provider, which then takes its default. "configuration" tells them apart: it has an
// expression for the first.

// A wording is what the configuration says at one place of a resource: the blocks that may be the one that is looked
// at, since those of a set stand in the plan in another order.
type wording struct {
	known  bool // false: the plan has no configuration of it, or a dynamic block made it
	blocks []*node
}

// wordingOf is what a plan's configuration says of a resource.
func (p *plan) wordingOf(address string) wording {
	n := p.expressions[unindexed(address)]
	return wording{known: n != nil && n.kind == nodeMapping, blocks: []*node{n}}
}

func (w wording) has(name string) bool {
	return slices.ContainsFunc(w.blocks, func(b *node) bool { return b.at(name) != nil })
}

// within is what the configuration says of the blocks of a name, of which the plan has n. Below an expression
// everything that is not known comes from it, and so does what stands in a block that only a dynamic one can have
// made.
func (w wording) within(name string, n int) wording {
	var out wording
	for _, b := range w.blocks {
		field := b.at(name)
		if field == nil {
			continue
		}
		if field.kind != nodeList || len(field.items) != n {
			return wording{}
		}
		out = wording{known: w.known, blocks: append(out.blocks, field.items...)}
	}

	return out
}

// defaulted are the settings that rules look at and for which the provider has a default: "Computed" in its schema.
// The blocks among them might also be dynamic ones over something that is not known; neither the plan nor its
// configuration tells them from blocks that are not written. Docs: posture.md, "What a plan does not know yet".
func defaulted() []string {
	return []string{
		"annotations", "automatic_update_policy", "available_cpu", "available_memory", "connector_enforcement",
		"container_concurrency", "direct_vpc_egress", "egress", "environment_variables", "iap", "ingress",
		"ingress_settings", "instance_splits", "labels", "latest_created_revision", "latest_ready_revision", "limits",
		"location", "machine_type", "manual_instance_count", "max_instance_count", "max_instance_request_concurrency",
		"max_instances", "metadata", "min_instance_count", "min_instances", "name", "namespace", "nat_ips", "network",
		"network_config", "path", "ports", "preview", "private_ip_google_access", "project", "protocol", "purpose",
		"read_only", "region", "resources", "rule", "scaling", "service_account", "service_account_email",
		"service_account_name", "ssl_mode", "startup_probe", "subnetwork", "timeout", "timeout_seconds", "traffic",
		"type", "version", "vpc_connector_egress_settings", "vulnerability_scanning_config",
	}
}

// unknownIn marks what is known only after apply. A plan has that beside the values, in a tree of the same shape
// with true at those places. What the configuration leaves to the provider stays absent, and is judged as the
// default.
func unknownIn(after, unknown *node, w wording, left []string) *node {
	switch {
	case unknown == nil || unknown.kind == nodeNull || unknown.kind == nodeText && unknown.text != "true":
		return after
	case unknown.kind == nodeText:
		line := 0
		if after != nil {
			line = after.line
		}
		return &node{kind: nodeUnknown, line: line}
	case unknown.kind == nodeMapping:
		if after == nil || after.kind != nodeMapping {
			after = &node{kind: nodeMapping, fields: map[string]*node{}, line: unknown.line}
		}
		for name, u := range unknown.fields {
			// Only a setting with a default may be left out: any other that is not known has an expression, or is
			// a dynamic block.
			if isOneOf(u, "true") && w.known && !w.has(name) && slices.Contains(left, name) {
				continue
			}
			if n := unknownIn(after.fields[name], u, w.within(name, len(items(u))), left); n != nil {
				after.fields[name] = n
			}
		}
	case unknown.kind == nodeList:
		if after == nil || after.kind != nodeList {
			after = &node{kind: nodeList, line: unknown.line}
		}
		for i, u := range unknown.items {
			if i == len(after.items) {
				after.items = append(after.items, &node{line: u.line})
			}
			after.items[i] = unknownIn(after.items[i], u, w, left)
		}
	}

	return after
}

func isUnknown(n *node) bool { return n != nil && n.kind == nodeUnknown }

// hidden is the path of a value that is known only after apply, in a value or beneath it; "" if everything is known.
// Of mappings only the named fields count, where there are names; below them everything does.
func (n *node) hidden(path string, names ...string) string {
	if n == nil {
		return ""
	}
	if n.kind == nodeUnknown {
		return path
	}

	for i, item := range n.items {
		at := path
		if len(n.items) > 1 {
			at += "[" + strconv.Itoa(i) + "]"
		}
		if found := item.hidden(at, names...); found != "" {
			return found
		}
	}

	for _, name := range sortedFields(n) {
		if len(names) > 0 && !slices.Contains(names, name) {
			continue
		}
		at := name
		if path != "" {
			at = path + "." + name
		}
		if found := n.fields[name].hidden(at); found != "" {
			return found
		}
	}

	return ""
}

// openMark begins what a rule says of a resource where a value decides that is known only after apply: it neither
// keeps nor breaks the rule.
const openMark = "\x00"

// undecided is the answer for one resource whose value at a path is known only after apply.
func undecided(path string) string { return openMark + path }

// afterApplyIn is the answer about values of a plan's resources that are known only after apply.
func afterApplyIn(what string) answer {
	return missingEvidence(what+" is known only after apply",
		"write a value that the plan knows, or judge the resource as `gcloud` prints it afterwards")
}
