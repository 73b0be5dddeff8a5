package engine

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/audit/pages"
	"github.com/attestor-gate/attestor/internal/filter"
	"github.com/attestor-gate/attestor/report"
	"github.com/attestor-gate/attestor/server"
)

const (
	pageRecent   = 10
	pageSize     = 50
	pageRows     = 1000 // images on the report's page; its downloads have all
	pageJudged   = 5000 // decisions of a simulation; the command and the API judge all
	pageOverview = 7 * 24 * time.Hour
	pageReport   = 30 * 24 * time.Hour
)

// newPages serves the record to people who may read it: server-rendered, no
// session, nothing that changes anything.
func newPages(e *Engine) (site http.Handler, problem func(http.ResponseWriter, server.Problem) error, err error) {
	return newPagesOf(e, pageJudged)
}

// newPagesOf is newPages with so many decisions of a simulation.
func newPagesOf(
	e *Engine, judged int,
) (site http.Handler, problem func(http.ResponseWriter, server.Problem) error, err error) {
	r, err := pages.New()
	if err != nil {
		return nil, nil, err
	}

	// Pages of the report and of images are kept for all who may read the same.
	p := &pageHandler{engine: e, render: r, judged: judged, kept: pages.NewKept[summaryKey, report.Summary](time.Now)}
	p.keptImages = pages.NewKept[imagesKey, imagesPage](time.Now)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.page(p.overview))
	mux.HandleFunc("GET /decisions", p.page(p.decisions))
	mux.HandleFunc("GET /decisions/{id}", p.page(p.decision))
	mux.HandleFunc("GET /decisions/{id}/proof", p.proof)
	mux.HandleFunc("GET /revocations/{id}", p.page(p.revocation))
	mux.HandleFunc("GET /images", p.page(p.images))
	mux.HandleFunc("GET /images/{name...}", p.imageOrList)
	mux.HandleFunc("GET /reasons", p.page(p.reasons))
	mux.HandleFunc("GET /simulate", p.page(p.simulate))
	mux.HandleFunc("POST /simulate", p.page(p.simulate))
	mux.HandleFunc("GET /report", p.reportOrDownload)
	mux.HandleFunc("GET /policies", p.page(p.policies))
	mux.HandleFunc("GET /bases", p.page(p.bases))
	return mux, p.problem, nil
}

type pageHandler struct {
	engine *Engine
	render *pages.Renderer
	judged int // decisions of a simulation
	kept   *pages.Kept[summaryKey, report.Summary]

	keptImages *pages.Kept[imagesKey, imagesPage]
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
		err := f(&b, r, visible)

		// A page that says what is wrong with its form is complete, unlike an error's.
		if errors.Is(err, errInvalidPage) {
			status = http.StatusBadRequest
		} else if err != nil {
			status = pageStatus(err)
			b.Reset()
			if err := p.render.Problem(&b, pages.Trouble{Status: status, Detail: attestor.Message(err),
				Fix: fixOf(err)}); err != nil {
				http.Error(w, http.StatusText(status), status)
				return
			}
		}

		answerPage(w, status, b.Bytes())
	}
}

func answerPage(w http.ResponseWriter, status int, text []byte) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", pages.CSP())
	w.WriteHeader(status)
	_, _ = w.Write(text) // the client is gone
}

// problem answers with a problem of the server's as a page. It says no more than the server's JSON does.
func (p *pageHandler) problem(w http.ResponseWriter, problem server.Problem) error {
	var b bytes.Buffer
	err := p.render.Problem(&b, pages.Trouble{
		Status: problem.Status, Detail: problem.Detail, Fix: problem.Fix, RequestID: problem.RequestID,
	})
	if err != nil {
		http.Error(w, problem.Title, problem.Status)
		return err
	}
	answerPage(w, problem.Status, b.Bytes())
	return nil
}

// errInvalidPage is the error of a page that was rendered and says itself what is
// wrong with the request.
var errInvalidPage = errors.New("the page says what is wrong")

func invalidPage(problem string) error {
	if problem == "" {
		return nil
	}
	return errInvalidPage
}

// beside has a form say what is wrong with what was typed into it. Any other error is the page's.
func beside(err error, problem, fix *string) error {
	if err == nil {
		return nil
	}
	if attestor.KindOf(err) != attestor.Invalid {
		return err
	}

	*problem, *fix = attestor.Message(err), fixOf(err)
	return nil
}

// fixOf is what to do about an error, or "".
func fixOf(err error) string {
	if e, ok := errors.AsType[*attestor.Error](err); ok {
		return e.Fix
	}
	return ""
}

func pageStatus(err error) int {
	switch attestor.KindOf(err) {
	case attestor.Invalid:
		return http.StatusBadRequest
	case attestor.Forbidden:
		return http.StatusForbidden
	case attestor.NotFound:
		return http.StatusNotFound
	case attestor.Unsupported:
		return http.StatusNotImplemented
	case attestor.Unavailable, attestor.Upstream:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// summaryKey names a summary and what it may show.
type summaryKey struct {
	readable string // the patterns that a caller may read: who may read the same shares the summary
	filter   string // its fingerprint
	owner    string // "" for all
	period   time.Duration
}

// readable are the patterns of the repositories that a caller may read, in a fixed order.
// [attestor.Caller.May] depends on nothing else.
func readable(caller attestor.Caller) string {
	var out []string
	for _, g := range caller.Grants {
		if !slices.Contains(g.Actions, attestor.ActionRead) {
			continue
		}
		for _, p := range g.Images {
			out = append(out, p.String())
		}
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), "\n")
}

// summaryFor bounds the work on a summary. It goes on when who asked first is gone:
// others may wait for it.
const summaryFor = time.Minute

// summary sums up the decisions of a filter. Where the filter has no beginning it
// gets one, the period before its end. An owner selects the images whose newest decision names it; "" selects all.
func (p *pageHandler) summary(
	r *http.Request, f filter.Filter, owner string, period time.Duration,
) (report.Summary, error) {
	caller := server.CallerFrom(r.Context())
	key := summaryKey{readable(caller), f.Fingerprint(), owner, period}

	// A newer decision makes what is kept old.
	changed := func() (string, error) { return p.engine.Store.Version(audit.MayLag(r.Context())) }

	f = unrestricted(caller, f)
	return p.kept.Get(key, changed, func() (report.Summary, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), summaryFor)
		defer cancel()
		now := time.Now()
		o := report.SummaryOptions{Now: now, MaxRows: pageRows}

		// An exception is unused only where no image of any repository used it: a report about some says nothing of
		// that.
		if owner != "" {
			return ownerSummary(ctx, p.engine.Store, sincePeriod(f, period, now), owner, o)
		}
		if audit.Summable(f) && f.Repository == "" && caller.MayEverywhere(attestor.ActionRead) {
			o.InForce = p.exceptionsInForce()
		}
		return Summarise(ctx, p.engine.Store, sincePeriod(f, period, now), o)
	})
}

// unrestricted leaves out the question what a caller may read who may read everything: sums over all repositories then
// answer at once, where those of each repository take seconds. For anybody else the question stays.
func unrestricted(caller attestor.Caller, f filter.Filter) filter.Filter {
	if caller.MayEverywhere(attestor.ActionRead) {
		f.Visible = nil
	}
	return f
}

func (p *pageHandler) overview(b *bytes.Buffer, r *http.Request, visible func(string) bool) error {
	s, err := p.summary(r, filter.Filter{Visible: visible}, "", pageOverview)
	if err != nil {
		return err
	}

	recent, err := p.engine.Store.List(audit.MayLag(r.Context()), audit.Filter{Visible: visible}, pageRecent, "")
	if err != nil {
		return err
	}

	now := time.Now()
	o := pages.Overview{
		Figures: s.Figures(), Recent: recent.Decisions,
		Since: sinceText(sincePeriod(filter.Filter{}, pageOverview, now)), Now: now,
	}
	if err := p.engine.Policies.Err(); err != nil {
		o.Alarms = append(o.Alarms, "A policy on disk does not load; the one from before is in force: "+err.Error())
	}

	return p.render.Overview(b, o)
}

func (p *pageHandler) decisions(b *bytes.Buffer, r *http.Request, visible func(string) bool) error {
	search := searched(r)
	view := pages.Decisions{Search: search, Policies: p.policyNames()}

	f, err := filter.Parse(search, time.Now())
	if err == nil {
		f.Visible, view.Remark = visible, f.Remark()
		var page audit.Page
		page, err = p.engine.Store.List(audit.MayLag(r.Context()), f, pageSize, r.URL.Query().Get("pageToken"))
		view.Page, view.Next = page.Decisions, page.Next
		if err == nil {
			view.Total, view.Exact = p.count(r, f, page)
		}
	}

	// What was typed stays in the form, beside what is wrong with it. The status says
	// so too: a list that is refused must not read as an empty one.
	if err := beside(err, &view.Problem, &view.Fix); err != nil {
		return err
	}
	if err := p.render.Decisions(b, view); err != nil {
		return err
	}
	return invalidPage(view.Problem)
}

// maxCounted is how many decisions are counted one by one, and countFor for how long sums are read.
const (
	maxCounted = 1000
	countFor   = time.Second
)

// count is the number of decisions of a filter, exact or at least so many; -1 where it is not known. The page is one of
// its list.
func (p *pageHandler) count(r *http.Request, f filter.Filter, page audit.Page) (total int, exact bool) {
	// The first page holds the whole list.
	if page.Next == "" && r.URL.Query().Get("pageToken") == "" {
		return len(page.Decisions), true
	}
	ctx, cancel := context.WithTimeout(audit.MayLag(r.Context()), countFor)
	defer cancel()

	// A count is no more than a help: where it cannot be had the list is shown without it.
	f = unrestricted(server.CallerFrom(r.Context()), f)
	if audit.Countable(f) {
		for c, err := range p.engine.Store.Days(ctx, f) {
			if err != nil {
				return -1, false
			}
			total += c.Decisions
		}
		return total, true
	}
	if total, exact, err := p.engine.Store.CountUpTo(ctx, f, maxCounted); err == nil {
		return total, exact
	}
	return -1, false
}

// searched are the filters of a page's address. A form sends the fields that were
// left empty too: they select nothing.
func searched(r *http.Request) map[string]string {
	out := map[string]string{}
	for name := range r.URL.Query() {
		if v := strings.TrimSpace(r.URL.Query().Get(name)); v != "" && name != "pageToken" && name != "format" &&
			name != "page" {
			out[name] = v
		}
	}
	return out
}

func (p *pageHandler) policyNames() []string {
	var out []string
	for _, pol := range p.engine.Policies.Set().All() {
		out = append(out, pol.Ref().Name)
	}
	return out
}

func (p *pageHandler) policies(b *bytes.Buffer, r *http.Request, _ func(string) bool) error {
	var list []pages.Policy
	for _, pol := range (policies{p.engine.Policies}).All() {
		list = append(list, pages.Policy{Ref: pol.PolicyRef, Images: pol.Images, Text: pol.Text})
	}
	if err := p.engine.Policies.Err(); err != nil && len(list) > 0 {
		list[0].Problem = err.Error()
	}

	// The changes are about all images: only a caller who may read everything sees them.
	var changes []attestor.PolicyChange
	if !server.CallerFrom(r.Context()).MayEverywhere(attestor.ActionRead) {
		return p.render.Policies(b, list, nil)
	}

	// Newest first: what is older than the page shows is not read.
	for c, err := range p.engine.Store.PolicyChanges(r.Context()) {
		if attestor.KindOf(err) == attestor.Unsupported {
			break // nothing is recorded
		}
		if err != nil {
			return err
		}
		if changes = append(changes, c); len(changes) == pages.PolicyChanges {
			break
		}
	}
	return p.render.Policies(b, list, changes)
}

// bases joins what policies approve with what tags were seen to name.
func (p *pageHandler) bases(b *bytes.Buffer, r *http.Request, _ func(string) bool) error {
	var list []pages.Base
	for _, pol := range p.engine.Policies.Set().All() {
		for _, base := range pol.Needs().Bases {
			// Policies may approve the same base: it is shown once, with all of them.
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
