package engine

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit/pages"
	"github.com/attestor-gate/attestor/internal/when"
	"github.com/attestor-gate/attestor/server"
)

// simulatedPeriod is what a simulation of the page covers where its reader names no beginning.
const simulatedPeriod = "7d"

// simulate judges recorded decisions by a policy in force, by GET, or by a text, by POST. It changes nothing.
func (p *pageHandler) simulate(b *bytes.Buffer, r *http.Request, _ func(string) bool) error {
	view := pages.Simulate{Policies: p.policyNames()}
	asked, err := p.simulated(r, &view)
	if err == nil && asked {
		view.Result, err = p.runSimulation(r, view)
	}

	// What was typed stays in the form, beside what is wrong with it.
	if err := beside(err, &view.Problem, &view.Fix); err != nil {
		return err
	}
	if err := p.render.Simulate(b, view); err != nil {
		return err
	}
	return invalidPage(view.Problem)
}

// simulated reads what is asked for into the view, and whether anything is.
func (p *pageHandler) simulated(r *http.Request, view *pages.Simulate) (asked bool, err error) {
	// A policy's text may be too long for an address: it is posted.
	values := r.URL.Query()
	if r.Method == http.MethodPost {
		// A browser says where a form comes from. Another site's can change nothing here, and shall not cost anything
		// either.
		if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
			return false, &attestor.Error{
				Kind: attestor.Forbidden, Msg: "this form was sent by another site",
				Fix: "open /simulate and send its own form",
			}
		}
		var body bytes.Buffer
		if _, err := body.ReadFrom(r.Body); err != nil {
			return false, fmt.Errorf("reading the form: %w", err)
		}
		if values, err = url.ParseQuery(body.String()); err != nil {
			return false, &attestor.Error{Kind: attestor.Invalid, Msg: "the form is malformed", Err: err}
		}
		view.Text = values.Get("text")
	}

	view.Since, view.Chosen = strings.TrimSpace(values.Get("since")), values.Get("policy")
	switch {
	case r.Method == http.MethodPost && strings.TrimSpace(view.Text) == "":
		return false, &attestor.Error{Kind: attestor.Invalid, Msg: "the policy is empty",
			Fix: "paste the text of a GatePolicy"}
	case r.Method == http.MethodPost:
		// The text of the form is judged, not a policy in force that was chosen before.
		view.Chosen = ""
		return true, nil
	case view.Chosen == "":
		return false, nil
	}

	for _, pol := range p.engine.Policies.Set().All() {
		if pol.Ref().Name == view.Chosen {
			view.Text = string(pol.Text())
			return true, nil
		}
	}
	return false, &attestor.Error{Kind: attestor.Invalid, Msg: "policy: no policy in force has this name",
		Fix: "choose one of the list"}
}

// runSimulation judges the record by the view's text, of repositories on which the caller may simulate.
func (p *pageHandler) runSimulation(r *http.Request, view pages.Simulate) (*pages.Simulation, error) {
	caller := server.CallerFrom(r.Context())
	if !caller.MayAnywhere(attestor.ActionSimulate) {
		return nil, &attestor.Error{
			Kind: attestor.Forbidden, Msg: "this identity lacks the right simulate",
			Fix: "ask an administrator of the gate to grant simulate under identity.callers",
		}
	}

	// The record may be years long.
	period := view.Since
	if period == "" {
		period = simulatedPeriod
	}
	since, err := when.ParseInstant(period, time.Now())
	if err != nil {
		return nil, &attestor.Error{
			Kind: attestor.Invalid, Msg: "since: " + err.Error(), Fix: "write it as 7d, 2026-11-01 or " +
				"2026-11-01T00:00:00Z",
		}
	}

	// The page links to decisions: it shows none that the caller may simulate and not read.
	got, err := simulator{p.engine.Store}.Simulate(r.Context(), server.SimulationRequest{
		Policy: []byte(view.Text), Since: since, PageSize: p.judged,
		Visible: func(repository string) bool {
			return caller.May(attestor.ActionSimulate, repository) && caller.May(attestor.ActionRead, repository)
		},
	})
	if err != nil {
		return nil, err
	}
	return &pages.Simulation{
		Policy: got.Policy, Judged: got.Judged, Before: got.Counts.Before, After: got.Counts.After, Flips: got.Flips,
		Upcoming: got.Upcoming, Left: got.NextPageToken != "", Reached: got.Reached,
	}, nil
}
