package policy

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/nearest"
)

// validator finds what single values do not show: malformed names, empty
// lists, contradictions.
type validator struct {
	*decoder
	table []check
	doc   *Document
	rules []rule
}

func (v *validator) all() {
	s := &v.doc.Spec
	v.header()
	v.images(s)
	for _, c := range v.table {
		if c.validate != nil {
			c.validate(v, s)
		}
	}

	v.ruleList(s.Rules)
	v.exceptionList(s)
	v.checks(s)
	v.attest(s)
	v.breakGlass(s.BreakGlass)
	v.effective()

	// A policy that asks for nothing would sign whatever is pushed.
	if !requires(v.table, s) {
		v.at("spec", "demands nothing: no base, no user, no scan, no directory, no provenance and no rule")
	}
}

func (v *validator) header() {
	for _, f := range []struct{ path, got, want string }{
		{"apiVersion", v.doc.APIVersion, APIVersion}, {"kind", v.doc.Kind, Kind},
	} {
		// A file of a later version may mean something else by the same words.
		if v.has(f.path) && f.got != f.want {
			v.at(f.path, "%q is not known: want %s", clip(f.got), f.want)
		}
	}
	v.match("metadata.name", v.doc.Metadata.Name, nameForm, "lower-case letters, digits and hyphens, at most 63")
}

// The forms of names.
var (
	nameForm     = regexp.MustCompile(`\A[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\z`)
	attestorForm = regexp.MustCompile(`\Aprojects/[^/\s]+/attestors/[^/\s]+\z`)
	noteForm     = regexp.MustCompile(`\Aprojects/[^/\s]+/notes/[^/\s]+\z`)
	projectForm  = regexp.MustCompile(`\A([a-z0-9.-]+:)?[a-z][a-z0-9-]{1,61}[a-z0-9]\z`)
	vulnForm     = regexp.MustCompile(`\A[A-Z][A-Z0-9]*(-[A-Za-z0-9.:_]+)+\z`)
	platformForm = regexp.MustCompile(`\A[a-z0-9]+/[a-z0-9_]+(/[a-z0-9_.]+)?\z`)
	tagForm      = regexp.MustCompile(`\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\z`)
)

// match leaves alone what is reported as missing already.
func (v *validator) match(path, got string, re *regexp.Regexp, want string) {
	if v.has(path) && !re.MatchString(got) {
		v.at(path, "%q is malformed: want %s", clip(got), want)
	}
}

func (v *validator) matchAll(path string, got []string, re *regexp.Regexp, want string) {
	seen := newSeen(len(got))
	for i, s := range got {
		v.match(index(path, i), s, re, want)
		if seen.again(s) {
			v.at(index(path, i), "duplicate %q", clip(s))
		}
	}
}

// A seen finds duplicates in one walk through a list. A policy of a megabyte may come
// from whoever may simulate: no list is compared each with each.
type seen map[string]bool

func newSeen(n int) seen { return make(seen, n) }

// again reports whether s was given before. The empty text, which is reported as
// missing, never was.
func (x seen) again(s string) bool {
	before := x[s]
	x[s] = true
	return before && s != ""
}

// notEmpty refuses a list that was written and holds nothing, where whether
// that means all or none is anybody's guess.
func (v *validator) notEmpty(path string, n int) {
	if v.has(path) && n == 0 {
		v.at(path, "the list is empty; name something, or leave the field out")
	}
}

// text refuses what was written as nothing.
func (v *validator) text(path, got string) {
	if v.has(path) && strings.TrimSpace(got) == "" {
		v.at(path, "is empty")
	}
}

func index(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

func (v *validator) images(s *Spec) {
	v.notEmpty("spec.images", len(s.Images))
	seen := newSeen(len(s.Images))
	for i, p := range s.Images {
		if seen.again(p.String()) {
			v.at(index("spec.images", i), "duplicate %q", p)
		}
	}

	v.platforms("spec.platforms", s.Platforms)
	if s.Platforms != nil && s.Attest.Children != nil && !*s.Attest.Children {
		v.at(
			"spec.attest.children",
			"contradicts spec.platforms: with a list, the index is attested only if every child was judged, "+
				"and otherwise only the children are",
		)
	}
}

func (v *validator) platforms(path string, list []string) {
	if list != nil {
		v.notEmpty(path, len(list))
		v.matchAll(path, list, platformForm, "os/architecture[/variant], such as linux/amd64")
	}
}

func (v *validator) checkName(at string, name, path string) {
	if names := excusable(v.table, &v.doc.Spec); !slices.Contains(names, name) {
		p := v.places[at]
		v.errs = append(v.errs, Diagnostic{File: cmp.Or(p.file, v.file), Line: p.line, Column: p.column, Path: path,
			Message: quoted(name) + " is not a check that can be excused", Allowed: names,
			Nearest: nearest.To(name, names)})
	}
}

func (v *validator) exceptionList(s *Spec) {
	ids := map[string]bool{}
	for i, e := range s.Exceptions {
		path := index("spec.exceptions", i)
		if v.has(path + ".check") {
			v.checkName(path+".check", e.Check, path+".check")
		}
		v.text(path+".subject", e.Subject)

		// Only these checks find something in a package: elsewhere the exception would match nothing.
		v.notEmpty(path+".packages", len(e.Packages))
		for n, name := range e.Packages {
			v.text(index(path+".packages", n), name)
		}
		if c := find(v.table, e.Check); len(e.Packages) > 0 && (c == nil || !c.inPackages) {
			v.at(path+".packages", "is about findings of the checks %s only", strings.Join(inPackages(v.table), ", "))
		}
		v.paths(path+".paths", &e)
		v.notEmpty(path+".images", len(e.Images))
		v.platforms(path+".platforms", e.Platforms)
		v.text(path+".id", e.ID)
		v.text(path+".owner", e.Owner)
		v.text(path+".reason", e.Reason)

		// Decisions name exceptions by their ids: one id must mean one exception.
		if e.ID != "" && ids[e.ID] {
			v.at(path+".id", "duplicate %q", clip(e.ID))
		}
		ids[e.ID] = true
	}
}

// paths refuses patterns that match nothing, and paths of findings that have none.
func (v *validator) paths(path string, e *Exception) {
	v.notEmpty(path, len(e.Paths))
	for i, p := range e.Paths {
		if why := attestor.CheckPathPattern(p); why != "" {
			v.at(index(path, i), "%q %s", clip(p), why)
		}
	}
	if len(e.Paths) > 0 && e.Check != attestor.CheckSecrets {
		v.at(path, "is about findings of the check %s only", attestor.CheckSecrets)
	}
}

func (v *validator) checks(s *Spec) {
	v.notEmpty("spec.checks", len(s.Checks))
	for name := range s.Checks {
		v.checkName(cmp.Or("spec.checks."+name, "spec.checks"), name, "spec.checks")
	}
}

func (v *validator) attest(s *Spec) {
	const form = "projects/PROJECT/attestors/NAME"
	v.notEmpty("spec.attestors", len(s.Attestors))
	v.matchAll("spec.attestors", s.Attestors, attestorForm, form)
	if v.has("spec.attest.dsseNote") {
		v.match("spec.attest.dsseNote", s.Attest.DSSENote, noteForm, "projects/PROJECT/notes/NOTE")
		if !s.Attest.DSSE {
			v.at("spec.attest.dsseNote", "contradicts attest.dsse: false")
		}
	}

	// A tag, a digest or an alias would be another place than the one that is written.
	if path := "spec.attest.vsa.repository"; v.has(path) {
		got := s.Attest.VSA.Repository
		if ref, err := attestor.ParseReference(got); err != nil || ref.Repository() != got {
			v.at(path, "%q is not a repository: want HOST/PATH, such as us-docker.pkg.dev/acme/summaries/prod",
				clip(got))
		}
	}
}

func (v *validator) breakGlass(b *BreakGlass) {
	const path = "spec.breakGlass"
	if b == nil {
		return
	}
	v.notEmpty(path+".attestors", len(b.Attestors))
	v.matchAll(path+".attestors", b.Attestors, attestorForm, "projects/PROJECT/attestors/NAME")
	v.regexp(path+".ticket", b.Ticket)
	if b.Allowed {
		return
	}

	contradicting := map[string]bool{
		"ticket": b.Ticket != "", "attestors": len(b.Attestors) > 0, "expires": b.Expires > 0,
	}
	for field, given := range contradicting {
		if given {
			v.at(path+"."+field, "contradicts allowed: false")
		}
	}
}

// inPackages lists the checks that find something in packages.
func inPackages(table []check) (names []string) {
	for _, c := range table {
		if c.inPackages {
			names = append(names, c.name)
		}
	}
	return names
}
