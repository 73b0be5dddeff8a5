package policy

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"go.yaml.in/yaml/v4"

	"github.com/attestor-gate/attestor"
)

// maxFiles bounds how many policies are in force at once.
const maxFiles = 20_000

// A Source is one policy file's name and text.
type Source struct {
	Name string
	Text []byte

	digest attestor.Digest // of the text, where it is known already
}

func (s Source) digested() attestor.Digest {
	if s.digest != "" {
		return s.digest
	}
	return attestor.DigestOf(s.Text)
}

// Load reads policy files, and of directories every *.yaml and *.yml in them
// that is no test file (*_test.yaml). What is wrong with any of them is in the
// one error, which is [Errors] unless a file could not be read.
func Load(paths ...string) (*Set, error) {
	sources, err := read(paths)
	if err != nil {
		return nil, err
	}
	if len(sources) == 0 && len(paths) > 0 {
		return nil, Errors{{
			File: paths[0], Line: 1, Column: 1,
			Message: "no policy: expected *.yaml files in " + strings.Join(paths, ", ") +
				", found none that is a policy; without one every image is refused",
		}}
	}
	return Parse(sources...)
}

// Parse is Load for texts that were read already.
func Parse(sources ...Source) (*Set, error) { return parse(checks(), sources) }

// parse has the policies judge by a table of checks.
func parse(table []check, sources []Source) (*Set, error) {
	l := loader{table: table}
	return l.load(sources)
}

// A loader loads sets, and keeps what it parsed for the next one: where one file of many changes, one is parsed.
type loader struct {
	table     []check
	policies  map[string]*Policy   // by file, of the last load
	fragments map[string]*fragment // by file, of the last load
	parsed    int                  // files, so far
}

func (l *loader) load(sources []Source) (*Set, error) {
	noPolicy := Errors{{File: "policies", Line: 1, Column: 1, Message: "no policy: without one every image is refused"}}
	if len(sources) == 0 {
		return nil, noPolicy
	}

	// What this load does not find is forgotten, so that a file that was removed is not kept.
	former := *l
	l.policies, l.fragments = map[string]*Policy{}, map[string]*fragment{}
	documents := l.read(sources, former)

	// Fragments come first: policies are made with them.
	var errs Errors
	shared := fragmentsByName{}
	for i, s := range sources {
		if doc := documents[i]; doc != nil && doc.isFragment() {
			f, bad := doc.fragment()
			errs = append(errs, bad...)
			if f != nil && len(bad) == 0 {
				l.fragments[s.Name] = f
			}
		}
		if f := l.fragments[s.Name]; f != nil {
			errs = append(errs, shared.add(f)...)
		}
	}

	// Each file writes to its own place, so that the order of errors does not depend on the processors.
	policies, wrong := make([]*Policy, len(sources)), make([]Errors, len(sources))
	broken := len(errs) > 0
	l.parsed += together(len(sources), func(i int) (parsed bool) {
		s, doc := sources[i], documents[i]
		if l.fragments[s.Name] != nil || doc != nil && doc.isFragment() {
			return false
		}
		policies[i], wrong[i], parsed = l.policy(s, doc, former.policies[s.Name], shared, broken)
		return parsed
	})

	set := &Set{byName: map[string]*Policy{}}
	for i, s := range sources {
		errs = append(errs, wrong[i]...)
		p := policies[i]
		if p == nil {
			continue
		}

		// Only a policy without a fault is kept for the next load: a fault must be reported again.
		if len(wrong[i]) == 0 {
			l.policies[s.Name] = p
		}

		if other := set.byName[p.ref.Name]; other != nil && p.ref.Name != "" {
			at := p.places["metadata.name"]
			errs = append(errs, Diagnostic{File: s.Name, Line: at.line, Column: at.column, Path: "metadata.name",
				Message: fmt.Sprintf("%q is the name of the policy in %s too", p.ref.Name, other.file)})
		}
		set.byName[p.ref.Name] = p
		set.policies = append(set.policies, p)
	}

	// All or nothing: with one file broken, a repository could be governed by a laxer policy than its author meant.
	set.index()
	errs = append(errs, set.ties()...)
	switch {
	case len(errs) > 0:
		return nil, errs.sorted()
	case len(set.policies) == 0: // fragments alone
		return nil, noPolicy
	}
	set.seal()
	return set, nil
}

// read parses the files that are not what they were, and keeps the fragments that are. Of other files it returns
// nothing.
func (l *loader) read(sources []Source, former loader) []*document {
	documents := make([]*document, len(sources))
	for _, s := range sources {
		if f := former.fragments[s.Name]; f != nil && f.digest == s.digested() {
			l.fragments[s.Name] = f
		}
	}

	l.parsed += together(len(sources), func(i int) bool {
		s := sources[i]

		// By digest, never by time or size: a file can be written twice in one second.
		if p := former.policies[s.Name]; l.fragments[s.Name] != nil || p != nil && p.source == s.digested() {
			return false
		}
		documents[i] = readDocument(s, s.digested())
		return true
	})

	return documents
}

// together does n things on all processors, and counts those that say so.
func together(n int, do func(i int) bool) int {
	var next, counted atomic.Int64
	var wg sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if do(i) {
					counted.Add(1)
				}
			}
		})
	}

	wg.Wait()
	return int(counted.Load())
}

// policy is the one of a file: the one from before, where neither the file nor a fragment that it uses has changed.
func (l *loader) policy(
	s Source, doc *document, former *Policy, shared fragmentsByName, broken bool,
) (p *Policy, errs Errors, parsed bool) {
	// An unchanged file with a changed fragment is another policy.
	if doc == nil && former.current(shared) {
		return former, nil, false
	}
	if doc == nil {
		doc, parsed = readDocument(s, former.source), true
	}
	p, errs = doc.policy(l.table, shared, broken)
	return p, errs, parsed
}

// parseOne returns a policy as far as it could be read, for the checks across
// policies, beside whatever is wrong with it. owners are the files of nodes that fragments gave.
func parseOne(table []check, s Source, root *yaml.Node, owners map[*yaml.Node]string) (*Policy, Errors) {
	p := &Policy{checks: table, questions: questions(table), file: s.Name, text: slices.Clone(s.Text)}
	d := newDecoder(s.Name)
	d.owners = owners
	d.value(root, reflect.ValueOf(&p.doc).Elem(), "")
	errs := d.errs
	p.places = d.places
	p.ref.Name, p.ref.Mode, p.ref.Digest = p.doc.Metadata.Name, p.doc.Spec.Mode, attestor.DigestOf(p.text)
	if !d.has("spec") {
		return nil, errs
	}

	// The validator runs on what could be read, so that all faults are reported at once.
	d.errs = nil
	v := validator{decoder: d, table: table, doc: &p.doc}
	v.all()
	p.rules = v.rules
	if errs = append(errs, v.errs...); len(errs) > 0 {
		return p, errs
	}

	// Only a policy without a fault is compiled: one with a fault judges nothing.
	p.makeStages(v.upcoming)
	p.needs, p.exceptions = p.stagesNeed(), p.doc.Spec.exceptions(table)
	return p, nil
}

// read expands directories and reads files, each once, in order of name.
func read(paths []string) ([]Source, error) {
	files, err := expand(paths)
	if err != nil {
		return nil, err
	}

	sources := make([]Source, 0, len(files))
	for _, name := range files {
		text, err := readBounded(name)
		if err != nil {
			return nil, err
		}
		sources = append(sources, Source{Name: name, Text: text})
	}

	return sources, nil
}

func expand(paths []string) ([]string, error) {
	var files []string
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("reading policies: %w", err)
		}
		if !info.IsDir() {
			files = append(files, filepath.Clean(path))
			continue
		}

		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, fmt.Errorf("reading policies: %w", err)
		}
		for _, e := range entries {
			if !e.IsDir() && isPolicyFile(e.Name()) {
				files = append(files, filepath.Join(path, e.Name()))
			}
		}
	}

	// A file that is named twice is one policy, not two of the same name.
	slices.Sort(files)
	if files = slices.Compact(files); len(files) > maxFiles {
		return nil, fmt.Errorf("reading policies: %d files, at most %d are allowed", len(files), maxFiles)
	}
	return files, nil
}

// isPolicyFile leaves out tests, and the hidden names that editors and
// Kubernetes' mounted ConfigMaps use.
func isPolicyFile(name string) bool {
	stem, yaml := strings.CutSuffix(name, ".yaml")
	if !yaml {
		stem, yaml = strings.CutSuffix(name, ".yml")
	}
	return yaml && !strings.HasSuffix(stem, "_test") && !strings.HasPrefix(name, ".")
}

// readBounded reads no more than it takes to see that a file is too large.
func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading policies: %w", err)
	}

	// One byte more than is allowed: the decoder refuses the file by its length.
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if closed := f.Close(); err == nil {
		err = closed
	}

	if err != nil {
		return nil, fmt.Errorf("reading policies: %w", err)
	}
	return text, nil
}
