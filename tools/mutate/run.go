package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A program is the package's compiled tests, with every mutant in it.
type program struct {
	target  *target
	mutants []mutant
	binary  string
	work    string
	tests   []test
}

// A test is one top-level test, example or seed corpus of the package.
type test struct {
	name    string
	took    time.Duration
	reaches map[int]bool // mutants, by number
}

// compile builds the package's tests once, with every mutant's switch in them.
func compile(goTool string, t *target, work string) (*program, error) {
	mutants, texts, err := t.schemata(t.find())
	if err != nil {
		return nil, fmt.Errorf("rewriting %s: %w", t.label, err)
	}
	if err := os.MkdirAll(work, 0o700); err != nil {
		return nil, err
	}

	// The sources stay as they are: the compiler reads the rewritten texts in their place.
	replace := map[string]string{}
	for i, text := range texts {
		original := filepath.Join(t.dir, "mutate__runtime.go")
		if i < len(t.sources) {
			original = t.sources[i].path
		}
		rewritten := filepath.Join(work, filepath.Base(original)+".txt")
		if err := os.WriteFile(rewritten, []byte(text), 0o600); err != nil {
			return nil, err
		}
		replace[original] = rewritten
	}

	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return nil, err
	}
	overlayPath := filepath.Join(work, "overlay.json")
	if err := os.WriteFile(overlayPath, overlay, 0o600); err != nil {
		return nil, err
	}

	p := &program{target: t, mutants: mutants, work: work, binary: filepath.Join(work, "tests")}
	cmd := exec.Command( //nolint:gosec // the go command
		goTool, "test", "-c", "-vet=off", "-overlay", overlayPath, "-o", p.binary, t.label,
	)

	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compiling the tests of %s: %w\n%s", t.label, err, out)
	}

	return p, nil
}

// The outcomes of running tests.
type outcome string

const (
	killed   outcome = "killed"
	timedOut outcome = "timeout"
	survived outcome = "survived"
	unseen   outcome = "unreached" // no test runs the place
)

// run runs tests with a mutant; mutant < 0 is the program as it is.
func (p *program) run(
	ctx context.Context,
	names []string,
	mutant int,
	limit time.Duration,
	trace string,
) (outcome, string) {
	// The names of tests are not patterns.
	for i, n := range names {
		names[i] = regexp.QuoteMeta(n)
	}
	ctx, cancel := context.WithTimeout(ctx, limit+5*time.Second)
	defer cancel()

	cmd := exec.CommandContext(
		ctx,
		p.binary,
		"-test.run=^("+strings.Join(names, "|")+")$",
		"-test.failfast", //nolint:gosec // what was just compiled
		"-test.timeout="+limit.String(),
		"-test.paniconexit0",
	)

	cmd.Dir = p.target.dir
	cmd.Env = append(os.Environ(), "MUTANT="+strconv.Itoa(mutant), "MUTANT_TRACE="+trace, "GOMAXPROCS=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // tests start programs of their own
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var out bytes.Buffer

	// One writer for both: package exec then writes from one goroutine.
	sink := &limited{&out, 1 << 20}
	cmd.Stdout, cmd.Stderr = sink, sink

	err := cmd.Run()
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what the tests left behind
	}
	switch {
	case err == nil:
		return survived, ""
	case ctx.Err() != nil || bytes.Contains(out.Bytes(), []byte("panic: test timed out")):
		return timedOut, out.String()
	}

	return killed, out.String()
}

// limited keeps the beginning of what is written.
type limited struct {
	to   *bytes.Buffer
	left int
}

func (l *limited) Write(b []byte) (int, error) {
	n := min(len(b), l.left)
	l.left -= n
	l.to.Write(b[:n])

	return len(b), nil
}

// survey runs each test by itself and notes how long it takes and which
// mutants it reaches. A test that fails, or takes longer than slow, is left out.
func (p *program) survey(ctx context.Context, slow time.Duration) (left []string, err error) {
	list := exec.CommandContext(ctx, p.binary, "-test.list=.") //nolint:gosec // what was just compiled
	list.Dir = p.target.dir
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("listing the tests of %s: %w", p.target.label, err)
	}

	// One test at a time, so that its time and the mutants that it reaches are its own.
	for name := range strings.Lines(string(out)) {
		name = strings.TrimSpace(name)
		if name == "" || strings.HasPrefix(name, "Benchmark") {
			continue
		}
		trace := filepath.Join(p.work, "trace")
		_ = os.Remove(trace)
		start := time.Now()
		result, output := p.run(ctx, []string{name}, -1, slow, trace)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}

		if result != survived {
			left = append(
				left,
				fmt.Sprintf("%s, which fails or takes longer than %s without any mutant:\n%s", name, slow, output),
			)
			continue
		}

		reached := test{name: name, took: time.Since(start), reaches: map[int]bool{}}
		lines, err := os.ReadFile(trace)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}

		for line := range strings.Lines(string(lines)) {
			if n, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
				reached.reaches[n] = true
			}
		}
		p.tests = append(p.tests, reached)
	}

	// The quick ones first: most mutants are killed by one of them.
	slices.SortStableFunc(p.tests, func(a, b test) int { return cmp.Compare(a.took, b.took) })

	return left, nil
}

// try runs the tests that reach a mutant, the quick ones first.
func (p *program) try(ctx context.Context, m mutant) (outcome, string) {
	var batch []string
	var took time.Duration
	reached := false
	flush := func() (outcome, string) {
		names := batch
		limit := 5*took + 8*time.Second
		batch, took = nil, 0

		// A loop without end needs more than any time. What took too long on a busy machine does not.
		result, output := p.run(ctx, slices.Clone(names), m.number, limit, "")
		if result == timedOut && ctx.Err() == nil {
			result, output = p.run(ctx, slices.Clone(names), m.number, 4*limit, "")
		}
		return result, output
	}

	// Quick tests run together, since starting the program takes longer than they do.
	for _, t := range p.tests {
		if !t.reaches[m.number] {
			continue
		}
		reached = true
		batch, took = append(batch, t.name), took+t.took
		if took > 500*time.Millisecond || len(batch) == 12 {
			if result, output := flush(); result != survived {
				return result, output
			}
		}
	}

	if !reached {
		return unseen, ""
	}
	if len(batch) > 0 {
		return flush()
	}

	return survived, ""
}
