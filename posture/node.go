package posture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v4"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/plain"
	"github.com/attestor-gate/attestor/internal/strictjson"
)

// Bounds of what is read. A plan of a hundred services is some 2 MiB.
const (
	maxFile  = 8 << 20
	maxNodes = 500_000 // visited, so that aliases cannot multiply
	maxDepth = 100
)

type nodeKind int

const (
	nodeNull nodeKind = iota
	nodeText
	nodeMapping
	nodeList
	nodeUnknown // Terraform: known after apply
)

// A node is a value of a document, YAML or JSON. Scalars are kept as text:
// gcloud quotes numbers and booleans in annotations, and other tools do not.
type node struct {
	kind   nodeKind
	line   int
	column int // from 1; of a mapping in YAML, that of its first key
	text   string
	fields map[string]*node
	items  []*node
}

// at descends through mappings; nil where something is absent.
func (n *node) at(path ...string) *node {
	for _, name := range path {
		if n == nil || n.kind != nodeMapping {
			if n != nil && n.kind == nodeUnknown {
				return n
			}
			return nil
		}
		n = n.fields[name]
	}

	return n
}

// block descends as at does, through Terraform's blocks, which are lists of
// one; it ends inside the last.
func (n *node) block(path ...string) *node {
	for i := 0; ; i++ {
		if n != nil && n.kind == nodeList {
			if len(n.items) != 1 {
				return nil
			}
			n = n.items[0]
		}

		if i == len(path) {
			return n
		}

		n = n.at(path[i])
	}
}

// has reports whether a mapping has one of the names.
func (n *node) has(names ...string) bool {
	for _, name := range names {
		if n.at(name) != nil {
			return true
		}
	}
	return false
}

// filled reports whether a mapping has any field.
func (n *node) filled() bool { return n != nil && n.kind == nodeMapping && len(n.fields) > 0 }

// parse reads every document of a text.
func parse(src Source) ([]*node, error) {
	if len(src.Text) > maxFile {
		return nil, &attestor.Error{Kind: attestor.TooLarge,
			Msg: fmt.Sprintf("%s has %d bytes, at most %d are read", plain.Text(src.Name), len(src.Text), maxFile)}
	}

	// Blank lines before the document stay, so that findings and fixes have its lines.
	text := bytes.TrimRight(bytes.TrimPrefix(src.Text, byteOrderMark), " \t\r\n")
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, errors.New("the document is empty")
	}
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		return nil, errors.New("the document is UTF-16, as PowerShell 5 redirects output: write it as UTF-8")
	}
	if !utf8.Valid(text) {
		return nil, errors.New("the document is not UTF-8")
	}

	if isTerraformName(src.Name) {
		return nil, errTerraformSource
	}

	docs, err := parseText(text)
	bare := slices.ContainsFunc(docs, func(n *node) bool { return n.kind == nodeText })
	if (err != nil || bare) && terraformBlock.Match(text) {
		return nil, errTerraformSource
	}
	if slices.ContainsFunc(docs, isTerraformDocument) {
		return nil, errTerraformSource
	}
	if err != nil && templated.Match(text) {
		return nil, fmt.Errorf("%w; the text has a variable of a template: render it first, by `helm template`, "+
			"`kustomize build` or envsubst", err)
	}

	return docs, err
}

func parseText(text []byte) ([]*node, error) {
	if first := bytes.TrimSpace(text)[0]; first == '{' || first == '[' {
		return jsonDocument(text)
	}
	return yamlDocuments(text)
}

func yamlDocuments(text []byte) ([]*node, error) {
	loader, err := yaml.NewLoader(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}

	var out []*node
	seen := 0
	for {
		var doc yaml.Node
		if err := loader.Load(&doc); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, errors.New("not YAML: " + yamlFault(err))
		}

		n, err := fromYAML(&doc, &seen, 0)
		if err != nil {
			return nil, err
		}
		if n.kind != nodeNull { // gcloud separates with ---, which may leave an empty one
			out = append(out, n)
		}
	}

	if len(out) == 0 {
		return nil, errors.New("the document is empty")
	}

	return out, nil
}

// yamlFault leaves out what the parser quotes, which may be a secret.
func yamlFault(err error) string {
	if e, ok := errors.AsType[*yaml.LoadError](err); ok && e.Mark.Line > 0 {
		return fmt.Sprintf("line %d, column %d", e.Mark.Line, e.Mark.Column)
	}
	return "the text cannot be parsed, as that of a binary file"
}

func fromYAML(y *yaml.Node, seen *int, depth int) (*node, error) {
	if *seen++; *seen > maxNodes || depth > maxDepth {
		return nil, fmt.Errorf("more than %d values, or nested more than %d deep", maxNodes, maxDepth)
	}

	n := &node{line: y.Line, column: y.Column}
	switch y.Kind {
	case yaml.DocumentNode:
		if len(y.Content) == 1 {
			return fromYAML(y.Content[0], seen, depth+1)
		}
	case yaml.AliasNode:
		// The target is read, and its values count, each time: a few lines of aliases cannot become millions of values.
		if y.Alias == nil {
			return nil, fmt.Errorf("line %d: an alias of nothing", y.Line)
		}
		return fromYAML(y.Alias, seen, depth+1)
	case yaml.ScalarNode:
		if y.ShortTag() != "!!null" {
			n.kind, n.text = nodeText, y.Value
		}
	case yaml.SequenceNode:
		n.kind = nodeList
		for _, item := range y.Content {
			child, err := fromYAML(item, seen, depth+1)
			if err != nil {
				return nil, err
			}

			n.items = append(n.items, child)
		}
	case yaml.MappingNode:
		n.kind, n.fields = nodeMapping, map[string]*node{}
		for i := 0; i+1 < len(y.Content); i += 2 {
			key := y.Content[i]
			for key.Kind == yaml.AliasNode && key.Alias != nil {
				key = key.Alias
			}

			switch {
			case key.Kind != yaml.ScalarNode:
				return nil, fmt.Errorf("line %d: a key must be plain text", key.Line)
			case key.ShortTag() == "!!merge":
				return nil, fmt.Errorf("line %d: merge keys are not read; write the fields out", key.Line)
			case n.fields[key.Value] != nil:
				return nil, fmt.Errorf("line %d: duplicate %q", key.Line, clip(key.Value))
			}

			child, err := fromYAML(y.Content[i+1], seen, depth+1)
			if err != nil {
				return nil, err
			}

			n.fields[key.Value] = child
		}
	}

	return n, nil
}

// jsonDocument reads JSON that can be read in one way only: no key twice, nothing behind the document.
func jsonDocument(text []byte) ([]*node, error) {
	if err := strictjson.Check(text, strictjson.Rules{Unknown: true, Null: true, Depth: maxDepth}); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}

	d := &jsonReader{dec: jsontext.NewDecoder(bytes.NewBuffer(text)), text: text, line: 1}
	n, err := d.value()
	if err != nil {
		return nil, err
	}

	return []*node{n}, nil
}

// A jsonReader makes nodes of a document that was checked.
type jsonReader struct {
	dec    *jsontext.Decoder
	text   []byte
	offset int64
	line   int
	begin  int64 // of the line
	seen   int
}

func (d *jsonReader) token() (jsontext.Token, error) {
	t, err := d.dec.ReadToken()
	if err != nil {
		return t, fmt.Errorf("not JSON: line %d", d.line)
	}

	// The decoder knows offsets alone: lines are counted between them.
	end := d.dec.InputOffset()
	passed := d.text[d.offset:end]
	d.line += bytes.Count(passed, []byte("\n"))
	if last := bytes.LastIndexByte(passed, '\n'); last >= 0 {
		d.begin = d.offset + int64(last) + 1
	}
	d.offset = end

	return t, nil
}

func (d *jsonReader) value() (*node, error) {
	t, err := d.token()
	if err != nil {
		return nil, err
	}

	// The check before bounds the depth; the number of values is bounded here.
	if d.seen++; d.seen > maxNodes {
		return nil, fmt.Errorf("more than %d values", maxNodes)
	}

	n := &node{line: d.line, column: int(d.offset - d.begin)} // of a brace, which is its own last byte
	switch t.Kind() {
	case 'n':
	case '"', '0', 't', 'f':
		n.kind, n.text = nodeText, t.String()
	case '[':
		n.kind = nodeList
		for d.dec.PeekKind() != ']' {
			child, err := d.value()
			if err != nil {
				return nil, err
			}

			n.items = append(n.items, child)
		}
		_, err = d.token()
	case '{':
		n.kind, n.fields = nodeMapping, map[string]*node{}
		for d.dec.PeekKind() != '}' {
			key, err := d.token()
			if err != nil {
				return nil, err
			}

			name := key.String()
			if n.fields[name], err = d.value(); err != nil {
				return nil, err
			}
		}
		_, err = d.token()
	}

	return n, err
}
