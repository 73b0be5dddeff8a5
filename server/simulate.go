package server

import (
	"context"
	"net/http"
	"time"

	"github.com/attestor-gate/attestor"
)

// A Simulator judges recorded evidence by another policy.
type Simulator interface {
	// Simulate is an [attestor.Error] of kind Invalid where the policy does not
	// load, with everything that is wrong in Msg.
	Simulate(ctx context.Context, r SimulationRequest) (Simulation, error)
}

// A SimulationRequest says what is to be judged, and by what.
type SimulationRequest struct {
	Policy  []byte // YAML
	Since   time.Time
	Visible func(repository string) bool // decisions on others are left out; never nil
}

// A Simulation says what a policy would have decided.
type Simulation struct {
	Policy attestor.PolicyRef `json:"policy"`
	Since  time.Time          `json:"since"`
	Judged int                `json:"judged"` // recorded decisions that were judged again
	Counts SimulationCounts   `json:"counts"`
	Flips  []attestor.Flip    `json:"flips"` // newest first
}

// SimulationCounts tallies verdicts.
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
		return &attestor.Error{Kind: attestor.Invalid, Msg: "policy is missing: want a GatePolicy as YAML text"}
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
	result.Flips = some(result.Flips)
	return s.answer(k, http.StatusOK, result)
}
