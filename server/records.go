package server

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/attestor-gate/attestor"
)

const (
	// maxRecordPage bounds a page of records by number: each is read by itself.
	maxRecordPage = 100
	// maxRecordBytes bounds a page of records in bytes of JSON. A single larger record is a page of its own.
	maxRecordBytes = 16 << 20
	// maxShift is how many decisions may be recorded between two looks at the same page.
	maxShift = 64
)

// A recordPage is part of a list of whole records.
type recordPage struct {
	Records       []json.RawMessage `json:"records"` // each {decision, evidence, policy}, as in an export
	NextPageToken string            `json:"nextPageToken,omitempty"`
}

// recordBody is one record, in the form of `attestor decisions export`.
type recordBody struct {
	Decision attestor.Decision `json:"decision"`
	Evidence attestor.Evidence `json:"evidence"`
	Policy   string            `json:"policy,omitempty"` // the text
}

// listRecords answers GET /v1/records: what /v1/decisions lists, with the evidence and the policy's text, so that it
// can be judged again elsewhere.
func (s *Server) listRecords(k *call) error {
	f, err := k.decisionFilter(s.c.Now())
	if err != nil {
		return err
	}
	f.PageSize = min(f.PageSize, maxRecordPage)

	page, err := s.c.Decisions.List(k.ctx, f)
	if err != nil {
		return err
	}

	out, size := recordPage{Records: []json.RawMessage{}, NextPageToken: page.NextPageToken}, 0
	for i, d := range page.Decisions {
		// The filter had Visible already. Nobody is shown a record who may not read it, even if a store ignored that.
		if !k.mayRead(d) {
			continue
		}

		body, err := s.recordOf(k, d.ID)
		switch {
		case attestor.KindOf(err) == attestor.NotFound:
			continue // pruned since it was listed
		case err != nil:
			return err
		}

		if size += len(body); len(out.Records) > 0 && size > maxRecordBytes {
			if out.NextPageToken, err = s.tokenAfter(k, f, i, page.Decisions[i-1].ID); err != nil {
				return err
			}
			break
		}
		out.Records = append(out.Records, body)
	}
	return s.answer(k, http.StatusOK, out)
}

// recordOf is one record as JSON.
func (s *Server) recordOf(k *call, id string) (json.RawMessage, error) {
	r, err := s.c.Decisions.Decision(k.ctx, id)
	if err != nil {
		return nil, err
	}
	return json.Marshal(recordBody{r.Decision, r.Evidence, string(r.PolicyText)})
}

// tokenAfter is the token of what follows the decision id, which is the n-th of the page that f asks for. Decisions
// that were recorded since then are before it, so that the page must be longer.
func (s *Server) tokenAfter(k *call, f DecisionFilter, n int, id string) (string, error) {
	for f.PageSize = n; f.PageSize < n+maxShift; f.PageSize++ {
		page, err := s.c.Decisions.List(k.ctx, f)
		if err != nil {
			return "", err
		}
		if last := len(page.Decisions) - 1; last >= 0 && page.Decisions[last].ID == id && page.NextPageToken != "" {
			return page.NextPageToken, nil
		}
	}
	return "", &attestor.Error{
		Kind: attestor.Unavailable, Msg: fmt.Sprintf("the record grows too fast to be listed: %d decisions since "+
			"this page began", maxShift),
		Fix: "ask with until, or with a smaller pageSize",
	}
}
