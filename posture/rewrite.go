package posture

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/posture/inplace"
)

// A Rewritten is a file after its fixes.
type Rewritten struct {
	Name  string
	Text  []byte
	Fixed []string // the rules whose findings the changes clear, sorted
}

// Fix returns the files of definitions, YAML or JSON, with the fixes that need no choice of a person: no name, no image
// and no secret is made up, and a finding that the profile does not ask for changes nothing. Comments and everything
// else stay. Terraform plans and Dockerfiles are not changed.
func (j *Judge) Fix(ctx context.Context, in Input) ([]Rewritten, error) {
	all := map[string]Rewritten{}
	in.Definitions = slices.Clone(in.Definitions)

	// A fix may bring up another finding: with its ingress restricted, a service's
	// address is to be off. Each round fixes what the one before brought up.
	const rounds = 4
	for range rounds {
		files, err := j.fixOnce(ctx, in)
		if err != nil {
			return nil, err
		}
		if len(files) == 0 {
			break
		}

		for _, f := range files {
			f.Fixed = append(f.Fixed, all[f.Name].Fixed...)
			slices.Sort(f.Fixed)
			f.Fixed = slices.Compact(f.Fixed)
			all[f.Name] = f

			for i := range in.Definitions {
				if in.Definitions[i].Name == f.Name {
					in.Definitions[i].Text = f.Text
				}
			}
		}
	}

	var out []Rewritten
	for _, src := range in.Definitions {
		if f, ok := all[src.Name]; ok {
			out = append(out, f)
		}
	}

	return out, nil
}

func (j *Judge) fixOnce(ctx context.Context, in Input) ([]Rewritten, error) {
	m, err := read(in)
	if err != nil {
		return nil, err
	}

	var out []Rewritten
	for _, src := range in.Definitions {
		plainText, form := unformed(src.Text)
		r := Rewritten{Name: src.Name, Text: plainText}

		// From the end of the file to its beginning, so that the places of those
		// before it stay.
		mine := slices.DeleteFunc(slices.Clone(m.workloads), func(s *workload) bool {
			return s.file != src.Name || s.form != formKnative && s.form != formV2
		})
		slices.SortStableFunc(mine, func(a, b *workload) int {
			return cmp.Or(cmp.Compare(b.line, a.line), cmp.Compare(b.column, a.column))
		})

		for _, s := range mine {
			if err := j.rewrite(ctx, m, s, &r); err != nil {
				return nil, err
			}
		}

		if r.Text = form.of(r.Text); len(r.Fixed) > 0 {
			out = append(out, r)
		}
	}

	return out, nil
}

// A textForm is how an editor wrote a file, which a fix keeps.
type textForm struct{ mark, windows bool }

// byteOrderMark begins a text of some editors.
var byteOrderMark = []byte("\xef\xbb\xbf")

// unformed is a text without its byte order mark, which moves the columns of its first line, and with the line ends of
// Unix, if all of its own are of Windows.
func unformed(text []byte) ([]byte, textForm) {
	without, mark := bytes.CutPrefix(text, byteOrderMark)
	ends := bytes.Count(without, []byte("\n"))
	f := textForm{mark: mark, windows: ends > 0 && ends == bytes.Count(without, []byte("\r\n"))}
	if f.windows {
		without = bytes.ReplaceAll(without, []byte("\r\n"), []byte("\n"))
	}

	return without, f
}

// of writes a text as its file was written.
func (f textForm) of(text []byte) []byte {
	if f.windows {
		text = bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
	}
	if f.mark {
		text = slices.Concat(byteOrderMark, text)
	}

	return text
}

// everyContainer are the edits for all containers of a workload: what is to be in each is to be in those that start
// before the others, and in the templates of sandboxes, too.
func everyContainer(edits []edit) []edit {
	var out []edit
	for _, e := range edits {
		out = append(out, e)
		i := slices.Index(e.path, "containers")
		if i < 0 || i+1 >= len(e.path) || e.path[i+1] != "[]" {
			continue
		}
		for _, list := range [][]string{{"initContainers"}, {"sandboxes", "templates"}} {
			further := e
			further.path = slices.Concat(e.path[:i], list, e.path[i+1:])
			out = append(out, further)
		}
	}

	return out
}

// rewrite applies the fixes of one workload.
func (j *Judge) rewrite(ctx context.Context, m *model, s *workload, r *Rewritten) error {
	known := map[attestor.Image]asked{}
	for _, rule := range rules() {
		if !rule.concerns(s) || !rule.appliesTo(s.kind) || j.c.Profile.levels[rule.id] == off {
			continue
		}

		// Evidence about images changes no definition, and is not asked for.
		c := &judging{ctx: ctx, s: s, model: m, profile: j.c.Profile, known: known}
		f, _ := j.finding(c, rule, make([]use, len(j.c.Profile.exceptions)))
		if f.Status != attestor.StatusDeny && f.Status != attestor.StatusWarn {
			continue
		}

		edits := c.fix.edits(s)
		if len(edits) == 0 || slices.ContainsFunc(edits, func(e edit) bool { return e.sample }) {
			continue
		}

		// All edits of a rule are made, or none: half a fix would be taken for a whole one.
		text := r.Text
		for _, e := range everyContainer(edits) {
			changed, err := inplace.Apply(text, s.line, s.column, inplace.Change{Path: s.place(e.path), Value: e.value,
				Remove: e.remove, Keep: e.keep})
			if errors.Is(err, inplace.ErrForm) {
				text = nil // written in a way that is left to a person
				break
			}
			if err != nil {
				return err
			}
			text = changed
		}

		if text != nil && string(text) != string(r.Text) {
			r.Text = text
			r.Fixed = append(r.Fixed, rule.id)
		}
	}

	return nil
}
