package deploy_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"
)

// planValues are the variables of an example in a plan by terraform.
func planValues(t *testing.T, root, text string) map[string]cty.Value {
	t.Helper()
	return values(t, text, root)
}

// A plannedModule is one of a plan that terraform shows as JSON.
type plannedModule struct {
	Resources []struct {
		Address string         `json:"address"`
		Mode    string         `json:"mode"`
		Values  map[string]any `json:"values"`
	} `json:"resources"`
	Modules []plannedModule `json:"child_modules"`
}

// comparePlans holds what evaluate makes of a configuration against what terraform itself plans: the same resources, and the
// same value wherever terraform knows one. The tests that evaluate are worth what this shows.
func comparePlans(t *testing.T, root, text string, p *plan) {
	t.Helper()
	var shownPlan struct {
		Planned struct {
			Root plannedModule `json:"root_module"`
		} `json:"planned_values"`
	}
	if err := json.Unmarshal([]byte(text), &shownPlan); err != nil {
		t.Fatal(err)
	}

	seen, compared := map[string]bool{}, 0
	var walk func(m plannedModule)
	walk = func(m plannedModule) {
		for _, r := range m.Resources {
			if r.Mode != "managed" {
				continue
			}
			seen[r.Address] = true
			in := p.instances[r.Address]
			if in == nil {
				t.Errorf("%s: terraform plans %s, and evaluate does not", root, r.Address)
				continue
			}
			n, differ := compareValues(r.Address, r.Values, in.value)
			compared += n
			for _, d := range differ {
				t.Errorf("%s: %s", root, d)
			}
		}
		for _, c := range m.Modules {
			walk(c)
		}
	}
	walk(shownPlan.Planned.Root)
	for _, in := range p.of("") {
		if !seen[in.addr] {
			t.Errorf("%s: evaluate plans %s, and terraform does not", root, in.addr)
		}
	}
	if compared < 500 {
		t.Errorf("%s: only %d values compared", root, compared)
	}
}

// compareValues compares what terraform knows with what was evaluated. Order is of no account where the provider has a set.
func compareValues(path string, known any, v cty.Value) (n int, differ []string) {
	switch k := known.(type) {
	case map[string]any:
		for name, inner := range k {
			m, d := compareValues(path+"."+name, inner, get(v, name))
			n, differ = n+m, append(differ, d...)
		}
	case []any:
		all := list(v)
		if len(k) == 1 && len(all) == 1 {
			return compareValues(path+".0", k[0], all[0])
		}
		want, got := texts(k), []string{}
		for _, e := range all {
			if e.Type().IsPrimitiveType() {
				got = append(got, shown(e))
			}
		}
		sort.Strings(got)
		if len(want) != len(k) || len(got) != len(all) || slices.ContainsFunc(got, unknown) {
			return 0, nil // blocks, or what is not known yet
		}
		if len(k) > 0 && !slices.Equal(want, got) {
			return 1, []string{fmt.Sprintf("%s: terraform has %q, evaluate %q", path, want, got)}
		}
	case string, bool, float64:
		got := shown(v)
		if unknown(got) || v.IsNull() { // a default of the provider's
			return 0, nil
		}
		if want := fmt.Sprint(k); !strings.EqualFold(got, want) && !sameJSON(got, want) { // locations of buckets are in capitals
			return 1, []string{fmt.Sprintf("%s: terraform has %q, evaluate %q", path, want, got)}
		}
		return 1, nil
	}
	return n, differ
}

func unknown(text string) bool { return strings.Contains(text, "<") }

func texts(all []any) []string {
	var out []string
	for _, e := range all {
		switch e.(type) {
		case string, bool, float64:
			out = append(out, fmt.Sprint(e))
		}
	}
	sort.Strings(out)
	return out
}

// sameJSON is whether two texts are the same JSON or YAML, or the same number.
func sameJSON(a, b string) bool {
	var x, y any
	if json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil {
		return fmt.Sprint(x) == fmt.Sprint(y)
	}
	return strings.HasPrefix(a, "{") && !strings.HasPrefix(b, "{") // yamlencode's text is another of the same
}
