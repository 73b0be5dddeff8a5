package policy

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/attestor-gate/attestor/internal/strictyaml"
)

// A composer makes one policy of a file and the fragments that it uses.
type composer struct {
	d      *decoder
	owners map[*yaml.Node]string // the files of the nodes that fragments gave
	copied int
}

// compose returns the policy that a file and its fragments are together. Nothing is replaced: a value that two of them
// give is an error, so that no line of a fragment is without effect, and what a line says holds.
func (c *composer) compose(root *yaml.Node, shared fragmentsByName, broken bool) (*yaml.Node, []used) {
	list := valueAt(root, "uses")
	if list == nil {
		return root, nil
	}

	// What is of a wrong type, or missing, is reported when the document is read as it is.
	if spec := valueAt(root, "spec"); spec == nil || spec.Kind != yaml.MappingNode || !areTexts(list) {
		return root, nil
	}
	if len(list.Content) == 0 || len(list.Content) > maxUses {
		c.d.errorAt(list, "uses", fmt.Sprintf("want a list of 1 to %d names of fragments", maxUses), nil, "")
		return nil, nil
	}

	// Copies, since nodes of fragments are shared by policies, and are read at the same time.
	whole := c.copy(root, "")
	for i := 0; i+1 < len(whole.Content); i += 2 {
		if whole.Content[i].Value == "uses" {
			whole.Content = slices.Delete(whole.Content, i, i+2)
			break
		}
	}

	spec := valueAt(whole, "spec")
	var uses []used
	for i, n := range list.Content {
		n = aliased(n)
		path := index("uses", i)
		f := shared[n.Value]
		switch {
		case f == nil && broken:
			return nil, nil // reported where it stands
		case f == nil:
			c.d.errorAt(n, path, fmt.Sprintf("there is no fragment %q among the files", clip(n.Value)), nil, "")
		case slices.ContainsFunc(uses, func(u used) bool { return u.name == f.name }):
			c.d.errorAt(n, path, fmt.Sprintf("duplicate %q", f.name), nil, "")
		default:
			uses = append(uses, used{f.name, f.digest, f.file})
			c.merge(spec, f.spec, f.file, "spec")
		}
		if c.copied > maxNodes {
			c.d.errorAt(n, path, fmt.Sprintf("more than %d values", maxNodes), nil, "")
			return nil, nil
		}
	}
	return whole, uses
}

// areTexts reports whether a value is a list of texts.
func areTexts(list *yaml.Node) bool {
	return list.Kind == yaml.SequenceNode && !slices.ContainsFunc(list.Content, func(n *yaml.Node) bool {
		_, err := strictyaml.Text(aliased(n))
		return aliased(n).Kind != yaml.ScalarNode || err != nil
	})
}

// merge adds what a fragment has to a mapping of the policy's.
func (c *composer) merge(into, from *yaml.Node, file, path string) {
	from = aliased(from)
	for i := 0; i+1 < len(from.Content); i += 2 {
		key, value := aliased(from.Content[i]), aliased(from.Content[i+1])
		at := join(path, key.Value)
		mine := valueAt(into, key.Value)
		switch {
		// What the policy does not have is the fragment's.
		case mine == nil:
			into.Content = append(into.Content, c.copy(key, file), c.copy(value, file))
		// Both may add to a mapping; what they add is compared key by key.
		case mine.Kind == yaml.MappingNode && value.Kind == yaml.MappingNode:
			c.merge(mine, value, file, at)
		// Only lists in which each entry stands for itself are joined: elsewhere an entry could widen what the policy
		// says.
		case path == "spec" && slices.Contains(joinedKeys(), key.Value) &&
			mine.Kind == yaml.SequenceNode && value.Kind == yaml.SequenceNode:
			for _, item := range value.Content {
				mine.Content = append(mine.Content, c.copy(item, file))
			}
		default:
			c.d.errorAt(mine, at, "is written twice", nil, "")

			// The error is about two places: the other one stands in the message.
			e := &c.d.errs[len(c.d.errs)-1]
			e.File = cmp.Or(c.owners[mine], c.d.file)
			e.Message = fmt.Sprintf("is written here and in %s:%d: a value is written once, in the policy or in one "+
				"fragment; remove one of them",
				file, value.Line)
		}
	}
}

// copy copies a value without anchors, aliases and comments, and notes which file it is of; "": the policy's.
func (c *composer) copy(n *yaml.Node, file string) *yaml.Node {
	n = aliased(n)
	out := new(yaml.Node)
	*out = *n
	out.Content, out.Anchor, out.HeadComment, out.LineComment, out.FootComment = nil, "", "", "", ""
	if file != "" {
		c.owners[out] = file
	}

	// Aliases could multiply.
	if c.copied++; c.copied > maxNodes {
		return out
	}
	for _, child := range n.Content {
		out.Content = append(out.Content, c.copy(child, file))
	}
	return out
}

// A Line is one line of a policy, and where it was written.
type Line struct {
	Text string `json:"text"`
	File string `json:"file"`
	Line int    `json:"line"`
}

// render writes a composed policy as a file that means the same alone, and says where each of its lines was written.
func render(root *yaml.Node, owners map[*yaml.Node]string, file string) ([]byte, []Line, error) {
	// The encoder changes the nodes that it writes.
	text, err := yaml.Marshal((&composer{}).copy(root, ""))
	if err != nil {
		return nil, nil, err
	}

	// The lines are those of the text that was written, so that it is read again.
	var again yaml.Node
	if err := yaml.Unmarshal(text, &again); err != nil {
		return nil, nil, err
	}

	var lines []Line
	for line := range bytes.Lines(text) {
		lines = append(lines, Line{Text: strings.TrimSuffix(string(line), "\n")})
	}
	placed(again.Content[0], root, func(line int, from *yaml.Node) {
		if line > 0 && line <= len(lines) && lines[line-1].File == "" {
			lines[line-1].File, lines[line-1].Line = cmp.Or(owners[from], file), from.Line
		}
	})

	// A line without the beginning of a value goes on with the one above it.
	for i := range lines {
		if lines[i].File == "" && i > 0 {
			lines[i].File, lines[i].Line = lines[i-1].File, lines[i-1].Line
		}
	}
	return text, lines, nil
}

// placed says of each value where it stands in the rendered text; both have the same form.
func placed(rendered, composed *yaml.Node, say func(line int, from *yaml.Node)) {
	// A mapping or a list begins where its first value does, which has a place of its own.
	if rendered.Kind == yaml.ScalarNode || len(rendered.Content) == 0 {
		say(rendered.Line, composed)
	}
	for i := range min(len(rendered.Content), len(composed.Content)) {
		placed(rendered.Content[i], composed.Content[i], say)
	}
}

// Uses lists the fragments that the policy was composed with.
func (p *Policy) Uses() []string {
	var out []string
	for _, u := range p.uses {
		out = append(out, u.name)
	}
	return out
}

// Provenance lists the lines of the policy, each with the file and the line that it was written in.
func (p *Policy) Provenance() []Line {
	if p.origins != nil {
		return slices.Clone(p.origins)
	}
	var out []Line
	for line := range bytes.Lines(p.text) {
		out = append(out, Line{Text: strings.TrimSuffix(string(line), "\n"), File: p.file, Line: len(out) + 1})
	}
	return out
}
