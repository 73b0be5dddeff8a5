package main

import (
	"math"
	"strings"
	"testing"
	"time"
)

// pointsOf are costs of 1, 10, … 10,000, in milliseconds.
func pointsOf(cost func(n float64) float64) (out []grown) {
	for n := 1; n <= 10_000; n *= 10 {
		out = append(out, grown{n: n, decisions: 1, cpu: time.Duration(cost(float64(n)) * float64(time.Millisecond))})
	}
	return out
}

func TestFit(t *testing.T) {
	t.Parallel()
	line := pointsOf(func(n float64) float64 { return 3 + .01*n })
	base, each, off := fit(line)
	if math.Abs(base-3) > .001 || math.Abs(each-.01) > .00001 || off > .001 {
		t.Errorf("a line of 3 and 0.01 is found to be of %v and %v, %v off", base, each, off)
	}

	for name, tt := range map[string]struct {
		g    growth
		want string
	}{
		"a line": {growth{what: "x", linear: true, points: line},
			"x: argued linear; 3.00 ms and 10.00 µs for each, which the worst point is 0 % off: met."},
		"a square":             {growth{linear: true, points: pointsOf(func(n float64) float64 { return 3 + .0001*n*n })}, "**missed**"},
		"a little more":        {growth{linear: true, points: pointsOf(func(n float64) float64 { return 3 + .001*math.Pow(n, 1.5) })}, "**missed**"},
		"nothing was measured": {growth{linear: true, points: pointsOf(func(float64) float64 { return 0 })}, "**missed**"},
		"the same":             {growth{points: pointsOf(func(float64) float64 { return 3 })}, "10000 cost 1.00 times what 1 cost: met."},
		"a logarithm":          {growth{points: pointsOf(func(n float64) float64 { return 3 + math.Log(n) })}, "**missed**"},
		"one point":            {growth{points: line[:1]}, "one point shows nothing"},
	} {
		if got := tt.g.verdict(); !strings.Contains(got, tt.want) {
			t.Errorf("%s: %s", name, got)
		}
	}

	b := &harness{growths: []growth{{what: "policies", points: line}}}
	if d := b.document(); !strings.Contains(d, "| policies | 10000 | 1 | 103.00 |") || !strings.Contains(d, "- policies: argued not to matter") {
		t.Errorf("the document has %s", d)
	}
}
