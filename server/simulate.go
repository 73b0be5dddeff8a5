package server

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/when"
)

// A Simulator judges recorded evidence by another policy.
type Simulator interface {
	// Simulate returns an [attestor.Error] of kind Invalid where the policy does not
	// load. Its Msg lists every error of the policy.
	Simulate(ctx context.Context, r SimulationRequest) (Simulation, error)
}

// A SimulationRequest requests that recorded decisions be judged by a policy.
type SimulationRequest struct {
	Policy  []byte // YAML
	Since   time.Time
	Period  string                       // what was asked for as since; a PageToken is bound to it
	At      time.Time                    // the day whose dates of the policy count; zero: that of each decision
	Visible func(repository string) bool // selects the decisions that the caller may see; never nil

	PageSize  int    // how many decisions are judged at most; 0: all, in one answer
	PageToken string // of the page before; "" for the first one
	Sample    int    // of that many decisions one is judged; 0 and 1: all are
}

// A Simulation compares recorded decisions with those of another policy.
type Simulation struct {
	Policy attestor.PolicyRef `json:"policy"`
	Since  time.Time          `json:"since"`
	Judged int                `json:"judged"` // recorded decisions that were judged again
	Counts SimulationCounts   `json:"counts"` // of these decisions
	Images SimulatedImages    `json:"images"` // distinct images among them
	Flips  []attestor.Flip    `json:"flips"`  // newest first

	Upcoming []attestor.Upcoming `json:"upcoming"` // what the policy refuses from later days on, the next day first

	Sample        int       `json:"sample,omitempty"`        // only one of so many decisions was judged
	Reached       time.Time `json:"reached,omitzero"`        // the time of the oldest decision of this page
	NextPageToken string    `json:"nextPageToken,omitempty"` // there are older decisions
}

// SimulatedImages are the numbers of distinct images by verdict. An image counts by its newest decision: once in all
// pages together.
type SimulatedImages struct {
	Judged int                      `json:"judged"`
	Before map[attestor.Outcome]int `json:"before"`
	After  map[attestor.Outcome]int `json:"after"`
}

// SimulationCounts are the numbers of decisions by verdict.
type SimulationCounts struct {
	Before map[attestor.Outcome]int `json:"before"`
	After  map[attestor.Outcome]int `json:"after"`
}

const (
	// maxSimulatedPage bounds a page of a simulation, in decisions.
	maxSimulatedPage = 10_000
	// maxSample bounds a sample, so that one of a million decisions is judged at least.
	maxSample = 1_000_000
)

// maxPolicyText is how long a caller's policy may be, in bytes.
const maxPolicyText = 512 << 10

// simulate answers POST /v1/simulate.
func (s *Server) simulate(k *call) error {
	var body struct {
		Policy string `json:"policy"`
		Since  string `json:"since"`
		At     string `json:"at"`

		PageSize  int    `json:"pageSize"`
		PageToken string `json:"pageToken"`
		Sample    int    `json:"sample"`
	}
	if err := decodeStrict(k.body, &body); err != nil {
		return err
	}

	if body.Policy == "" {
		return &attestor.Error{
			Kind: attestor.Invalid, Msg: "policy is missing", Fix: "send the text of a GatePolicy, as a JSON string",
		}
	}
	if len(body.Policy) > maxPolicyText {
		return &attestor.Error{
			Kind: attestor.Invalid, Msg: fmt.Sprintf("policy has %d bytes, at most %d are allowed",
				len(body.Policy), maxPolicyText),
			Fix: "send a shorter policy",
		}
	}
	if err := boundedSimulation(body.PageSize, body.Sample, body.PageToken); err != nil {
		return err
	}
	since, err := instant("since", body.Since, s.c.Now())
	if err != nil {
		return err
	}
	if since.IsZero() {
		since = s.c.Now().AddDate(0, 0, -30)
	}

	day, err := simulatedDay(body.At)
	if err != nil {
		return err
	}

	result, err := s.c.Simulator.Simulate(k.ctx, SimulationRequest{
		Policy: []byte(body.Policy), Since: since, Period: body.Since, At: day,
		PageSize: body.PageSize, PageToken: body.PageToken, Sample: body.Sample,
		Visible: func(repository string) bool { return k.caller.May(attestor.ActionSimulate, repository) },
	})
	if err != nil {
		return err
	}

	result.Images.Before, result.Images.After = counted(result.Images.Before), counted(result.Images.After)
	result.Flips, result.Upcoming = nonNil(result.Flips), nonNil(result.Upcoming)
	return s.answer(k, http.StatusOK, result)
}

// boundedSimulation checks the numbers of a simulation.
func boundedSimulation(pageSize, sample int, token string) error {
	switch {
	case pageSize < 0 || pageSize > maxSimulatedPage:
		return &attestor.Error{
			Kind: attestor.Invalid, Msg: fmt.Sprintf("pageSize is %d, want 1 to %d", pageSize, maxSimulatedPage),
			Fix: "leave pageSize out to have all in one answer",
		}
	case token != "" && pageSize == 0:
		return &attestor.Error{Kind: attestor.Invalid, Msg: "pageToken without pageSize",
			Fix: "send the pageSize of the first page"}
	case sample < 0 || sample > maxSample:
		return &attestor.Error{
			Kind: attestor.Invalid, Msg: fmt.Sprintf("sample is %d, want 1 to %d", sample, maxSample),
			Fix: "sample: 100 judges one of 100 decisions",
		}
	}
	return nil
}

// counted is never nil.
func counted(m map[attestor.Outcome]int) map[attestor.Outcome]int {
	if m == nil {
		return map[attestor.Outcome]int{}
	}
	return m
}

// simulatedDay is a date of the future or the past; "" is none.
func simulatedDay(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	day, err := when.ParseDate(text)
	if err != nil {
		return time.Time{}, &attestor.Error{Kind: attestor.Invalid, Msg: "at: " + err.Error()}
	}
	return day, nil
}
