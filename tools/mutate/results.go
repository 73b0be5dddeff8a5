package main

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A result is one line of a package's results. It holds for as long as the
// function around the mutant is the same and, unless the mutant was killed, the
// tests are; comments and layout count in neither.
type result struct {
	ID        string  `json:"id"`
	Enclosing string  `json:"enclosing"`
	Tests     string  `json:"tests"`
	Outcome   outcome `json:"outcome"`
}

// results are what earlier runs found out, in a file that grows.
type results struct {
	path  string
	tests string
	known map[string]result
}

func openResults(t *target, dir string) (*results, error) {
	// Results are of these tests: others may kill what survived.
	sum := sha256.New()
	for _, text := range t.tests {
		text = tokens(text)
		_, _ = fmt.Fprintf(sum, "%d:", len(text))
		_, _ = sum.Write(text)
	}

	r := &results{
		path: filepath.Join(dir, t.slug()+".jsonl"), known: map[string]result{},
		tests: hex.EncodeToString(sum.Sum(nil)[:6]),
	}

	f, err := os.Open(r.path)
	if errors.Is(err, os.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()

	// A line that an interruption cut off is an error: what it said is not known.
	for dec := json.NewDecoder(f); ; {
		var one result
		if err := dec.Decode(&one); errors.Is(err, io.EOF) {
			return r, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w; remove it to begin again", r.path, err)
		}
		r.known[movable(one.ID)] = one
	}
}

// find returns what is known of a mutant and still holds.
func (r *results) find(m mutant) (outcome, bool) {
	one, ok := r.known[movable(m.id())]
	if !ok || one.Enclosing != m.enclosing {
		return "", false
	}

	// A mutant that was killed counts as killed until its function changes.
	dead := one.Outcome == killed || one.Outcome == timedOut

	return one.Outcome, dead || one.Tests == r.tests
}

func (r *results) put(m mutant, o outcome) error {
	one := result{ID: m.id(), Enclosing: m.enclosing, Tests: r.tests, Outcome: o}
	r.known[movable(one.ID)] = one
	line, err := json.Marshal(one)
	if err != nil {
		return err
	}

	// Each result is appended at once: an interruption loses one at most.
	f, err := os.OpenFile(r.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))

	return errors.Join(err, f.Close())
}

// equivalents are the mutants that no test can tell from the program, with the
// argument for each, by their movable ids. A line of the list is "file function
// operator #n `text` => argument".
type equivalents map[string]string

func readEquivalents(path string) (equivalents, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return equivalents{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()

	e := equivalents{}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "# ") {
			continue
		}

		// The text of a mutant may have an arrow too: the backquote before it ends the text.
		id, why, ok := strings.Cut(line, "` => ")
		if id += "`"; !ok || strings.TrimSpace(why) == "" {
			return nil, fmt.Errorf("%s:%d: want a mutant, \" => \" and an argument", path, n)
		}

		if _, twice := e[movable(id)]; twice {
			return nil, fmt.Errorf("%s:%d: duplicate %s", path, n, id)
		}
		e[movable(id)] = why
	}

	return e, lines.Err()
}

// readLines reads a list, one entry a line.
func readLines(path string) ([]string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var list []string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			list = append(list, line)
		}
	}

	return list, nil
}

// A score counts the mutants of one file.
type score struct {
	file                                               string
	killed, survived, unreached, equivalent, undecided int
}

func (s *score) count(o outcome, excused bool) {
	switch {
	case o == killed || o == timedOut:
		s.killed++
	case excused:
		s.equivalent++
	case o == survived:
		s.survived++
	case o == unseen:
		s.unreached++
	default:
		s.undecided++
	}
}

func (s *score) add(other score) {
	s.killed += other.killed
	s.survived += other.survived
	s.unreached += other.unreached
	s.equivalent += other.equivalent
	s.undecided += other.undecided
}

// percent is of the mutants that a test could kill and that were tried.
func (s *score) percent() string {
	tried := s.killed + s.survived + s.unreached
	if tried == 0 {
		return "-"
	}

	return fmt.Sprintf("%.1f %%", 100*float64(s.killed)/float64(tried))
}

// print writes the scores by file as a Markdown table, with their sum.
func printScores(w io.Writer, scores map[string]*score) {
	list := []*score{}
	for _, s := range scores {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *score) int { return cmp.Compare(a.file, b.file) })
	all := &score{file: "all"}
	for _, s := range list {
		all.add(*s)
	}

	_, _ = fmt.Fprintln(
		w,
		"| file | killed | survived | unreached | equivalent | not tried | score |\n| --- | --: | --: | --: | --: | "+
			"--: | --: |",
	)
	for _, s := range append(list, all) {
		_, _ = fmt.Fprintf(
			w,
			"| %s | %d | %d | %d | %d | %d | %s |\n",
			s.file,
			s.killed,
			s.survived,
			s.unreached,
			s.equivalent,
			s.undecided,
			s.percent(),
		)
	}
}
