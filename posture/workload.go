package posture

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/attestor-gate/attestor/internal/plain"
)

// The kinds of workload, as findings name them; kindPlan is a further subject of findings.
const (
	kindService  = "service"
	kindJob      = "job"
	kindPool     = "workerpool"
	kindInstance = "instance"
	kindFunction = "function" // of the second generation, which is a service that is built from source
)

func workloadKinds() []string {
	return []string{kindService, kindJob, kindPool, kindInstance, kindFunction}
}

// A form is how a definition is written; remedies are written in the same form.
type form int

const (
	formKnative form = iota
	formV2
	formTerraform   // google_cloud_run_v2_service, google_cloud_run_v2_job
	formTerraformV1 // google_cloud_run_service
	formFunction    // google_cloudfunctions2_function
	formConnector   // of Config Connector, which is v2 with references
	formResource    // of an export, or of Config Connector beside workloads
	formDockerfile
)

// A text is a value that may be absent, or known only after apply.
type text struct {
	set, unknown bool
	text         string
}

type count struct {
	set, unknown bool
	n            int64
}

// A service is the definition of a workload, or of a plan's surroundings. Values
// are as written: an absent value differs from a default that is written out.
type workload struct {
	kind, file string
	form       form
	line       int
	column     int    // of the definition, which with the line finds it again
	foreign    bool   // only its public grants are known
	address    string // in a Terraform plan
	from       *planned
	in         *plan
	created    bool   // a Terraform plan makes it, so that it has no grants but the plan's
	partial    bool   // some list or block is known only after apply
	hidden     string // the first of them

	name    string
	project text
	region  text
	regions []text // of a service in several; region may be "global" then

	ingress         text // all, internal, internal-and-cloud-load-balancing
	invokerDisabled text
	iap             text
	urlDisabled     text
	binauthz        text // default, or a policy's name
	breakglass      text
	account         text
	identity        text // "agent": an identity of its own instead of an account
	connector       text
	network         text
	egress          text // private-ranges-only, all-traffic
	key             text
	shell           text       // "true": SSH into running containers
	healthDisabled  text       // "true": startup probes do not run
	texts           []variable // probe headers, build variables: further places for secrets
	annotated       []variable // annotations and labels
	min, max        count
	modeUnknown     bool // whether min and max count, or a number that somebody sets by hand
	timeout         duration
	concurrency     count
	otherRevisions  []string // with traffic or a tag, and not of this definition
	trafficUnknown  bool     // some revision with traffic is known only after apply
	sources         text     // code in Cloud Storage that no image holds
	baseImages      text     // automatic updates of what is beneath the image
	containers      []container
	sandboxes       int // of the containers, the last are templates of sandboxes
	volumes         []secretRef
	mounts          []mount // buckets and shares
	databases       []text  // of Cloud SQL, by the platform's own socket
	interfaces      []link  // to networks, of Direct VPC egress
	builders        []text  // the accounts of the platform's builds from source
	builtContainers bool    // some of them build one container each
	revocation      text    // when the key is taken away: prevent-new, shut-down

	plan       *plan  // of a plan: everything that it makes
	build      *build // of a Dockerfile
	surrounded bool   // of a plan: it has a resource that some rule is about
}

type duration struct {
	set, unknown bool
	assumed      bool // absent, as far as a plan without its configuration shows
	d            time.Duration
}

type container struct {
	name      string
	image     text
	env       []variable
	args      []string
	cpu       text
	memory    text
	port      bool
	startup   bool // has a startup probe
	liveness  bool
	baseImage text

	portUnknown, probeUnknown bool
	source                    string     // what it is built from, where no image holds its code
	launcher                  bool       // may start sandboxes
	headers                   []variable // of its probes
	execs                     [][]string // commands of its probes
	files                     []variable // source files in the definition

	unknownInputs bool   // some argument or variable is known only after apply
	hidden        string // the first of them
}

// probes notes which probes a container has. A block that is known only after apply may be none; one that is there is a
// probe, whatever it asks.
func (c *container) probes(startup, liveness *node) {
	c.startup, c.liveness = startup.filled(), liveness.filled()
	c.probeUnknown = isUnknown(startup) || isUnknown(liveness)
}

type variable struct {
	name   string
	value  text
	secret *secretRef // set: taken from Secret Manager
}

// A secretRef is a secret taken from Secret Manager.
type secretRef struct {
	name    string // of the variable or volume
	secret  string // its own; empty where it is known only after apply
	version text
	path    string // of the file in a volume
}

// hiddenFrom is a part of the definition that a rule would have to see, and that is known only after apply; "" if
// there is none.
func (s *workload) hiddenFrom(r rule) string {
	if s.partial && !r.whole {
		return cmp.Or(s.hidden, "part of the definition")
	}

	for _, c := range s.containers {
		if r.inputs && c.unknownInputs {
			return cmp.Or(c.hidden, "an argument or a variable")
		}
	}

	return ""
}

// gcloud is the group of gcloud's commands for a workload of this kind. A function of the second generation is a
// service of Cloud Run; instances are in preview.
func (s *workload) gcloud() string {
	switch s.kind {
	case kindFunction:
		return "gcloud run services"
	case kindPool:
		return "gcloud run worker-pools"
	case kindInstance:
		return "gcloud beta run instances"
	}

	return "gcloud run " + s.kind + "s"
}

// deployed is the command that deploys a service, with its name and region.
func (s *workload) deployed() string {
	return "gcloud run deploy " + shell(s.name, "NAME") + s.inRegion()
}

func (s *workload) fullName() string {
	name := cmp.Or(plain.Text(s.name), "(unnamed)")
	if !s.region.set && !s.project.set {
		return name
	}

	return cmp.Or(plain.Text(s.project.text), "-") + "/" + cmp.Or(plain.Text(s.region.text), "-") + "/" + name
}

// maxOwner bounds an owner's name in bytes: every finding on a workload repeats it. A label of Cloud Run is shorter.
const maxOwner = 128

// owner is who answers for a workload: the label or annotation owner, else team, else the project. "" is nobody known.
func (s *workload) owner() string {
	for _, name := range []string{"owner", "team"} {
		for _, v := range s.annotated {
			if v.name == name && v.value.text != "" {
				return plain.Clip(plain.Text(v.value.text), maxOwner)
			}
		}
	}

	return plain.Clip(plain.Text(s.project.text), maxOwner)
}

// A reader reads values from nodes. A value of the wrong type is an error and
// not absent: absent would be the default, which may be the permissive one.
type reader struct {
	file    string
	errs    []error
	partial bool
	hidden  string // the first path that is known only after apply

	unrendered []string // places that hold a template's variable
}

func (r *reader) fault(n *node, path, want string) {
	line := 0
	if n != nil {
		line = n.line
	}

	// A number or a switch cannot be what a template's variable stands for: whoever passes one has to render it.
	if n != nil && n.kind == nodeText && isTemplate(n.text) {
		want += ", and has a variable of a template: render it first, by `helm template`, `kustomize build` or envsubst"
	}
	r.errs = append(r.errs, fmt.Errorf("%s: line %d: %s must be %s", plain.Text(r.file), line, path, want))
}

// hides notes a list or a block that is known only after apply.
func (r *reader) hides(path string) {
	if !r.partial {
		r.partial, r.hidden = true, path
	}
}

func (r *reader) text(n *node, path string) text {
	switch {
	case n == nil || n.kind == nodeNull:
		return text{}
	case n.kind == nodeUnknown:
		return text{unknown: true}
	case n.kind != nodeText:
		r.fault(n, path, "text")
		return text{}
	}

	if isTemplate(n.text) {
		r.unrendered = append(r.unrendered, path)
	}

	return text{set: true, text: n.text}
}

// value is the text of a variable, a header or an argument, whose own language may have variables too.
func (r *reader) value(n *node, path string) text {
	before := len(r.unrendered)
	t := r.text(n, path)
	r.unrendered = r.unrendered[:before]

	return t
}

// secretValue is the value of a variable. A template in the place of a secret renders to the secret.
func (r *reader) secretValue(n *node, name, path string) text {
	if secretive(name) {
		return r.text(n, path)
	}
	return r.value(n, path)
}

// templated are the variables of envsubst, Helm and Go, Jinja, ERB, Cloud Build's substitutions, make and Windows, and
// the places that people leave to be filled in.
var templated = regexp.MustCompile(
	`\{\{.*\}\}|\{%.*%\}|<%.*%>|\$\{[A-Za-z_][^}]*\}|\$\([A-Za-z_][A-Za-z0-9_]*\)|\$_?[A-Z][A-Z0-9_]+\b|` +
		`%[A-Z][A-Z0-9_]+%|@@?[A-Z][A-Z0-9_]+@@?|__[A-Z][A-Z0-9_]+__|<[A-Za-z][A-Za-z0-9_. -]*>|` +
		`\[[A-Z][A-Z0-9_]{2,}\]|\{[A-Za-z_]+\}`)

// isTemplate reports whether a text has a variable of a template that was not rendered: no name, image or setting of
// Cloud Run contains one.
func isTemplate(s string) bool { return strings.ContainsAny(s, "$<{@%_[") && templated.MatchString(s) }

// filled is a text that is absent if it is empty: a state has "" where nothing is set.
func (t text) filled() text {
	t.set = t.set && t.text != ""
	return t
}

// flag is "true", "false", or absent.
func (r *reader) flag(n *node, path string) text {
	t := r.text(n, path).filled()
	if t.set {
		b, err := strconv.ParseBool(strings.ToLower(t.text))
		if err != nil {
			r.fault(n, path, "true or false")
			return text{}
		}
		t.text = strconv.FormatBool(b)
	}

	return t
}

func (r *reader) count(n *node, path string) count {
	t := r.text(n, path).filled()
	if !t.set {
		return count{unknown: t.unknown}
	}

	i, err := strconv.ParseInt(t.text, 10, 32)
	if err != nil {
		r.fault(n, path, "a whole number")
		return count{}
	}

	return count{set: true, n: i}
}

// seconds reads "60", and "60s" as the v2 API writes it.
func (r *reader) seconds(n *node, path string) duration {
	t := r.text(n, path).filled()
	if !t.set {
		return duration{unknown: t.unknown}
	}

	// NaN is refused too: it is neither at least 0 nor at most the bound.
	f, err := strconv.ParseFloat(strings.TrimSuffix(t.text, "s"), 64)
	if err != nil || !(f >= 0 && f <= 1e7) {
		r.fault(n, path, "a number of seconds")
		return duration{}
	}

	return duration{set: true, d: time.Duration(f * float64(time.Second))}
}

func (r *reader) list(n *node, path string) []*node {
	switch {
	case n == nil || n.kind == nodeNull:
		return nil
	case n.kind == nodeUnknown:
		r.hides(path)
		return nil
	case n.kind != nodeList:
		r.fault(n, path, "a list")
		return nil
	}

	for _, item := range n.items {
		if item.kind == nodeUnknown {
			r.hides(path)
		}
	}

	return n.items
}

// mapping checks that a value has fields, where it is there at all.
func (r *reader) mapping(n *node, path string) *node {
	switch {
	case n == nil || n.kind == nodeNull:
		return nil
	case n.kind == nodeUnknown:
		r.hides(path)
		return n
	case n.kind != nodeMapping:
		r.fault(n, path, "a mapping")
		return nil
	}

	return n
}

// mayBeUnknown keeps an unknown block instead of marking the whole definition
// partial: each value read from it is unknown by itself.
func (r *reader) mayBeUnknown(n *node, path string) *node {
	if n != nil && n.kind == nodeUnknown {
		return n
	}
	return r.mapping(n, path)
}

// nonEmpty reports whether a list is known and has elements.
func (r *reader) nonEmpty(n *node, path string) bool {
	return (n == nil || n.kind != nodeUnknown) && len(r.list(n, path)) > 0
}

func (r *reader) strings(n *node, path string) []string {
	var out []string
	for i, item := range r.list(n, path) {
		t := r.value(item, fmt.Sprintf("%s[%d]", path, i))
		if t.unknown {
			r.hides(path)
		}
		out = append(out, t.text)
	}

	return out
}

func first(all ...text) text {
	for _, t := range all {
		if t.set || t.unknown {
			return t
		}
	}
	return text{}
}

func firstCount(all ...count) count {
	for _, c := range all {
		if c.set || c.unknown {
			return c
		}
	}
	return count{}
}
