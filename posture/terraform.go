package posture

import (
	"fmt"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor/internal/plain"
)

// plan reads a Terraform plan as `terraform show -json` prints it: the services
// and jobs as they will be, their IAM, and what points at them.
func (set *input) plan(file string, n *node) []error {
	r := &reader{file: file}
	changes := n.at("resource_changes")
	if changes == nil {
		return []error{fmt.Errorf("%s: has no resource_changes, and so is not a plan; pass the output of `terraform show -json PLAN`",
			plain.Text(file))}
	}

	var errs []error
	surroundings, before := &service{kind: kindPlan, name: file, file: file, form: formTerraform}, len(set.services)
	for _, c := range r.list(changes, "resource_changes") {
		one := &reader{file: file}
		set.change(one, c, surroundings)
		errs = append(errs, one.errs...)
	}

	// A plan whose only subject is a public grant on another's workload is judged
	// for that grant.
	if len(surroundings.surrounding) > 0 || len(set.services) > before {
		set.plans++
		set.services = append(set.services, surroundings)
	}

	return append(errs, r.errs...)
}

func (set *input) change(r *reader, c *node, surroundings *service) {
	kind := r.text(c.at("type"), "type").text
	if r.text(c.at("mode"), "mode").text == "data" || !strings.HasPrefix(kind, "google_") {
		return
	}

	// "after" is null where a resource is deleted: what will not exist is no risk.
	change := c.at("change")
	actions := r.strings(change.at("actions"), "change.actions")
	after := change.at("after")
	if slices.Equal(actions, []string{"delete"}) || after == nil || after.kind == nodeNull {
		return
	}

	after = unknownIn(after, change.at("after_unknown"))
	if isSurrounding(kind) {
		surroundings.surrounding = append(surroundings.surrounding,
			planned{kind: kind, address: r.text(c.at("address"), "address").text, after: r.mapping(after, "after")})
	}

	// Only a resource that the plan creates has no grants from before. An update,
	// or a replacement under the same name, may keep some.
	created := slices.Equal(actions, []string{"create"})
	var s *service
	switch kind {
	case "google_cloud_run_v2_service":
		s = r.v2(after, kindService, blockShape())
		s.form = formTerraform
	case "google_cloud_run_v2_job":
		s = r.v2(after, kindJob, blockShape())
		s.form = formTerraform
	case "google_cloud_run_v2_worker_pool":
		s = r.v2(after, kindPool, blockShape())
		s.form = formTerraform
	case "google_cloud_run_service":
		s = r.terraformV1(after)
	case "google_compute_region_network_endpoint_group":
		for _, run := range r.list(after.at("cloud_run"), "cloud_run") {
			set.fronted = append(set.fronted, r.text(run.at("service"), "cloud_run.service").text)
		}
		return
	default:
		address := r.text(c.at("address"), "address").text
		if !set.terraformIAM(r, kind, address, after) && runsContainers(kind) {
			r.errs = append(r.errs, fmt.Errorf("%s: line %d: unsupported resource %s: it runs containers that no rule "+
				"judges; judge the plan without it, and its service as the v2 API shows it", plain.Text(r.file), c.line, quote(kind)))
		}
		return
	}

	s.address, s.created, s.line = r.text(c.at("address"), "address").text, created, c.line
	s.region = r.text(after.at("location"), "location")
	s.project = r.text(after.at("project"), "project")

	if name := r.text(after.at("name"), "name"); name.unknown || s.name == "" {
		s.name = s.address
	}

	s.unknownAsUnset()
	set.services = append(set.services, s)
}

// unknownAsUnset treats unknown values of some settings as absent. A plan marks a
// setting that is left to the provider as unknown too, and the provider then uses
// the default, which the rules judge like an absent value.
func (s *service) unknownAsUnset() {
	s.ingress.unknown, s.urlDisabled.unknown, s.timeout.unknown, s.concurrency.unknown = false, false, false, false
	s.min.unknown, s.max.unknown = false, false

	for i := range s.containers {
		s.containers[i].cpu.unknown, s.containers[i].memory.unknown = false, false
	}
}

// runsContainers reports whether a resource that no rule reads runs containers:
// a function of the second generation, and every resource of Cloud Run but those
// that point at services. Passing over one would leave a workload unjudged.
func runsContainers(kind string) bool {
	return kind == "google_cloudfunctions2_function" || strings.HasPrefix(kind, "google_cloud_run_") &&
		kind != "google_cloud_run_domain_mapping" && !strings.Contains(kind, "_iam_")
}

// terraformV1 reads google_cloud_run_service, which is Knative in blocks.
func (r *reader) terraformV1(n *node) *service {
	s := &service{kind: kindService, file: r.file, form: formTerraformV1}
	s.name = r.text(n.at("name"), "name").text
	template := n.block("template")
	r.annotations(s, n.block("metadata").at("annotations"), template.block("metadata").at("annotations"))
	r.revision(s, template.block("spec"), blockShape())
	r.traffic(s, n.at("traffic"), "revision_name",
		r.text(template.block("metadata").at("name"), "template.metadata.name").text)

	// An unknown block hides whatever is in it: the definition is partial, and no
	// rule passes on the rest of it.
	for _, block := range []*node{n.at("template"), template.at("spec"), template.at("metadata")} {
		r.partial = r.partial || block != nil && block.kind == nodeUnknown
	}

	s.partial = r.partial

	return s
}

// unknownIn marks what is known only after apply. A plan tells that beside the
// values, in a tree of the same shape with true at those places.
func unknownIn(after, unknown *node) *node {
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
			if n := unknownIn(after.fields[name], u); n != nil {
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
			after.items[i] = unknownIn(after.items[i], u)
		}
	}

	return after
}

// terraformIAM adds grants on services, jobs and projects. A member or binding
// adds to what is there; only a policy is all there is. False: it is none.
func (set *input) terraformIAM(r *reader, kind, address string, n *node) bool {
	p := policy{planned: true, file: r.file, address: address}
	rest := ""
	for prefix, of := range map[string]string{
		"google_cloud_run_v2_service_iam_": kindService, "google_cloud_run_service_iam_": kindService,
		"google_cloud_run_v2_job_iam_": kindJob, "google_cloud_run_v2_worker_pool_iam_": kindPool,
	} {
		if suffix, ok := strings.CutPrefix(kind, prefix); ok {
			rest, p.kind = suffix, of
		}
	}

	for _, level := range []string{"project", "folder", "organization"} {
		if suffix, ok := strings.CutPrefix(kind, "google_"+level+"_iam_"); ok {
			rest, p.project, p.level = suffix, true, level
		}
	}

	if rest != "member" && rest != "binding" && rest != "policy" {
		return false
	}

	p.target = first(r.text(n.at("name"), "name"), r.text(n.at("service"), "service"))

	p.owner = r.text(n.at("project"), "project")

	// Grants on folders and organisations hold in every project beneath. Which
	// those are a plan does not say, so that they cover all projects.
	if p.project {
		p.target = r.text(n.at("project"), "project")
		p.target.text = strings.TrimPrefix(p.target.text, "projects/")
	}
	if full := strings.Split(p.target.text, "/"); len(full) == 6 {
		p.target.text = full[5]
		p.owner = first(p.owner, text{set: true, text: full[1]})
	}

	p.region = r.text(n.at("location"), "location")
	b := binding{role: r.text(n.at("role"), "role")}
	switch rest {
	case "member":
		b.members = []text{r.text(n.at("member"), "member")}
		p.bindings = []binding{b}
	case "binding":
		for _, m := range r.list(n.at("members"), "members") {
			b.members = append(b.members, r.text(m, "members"))
		}
		if r.partial {
			b.members = append(b.members, text{unknown: true})
		}
		p.bindings = []binding{b}
	case "policy":
		// A policy replaces all grants, so that it lists every one; but only if its
		// text is known.
		data := r.text(n.at("policy_data"), "policy_data")
		p.whole = data.set
		if data.set {
			docs, err := parse(Source{Name: "policy_data", Text: []byte(data.text)})
			if err != nil || len(docs) != 1 {
				r.fault(n, "policy_data", "an IAM policy")
				return true
			}
			p.bindings = r.bindings(docs[0])
		}
	}

	set.policies = append(set.policies, p)

	return true
}
