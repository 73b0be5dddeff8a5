// Package migrate turns the policies of other gates into policies of this one: Voucher's configuration, Kritis'
// resources, and Binary Authorization's project and platform policies.
//
// An import is never laxer than its source. A requirement that a policy of this gate cannot express is reported as
// [Lost], and no policy is written; on request, a rule that refuses every image takes its place. Exemptions that the
// source grants are left out unless they can be carried over with an owner and an end.
//
// The package reads texts and writes a text. It opens no files and asks no service.
package migrate

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/plain"
	"github.com/attestor-gate/attestor/policy"
)

// A Treatment says what became of one field of a source.
type Treatment string

// The treatments. Only Lost makes a policy laxer than its source, which is the part of it that was chosen.
const (
	Carried  Treatment = "carried"  // means the same in the policy
	Stricter Treatment = "stricter" // the policy refuses at least what the source refuses, and more
	LeftOut  Treatment = "left out" // exempts images or findings, or judges no image; without it nothing more passes
	Unchosen Treatment = "unchosen" // a part that Select does not name: it may refuse what the policy passes
	Lost     Treatment = "lost"     // refuses images, and the policy cannot express it
)

// A Field is one field of a source, and what became of it.
type Field struct {
	Source    string    `json:"source"`       // the name of the file
	Path      string    `json:"path"`         // in the source, as it is written there
	Treatment Treatment `json:"treatment"`    // one of the five
	To        string    `json:"to,omitempty"` // the path in the policy; "" for none
	Note      string    `json:"note"`         // one line for people
}

// A Result is an import.
type Result struct {
	Policy []byte  `json:"-"`      // the policy's file; nil if a requirement is lost
	Fields []Field `json:"fields"` // what became of each field, in the order of the sources
}

// LostFields are the requirements that the policy does not have.
func (r Result) LostFields() []Field {
	var out []Field
	for _, f := range r.Fields {
		if f.Treatment == Lost {
			out = append(out, f)
		}
	}
	return out
}

// Options are what the sources do not say.
type Options struct {
	Name         string    // of the policy; "" is imported
	Images       []string  // patterns of the repositories that the policy governs; at least one
	Attestors    []string  // projects/P/attestors/A; none: those of a project policy among the sources
	Select       []string  // the group, rule or check set to import, where a source has several
	Owner        string    // who answers for exceptions; "": exceptions are left out
	Reason       string    // of exceptions; "" says where they come from
	Expires      time.Time // the last day of exceptions, at midnight UTC; zero: exceptions are left out
	Now          time.Time // bounds Expires
	Placeholders bool      // write a rule that refuses every image in the place of each lost requirement
}

// MaxFile bounds one source, in bytes.
const MaxFile = 1 << 20

// Bounds of what is read together.
const (
	maxSources   = 20
	maxDocuments = 200 // in all sources
	maxLifetime  = 90 * 24 * time.Hour
)

// Import reads the sources together and writes one policy. The error is of kind [attestor.Invalid]: a source that
// cannot be read, options that do not fit it, or a source that demands nothing. Lost requirements are no error but part
// of the result, so that the caller can show all of them.
func Import(sources []policy.Source, o Options) (Result, error) {
	if err := o.check(len(sources)); err != nil {
		return Result{}, err
	}

	// Every document is read before any is used: a source is imported whole or not at all.
	var docs []document
	for _, s := range sources {
		list, err := read(s)
		if err != nil {
			return Result{}, err
		}
		if docs = append(docs, list...); len(docs) > maxDocuments {
			return Result{}, invalid("the sources have more than %d documents", maxDocuments)
		}
	}

	d := &draft{o: o}
	if err := d.take(docs); err != nil {
		return Result{}, err
	}
	return d.finish()
}

func (o *Options) check(sources int) error {
	switch {
	case sources == 0 || sources > maxSources:
		return invalid("%d sources are given; 1 to %d are allowed", sources, maxSources)
	case len(o.Images) == 0:
		return invalid("no images are named: name the repositories that the policy governs, such as --images " +
			"us-docker.pkg.dev/acme/prod/**")
	case (o.Owner == "") != o.Expires.IsZero():
		return invalid("an exception needs an owner and a last day: give both, or neither to leave exceptions out")
	}

	// They are written into the policy and shown in reports.
	for _, text := range []string{o.Owner, o.Reason} {
		if text != plain.Clip(text, 200) {
			return invalid("the owner or the reason of exceptions is longer than 200 bytes, or not printable")
		}
	}

	// Sources have exceptions without an end. Here they must be looked at again within three months.
	if o.Expires.IsZero() {
		return nil
	}
	if o.Expires.Before(o.Now.Add(-24*time.Hour)) || o.Expires.After(o.Now.Add(maxLifetime)) {
		return invalid("exceptions would end on %s: give a day from today to %s", o.Expires.Format(time.DateOnly),
			o.Now.Add(maxLifetime).Format(time.DateOnly))
	}
	return nil
}

// A document is one policy of a source, read and not yet used.
type document struct {
	source string
	format string // for people: Voucher, Kritis ImageSecurityPolicy, …
	parts  []part
	always func(d *draft) // what holds whichever part is chosen; nil: nothing
	helps  bool           // says who attests, and not what is demanded of an image
}

// A part is what can be imported by itself: a group of Voucher, an admission rule, a check set.
type part struct {
	names []string // the first is its own; the others are accepted by Select, too
	apply func(d *draft)
}

// take applies the chosen part of each document.
func (d *draft) take(docs []document) error {
	docs, err := d.judging(docs)
	if err != nil {
		return err
	}

	// What nobody uses of the selection is an error: it was meant for something.
	unused := slices.Clone(d.o.Select)
	d.unsaid = true
	for _, doc := range docs {
		d.source = doc.source
		said := len(d.modes)
		if doc.always != nil {
			doc.always(d)
		}
		if len(doc.parts) == 0 {
			continue
		}

		p, name, err := doc.choose(d.o.Select)
		if err != nil {
			return err
		}
		unused = slices.DeleteFunc(unused, func(s string) bool { return slices.Contains(p.names, s) })
		d.unchosen(doc, name)
		d.formats = append(d.formats, strings.TrimSpace(doc.format+" "+name))
		d.unsaid = d.unsaid && doc.helps
		p.apply(d)

		// What judges images enforces, unless it says otherwise: a rule about attestations that only reports takes
		// nothing from it.
		if !doc.helps && len(d.modes) == said {
			d.enforces = true
		}
	}

	switch {
	case len(d.formats) == 0:
		return invalid("the sources say who attests, and demand nothing of an image: name a policy, too")
	case len(unused) > 0:
		return invalid("no source has a part %s", quote(unused[0]))
	}
	return d.err
}

// judging leaves one document that judges images. One policy of this gate has one list of limits: two policies that are
// applied together would have to be merged by somebody who knows both.
func (d *draft) judging(docs []document) ([]document, error) {
	judges := func(doc document) bool { return len(doc.parts) > 0 && !doc.helps }
	selected := func(doc document) bool {
		return slices.ContainsFunc(doc.parts, func(p part) bool {
			return slices.ContainsFunc(p.names, func(n string) bool { return slices.Contains(d.o.Select, n) })
		})
	}

	var names []string
	chosen := 0
	for _, doc := range docs {
		if judges(doc) {
			names = append(names, doc.source+": "+doc.format)
			if selected(doc) {
				chosen++
			}
		}
	}

	switch {
	case len(names) < 2:
		return docs, nil
	case chosen != 1:
		return nil, invalid(
			"one policy that judges images is imported at a time, and the sources have %d; choose it by its name with "+
				"--select: %s",
			len(names),
			plain.Clip(strings.Join(names, ", "), 2000),
		)
	}

	// Kritis judges by all policies of a namespace together, so that each that was not chosen is said.
	return slices.DeleteFunc(docs, func(doc document) bool {
		other := judges(doc) && !selected(doc)
		if other {
			d.source = doc.source
			d.note("", Unchosen, "", "%s: the source judges by it, too, and this policy does not: import it by itself",
				doc.format)
		}
		return other
	}), nil
}

// unchosen says which parts of a document judge images in other places, or for other callers, than the one that was
// chosen. Which of them a workload or a request meets, the policy cannot know; who chose does.
func (d *draft) unchosen(doc document, chosen string) {
	var names []string
	for _, p := range doc.parts {
		if p.names[0] != chosen && len(doc.parts) > 1 {
			names = append(names, p.names[0])
		}
	}
	if len(names) > 0 {
		d.note("", Unchosen, "", "%s for other workloads or callers, %s: what passes by %s alone may not run there",
			describe.Plural(len(names), "part"), clipList(names), quote(chosen))
	}
}

// choose picks the only part, or the one that was named.
func (doc *document) choose(selected []string) (part, string, error) {
	if len(doc.parts) == 1 {
		return doc.parts[0], "", nil
	}

	var names []string
	var found []part
	for _, p := range doc.parts {
		names = append(names, p.names[0])
		if slices.ContainsFunc(p.names, func(n string) bool { return slices.Contains(selected, n) }) {
			found = append(found, p)
		}
	}

	// None, or two of one name: which was meant would be a guess.
	if len(found) != 1 {
		return part{}, "", invalid(
			"%s: %s has several parts, and a policy is made of one: choose with --select one of %s",
			doc.source,
			doc.format,
			plain.Clip(strings.Join(names, ", "), 2000),
		)
	}
	return found[0], found[0].names[0], nil
}

// invalid is an error for whoever called.
func invalid(format string, args ...any) error {
	return &attestor.Error{Kind: attestor.Invalid, Msg: fmt.Sprintf(format, args...)}
}

// quote bounds a text of a source for a message.
func quote(s string) string { return plain.Quote(s, 100) }

// loads reports whether the written text is a policy, which only the loader can say.
func loads(text []byte) error {
	_, err := policy.Parse(policy.Source{Name: "policy.yaml", Text: text})
	if all, ok := errors.AsType[policy.Errors](err); ok && len(all) > 0 {
		return invalid("what was given makes no policy: %s: %s", all[0].Path, all[0].Message)
	}
	return err
}
