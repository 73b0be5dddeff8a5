// Package dockerfile reads a Dockerfile and its .dockerignore with BuildKit's own parser, and says what a build would
// take from where. Variables have the values that the file itself gives them. It judges nothing.
package dockerfile

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// A Word is a value after its variables were replaced.
type Word struct {
	Text  string
	Known bool // false: some variable has no value in the file
	Line  int  // from 1
}

// A Variable is one of ARG, ENV or LABEL.
type Variable struct {
	Name  string
	Value string // as written
	Set   bool   // has a value
	Line  int
}

// A Copy is COPY or ADD.
type Copy struct {
	Sources  []string // with the variables that have values
	From     string   // a stage or an image; "": the build's context
	Add      bool
	Checksum string
	Later    bool   // of ONBUILD: in the build of another file, with another context
	Files    []File // written in the Dockerfile itself
	Line     int
}

// A File is a text within a Dockerfile.
type File struct{ Name, Text string }

// A Run is a command of RUN, ENTRYPOINT or CMD.
type Run struct {
	Words  []string // one word in the shell form
	Shell  bool     // the shell form
	Caches []string // targets of cache mounts
	Files  []File
	Line   int
}

// Text is the whole command.
func (r Run) Text() string {
	text := strings.Join(r.Words, " ")
	for _, f := range r.Files {
		text += "\n" + f.Text
	}

	return text
}

// A Stage begins with FROM.
type Stage struct {
	Name       string
	Line       int
	Base       Word
	Parent     int // index of the stage that it is built upon; -1: an image
	User       *Word
	Args       []Variable
	Env        []Variable
	Labels     []Variable
	Runs       []Run
	Copies     []Copy
	Images     []Word // further images that it takes files from
	Entrypoint *Run
	Command    *Run
	Health     *Run // of HEALTHCHECK

	env map[string]string // at its end
	own map[string]bool   // the variables of ENV, which arguments do not replace
}

// A Build is a Dockerfile.
type Build struct {
	Stages   []Stage
	Args     []Variable // before the first stage
	Frontend string     // of the directive "syntax"; "": BuildKit's own
	Lint     []Lint
}

// A Lint is a warning of BuildKit's linter.
type Lint struct {
	Rule, Message string
	Line          int
}

// Parse reads a Dockerfile. Its error has the line.
func Parse(text []byte) (*Build, error) {
	parsed, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return nil, located(err)
	}

	b := &Build{}
	b.Frontend, _, _, _ = parser.DetectSyntax(text)
	lint := linter.New(&linter.Config{Warn: func(rule, description, _, message string, at []parser.Range) {
		b.Lint = append(b.Lint, Lint{Rule: rule, Message: firstOf(message, description), Line: lineOf(at)})
	}})

	stages, args, err := instructions.Parse(parsed.AST, lint)
	if err != nil {
		return nil, located(err)
	}
	if len(stages) == 0 {
		return nil, errors.New("it has no FROM")
	}

	// Docker: "An ARG declared before a FROM is outside of a build stage, so it can't be used in any instruction after
	// a FROM."
	e := &expander{lex: shell.NewLex(parsed.EscapeToken)}
	global := map[string]string{}
	for _, a := range args {
		for _, v := range a.Args {
			b.Args = append(b.Args, variable(v, a.Location()))
			if v.Value != nil {
				global[v.Key], _ = e.word(*v.Value, global)
			}
		}
	}

	for i := range stages {
		s, err := e.stage(b, &stages[i], global)
		if err != nil {
			return nil, err
		}
		b.Stages = append(b.Stages, s)
	}

	return b, nil
}

// Chain lists the last stage and the stages that it is built upon, the last first. What other stages leave does not get
// into the image, but by COPY.
func (b *Build) Chain() []*Stage {
	var out []*Stage
	for i := len(b.Stages) - 1; i >= 0; i = b.Stages[i].Parent {
		out = append(out, &b.Stages[i])
	}

	return out
}

// located puts the line before an error of BuildKit's.
func located(err error) error {
	if l, ok := errors.AsType[*parser.LocationError](err); ok && len(l.Locations) > 0 {
		return fmt.Errorf("line %d: %w", lineOf(l.Locations[0]), err)
	}
	return err
}

func lineOf(at []parser.Range) int {
	if len(at) == 0 {
		return 1
	}
	return max(at[0].Start.Line, 1)
}

func firstOf(all ...string) string {
	i := slices.IndexFunc(all, func(s string) bool { return s != "" })
	if i < 0 {
		return ""
	}
	return all[i]
}

func variable(v instructions.KeyValuePairOptional, at []parser.Range) Variable {
	return Variable{Name: v.Key, Value: v.ValueString(), Set: v.Value != nil, Line: lineOf(at)}
}

// An expander replaces variables.
type expander struct{ lex *shell.Lex }

// word replaces the variables of a word. known is false where one has no value.
func (e *expander) word(s string, env map[string]string) (value string, known bool) {
	result, err := e.lex.ProcessWordWithMatches(s, getter(env))
	if err != nil {
		return s, false
	}
	// A variable with a default of its own, as in ${USER:-1000}, has a value.
	for name := range result.Unmatched {
		bare := strings.Contains(s, "${"+name+"}") || strings.HasSuffix(s, "$"+name) ||
			strings.Contains(s, "$"+name+":")
		if bare || !strings.Contains(s, "${"+name+":-") && !strings.Contains(s, "${"+name+"-") {
			return result.Result, false
		}
	}

	return result.Result, true
}

// words replaces the variables of several words; one without a value stays as it is written.
func (e *expander) words(all []string, env map[string]string) []string {
	var out []string
	for _, s := range all {
		if value, known := e.word(s, env); known {
			s = value
		}
		out = append(out, s)
	}

	return out
}

type getter map[string]string

func (g getter) Get(name string) (string, bool) { v, ok := g[name]; return v, ok }

func (g getter) Keys() []string {
	keys := make([]string, 0, len(g))
	for name := range g {
		keys = append(keys, name)
	}

	return keys
}

func (e *expander) stage(b *Build, from *instructions.Stage, global map[string]string) (Stage, error) {
	s := Stage{Name: from.Name, Line: lineOf(from.Location), Parent: -1, env: map[string]string{},
		own: map[string]bool{}}
	s.Base = e.at(from.BaseName, global, s.Line)

	// Names of stages are compared without case.
	for i := range b.Stages {
		if s.Base.Text != "" && strings.EqualFold(b.Stages[i].Name, s.Base.Text) {
			s.Parent = i
		}
	}

	if s.Parent >= 0 {
		maps.Copy(s.env, b.Stages[s.Parent].env)
		maps.Copy(s.own, b.Stages[s.Parent].own)
	}

	for _, c := range from.Commands {
		if err := e.command(b, &s, c, global); err != nil {
			return s, err
		}
	}

	return s, nil
}

func (e *expander) at(s string, env map[string]string, line int) Word {
	text, known := e.word(s, env)
	return Word{Text: text, Known: known, Line: line}
}

func (e *expander) command(b *Build, s *Stage, c instructions.Command, global map[string]string) error {
	switch c := c.(type) {
	case *instructions.ArgCommand:
		for _, v := range c.Args {
			s.Args = append(s.Args, variable(v, c.Location()))

			// "Environment variables defined using the ENV instruction always override an
			// ARG instruction of the same name." Without a value of its own an argument has
			// that before the first stage.
			if s.own[v.Key] {
				continue
			}
			if value, ok := global[v.Key]; ok && v.Value == nil {
				s.env[v.Key] = value
			} else if v.Value != nil {
				s.env[v.Key], _ = e.word(*v.Value, s.env)
			}
		}
	case *instructions.EnvCommand:
		for _, v := range c.Env {
			s.Env = append(s.Env, Variable{Name: v.Key, Value: v.Value, Set: true, Line: lineOf(c.Location())})
			s.env[v.Key], _ = e.word(v.Value, s.env)
			s.own[v.Key] = true
		}
	case *instructions.LabelCommand:
		for _, v := range c.Labels {
			s.Labels = append(s.Labels, Variable{Name: v.Key, Value: v.Value, Set: true, Line: lineOf(c.Location())})
		}
	case *instructions.UserCommand:
		user := e.at(c.User, s.env, lineOf(c.Location()))
		s.User = &user
	case *instructions.CopyCommand:
		s.Copies = append(s.Copies, Copy{Sources: e.words(c.SourcePaths, s.env), From: c.From,
			Files: inline(c.SourceContents), Line: lineOf(c.Location())})
		e.image(b, s, c.From, lineOf(c.Location()))
	case *instructions.AddCommand:
		s.Copies = append(s.Copies, Copy{Sources: e.words(c.SourcePaths, s.env), Add: true, Checksum: c.Checksum,
			Files: inline(c.SourceContents),
			Line:  lineOf(c.Location())})
	case *instructions.RunCommand:
		// BuildKit reads the mounts when it replaces their variables.
		if err := c.Expand(func(word string) (string, error) {
			value, _ := e.word(word, s.env)
			return value,
				nil
		}); err != nil {
			return fmt.Errorf("line %d: %w", lineOf(c.Location()), err)
		}

		run := command(c.ShellDependantCmdLine, c.Location())
		for _, m := range instructions.GetMounts(c) {
			if m.Type == instructions.MountTypeCache {
				run.Caches = append(run.Caches, path.Clean(m.Target))
			}
			e.image(b, s, m.From, run.Line)
		}
		s.Runs = append(s.Runs, run)
	case *instructions.OnbuildCommand:
		return e.later(b, s, c, global)
	case *instructions.HealthCheckCommand:
		if test := c.Health.Test; len(test) > 1 { // CMD and words, or CMD-SHELL and a command
			s.Health = &Run{Words: test[1:], Shell: test[0] == "CMD-SHELL", Line: lineOf(c.Location())}
		}
	case *instructions.EntrypointCommand:
		run := command(c.ShellDependantCmdLine, c.Location())
		s.Entrypoint = &run
	case *instructions.CmdCommand:
		run := command(c.ShellDependantCmdLine, c.Location())
		s.Command = &run
	}

	return nil
}

// later reads what ONBUILD leaves to builds upon this image. It is in the image's configuration, changes nothing of
// this build, and has the context of the other.
func (e *expander) later(b *Build, s *Stage, c *instructions.OnbuildCommand, global map[string]string) error {
	at := lineOf(c.Location())
	parsed, err := parser.Parse(strings.NewReader("FROM scratch\n" + c.Expression + "\n"))
	if err != nil {
		return fmt.Errorf("line %d: %w", at, err)
	}

	stages, _, err := instructions.Parse(parsed.AST,
		linter.New(&linter.Config{Warn: func(_, _, _, _ string, _ []parser.Range) {}}))
	if err != nil || len(stages) != 1 {
		return fmt.Errorf("line %d: ONBUILD cannot be read", at)
	}

	other := Stage{env: maps.Clone(s.env), own: maps.Clone(s.own)}
	for _, command := range stages[0].Commands {
		if err := e.command(b, &other, command, global); err != nil {
			return fmt.Errorf("line %d: ONBUILD: %w", at, err)
		}
	}

	// Findings point at the line of ONBUILD, since the other file is not given.
	for i := range other.Copies {
		other.Copies[i].Later, other.Copies[i].Line = true, at
	}
	for i := range other.Runs {
		other.Runs[i].Line = at
	}
	for _, list := range [][]Variable{other.Args, other.Env, other.Labels} {
		for i := range list {
			list[i].Line = at
		}
	}

	// A bare name may be a stage of the other file.
	for _, img := range other.Images {
		if img.Line = at; strings.ContainsAny(img.Text, "/:@") {
			s.Images = append(s.Images, img)
		}
	}

	s.Args, s.Env, s.Labels = append(s.Args, other.Args...), append(s.Env, other.Env...),
		append(s.Labels, other.Labels...)
	s.Runs, s.Copies = append(s.Runs, other.Runs...), append(s.Copies, other.Copies...)

	return nil
}

// image notes an image that files are taken from, unless it is a stage.
func (e *expander) image(b *Build, s *Stage, from string, line int) {
	if from == "" {
		return
	}

	for i := range b.Stages {
		if strings.EqualFold(b.Stages[i].Name, from) || fmt.Sprint(i) == from {
			return
		}
	}

	s.Images = append(s.Images, e.at(from, s.env, line))
}

func command(c instructions.ShellDependantCmdLine, at []parser.Range) Run {
	run := Run{Words: c.CmdLine, Shell: c.PrependShell, Line: lineOf(at)}
	for _, f := range c.Files {
		run.Files = append(run.Files, File{Name: f.Name, Text: f.Data})
	}

	return run
}

func inline(contents []instructions.SourceContent) []File {
	var out []File
	for _, c := range contents {
		out = append(out, File{Name: c.Path, Text: c.Data})
	}

	return out
}

// An Ignore is a .dockerignore.
type Ignore struct {
	patterns *patternmatcher.PatternMatcher
}

// ParseIgnore reads a .dockerignore.
func ParseIgnore(text []byte) (*Ignore, error) {
	lines, err := ignorefile.ReadAll(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}

	m, err := patternmatcher.New(lines)
	if err != nil {
		return nil, err
	}

	return &Ignore{patterns: m}, nil
}

// Excludes reports whether a file of the context is kept out of the build, by its path with slashes.
func (i *Ignore) Excludes(file string) bool {
	out, err := i.patterns.MatchesOrParentMatches(file)
	return err == nil && out
}
