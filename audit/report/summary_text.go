package report

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit/internal/look"
	"github.com/attestor-gate/attestor/internal/plain"
)

// WriteSummary encodes a summary: as HTML (see [WriteHTML] for its options), as
// JSON to compare a later report with, as Markdown for a pull request, or as
// text for a terminal.
func WriteSummary(w io.Writer, f Format, s Summary, o Options) error {
	if o.Width <= 0 {
		o.Width = defaultWidth
	}
	var err error
	switch f {
	case HTML:
		return WriteHTML(w, s, HTMLOptions{})
	case JSON:
		err = writeValue(w, s, "  ")
	case Markdown:
		err = summaryMarkdown(w, s)
	case Text:
		err = summaryText(w, s, o)
	default:
		return &attestor.Error{Kind: attestor.Invalid, Msg: fmt.Sprintf("a summary cannot be written as %q", clip(string(f))), Fix: "want html, json, markdown or text"}
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", f, err)
	}
	return nil
}

// counts is the line beneath the headline.
func (s Summary) counts() string {
	refused := "refused"
	if s.DryRun {
		refused = "would be refused"
	}
	return fmt.Sprintf("%s pass (%s), %s %s, %s could not be decided", look.Number(s.Passed), look.Shares(s.Passed, s.Refused, s.Undecided)[0],
		look.Number(s.Refused), refused, look.Number(s.Undecided))
}

// shownRows is how many lines of a list a text form has.
const shownRows = 15

func summaryText(w io.Writer, s Summary, o Options) error {
	t := &terminal{Writer: bufio.NewWriter(w), colour: o.Colour, width: o.Width}
	for _, b := range s.Overrides {
		t.line(t.paint("BREAK-GLASS  "+plainf("%s", b.Image), bold, red))
		t.wrap("  ", plainf("%s, by %s: %s", look.Stamp(b.Time), b.By, b.Reason))
	}
	t.line(t.paint(s.Headline(), bold))
	t.line(s.counts())
	if c := s.Change; c != nil {
		t.line(plainf("since %s: %d repositories newly refused, %d newly passing", look.Day(c.Since), len(c.NewlyRefused), len(c.NewlyPassing)))
	}
	t.list("WHAT TO FIX FIRST", []string{"CLEARS", "OF", "FIX"}, rows(s.Fixes, func(f FixCount) []string {
		return []string{look.Number(f.Clears), look.Number(f.Images), f.Fix}
	}))
	t.list("WHY", []string{"IMAGES", "REASON", "MEANS"}, rows(s.Reasons, func(r ReasonCount) []string {
		return []string{look.Number(r.Images), string(r.Code), r.Means}
	}))
	t.list("BASES", []string{"IMAGES", "OUTDATED", "BASE"}, rows(s.Bases, func(b BaseCount) []string {
		return []string{look.Number(b.Images), look.Number(b.Outdated), baseName(b)}
	}))
	t.list("EXCEPTIONS", []string{"STATE", "UNTIL", "WHAT"}, rows(s.Exceptions, func(e ExceptionUse) []string {
		return []string{e.State, e.Expires, e.ID + " (" + e.Owner + ")"}
	}))
	s.Posture.text(t)
	return t.Flush()
}

func plainf(format string, args ...any) string { return plain.Text(fmt.Sprintf(format, args...)) }

func baseName(b BaseCount) string {
	if b.Name == "" {
		return "no approved base"
	}
	return b.Name
}

func rows[T any](list []T, row func(T) []string) [][]string {
	out := make([][]string, 0, len(list))
	for _, v := range list {
		out = append(out, row(v))
	}
	return out
}

// list is a titled table; the last column is as wide as it is.
func (t *terminal) list(title string, head []string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	t.line()
	t.line(t.paint(title, bold))
	more := len(rows) - shownRows
	rows = append([][]string{head}, rows[:min(len(rows), shownRows)]...)
	widths := make([]int, len(head))
	for _, r := range rows {
		for i, c := range r {
			widths[i] = max(widths[i], len([]rune(plain.Text(c))))
		}
	}
	for i, r := range rows {
		var cells []string
		for j, c := range r {
			c = plain.Text(c)
			if j < len(r)-1 {
				c = pad(c, widths[j])
			}
			cells = append(cells, c)
		}
		line := "  " + strings.Join(cells, "  ")
		if i == 0 {
			line = t.paint(line, dim)
		}
		t.line(line)
	}
	if more > 0 {
		t.line("  ", t.paint(fmt.Sprintf("… and %d more", more), dim))
	}
}

func summaryMarkdown(w io.Writer, s Summary) error {
	b := bufio.NewWriter(w)
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(b, format, args...) } // bufio keeps the error
	p("## %s\n\n", plain.Markdown(s.Headline()))
	for _, o := range s.Overrides {
		p("> 🚨 **Break-glass:** %s, by %s on %s: %s\n\n", plain.Code(o.Image), plain.Markdown(o.By), look.Stamp(o.Time), plain.Markdown(o.Reason))
	}
	p("%s\n", plain.Markdown(s.counts()))
	if c := s.Change; c != nil {
		p("\nSince %s: %d repositories newly refused, %d newly passing, %d new, %d gone.\n", look.Day(c.Since), len(c.NewlyRefused), len(c.NewlyPassing), c.New, c.Gone)
		for _, r := range c.NewlyRefused[:min(len(c.NewlyRefused), shownRows)] {
			p("- ❌ %s\n", plain.Code(r.Repository))
		}
	}
	markdownList(p, "What to fix first", []string{"Fix", "Clears", "Of images"}, rows(s.Fixes, func(f FixCount) []string {
		return []string{plain.Markdown(f.Fix), look.Number(f.Clears), look.Number(f.Images)}
	}))
	markdownList(p, "Why images do not pass", []string{"Reason", "Means", "Images"}, rows(s.Reasons, func(r ReasonCount) []string {
		return []string{plain.Code(string(r.Code)), plain.Markdown(r.Means), look.Number(r.Images)}
	}))
	markdownList(p, "By base image", []string{"Base", "Images", "Outdated", "A rebuild may clear"}, rows(s.Bases, func(c BaseCount) []string {
		return []string{plain.Markdown(baseName(c)), look.Number(c.Images), look.Number(c.Outdated), look.Plural(c.Clears, "finding")}
	}))
	open := slices.DeleteFunc(slices.Clone(s.Exceptions), func(e ExceptionUse) bool { return e.State == ExceptionInUse })
	markdownList(p, "Exceptions that need somebody", []string{"What", "State", "Owner", "Until"}, rows(open, func(e ExceptionUse) []string {
		return []string{plain.Markdown(e.ID), e.State, plain.Markdown(e.Owner), plain.Markdown(e.Expires)}
	}))
	refused := slices.DeleteFunc(slices.Clone(s.Rows), func(r Row) bool { return r.Verdict == attestor.Pass })
	markdownList(p, "Images that do not pass", []string{"Image", "Reasons"}, rows(refused, func(r Row) []string {
		return []string{plain.Code(r.Image), plain.Code(strings.Join(r.Codes, " "))}
	}))
	s.Posture.markdown(p)
	return b.Flush()
}

func markdownList(p func(string, ...any), title string, head []string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	p("\n### %s\n\n| %s |\n|%s\n", title, strings.Join(head, " | "), strings.Repeat(" --- |", len(head)))
	for _, r := range rows[:min(len(rows), shownRows)] {
		p("| %s |\n", strings.Join(r, " | "))
	}
	if more := len(rows) - shownRows; more > 0 {
		p("\nand %d more\n", more)
	}
}
