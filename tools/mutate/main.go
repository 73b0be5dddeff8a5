// Command mutate finds out which small changes of a package's code its own
// tests do not notice. It rewrites the package so that every change (a mutant)
// is there at once, each behind a switch, compiles the tests once, runs each
// test by itself to learn which mutants it reaches, and then runs, for each
// mutant, the tests that reach it. A mutant that no test notices has survived.
//
// It goes on where it was interrupted: the results stand under bin/mutate, and
// hold until the function or, for a survivor, the package's tests change.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// settings are what the command line says.
type settings struct {
	goTool   string
	dir      string
	length   time.Duration
	slow     time.Duration
	sample   int
	seed     int64
	file     string
	excused  string
	deciding string
	known    string
	only     bool
	verbose  bool
	packages []string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code, err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
	}
	os.Exit(code)
}

func parse(args []string, stderr io.Writer) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("mutate", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&s.goTool, "go", "go", "the go command")
	flags.StringVar(&s.dir, "dir", "bin/mutate", "where results and rewritten files go")
	flags.DurationVar(&s.length, "for", 0, "stop after this long (0: when all is done)")
	flags.DurationVar(&s.slow, "slow", 30*time.Second, "leave out tests that take longer than this")
	flags.IntVar(&s.sample, "sample", 0, "try this many mutants only, chosen by -seed (0: all)")
	flags.Int64Var(&s.seed, "seed", 1, "which sample")
	flags.StringVar(&s.file, "file", "", "try mutants of files whose names contain this only")
	flags.StringVar(
		&s.excused,
		"equivalent",
		"tools/mutate/equivalent.txt",
		"mutants that no test can notice, with the arguments",
	)

	flags.StringVar(&s.deciding, "deciding", "tools/mutate/deciding.txt", "files in which a survivor is an error")
	flags.StringVar(
		&s.known,
		"known",
		"tools/mutate/survivors.txt",
		"survivors in these files that are known, and to be killed one day",
	)

	flags.BoolVar(&s.only, "decide", false, "try mutants of the files that decide only")
	flags.BoolVar(&s.verbose, "v", false, "print each mutant as it is tried")
	if err := flags.Parse(args); err != nil {
		return s, err
	}

	if s.packages = flags.Args(); len(s.packages) == 0 {
		return s, errors.New("name a package, as in: make mutate PACKAGE=./policy")
	}

	return s, nil
}

// run returns 0 if no mutant survived in a file that decides, beyond those that
// are known, 1 if one did, 2 for an error.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (int, error) {
	s, err := parse(args, stderr)
	if err != nil {
		return 2, err
	}
	excused, err := readEquivalents(s.excused)
	if err != nil {
		return 2, err
	}

	// A list that is not there is empty.
	deciding, err := readLines(s.deciding)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 2, err
	}
	known, err := readLines(s.known)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 2, err
	}

	// Tests run in the directories of their packages, so that the path must be absolute.
	if s.dir, err = filepath.Abs(s.dir); err != nil {
		return 2, err
	}
	if s.length > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.length)
		defer cancel()
	}

	r := &report{
		out:      stdout,
		progress: stderr,
		scores:   map[string]*score{},
		excused:  excused,
		deciding: deciding,
		used:     map[string]bool{},
		packages: map[string]bool{},
		known:    map[string]bool{},
	}

	for _, id := range known {
		r.known[movable(id)] = true
	}
	for _, label := range s.packages {
		if err := r.mutatePackage(ctx, s, label); err != nil {
			return 2, err
		}
	}

	r.print(s.sample == 0 && s.file == "" && !s.only)
	if r.failed {
		return 1, nil
	}

	return 0, nil
}

// report is what one run found out.
type report struct {
	out, progress io.Writer
	scores        map[string]*score
	excused       equivalents
	deciding      []string
	used          map[string]bool // the movable ids that were looked up
	packages      map[string]bool // by directory
	known         map[string]bool // survivors, by movable id
	survivors     []string
	failed        bool // a survivor where there may be none
}

func (r *report) mutatePackage(ctx context.Context, s settings, label string) error {
	t, err := load(s.goTool, label)
	if err != nil {
		return err
	}
	known, err := openResults(t, s.dir)
	if err != nil {
		return err
	}

	work := filepath.Join(s.dir, t.slug())
	p, err := compile(s.goTool, t, work)
	if err != nil {
		return err
	}

	chosen := choose(
		slices.DeleteFunc(slices.Clone(p.mutants), func(m mutant) bool { return s.only && !r.decides(m) }),
		s,
	)

	// What an earlier run found out and still holds is not tried again.
	open := slices.DeleteFunc(slices.Clone(chosen), func(m mutant) bool {
		_, ok := known.find(m)
		return ok
	})

	_, _ = fmt.Fprintf(
		r.progress,
		"%s: %d mutants, %d chosen, %d to be tried\n",
		label,
		len(p.mutants),
		len(chosen),
		len(open),
	)

	if len(open) > 0 {
		if err := r.try(ctx, s, p, known, open); err != nil {
			return err
		}
	}

	for _, m := range chosen {
		// One that survived counts as a survivor until a test kills it, also where the tests changed since and the time
		// was too short to try it again: a score leaves out nothing that speaks against it.
		o, _ := known.find(m)
		r.note(t, m, o)
	}

	return nil
}

// try runs the mutants of one package until the time is over.
func (r *report) try(ctx context.Context, s settings, p *program, known *results, open []mutant) error {
	start := time.Now()
	left, err := p.survey(ctx, s.slow)
	if err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the time is over: the next run goes on here
		}
		return err
	}

	for _, name := range left {
		_, _ = fmt.Fprintln(r.progress, "  left out:", name)
	}
	_, _ = fmt.Fprintf(
		r.progress,
		"  %d tests were surveyed in %s\n",
		len(p.tests),
		time.Since(start).Round(time.Second),
	)

	for i, m := range open {
		if ctx.Err() != nil {
			_, _ = fmt.Fprintf(r.progress, "  stopped: %d of %d were tried\n", i, len(open))
			return nil //nolint:nilerr // the time is over: the next run goes on here
		}
		o, _ := p.try(ctx, m)
		if ctx.Err() != nil {
			continue // it was cut off
		}

		if err := known.put(m, o); err != nil {
			return err
		}
		if s.verbose || o == survived || o == unseen {
			_, _ = fmt.Fprintf(r.progress, "  %d/%d %s %s:%d %s\n", i+1, len(open), o, m.file, m.line, m.id())
		}
	}

	return nil
}

// choose is the fixed sample, or all.
func choose(mutants []mutant, s settings) []mutant {
	list := slices.DeleteFunc(slices.Clone(mutants), func(m mutant) bool { return !strings.Contains(m.file, s.file) })
	if s.sample <= 0 || s.sample >= len(list) {
		return list
	}

	// The sample is chosen by a hash of each mutant: it stays the same when others come and go.
	rank := func(m mutant) uint64 {
		sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", s.seed, movable(m.id())))
		return binary.BigEndian.Uint64(sum[:])
	}

	slices.SortFunc(list, func(a, b mutant) int {
		if rank(a) < rank(b) {
			return -1
		}
		return 1
	})

	return list[:s.sample]
}

// note counts one mutant, and describes it if it survived.
func (r *report) note(t *target, m mutant, o outcome) {
	if r.scores[m.file] == nil {
		r.scores[m.file] = &score{file: m.file}
	}
	_, excused := r.excused[movable(m.id())]
	r.used[movable(m.id())] = true
	r.packages[path.Dir(m.file)] = true
	r.scores[m.file].count(o, excused)

	// A mutant that a test kills is wrong in the list of equivalents.
	if excused && (o == killed || o == timedOut) {
		r.failed = true
		r.survivors = append(
			r.survivors,
			fmt.Sprintf("%s:%d: listed as equivalent, and killed by a test: %s\n", m.file, m.line, m.id()),
		)
	}

	if excused || o != survived && o != unseen {
		return
	}

	// Survivors are described everywhere, and fail the run only where the code decides.
	word := string(o)
	if r.decides(m) {
		word += " in a file that decides"
		if r.known[movable(m.id())] {
			word += ", as is known"
		} else {
			r.failed = true
		}
	}

	r.survivors = append(
		r.survivors,
		fmt.Sprintf("%s:%d: %s\n  %s\n%s", m.file, m.line, word, m.id(), m.diff(t.sources[m.source].text)),
	)
}

// decides reports whether the mutant is in a file that decides.
func (r *report) decides(m mutant) bool {
	return slices.ContainsFunc(r.deciding, func(d string) bool {
		return m.file == d || strings.HasSuffix(d, "/") && strings.HasPrefix(m.file, d)
	})
}

// diff shows the lines of the mutant before and after.
func (m mutant) diff(text []byte) string {
	from := m.start
	for from > 0 && text[from-1] != '\n' {
		from--
	}
	to := m.end
	for to < len(text) && text[to] != '\n' {
		to++
	}

	after := m.after
	if m.operator == opReturn {
		return fmt.Sprintf("  + %s: %s\n", m.function, after)
	}
	lines := func(sign, s string) string {
		var out strings.Builder
		for i, line := range strings.Split(s, "\n") {
			if i == 4 {
				_, _ = fmt.Fprintf(&out, "  %s …\n", sign)
				break
			}
			_, _ = fmt.Fprintf(&out, "  %s %s\n", sign, line)
		}
		return out.String()
	}

	return lines("-", string(text[from:to])) + lines("+", string(text[from:m.start])+after+string(text[m.end:to]))
}

// print writes survivors and scores; of a whole run also the entries of the
// list of equivalents that name no mutant of the files that were run.
func (r *report) print(whole bool) {
	for _, s := range r.survivors {
		_, _ = fmt.Fprintln(r.out, s)
	}

	// An entry that names no mutant is out of date, which only a whole run can show.
	for id := range r.excused {
		dir, _, _ := strings.Cut(id, " ")
		if whole && r.packages[dir] && !r.used[id] {
			r.failed = true
			_, _ = fmt.Fprintf(r.out, "equivalent.txt names no mutant: %s\n", id)
		}
	}
	printScores(r.out, r.scores)
}
