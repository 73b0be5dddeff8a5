package page

import (
	"fmt"
	"html/template"
	"strings"
)

// A Column is one moment of a [Columns] chart, its segments from the bottom up.
type Column struct {
	Label    string // for whoever points at it
	Segments []Segment
}

// Columns draws stacked columns up to top, in a drawing that is stretched to its
// place; label says for a screen reader what there is to see.
func Columns(label string, top int, columns []Column) template.HTML {
	const width, height = 1000.0, 100.0
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" aria-label="%s">`,
		template.HTMLEscapeString(label))
	step := width / float64(max(len(columns), 1))
	w := step * 0.86

	// One column alone would fill the drawing.
	if len(columns) == 1 {
		w = step * 0.2
	}

	for i, c := range columns {
		x := float64(i)*step + (step-w)/2

		// From the bottom up: y grows downwards.
		y := height
		b.WriteString(`<g>`)

		for _, s := range c.Segments {
			if s.N <= 0 || top <= 0 {
				continue
			}

			h := float64(s.N) * height / float64(top)
			y -= h
			fmt.Fprintf(&b, `<rect class="%s" x="%.1f" y="%.2f" width="%.1f" height="%.2f"/>`,
				template.HTMLEscapeString(s.Class), x, y, w, h)
		}

		fmt.Fprintf(&b, `<title>%s</title></g>`, template.HTMLEscapeString(c.Label))
	}

	b.WriteString(`</svg>`)

	return template.HTML(b.String()) //nolint:gosec // numbers, and texts that are escaped
}
