package main

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

// runtimeFile is added to the package. Every mutant asks mutate__on by its
// number; the number of the one that is on is read once.
const runtimeFile = `package %s

import (
	mutate__cmp "cmp"
	mutate__os "os"
	mutate__strconv "strconv"
	mutate__atomic "sync/atomic"
)

var mutate__active, mutate__trace = mutate__start()

var mutate__hits [%d]mutate__atomic.Bool

func mutate__start() (int, *mutate__os.File) {
	n, err := mutate__strconv.Atoi(mutate__os.Getenv("MUTANT"))
	if err != nil {
		n = -1
	}
	var trace *mutate__os.File
	if path := mutate__os.Getenv("MUTANT_TRACE"); path != "" {
		how := mutate__os.O_WRONLY|mutate__os.O_APPEND|mutate__os.O_CREATE
		if trace, err = mutate__os.OpenFile(path, how, 0o600); err != nil {
			panic(err)
		}
	}
	return n, trace
}

func mutate__on(n int) bool {
	if mutate__trace != nil && !mutate__hits[n].Swap(true) {
		_, _ = mutate__trace.WriteString(mutate__strconv.Itoa(n) + "\n")
	}
	return n == mutate__active
}

func mutate__less[T mutate__cmp.Ordered](n int, x, y T) bool {
	return x < y || mutate__on(n) && x == y
}

func mutate__most[T mutate__cmp.Ordered](n int, x, y T) bool {
	return x < y || !mutate__on(n) && x == y
}

func mutate__more[T mutate__cmp.Ordered](n int, x, y T) bool {
	return x > y || mutate__on(n) && x == y
}

func mutate__least[T mutate__cmp.Ordered](n int, x, y T) bool {
	return x > y || !mutate__on(n) && x == y
}

type mutate__whole interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uintptr
}

type mutate__number interface{ mutate__whole | ~float32 | ~float64 }

func mutate__add[T mutate__number](n int, x, y T) T {
	if mutate__on(n) {
		return x - y
	}
	return x + y
}

func mutate__sub[T mutate__number](n int, x, y T) T {
	if mutate__on(n) {
		return x + y
	}
	return x - y
}

func mutate__mul[T mutate__number](n int, x, y T) T {
	if mutate__on(n) {
		return x / y
	}
	return x * y
}

func mutate__quo[T mutate__number](n int, x, y T) T {
	if mutate__on(n) {
		return x * y
	}
	return x / y
}

func mutate__either[T mutate__whole](n int, x, y T) T {
	if mutate__on(n) {
		return y
	}
	return x
}

func mutate__zero[T any](n int, x T) T {
	if mutate__on(n) {
		var zero T
		return zero
	}
	return x
}

func mutate__nil(n int, err error) error {
	if mutate__on(n) {
		return nil
	}
	return err
}

func mutate__other[T ~string](n int, x T) T {
	if mutate__on(n) {
		return x + "\x00mutant"
	}
	return x
}

func mutate__flipped[T mutate__whole](n int, x T) T {
	if mutate__on(n) {
		return ^x
	}
	return x
}
`

// A piece of rewritten text that belongs to a mutant, for errors to be traced
// back to it.
type span struct{ mutant, start, end int }

// rewrite writes every mutant's switch into a file's text.
func rewrite(text []byte, mutants []mutant, source int) (string, []span) {
	type change struct {
		edit
		mutant, order int
	}
	var changes []change
	for i, m := range mutants {
		for _, e := range m.edits {
			if m.source == source {
				changes = append(changes, change{e, i, len(changes)})
			}
		}
	}

	// An outer node was found before the inner ones: it opens first and closes last.
	slices.SortStableFunc(changes, func(a, b change) int {
		order := cmp.Compare(a.order, b.order)
		if a.kind == closing {
			order = -order
		}
		return cmp.Or(cmp.Compare(a.pos, b.pos), cmp.Compare(a.kind, b.kind), order)
	})

	var out strings.Builder
	spans := map[int]*span{}
	at := 0
	for _, c := range changes {
		out.Write(text[at:c.pos])
		at = max(c.pos, c.end)
		if spans[c.mutant] == nil {
			spans[c.mutant] = &span{mutant: c.mutant, start: out.Len()}
		}
		out.WriteString(strings.Replace(c.text, "%d", fmt.Sprint(c.mutant), 1))
		spans[c.mutant].end = out.Len()
	}

	out.Write(text[at:])

	var list []span
	for _, s := range spans {
		list = append(list, *s)
	}

	return out.String(), list
}

// schemata rewrites the package with all mutants that type-check, and returns
// these and the texts, by index of the file; the last text is the file that is
// added.
func (t *target) schemata(mutants []mutant) ([]mutant, []string, error) {
	for {
		// Numbers follow from the order, which changes when a mutant is dropped.
		for i := range mutants {
			mutants[i].number = i
		}
		fset := token.NewFileSet()
		var files []*ast.File
		var texts []string
		spans := map[string][]span{}
		for i, s := range t.sources {
			text, found := rewrite(s.text, mutants, i)
			file, err := parser.ParseFile(fset, s.path, text, parser.SkipObjectResolution|parser.ParseComments)
			if err != nil {
				return nil, nil, fmt.Errorf("the rewritten file does not parse: %w", err)
			}
			files, texts = append(files, file), append(texts, text)
			spans[s.path] = found
		}

		added := fmt.Sprintf(runtimeFile, t.packageName(), max(1, len(mutants)))
		file, err := parser.ParseFile(fset, "mutate__runtime.go", added, parser.SkipObjectResolution)
		if err != nil {
			return nil, nil, err
		}

		// A mutant that does not type-check is left out, and the rest is tried again: one error may hide others.
		_, errs := t.check(fset, append(files, file))
		if len(errs) == 0 {
			return mutants, append(texts, added), nil
		}
		dropped, err := blamed(fset, errs, spans)
		if err != nil {
			return nil, nil, err
		}
		mutants = slices.DeleteFunc(mutants, func(m mutant) bool { return dropped[m.number] })
	}
}

// blamed finds the innermost mutant around each error.
func blamed(fset *token.FileSet, errs []error, spans map[string][]span) (map[int]bool, error) {
	dropped := map[int]bool{}
	var unknown []error
	for _, err := range errs {
		e, ok := errors.AsType[types.Error](err)
		if !ok {
			return nil, err
		}
		at := fset.Position(e.Pos)
		best := span{mutant: -1}
		for _, s := range spans[at.Filename] {
			if s.start <= at.Offset && at.Offset <= s.end && (best.mutant < 0 || s.end-s.start < best.end-best.start) {
				best = s
			}
		}

		if best.mutant < 0 {
			unknown = append(unknown, err)
			continue
		}
		dropped[best.mutant] = true
	}

	if len(dropped) == 0 {
		return nil, errors.Join(unknown...)
	}

	return dropped, nil
}
