package posture

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/plain"
)

// A policy holds the known grants on a service, a job or a project.
type policy struct {
	project  bool
	whole    bool   // lists every grant on the resource itself
	planned  bool   // read from a Terraform plan
	of       string // address of the planned workload that it is on; empty: by its name
	proxy    bool   // is about who may pass Identity-Aware Proxy
	kind     string // of service or job; empty: of either
	file     string // of a planned one
	address  string // of a planned one
	level    string // of a project's: what the grant is on
	target   text   // the service's, job's or project's name; absent or unknown: it may be any
	owner    text   // the project that has the service or job
	region   text
	bindings []binding
}

type binding struct {
	role    text
	custom  bool // the role is known only after apply, and is one of one's own
	members []text
}

// covers reports whether a policy may be about a service. An unknown name,
// region or kind matches: a grant too many leads to a finding, a grant too few
// to a false pass.
func (p policy) covers(s *workload) bool {
	// The policies of --project-iam name no project; they cover all services.
	if p.project {
		return !p.planned || !p.target.set || !s.project.set || sameProject(p.target.text, s.project.text)
	}
	// A function of the second generation is a service of the same name.
	sameKind := p.kind == s.kind || p.kind == kindService && s.kind == kindFunction
	if p.kind != "" && !sameKind {
		return false
	}
	if p.of != "" {
		return p.file == s.file && p.of == s.address
	}

	// Values that are not known match: only a contradiction rules a policy out.
	if p.owner.set && s.project.set && !sameProject(p.owner.text, s.project.text) {
		return false
	}
	if p.region.set && s.region.set && p.region.text != s.region.text {
		return false
	}

	return !p.target.set || p.target.text == s.name
}

// sameProject reports whether two names may be of one project: it has an id and a number, and which number belongs to
// which id is not known here.
func sameProject(a, b string) bool { return a == b || isNumber(a) != isNumber(b) }

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// A policySource is an IAM policy beside the definitions: a [Source], or a part
// of a PostureRequest.
type policySource struct {
	name            string
	service, region string
	kind            string
	project         bool
	read            func() ([]binding, error)
}

// readPolicies reads the policies beside the definitions.
func (m *model) readPolicies(in Input) []error {
	all := m.requestPolicies
	for _, i := range in.IAM {
		all = append(all, policySource{name: i.Name, service: i.Service, region: i.Region, kind: i.Kind,
			read: func() ([]binding, error) { return readPolicy(i.Source) }})
	}

	for _, src := range in.ProjectIAM {
		all = append(all, policySource{name: src.Name, project: true,
			read: func() ([]binding, error) { return readPolicy(src) }})
	}

	var errs []error
	for _, g := range all {
		p := policy{project: g.project, whole: true, kind: g.kind}
		var err error

		// A policy must belong to exactly one service. Under another service's name
		// it would stand for that service's own grants, and a public one would pass.
		switch {
		case g.kind != "" && !slices.Contains(workloadKinds(), g.kind):
			errs = append(errs, fmt.Errorf("%s: kind %s is unknown; %s is required", plain.Text(g.name), quote(g.kind),
				strings.Join(workloadKinds(), ", ")))
			continue
		case g.project:
		case g.service != "":
			p.target = text{set: true, text: g.service}
			p.region = text{set: g.region != "", text: g.region}
			named := 0
			for _, s := range m.workloads {
				if slices.Contains(workloadKinds(), s.kind) && p.covers(s) {
					named++
				}
			}
			// Services of two regions, and a service and a job, may share a name.
			if named != 1 {
				errs = append(errs, fmt.Errorf("%s: exactly one service or job %s is required; the definitions have %d",
					plain.Text(g.name), quote(g.service), named))
			}
		case m.defined() > 1:
			errs = append(errs, fmt.Errorf("%s: the definitions have more than one service (%d): name the policy's "+
				"own, --iam NAME=FILE",
				plain.Text(g.name), m.defined()))
		}

		if p.bindings, err = g.read(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", plain.Text(g.name), err))
			continue
		}

		// A project's policy passed as a service's lists none of the service's
		// callers, and so would look like a service that nobody may call.
		if !p.project && p.hasProjectRoles() {
			errs = append(errs, fmt.Errorf("%s: grants roles that only a project has: pass a project's policy with "+
				"--project-iam", plain.Text(g.name)))
		}

		m.policies = append(m.policies, p)
	}

	return errs
}

func readPolicy(src Source) ([]binding, error) {
	docs, err := parse(src)
	if err != nil {
		return nil, err
	}
	if len(docs) != 1 {
		return nil, errNoPolicy
	}

	return policyOf(src.Name, docs[0])
}

var errNoPolicy = errors.New("one IAM policy is required, as get-iam-policy prints it")

func policyOf(name string, n *node) ([]binding, error) {
	// "{}" is what a failed export leaves, and would say that nobody may call. An
	// answer of getIamPolicy always has an etag.
	if n == nil || n.kind != nodeMapping || !n.has("bindings", "etag", "version") || n.has("kind", "apiVersion") {
		return nil, errNoPolicy
	}

	r := &reader{file: name}
	out := r.bindings(n)
	return out, errors.Join(r.errs...)
}

// request reads a PostureRequest: definitions and their IAM policies in one
// document, for callers of the API, who send one body.
func (m *model) request(file string, n *node) []error {
	r := &reader{file: file}
	// The request is ours, so that unknown fields are errors: a misspelt "iam"
	// would leave the callers unjudged.
	for name, f := range n.fields {
		if !slices.Contains([]string{"apiVersion", "kind", "definitions", "iam", "projectIam"}, name) {
			r.fault(f, "the unknown field "+quote(name), "one of definitions, iam and projectIam")
		}
	}

	errs := m.documents(file, r.list(n.at("definitions"), "definitions"))

	for i, p := range r.list(n.at("iam"), "iam") {
		at := fmt.Sprintf("iam[%d]", i)
		p = r.mapping(p, at)
		m.requestPolicies = append(m.requestPolicies, policySource{
			name:    file + ": " + at,
			service: r.text(p.at("service"), at+".service").text,
			region:  r.text(p.at("region"), at+".region").text,
			kind:    r.text(p.at("kind"), at+".kind").text,
			read:    func() ([]binding, error) { return policyOf(file, p.at("policy")) },
		})
	}

	for i, p := range r.list(n.at("projectIam"), "projectIam") {
		m.requestPolicies = append(m.requestPolicies,
			policySource{name: fmt.Sprintf("%s: projectIam[%d]", file, i), project: true,
				read: func() ([]binding, error) { return policyOf(file, p) }})
	}

	return append(errs, r.errs...)
}

func (r *reader) bindings(n *node) []binding {
	var out []binding
	for i, b := range r.list(n.at("bindings"), "bindings") {
		path := fmt.Sprintf("bindings[%d]", i)
		b = r.mapping(b, path)

		// Conditions are not read: a conditional grant to everybody is judged as if
		// its condition held, which can only deny too much.
		one := binding{role: r.text(b.at("role"), path+".role")}
		if !one.role.set {
			r.fault(b, path+".role", "a role")
		}

		for _, m := range r.list(b.at("members"), path+".members") {
			one.members = append(one.members, r.text(m, path+".members"))
		}

		out = append(out, one)
	}

	return out
}

// isBasic reports whether a role is a basic role. "Basic roles include thousands
// of permissions across all Google Cloud services" (IAM, roles overview); Owner,
// Editor and Viewer, their newer Admin, Writer and Reader, and Browser.
func isBasic(role string) bool {
	switch role {
	case "roles/owner", "roles/editor", "roles/viewer", "roles/browser", "roles/admin", "roles/writer", "roles/reader":
		return true
	}
	return false
}

func (p policy) hasProjectRoles() bool {
	return slices.ContainsFunc(p.bindings, func(b binding) bool { return isBasic(b.role.text) })
}

// isPublic reports a member that includes strangers. allAuthenticatedUsers is
// "anyone who is authenticated with a Google account or a service account" (IAM,
// Policy), of whatever organisation.
func isPublic(member string) bool {
	member = strings.TrimSpace(member)

	// "principalSet://goog/public:all" is the same set in IAM's newer notation.
	return strings.EqualFold(member, "allUsers") || strings.EqualFold(member, "allAuthenticatedUsers") ||
		strings.EqualFold(member, "principalSet://goog/public:all")
}

// invokes reports whether a role on a project, or above it, may let its members call a workload. What a role of one's
// own contains is not known here, so that it may.
func invokes(role text) bool {
	return role.unknown || isBasic(role.text) || strings.HasPrefix(role.text, "roles/run.") ||
		strings.HasPrefix(role.text, "roles/cloudfunctions.") || role.text != "" &&
		!strings.HasPrefix(role.text, "roles/")
}

// grants are the known grants on a service.
type grants struct {
	public  []fault
	invoker []string // members of roles/run.invoker
	whole   bool     // the list of grants on the service itself is complete
	unknown bool     // some member or role is known only after apply
	opened  bool     // everybody may pass Identity-Aware Proxy
}

func (m *model) grantsOn(s *workload) grants {
	g := grants{whole: s.created}
	for _, p := range m.policiesOf(s) {
		if p.proxy {
			g.opened = g.opened || p.public()
			continue
		}

		// Only the output of get-iam-policy lists every grant. A plan lists the
		// grants that it makes; others may exist on a service that it updates.
		if !p.project {
			named := p.of != "" || p.target == (text{set: true, text: s.name})
			g.whole = g.whole || p.whole && named || p.whole && !p.planned
		}

		g.unknown = g.unknown || !p.project && p.planned && !p.whole && len(p.bindings) == 0

		for _, b := range p.bindings {
			for _, m := range b.members {
				// A project's grant reaches the service if the role has permissions of
				// Cloud Run; on the service itself every public grant is a finding.
				switch {
				case isPublic(m.text) && (!p.project || invokes(b.role)):
					g.public = append(g.public,
						fault{subject: m.text, found: clip(m.text) + " has " + clip(b.role.text)})
				case b.role.text == invokerRole && m.set:
					g.invoker = append(g.invoker, m.text)
				}

				g.unknown = g.unknown || !p.project && m.unknown
			}
		}
	}

	return g
}

// policiesOf are the policies that may be about a workload. Those of workloads are looked up by name, so that a plan of
// thousands of services is not searched once for each.
func (m *model) policiesOf(s *workload) []policy {
	if m.byTarget == nil {
		m.byTarget = map[string][]int{}
		for i, p := range m.policies {
			for _, key := range p.keys() {
				m.byTarget[key] = append(m.byTarget[key], i)
			}
		}
	}

	// Addresses of accounts are compared without regard to case.
	found := slices.Concat(m.byTarget[""], m.byTarget["name "+s.name],
		m.byTarget["member serviceaccount:"+strings.ToLower(s.account.text)])
	if s.address != "" {
		found = append(found, m.byTarget["address "+s.address]...)
	}

	// In the order of the input, so that two runs report the same.
	slices.Sort(found)

	var out []policy
	for _, i := range slices.Compact(found) {
		if m.policies[i].covers(s) {
			out = append(out, m.policies[i])
		}
	}

	return out
}

// keys are those under which policiesOf finds a policy; "" is every workload. Grants on a project, or above it, that
// name single accounts are found by these.
func (p policy) keys() []string {
	switch {
	case p.of != "":
		return []string{"address " + p.of}
	case !p.project && p.target.set:
		return []string{"name " + p.target.text}
	case !p.project || p.whole:
		return []string{""}
	}

	var out []string
	for _, b := range p.bindings {
		for _, m := range b.members {
			// A person, a group or a domain is no account of a workload.
			switch kind, _, _ := strings.Cut(strings.ToLower(m.text), ":"); {
			case kind == "serviceaccount" && !iapAgent.MatchString(m.text):
				out = append(out, "member "+strings.ToLower(m.text))
			case kind != "user" && kind != "group" && kind != "domain":
				return []string{""}
			}
		}
	}

	return out
}

const invokerRole = "roles/run.invoker"

// addForeign adds a subject for each public grant of a plan on a workload that
// the plan does not define. Its other settings are not known and not judged, but
// everybody may call it once the plan is applied.
func (m *model) addForeign() {
	seen := map[string]bool{}
	named := map[string][]*workload{}
	for _, s := range m.workloads {
		named[s.name] = append(named[s.name], s)
	}

	for _, p := range m.policies {
		if !p.planned || p.project || p.proxy || p.of != "" || !p.public() {
			continue
		}

		known := m.workloads
		if p.target.set {
			known = named[p.target.text]
		}
		if slices.ContainsFunc(known, func(s *workload) bool {
			return slices.Contains(workloadKinds(), s.kind) &&
				!s.foreign && p.covers(s)
		}) {
			continue
		}

		s := &workload{kind: cmp.Or(p.kind, kindService), file: p.file, form: formTerraform, foreign: true,
			address: p.address, name: cmp.Or(p.target.text, p.address), project: p.owner, region: p.region}

		// Several grants on one workload are one finding.
		if key := s.kind + " " + s.fullName(); !seen[key] {
			seen[key] = true
			m.workloads = append(m.workloads, s)
		}
	}
}

// public reports whether a policy grants anything to everybody.
func (p policy) public() bool {
	return slices.ContainsFunc(p.bindings, func(b binding) bool {
		return slices.ContainsFunc(b.members, func(m text) bool { return isPublic(m.text) })
	})
}

// basicRoles lists the basic roles on the project that a service's account, or
// everybody, holds. whole reports that the input has all grants of the project.
func (m *model) basicRoles(s *workload) (faults []fault, whole bool) {
	account := s.account.text
	for _, p := range m.policiesOf(s) {
		if !p.project {
			continue
		}

		// The list is whole only if it is of this workload's project.
		whole = whole || p.whole && (!p.planned || p.target.set && p.target.text == s.project.text)

		for _, b := range p.bindings {
			for _, m := range b.members {
				if isBasic(b.role.text) && (includesAccount(m.text, account) || s.isAgent(m.text)) {
					faults = append(faults, fault{subject: b.role.text,
						found: clip(m.text) + " has " + b.role.text + " on the " + cmp.Or(p.level, "project")})
				}
			}
		}
	}

	return faults, whole
}

// openGrant is a grant of a plan on the project, or above it, that may turn out to give the account of a workload a
// role which matches; "" if there is none.
func (m *model) openGrant(s *workload, matches func(role string) bool) string {
	for _, p := range m.policiesOf(s) {
		if !p.project || !p.planned {
			continue
		}
		if len(p.bindings) == 0 && !p.whole {
			return p.address + ".policy_data"
		}

		for _, b := range p.bindings {
			for _, member := range b.members {
				ours := includesAccount(member.text, s.account.text) || s.isAgent(member.text)

				// Either half that is not known leaves open whether the grant counts.
				switch {
				case b.role.unknown && !b.custom && (ours || member.unknown):
					return p.address + ".role"
				case matches(b.role.text) && member.unknown:
					return p.address + ".member"
				}
			}
		}
	}

	return ""
}

// includesAccount reports whether a member is an account, or a set that includes every account of a project.
func includesAccount(member, account string) bool {
	return isPublic(member) || account != "" && strings.EqualFold(member, "serviceAccount:"+account) ||
		strings.HasPrefix(member, "principalSet://cloudresourcemanager.googleapis.com/") &&
			strings.HasSuffix(member, "/type/ServiceAccount")
}

// isAgent reports whether a member is the agent identity of a workload: a principal of Google's own pool, by the
// workload's name.
func (s *workload) isAgent(member string) bool {
	return s.identity.text == "agent" && strings.HasPrefix(member, "principal://agents.global.") &&
		strings.HasSuffix(member, "/"+s.kind+"s/"+s.name)
}

// asImage returns the image of a reference with a digest; false without one.
func asImage(s string) (attestor.Image, bool) {
	ref, err := attestor.ParseReference(s)
	if err != nil {
		return attestor.Image{}, false
	}

	return ref.Pinned()
}
