package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// listing remembers which references only come of a repository's list of tags.
// A reference that a file names, or that runs, is judged whatever it is.
type listing struct {
	tags    map[string]int // how often a repository's list has it
	other   map[string]int // how often any source has it
	sources []*source
}

// A source is one list of references, and what was expected in it.
type source struct {
	expected string
	yielded  int
}

func newListing() *listing { return &listing{tags: map[string]int{}, other: map[string]int{}} }

// countOnly is a listing that counts references and remembers none, so that its size does not grow.
func countOnly() *listing { return &listing{} }

// ofRepositories notes what a list of tags yields.
func (l *listing) ofRepositories(refs audit.References) audit.References {
	return func(yield func(string, error) bool) {
		for ref, err := range refs {
			if l.tags != nil {
				l.tags[ref]++
			}
			if !yield(ref, err) {
				return
			}
		}
	}
}

// counted notes how many references a source has.
func (l *listing) counted(expected string, refs audit.References) audit.References {
	s := &source{expected: expected}
	l.sources = append(l.sources, s)
	return func(yield func(string, error) bool) {
		for ref, err := range refs {
			s.yielded++
			if !yield(ref, err) {
				return
			}
		}
	}
}

// found says of each source without a reference what was expected there.
func (l *listing) found() []string {
	var out []string
	for _, s := range l.sources {
		if s.yielded == 0 {
			out = append(out, "expected "+s.expected+", found none")
		}
	}
	return out
}

// length is how many references all sources had.
func (l *listing) length() (n int) {
	for _, s := range l.sources {
		n += s.yielded
	}
	return n
}

// yielded notes a reference of any source, those of repositories included.
func (l *listing) yielded(ref string) {
	if l.other != nil {
		l.other[ref]++
	}
}

// only reports whether no other source than a list of tags has the reference.
// It is called once all sources were read.
func (l *listing) only(ref string) bool { return l.tags[ref] > 0 && l.tags[ref] == l.other[ref] }

// inMemory reads a list to its end: it can be read again, and its registries are known.
func inMemory(refs audit.References) (again audit.References, hosts []string, err error) {
	var all []string
	seen := map[string]bool{}
	for ref, err := range refs {
		if err != nil {
			return nil, nil, err
		}
		all = append(all, ref)

		// What cannot be read has no registry. It is reported when it is judged.
		parsed, err := attestor.ParseReference(ref)
		if host, _, _ := strings.Cut(parsed.Repository(), "/"); err == nil && !seen[host] {
			seen[host] = true
			hosts = append(hosts, host)
		}
	}

	return func(yield func(string, error) bool) {
		for _, ref := range all {
			if !yield(ref, nil) {
				return
			}
		}
	}, hosts, nil
}

// artifactOf finds the kind of artifact behind a tag without a decision; a
// service's decisions say it.
func artifactOf(j *judge) func(context.Context, attestor.Reference, attestor.Image) (string, error) {
	if j.engine == nil {
		return nil
	}
	return func(ctx context.Context, ref attestor.Reference, img attestor.Image) (string, error) {
		return j.engine.Inspector.Artifact(ctx, img, ref.Tag())
	}
}

// maxArtifactsNamed bounds how many references of one kind are printed.
const maxArtifactsNamed = 3

// artifactsApart are references by the kind of artifact that was set apart.
type artifactsApart map[string][]string

func (a artifactsApart) add(r audit.Result) { a[r.Artifact] = append(a[r.Artifact], r.Reference) }

// write prints a line for each kind: how many there are, and the first few.
func (a artifactsApart) write(w io.Writer) {
	for _, kind := range slices.Sorted(maps.Keys(a)) {
		refs := slices.Sorted(slices.Values(a[kind]))
		named := strings.Join(refs[:min(len(refs), maxArtifactsNamed)], ", ")
		if more := len(refs) - maxArtifactsNamed; more > 0 {
			named += fmt.Sprintf(" and %d more", more)
		}
		fmt.Fprintf(w, "set apart, not images: %d × %s: %s\n", len(refs), kind, named)
	}
}
