package deploy_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
)

// A plan is what a root module comes to: each resource's values, and what is made before it. It is evaluated by HCL's own
// library with the modules' defaults, and needs neither terraform nor a provider: what only Google knows has a made-up value.
type plan struct {
	instances map[string]*instance // by address
	outputs   map[string]cty.Value
	refused   []string // the messages of validations that failed
}

// An instance is one resource of a plan.
type instance struct {
	addr, kind string
	data       bool
	value      cty.Value
	// waits are the resources, without their keys, that terraform makes before this one.
	waits     set
	lifecycle map[string]cty.Value
}

type set map[string]bool

func (s set) add(other set) { maps.Copy(s, other) }

// A result is a value, and the resources that must be there before it is known.
type result struct {
	value cty.Value
	waits set
}

// A calledModule is one call of a directory.
type calledModule struct {
	dirs      map[string]dir
	provider  provider
	plan      *plan
	dir       dir
	path      string // module.gate["x"]., or nothing
	static    string // the same without keys
	root      string
	variables map[string]result
	waits     set // what the calls' depends_on name
	functions map[string]function.Function
	memo      map[string]result
	calls     map[string]map[string]*calledModule
}

// evaluate plans a root module with the given variables.
func evaluate(t *testing.T, dirs map[string]dir, root string, given map[string]cty.Value) *plan {
	t.Helper()
	p := &plan{instances: map[string]*instance{}, outputs: map[string]cty.Value{}}
	m := &calledModule{dirs: dirs, provider: readProvider(t), plan: p, dir: dirs[root], root: root, waits: set{}}
	args := map[string]result{}
	for name, v := range given {
		args[name] = result{v, set{}}
	}
	// A panic carries what is wrong with a configuration out of the recursion.
	func() {
		defer func() {
			if r := recover(); r != nil && r != any(errRefused) { //nolint:errorlint // the value that was thrown, itself
				t.Fatalf("%s: %v", root, r)
			}
		}()
		m.begin(args)
		m.whole()
		for name := range m.dir.of("output") {
			p.outputs[name] = m.output(name).value
		}
	}()
	return p
}

// errRefused ends an evaluation where a validation failed: terraform goes no further.
var errRefused = errors.New("a variable is refused")

// begin sets the variables of a call, with defaults and types.
func (m *calledModule) begin(args map[string]result) {
	m.functions = functions(m.dir.path)
	m.variables, m.memo, m.calls = map[string]result{}, map[string]result{}, map[string]map[string]*calledModule{}
	for name, b := range m.dir.of("variable") {
		kind, defaults, diags := typeexpr.TypeConstraintWithDefaults(b.Body.Attributes["type"].Expr)
		if diags.HasErrors() {
			panic(diags)
		}
		r, ok := args[name]
		if !ok {
			d := b.Body.Attributes["default"]
			if d == nil {
				panic(fmt.Sprintf("%s: no value for variable %s", m.path, name))
			}
			v, diags := d.Expr.Value(&hcl.EvalContext{Functions: m.functions})
			if diags.HasErrors() {
				panic(diags)
			}
			r = result{v, set{}}
		}
		if defaults != nil && !r.value.IsNull() {
			r.value = defaults.Apply(r.value)
		}
		v, err := convert.Convert(r.value, kind)
		if err != nil {
			panic(fmt.Sprintf("%svar.%s: %v", m.path, name, err))
		}
		m.variables[name] = result{v, r.waits}
	}
	for name, b := range m.dir.of("variable") {
		for _, c := range b.Body.Blocks {
			if c.Type != "validation" {
				continue
			}
			if v := m.eval(c.Body.Attributes["condition"].Expr, nil).value; v.IsKnown() && v.False() {
				m.plan.refused = append(m.plan.refused, m.path+"var."+name+": "+m.eval(c.Body.Attributes["error_message"].Expr, nil).value.AsString())
			}
		}
	}
	if len(m.plan.refused) > 0 {
		panic(errRefused)
	}
}

// whole evaluates everything of a module.
func (m *calledModule) whole() {
	for _, kind := range []string{"resource", "data"} {
		for _, name := range slices.Sorted(maps.Keys(m.dir.of(kind))) {
			m.resource(name, kind == "data")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.dir.of("module"))) {
		calls := m.call(name)
		for _, key := range slices.Sorted(maps.Keys(calls)) {
			calls[key].whole()
		}
	}
}

// eval evaluates an expression; more are the names that only it knows, such as each.
func (m *calledModule) eval(e hcl.Expression, more map[string]cty.Value) result {
	waits := set{}
	roots := map[string]map[string]cty.Value{}
	put := func(root, name string, r result) {
		if roots[root] == nil {
			roots[root] = map[string]cty.Value{}
		}
		// Two outputs of one module, or two data sources of one type: both.
		if old := roots[root][name]; (root == "module" || root == "data") && old != cty.NilVal && r.value.Type().IsObjectType() {
			both := old.AsValueMap()
			if both == nil {
				both = map[string]cty.Value{}
			}
			maps.Copy(both, r.value.AsValueMap())
			r.value = cty.ObjectVal(both)
		}
		roots[root][name] = r.value
		waits.add(r.waits)
	}

	for _, traversed := range e.Variables() {
		parts := traversal(traversed)
		switch root := parts[0]; {
		case !more[root].IsNull() && more[root] != cty.NilVal:
		case root == "path":
			put("path", "module", result{cty.StringVal(m.dir.path), set{}})
			put("path", "root", result{cty.StringVal(m.root), set{}})
		case root == "var":
			r, ok := m.variables[parts[1]]
			if !ok {
				panic(fmt.Sprintf("%s: %s is not declared", traversed.SourceRange(), strings.Join(parts, ".")))
			}
			put("var", parts[1], r)
		case root == "local":
			put("local", parts[1], m.local(parts[1]))
		case root == "module":
			put("module", parts[1], m.outputs(parts))
		case root == "data":
			r := m.resource(parts[1]+"."+parts[2], true)
			r.value = cty.ObjectVal(map[string]cty.Value{parts[2]: r.value})
			put("data", parts[1], r)
		default:
			put(root, parts[1], m.resource(root+"."+parts[1], false))
		}
	}

	ctx := &hcl.EvalContext{Functions: m.functions, Variables: map[string]cty.Value{}}
	for root, values := range roots {
		ctx.Variables[root] = cty.ObjectVal(values)
	}
	maps.Copy(ctx.Variables, more)
	v, diags := e.Value(ctx)
	if diags.HasErrors() {
		panic(diags)
	}
	return result{v, waits}
}

func (m *calledModule) remember(key string, make func() result) result {
	r, ok := m.memo[key]
	if !ok {
		r = make()
		m.memo[key] = r
	}
	return r
}

func (m *calledModule) local(name string) result {
	return m.remember("local."+name, func() result {
		for _, b := range m.dir.blocks {
			if a := b.Body.Attributes[name]; b.Type == "locals" && a != nil {
				return m.eval(a.Expr, nil)
			}
		}
		panic(fmt.Sprintf("%s: no local %s", m.dir.path, name))
	})
}

// each are the instances of a block: key to what each or count is there. No for_each and no count: one, without a key.
func (m *calledModule) each(b *hclsyntax.Body) (keys []string, more map[string]map[string]cty.Value, waits set) {
	more = map[string]map[string]cty.Value{}
	switch forEach, count := b.Attributes["for_each"], b.Attributes["count"]; {
	case forEach != nil:
		r := m.eval(forEach.Expr, nil)
		for it := r.value.ElementIterator(); it.Next(); {
			k, v := it.Element()
			if r.value.Type().IsSetType() {
				k = v
			}
			key := fmt.Sprintf("[%q]", k.AsString())
			keys = append(keys, key)
			more[key] = map[string]cty.Value{"each": cty.ObjectVal(map[string]cty.Value{"key": k, "value": v})}
		}
		return keys, more, r.waits
	case count != nil:
		r := m.eval(count.Expr, nil)
		n, _ := r.value.AsBigFloat().Int64()
		for i := range n {
			key := fmt.Sprintf("[%d]", i)
			keys = append(keys, key)
			more[key] = map[string]cty.Value{"count": cty.ObjectVal(map[string]cty.Value{"index": cty.NumberIntVal(i)})}
		}
		return keys, more, r.waits
	}
	return []string{""}, map[string]map[string]cty.Value{"": {}}, set{}
}

// together is the value that other expressions see of all instances.
func together(b *hclsyntax.Body, keys []string, values map[string]cty.Value) cty.Value {
	switch {
	case b.Attributes["for_each"] != nil:
		out := map[string]cty.Value{}
		for _, k := range keys {
			out[strings.Trim(k, `[]"`)] = values[k]
		}
		return cty.ObjectVal(out)
	case b.Attributes["count"] != nil:
		out := []cty.Value{}
		for _, k := range keys {
			out = append(out, values[k])
		}
		return cty.TupleVal(out)
	}
	return values[""]
}

// dependsOn is what a depends_on names: resources, or whole modules.
func (m *calledModule) dependsOn(b *hclsyntax.Body) set {
	out := set{}
	a := b.Attributes["depends_on"]
	if a == nil {
		return out
	}
	for _, traversed := range a.Expr.Variables() {
		parts := traversal(traversed)
		switch parts[0] {
		case "module":
			for _, c := range m.call(parts[1]) {
				out.add(c.everything())
			}
		case "data":
			out.add(m.resource(parts[1]+"."+parts[2], true).waits)
		default:
			out.add(m.resource(parts[0]+"."+parts[1], false).waits)
		}
	}
	return out
}

// everything is all resources of a module, and what they wait for.
func (m *calledModule) everything() set {
	out := set{}
	for name := range m.dir.of("resource") {
		out.add(m.resource(name, false).waits)
	}
	for name := range m.dir.of("module") {
		for _, c := range m.call(name) {
			out.add(c.everything())
		}
	}
	return out
}

// resource is the value of a resource or data source; its waits have itself too.
func (m *calledModule) resource(name string, data bool) result {
	kind := "resource"
	prefix := ""
	if data {
		kind, prefix = "data", "data."
	}
	return m.remember(prefix+name, func() result {
		b := m.dir.of(kind)[name]
		if b == nil {
			panic(fmt.Sprintf("%s: no %s %s", m.dir.path, kind, name))
		}
		known := m.provider.Resource
		if data {
			known = m.provider.Data
		}

		keys, more, waits := m.each(b.Body)
		all := set{m.static + prefix + name: true}
		all.add(m.waits)
		all.add(waits)
		all.add(m.dependsOn(b.Body))
		values := map[string]cty.Value{}
		for _, key := range keys {
			in := &instance{addr: m.path + prefix + name + key, kind: b.Labels[0], data: data, lifecycle: map[string]cty.Value{}}
			r := m.body(b.Body, known[b.Labels[0]], more[key], in.addr, meta)
			in.value = madeUp(in.kind, r.value)
			all.add(r.waits)
			in.waits = all
			for _, c := range b.Body.Blocks {
				if c.Type == "lifecycle" {
					for n, a := range c.Body.Attributes {
						in.lifecycle[n] = m.eval(a.Expr, nil).value
					}
				}
			}
			m.plan.instances[in.addr] = in
			values[key] = in.value
		}
		return result{together(b.Body, keys, values), all}
	})
}

// body evaluates arguments and blocks, but for those that are skipped. What the provider computes is a text that names where it
// is from.
func (m *calledModule) body(b *hclsyntax.Body, s schema, more map[string]cty.Value, addr string, skip func(string) bool) result {
	values, waits := map[string]cty.Value{}, set{}
	for name, flags := range s.Attributes {
		if strings.Contains(flags, "c") {
			values[name] = cty.StringVal("<" + addr + "." + name + ">")
		} else {
			values[name] = cty.NullVal(cty.DynamicPseudoType)
		}
	}
	for name, a := range b.Attributes {
		if skip(name) {
			continue
		}
		r := m.eval(a.Expr, more)
		values[name] = r.value
		waits.add(r.waits)
	}

	blocks := map[string][]cty.Value{}
	for name := range s.Blocks {
		blocks[name] = []cty.Value{}
	}
	add := func(name string, inner *hclsyntax.Body, more map[string]cty.Value) {
		r := m.body(inner, s.Blocks[name].schema, more, fmt.Sprintf("%s.%s.%d", addr, name, len(blocks[name])), func(string) bool { return false })
		blocks[name] = append(blocks[name], r.value)
		waits.add(r.waits)
	}
	for _, c := range b.Blocks {
		switch {
		case c.Type == "dynamic":
			over := m.eval(c.Body.Attributes["for_each"].Expr, more)
			waits.add(over.waits)
			for it := over.value.ElementIterator(); it.Next(); {
				k, v := it.Element()
				inner := maps.Clone(more)
				if inner == nil {
					inner = map[string]cty.Value{}
				}
				inner[c.Labels[0]] = cty.ObjectVal(map[string]cty.Value{"key": k, "value": v})
				add(c.Labels[0], content(c), inner)
			}
		case !skip(c.Type):
			add(c.Type, c.Body, more)
		}
	}
	for name, list := range blocks {
		values[name] = cty.TupleVal(list)
	}
	return result{cty.ObjectVal(values), waits}
}

// call is the instances of a module that this one calls, by key.
func (m *calledModule) call(name string) map[string]*calledModule {
	if m.calls[name] != nil {
		return m.calls[name]
	}
	b := m.dir.of("module")[name]
	if b == nil {
		panic(fmt.Sprintf("%s: no module %s", m.dir.path, name))
	}
	to, ok := moduleDir(m.dirs, m.dir.path, b)
	if !ok {
		panic(fmt.Sprintf("%s: module %s: its source is not here", m.dir.path, name))
	}

	keys, more, waits := m.each(b.Body)
	waits = maps.Clone(waits)
	waits.add(m.waits)
	waits.add(m.dependsOn(b.Body))
	out := map[string]*calledModule{}
	for _, key := range keys {
		args := map[string]result{}
		for arg, a := range b.Body.Attributes {
			if arg != "source" && !meta(arg) {
				args[arg] = m.eval(a.Expr, more[key])
			}
		}
		c := &calledModule{
			dirs: m.dirs, provider: m.provider, plan: m.plan, dir: to, root: m.root, waits: waits,
			path: m.path + "module." + name + key + ".", static: m.static + "module." + name + ".",
		}
		c.begin(args)
		out[key] = c
	}
	m.calls[name] = out
	return out
}

// outputs is the value of a called module, as far as a reference to it goes.
func (m *calledModule) outputs(parts []string) result {
	calls := m.call(parts[1])
	b := m.dir.of("module")[parts[1]].Body
	waits, values := set{}, map[string]cty.Value{}
	for key, c := range calls {
		out := map[string]cty.Value{}
		for name := range c.dir.of("output") {
			if len(parts) > 2 && b.Attributes["count"] == nil && b.Attributes["for_each"] == nil && name != parts[2] {
				continue // terraform waits for the outputs that are named
			}
			r := c.output(name)
			out[name] = r.value
			waits.add(r.waits)
		}
		values[key] = cty.ObjectVal(out)
	}
	return result{together(b, slices.Sorted(maps.Keys(calls)), values), waits}
}

func (m *calledModule) output(name string) result {
	return m.remember("output."+name, func() result {
		b := m.dir.of("output")[name].Body
		r := m.eval(b.Attributes["value"].Expr, nil)
		waits := maps.Clone(r.waits)
		waits.add(m.dependsOn(b))
		return result{r.value, waits}
	})
}
