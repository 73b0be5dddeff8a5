// Package eol knows until when distributions publish fixes. Its table is part of the release, with its date and its
// source; a file of the same form can replace it.
package eol

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/when"
)

//go:embed systems.csv
var systems string

// The bounds of a table that is read.
const (
	maxBytes = 1 << 20
	maxRows  = 20_000
)

// rolling stands in place of an end for a distribution without releases.
const rolling = "rolling"

// A Table says when releases end. The zero value knows none.
type Table struct {
	date     string // YYYY-MM-DD, of the dates in it
	source   string
	ends     map[string]map[string]string // by id and release: a date, or "" where none is announced
	releases map[string][]string          // by id, in the order of the table: older first
	rolling  map[string]bool              // ids
}

// Builtin is the table of the release.
var Builtin = sync.OnceValue(func() *Table {
	t, err := Parse(strings.NewReader(systems))
	if err != nil {
		panic("the built-in table of ends of life: " + err.Error()) // a test reads it
	}
	return t
})

// Load reads a table that replaces the built-in one.
func Load(path string) (*Table, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the table of ends of life: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only

	t, err := Parse(f)
	if err != nil {
		return nil, fmt.Errorf("reading the table of ends of life %s: %w", path, err)
	}
	return t, nil
}

var (
	idForm      = regexp.MustCompile(`\A[a-z0-9][a-z0-9._-]{0,63}\z`)
	releaseForm = regexp.MustCompile(`\A[0-9A-Za-z][0-9A-Za-z._-]{0,31}\z`)
)

// Parse reads lines of "id,version,end" after three lines of head: "date,YYYY-MM-DD", "source,TEXT" and the names of
// the columns. Releases of one id stand in their order, oldest first. Empty lines and lines that begin with # are left
// out. An error names its line.
func Parse(r io.Reader) (*Table, error) {
	t := &Table{ends: map[string]map[string]string{}, releases: map[string][]string{}, rolling: map[string]bool{}}
	limited := &io.LimitedReader{R: r, N: maxBytes + 1}
	lines, n, head := bufio.NewScanner(limited), 0, 0
	for lines.Scan() {
		n++
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}

		var err error
		if head < 3 {
			err = t.head(head, line)
			head++
		} else {
			err = t.row(line)
		}
		switch {
		case err != nil:
			return nil, fmt.Errorf("line %d: %w", n, err)
		case n > maxRows:
			return nil, fmt.Errorf("more than %d lines", maxRows)
		}
	}

	switch {
	case lines.Err() != nil:
		return nil, lines.Err()
	// A table that was cut off would lack ends, and a system without an end passes.
	case limited.N <= 0:
		return nil, fmt.Errorf("more than %d bytes", maxBytes)
	case len(t.ends)+len(t.rolling) == 0:
		return nil, errors.New("it lists no system: by an empty table every system would pass")
	}
	return t, nil
}

func (t *Table) head(n int, line string) error {
	name, value, _ := strings.Cut(line, ",")
	switch {
	case n == 0 && name == "date":
		_, err := when.ParseDate(value)
		t.date = value
		return err
	case n == 1 && name == "source" && value != "":
		t.source = value
		return nil
	case n == 2 && line == "id,version,end":
		return nil
	}

	return fmt.Errorf(
		"%.80q is not the head of the table: want date,YYYY-MM-DD, then source,TEXT, then id,version,end",
		line,
	)
}

func (t *Table) row(line string) error {
	fields := strings.Split(line, ",")
	if len(fields) != 3 || !idForm.MatchString(fields[0]) {
		return fmt.Errorf("%.80q is malformed: want id,version,end", line)
	}

	id, release, end := fields[0], fields[1], fields[2]
	if end == rolling && release == "*" {
		t.rolling[id] = true
		return nil
	}
	if !releaseForm.MatchString(release) {
		return fmt.Errorf("%.40q is not a version", release)
	}
	if _, err := when.ParseDate(end); end != "" && err != nil {
		return fmt.Errorf("%.40q is not a date, nor rolling", end)
	}

	if t.ends[id] == nil {
		t.ends[id] = map[string]string{}
	}

	// Of two ends for one release the later would win in silence.
	if _, twice := t.ends[id][release]; twice {
		return fmt.Errorf("duplicate %s %s", id, release)
	}
	t.ends[id][release] = end
	t.releases[id] = append(t.releases[id], release)
	return nil
}

// Date is the date of the table, YYYY-MM-DD.
func (t *Table) Date() string { return t.date }

// Source says where the table's dates are from.
func (t *Table) Source() string { return t.source }

// Describe fills in what the table says of a system at a time.
func (t *Table) Describe(s *attestor.System, at time.Time) {
	// The date goes with every answer, so that a reader sees how old the table is.
	s.Table = t.date
	if t.rolling[s.ID] || unreleased(s.Version) {
		s.Rolling = true
		return
	}

	release, known := t.release(s.ID, s.Version)
	if !known {
		return
	}
	s.Release, s.End = release, t.ends[s.ID][release]
	s.Successor = t.successor(s.ID, s.End, at)
}

// unreleased reports whether a version is one that is not released yet, such as trixie/sid, edge or 3.24_alpha20260101.
func unreleased(version string) bool {
	v := strings.ToLower(version)
	return strings.HasSuffix(v, "/sid") || v == "sid" || v == "edge" || v == "rawhide" ||
		strings.Contains(v, "_alpha") ||
		strings.Contains(v, "_git")
}

// release finds the table's name for a version: 12.5 is 12 where the table has no 12.5, and 15 is 15.0.
func (t *Table) release(id, version string) (string, bool) {
	v, _, _ := strings.Cut(version, " ") // 2023 (Amazon Linux)
	if v == "" {
		return "", false
	}
	if _, ok := t.ends[id][v+".0"]; ok {
		if _, own := t.ends[id][v]; !own {
			return v + ".0", true
		}
	}

	// From the most exact name to the least.
	for {
		if _, ok := t.ends[id][v]; ok {
			return v, true
		}
		i := strings.LastIndexByte(v, '.')
		if i < 0 {
			return "", false
		}
		v = v[:i]
	}
}

// successor is the release that is served longest, if that is longer than end.
func (t *Table) successor(id, end string, at time.Time) string {
	// Dates in this form compare as texts.
	best, until := "", max(end, at.UTC().Format(time.DateOnly))
	if end == "" {
		return ""
	}

	for _, r := range t.releases[id] {
		if e := t.ends[id][r]; e > until {
			best, until = r, e
		}
	}

	if best == "" {
		return ""
	}

	return id + " " + best
}
