// Package policy decides whether what is known of an image is good enough. It
// reads strict YAML, chooses the policy that governs a repository, and turns
// evidence into a verdict.
//
// It leaves to others to find anything out: it does no I/O but reading policy
// files, has no clock but the evidence's, and knows neither registries nor
// Google Cloud. What it cannot see in the evidence it does not assume: the
// answer is then an error or a denial, never a pass.
package policy

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/exception"
)

// A Policy is one loaded policy: immutable, and safe for concurrent use. It
// implements [attestor.Policy]. The zero value denies everything.
type Policy struct {
	file       string
	text       []byte          // self-contained: with what fragments give
	origins    []Line          // of the lines of text; nil: they are the file's
	uses       []used          // the fragments that it was composed with
	source     attestor.Digest // of the file alone
	doc        Document
	ref        attestor.PolicyRef
	needs      attestor.Needs
	exceptions exception.List
	rules      []rule
	checks     []check // an empty table denies
	questions  []attestor.Question
	places     map[string]place
	upcoming   []upcoming // the dates from which parts of it refuse, in order
	stages     []*Spec    // the policy before each of them, and in full
}

var _ attestor.Policy = (*Policy)(nil)

// Ref names the policy's text.
func (p *Policy) Ref() attestor.PolicyRef { return p.ref }

// Text is the file as it was read or, where it uses fragments, the policy that they are together. Loaded alone, it
// means the same.
func (p *Policy) Text() []byte { return p.text }

// File is where it was read from.
func (p *Policy) File() string { return p.file }

// Images are the repositories that it governs.
func (p *Policy) Images() []attestor.Pattern { return p.doc.Spec.Images }

// Needs is what must be found out before it can judge.
func (p *Policy) Needs() attestor.Needs { return p.needs }

// Exceptions lists the policy's exceptions, of both forms, the one that ends last first.
func (p *Policy) Exceptions() []attestor.AppliedException {
	out := make([]attestor.AppliedException, 0, len(p.exceptions))
	for i := range p.exceptions {
		e := &p.exceptions[i]
		out = append(out, e.Applied(e.Subject, false))
	}
	return out
}

// Canonical is the policy with every default written out, as JSON, which is
// YAML too: loaded again, it means the same.
func (p *Policy) Canonical() ([]byte, error) {
	text, err := json.MarshalIndent(p.doc, "", "  ")
	limits := slices.ContainsFunc(p.upcoming, func(u upcoming) bool { return u.limit })
	if err != nil || !limits {
		return text, err
	}
	return p.withDates(text)
}

// BreakGlass says whether, and how, a denial may be overridden.
func (p *Policy) BreakGlass() attestor.BreakGlassPolicy {
	b := p.doc.Spec.BreakGlass
	if b == nil || !b.Allowed {
		return attestor.BreakGlassPolicy{}
	}
	out := attestor.BreakGlassPolicy{Allowed: true, Expires: time.Duration(b.Expires)}
	if b.Ticket != "" {
		re, err := anchored(b.Ticket)
		out.Hint = "one word of it must match " + b.Ticket
		out.Ticket = func(reason string) bool { return err == nil && hasTicket(re, reason) }
	}
	return out
}

// hasTicket reports whether a whole word of the reason, without punctuation
// around it, is a ticket.
func hasTicket(re *regexp.Regexp, reason string) bool {
	for word := range strings.FieldsSeq(reason) {
		if re.MatchString(strings.Trim(word, `.,;:!?()[]"'`)) {
			return true
		}
	}
	return false
}

func anchored(expr string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(expr); err != nil { // or "a)(b" would become valid
		return nil, err
	}
	return regexp.Compile(`\A(?:` + expr + `)\z`)
}
