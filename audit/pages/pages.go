// Package pages renders the service's pages: overview, decisions and their search,
// the explanation of one decision, the policies in force, the approved bases. They
// are complete HTML documents, read-only, rendered on the server, and run only the
// scripts that [CSP] names. The server checks the caller's rights and passes only
// data that they may read. Package report renders the report.
package pages

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/page"
)

//go:embed *.html
var templates embed.FS

// CSP is the Content-Security-Policy that pages and the report are served with.
func CSP() string { return page.CSP() }

const foot = "Read-only. Times are UTC."

// Renderer holds the parsed templates. It is safe for concurrent use.
type Renderer struct{ t *template.Template }

// New parses the templates.
func New() (*Renderer, error) {
	text, err := joined()
	if err != nil {
		return nil, err
	}
	t, err := page.Parse("pages", text, template.FuncMap{
		"verdict": describe.Verdict, "class": class, "mark": mark,
		"name": describe.Name, "repository": describe.Repository,
		"path":     func(id string) string { return "/decisions/" + url.PathEscape(id) },
		"refusals": func(d attestor.Decision) []describe.Finding { return describe.Findings(d, attestor.Refuses) },
		"subjects": func(f describe.Finding) string { return describe.Some(f.Subjects, 6) },
		"subject":  subjectOf, "imagePath": page.ImagePath, "add": func(a, b int) int { return a + b },
		"query":    func(name string, value any) string { return page.Query(nil, name, fmt.Sprint(value)) },
		"rowClass": rowClass, "rowMark": rowMark, "rowWord": rowWord, "ofPolicy": ofPolicy, "codes": codes,
		"before":   before,
		"outcomes": outcomes, "outcomeWord": outcomeWord, "outcomeMark": verdictMark, "effect": effect,
		"capital": capital, "brief": brief,
		// A flag of a command is not broken after its hyphens.
		"words": func(line string) []string { return strings.Split(line, " ") }, "isFlag": isFlag,
		"overridden": describe.Overridden, "state": stateClass, "until": until, "join": strings.Join,
	})
	if err != nil {
		return nil, err
	}

	return &Renderer{t}, nil
}

// isFlag reports whether a word of a command is a flag.
func isFlag(word string) bool { return strings.HasPrefix(word, "--") }

// joined is the text of all templates.
func joined() (string, error) {
	names, err := fs.Glob(templates, "*.html")
	if err != nil {
		return "", err
	}

	var out strings.Builder
	for _, name := range names {
		text, err := fs.ReadFile(templates, name)
		if err != nil {
			return "", err
		}
		out.Write(text)
	}
	return out.String(), nil
}

// render renders into memory first: if a template fails, nothing is written.
func (r *Renderer) render(w io.Writer, name string, data any) error {
	var b bytes.Buffer
	if err := r.t.ExecuteTemplate(&b, name, data); err != nil {
		return fmt.Errorf("rendering the page %s: %w", name, err)
	}
	if _, err := b.WriteTo(page.Clean(w)); err != nil {
		return fmt.Errorf("writing the page %s: %w", name, err)
	}

	return nil
}

// Overview is the first page.
type Overview struct {
	Figures page.Figures        // of the last days
	Recent  []attestor.Decision // newest first; about ten
	Alarms  []string            // failures that an operator must know: of a policy on disk, or of the store
	Since   string              // from when the figures count, as the parameter since takes it
	Now     time.Time
}

// Overview renders the first page.
func (r *Renderer) Overview(w io.Writer, o Overview) error {
	head := page.Head{Title: "attestor", Note: "as of " + page.Stamp(o.Now), Nav: page.Nav("/"), Foot: foot}

	return r.render(w, "overview", struct {
		Head page.Head
		Overview
	}{head, o})
}

// Decisions is the list with its search.
type Decisions struct {
	Search   map[string]string // the filters, by parameter, as the caller wrote them
	Page     []attestor.Decision
	Next     string // the next page's token; "" at the end
	Total    int    // decisions on all pages, where Exact, or at least so many; -1: not known
	Exact    bool
	Problem  string   // what was wrong with the search; "" for nothing
	Fix      string   // what to do about it
	Remark   string   // why the search probably finds nothing; "" for no reason
	Policies []string // names to choose from
}

// Counted says how many decisions there are.
func (d Decisions) Counted() string {
	switch {
	case d.Total < 0:
		return page.Plural(len(d.Page), "decision") + " on this page, newest first"
	case !d.Exact:
		return "More than " + page.Plural(d.Total, "decision") + ", newest first"
	case d.Total == 0:
		return "No decision matches"
	}
	return page.Plural(d.Total, "decision") + ", newest first"
}

// More is the address of the next page, with the same search.
func (d Decisions) More() string { return "/decisions?" + page.Query(d.Search, "pageToken", d.Next) }

// Narrowed are the filters that the form has no field for.
func (d Decisions) Narrowed() []page.Narrowed {
	fields := []string{"search", "verdict", "policy", "since", "until"}

	// The form chooses between all and only; it cannot show an id.
	for _, name := range []string{"override", "revocation"} {
		if d.Search[name] == "true" {
			fields = append(fields, name)
		}
	}
	return page.Narrow("/decisions", d.Search, fields...)
}

// Decisions renders the list.
func (r *Renderer) Decisions(w io.Writer, d Decisions) error {
	return r.render(w, "decisions", struct {
		Head page.Head
		Decisions
	}{page.Head{Title: "Decisions", Nav: page.Nav("/decisions"), Foot: foot}, d})
}

// Policy is one policy in force.
type Policy struct {
	Ref     attestor.PolicyRef
	Images  []string // patterns
	Text    string
	Problem string // why the text on disk does not load, so that an older one is in force; "": it loads
}

// PolicyChanges is how many changes of policies the page has at most.
const PolicyChanges = 50

// Policies renders the policies in force, first those that are not what is on disk, and the newest changes of them, the
// newest first.
func (r *Renderer) Policies(w io.Writer, ps []Policy, changes []attestor.PolicyChange) error {
	// An old text in force is what a reader must see, however many policies there are.
	ps = slices.Clone(ps)
	slices.SortStableFunc(ps, func(a, b Policy) int {
		switch {
		case (a.Problem == "") == (b.Problem == ""):
			return 0
		case a.Problem != "":
			return -1
		}
		return 1
	})

	return r.render(w, "policies", struct {
		Head     page.Head
		Policies []Policy
		Changes  []attestor.PolicyChange
		Most     int
	}{page.Head{Title: "Policies in force", Nav: page.Nav("/policies"), Foot: foot}, ps, changes, PolicyChanges})
}

// Base is one approved base of a policy.
type Base struct {
	attestor.ApprovedBase
	Policies []string
	Tags     []Tag
}

// Tag has the digests of one tag of a base, newest first.
type Tag struct {
	Name    string
	History []attestor.TagPoint
}

// Bases renders the bases known.
func (r *Renderer) Bases(w io.Writer, bs []Base) error {
	return r.render(w, "bases", struct {
		Head  page.Head
		Bases []Base
	}{page.Head{Title: "Approved bases", Nav: page.Nav("/bases"), Foot: foot}, bs})
}

func class(d attestor.Decision) string { return string(describe.Outcome(d)) }

func mark(d attestor.Decision) string { return verdictMark(describe.Outcome(d)) }

// verdictMark needs no colour.
func verdictMark(o attestor.Outcome) string {
	switch o {
	case attestor.Pass:
		return "✓"
	case attestor.Undecided:
		return "?"
	}
	return "✕"
}

// stateClass colours a check's state.
func stateClass(state string) string {
	return map[string]string{"ok": "pass", "refused": "deny", "error": "error", "warning": "warning",
		"skipped": "muted"}[state]
}

func until(p attestor.TagPoint) string {
	if p.Until == nil {
		return "now"
	}
	return page.Stamp(*p.Until)
}

// effect is what a code makes of its check.
func effect(c attestor.CodeInfo) string {
	switch c.Code.Severity() {
	case attestor.Refuses:
		return "refuses"
	case attestor.Warns:
		return "warns"
	}
	return "informs"
}

// capital begins a sentence.
func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

var digests = regexp.MustCompile(`sha256:[0-9a-f]{64}`)

// brief shortens the digests of a sentence. The whole ones stand where they can be copied.
func brief(s string) string {
	return digests.ReplaceAllStringFunc(s, func(d string) string { return page.Short(d) + "…" })
}

// A linked number has the address of what it counts, or "".
type linked struct {
	Link string
	N    int
}

// ofPolicy is a number of decisions by a policy. Those that no policy governed have no address: no filter selects them
// by their verdict.
func ofPolicy(since, policy, verdict string, n int) linked {
	if policy == "" || n == 0 {
		return linked{N: n}
	}
	return linked{"/decisions?" + page.Query(map[string]string{"policy": policy, "verdict": verdict}), n}
}

// before is an image's name without its digest.
func before(image string) string {
	name, _, _ := strings.Cut(image, "@")
	return name
}
