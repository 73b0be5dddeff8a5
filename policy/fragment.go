package policy

import (
	"fmt"
	"reflect"
	"slices"

	"go.yaml.in/yaml/v4"

	"github.com/attestor-gate/attestor"
)

// A FragmentDocument is a file that holds what policies share.
type FragmentDocument struct {
	APIVersion string    `json:"apiVersion" jsonschema:"required,enum=attestor/v1"`
	Kind       string    `json:"kind" jsonschema:"required,enum=GatePolicyFragment"`
	Metadata   Metadata  `json:"metadata" jsonschema:"required"`
	Spec       yaml.Node `json:"spec" jsonschema:"required"`
}

// ownKeys are those of a spec that only the policy itself may have: what it governs, and whether it refuses, must be
// seen in its own file.
func ownKeys() []string { return []string{"images", "mode"} }

// joinedKeys are the lists of a spec that policy and fragments add to. Every other value is written once.
func joinedKeys() []string { return []string{"exceptions", "rules"} }

// maxUses bounds how many fragments one policy is made of.
const maxUses = 32

// A document is a file that was read as YAML.
type document struct {
	source Source
	digest attestor.Digest
	root   *yaml.Node // nil: it is no YAML
	errs   Errors
}

func readDocument(s Source, digest attestor.Digest) *document {
	d := newDecoder(s.Name)
	doc := &document{source: s, digest: digest}
	var err error
	if doc.root, err = d.document(s.Text); err != nil {
		doc.root, doc.errs = nil, d.errs
	}
	return doc
}

// isFragment reports whether a file says that it is a fragment.
func (doc *document) isFragment() bool {
	if doc.root == nil {
		return false
	}
	kind := valueAt(doc.root, "kind")
	return kind != nil && kind.Kind == yaml.ScalarNode && kind.Value == FragmentKind
}

// isConfiguration reports whether a file is the gate's configuration, which often stands beside its policies: it has
// some of that one's keys, and none of a policy's.
func (doc *document) isConfiguration() bool {
	has := func(key string) bool { return valueAt(doc.root, key) != nil }
	return !slices.ContainsFunc([]string{"apiVersion", "kind", "metadata", "spec"}, has) &&
		slices.ContainsFunc([]string{"policies", "attestors", "registries", "store", "identity", "listen"}, has)
}

// valueAt is the value of a mapping's key, or nil.
func valueAt(n *yaml.Node, key string) *yaml.Node {
	if n = aliased(n); n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if aliased(n.Content[i]).Value == key {
			return aliased(n.Content[i+1])
		}
	}
	return nil
}

// A fragment is what policies share. It is only read once it is made.
type fragment struct {
	name   string
	file   string
	digest attestor.Digest
	spec   *yaml.Node
	line   int // of its name
	column int
}

// fragment reads a file as a fragment, with all that is wrong in it by itself.
func (doc *document) fragment() (*fragment, Errors) {
	var file FragmentDocument
	d := newDecoder(doc.source.Name)
	d.value(doc.root, reflect.ValueOf(&file).Elem(), "")
	if d.has("metadata.name") {
		v := validator{decoder: d, doc: &Document{}}
		v.match("metadata.name", file.Metadata.Name, nameForm, "lower-case letters, digits and hyphens, at most 63")
	}

	// Read even where something is wrong, so that policies that use it do not report that it does not exist.
	f := &fragment{name: file.Metadata.Name, file: doc.source.Name, digest: doc.digest, spec: valueAt(doc.root, "spec"),
		line: d.places["metadata.name"].line, column: d.places["metadata.name"].column}
	if f.spec == nil {
		return nil, d.errs
	}

	// Types and names are those of a policy's spec; what is missing is the policies' to say.
	for _, key := range ownKeys() {
		if own := valueAt(f.spec, key); own != nil {
			d.errorAt(own, "spec."+key, key+" is the policy's own: a fragment has none", nil, "")
		}
	}
	d.partial = true
	var spec Spec
	d.value(f.spec, reflect.ValueOf(&spec).Elem(), "spec")
	return f, d.errs
}

// fragmentsByName are those that policies may use.
type fragmentsByName map[string]*fragment

func (by fragmentsByName) add(f *fragment) Errors {
	if other := by[f.name]; other != nil {
		return Errors{{File: f.file, Line: f.line, Column: f.column, Path: "metadata.name",
			Message: fmt.Sprintf("%q is the name of the fragment in %s too", f.name, other.file)}}
	}
	by[f.name] = f
	return nil
}

// used is a fragment that a policy was composed with.
type used struct {
	name   string
	digest attestor.Digest
	file   string
}

// current reports whether the fragments of a policy are what they were.
func (p *Policy) current(shared fragmentsByName) bool {
	return !slices.ContainsFunc(p.uses, func(u used) bool {
		// The file counts too: a fragment that moved has other places for faults.
		f := shared[u.name]
		return f == nil || f.digest != u.digest || f.file != u.file
	})
}

// policy reads a file as a policy, composed with the fragments that it uses. broken says that some fragment may be
// missing because it does not load, which was reported already.
func (doc *document) policy(table []check, shared fragmentsByName, broken bool) (*Policy, Errors) {
	if doc.root == nil {
		return nil, doc.errs
	}

	// It is not passed over: somebody may rely on a file among policies that is not a policy. The service refuses it
	// too.
	if name := doc.source.Name; doc.isConfiguration() {
		return nil, Errors{{File: name, Line: 1, Column: 1, Message: fmt.Sprintf("this is the gate's configuration, and no "+
			"policy: attestor serve --config %s --check checks it; name the policies' files, or a directory of their own",
			name)}}
	}
	c := composer{d: newDecoder(doc.source.Name), owners: map[*yaml.Node]string{}}
	root, uses := c.compose(doc.root, shared, broken)
	if len(c.d.errs) > 0 || root == nil {
		return nil, c.d.errs
	}

	// Decisions record the composed text, which means the same without its fragments.
	text, origins := doc.source.Text, []Line(nil)
	if len(uses) > 0 {
		var err error
		if text, origins, err = render(root, c.owners, doc.source.Name); err != nil {
			return nil,
				Errors{{File: doc.source.Name, Line: 1, Column: 1, Message: "composing the policy: " + err.Error()}}
		}
	}
	p, errs := parseOne(table, Source{Name: doc.source.Name, Text: text}, root, c.owners)
	if p != nil {
		p.source, p.uses, p.origins = doc.digest, uses, origins
	}
	return p, errs
}
