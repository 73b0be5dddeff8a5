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
	At      time.Time                    // the day whose dates of the policy count; zero: that of each decision
	Visible func(repository string) bool // selects the decisions that the caller may see; never nil
}

// A Simulation compares recorded decisions with those of another policy.
type Simulation struct {
	Policy attestor.PolicyRef `json:"policy"`
	Since  time.Time          `json:"since"`
	Judged int                `json:"judged"` // recorded decisions that were judged again
	Counts SimulationCounts   `json:"counts"`
	Flips  []attestor.Flip    `json:"flips"` // newest first

	Upcoming []attestor.Upcoming `json:"upcoming"` // what the policy refuses from later days on, the next day first
}

// SimulationCounts are the numbers of decisions by verdict.
type SimulationCounts struct {
	Before map[attestor.Outcome]int `json:"before"`
	After  map[attestor.Outcome]int `json:"after"`
}

// maxPolicyText is how long a caller's policy may be, in bytes.
const maxPolicyText = 512 << 10

// simulate answers POST /v1/simulate.
func (s *Server) simulate(k *call) error {
	var body struct {
		Policy string `json:"policy"`
		Since  string `json:"since"`
		At     string `json:"at"`
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
			Kind: attestor.Invalid, Msg: fmt.Sprintf("policy has %d bytes, at most %d are allowed", len(body.Policy), maxPolicyText),
			Fix: "send a shorter policy",
		}
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
		Policy: []byte(body.Policy), Since: since, At: day,
		Visible: func(repository string) bool { return k.caller.May(attestor.ActionSimulate, repository) },
	})
	if err != nil {
		return err
	}

	result.Flips, result.Upcoming = nonNil(result.Flips), nonNil(result.Upcoming)
	return s.answer(k, http.StatusOK, result)
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
