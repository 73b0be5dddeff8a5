package posture

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/exception"
	"github.com/attestor-gate/attestor/internal/plain"
	"github.com/attestor-gate/attestor/internal/strictyaml"
	"github.com/attestor-gate/attestor/internal/when"
)

// LoadProfile is the built-in profile of that name or, for a name with a dot or a
// slash, the profile in that file.
func LoadProfile(name string) (Profile, error) {
	if p, ok := Builtin(name); ok {
		return p, nil
	}
	if !strings.ContainsAny(name, `./\`) {
		return Profile{}, fmt.Errorf("there is no profile %q: want %s, or a file", name, strings.Join(Profiles(), ", "))
	}

	f, err := os.Open(name)
	if err != nil {
		return Profile{}, fmt.Errorf("reading the posture profile: %w", err)
	}
	defer f.Close()

	// One byte more than is judged: a longer file is refused by its size.
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Profile{}, fmt.Errorf("reading the posture profile: %w", err)
	}
	return ParseProfile(Source{Name: name, Text: text})
}

// ParseProfile reads a profile's file, strictly: unknown fields and kinds,
// wrong types and values are errors, all reported at once.
func ParseProfile(src Source) (Profile, error) {
	docs, err := parse(src)
	if err != nil {
		return Profile{},
			&attestor.Error{Kind: attestor.Invalid, Msg: plain.Text(src.Name) + ": " + attestorMessage(err)}
	}

	r := &profileReader{reader: reader{file: src.Name}}
	r.types(src.Text, docs[0])

	if len(docs) != 1 {
		r.fault(docs[1], "a second document", "one profile in a file")
	}

	p := r.profile(docs[0])

	if len(r.errs) > 0 {
		return Profile{}, &attestor.Error{Kind: attestor.Invalid, Msg: errors.Join(r.errs...).Error(),
			Fix: "docs/posture.md shows a profile with every field"}
	}

	return p, nil
}

// profileTypes has the fields of a profile's file by their types, all of them texts.
type profileTypes struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Extends         string            `json:"extends"`
		Rules           map[string]string `json:"rules"`
		Regions         []string          `json:"regions"`
		MaxTimeout      when.Duration     `json:"maxTimeout"`
		MissingEvidence string            `json:"missingEvidence"`
		BehindIAP       []string          `json:"behindIAP"`
		Exceptions      []struct {
			Rule     string   `json:"rule"`
			Services []string `json:"services"`
			Files    []string `json:"files"`
			Subject  string   `json:"subject"`
			Owner    string   `json:"owner"`
			Reason   string   `json:"reason"`
			Expires  string   `json:"expires"`
		} `json:"exceptions"`
	} `json:"spec"`
}

// types reports values of the wrong type, each with its place. An exception whose subject was left empty would excuse
// every subject, and limits that are empty would be no limits.
func (r *profileReader) types(text []byte, root *node) {
	var document yaml.Node
	if err := yaml.Load(text, &document); err != nil {
		r.empty(root, "the profile") // JSON escapes some characters in a way that YAML does not know
		return
	}

	for _, f := range (strictyaml.Shape{Tag: "json"}).Check(&document, reflect.TypeFor[profileTypes]()) {
		r.errs = append(r.errs, fmt.Errorf("%s: line %d, column %d: %s: %s", plain.Text(r.file), f.Line, f.Column,
			plain.Text(f.Path), plain.Text(f.Message)))
	}
}

// empty reports values that are null.
func (r *profileReader) empty(n *node, path string) {
	if n.kind == nodeNull {
		r.fault(n, path+": is empty", "a value, or the field removed")
	}

	for _, name := range slices.Sorted(maps.Keys(n.fields)) {
		r.empty(n.fields[name], path+"."+name)
	}

	for _, item := range n.items {
		r.empty(item, path)
	}
}

// attestorMessage is an error's text, whether or not it is public already.
func attestorMessage(err error) string {
	if attestor.KindOf(err) != attestor.Internal {
		return attestor.Message(err)
	}
	return err.Error()
}

type profileReader struct{ reader }

// fields reports those that are not known.
func (r *profileReader) fields(n *node, where string, known ...string) *node {
	if n == nil {
		return nil
	}
	if n.kind != nodeMapping {
		r.fault(n, where, "fields")
		return nil
	}

	// In order, so that two runs report the same.
	var unknown []string
	for name := range n.fields {
		if !slices.Contains(known, name) {
			unknown = append(unknown, name)
		}
	}

	slices.Sort(unknown)

	for _, name := range unknown {
		r.fault(n.fields[name], where+": unknown field "+quote(name)+": the name", "one of "+strings.Join(known, ", "))
	}

	return n
}

// required is text that is there.
func (r *profileReader) required(n *node, parent *node, where string) string {
	t := r.text(n, where)
	if strings.TrimSpace(t.text) == "" && (n == nil || n.kind == nodeText || n.kind == nodeNull) {
		r.fault(parent, where, "set")
	}

	return t.text
}

func (r *profileReader) oneOf(n *node, where string, values ...string) string {
	t := r.text(n, where)
	if t.set && !slices.Contains(values, t.text) {
		r.fault(n, where+": "+quote(t.text), "one of "+strings.Join(values, ", "))
	}

	return t.text
}

func (r *profileReader) profile(n *node) Profile {
	r.fields(n, "the profile", "apiVersion", "kind", "metadata", "spec")

	if v := r.required(n.at("apiVersion"), n, "apiVersion"); v != "" && v != "attestor/v1" {
		r.fault(n.at("apiVersion"), "apiVersion: "+quote(v), "attestor/v1")
	}
	if v := r.required(n.at("kind"), n, "kind"); v != "" && v != "PostureProfile" {
		r.fault(n.at("kind"), "kind: "+quote(v), "PostureProfile")
	}

	meta := r.fields(n.at("metadata"), "metadata", "name")
	name := r.required(meta.at("name"), n, "metadata.name")
	if slices.Contains(Profiles(), name) {
		r.fault(meta.at("name"), "metadata.name: "+quote(name), "a name that is not built in")
	}

	spec := r.fields(n.at("spec"), "spec", "extends", "rules", "regions", "maxTimeout", "missingEvidence", "behindIAP",
		"exceptions")
	extends := r.required(spec.at("extends"), n, "spec.extends")
	base, ok := Builtin(extends)
	if !ok {
		if extends != "" {
			r.fault(spec.at("extends"), "spec.extends: "+quote(extends), "one of "+strings.Join(Profiles(), ", "))
		}

		// The strictest profile stands in, so that the rest of the file is read and all errors are reported at once.
		base, _ = Builtin("strict")
	}

	p := base.extended(name)
	r.levels(&p, spec.at("rules"))

	if n := spec.at("regions"); n != nil {
		p.regions = r.names(n, "spec.regions")
	}

	if t := r.text(spec.at("maxTimeout"), "spec.maxTimeout"); t.set {
		d, err := when.ParseDuration(t.text)
		if err != nil || d < time.Second || d > time.Hour {
			r.fault(spec.at("maxTimeout"), "spec.maxTimeout", "a duration from 1s to 1h, such as 60s")
		}
		p.maxTimeout = d
	}

	switch r.oneOf(spec.at("missingEvidence"), "spec.missingEvidence", "skip", "error") {
	case "skip":
		p.missing = skip
	case "error":
		p.missing = deny
	}

	if n := spec.at("behindIAP"); n != nil {
		p.behindIAP = r.names(n, "spec.behindIAP")
	}

	for i, e := range r.list(spec.at("exceptions"), "spec.exceptions") {
		p.exceptions = append(p.exceptions, r.exception(e, fmt.Sprintf("spec.exceptions[%d]", i)))
	}

	return p
}

func (r *profileReader) levels(p *Profile, n *node) {
	n = r.mapping(n, "spec.rules")
	if n == nil {
		return
	}

	var names []string
	for name := range n.fields {
		names = append(names, name)
	}

	slices.Sort(names)

	for _, name := range names {
		if !isRule(name) {
			r.fault(n.fields[name], "spec.rules: unknown rule "+quote(name)+": the name", "a rule of docs/posture.md")
			continue
		}
		if l := r.oneOf(n.fields[name], "spec.rules."+name, string(deny), string(warn), string(off)); l != "" {
			p.levels[name] = level(l)
		} else if n.fields[name].kind == nodeNull {
			r.fault(n.fields[name], "spec.rules."+name, "deny, warn or off")
		}
	}
}

// names is a list of at least one text.
func (r *profileReader) names(n *node, where string) []string {
	all := r.strings(n, where)
	if len(all) == 0 || slices.Contains(all, "") {
		r.fault(n, where, "a list of one or more values, none empty")
	}

	return all
}

func (r *profileReader) exception(n *node, where string) exception.Exception {
	r.fields(n, where, "rule", "services", "files", "subject", "owner", "reason", "expires")
	rule := r.required(n.at("rule"), n, where+".rule")
	e := exception.Exception{
		ID: rule, Check: rule, Subject: cmp.Or(r.text(n.at("subject"), where+".subject").text, exception.Any),
		Owner: r.required(n.at("owner"), n, where+".owner"), Reason: r.required(n.at("reason"), n, where+".reason"),
		Place: r.file, Line: n.line,
	}

	if rule != "" && !isRule(rule) {
		r.fault(n.at("rule"), where+".rule: "+quote(rule), "a rule of docs/posture.md")
	}

	// Without a list it would cover everything, so that one of the two must be written out.
	if n.at("services") == nil && n.at("files") == nil {
		r.fault(n, where+".services or files", "set")
	}
	if n.at("services") != nil {
		e.Services = r.names(n.at("services"), where+".services")
	}
	if n.at("files") != nil {
		e.Paths = r.names(n.at("files"), where+".files")
		for _, pattern := range e.Paths {
			if why := attestor.CheckPathPattern(pattern); why != "" {
				r.fault(n.at("files"), where+".files: "+quote(pattern)+" "+why+"; the pattern",
					"a path, in which * and ** stand for others")
			}
		}
	}

	for _, pattern := range e.Services {
		if _, err := path.Match(pattern, ""); err != nil {
			r.fault(n.at("services"), where+".services: "+quote(pattern), "a name, or a pattern with * and ?")
		}
	}

	if s := r.required(n.at("expires"), n, where+".expires"); s != "" {
		t, err := when.ParseDate(s)
		if err != nil {
			r.fault(n.at("expires"), where+".expires: "+quote(s), "a day, such as 2027-03-31")
		}
		e.Expires = t
	}

	return e
}
