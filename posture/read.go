package posture

import (
	"fmt"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/plain"
)

// A model is everything that the input says, in one picture: the workloads, who may call them, which ways lead in and
// what guards each, and what could not be read. The rules ask it, and nothing else.
type model struct {
	workloads []*workload    // and plans, as the subjects of rules about what stands around workloads
	policies  []policy       // who may do what
	fronts    []front        // what load balancers point at
	mappings  []mapping      // domains that lead to a workload directly
	unjudged  []unjudgedPart // what no rule judges

	gathered        *workload       // the resources that stand alone in their files
	relevant        int             // how many of them some rule looks at
	judged          map[string]bool // see judgedTypes
	loose           []policy        // IAM policies that do not say what they are on
	requestPolicies []policySource  // policies of a PostureRequest
	allPlans        []*plan         // see plans
	allGateways     []gateway       // see gateways
	frontsOf        map[string][]front
	nested          bool             // within a PostureRequest
	byTarget        map[string][]int // index into policies, see policiesOf
}

const maxServices = 10_000

// read reads all documents, and reports every one that it cannot read.
func read(in Input) (*model, error) {
	m := &model{}
	definitions, errs := m.builds(in.Definitions)
	for _, src := range definitions {
		docs, err := parse(src)

		if err != nil {
			if attestor.KindOf(err) == attestor.TooLarge {
				return nil, err
			}
			errs = append(errs, fmt.Errorf("%s: %w", plain.Text(src.Name), err))
			continue
		}

		errs = append(errs, m.file(src.Name, docs)...)
	}

	// The caller's region is for definitions that name none: what a document says of itself counts.
	for _, s := range m.workloads {
		if !s.region.set && !s.region.unknown && in.Region != "" && slices.Contains(workloadKinds(), s.kind) {
			s.region = text{set: true, text: in.Region}
		}
	}

	// After all files, since grants may name the workloads of any file.
	errs = append(errs, m.finishGathered()...)
	errs = append(errs, m.readPolicies(in)...)
	m.addForeign()
	if len(m.workloads) > maxServices {
		errs = append(errs, fmt.Errorf("%d services, at most %d are judged at once", len(m.workloads), maxServices))
	}
	if len(m.workloads) == 0 && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("the input has no definitions"))
	}
	if err := invalid(errs); err != nil {
		return nil, err
	}

	return m, nil
}

// file adds the documents of one file. A file without anything that can be judged is an error; in any other, what
// cannot be judged is a finding beside the rest.
func (m *model) file(name string, docs []*node) (errs []error) {
	// What a file added is what is beyond these counts.
	workloads, policies, unjudged, mappings := len(m.workloads), len(m.policies), len(m.unjudged), len(m.mappings)
	relevant := m.relevant
	for _, n := range docs {
		errs = append(errs, m.document(name, n)...)
	}

	// A plan of grants alone is judged if one of them is public; see addForeign.
	public := slices.ContainsFunc(m.policies[policies:], func(p policy) bool { return !p.project && p.public() })
	if len(m.workloads) > workloads || len(m.mappings) > mappings || m.relevant > relevant || public || len(errs) > 0 {
		return errs
	}

	for _, a := range m.unjudged[unjudged:] {
		errs = append(errs, a.err())
	}

	m.unjudged = m.unjudged[:unjudged]
	if len(errs) == 0 {
		errs = append(errs, fmt.Errorf("%s: has no Cloud Run workload, and no resource that a rule is about",
			plain.Text(name)))
	}

	return errs
}

// documentKinds are the kinds of documents that are read as workloads, by the group of their API.
func documentKind(apiVersion, kind string) string {
	switch {
	case kind == "Service" && strings.HasPrefix(apiVersion, "serving.knative.dev/"):
		return kindService
	case !strings.HasPrefix(apiVersion, "run.googleapis.com/"):
		return ""
	}

	return map[string]string{"Job": kindJob, "WorkerPool": kindPool, "Instance": kindInstance}[kind]
}

// document adds what a document defines: a workload, a list of them, or a Terraform plan.
func (m *model) document(file string, n *node) []error {
	r := &reader{file: file}
	apiVersion, kind := r.text(n.at("apiVersion"), "apiVersion").text, r.text(n.at("kind"), "kind").text
	if err := r.truncated(n); err != nil {
		return []error{err}
	}

	switch {
	case n.kind == nodeList:
		return m.documents(file, n.items)
	case n.kind != nodeMapping:
		return []error{fmt.Errorf("%s: line %d: is bare text; a definition is required", plain.Text(file), n.line)}
	case len(r.errs) > 0:
		return r.errs
	case ofConnector(apiVersion):
		m.connected(r, n, apiVersion, kind)
	case m.exported(r, n):
	case documentKind(apiVersion, kind) != "":
		m.addWorkload(r, r.knative(n, documentKind(apiVersion, kind)))
	case kind == "DomainMapping" && strings.HasPrefix(apiVersion, "domains.cloudrun.com/"):
		m.mappings = append(m.mappings, mapping{domain: r.text(n.at("metadata", "name"), "metadata.name").text,
			project: r.text(n.at("metadata", "namespace"), "metadata.namespace"),
			service: r.text(n.at("spec", "routeName"), "spec.routeName")})
	case kind == "PostureRequest" && apiVersion == "attestor/v1" && !m.nested:
		m.nested = true // it holds no other
		return m.request(file, n)
	case strings.HasSuffix(kind, "List") && n.has("items"):
		return append(m.documents(file, r.list(n.at("items"), "items")), r.errs...)
	case kind != "" || apiVersion != "":
		m.unjudged = append(m.unjudged, otherDocument(file, apiVersion, kind, n))
	case n.has("format_version") || n.has("resource_changes") || n.has("planned_values") || n.has("lineage") &&
		n.has("resources"):
		return m.plan(file, n)
	default:
		return m.answer(r, n)
	}

	return r.errs
}

// answer adds what an answer of the v2 API defines. It has no "kind": the collection in its name says what it is.
func (m *model) answer(r *reader, n *node) []error {
	name := r.text(n.at("name"), "name").text
	collections := map[string]string{"services": kindService, "jobs": kindJob, "workerPools": kindPool,
		"instances": kindInstance}

	switch parts := strings.Split(name, "/"); {
	case len(parts) == 6 && parts[4] == "functions":
		m.exportedFunction(r, n, parts)
	case len(parts) > 6: // an execution, a task or a revision: what its parent made
		m.unjudged = append(m.unjudged, unjudgedPart{file: r.file, name: name, kind: clip(parts[len(parts)-2]),
			line: n.line, unread: true,
			message: "is no definition that is kept, but what one made", fix: "judge its service or job"})
	case len(parts) == 6 && collections[parts[4]] != "" && n.has("template", "containers"):
		m.addWorkload(r, r.v2(n, collections[parts[4]], knativeShape()))
	case n.has("template"):
		kind := kindService
		if n.at("template").has("template") { // the second template of a job
			kind = kindJob
		}
		m.addWorkload(r, r.v2(n, kind, knativeShape()))
	case n.has("services", "jobs", "workerPools", "instances"):
		var errs []error
		for _, collection := range []string{"services", "jobs", "workerPools", "instances"} {
			errs = append(errs, m.documents(r.file, r.list(n.at(collection), collection))...)
		}

		return append(errs, r.errs...)
	case n.has("bindings"):
		return m.exportedGrants(r, n)
	default:
		return []error{fmt.Errorf("%s: line %d: unknown kind of document: it has neither kind, template nor "+
			"resource_changes",
			plain.Text(r.file), n.line)}
	}

	return r.errs
}

// addWorkload adds a workload. A template that was not rendered says nothing of what it will render to, so that a pass
// on it would be none on the workload.
func (m *model) addWorkload(r *reader, s *workload) {
	m.workloads = append(m.workloads, s)
	if len(r.unrendered) == 0 {
		return
	}

	places := r.unrendered
	if len(places) > 3 {
		places = append(slices.Clone(places[:3]), fmt.Sprintf("%d more places", len(r.unrendered)-3))
	}

	m.unjudged = append(m.unjudged, unjudgedPart{file: r.file, name: s.fullName(), kind: s.kind,
		line: s.line, unread: true,
		message: "a template was not rendered: " + strings.Join(places, ", ") + " has a variable",
		fix:     "render it first, by `helm template`, `kustomize build` or envsubst, and judge the result"})
}

// truncated is an error for an answer of which only a part was given. Nothing can
// be said of the definitions that are missing, and a report without them would
// read as one on all.
func (r *reader) truncated(n *node) error {
	if n.has("template", "spec", "resource_changes") {
		return nil // a definition, or a plan: no list
	}

	for _, token := range []*node{n.at("nextPageToken"), n.at("metadata", "continue"),
		n.at("metadata", "remainingItemCount")} {
		if token.written() != "" && token.written() != "0" {
			return fmt.Errorf("%s: line %d: the list is truncated: it says that a next page follows; pass every page",
				plain.Text(r.file), token.line)
		}
	}

	// "unreachable" names the locations that did not answer a list call.
	if n.at("unreachable") != nil && isSet(n.at("unreachable")) {
		return fmt.Errorf("%s: line %d: the list is incomplete: unreachable names locations that did not "+
			"answer; list again",
			plain.Text(r.file), n.at("unreachable").line)
	}

	return nil
}

func (m *model) documents(file string, items []*node) []error {
	var errs []error
	for _, n := range items {
		if n.kind == nodeList { // no list holds lists, and recursion stays bounded
			errs = append(errs, fmt.Errorf("%s: line %d: a list within a list", plain.Text(file), n.line))
			continue
		}
		errs = append(errs, m.document(file, n)...)
	}

	return errs
}

// defined counts the workloads that the input defines.
func (m *model) defined() int {
	n := 0
	for _, s := range m.workloads {
		if s.kind != kindPlan && s.kind != kindDockerfile && !s.foreign {
			n++
		}
	}

	return n
}
