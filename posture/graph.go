package posture

import (
	"maps"
	"slices"
	"strings"
)

// A planned is one resource as it will be once the plan is applied.
type planned struct {
	kind, address string
	name          string
	after         *node
}

// A plan is what one Terraform plan makes, with the references between its resources.
type plan struct {
	resources   []*planned // in the order of the plan
	byKind      map[string][]*planned
	byAddress   map[string][]*planned          // by the address without index: count and for_each make several
	refs        map[string]map[string][]string // address → attribute → addresses that its expression names
	expressions map[string]*node               // address → what the configuration writes
	armors      map[*planned]armorReading      // of the security policies that were asked for

	byName   map[nameOf][]*planned
	attached map[string]map[*planned][]*planned // see attachments
	acting   map[string][]acting                // see impersonations; nil: not asked for yet
}

// A nameOf is a name of a resource of one type.
type nameOf struct{ kind, name string }

func newPlan() *plan {
	return &plan{byKind: map[string][]*planned{}, byAddress: map[string][]*planned{},
		armors: map[*planned]armorReading{},
		byName: map[nameOf][]*planned{}, attached: map[string]map[*planned][]*planned{}}
}

func (p *plan) add(r *planned) {
	p.resources = append(p.resources, r)
	p.byKind[r.kind] = append(p.byKind[r.kind], r)
	p.byAddress[unindexed(r.address)] = append(p.byAddress[unindexed(r.address)], r)
	p.byName[nameOf{r.kind, r.name}] = append(p.byName[nameOf{r.kind, r.name}], r)
}

// called lists the resources of some types with a name, in the order of the types.
func (p *plan) called(name string, kinds ...string) []*planned {
	var out []*planned
	for _, kind := range kinds {
		out = append(out, p.byName[nameOf{kind, name}]...)
	}

	return out
}

// attachments groups the resources of one type by the resource of another that an attribute of theirs names. Under nil
// are those of which that is not known.
func (p *plan) attachments(kind, attribute, to string) map[*planned][]*planned {
	key := kind + " " + to
	if out, ok := p.attached[key]; ok {
		return out
	}

	out := map[*planned][]*planned{}
	for _, r := range p.of(kind) {
		// Where the target is not known, the resource may be attached to anything: it is kept under nil.
		targets, known := p.points(r, r.after.at(attribute), attribute, to)
		if !known {
			targets = []*planned{nil}
		}
		for _, target := range targets {
			out[target] = append(out[target], r)
		}
	}

	p.attached[key] = out

	return out
}

// of lists the resources of some types, in the order of the types.
func (p *plan) of(kinds ...string) []*planned {
	var out []*planned
	for _, kind := range kinds {
		out = append(out, p.byKind[kind]...)
	}

	return out
}

// unindexed is an address without the keys of count and for_each.
func unindexed(address string) string {
	var b strings.Builder
	depth := 0
	for _, r := range address {
		switch {
		case r == '[':
			depth++
		case r == ']' && depth > 0:
			depth--
		case depth == 0:
			b.WriteRune(r)
		}
	}

	return b.String()
}

// points returns the resources of some types that an attribute names. A path leads through blocks; value is what the
// plan says there. known is false where the value is a reference that the plan does not resolve: it may be any of them.
func (p *plan) points(from *planned, value *node, path string, kinds ...string) (to []*planned, known bool) {
	if value == nil || value.kind == nodeNull {
		return nil, true
	}

	// A name, an id or a self link: the last part is the name.
	if text := value.written(); text != "" {
		return p.called(lastPart(text), kinds...), true
	}

	if value.kind != nodeUnknown {
		return nil, true
	}

	// "expressions" of the configuration name what an unknown value refers to.
	for _, address := range p.refs[unindexed(from.address)][path] {
		for _, r := range p.byAddress[address] {
			if slices.Contains(kinds, r.kind) {
				to = append(to, r)
			}
		}
	}

	if len(to) > 0 {
		return to, true
	}

	// Without a configuration the only resource of its type is meant.
	if all := p.of(kinds...); len(all) == 1 {
		return all, true
	}

	return nil, false
}

// strange reports whether a member of a grant is known only after apply, and comes from resources of which none is
// Google's: it need not name an account that the plan makes, and may be everybody. Without a configuration, and through
// locals, that is not to be seen.
func (p *plan) strange(grant *planned) bool {
	for _, attribute := range []string{"member", "members"} {
		refs := p.refs[unindexed(grant.address)][attribute]
		value := grant.after.at(attribute)
		unknown := isUnknown(value) || slices.ContainsFunc(items(value), isUnknown)
		googles := slices.ContainsFunc(refs, func(to string) bool { return strings.Contains("."+to, ".google_") })
		if unknown && len(refs) > 0 && !googles {
			return true
		}
	}

	return false
}

// maxModules bounds how deep modules are followed.
const maxModules = 20

// A scope is one module of a plan's configuration: it resolves references within it.
type scope struct {
	prefix string // of addresses, such as "module.edge."
	module *node
	call   *node  // the expressions that the parent gives to variables
	parent *scope // nil: the root
	depth  int
}

// readReferences collects what a plan's configuration writes of its resources, and the references between them.
func readReferences(configuration *node) (refs map[string]map[string][]string, expressions map[string]*node) {
	refs, expressions = map[string]map[string][]string{}, map[string]*node{}
	root := &scope{module: configuration.at("root_module")}
	root.collect(refs, expressions)

	return refs, expressions
}

func (s *scope) collect(out map[string]map[string][]string, expressions map[string]*node) {
	if s.module == nil || s.depth > maxModules {
		return
	}

	for _, r := range items(s.module.at("resources")) {
		attributes := map[string][]string{}
		s.flatten(r.at("expressions"), "", attributes, 0)
		address := s.prefix + r.at("address").written()
		out[address] = attributes

		// Of a resource without any expression the configuration says that all is left to the provider.
		if expressions[address] = r.at("expressions"); expressions[address] == nil {
			expressions[address] = &node{kind: nodeMapping}
		}
	}

	for name := range fieldsOf(s.module.at("module_calls")) {
		s.child(name).collect(out, expressions)
	}
}

func (s *scope) child(name string) *scope {
	call := s.module.at("module_calls", name)
	return &scope{prefix: s.prefix + "module." + name + ".", module: call.at("module"),
		call: call.at("expressions"), parent: s,
		depth: s.depth + 1}
}

// flatten records the references of each attribute, blocks by their path.
func (s *scope) flatten(n *node, path string, out map[string][]string, depth int) {
	if n == nil || depth > maxModules {
		return
	}

	if refs := n.at("references"); refs != nil && refs.kind == nodeList {
		for _, ref := range refs.items {
			out[path] = append(out[path], s.resolve(ref.written(), 0)...)
		}

		return
	}

	for _, item := range items(n) {
		s.flatten(item, path, out, depth+1)
	}

	for name, field := range fieldsOf(n) {
		s.flatten(field, strings.TrimPrefix(path+"."+name, "."), out, depth+1)
	}
}

// resolve follows a reference to addresses of resources, through variables and outputs of modules.
func (s *scope) resolve(ref string, depth int) []string {
	parts := strings.Split(unindexed(ref), ".")
	if len(parts) < 2 || depth > maxModules || s == nil || s.module == nil {
		return nil
	}

	// Instances of a count or for_each have one configuration, so that their index says nothing.
	var found []string
	switch parts[0] {
	case "var":
		for _, r := range items(s.call.at(parts[1], "references")) {
			found = append(found, s.parent.resolve(r.written(), depth+1)...)
		}
	case "module":
		if len(parts) < 3 {
			return nil
		}
		inner := s.child(parts[1])

		for _, r := range items(inner.module.at("outputs", parts[2], "expression", "references")) {
			found = append(found, inner.resolve(r.written(), depth+1)...)
		}
	case "data", "local", "each", "count", "path", "self", "terraform":
	default:
		found = append(found, s.prefix+parts[0]+"."+parts[1])
	}

	slices.Sort(found)

	return slices.Compact(found)
}

// fieldsOf are the fields of a mapping; none of anything else.
func fieldsOf(n *node) map[string]*node {
	if n == nil || n.kind != nodeMapping {
		return nil
	}
	return n.fields
}

// sortedFields are the names of a mapping's fields.
func sortedFields(n *node) []string { return slices.Sorted(maps.Keys(fieldsOf(n))) }
