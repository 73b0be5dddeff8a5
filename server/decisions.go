package server

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/attestor-gate/attestor"
)

// Decisions are what was decided before.
type Decisions interface {
	// Decision returns one record, or an [attestor.Error] of kind NotFound.
	Decision(ctx context.Context, id string) (attestor.Record, error)
	// List returns decisions that match, newest first. A token that it did not
	// give out is an [attestor.Error] of kind Invalid.
	List(ctx context.Context, f DecisionFilter) (DecisionPage, error)
}

// A DecisionFilter says which decisions are wanted. Zero fields match all.
type DecisionFilter struct {
	Image      attestor.Reference // by digest or tag, as it was asked about; zero: any
	Repository string             // canonical
	Verdict    attestor.Outcome
	Policy     string
	Since      time.Time // inclusive
	Until      time.Time // exclusive
	PageSize   int       // 1 to 500
	PageToken  string
}

// A DecisionPage is part of a list. NextPageToken is empty on the last.
type DecisionPage struct {
	Decisions     []attestor.Decision `json:"decisions"`
	NextPageToken string              `json:"nextPageToken,omitempty"`
}

const defaultPageSize, maxPageSize = 50, 500

func decisionQuery() []string {
	return []string{"image", "repository", "verdict", "policy", "since", "until", "pageSize", "pageToken"}
}

// listDecisions answers GET /v1/decisions. A page may hold fewer than asked
// for, since what the caller may not read is left out.
func (s *Server) listDecisions(k *call) error {
	filter, err := k.decisionFilter()
	if err != nil {
		return err
	}
	page, err := s.c.Decisions.List(k.ctx, filter)
	if err != nil {
		return err
	}
	out := DecisionPage{Decisions: []attestor.Decision{}, NextPageToken: page.NextPageToken}
	for _, d := range page.Decisions {
		if k.mayRead(d) {
			out.Decisions = append(out.Decisions, d)
		}
	}
	return s.answer(k, http.StatusOK, out)
}

func (k *call) decisionFilter() (f DecisionFilter, err error) {
	invalid := func(msg string) (DecisionFilter, error) {
		return DecisionFilter{}, &attestor.Error{Kind: attestor.Invalid, Msg: msg}
	}
	f = DecisionFilter{Repository: k.query["repository"], Policy: k.query["policy"], PageToken: k.query["pageToken"], PageSize: defaultPageSize}
	if s := k.query["image"]; s != "" {
		if f.Image, err = attestor.ParseReference(s); err != nil {
			return DecisionFilter{}, err
		}
	}
	if f.Repository != "" {
		ref, err := attestor.ParseReference(f.Repository + ":latest") // canonical, as records are
		if err != nil {
			return invalid("repository is not a registry and a path, such as us-docker.pkg.dev/project/repository/image")
		}
		f.Repository = ref.Repository()
	}
	switch v := attestor.Outcome(k.query["verdict"]); v {
	case "", attestor.Pass, attestor.Deny, attestor.Undecided:
		f.Verdict = v
	default:
		return invalid("verdict is not one of pass, deny, error")
	}
	if f.Since, err = instant(k.query["since"]); err != nil {
		return invalid("since is not a time: want RFC 3339, such as 2026-03-01T00:00:00Z, or a date")
	}
	if f.Until, err = instant(k.query["until"]); err != nil {
		return invalid("until is not a time: want RFC 3339, such as 2026-03-01T00:00:00Z, or a date")
	}
	if s := k.query["pageSize"]; s != "" {
		if f.PageSize, err = strconv.Atoi(s); err != nil || f.PageSize < 1 {
			return invalid("pageSize is not a positive number")
		}
		f.PageSize = min(f.PageSize, maxPageSize)
	}
	return f, nil
}

// instant parses RFC 3339 or a date (its beginning, UTC); "" is the zero time.
func instant(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t, nil
	}
	return time.Parse(time.RFC3339, s)
}

// showDecision answers GET /v1/decisions/{id}. What the caller may not read
// does not exist for them.
func (s *Server) showDecision(k *call) error {
	r, err := s.c.Decisions.Decision(k.ctx, k.Param("id"))
	if err != nil {
		return err
	}
	if !k.mayRead(r.Decision) {
		return &attestor.Error{Kind: attestor.NotFound, Msg: "no such decision"}
	}
	return s.answer(k, http.StatusOK, r.Decision)
}

// mayRead fails closed on a record whose reference cannot be read.
func (k *call) mayRead(d attestor.Decision) bool {
	ref, err := attestor.ParseReference(d.Image.Reference)
	return err == nil && k.caller.May(attestor.ActionRead, ref.Repository())
}
