package server

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/filter"
	"github.com/attestor-gate/attestor/internal/when"
)

// Decisions reads the decisions that were recorded.
type Decisions interface {
	// Decision returns one record, or an [attestor.Error] of kind NotFound.
	Decision(ctx context.Context, id string) (attestor.Record, error)
	// Revocation returns the record of a revocation, or an [attestor.Error] of kind
	// NotFound.
	Revocation(ctx context.Context, id string) (attestor.RevocationRecord, error)
	// List returns the decisions that match, newest first. Over all pages of a list
	// each decision appears once, whatever is recorded and however far the clock moves
	// between two pages; decisions made after the first page do not appear. A token
	// that List did not return, or returned for another filter, is an
	// [attestor.Error] of kind Invalid.
	List(ctx context.Context, f DecisionFilter) (DecisionPage, error)
}

// A DecisionFilter asks for one page of the decisions that a filter selects. Its
// Visible is never nil.
type DecisionFilter struct {
	filter.Filter
	PageSize  int // 1 to 500
	PageToken string
}

// A DecisionPage is part of a list. NextPageToken is empty on the last.
type DecisionPage struct {
	Decisions     []attestor.Decision `json:"decisions"`
	NextPageToken string              `json:"nextPageToken,omitempty"`
	Remark        string              `json:"remark,omitempty"` // why the filter probably selects nothing
}

const defaultPageSize, maxPageSize = 50, 500

// listQuery are the parameters of a list of decisions.
func listQuery() []string { return append(filter.Names(), pageSize, pageToken) }

// The parameters of a list that are not part of its filter.
const pageSize, pageToken = "pageSize", "pageToken"

// listDecisions answers GET /v1/decisions. A page may be shorter than pageSize,
// since decisions that the caller may not read are left out.
func (s *Server) listDecisions(k *call) error {
	filter, err := k.decisionFilter(s.c.Now())
	if err != nil {
		return err
	}
	page, err := s.c.Decisions.List(k.ctx, filter)
	if err != nil {
		return err
	}

	// The filter had Visible already. A decision is shown to nobody who may not read
	// it, even if a store ignored that.
	out := DecisionPage{Decisions: []attestor.Decision{}, NextPageToken: page.NextPageToken, Remark: filter.Remark()}
	for _, d := range page.Decisions {
		if k.mayRead(d) {
			out.Decisions = append(out.Decisions, d)
		}
	}
	return s.answer(k, http.StatusOK, out)
}

// decisionFilter returns the filter of the query.
func (k *call) decisionFilter(now time.Time) (DecisionFilter, error) {
	size, token := k.query[pageSize], k.query[pageToken]
	delete(k.query, pageSize)
	delete(k.query, pageToken)

	parsed, err := filter.Parse(k.query, now)
	if err != nil {
		return DecisionFilter{}, err
	}
	parsed.Visible = func(repository string) bool { return k.caller.May(attestor.ActionRead, repository) }

	f := DecisionFilter{Filter: parsed, PageToken: token, PageSize: defaultPageSize}
	if err := checkPageToken(token); err != nil {
		return DecisionFilter{}, err
	}
	if size != "" {
		if f.PageSize, err = strconv.Atoi(size); err != nil || f.PageSize < 1 {
			return DecisionFilter{}, &attestor.Error{
				Kind: attestor.Invalid, Msg: "pageSize is not a positive number",
				Fix: fmt.Sprintf("send a number from 1 to %d, or leave pageSize out", maxPageSize),
			}
		}
		f.PageSize = min(f.PageSize, maxPageSize)
	}
	return f, nil
}

const maxPageToken = 1024

func checkPageToken(token string) error {
	if len(token) <= maxPageToken {
		return nil
	}
	return &attestor.Error{
		Kind: attestor.Invalid,
		Msg:  fmt.Sprintf("pageToken has %d bytes, at most %d are allowed", len(token), maxPageToken),
		Fix:  "send the nextPageToken of the previous page",
	}
}

// instant parses a parameter that is a time. "" is the zero time.
func instant(name, s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := when.ParseInstant(s, now)
	if err != nil {
		return time.Time{}, &attestor.Error{
			Kind: attestor.Invalid, Msg: name + ": " + err.Error(),
			Fix: "write it as 30d, 2026-11-01 or 2026-11-01T00:00:00Z",
		}
	}
	return t, nil
}

// showDecision answers GET /v1/decisions/{id}. A decision that the caller may not
// read is answered as one that does not exist: a 403 would confirm its id.
func (s *Server) showDecision(k *call) error {
	r, err := s.readable(k)
	if err != nil {
		return err
	}
	return s.answerDecision(k, http.StatusOK, r.Decision)
}

// showDecisionPolicy answers GET /v1/decisions/{id}/policy with the text that the
// image was judged by, whichever is in force now.
func (s *Server) showDecisionPolicy(k *call) error {
	r, err := s.readable(k)
	if err != nil {
		return err
	}
	if l := r.Decision.Log; l != nil && l.Changed != "" {
		return &attestor.Error{
			Kind: attestor.NotFound, Msg: "the record of this decision was changed, so that its policy is not known",
			Fix: "GET /v1/decisions/" + r.Decision.ID + " says what was changed; attestor decisions verify finds " +
				"what else was",
		}
	}
	if r.Decision.Policy == nil || len(r.PolicyText) == 0 {
		return &attestor.Error{
			Kind: attestor.NotFound, Msg: "this decision was made without a policy",
			Fix: "GET /v1/decisions/" + r.Decision.ID + " has the reason",
		}
	}

	return s.answer(k, http.StatusOK, struct {
		attestor.PolicyRef
		Text string `json:"text"`
	}{*r.Decision.Policy, string(r.PolicyText)})
}

// showRevocation answers GET /v1/revocations/{id}, of an image that the caller may
// read as showDecision does.
func (s *Server) showRevocation(k *call) error {
	r, err := s.c.Decisions.Revocation(k.ctx, k.Param("id"))
	if err != nil {
		return err
	}
	if !k.caller.May(attestor.ActionRead, r.Image.Repository()) {
		return &attestor.Error{Kind: attestor.NotFound, Msg: "no such revocation"}
	}
	return s.answer(k, http.StatusOK, r)
}

// readable returns the record of the path, if the caller may read it.
func (s *Server) readable(k *call) (attestor.Record, error) {
	r, err := s.c.Decisions.Decision(k.ctx, k.Param("id"))
	if err != nil {
		return attestor.Record{}, err
	}
	if !k.mayRead(r.Decision) {
		return attestor.Record{}, &attestor.Error{
			Kind: attestor.NotFound, Msg: "no such decision",
			Fix: "list the recorded decisions with attestor decisions list",
		}
	}
	return r, nil
}

// mayRead reports whether the caller may read a decision. It is false where the
// decision's reference cannot be parsed.
func (k *call) mayRead(d attestor.Decision) bool {
	ref, err := attestor.ParseReference(d.Image.Reference)
	return err == nil && k.caller.May(attestor.ActionRead, ref.Repository())
}
