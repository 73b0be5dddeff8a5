package posture

import (
	"fmt"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor/internal/plain"
)

// plan reads a Terraform plan as `terraform show -json` prints it: the workloads as they will be, their IAM, and what
// points at them.
func (m *model) plan(file string, n *node) []error {
	r := &reader{file: file}
	changes := n.at("resource_changes")
	if changes == nil && n.has("values", "lineage") {
		var err error
		if changes, err = stateChanges(n); err != nil {
			return []error{fmt.Errorf("%s: %w", plain.Text(file), err)}
		}
	}
	if changes == nil {
		return []error{fmt.Errorf("%s: has no resource_changes, and so is no plan, nor values of a state; pass the "+
			"output of `terraform show -json`",
			plain.Text(file))}
	}

	// "errored": planning stopped before it had seen every resource.
	if isOneOf(n.at("errored"), "true") {
		return []error{fmt.Errorf("%s: the plan is incomplete: planning failed; pass a plan that was made "+
			"without an error",
			plain.Text(file))}
	}

	// What the configuration writes decides whether a value that is not known is a default.
	around := &workload{kind: kindPlan, name: file, file: file, form: formTerraform, plan: newPlan()}
	around.plan.refs, around.plan.expressions = readReferences(n.at("configuration"))
	before := len(m.workloads)
	judged := judgedTypes()

	var errs []error
	left := defaulted()
	for _, c := range r.list(changes, "resource_changes") {
		// A reader for each resource: what one leaves open says nothing of the others.
		one := &reader{file: file}
		m.change(one, c, around.plan, left)
		errs = append(errs, one.errs...)
	}

	// Grants, endpoint groups and mappings name workloads, also by references that are not known yet.
	one := &reader{file: file}
	m.plannedFronts(one, around.plan)
	errs = append(errs, one.errs...)
	for _, p := range around.plan.resources {
		one := &reader{file: file}
		m.plannedGrants(one, p, around.plan)
		errs = append(errs, one.errs...)
		around.surrounded = around.surrounded || judged[p.kind] || p.opensOther()
	}

	// A plan whose only subject is a public grant on another's workload is judged
	// for that grant.
	if around.surrounded || len(m.workloads) > before {
		m.workloads = append(m.workloads, around)
		m.partialPlan(file, n)
	}

	return append(errs, r.errs...)
}

// partialPlan notes a plan of only a part of the configuration: "complete" is false where -target or a deferred change
// left some resources out, which then have no entry to judge.
func (m *model) partialPlan(file string, n *node) {
	deferred := n.at("deferred_changes")
	if !isOneOf(n.at("complete"), "false") && len(items(deferred)) == 0 {
		return
	}

	m.unjudged = append(m.unjudged, unjudgedPart{file: file, name: file, kind: kindPlan, line: n.line, unread: true,
		message: "the plan is incomplete: some resources are left out, by -target or because their changes are " +
			"deferred",
		fix: "plan without -target, after the deferred resources can be planned"})
}

// judgedTypes are the types of resources that some rule is about.
func judgedTypes() map[string]bool {
	out := map[string]bool{}
	for _, r := range planRules() {
		for _, kind := range r.resources {
			out[kind] = true
		}
	}

	return out
}

func (m *model) change(r *reader, c *node, p *plan, left []string) {
	kind := r.text(c.at("type"), "type").text
	if r.text(c.at("mode"), "mode").text == "data" {
		return
	}

	// "after" is null where a resource is deleted: what will not exist is no risk.
	change := c.at("change")
	actions := r.strings(change.at("actions"), "change.actions")
	after := change.at("after")
	if slices.Equal(actions, []string{"delete"}) || after == nil || after.kind == nodeNull {
		return
	}

	address := r.text(c.at("address"), "address").text
	after = unknownIn(after, change.at("after_unknown"), p.wordingOf(address), left)
	if after = r.mapping(after, "after"); after == nil {
		return // an error of r
	}

	resource := &planned{kind: kind, address: address, after: after,
		name: after.at("name").written()}
	if strings.HasPrefix(kind, "google_") {
		p.add(resource)
	}

	if workload := workloadTypes()[kind]; workload != "" {
		// Only a resource that the plan creates has no grants from before. An update,
		// or a replacement under the same name, may keep some.
		m.plannedWorkload(r, resource, p, workload, slices.Equal(actions, []string{"create"}), c.line)
		return
	}

	a := unjudgedPart{file: r.file, name: resource.address, kind: kind, line: c.line}
	switch {
	case isOutside(kind):
		a.message = quote(kind) + " runs outside Cloud Run, and is not judged"
		a.fix = "judge it with the tool for its platform"
		m.unjudged = append(m.unjudged, a)
	case runsContainers(kind, after):
		a.unread = true
		a.message = "unsupported resource " + quote(kind) + ": it runs containers that no rule judges"
		a.fix = "judge what it makes, as `gcloud run services describe NAME --format export` or the v2 API shows it"
		m.unjudged = append(m.unjudged, a)
	}
}

// plannedWorkload adds a workload of a plan.
func (m *model) plannedWorkload(r *reader, p *planned, in *plan, kind string, created bool, line int) {
	var s *workload
	switch p.kind {
	case "google_cloud_run_service":
		s = r.terraformV1(p.after)
	case "google_cloudfunctions2_function":
		s = r.function(p.after)
	default:
		s = r.v2(p.after, kind, blockShape())
		s.form = formTerraform
	}

	s.address, s.created, s.line, s.from, s.in = p.address, created, line, p, in
	s.region = first(r.text(p.after.at("location"), "location"), s.region)
	s.project = first(r.text(p.after.at("project"), "project"), s.project)

	// Without a known name the address names it, which no service has as its name.
	if name := r.text(p.after.at("name"), "name"); name.unknown || s.name == "" {
		s.name = s.address
	}

	if !in.wordingOf(p.address).known {
		s.unknownAsUnset()
	}
	m.addWorkload(r, s)
}

// unknownAsUnset treats unknown values of some settings as absent, in a plan without its configuration. A plan marks
// a setting that is left to the provider as unknown too, and the provider then uses the default, which the rules
// judge like an absent value. It breaks each of them, but for the timeout, of which the default may keep the rule.
func (s *workload) unknownAsUnset() {
	s.timeout.assumed = s.timeout.unknown
	s.ingress.unknown, s.urlDisabled.unknown, s.timeout.unknown, s.concurrency.unknown = false, false, false, false
	s.min.unknown, s.max.unknown = false, false

	for i := range s.containers {
		s.containers[i].cpu.unknown, s.containers[i].memory.unknown = false, false
	}
}

// terraformV1 reads google_cloud_run_service, which is Knative in blocks.
func (r *reader) terraformV1(n *node) *workload {
	s := &workload{kind: kindService, file: r.file, form: formTerraformV1}
	s.name = r.text(n.at("name"), "name").text
	template := n.block("template")
	r.annotations(s, n.block("metadata").at("annotations"), template.block("metadata").at("annotations"))
	s.annotated = append(s.annotated, pairs(n.block("metadata").at("labels"))...)
	s.annotated = append(s.annotated, pairs(template.block("metadata").at("labels"))...)
	r.revision(s, template.block("spec"), blockShape())
	r.traffic(s, n.at("traffic"), "revision_name",
		r.text(template.block("metadata").at("name"), "template.metadata.name").text)

	// An unknown block hides whatever is in it: the definition is partial, and no
	// rule passes on the rest of it.
	if isUnknown(n.at("template")) {
		r.hides("template")
	}
	for _, name := range []string{"spec", "metadata"} {
		if isUnknown(template.at(name)) {
			r.hides("template." + name)
		}
	}

	s.partial, s.hidden = r.partial, r.hidden

	return s
}
