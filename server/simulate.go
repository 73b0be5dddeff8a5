package server

import (
	"context"
	"net/http"
	"time"

	"github.com/attestor-gate/attestor"
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
	Visible func(repository string) bool // selects the decisions that the caller may see; never nil
}

// A Simulation compares recorded decisions with those of another policy.
type Simulation struct {
	Policy attestor.PolicyRef `json:"policy"`
	Since  time.Time          `json:"since"`
	Judged int                `json:"judged"` // recorded decisions that were judged again
	Counts SimulationCounts   `json:"counts"`
	Flips  []attestor.Flip    `json:"flips"` // newest first
}

// SimulationCounts are the numbers of decisions by verdict.
type SimulationCounts struct {
	Before map[attestor.Outcome]int `json:"before"`
	After  map[attestor.Outcome]int `json:"after"`
}

// simulate answers POST /v1/simulate.
func (s *Server) simulate(k *call) error {
	var body struct {
		Policy string `json:"policy"`
		Since  string `json:"since"`
	}
	if err := decodeStrict(k.body, &body); err != nil {
		return err
	}

	if body.Policy == "" {
		return &attestor.Error{
			Kind: attestor.Invalid, Msg: "policy is missing", Fix: "send the text of a GatePolicy, as a JSON string",
		}
	}
	since, err := instant("since", body.Since, s.c.Now())
	if err != nil {
		return err
	}
	if since.IsZero() {
		since = s.c.Now().AddDate(0, 0, -30)
	}

	result, err := s.c.Simulator.Simulate(k.ctx, SimulationRequest{
		Policy: []byte(body.Policy), Since: since,
		Visible: func(repository string) bool { return k.caller.May(attestor.ActionSimulate, repository) },
	})
	if err != nil {
		return err
	}

	result.Flips = nonNil(result.Flips)
	return s.answer(k, http.StatusOK, result)
}
