package page

import (
	_ "embed"
	"fmt"
	"html/template"
)

//go:embed layout.html
var layout string

// A Head is what frames a page.
type Head struct {
	Title  string
	Note   string // at the right of the top line
	Foot   string
	Nav    []NavItem // none for a file
	File   bool      // states its own content security policy
	Script bool      // has a table to sort and filter, or something to copy
}

// A NavItem is one of the service's pages.
type NavItem struct {
	Name, Path string
	Current    bool
}

// Nav lists the service's pages, one of them current.
func Nav(current string) []NavItem {
	items := []NavItem{{Name: "Overview", Path: "/"}, {Name: "Decisions", Path: "/decisions"},
		{Name: "Images", Path: "/images"}, {Name: "Report", Path: "/report"}, {Name: "Policies", Path: "/policies"},
		{Name: "Simulate", Path: "/simulate"}, {Name: "Bases", Path: "/bases"},
		{Name: "Reasons", Path: "/reasons"}}
	for i := range items {
		items[i].Current = items[i].Path == current
	}

	return items
}

// Parse joins a page's template with the layout.
func Parse(name, text string, funcs template.FuncMap) (*template.Template, error) {
	t, err := template.New(name).Funcs(Funcs()).Funcs(funcs).Parse(layout)
	if err != nil {
		return nil, fmt.Errorf("parsing the layout: %w", err)
	}
	if t, err = t.Parse(text); err != nil {
		return nil, fmt.Errorf("parsing %s: %w", name, err)
	}

	return t, nil
}
