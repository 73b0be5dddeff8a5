package posture

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor/internal/plain"
)

// Resources that stand alone in their files: what `gcloud … describe` and `… export` print, and the documents of Config
// Connector. All of one input are one subject, as if one plan made them, so that those of one file may name those of
// another.

// gather adds a resource to them.
func (m *model) gather(file string, p *planned) {
	if m.gathered == nil {
		m.gathered = &workload{kind: kindPlan, name: file, file: file, form: formResource, plan: newPlan()}
	}
	// Those of several files are no one file's, so that no exception for one file covers them.
	if m.gathered.file != file {
		m.gathered.name, m.gathered.file = "exported resources", ""
	}

	// The types are collected once: an export may hold thousands of resources.
	if m.judged == nil {
		m.judged = judgedTypes()
	}

	m.gathered.plan.add(p)
	m.gathered.surrounded = m.gathered.surrounded || m.judged[p.kind] || p.opensOther()
	if relevant(p.kind, m.judged) || p.opensOther() {
		m.relevant++
	}
}

// finishGathered reads what the gathered resources say of workloads.
func (m *model) finishGathered() []error {
	if m.gathered == nil {
		return nil
	}

	r := &reader{file: m.gathered.file}
	m.plannedFronts(r, m.gathered.plan)
	for _, p := range m.gathered.plan.resources {
		m.plannedGrants(r, p, m.gathered.plan)
	}

	// Of one workload a policy beside it is taken to be; of several it may be any one's, and is named by its file.
	for _, p := range m.loose {
		if m.defined() != 1 {
			p.target = text{set: true, text: p.file}
		}
		m.policies = append(m.policies, p)
	}

	if m.gathered.surrounded {
		m.workloads = append(m.workloads, m.gathered)
	}

	return r.errs
}

// relevant reports whether some rule is about resources of a type, or looks at them to judge others, or they grant
// something.
func relevant(kind string, judged map[string]bool) bool {
	_, _, grants := grantTypeOf(kind)
	return grants || judged[kind] ||
		slices.Contains([]string{urlMaps()[0], urlMaps()[1], networkType, routerType, natType, endpointGroup,
			levelType, perimeterType + "_resource"}, kind)
}

// computeTypes are Terraform's types of the resources that Compute Engine and Cloud SQL print, by "kind"; a second one
// is that of a regional resource.
func computeTypes() map[string][2]string {
	return map[string][2]string{
		"compute#securityPolicy":       {globalArmor, regionalArmor},
		"compute#backendService":       {globalBackend, regionalBackend},
		"compute#urlMap":               {urlMaps()[0], urlMaps()[1]},
		"compute#sslPolicy":            {sslPolicies()[0], sslPolicies()[1]},
		"compute#targetHttpsProxy":     {httpsProxies()[0], httpsProxies()[1]},
		"compute#targetHttpProxy":      {httpProxies()[0], httpProxies()[1]},
		"compute#targetSslProxy":       {httpsProxies()[2]},
		"compute#subnetwork":           {subnetworkType, subnetworkType},
		"compute#network":              {networkType},
		"compute#router":               {routerType, routerType},
		"compute#networkEndpointGroup": {"", endpointGroup},
		"compute#serviceAttachment":    {"", serviceAttachment},
		"sql#instance":                 {databaseType, databaseType},
	}
}

const (
	endpointGroup  = "google_compute_region_network_endpoint_group"
	repositoryType = "google_artifact_registry_repository"
	providerType   = "google_iam_workload_identity_pool_provider"
	levelType      = "google_access_context_manager_access_level"
	admissionType  = "google_binary_authorization_policy"
)

// nameShapes tell resources that have no "kind" by their names.
var nameShapes = []struct {
	re   *regexp.Regexp
	kind string
}{
	{regexp.MustCompile(`^(organizations|folders|projects)/[^/]+/policies/[^/]+$`), organizationPolicy},
	{regexp.MustCompile(`^projects/[^/]+/policy$`), admissionType},
	{regexp.MustCompile(`^accessPolicies/[^/]+/servicePerimeters/[^/]+$`), perimeterType},
	{regexp.MustCompile(`^accessPolicies/[^/]+/accessLevels/[^/]+$`), levelType},
	{regexp.MustCompile(`^projects/[^/]+/locations/[^/]+/connectors/[^/]+$`), connectorType},
	{regexp.MustCompile(`^projects/[^/]+/locations/[^/]+/clusters/[^/]+/instances/[^/]+$`), alloyType},
	{regexp.MustCompile(`^projects/[^/]+/locations/[^/]+/repositories/[^/]+$`), repositoryType},
	{regexp.MustCompile(`/workloadIdentityPools/[^/]+/providers/[^/]+$`), providerType},
}

// exportedType is the type of a resource that an export holds, or "".
func exportedType(n *node) string {
	if types, ok := computeTypes()[n.at("kind").written()]; ok {
		if region := types[1]; region != "" && n.at("region").written() != "" {
			return region
		}
		return types[0]
	}

	switch {
	case n.has("defaultAdmissionRule"):
		return admissionType
	case n.has("constraint") && n.has("listPolicy", "booleanPolicy", "restoreDefault"):
		return legacyPolicies()[0]
	}

	for _, shape := range nameShapes {
		if shape.re.MatchString(n.at("name").written()) && !n.has("template", "containers") {
			return shape.kind
		}
	}

	return ""
}

// exported adds a resource that an export holds; false if the document is none.
func (m *model) exported(r *reader, n *node) bool {
	kind := exportedType(n)
	if kind == "" {
		return false
	}

	after := r.asBlocks(n)
	if kind == legacyPolicies()[0] {
		after.fields["list_policy"] = legacyList(n.at("listPolicy"))
	}
	if tests := after.fields["tests"]; tests != nil { // of a URL map: what is expected, which sends nothing
		after.fields["test"] = tests
		delete(after.fields, "tests")
	}

	full := cmp.Or(n.at("name").written(), n.at("constraint").written())
	name := full[strings.LastIndex(full, "/")+1:]
	m.gather(r.file, &planned{kind: kind, address: strings.TrimPrefix(kind, "google_") + "." + cmp.Or(name, "unnamed"),
		name:  name,
		after: after})

	// A router lists its gateways of Cloud NAT.
	for _, nat := range items(after.at("nats")) {
		nat.fields["router"], nat.fields["region"] = textNode(name, nat.line),
			textNode(lastPart(n.at("region").written()), nat.line)
		m.gather(r.file, &planned{kind: natType, address: "compute_router_nat." + nat.at("name").written(),
			name: nat.at("name").written(), after: nat})
	}

	return true
}

// exportedFunction adds a function as `gcloud functions describe` prints it. One of the first generation runs outside
// Cloud Run.
func (m *model) exportedFunction(r *reader, n *node, parts []string) {
	if !n.has("serviceConfig") || isOneOf(n.at("environment"), "GEN_1") {
		m.unjudged = append(m.unjudged, unjudgedPart{file: r.file, name: clip(parts[5]),
			kind: kindFunction, line: n.line,
			message: "a function of the first generation runs outside Cloud Run, and is not judged",
			fix:     "judge it with the tool for its platform"})
		return
	}

	s := r.function(r.asBlocks(n))
	s.form, s.line, s.name = formResource, n.line, parts[5]
	s.project, s.region = textOf(parts[1]), textOf(parts[3])
	m.addWorkload(r, s)
}

func lastPart(s string) string { return s[strings.LastIndex(s, "/")+1:] }

// legacyList writes the list of an older organisation policy as Terraform does: "allValues" is ALLOW or DENY.
func legacyList(n *node) *node {
	if n == nil || n.kind != nodeMapping {
		return n
	}

	of := func(values *node, all string) *node {
		fields := map[string]*node{"values": values}
		if isOneOf(n.at("allValues"), all) {
			fields["all"] = textNode("true", n.line)
		}

		return &node{kind: nodeList, items: []*node{{kind: nodeMapping, line: n.line, fields: fields}}}
	}

	return &node{kind: nodeList, items: []*node{{kind: nodeMapping, line: n.line, fields: map[string]*node{
		"allow": of(n.at("allowedValues"), "ALLOW"), "deny": of(n.at("deniedValues"), "DENY")}}}}
}

// exportedGrants adds an IAM policy that is given as a definition, if it grants something to everybody, or a basic
// role. Since it does not say what it is on, any other is no evidence for anything, and passes nothing.
func (m *model) exportedGrants(r *reader, n *node) []error {
	p := policy{planned: true, file: r.file, address: r.file, bindings: r.bindings(n)}
	if len(r.errs) > 0 {
		return r.errs
	}
	if !p.public() && !p.hasProjectRoles() {
		return []error{fmt.Errorf("%s: line %d: an IAM policy is evidence, not a definition: pass a service's as "+
			"--iam, a project's as --project-iam", plain.Text(r.file), n.line)}
	}

	m.loose = append(m.loose, p)
	m.gather(r.file, &planned{kind: "google_project_iam_policy", address: plain.Text(r.file), name: r.file,
		after: &node{kind: nodeMapping, line: n.line, fields: map[string]*node{"bindings": n.at("bindings"),
			"project": {kind: nodeUnknown}}}})

	return nil
}

// stateChanges are the resources of a Terraform state, as changes of a plan that leaves them as they are. There are two
// forms: that of `terraform show -json`, and that of the file itself.
func stateChanges(n *node) (*node, error) {
	list := &node{kind: nodeList, line: n.line}
	add := func(r *node, address string, after *node) {
		list.items = append(list.items, &node{kind: nodeMapping, line: r.line, column: r.column,
			fields: map[string]*node{
				"address": textNode(address, r.line), "mode": r.at("mode"), "type": r.at("type"), "name": r.at("name"),
				"change": {kind: nodeMapping, line: r.line, fields: map[string]*node{"after": after,
					"actions": {kind: nodeList, items: []*node{textNode("no-op", r.line)}}}}}})
	}

	if n.has("values") {
		var collect func(module *node, depth int) error
		collect = func(module *node, depth int) error {
			// What lies deeper would be judged by nobody, and the rest would pass for all.
			if depth > maxModules {
				return fmt.Errorf("line %d: modules are nested more than %d deep", module.line, maxModules)
			}

			for _, r := range items(module.at("resources")) {
				add(r, r.at("address").written(), r.at("values"))
			}
			for _, child := range items(module.at("child_modules")) {
				if err := collect(child, depth+1); err != nil {
					return err
				}
			}

			return nil
		}

		return list, collect(n.at("values", "root_module"), 0)
	}

	// The file's own form lists instances beneath a resource, by the index of count or the key of for_each.
	for _, r := range items(n.at("resources")) {
		address := r.at("type").written() + "." + r.at("name").written()
		if module := r.at("module").written(); module != "" {
			address = module + "." + address
		}
		for _, one := range items(r.at("instances")) {
			at := address
			if key := one.at("index_key").written(); key != "" {
				at = fmt.Sprintf("%s[%q]", address, key)
			}
			if one.at("attributes") == nil {
				return nil, fmt.Errorf("line %d: the state is of an old Terraform; pass the output of `terraform "+
					"show -json`", one.line)
			}
			add(r, at, one.at("attributes"))
		}
	}

	return list, nil
}
