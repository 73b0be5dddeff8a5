package engine

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/audit/pages"
	"github.com/attestor-gate/attestor/internal/filter"
	"github.com/attestor-gate/attestor/internal/tally"
	"github.com/attestor-gate/attestor/server"
)

const (
	maxImagesPage = 10_000 // its number
	imageSteps    = 50     // decisions on the page of an image
)

// A lineFilter selects images by what their newest decision says. Its fields are [filter.ImageNames].
type lineFilter struct {
	newest, because, fix, only, owner, base, outdated, override, exception, later string
}

// parseLines takes the parameters of a lineFilter out of a search.
func parseLines(search map[string]string) (lineFilter, map[string]string, error) {
	l := lineFilter{
		newest: search["newest"], because: strings.ToUpper(search["because"]), fix: search["fix"],
		owner: search["owner"],
		base:  search["base"], outdated: search["outdated"], override: search["broken"], exception: search["exception"],
		only: search["only"], later: search["later"],
	}
	rest := maps.Clone(search)
	for _, name := range filter.ImageNames() {
		delete(rest, name)
	}

	invalid := func(name, allowed string) error {
		return &attestor.Error{Kind: attestor.Invalid, Msg: name + ": it has another value than those allowed",
			Fix: "use " + allowed}
	}
	switch {
	case !slices.Contains([]string{"", "pass", "deny", "error", notPassing}, l.newest):
		return l, rest, invalid("newest", "pass, deny, error or open")
	case l.outdated != "" && l.outdated != "true":
		return l, rest, invalid("outdated", "true, or leave it out")
	case l.override != "" && l.override != "true":
		return l, rest, invalid("broken", "true, or leave it out")
	}
	if l.because != "" {
		if _, err := filter.ParseReason(l.because); err != nil {
			return l, rest, invalid("because", "a code of docs/reasons.md")
		}
	}
	return l, rest, nil
}

// notPassing is the value of the parameter newest for images that were refused or could not be decided.
const notPassing = "open"

// noBase is the value of the parameter base for images on no approved base.
const noBase = "none"

// matches reports whether a line is selected: every parameter that was given holds.
func (f lineFilter) matches(l tally.Line) bool {
	_, because := l.Codes[attestor.Code(f.because)]

	// Only one fix, and nothing that no fix would mend.
	fix, only := hasFix(l, f.fix), hasFix(l, f.only) && len(l.Fixes) == 1 && !l.Unfixable
	verdict := string(l.Row.Verdict) == f.newest || f.newest == notPassing && l.Row.Verdict != attestor.Pass
	base := l.Inspected && (l.Row.Base == f.base || f.base == noBase && l.Row.Base == "")
	used := slices.ContainsFunc(l.Exceptions, func(a attestor.AppliedException) bool { return a.ID == f.exception })
	later := slices.ContainsFunc(l.Upcoming, func(r attestor.Reason) bool { return r.EffectiveFrom == f.later })

	for _, p := range []struct {
		given string
		holds bool
	}{
		{f.newest, verdict}, {f.because, because}, {f.fix, fix}, {f.only, only},
		{f.owner, tally.Part(l.Row.By()) == f.owner}, {f.base, base}, {f.outdated, l.Row.Outdated},
		{f.override, l.Row.Overridden},
		{f.exception, used}, {f.later, later},
	} {
		if p.given != "" && !p.holds {
			return false
		}
	}
	return true
}

// row reports whether a row may be selected: whether every parameter holds that a row alone answers.
func (f lineFilter) row(r tally.Row) bool {
	return (f.newest == "" || string(r.Verdict) == f.newest || f.newest == notPassing && r.Verdict != attestor.Pass) &&
		(f.owner == "" || tally.Part(r.By()) == f.owner) &&
		(f.outdated == "" || r.Outdated) && (f.override == "" || r.Overridden)
}

// hasFix reports whether an image asks for a fix, whose text a report may have cut.
func hasFix(l tally.Line, fix string) bool {
	for f := range l.Fixes {
		if tally.Part(f) == fix {
			return true
		}
	}
	return false
}

// lines are the newest decisions on each image of a filter, newest first, as a report counts them. Those whose row of
// refuses may be left out; nil: none.
func lines(
	ctx context.Context, s *audit.Store, f filter.Filter, of func(tally.Row) bool,
) iter.Seq2[tally.Line, error] {
	ctx = audit.MayLag(ctx)

	// The record keeps lines by whole days.
	if whole, ok := wholeDays(f); ok && audit.Summable(f) {
		return s.ImagesOf(ctx, whole, of)
	}

	return func(yield func(tally.Line, error) bool) {
		// Newest first: the first line of an image is its newest.
		seen := map[string]bool{}
		for r, err := range s.Records(ctx, f) {
			if err != nil {
				yield(tally.Line{}, err)
				return
			}
			l := tally.Project(r)
			if !seen[l.Row.Image] && !yield(l, nil) {
				return
			}
			seen[l.Row.Image] = true
		}
	}
}

// images lists images by their newest decision. What the report counts is what its links open here.
func (p *pageHandler) images(b *bytes.Buffer, r *http.Request, visible func(string) bool) error {
	search := searched(r)
	view := pages.Images{Search: search, Policies: p.policyNames()}
	err := p.fillImages(r, &view, visible)

	// What was typed stays in the form, beside what is wrong with it.
	if err := beside(err, &view.Problem, &view.Fix); err != nil {
		return err
	}
	if err := p.render.Images(b, view); err != nil {
		return err
	}
	return invalidPage(view.Problem)
}

// fillImages finds the images of a page.
func (p *pageHandler) fillImages(r *http.Request, view *pages.Images, visible func(string) bool) error {
	number := 1
	if text := r.URL.Query().Get("page"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxImagesPage {
			return &attestor.Error{
				Kind: attestor.Invalid, Msg: "page: it is not a number of a page",
				Fix: fmt.Sprintf("use 1 to %d, or leave it out", maxImagesPage),
			}
		}
		number = n
	}

	// The lines' own parameters first: the general filter does not know them.
	of, rest, err := parseLines(view.Search)
	if err != nil {
		return err
	}
	f, err := filter.Parse(rest, time.Now())
	if err != nil {
		return err
	}

	view.Remark = cmp.Or(f.Remark(), filter.ReasonRemark(attestor.Code(of.because)))

	// The key has what the caller may read now: what one caller may read is never another's, and a caller who loses a
	// right does not keep a page.
	f.Visible = visible
	caller := server.CallerFrom(r.Context())
	key := imagesKey{readable(caller), f.Fingerprint(), of, number}
	changed := func() (string, error) { return p.engine.Store.Version(audit.MayLag(r.Context())) }
	found, err := p.keptImages.Get(key, changed, func() (imagesPage, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), summaryFor)
		defer cancel()
		return findImages(ctx, p.engine.Store, sincePeriod(f, pageReport, time.Now()), of, number)
	})
	view.Rows, view.Total = found.rows, found.total

	// Where the record failed there are no rows, and the error is shown.
	view.First = (number-1)*pageSize + 1
	if number*pageSize < found.total {
		view.Next = number + 1
	}
	return err
}

// imagesKey names a page of images and who may see it.
type imagesKey struct {
	readable string // as of a [summaryKey]
	filter   string // its fingerprint
	of       lineFilter
	number   int
}

// An imagesPage is a page of images, and how many there are on all pages.
type imagesPage struct {
	rows  []tally.Row
	total int
}

// findImages counts the images that match, and keeps those of one page.
func findImages(ctx context.Context, s *audit.Store, f filter.Filter, of lineFilter, number int) (imagesPage, error) {
	var out imagesPage
	// Where all images of a period are listed, the database counts them, and no line behind the page is read.
	whole, ok := wholeDays(f)
	counted := ok && audit.Summable(f) && of == lineFilter{}

	// What a row answers spares the reading of its line.
	for l, err := range lines(ctx, s, f, of.row) {
		if err != nil {
			return imagesPage{}, err
		}
		if !of.matches(l) {
			continue
		}
		if out.total >= (number-1)*pageSize && len(out.rows) < pageSize {
			out.rows = append(out.rows, l.Row)
		}
		out.total++
		if counted && len(out.rows) == pageSize {
			total, err := s.CountImages(audit.MayLag(ctx), whole)
			// An image that came between the two questions is on the next page at most.
			return imagesPage{rows: out.rows, total: max(total, out.total)}, err
		}
	}

	return out, nil
}

// image shows what the record knows of one image. A repository's own page is the list of its images.
func (p *pageHandler) image(b *bytes.Buffer, r *http.Request, visible func(string) bool) error {
	none := &attestor.Error{
		Kind: attestor.NotFound, Msg: "no decision on such an image is recorded",
		Fix: "search for it by repository, digest or tag",
	}
	img, err := attestor.ParseImage(r.PathValue("name"))

	// One that the caller may not read is answered as one that does not exist.
	if err != nil || !visible(img.Repository()) {
		return none
	}
	ctx := r.Context()
	page, err := p.engine.Store.List(ctx, audit.Filter{Image: img.String(), Visible: visible}, imageSteps, "")
	if err != nil {
		return err
	}
	if len(page.Decisions) == 0 {
		return none
	}

	v := pages.Image{Image: img, Decisions: page.Decisions, More: page.Next != "", Now: time.Now()}
	if v.Admissions, err = p.engine.Store.AdmittedWith(ctx, img); err != nil {
		return err
	}
	if v.Overrides, err = p.engine.Store.OpenOverrides(ctx, img); err != nil {
		return err
	}
	return p.render.Image(b, v)
}

// imageOrList sends the address of a repository to the list of its images.
func (p *pageHandler) imageOrList(w http.ResponseWriter, r *http.Request) {
	// A digest makes it an image.
	if name := r.PathValue("name"); !strings.Contains(name, "@") {
		http.Redirect(w, r, "/images?repository="+url.QueryEscape(name), http.StatusFound)
		return
	}
	p.page(p.image)(w, r)
}
