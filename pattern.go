package attestor

import (
	"fmt"
	"path"
	"strings"
)

// A Pattern matches repositories by path segment: "*" stands for any run of
// characters within one segment, "**" as a whole segment for any number of
// them, none included. The zero value matches nothing.
type Pattern struct {
	text     string
	segments []string
}

// ParsePattern refuses what could not have been meant: no registry, empty
// segments, tags, digests, schemes, "**" beside other characters.
func ParsePattern(s string) (Pattern, error) {
	bad := func(why string) (Pattern, error) {
		return Pattern{}, &Error{Kind: Invalid, Msg: fmt.Sprintf("pattern %q: %s", clip(s), why)}
	}
	switch {
	case s == "":
		return bad("is empty")
	case len(s) > maxReferenceLength:
		return bad("is too long")
	case strings.Contains(s, "://"):
		return bad("has a scheme; remove it")
	case strings.Contains(s, "@"):
		return bad("has a digest; patterns are about repositories")
	}

	segments := strings.Split(s, "/")
	for i, seg := range segments {
		switch {
		case seg == "":
			return bad("has an empty path segment")
		case seg != "**" && strings.Contains(seg, "**"):
			return bad(`"**" must be a whole path segment`)
		case i > 0 && strings.Contains(seg, ":"):
			return bad("has a tag; patterns are about repositories")
		case strings.Trim(seg, patternCharacters) != "":
			return bad("has a character that no repository has")
		}
	}

	if len(segments) == 1 && segments[0] != "**" {
		return bad("has no path; want REGISTRY/PATH, such as us-docker.pkg.dev/project/**")
	}
	return Pattern{text: s, segments: segments}, nil
}

const patternCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:*[]"

// Match reports whether a canonical repository is covered.
func (p Pattern) Match(repository string) bool {
	return len(p.segments) > 0 && matchSegments(p.segments, strings.Split(repository, "/"))
}

// MatchPath reports whether a pattern covers a file in an image: "*" stands for any run of characters within one
// segment, "**" as a whole segment for any number of them. Both are taken from the root of the file system, and the
// path is made plain first, so that no ".." leads out of a directory that the pattern names.
func MatchPath(pattern, file string) bool {
	if file == "" {
		return false
	}
	segments := func(s string) []string { return strings.Split(strings.TrimPrefix(s, "/"), "/") }
	return matchSegments(segments(pattern), segments(path.Clean("/"+file)))
}

// CheckPathPattern says why a pattern of files can match nothing, or "".
func CheckPathPattern(s string) string {
	switch {
	case strings.Trim(s, "/") == "":
		return "is empty"
	case len(s) > maxReferenceLength:
		return "is too long"
	}

	for _, seg := range strings.Split(strings.TrimPrefix(s, "/"), "/") {
		switch {
		case seg == "" || seg == "." || seg == "..":
			return "has an empty path segment, or one of dots"
		case seg != "**" && strings.Contains(seg, "**"):
			return `has "**" beside other characters: it must be a whole path segment`
		}
	}
	return ""
}

// matchSegments walks with one backtrack point, as matchSegment does, so that
// a hostile pattern costs no more than the product of both lengths.
func matchSegments(pattern, path []string) bool {
	p, i, star, mark := 0, 0, -1, 0
	for i < len(path) {
		switch {
		case p < len(pattern) && pattern[p] == "**":
			star, mark = p, i
			p++
		case p < len(pattern) && matchSegment(pattern[p], path[i]):
			p++
			i++
		// Only the last star is gone back to: what an earlier one could take in, the last one can too.
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}

	// What is left of the pattern must match nothing.
	for p < len(pattern) && pattern[p] == "**" {
		p++
	}
	return p == len(pattern)
}

func matchSegment(pattern, s string) bool {
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}

	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// Compare orders patterns by how specific they are: positive where p is more
// specific than q, 0 for a tie. Segments are compared left to right, a literal
// before "*" before "**"; among segments with "*", more literal characters win.
func (p Pattern) Compare(q Pattern) int {
	for i := 0; i < len(p.segments) && i < len(q.segments); i++ {
		a, b := specificity(p.segments[i]), specificity(q.segments[i])
		if a != b {
			return a - b
		}
	}

	// With equal beginnings the longer pattern says more.
	return len(p.segments) - len(q.segments)
}

func specificity(segment string) int {
	switch {
	case segment == "**":
		return 0
	case strings.Contains(segment, "*"):
		return 1 + len(strings.ReplaceAll(segment, "*", ""))
	}
	return 1 + maxReferenceLength
}

// Overlaps reports whether some repository is covered by both patterns.
func (p Pattern) Overlaps(q Pattern) bool {
	if len(p.segments) == 0 || len(q.segments) == 0 {
		return false
	}
	return overlap(len(p.segments), len(q.segments),
		func(i int) bool { return p.segments[i] == "**" },
		func(j int) bool { return q.segments[j] == "**" },
		func(i, j int) bool { return segmentsOverlap(p.segments[i], q.segments[j]) })
}

func segmentsOverlap(a, b string) bool {
	// Most segments are literal, and hundreds of policies are compared pair by pair.
	if !strings.Contains(a, "*") && !strings.Contains(b, "*") {
		return a == b
	}
	return overlap(len(a), len(b),
		func(i int) bool { return a[i] == '*' },
		func(j int) bool { return b[j] == '*' },
		func(i, j int) bool { return a[i] == b[j] })
}

// overlap reports whether two sequences in which some elements stand for any
// run, none included, have a common reading. meet[j] says whether what is left
// of both, from i and j on, can be read alike; it costs the product of both
// lengths.
func overlap(n, m int, starA, starB func(int) bool, same func(i, j int) bool) bool {
	meet, below := make([]bool, m+1), make([]bool, m+1)
	for i := n; i >= 0; i-- {
		for j := m; j >= 0; j-- {
			switch {
			case i == n && j == m:
				meet[j] = true
			case i < n && starA(i):
				meet[j] = below[j] || j < m && meet[j+1]
			case j < m && starB(j):
				meet[j] = meet[j+1] || i < n && below[j]
			default:
				meet[j] = i < n && j < m && same(i, j) && below[j+1]
			}
		}
		meet, below = below, meet
	}

	return below[0]
}

// Covers reports whether p matches every repository that q matches. It never says so
// wrongly; of patterns that differ in form it may say no where the answer is yes.
func (p Pattern) Covers(q Pattern) bool {
	if len(p.segments) == 0 || len(q.segments) == 0 {
		return false
	}
	return cover(len(p.segments), len(q.segments),
		func(i int) bool { return p.segments[i] == "**" },
		func(j int) bool { return q.segments[j] == "**" },
		func(i, j int) bool {
			a, b := p.segments[i], q.segments[j]
			return cover(len(a), len(b),
				func(i int) bool { return a[i] == '*' }, func(j int) bool { return b[j] == '*' },
				func(i, j int) bool { return a[i] == b[j] })
		})
}

// cover reports whether the first of two sequences, in which some elements stand for
// any run, has every reading of the second. all[j] says so of what is left of both,
// from i and j on.
func cover(n, m int, starA, starB func(int) bool, same func(i, j int) bool) bool {
	all, below := make([]bool, m+1), make([]bool, m+1)
	for i := n; i >= 0; i-- {
		for j := m; j >= 0; j-- {
			switch {
			case i == n:
				all[j] = j == m
			case starA(i):
				// A run takes in one more element of the other, or ends.
				all[j] = below[j] || j < m && all[j+1]
			default:
				// Nothing but a run has every reading of a run.
				all[j] = j < m && !starB(j) && same(i, j) && below[j+1]
			}
		}
		all, below = below, all
	}
	return below[0]
}

// String is the text it was parsed from.
func (p Pattern) String() string { return p.text }

// MarshalText writes the pattern as it was parsed.
func (p Pattern) MarshalText() ([]byte, error) { return []byte(p.text), nil }

// UnmarshalText parses.
func (p *Pattern) UnmarshalText(b []byte) error {
	parsed, err := ParsePattern(string(b))
	if err != nil {
		return err
	}
	*p = parsed
	return nil
}

// Unmatchable says why no repository can match the pattern, in words that follow the pattern; "" where one can.
// Patterns are compared with canonical names, which are lower-case and have Docker Hub under index.docker.io.
func (p Pattern) Unmatchable() string {
	if len(p.segments) == 0 {
		return "is empty"
	}

	// A repository that the pattern matches is looked for. Within a path segment a letter is the best that "*" can
	// stand for: separators may not stand at an end or beside each other. A host needs a dot, which "*" may bring.
	for _, host := range []string{"a", "a.a"} {
		for _, letters := range []string{"a", "aa"} {
			repository := p.example(host, letters)
			if canonical, err := parseRepository(repository); err == nil && canonical == repository &&
				p.Match(repository) {
				return ""
			}
		}
	}

	for i, segment := range p.segments {
		if i == 0 || segment == "**" || pathSegment.MatchString(strings.ReplaceAll(segment, "*", "a")) {
			continue
		}
		why := "a name has lower-case letters and digits, and between them . _ __ or hyphens"
		if strings.Contains(segment, ".*") {
			why = "patterns are not regular expressions, * alone stands for any characters"
		}
		return fmt.Sprintf("can match no repository: %q cannot be part of a name; %s", clip(segment), why)
	}

	host := p.segments[0]
	switch {
	case !strings.ContainsAny(host, ".:*") && host != "localhost":
		return fmt.Sprintf(
			"can match no repository: %q is not a registry, whose host has a dot or a port; want REGISTRY/PATH",
			clip(host),
		)
	case host == "docker.io" || host == "index.docker.io":
		return "can match no repository: Docker Hub's are called index.docker.io/library/NAME and " +
			"index.docker.io/OWNER/NAME"
	}
	return "can match no repository: its registry or its path is not valid"
}

// example replaces the pattern's stars, those of the host and those of the path.
func (p Pattern) example(host, letters string) string {
	var out []string
	for i, segment := range p.segments {
		switch {
		case segment == "**" && i == 0:
			out = append(out, "registry.example", letters, letters)
		case segment == "**":
			out = append(out, letters, letters)
		case i == 0:
			out = append(out, strings.ReplaceAll(segment, "*", host))
		default:
			out = append(out, strings.ReplaceAll(segment, "*", letters))
		}
	}

	return strings.Join(out, "/")
}
