package pages

import (
	"cmp"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/page"
)

// maxFindings bounds the table of findings of one platform, maxSubjects the subjects that one reason lists.
const (
	maxFindings = 500
	maxSubjects = 12
)

// Decision is one record, and what its page links to.
type Decision struct {
	Record attestor.Record
	Alike  []string // the policy's own attestors, where an override was attested by all of them
	Server string   // address of the service, for commands; "" where it is not known
	Proof  bool     // the log is signed, so that there is a proof
}

// A refusal is one thing that stands in the way, on all platforms where it does.
type refusal struct {
	describe.Finding
	Shown []subject
	More  int // subjects that are not shown
	Line  int // of the policy's text; 0: not known
}

// A subject is what a reason is about. Its link leads to the advisory of a CVE, and Record to the decisions with it.
type subject struct{ Text, Link, Record string }

// HasLink reports whether a subject leads anywhere.
func (r refusal) HasLink() bool {
	return slices.ContainsFunc(r.Shown, func(s subject) bool { return s.Link != "" })
}

// A rest is a check without what refuses.
type rest struct {
	audit.CheckExplanation
	Line int
}

// decisionView is what the template sees.
type decisionView struct {
	Head        page.Head
	D           attestor.Decision
	E           audit.Explanation
	Alike       []string
	Refusals    []refusal
	Rest        []rest
	Policy      []string // lines
	Platforms   []attestor.PlatformEvidence
	MaxFindings int
	Proof       bool
	Image       string // address of the image's page; "" without a digest
}

// Decision renders one record as an explanation.
func (r *Renderer) Decision(w io.Writer, o Decision) error {
	d := o.Record.Decision
	e := audit.NewExplanation(o.Record)
	if e.Changed == "" && len(e.Reproduce) > 0 {
		e.Reproduce = audit.Reproduce(o.Record, o.Server)
	}

	v := decisionView{
		Head: page.Head{
			Title: e.Verdict + ": " + describe.Name(d), Nav: page.Nav("/decisions"), Foot: foot, Script: true,
		},
		D: d, E: e, Alike: o.Alike, Platforms: o.Record.Evidence.Platforms, MaxFindings: maxFindings, Proof: o.Proof,
	}
	if d.Image.Digest != "" {
		v.Image = page.ImagePath(d.Image.Reference)
	}

	// What was changed since it was recorded is shown by nobody's word.
	if e.Changed == "" {
		lines := policyLines(o.Record.PolicyText)
		v.Refusals, v.Rest = split(d, e, lines)
		if text := strings.TrimRight(string(o.Record.PolicyText), "\n"); text != "" {
			v.Policy = strings.Split(text, "\n")
		}
	}
	return r.render(w, "decision", v)
}

// split parts a decision into what refuses it, each reason once for all platforms, and the rest.
func split(d attestor.Decision, e audit.Explanation, lines map[string]int) ([]refusal, []rest) {
	var refusals []refusal
	said := map[string]bool{}
	for _, f := range describe.Findings(d, attestor.Refuses) {
		said[f.Check] = true
		out := refusal{Finding: f, Line: lines[f.Check]}
		for _, s := range f.Subjects[:min(maxSubjects, len(f.Subjects))] {
			out.Shown = append(out.Shown, subjectOf(s))
		}
		out.More = len(f.Subjects) - len(out.Shown)
		refusals = append(refusals, out)
	}

	var others []rest
	for _, c := range e.Checks {
		refuses := c.Status == "refused" || c.Status == "error"

		// A check that refuses without saying why is shown all the same: it must not look as if nothing refused.
		if refuses && !said[c.Name] {
			refusals = append(refusals, refusal{Line: lines[c.Name], Finding: describe.Finding{
				Check: c.Name, Message: cmp.Or(c.Found, "The check gave no reason"), Platforms: []string{c.Platform},
			}})
			continue
		}

		c.Findings = slices.DeleteFunc(slices.Clone(c.Findings), func(f describe.Finding) bool {
			return f.Severity == attestor.Refuses
		})
		if refuses && len(c.Findings) == 0 && len(c.Excused) == 0 {
			continue
		}
		others = append(others, rest{c, lines[c.Name]})
	}

	// What warns comes before what is well, and that before what was not asked for.
	order := []string{"refused", "error", "warning", "ok", "skipped"}
	slices.SortStableFunc(others, func(a, b rest) int {
		return slices.Index(order, a.Status) - slices.Index(order, b.Status)
	})
	return refusals, others
}

// advisory matches the ids of findings that osv.dev has pages for. An id may be an attacker's text: anything else is
// no link.
var advisory = regexp.MustCompile(`^(CVE|GHSA|DSA|DLA|USN|RHSA|ALAS|GO|PYSEC|RUSTSEC|MAL|OSV)-[0-9A-Za-z:._-]{1,60}$`)

// AdvisoryLink is the address of the page on a finding, or "".
func advisoryLink(id string) string {
	if !advisory.MatchString(id) {
		return ""
	}
	return "https://osv.dev/vulnerability/" + url.PathEscape(id)
}

func subjectOf(text string) subject {
	s := subject{Text: text}
	id, _, _ := strings.Cut(text, " ")
	if s.Link = advisoryLink(id); s.Link != "" {
		s.Record = "/decisions?cve=" + url.QueryEscape(id)
	}
	return s
}

// policyLines says on which line of a policy's text each check is configured. A text that does not parse has none.
func policyLines(text []byte) map[string]int {
	out := map[string]int{}
	var doc yaml.Node
	if len(text) == 0 || yaml.Unmarshal(text, &doc) != nil || len(doc.Content) == 0 {
		return out
	}

	spec := member(doc.Content[0], "spec")
	if spec == nil || spec.Kind != yaml.MappingNode {
		return out
	}

	// The keys of a spec have the names of the checks; each rule has one of its own.
	for i := 0; i+1 < len(spec.Content); i += 2 {
		key, value := spec.Content[i], spec.Content[i+1]
		out[key.Value] = key.Line
		if key.Value != "rules" || value.Kind != yaml.SequenceNode {
			continue
		}
		for _, rule := range value.Content {
			if name := member(rule, "name"); name != nil {
				out[attestor.RulePrefix+name.Value] = rule.Line
			}
		}
	}

	// The check "policy" asks whether the policy's patterns cover the image.
	out[attestor.CheckPolicy] = out["images"]
	return out
}

// member is the value of a key, or nil.
func member(n *yaml.Node, name string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	return nil
}

// Revocation renders the record of a revocation.
func (r *Renderer) Revocation(w io.Writer, rec attestor.RevocationRecord) error {
	return r.render(w, "revocation", struct {
		Head page.Head
		R    attestor.RevocationRecord
		E    audit.Explanation
	}{
		page.Head{Title: "Revoked: " + rec.Image.String(), Nav: page.Nav("/decisions"), Foot: foot, Script: true},
		rec, audit.NewRevocation(rec),
	})
}

// Reasons renders the table of reason codes.
func (r *Renderer) Reasons(w io.Writer) error {
	return r.render(w, "reasons", struct {
		Head  page.Head
		Codes []attestor.CodeInfo
	}{page.Head{Title: "Reason codes", Nav: page.Nav("/reasons"), Foot: foot}, attestor.Codes()})
}
