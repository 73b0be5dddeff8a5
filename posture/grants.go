package posture

import (
	"slices"
	"strings"
)

// grantForms are the three forms of Terraform's IAM resources. A member or a binding adds to the grants of a resource;
// only a policy is the whole list.
func grantForms() []string { return []string{"member", "binding", "policy"} }

// A grantType is a family of Terraform's IAM resources.
type grantType struct {
	kind  string // of workload; "" for a level
	level string // project, folder or organization
	field string // that names the target
	proxy bool   // grants who may pass Identity-Aware Proxy
}

// grantTypes are the families that say who may call, by the beginning of their types.
func grantTypes() map[string]grantType {
	return map[string]grantType{
		"google_cloud_run_v2_service_iam_":     {kind: kindService, field: "name"},
		"google_cloud_run_service_iam_":        {kind: kindService, field: "service"},
		"google_cloud_run_v2_job_iam_":         {kind: kindJob, field: "name"},
		"google_cloud_run_v2_worker_pool_iam_": {kind: kindPool, field: "name"},
		"google_cloud_run_v2_instance_iam_":    {kind: kindInstance, field: "name"},
		"google_cloudfunctions2_function_iam_": {kind: kindFunction, field: "cloud_function"},

		"google_project_iam_":      {level: "project", field: "project"},
		"google_folder_iam_":       {level: "folder", field: "folder"},
		"google_organization_iam_": {level: "organization", field: "org_id"},

		"google_iap_web_iam_":                   {field: "name", proxy: true}, // on everything behind the proxy
		"google_iap_web_cloud_run_service_iam_": {kind: kindService, field: "cloud_run_service_name", proxy: true},
	}
}

// grantTypeOf is the family of a type of resource, and its form; false if it is none.
func grantTypeOf(kind string) (grantType, string, bool) {
	for _, form := range grantForms() {
		if prefix, ok := strings.CutSuffix(kind, form); ok {
			t, known := grantTypes()[prefix]
			return t, form, known
		}
	}

	return grantType{}, "", false
}

// plannedGrants adds the grants of a plan. They are read after its workloads, which they may name by a reference.
func (m *model) plannedGrants(r *reader, resource *planned, p *plan) {
	t, form, ok := grantTypeOf(resource.kind)
	if !ok {
		return
	}

	n := resource.after
	grant := policy{planned: true, file: r.file, address: resource.address, kind: t.kind, proxy: t.proxy,
		project: t.level != "", level: t.level, target: r.text(n.at(t.field), t.field),
		owner:  r.text(n.at("project"), "project"),
		region: r.text(n.at("location"), "location")}

	// Grants on folders and organisations hold in every project beneath. Which
	// those are a plan does not say, so that they cover all projects.
	if grant.project {
		grant.target = r.text(n.at("project"), "project")
		grant.target.text = strings.TrimPrefix(grant.target.text, "projects/")
	}

	// A full name, projects/P/locations/L/KIND/NAME, says the project and the region too.
	if full := strings.Split(grant.target.text, "/"); len(full) == 6 {
		grant.target.text = full[5]
		grant.owner = first(grant.owner, text{set: true, text: full[1]})
		grant.region = first(grant.region, text{set: true, text: full[3]})
	}

	if grant.bindings, grant.whole, ok = r.granted(n, form); !ok {
		return
	}

	// A role that the plan makes itself is not a basic one.
	for i, b := range grant.bindings {
		if b.role.unknown {
			to, _ := p.points(resource, n.at("role"), "role", customRoles()...)
			grant.bindings[i].custom = len(to) > 0
		}
	}

	if grant.project || !grant.target.unknown {
		m.policies = append(m.policies, grant)
		return
	}

	// A reference to workloads of the same plan covers those alone.
	to, known := p.points(resource, n.at(t.field), t.field, workloadTypesOf(t.kind)...)
	if !known || len(to) == 0 {
		m.policies = append(m.policies, grant)
		return
	}

	for _, workload := range to {
		one := grant
		one.of = workload.address
		m.policies = append(m.policies, one)
	}
}

// customRoles are the types of resources that make a role of one's own, which is no basic one.
func customRoles() []string {
	return []string{"google_project_iam_custom_role", "google_organization_iam_custom_role"}
}

// workloadTypesOf are the types of resources of a kind of workload. A function of the second generation is a service.
func workloadTypesOf(kind string) []string {
	var out []string
	for name, k := range workloadTypes() {
		if k == kind || kind == kindService && k == kindFunction {
			out = append(out, name)
		}
	}

	slices.Sort(out)

	return out
}

// granted reads the bindings of an IAM resource in one of its three forms. whole reports that they are all grants of
// the target; ok is false where they could not be read, which is an error of r.
func (r *reader) granted(n *node, form string) (bindings []binding, whole, ok bool) {
	b := binding{role: r.text(n.at("role"), "role")}
	switch form {
	case "member":
		b.members = []text{r.text(n.at("member"), "member")}
		return []binding{b}, false, true
	case "binding":
		for _, m := range r.list(n.at("members"), "members") {
			b.members = append(b.members, r.text(m, "members"))
		}
		if r.partial {
			b.members = append(b.members, text{unknown: true})
		}

		return []binding{b}, false, true
	}

	// Config Connector has bindings as they are; those of an IAMPartialPolicy are some of all.
	if n.has("bindings") {
		return r.bindings(n), !n.has("partial"), true
	}

	// A policy replaces all grants, so that it lists every one; but only if its
	// text is known.
	data := r.text(n.at("policy_data"), "policy_data")
	if !data.set {
		return nil, false, true
	}

	docs, err := parse(Source{Name: "policy_data", Text: []byte(data.text)})
	if err != nil || len(docs) != 1 {
		r.fault(n, "policy_data", "an IAM policy")
		return nil, false, false
	}

	return r.bindings(docs[0]), true, true
}
