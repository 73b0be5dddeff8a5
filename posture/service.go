package posture

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/attestor-gate/attestor/internal/plain"
)

const (
	kindService = "service"
	kindJob     = "job"
	kindPool    = "workerpool" // and kindPlan
)

// A form is how a definition is written; remedies are written in the same form.
type form int

const (
	formKnative form = iota
	formV2
	formTerraform   // google_cloud_run_v2_service, google_cloud_run_v2_job
	formTerraformV1 // google_cloud_run_service
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
type service struct {
	kind, file string
	form       form
	line       int
	foreign    bool   // only its public grants are known
	address    string // in a Terraform plan
	created    bool   // a Terraform plan makes it, so that it has no grants but the plan's
	partial    bool   // some list or block is known only after apply

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
	connector       text
	network         text
	egress          text // private-ranges-only, all-traffic
	key             text
	shell           text       // "true": SSH into running containers
	healthDisabled  text       // "true": startup probes do not run
	texts           []variable // probe headers, build variables: further places for secrets
	annotated       []variable // annotations and labels
	min, max        count
	timeout         duration
	concurrency     count
	otherRevisions  []string // with traffic or a tag, and not of this definition
	baseImages      text     // automatic updates of what is beneath the image
	containers      []container
	volumes         []secretRef

	surrounding []planned // of a plan: resources beside its services
}

type duration struct {
	set, unknown bool
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
	headers   []variable // of its probes
	execs     [][]string // commands of its probes

	unknownInputs bool // some argument or variable is known only after apply
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
}

// unknownInputs reports whether some container has arguments or variables that
// are known only after apply.
func (s *service) unknownInputs() bool {
	return slices.ContainsFunc(s.containers, func(c container) bool { return c.unknownInputs })
}

// collection is the group of gcloud commands for a workload of this kind.
func (s *service) collection() string {
	if s.kind == kindPool {
		return "worker-pools"
	}
	return s.kind + "s"
}

func (s *service) fullName() string {
	name := cmp.Or(plain.Text(s.name), "(unnamed)")
	if !s.region.set && !s.project.set {
		return name
	}

	return cmp.Or(plain.Text(s.project.text), "-") + "/" + cmp.Or(plain.Text(s.region.text), "-") + "/" + name
}

// A reader reads values from nodes. A value of the wrong type is an error and
// not absent: absent would be the default, which may be the permissive one.
type reader struct {
	file    string
	errs    []error
	partial bool
}

func (r *reader) fault(n *node, path, want string) {
	line := 0
	if n != nil {
		line = n.line
	}

	r.errs = append(r.errs, fmt.Errorf("%s: line %d: %s must be %s", plain.Text(r.file), line, path, want))
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

	return text{set: true, text: n.text}
}

// flag is "true", "false", or absent.
func (r *reader) flag(n *node, path string) text {
	t := r.text(n, path)
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
	t := r.text(n, path)
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
	t := r.text(n, path)
	if !t.set {
		return duration{unknown: t.unknown}
	}

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
		r.partial = true
		return nil
	case n.kind != nodeList:
		r.fault(n, path, "a list")
		return nil
	}

	for _, item := range n.items {
		if item.kind == nodeUnknown {
			r.partial = true
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
		r.partial = true
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
		t := r.text(item, fmt.Sprintf("%s[%d]", path, i))
		r.partial = r.partial || t.unknown
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
