package server

import (
	"net/http"
	"time"

	"github.com/attestor-gate/attestor"
)

// Pruned says what was deleted of the record.
type Pruned struct {
	Before    time.Time `json:"before"`    // decisions from before it are deleted
	Decisions int64     `json:"decisions"` // deleted by this call
	Events    int64     `json:"events"`    // dead letters: events that their receivers never got
	Blobs     int64     `json:"blobs"`     // evidence and policy texts that no decision refers to any more
	Complete  bool      `json:"complete"`  // false: the time of one call was over; the next one goes on
}

// prune answers POST /v1/prune. What is deleted, the configuration says and no caller.
func (s *Server) prune(k *call) error {
	if err := k.noFields(); err != nil {
		return err
	}

	// What is deleted is of every repository.
	if err := k.everywhere(attestor.ActionPrune); err != nil {
		return err
	}
	pruned, err := s.c.Prune(k.ctx)
	if err != nil {
		return err
	}
	return s.answer(k, http.StatusOK, pruned)
}
