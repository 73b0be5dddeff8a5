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
	kindJob     = "job" // and kindPlan
)

// A form is how a definition is written; mends are told in the same one.
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

// A service is a definition of a service or job, whatever its form. Values are
// as written, so that what is absent can be told from what is a default.
type service struct {
	kind, file string
	form       form
	line       int
	address    string // in a Terraform plan
	created    bool   // a Terraform plan makes it, so that it has no grants but the plan's
	partial    bool   // some list or block is known only after apply

	name    string
	project text
	region  text

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
	min, max        count
	timeout         duration
	concurrency     count
	otherRevisions  []string // that get traffic, and are not this definition
	baseImages      text     // automatic updates of what is beneath the image
	containers      []container
	volumes         []secretRef

	around []planned // of a plan
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
	probe     bool
	baseImage text

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

// unknownInputs reports whether some container may be given what is not shown.
func (s *service) unknownInputs() bool {
	return slices.ContainsFunc(s.containers, func(c container) bool { return c.unknownInputs })
}

func (s *service) fullName() string {
	name := cmp.Or(plain.Text(s.name), "(unnamed)")
	if !s.region.set && !s.project.set {
		return name
	}

	return cmp.Or(plain.Text(s.project.text), "-") + "/" + cmp.Or(plain.Text(s.region.text), "-") + "/" + name
}

// A reader takes values out of nodes, and gathers what has the wrong type.
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

	r.errs = append(r.errs, fmt.Errorf("%s: line %d: %s: want %s", plain.Text(r.file), line, path, want))
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
		r.fault(n, path, "seconds")
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
		r.fault(n, path, "fields")
		return nil
	}

	return n
}

// soft is mapping for a block whose values say by themselves that they are
// known only after apply, so that the rest can be judged.
func (r *reader) soft(n *node, path string) *node {
	if n != nil && n.kind == nodeUnknown {
		return n
	}
	return r.mapping(n, path)
}

// some reports whether a list has anything in it.
func (r *reader) some(n *node, path string) bool {
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
