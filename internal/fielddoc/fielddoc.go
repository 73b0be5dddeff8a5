// Package fielddoc reads the comments of struct fields, which generated schemas show as
// descriptions.
package fielddoc

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
)

// Of returns the comments of the fields in a file of Go, by package path, type and field, as
// the reflector of JSON schemas looks them up.
func Of(source []byte, path string) (map[string]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "source.go", source, parser.ParseComments)
	if err != nil {
		return nil, fmt.Errorf("reading the comments of %s: %w", path, err)
	}

	out := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		fields, ok := spec.Type.(*ast.StructType)
		if !ok {
			return false
		}

		for _, f := range fields.Fields.List {
			text := f.Doc.Text()
			if text == "" {
				text = f.Comment.Text()
			}
			for _, name := range f.Names {
				out[path+"."+spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(text), " ")
			}
		}
		return false
	})
	return out, nil
}
