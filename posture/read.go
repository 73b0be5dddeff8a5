package posture

import (
	"fmt"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/plain"
)

// input is everything that was given, read.
type input struct {
	services        []*service
	policies        []policy
	fronted         []string       // names of services that a serverless NEG in a plan points at
	requestPolicies []policySource // policies of a PostureRequest
	nested          bool           // within a PostureRequest
	plans           int            // of the services, those that are what stands around some
}

const maxServices = 2000

// read reads all documents, and reports every one that it cannot read.
func read(in Input) (*input, error) {
	set := &input{}
	var errs []error
	for _, src := range in.Definitions {
		docs, err := parse(src)
		if err != nil {
			if attestor.KindOf(err) == attestor.TooLarge {
				return nil, err
			}
			errs = append(errs, fmt.Errorf("%s: %w", plain.Text(src.Name), err))
			continue
		}

		before, policies := len(set.services), len(set.policies)

		for _, n := range docs {
			errs = append(errs, set.document(src.Name, n)...)
		}

		// A plan of grants alone is judged if one of them is public; see addForeign.
		public := slices.ContainsFunc(set.policies[policies:], func(p policy) bool { return !p.project && p.public() })
		if len(set.services) == before && len(errs) == 0 && !public {
			errs = append(errs, fmt.Errorf("%s: has no Cloud Run workload, and no resource that a rule is about",
				plain.Text(src.Name)))
		}
	}

	for _, s := range set.services {
		if !s.region.set && !s.region.unknown && in.Region != "" && s.kind != kindPlan {
			s.region = text{set: true, text: in.Region}
		}
	}

	errs = append(errs, set.readPolicies(in)...)
	set.addForeign()
	if len(set.services) > maxServices {
		errs = append(errs, fmt.Errorf("%d services, at most %d are judged at once", len(set.services), maxServices))
	}
	if len(set.services) == 0 && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("the input has no definitions"))
	}
	if err := invalid(errs); err != nil {
		return nil, err
	}

	return set, nil
}

// document adds what a document defines: a service, a job, a list of them, or
// a Terraform plan.
func (set *input) document(file string, n *node) []error {
	r := &reader{file: file}
	apiVersion, kind := r.text(n.at("apiVersion"), "apiVersion").text, r.text(n.at("kind"), "kind").text
	if err := r.truncated(n); err != nil {
		return []error{err}
	}

	switch {
	case n.kind == nodeList:
		return set.documents(file, n.items)
	case n.kind != nodeMapping:
		return []error{fmt.Errorf("%s: line %d: is bare text; a definition is required", plain.Text(file), n.line)}
	case len(r.errs) > 0:
		return r.errs
	case kind == "Service" && strings.HasPrefix(apiVersion, "serving.knative.dev/"):
		set.services = append(set.services, r.knative(n, kindService))
	case kind == "Job" && strings.HasPrefix(apiVersion, "run.googleapis.com/"):
		set.services = append(set.services, r.knative(n, kindJob))
	case kind == "WorkerPool" && strings.HasPrefix(apiVersion, "run.googleapis.com/"):
		set.services = append(set.services, r.knative(n, kindPool))
	case kind == "PostureRequest" && apiVersion == "attestor/v1" && !set.nested:
		set.nested = true // it holds no other
		return set.request(file, n)
	case strings.HasSuffix(kind, "List") && n.has("items"):
		return append(set.documents(file, r.list(n.at("items"), "items")), r.errs...)
	case kind != "" || apiVersion != "":
		return []error{fmt.Errorf("%s: line %d: unknown kind %s of %s; Service of serving.knative.dev/v1, or Job or "+
			"WorkerPool of run.googleapis.com/v1 is required", plain.Text(file), n.line, quote(kind), quote(apiVersion))}
	case n.has("format_version") || n.has("resource_changes") || n.has("planned_values"):
		return set.plan(file, n)
	case n.has("template"):
		// The v2 API has no "kind": the collection in the name tells, and the second
		// template of a job.
		kind := kindService
		switch name := r.text(n.at("name"), "name").text; {
		case strings.Contains(name, "/workerPools/"):
			kind = kindPool
		case strings.Contains(name, "/jobs/"), n.at("template").has("template"):
			kind = kindJob
		}
		set.services = append(set.services, r.v2(n, kind, knativeShape()))
	case n.has("services", "jobs", "workerPools"):
		var errs []error
		for _, collection := range []string{"services", "jobs", "workerPools"} {
			errs = append(errs, set.documents(file, r.list(n.at(collection), collection))...)
		}

		return append(errs, r.errs...)
	case n.has("bindings"):
		return []error{fmt.Errorf("%s: line %d: an IAM policy is evidence, not a definition: pass a service's as "+
			"--iam, a project's as --project-iam", plain.Text(file), n.line)}
	default:
		return []error{fmt.Errorf("%s: line %d: unknown kind of document: it has neither kind, template nor resource_changes",
			plain.Text(file), n.line)}
	}

	return r.errs
}

// truncated is an error for an answer of which only a part was given. Nothing can
// be said of the definitions that are missing, and a report without them would
// read as one on all.
func (r *reader) truncated(n *node) error {
	if n.has("template", "spec", "resource_changes") {
		return nil // a definition, or a plan: no list
	}

	for _, token := range []*node{n.at("nextPageToken"), n.at("metadata", "continue")} {
		if token.written() != "" {
			return fmt.Errorf("%s: line %d: the list is truncated: it has a token for the next page; pass every page",
				plain.Text(r.file), token.line)
		}
	}

	// "unreachable" names the locations that did not answer a list call.
	if n.at("unreachable") != nil && isSet(n.at("unreachable")) {
		return fmt.Errorf("%s: line %d: the list is incomplete: unreachable names locations that did not answer; list again",
			plain.Text(r.file), n.at("unreachable").line)
	}

	return nil
}

func (set *input) documents(file string, items []*node) []error {
	var errs []error
	for _, n := range items {
		if n.kind == nodeList { // no list holds lists, and recursion stays bounded
			errs = append(errs, fmt.Errorf("%s: line %d: a list within a list", plain.Text(file), n.line))
			continue
		}
		errs = append(errs, set.document(file, n)...)
	}

	return errs
}

// defined counts the workloads that the input defines.
func (set *input) defined() int {
	n := 0
	for _, s := range set.services {
		if s.kind != kindPlan && !s.foreign {
			n++
		}
	}

	return n
}

// frontedByPlan reports whether a plan puts a load balancer before a service.
func (set *input) frontedByPlan(s *service) bool {
	return s.name != "" && slices.Contains(set.fronted, s.name)
}
