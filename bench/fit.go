package main

import (
	"fmt"
	"math"
	"strings"
)

// steady is by how much a cost may differ between the ends of what it does not depend on, and straight by how much
// points may be off the line that they are argued to be on: what two runs of the same differ by.
const steady, straight = 1.25, .25

// fit finds the line base + each·n that is the least share of the points' costs off, and by what share the worst point
// is.
func fit(points []grown) (base, each, off float64) {
	var s, sx, sxx, sy, sxy float64
	for _, p := range points {
		x, y := float64(p.n), ms(p.cpu)
		if y == 0 {
			return 0, 0, math.Inf(1) // nothing was measured
		}
		w := 1 / (y * y) // a share of a small cost counts as much as that of a large one
		s, sx, sxx, sy, sxy = s+w, sx+w*x, sxx+w*x*x, sy+w*y, sxy+w*x*y
	}

	d := s*sxx - sx*sx
	if d == 0 {
		return 0, 0, math.Inf(1) // one point is on any line
	}
	each = (s*sxy - sx*sy) / d
	base = (sy - each*sx) / s
	for _, p := range points {
		off = max(off, math.Abs(base+each*float64(p.n)-ms(p.cpu))/ms(p.cpu))
	}
	return base, each, off
}

// verdict compares what was measured with what is argued.
func (g growth) verdict() string {
	if len(g.points) < 2 {
		return g.what + ": one point shows nothing."
	}
	first, last := g.points[0], g.points[len(g.points)-1]
	if g.linear {
		base, each, off := fit(g.points)
		return fmt.Sprintf("%s: argued linear; %.2f ms and %.2f µs for each, which the worst point is %.0f %% off: %s.",
			g.what, base, each*1000, 100*off, met(off <= straight))
	}
	times := ms(last.cpu) / ms(first.cpu)
	return fmt.Sprintf("%s: argued not to matter; %d cost %.2f times what %d cost: %s.", g.what, last.n, times, first.n,
		met(times <= steady))
}

func met(ok bool) string {
	if ok {
		return "met"
	}
	return "**missed**"
}

func (b *harness) growthTable(w *strings.Builder) {
	if len(b.growths) == 0 {
		return
	}
	fmt.Fprintf(w, "\n### Growth: one decision after the other, no latency added\n\n")
	fmt.Fprintln(w, "| | n | decisions | CPU ms each | allocations each | p50 ms | exec to ready, ms | "+
		"CPU while idle, % |")
	fmt.Fprintln(w, "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
	for _, g := range b.growths {
		for _, p := range g.points {
			fmt.Fprintf(w, "| %s | %d | %d | %.2f | %.0f | %.1f | %.0f | %.1f |\n", g.what, p.n, p.decisions, ms(p.cpu),
				p.mallocs, ms(p.p50), ms(p.ready), 100*p.idle)
		}
	}

	fmt.Fprintln(w)
	for _, g := range b.growths {
		fmt.Fprintf(w, "- %s\n", g.verdict())
	}
}
