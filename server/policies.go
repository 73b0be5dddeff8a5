package server

import (
	"net/http"

	"github.com/attestor-gate/attestor"
)

// Policies has the policies in force.
type Policies interface {
	// All lists the policies, ordered by name.
	All() []PolicyInfo
}

// PolicyInfo describes one policy.
type PolicyInfo struct {
	attestor.PolicyRef
	Images []string `json:"images"`         // patterns of the images that it governs
	Text   string   `json:"text,omitempty"` // its source; left out of lists
}

// listPolicies answers GET /v1/policies.
func (s *Server) listPolicies(k *call) error {
	out := struct {
		Policies []PolicyInfo `json:"policies"`
	}{[]PolicyInfo{}}
	for _, p := range s.c.Policies.All() {
		p.Text = ""
		out.Policies = append(out.Policies, p)
	}
	return s.answer(k, http.StatusOK, out)
}

// showPolicy answers GET /v1/policies/{name}.
func (s *Server) showPolicy(k *call) error {
	for _, p := range s.c.Policies.All() {
		if p.Name == k.Param("name") {
			return s.answer(k, http.StatusOK, p)
		}
	}
	return &attestor.Error{Kind: attestor.NotFound, Msg: "no such policy", Fix: "GET /v1/policies lists them"}
}
