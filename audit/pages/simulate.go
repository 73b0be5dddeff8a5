package pages

import (
	"io"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/page"
)

// Simulate is the page on which recorded decisions are judged by another policy.
type Simulate struct {
	Policies []string    // names to choose from
	Chosen   string      // one of them; "" where a text was pasted
	Text     string      // of the policy
	Since    string      // as it was typed
	Result   *Simulation // nil: nothing was asked for yet
	Problem  string      // what was wrong with the request: a line for each error; "" for nothing
	Fix      string      // what to do about it
}

// Simulation is what another policy makes of recorded decisions.
type Simulation struct {
	Policy        attestor.PolicyRef
	Judged        int // decisions
	Before, After map[attestor.Outcome]int
	Flips         []attestor.Flip // newest first
	Upcoming      []attestor.Upcoming
	Left          bool      // older decisions were not judged
	Reached       time.Time // the time of the oldest that was
}

// maxFlips bounds the table of the images that flip.
const maxFlips = 500

// Shown are the flips of the table.
func (s Simulation) Shown() []attestor.Flip { return s.Flips[:min(maxFlips, len(s.Flips))] }

// More is how many flips are not in the table.
func (s Simulation) More() int { return len(s.Flips) - len(s.Shown()) }

// Refused are the images that would be refused or not be decided, and Passing those that would pass.
func (s Simulation) Refused() int { return len(s.Flips) - s.Passing() }

// Passing are the images that would pass.
func (s Simulation) Passing() int {
	n := 0
	for _, f := range s.Flips {
		if f.After == attestor.Pass {
			n++
		}
	}
	return n
}

// Simulate renders the page.
func (r *Renderer) Simulate(w io.Writer, s Simulate) error {
	return r.render(w, "simulate", struct {
		Head page.Head
		Simulate
	}{page.Head{Title: "Simulate a policy", Nav: page.Nav("/simulate"), Foot: foot}, s})
}

// outcomes are the verdicts, in the order of a table.
func outcomes() []attestor.Outcome {
	return []attestor.Outcome{attestor.Pass, attestor.Deny, attestor.Undecided}
}

// outcomeWord is a verdict in a word.
func outcomeWord(o attestor.Outcome) string {
	switch o {
	case attestor.Pass:
		return "passes"
	case attestor.Undecided:
		return "could not be decided"
	}
	return "is refused"
}
