package engine

import (
	"bytes"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/audit/pages"
	"github.com/attestor-gate/attestor/report"
	"github.com/attestor-gate/attestor/server"
)

const (
	pageRecent   = 10
	pageSize     = 50
	pageOverview = 7 * 24 * time.Hour
	pageReport   = 30 * 24 * time.Hour
)

// newPages serves the record to people who may read it: server-rendered, no
// session, nothing that changes anything.
func newPages(e *Engine) (http.Handler, error) {
	r, err := pages.New()
	if err != nil {
		return nil, err
	}

	p := &pageHandler{engine: e, render: r, kept: pages.NewKept[summaryKey, report.Summary](time.Now)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.page(p.overview))
	mux.HandleFunc("GET /decisions", p.page(p.decisions))
	mux.HandleFunc("GET /decisions/{id}", p.page(p.decision))
	mux.HandleFunc("GET /report", p.page(p.report))
	mux.HandleFunc("GET /policies", p.page(p.policies))
	mux.HandleFunc("GET /bases", p.page(p.bases))
	return mux, nil
}

type pageHandler struct {
	engine *Engine
	render *pages.Renderer
	kept   *pages.Kept[summaryKey, report.Summary]
}

// page buffers what f renders, so that a failure half-way is a page too.
func (p *pageHandler) page(f func(b *bytes.Buffer, r *http.Request, visible func(string) bool) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		// Whatever a page shows goes through visible: nobody sees a repository that they
		// may not read.
		caller := server.CallerFrom(r.Context())
		visible := func(repository string) bool { return caller.May(attestor.ActionRead, repository) }

		status := http.StatusOK
		var b bytes.Buffer
		if err := f(&b, r, visible); err != nil {
			status = pageStatus(err)
			fix := ""
			if e, ok := errors.AsType[*attestor.Error](err); ok {
				fix = e.Fix
			}

			b.Reset()
			if err := p.render.Problem(&b, http.StatusText(status), attestor.Message(err), fix); err != nil {
				http.Error(w, http.StatusText(status), status)
				return
			}
		}

		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", pages.CSP())
		w.WriteHeader(status)
		_, _ = w.Write(b.Bytes())
	}
}

func pageStatus(err error) int {
	switch attestor.KindOf(err) {
	case attestor.Invalid:
		return http.StatusBadRequest
	case attestor.NotFound:
		return http.StatusNotFound
	case attestor.Unsupported:
		return http.StatusNotImplemented
	case attestor.Unavailable, attestor.Upstream:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// summaryKey names a summary and who may see it.
type summaryKey struct {
	issuer, subject string
	period          time.Duration
	evidence        bool
}

// summary sums up the decisions of a period, with their evidence or without.
func (p *pageHandler) summary(
	r *http.Request, visible func(string) bool, period time.Duration, evidence bool,
) (report.Summary, error) {
	caller := server.CallerFrom(r.Context())
	key := summaryKey{caller.Issuer, caller.Subject, period, evidence}
	return p.kept.Get(key, func() (report.Summary, error) {
		now := time.Now()
		filter := audit.Filter{Since: now.Add(-period), Visible: visible}
		all := report.FromDecisions(p.engine.Store.Decisions(r.Context(), filter))
		if evidence {
			all = p.engine.Store.Records(r.Context(), filter)
		}
		return report.Summarise(all, report.SummaryOptions{Now: now})
	})
}

func (p *pageHandler) overview(b *bytes.Buffer, r *http.Request, visible func(string) bool) error {
	s, err := p.summary(r, visible, pageOverview, false)
	if err != nil {
		return err
	}
	recent, err := p.engine.Store.List(r.Context(), audit.Filter{Visible: visible}, pageRecent, "")
	if err != nil {
		return err
	}
	o := pages.Overview{Figures: s.Figures(), Recent: recent.Decisions, Now: time.Now()}
	if err := p.engine.Policies.Err(); err != nil {
		o.Alarms = append(o.Alarms, "A policy on disk does not load; the one from before is in force: "+err.Error())
	}
	return p.render.Overview(b, o)
}

func (p *pageHandler) decisions(b *bytes.Buffer, r *http.Request, visible func(string) bool) error {
	q := r.URL.Query()
	view := pages.Decisions{Search: pages.Search{
		Image: q.Get("image"), Repository: q.Get("repository"), Verdict: q.Get("verdict"), Policy: q.Get("policy"),
		Since: q.Get("since"), Until: q.Get("until"), BreakGlass: q.Get("breakGlass") != "",
	}}
	for _, pol := range p.engine.Policies.Set().All() {
		view.Policies = append(view.Policies, pol.Ref().Name)
	}
	filter, err := searchFilter(view.Search)
	if err == nil {
		filter.Visible = visible
		var page audit.Page
		page, err = p.engine.Store.List(r.Context(), filter, pageSize, q.Get("pageToken"))
		view.Page, view.Next = page.Decisions, page.Next
	}
	if err != nil {
		if attestor.KindOf(err) != attestor.Invalid {
			return err
		}
		view.Problem = attestor.Message(err)
	}
	return p.render.Decisions(b, view)
}

// searchFilter reads what a person wrote into the search form.
func searchFilter(s pages.Search) (audit.Filter, error) {
	out, err := audit.ParseFilter(audit.FilterText{
		Image: strings.TrimSpace(s.Image), Repository: strings.TrimSpace(s.Repository),
		Verdict: s.Verdict, Policy: s.Policy, Since: s.Since, Until: s.Until,
	}, time.Now())
	if err != nil {
		return out, err
	}

	// The link to the next page carries what was written, not the instant that was
	// reckoned from it.
	if s.Since != "" || s.Until != "" {
		out.Period = "since=" + s.Since + "&until=" + s.Until
	}
	out.BreakGlass = s.BreakGlass
	return out, nil
}

func (p *pageHandler) decision(b *bytes.Buffer, r *http.Request, visible func(string) bool) error {
	id, err := url.PathUnescape(r.PathValue("id"))
	if err != nil {
		return &attestor.Error{Kind: attestor.NotFound, Msg: "no such decision"}
	}
	rec, err := p.engine.Store.Record(r.Context(), id)
	if err != nil {
		return err
	}

	// One that the caller may not read is answered as one that does not exist.
	ref, err := attestor.ParseReference(rec.Decision.Image.Reference)
	if err != nil || !visible(ref.Repository()) {
		return &attestor.Error{Kind: attestor.NotFound, Msg: "no such decision"}
	}
	return p.render.Decision(b, rec)
}

func (p *pageHandler) report(b *bytes.Buffer, r *http.Request, visible func(string) bool) error {
	s, err := p.summary(r, visible, pageReport, true)
	if err != nil {
		return err
	}
	return report.Write(b, report.HTML, report.Record(s, nil), report.Options{Page: true})
}

func (p *pageHandler) policies(b *bytes.Buffer, _ *http.Request, _ func(string) bool) error {
	var list []pages.Policy
	for _, pol := range (policies{p.engine.Policies}).All() {
		list = append(list, pages.Policy{Ref: pol.PolicyRef, Images: pol.Images, Text: pol.Text})
	}
	if err := p.engine.Policies.Err(); err != nil && len(list) > 0 {
		list[0].Problem = err.Error()
	}
	return p.render.Policies(b, list)
}

// bases joins what policies approve with what tags were seen to name.
func (p *pageHandler) bases(b *bytes.Buffer, r *http.Request, _ func(string) bool) error {
	var list []pages.Base
	for _, pol := range p.engine.Policies.Set().All() {
		for _, base := range pol.Needs().Bases {
			known := false
			for i := range list {
				if list[i].Name == base.Name && list[i].Repository == base.Repository {
					list[i].Policies, known = append(list[i].Policies, pol.Ref().Name), true
				}
			}
			if known {
				continue
			}
			entry := pages.Base{ApprovedBase: base, Policies: []string{pol.Ref().Name}}
			for _, tag := range base.Tags {
				history, err := p.engine.Store.TagHistory(r.Context(), base.Repository, tag)
				if err != nil {
					return err
				}
				slices.Reverse(history) // the page shows the newest first
				entry.Tags = append(entry.Tags, pages.Tag{Name: tag, History: history})
			}
			list = append(list, entry)
		}
	}
	return p.render.Bases(b, list)
}
