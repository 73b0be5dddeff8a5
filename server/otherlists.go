package server

import (
	"context"
	"net/http"

	"github.com/attestor-gate/attestor"
)

// A History has what is recorded beside decisions.
type History struct {
	// Revocations lists finished revocations, the newest first, under the rules of [Decisions]' List.
	Revocations func(ctx context.Context, f DecisionFilter) (RevocationPage, error)
	// PolicyChanges lists which policies were in force, the newest first. size is from 1 to 500.
	PolicyChanges func(ctx context.Context, size int, token string) (PolicyChangePage, error)
}

// A RevocationPage is part of a list. NextPageToken is empty on the last.
type RevocationPage struct {
	Revocations   []attestor.RecordedRevocation `json:"revocations"`
	NextPageToken string                        `json:"nextPageToken,omitempty"`
}

// A PolicyChangePage is part of a list. NextPageToken is empty on the last.
type PolicyChangePage struct {
	Changes       []attestor.PolicyChange `json:"changes"`
	NextPageToken string                  `json:"nextPageToken,omitempty"`
}

// historyRoutes are those of what is recorded beside decisions.
func (s *Server) historyRoutes() []route {
	const part = "a store"
	read := []attestor.Action{attestor.ActionRead}

	return []route{
		{
			method: "GET", path: "/v1/revocations", any: read, class: reads,
			query: []string{"since", "until", "repository", pageSize, pageToken},
			part:  part, enabled: s.c.History != nil, handle: s.listRevocations,
		},
		{
			method: "GET", path: "/v1/policy-changes", any: read, class: reads,
			query: []string{pageSize, pageToken},
			part:  part, enabled: s.c.History != nil, handle: s.listPolicyChanges,
		},
	}
}

// listRevocations answers GET /v1/revocations. A page may be shorter than pageSize, since revocations of images that
// the caller may not read are left out.
func (s *Server) listRevocations(k *call) error {
	f, err := k.decisionFilter(s.c.Now())
	if err != nil {
		return err
	}
	page, err := s.c.History.Revocations(k.ctx, f)
	if err != nil {
		return err
	}

	// The filter had Visible already. A revocation is shown to nobody who may not read its image, even if a store
	// ignored that.
	out := RevocationPage{Revocations: []attestor.RecordedRevocation{}, NextPageToken: page.NextPageToken}
	for _, r := range page.Revocations {
		if k.caller.May(attestor.ActionRead, r.Image.Repository()) {
			out.Revocations = append(out.Revocations, r)
		}
	}
	return s.answer(k, http.StatusOK, out)
}

// listPolicyChanges answers GET /v1/policy-changes. What was in force is shown for all images together.
func (s *Server) listPolicyChanges(k *call) error {
	if err := k.everywhere(attestor.ActionRead); err != nil {
		return err
	}
	f, err := k.decisionFilter(s.c.Now()) // of which it has the page only
	if err != nil {
		return err
	}
	page, err := s.c.History.PolicyChanges(k.ctx, f.PageSize, f.PageToken)
	if err != nil {
		return err
	}
	page.Changes = append([]attestor.PolicyChange{}, page.Changes...) // never null in JSON
	return s.answer(k, http.StatusOK, page)
}
