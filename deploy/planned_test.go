package deploy_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// of lists the resources of a kind, or of every kind, by address.
func (p *plan) of(kind string) []*instance {
	var out []*instance
	for _, addr := range slices.Sorted(maps.Keys(p.instances)) {
		if in := p.instances[addr]; !in.data && (kind == "" || in.kind == kind) {
			out = append(out, in)
		}
	}
	return out
}

// get follows a path of names and numbers; null where there is nothing.
func get(v cty.Value, path string) cty.Value {
	for step := range strings.SplitSeq(path, ".") {
		switch {
		case v.IsNull() || !v.IsKnown():
			return cty.NullVal(cty.DynamicPseudoType)
		case v.Type().IsObjectType() && v.Type().HasAttribute(step):
			v = v.GetAttr(step)
		case v.Type().IsMapType() && v.HasIndex(cty.StringVal(step)).True():
			v = v.Index(cty.StringVal(step))
		case v.Type().IsTupleType() || v.Type().IsListType():
			i := cty.MustParseNumberVal("0" + step)
			if v.HasIndex(i).False() {
				return cty.NullVal(cty.DynamicPseudoType)
			}
			v = v.Index(i)
		default:
			return cty.NullVal(cty.DynamicPseudoType)
		}
	}
	return v
}

// text is a value as a person writes it.
func (in *instance) text(path string) string { return shown(get(in.value, path)) }

func shown(v cty.Value) string {
	if v.IsNull() || !v.IsKnown() {
		return ""
	}
	if v.CanIterateElements() {
		var out []string
		for it := v.ElementIterator(); it.Next(); {
			_, e := it.Element()
			out = append(out, shown(e))
		}
		return strings.Join(out, " ")
	}
	s, err := convert.Convert(v, cty.String)
	if err != nil {
		return v.GoString()
	}
	return s.AsString()
}

// values reads terraform.tfvars.json.
func values(t *testing.T, text, root string) map[string]cty.Value {
	t.Helper()
	v, err := functions(root)["jsondecode"].Call([]cty.Value{cty.StringVal(text)})
	if err != nil {
		t.Fatal(err)
	}
	return v.AsValueMap()
}
