package pages

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/page"
	"github.com/attestor-gate/attestor/internal/tally"
)

// Images is a list of images, each by its newest decision.
type Images struct {
	Search   map[string]string // the filters, by parameter, as the caller wrote them
	Rows     []tally.Row       // of this page
	Total    int               // of all pages
	First    int               // number of the first row, from 1 on
	Next     int               // number of the next page; 0: this is the last
	Problem  string            // what was wrong with the search; "" for nothing
	Fix      string            // what to do about it
	Remark   string            // why the search probably finds nothing; "" for no reason
	Policies []string          // names to choose from
}

// More is the address of the next page, with the same search.
func (v Images) More() string { return "/images?" + page.Query(v.Search, "page", fmt.Sprint(v.Next)) }

// Last is the number of the last row.
func (v Images) Last() int { return v.First + len(v.Rows) - 1 }

// Narrowed are the filters that the form has no field for.
func (v Images) Narrowed() []page.Narrowed {
	return page.Narrow("/images", v.Search, "repository", "newest", "because", "owner", "policy", "since")
}

// Images renders the list.
func (r *Renderer) Images(w io.Writer, v Images) error {
	return r.render(w, "images", struct {
		Head page.Head
		Images
	}{page.Head{Title: "Images", Nav: page.Nav("/images"), Foot: foot}, v})
}

// Image is what the record knows of one image.
type Image struct {
	Image      attestor.Image
	Decisions  []attestor.Decision // on it, newest first: at least one
	More       bool                // there are older ones
	Admissions []attestor.Admission
	Overrides  []attestor.Override // open ones
	Now        time.Time
}

// A step is one decision on an image, and what was different from the one before.
type step struct {
	attestor.Decision
	Came, Went []string // reason codes
	NewPolicy  string   // its name, where the policy was changed
	First      bool     // nothing older is known
}

// A place is where an image was asked for to run.
type place struct {
	Name  string
	Times int
	Last  time.Time
}

// imageView is what the template sees.
type imageView struct {
	Head page.Head
	Image
	Newest attestor.Decision
	Tags   []string
	Steps  []step
	Places []place
	Held   []string // codes that the newest decision has
}

// namespaceLabel is the label of decisions that a cluster asked for.
const namespaceLabel = "kubernetes.namespace"

// Image renders the page on one image.
func (r *Renderer) Image(w io.Writer, i Image) error {
	v := imageView{
		Head:  page.Head{Title: i.Image.String(), Nav: page.Nav("/images"), Foot: foot, Script: true},
		Image: i, Newest: i.Decisions[0], Steps: steps(i.Decisions, i.More), Held: codes(i.Decisions[0]),
	}

	// Where a cluster asked, the decision's label says the namespace.
	places := map[string]*place{}
	for _, d := range i.Decisions {
		if ref, err := attestor.ParseReference(d.Image.Requested); err == nil && ref.Tag() != "" {
			v.Tags = describe.AppendNew(v.Tags, ref.Tag())
		}
		name := d.Labels[namespaceLabel]
		if name == "" {
			continue
		}

		// Decisions come newest first, so that the first of a place is its last.
		if places[name] == nil {
			places[name] = &place{Name: name, Last: d.Time}
		}
		places[name].Times++
	}
	for _, p := range places {
		v.Places = append(v.Places, *p)
	}
	slices.SortFunc(v.Places, func(a, b place) int { return b.Last.Compare(a.Last) })
	return r.render(w, "image", v)
}

// steps compares each decision with the one before it in time.
func steps(ds []attestor.Decision, more bool) []step {
	var out []step
	for n, d := range ds {
		s := step{Decision: d}

		// The oldest that is known has nothing before it to be compared with.
		if n+1 == len(ds) {
			s.First = !more
			out = append(out, s)
			break
		}

		before := ds[n+1]
		was, is := codes(before), codes(d)
		for _, c := range is {
			if !slices.Contains(was, c) {
				s.Came = append(s.Came, c)
			}
		}
		for _, c := range was {
			if !slices.Contains(is, c) {
				s.Went = append(s.Went, c)
			}
		}
		if d.Policy != nil && (before.Policy == nil || before.Policy.Digest != d.Policy.Digest) {
			s.NewPolicy = d.Policy.Name
		}
		out = append(out, s)
	}
	return out
}

// codes are those of the reasons that refuse, each once.
func codes(d attestor.Decision) []string {
	var out []string
	for _, r := range d.Refusals() {
		out = describe.AppendNew(out, string(r.Code))
	}
	return out
}

// The verdict of a row: its class, a mark that needs no colour, a word.
func rowClass(r tally.Row) string { return string(r.Verdict) }

func rowMark(r tally.Row) string { return verdictMark(r.Verdict) }

func rowWord(r tally.Row) string {
	switch r.Verdict {
	case attestor.Pass:
		return "passed"
	case attestor.Undecided:
		return "undecided"
	}
	return "refused"
}
