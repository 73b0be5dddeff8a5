package preflight

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/plain"
)

// shown is how many workloads one line of the page names, and how many lines a list has.
const (
	shownWorkloads = 3
	shownLines     = 40
)

// Headline is the answer in one sentence.
func (r *Report) Headline() string {
	blocked, unknown, total := r.Counts[Blocked], r.Counts[Unknown], len(r.Findings)
	switch {
	case blocked > 0:
		return fmt.Sprintf("WOULD BE BLOCKED: %d of %s", blocked, describe.Plural(total, "container"))
	case unknown > 0:
		return fmt.Sprintf(
			"NOT KNOWN: %d of %s could not be checked; nothing else would be blocked",
			unknown,
			describe.Plural(total, "container"),
		)
	}

	return fmt.Sprintf(
		"NOTHING WOULD BE BLOCKED: %s of %s would be admitted",
		describe.Plural(total, "container"),
		describe.Plural(r.Images, "image"),
	)
}

// WriteText is the report on one page, for a terminal: the answer, the policies, what is blocked with what to do, and
// how the rest is admitted. The JSON form has every container.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	line := func(format string, args ...any) { b.WriteString(plain.Text(fmt.Sprintf(format, args...)) + "\n") }

	line("%s", r.Headline())
	line(
		"%d attested, %d exempt by pattern, %d allowed by rule, %d would be blocked, %d not known; %s",
		r.Counts[Attested],
		r.Counts[Exempt],
		r.Counts[Allowed],
		r.Counts[Blocked],
		r.Counts[Unknown],
		describe.Plural(r.Images, "image"),
	)
	for _, p := range r.Policies {
		line("policy %s", p)
	}
	for _, n := range r.Notes {
		line("note: %s", n)
	}

	// What needs somebody comes first; a list that was cut says so.
	for _, section := range []struct {
		of    Outcome
		title string
	}{
		{Blocked, "WOULD BE BLOCKED"}, {Unknown, "NOT KNOWN"}, {Attested, "ATTESTED"}, {Exempt, "EXEMPT"},
		{Allowed, "ALLOWED BY RULE"},
	} {
		groups := r.groups(section.of)
		if len(groups) == 0 {
			continue
		}
		line("")
		line("%s", section.title)
		for _, g := range groups[:min(len(groups), shownLines)] {
			g.write(line)
		}
		if more := len(groups) - shownLines; more > 0 {
			line("  … and %d more: -o json has all", more)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// A group is the containers of one image with one answer.
type group struct {
	Finding
	where []string
}

func (r *Report) groups(of Outcome) []*group {
	var out []*group
	for _, f := range r.Findings {
		if f.Outcome != of {
			continue
		}

		// Containers of one image with one answer are one line.
		i := slices.IndexFunc(out, func(g *group) bool {
			return g.Image == f.Image && g.Why == f.Why && g.DryRun == f.DryRun && g.Fix == f.Fix
		})
		if i < 0 {
			out = append(out, &group{Finding: f})
			i = len(out) - 1
		}
		if where := f.where(); !slices.Contains(out[i].where, where) {
			out[i].where = append(out[i].where, where)
		}
	}

	return out
}

// where is the workload in a few words.
func (f *Finding) where() string {
	text := f.Kind + " " + f.Name
	if f.Cluster != "" {
		text += " in " + f.Cluster
	}
	if f.Revision != "" {
		text += ", revision " + f.Revision + " (" + f.Serves + ")"
	}
	return text
}

func (g *group) write(line func(string, ...any)) {
	line("  %s", g.Image)
	why := g.Why
	if g.DryRun && g.Outcome == Blocked {
		why += "; the rule is in dry run and does not block yet"
	}
	line("      %s", why)

	where := g.where[:min(len(g.where), shownWorkloads)]
	text := strings.Join(where, "; ")
	if more := len(g.where) - len(where); more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	line("      %s", text)
	if g.Fix != "" && (g.Outcome == Blocked || g.Outcome == Unknown) {
		line("      to do: %s", g.Fix)
	}
}
