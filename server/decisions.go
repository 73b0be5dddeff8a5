package server

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/when"
)

// Decisions are what was decided before.
type Decisions interface {
	// Decision returns one record, or an [attestor.Error] of kind NotFound.
	Decision(ctx context.Context, id string) (attestor.Record, error)
	// List returns decisions that match, newest first, each once over all pages of
	// a list, however many decisions are made and however far the clock moves
	// between two pages. Decisions made after the first page are not in the list. A
	// token that it did not give out, or gave out for another filter, is an
	// [attestor.Error] of kind Invalid.
	List(ctx context.Context, f DecisionFilter) (DecisionPage, error)
}

// A DecisionFilter says which decisions are wanted. Zero fields match all.
type DecisionFilter struct {
	Image      string // REPOSITORY@DIGEST, a bare digest (of an index's child too), or REPOSITORY:TAG as it was asked about
	Repository string // canonical, or a pattern
	Verdict    attestor.Outcome
	Policy     string    // a name, or a digest
	Since      time.Time // inclusive
	Until      time.Time // exclusive
	// Period is how Since and Until were written where either was reckoned from
	// the clock ("30d"). Pages after the first then keep the first page's Since and
	// Until, and a token is bound to Period in their place. "": both are fixed.
	Period     string
	PageSize   int // 1 to 500
	PageToken  string
	BreakGlass bool // only those that were overridden

	// Visible hides what the caller may not read; never nil.
	Visible func(repository string) bool
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
	filter, err := k.decisionFilter(s.c.Now())
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

func (k *call) decisionFilter(now time.Time) (f DecisionFilter, err error) {
	invalid := func(msg string) (DecisionFilter, error) {
		return DecisionFilter{}, &attestor.Error{Kind: attestor.Invalid, Msg: msg}
	}
	f = DecisionFilter{
		Image: k.query["image"], Policy: k.query["policy"], PageToken: k.query["pageToken"], PageSize: defaultPageSize,
		Visible: func(repository string) bool { return k.caller.May(attestor.ActionRead, repository) },
	}
	if strings.HasPrefix(f.Image, "sha256:") {
		if _, err := attestor.ParseDigest(f.Image); err != nil {
			return DecisionFilter{}, err
		}
	} else if f.Image != "" {
		if _, err := attestor.ParseReference(f.Image); err != nil {
			return DecisionFilter{}, err
		}
	}
	if f.Repository, err = repositoryOrPattern(k.query["repository"]); err != nil {
		return DecisionFilter{}, err
	}
	switch v := attestor.Outcome(k.query["verdict"]); v {
	case "", attestor.Pass, attestor.Deny, attestor.Undecided:
		f.Verdict = v
	default:
		return invalid("verdict is not one of pass, deny, error")
	}
	if len(f.Policy) > maxPolicyName || len(f.PageToken) > maxPageToken {
		return invalid("policy or pageToken is too long")
	}
	if f.Since, err = instant("since", k.query["since"], now); err != nil {
		return DecisionFilter{}, err
	}
	if f.Until, err = instant("until", k.query["until"], now); err != nil {
		return DecisionFilter{}, err
	}

	// What was written is the same on every page; the instant that is reckoned
	// from it is not.
	f.Period = period(k.query["since"], k.query["until"])

	if s := k.query["pageSize"]; s != "" {
		if f.PageSize, err = strconv.Atoi(s); err != nil || f.PageSize < 1 {
			return invalid("pageSize is not a positive number")
		}
		f.PageSize = min(f.PageSize, maxPageSize)
	}
	return f, nil
}

// period is what a list's tokens are bound to in place of its instants.
func period(since, until string) string {
	if since == "" && until == "" {
		return ""
	}
	return "since=" + since + "&until=" + until
}

// repositoryOrPattern returns the canonical name of a repository, or a pattern
// as it stands.
func repositoryOrPattern(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	if strings.Contains(s, "*") {
		p, err := attestor.ParsePattern(s)
		return p.String(), err
	}
	ref, err := attestor.ParseReference(s + ":latest")
	if err != nil || strings.ContainsAny(s, "@") {
		return "", &attestor.Error{Kind: attestor.Invalid, Msg: "repository is not a registry and a path, such as us-docker.pkg.dev/project/repository/image"}
	}
	return ref.Repository(), nil
}

const maxPageToken = 1024

// instant parses a time as the API takes it. "" is the zero time.
func instant(name, s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := when.ParseInstant(s, now)
	if err != nil {
		return time.Time{}, &attestor.Error{Kind: attestor.Invalid, Msg: name + ": " + err.Error()}
	}
	return t, nil
}

// showDecision answers GET /v1/decisions/{id}. What the caller may not read
// does not exist for them.
func (s *Server) showDecision(k *call) error {
	r, err := s.readable(k)
	if err != nil {
		return err
	}
	return s.answer(k, http.StatusOK, r.Decision)
}

// showDecisionPolicy answers GET /v1/decisions/{id}/policy: the text that
// judged, whatever is in force now.
func (s *Server) showDecisionPolicy(k *call) error {
	r, err := s.readable(k)
	if err != nil {
		return err
	}
	if r.Decision.Policy == nil || len(r.PolicyText) == 0 {
		return &attestor.Error{Kind: attestor.NotFound, Msg: "no policy judged this decision"}
	}
	return s.answer(k, http.StatusOK, struct {
		attestor.PolicyRef
		Text string `json:"text"`
	}{*r.Decision.Policy, string(r.PolicyText)})
}

func (s *Server) readable(k *call) (attestor.Record, error) {
	r, err := s.c.Decisions.Decision(k.ctx, k.Param("id"))
	if err != nil {
		return attestor.Record{}, err
	}
	if !k.mayRead(r.Decision) {
		return attestor.Record{}, &attestor.Error{Kind: attestor.NotFound, Msg: "no such decision"}
	}
	return r, nil
}

// mayRead fails closed on a record whose reference cannot be read.
func (k *call) mayRead(d attestor.Decision) bool {
	ref, err := attestor.ParseReference(d.Image.Reference)
	return err == nil && k.caller.May(attestor.ActionRead, ref.Repository())
}
