package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/filter"
	"github.com/attestor-gate/attestor/internal/tally"
	"github.com/attestor-gate/attestor/report"
	"github.com/attestor-gate/attestor/server"
)

// reportOrDownload answers with the report, or with the decisions that it is about as
// a file.
func (p *pageHandler) reportOrDownload(w http.ResponseWriter, r *http.Request) {
	format := r.URL.Query().Get("format")
	if format == "" {
		p.page(p.report)(w, r)
		return
	}

	// What can be wrong with the request is said on a page, before the file begins.
	var download func() error
	p.checked(w, r, func(visible func(string) bool) (err error) {
		download, err = p.download(w, r, format, visible)
		return err
	})
	if download == nil {
		return
	}

	// A file that lacks its end must not look whole: the connection is cut.
	if err := download(); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// checked renders a page of an error, and nothing without one.
func (p *pageHandler) checked(w http.ResponseWriter, r *http.Request, f func(visible func(string) bool) error) {
	caller := server.CallerFrom(r.Context())
	err := f(func(repository string) bool { return caller.May(attestor.ActionRead, repository) })
	if err != nil {
		p.page(func(*bytes.Buffer, *http.Request, func(string) bool) error { return err })(w, r)
	}
}

// maxSARIF is how many images that do not pass a SARIF file has: code scanning shows no more than 5,000 results.
const maxSARIF = 2000

// download returns what writes a report as a file. What can be wrong with the request is an error before it.
func (p *pageHandler) download(
	w http.ResponseWriter, r *http.Request, format string, visible func(string) bool,
) (func() error, error) {
	encoding, err := report.Find(format, report.OfRecord)
	if err != nil || !slices.Contains([]report.Format{report.CSV, report.NDJSON, report.JSON, report.SARIF},
		encoding.Format) {
		return nil, &attestor.Error{
			Kind: attestor.Invalid, Msg: "format: it is not csv, ndjson, json or sarif",
			Fix: "use one of these, or leave it out for the page",
		}
	}
	owner, search := ownerOf(searched(r))
	f, err := filter.Parse(search, time.Now())
	if err != nil {
		return nil, err
	}
	f.Visible = visible

	var d report.Document
	failed := func() error { return nil }
	switch encoding.Format {
	case report.JSON:
		s, err := p.summary(r, f, owner, pageReport)
		if err != nil {
			return nil, err
		}
		d = report.Record(s)
	case report.SARIF:
		ds, err := p.notPassing(r.Context(), sincePeriod(f, pageReport, time.Now()), owner)
		if err != nil {
			return nil, err
		}
		d = report.RecordList(ds, nil, nil)
	default:
		// The period of the page, so that the file has what the page counts.
		f, _ = wholeDays(sincePeriod(f, pageReport, time.Now()))
		if owner != "" {
			d,
				failed = report.RecordStream(p.newest(r.Context(), f,
				func(r tally.Row) bool { return ownedBy(r, owner) }))
			break
		}
		d, failed = report.RecordStream(p.engine.Store.Decisions(audit.MayLag(r.Context()), f))
	}

	return func() error {
		w.Header().Set("Content-Type", encoding.ContentType)
		w.Header().Set("Content-Disposition", `attachment; filename="attestor-report.`+format+`"`)
		return errors.Join(encoding.Write(w, d, report.Options{Version: p.engine.o.Version}), failed())
	}, nil
}

// notPassing are the newest decisions on the images of an owner, or of all, that do not pass.
func (p *pageHandler) notPassing(ctx context.Context, f filter.Filter, owner string) ([]attestor.Decision, error) {
	// The lines are small: how many there are is known before a decision is read.
	open := func(r tally.Row) bool { return r.Verdict != attestor.Pass && ownedBy(r, owner) }

	// First only counted, and no further than the lines go.
	n := 0
	for l, err := range lines(ctx, p.engine.Store, f, open) {
		if err != nil {
			return nil, err
		}
		if open(l.Row) {
			n++
		}
	}
	if n > maxSARIF {
		return nil, &attestor.Error{
			Kind: attestor.Invalid, Msg: fmt.Sprintf("%d images do not pass, and a SARIF file has at most %d", n,
				maxSARIF),
			Fix: "select repositories, an owner, a policy or a shorter period, or download CSV",
		}
	}

	out := make([]attestor.Decision, 0, n)
	for d, err := range p.newest(ctx, f, open) {
		if err != nil {
			return nil, err
		}
		if len(out) == maxSARIF {
			break // recorded since they were counted
		}
		out = append(out, d)
	}
	return out, nil
}

// newest iterates over the newest decision on each image that which selects.
func (p *pageHandler) newest(
	ctx context.Context, f filter.Filter, which func(tally.Row) bool,
) iter.Seq2[attestor.Decision, error] {
	return func(yield func(attestor.Decision, error) bool) {
		for l, err := range lines(ctx, p.engine.Store, f, which) {
			if err != nil {
				yield(attestor.Decision{}, err)
				return
			}
			if !which(l.Row) {
				continue
			}

			d, err := p.engine.Store.Decision(ctx, l.Row.ID)
			if attestor.KindOf(err) == attestor.NotFound {
				continue // pruned since
			}
			if !yield(d, err) || err != nil {
				return
			}
		}
	}
}

// ownedBy reports whether an image is of an owner; "" is all owners.
func ownedBy(r tally.Row, owner string) bool { return owner == "" || tally.Part(r.By()) == owner }

// ownerSummary sums up the images of one owner. Decisions by day are not known by owner, and so are not among it.
func ownerSummary(
	ctx context.Context, s *audit.Store, f filter.Filter, owner string, o report.SummaryOptions,
) (report.Summary, error) {
	ctx = audit.MayLag(ctx)

	// The lines come first, and say which images are the owner's.
	mine := map[string]bool{}
	of := func(decisions iter.Seq2[attestor.Decision, error]) iter.Seq2[attestor.Decision, error] {
		return func(yield func(attestor.Decision, error) bool) {
			for d, err := range decisions {
				if (err != nil || mine[describe.Name(d)]) && !yield(d, err) {
					return
				}
			}
		}
	}

	overridden, revoked := f, f
	overridden.BreakGlass, revoked.Revoked = true, true
	return report.Aggregate(report.Kept{
		Lines: func(yield func(tally.Line, error) bool) {
			for l, err := range lines(ctx, s, f, func(r tally.Row) bool { return ownedBy(r, owner) }) {
				if err == nil && !ownedBy(l.Row, owner) {
					continue
				}
				mine[l.Row.Image] = true
				if !yield(l, err) {
					return
				}
			}
		},
		Days:      func(func(tally.DayCount, error) bool) {},
		Overrides: of(s.Decisions(ctx, overridden)), Revoked: of(s.Decisions(ctx, revoked)),
	}, o)
}

// ownerOf takes the owner out of the search of a report.
func ownerOf(search map[string]string) (owner string, rest map[string]string) {
	rest = maps.Clone(search)
	delete(rest, "owner")
	return search["owner"], rest
}

// exceptionsInForce are those of all policies.
func (p *pageHandler) exceptionsInForce() []attestor.AppliedException {
	out := []attestor.AppliedException{}
	for _, pol := range p.engine.Policies.Set().All() {
		out = append(out, pol.Exceptions()...)
	}
	return out
}

func (p *pageHandler) report(b *bytes.Buffer, r *http.Request, visible func(string) bool) error {
	search := searched(r)

	// An owner is no filter of decisions: it is a property of an image's newest one.
	owner, rest := ownerOf(search)
	f, err := filter.Parse(rest, time.Now())
	if err != nil {
		return err
	}

	f.Visible = visible
	s, err := p.summary(r, f, owner, pageReport)
	if err != nil {
		return err
	}
	return report.Write(b, report.HTML, report.Record(s), report.Options{
		Page: true, Search: search, Policies: p.policyNames(), Since: sinceText(sincePeriod(f, pageReport, time.Now())),
		Remark: f.Remark(),
	})
}

// sinceText is the time from which a report counts, as the parameter since takes it. It is fixed, so that the lists
// that a report's numbers open begin where the report does.
func sinceText(f filter.Filter) string {
	whole, _ := wholeDays(f)
	return whole.Since.UTC().Format(time.RFC3339Nano)
}
