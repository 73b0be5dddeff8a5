package posture

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// An edit sets, or removes, one field of a workload. Its path is that of a service; see [workload.place].
type edit struct {
	path   []string // "[]": every element of a list, or the one that a text shows
	value  any      // text, number, flag, or fields
	remove bool
	keep   bool // only where the field is absent
	sample bool // the value is a place to fill in, or a choice that nobody else can make
}

// Edits of a Knative definition.

func annotation(name, value string) edit {
	return edit{path: []string{"metadata", "annotations", name}, value: value}
}

func revisionAnnotation(name, value string) edit {
	return edit{path: []string{"spec", "template", "metadata", "annotations", name}, value: value}
}

func revisionField(value any, path ...string) edit {
	return edit{path: append([]string{"spec", "template", "spec"}, path...), value: value}
}

// field is an edit of a definition of the v2 API, whose names Terraform has in snake case.
func field(value any, path ...string) edit { return edit{path: path, value: value} }

func (e edit) toFill() edit {
	e.sample = true
	return e
}

func (e edit) ifAbsent() edit {
	e.keep = true
	return e
}

func without(e edit) edit {
	e.remove = true
	return e
}

// place is the path of an edit in a workload of this kind: a task of a job stands one template deeper, and an instance
// has no template.
func (s *workload) place(path []string) []string {
	knative := s.form == formKnative || s.form == formTerraformV1
	under := func(prefix ...string) bool {
		return len(path) > len(prefix) && slices.Equal(path[:len(prefix)], prefix)
	}

	switch {
	case s.kind == kindJob && knative && under("spec", "template", "spec"):
		return append([]string{"spec", "template", "spec", "template", "spec"}, path[3:]...)
	case s.kind == kindJob && !knative && under("template"):
		return append([]string{"template", "template"}, path[1:]...)
	case s.kind == kindInstance && under("spec", "template", "spec"):
		return append([]string{"spec"}, path[3:]...)
	case s.kind == kindInstance && under("spec", "template", "metadata"):
		return path[2:]
	case s.kind == kindInstance && !knative && under("template"):
		return path[1:]
	}

	return path
}

// nested is a path with a value at its end, as fields within fields.
func nested(path []string, value any) any {
	if len(path) == 0 {
		return value
	}
	if path[0] == "[]" {
		return []any{nested(path[1:], value)}
	}
	return map[string]any{path[0]: nested(path[1:], value)}
}

// merged puts two trees of fields together.
func merged(a, b any) any {
	am, ok := a.(map[string]any)
	bm, both := b.(map[string]any)
	if ok && both {
		for name, v := range bm {
			if old, there := am[name]; there {
				v = merged(old, v)
			}
			am[name] = v
		}

		return am
	}

	// Lists of one length are about the same elements, one by one.
	al, ok := a.([]any)
	bl, both := b.([]any)
	if ok && both && len(al) == len(bl) {
		var out []any
		for i := range al {
			out = append(out, merged(al[i], bl[i]))
		}

		return out
	}

	return b
}

// edits are those of a remedy for the form of a workload.
func (m remedy) edits(s *workload) []edit {
	switch s.form {
	case formKnative, formTerraformV1:
		return m.knative
	case formV2, formTerraform:
		return m.fields
	case formConnector:
		return connectedEdits(m.fields)
	}
	return nil
}

// pasted writes the edits in the form of the definition: YAML, JSON, or HCL.
func (m remedy) pasted(s *workload) string {
	var tree any
	var removed []string
	for _, e := range m.edits(s) {
		path := s.place(e.path)
		if e.remove {
			removed = append(removed, "remove "+s.spelled(path))
			continue
		}
		if one := m.inContainers(nested(path, e.value)); tree == nil {
			tree = one
		} else {
			tree = merged(tree, one)
		}
	}

	text := ""
	fields, _ := tree.(map[string]any)
	switch {
	case fields == nil:
	case s.form == formConnector:
		text = strings.TrimSuffix(strings.TrimPrefix(flowOf(map[string]any{"spec": fields}), "{"), "}")
	case s.form == formKnative:
		text = strings.TrimSuffix(strings.TrimPrefix(flowOf(fields), "{"), "}")
	case s.form == formV2:
		b, _ := json.Marshal(fields)
		text = string(b)
	default:
		text = hclOf(terraformFields(s, fields), "")
	}

	// The text is pasted into Terraform's, so that what is to be removed stands in it as a comment.
	if len(removed) > 0 && (s.form == formTerraform || s.form == formTerraformV1) {
		removed = []string{"# " + strings.Join(removed, ", ")}
	}

	return strings.TrimSpace(text + "\n" + strings.Join(removed, ", "))
}

// spelled is a path in the words of a workload's form.
func (s *workload) spelled(path []string) string {
	words := slices.Clone(path)
	if s.form == formConnector {
		words = append([]string{"spec"}, words...)
	}
	if s.form == formTerraformV1 && words[0] == "spec" {
		words = words[1:]
	}
	for i, word := range words {
		if (s.form == formTerraform || s.form == formTerraformV1) && !strings.ContainsAny(word, "[/") {
			words[i] = snake(word)
		}
		if s.form == formConnector {
			words[i] = connectorName(word)
		}
	}

	return strings.ReplaceAll(strings.Join(words, "."), ".[", "[")
}

// inContainers names the containers that fields are about, where a workload has several: without a name a person
// would change another, or all.
func (m remedy) inContainers(v any) any {
	fields, _ := v.(map[string]any)
	for name, inner := range fields {
		list, ok := inner.([]any)
		if name != "containers" || !ok || len(list) != 1 || len(m.containers) == 0 {
			m.inContainers(inner)
			continue
		}

		var named []any
		for _, holder := range m.containers {
			one := map[string]any{"name": holder}
			for field, value := range list[0].(map[string]any) {
				one[field] = value
			}
			named = append(named, one)
		}
		fields[name] = named
	}

	return v
}

var bareWord = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_./@:-]*[A-Za-z0-9]$`)

// flowOf writes fields as YAML on one line.
func flowOf(v any) string {
	switch v := v.(type) {
	case map[string]any:
		var parts []string
		for _, name := range sortedKeys(v) {
			parts = append(parts, flowOf(name)+": "+flowOf(v[name]))
		}

		return "{" + strings.Join(parts, ", ") + "}"
	case []any:
		var parts []string
		for _, item := range v {
			parts = append(parts, flowOf(item))
		}

		return "[" + strings.Join(parts, ", ") + "]"
	case string:
		// A word that YAML reads as another type is quoted, and so is a list in JSON.
		if bareWord.MatchString(v) && !isSwitch(v) && v != "null" {
			return v
		}
		if strings.Contains(v, `"`) && !strings.Contains(v, "'") {
			return "'" + v + "'"
		}
	}

	b, _ := json.Marshal(v)

	return string(b)
}

// terraformFields is the tree as Terraform has it: google_cloud_run_service has no "spec" around its template.
func terraformFields(s *workload, fields map[string]any) map[string]any {
	spec, ok := fields["spec"].(map[string]any)
	if s.form != formTerraformV1 || !ok {
		return fields
	}

	out := map[string]any{}
	for name, v := range fields {
		if name != "spec" {
			out[name] = v
		}
	}
	for name, v := range spec {
		out[name] = v
	}

	return out
}

// hclOf writes fields as arguments and blocks. HCL allows one argument, and no nested block, in a block on one line.
func hclOf(fields map[string]any, indent string) string {
	var lines []string
	for _, name := range sortedKeys(fields) {
		switch v := fields[name].(type) {
		case map[string]any:
			if name == "limits" || name == "annotations" || name == "labels" {
				lines = append(lines, indent+name+" = "+hclMap(v))
				continue
			}
			lines = append(lines, indent+snake(name)+" {", hclOf(v, indent+"  "), indent+"}")
		case []any:
			for _, item := range v {
				if block, ok := item.(map[string]any); ok {
					lines = append(lines, indent+snake(name)+" {", hclOf(block, indent+"  "), indent+"}")
				}
			}
		default:
			b, _ := json.Marshal(v)
			lines = append(lines, indent+snake(name)+" = "+string(b))
		}
	}

	return strings.Join(lines, "\n")
}

func hclMap(fields map[string]any) string {
	var parts []string
	for _, name := range sortedKeys(fields) {
		b, _ := json.Marshal(fields[name])
		parts = append(parts, fmt.Sprintf("%q = %s", name, b))
	}

	return "{ " + strings.Join(parts, ", ") + " }"
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for name := range m {
		keys = append(keys, name)
	}

	slices.SortFunc(keys, func(a, b string) int { return cmp.Compare(a, b) })

	return keys
}
