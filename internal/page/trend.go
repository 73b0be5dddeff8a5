package page

import (
	"fmt"
	"html/template"
	"time"
)

// A Point is the decisions of a day or a week, by verdict.
type Point struct {
	Day                        time.Time
	Passed, Refused, Undecided int
}

// Total is all decisions of the point.
func (p Point) Total() int { return p.Passed + p.Refused + p.Undecided }

// Top is the most decisions of any point.
func Top(points []Point) int {
	top := 0
	for _, p := range points {
		top = max(top, p.Total())
	}
	return top
}

// VerdictColumns is a chart of decisions by verdict over time. of says whose decisions they are.
func VerdictColumns(of string, points []Point) template.HTML {
	columns := make([]Column, 0, len(points))
	sum := Point{}
	for _, p := range points {
		sum.Passed, sum.Refused, sum.Undecided = sum.Passed+p.Passed, sum.Refused+p.Refused, sum.Undecided+p.Undecided
		columns = append(columns, Column{
			Label: fmt.Sprintf("%s: %s passed, %s refused, %s undecided", Day(p.Day), Number(p.Passed),
				Number(p.Refused), Number(p.Undecided)),
			Segments: []Segment{
				{Class: "f-pass", N: p.Passed}, {Class: "f-error", N: p.Undecided}, {Class: "f-deny", N: p.Refused},
			},
		})
	}

	label := fmt.Sprintf("%s over time: %s passed, %s refused, %s undecided", of, Number(sum.Passed),
		Number(sum.Refused), Number(sum.Undecided))
	return Columns(label, Top(points), columns)
}
