package policy

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
)

// maxFiles bounds how many policies are in force at once.
const maxFiles = 1000

// A Source is one policy file's name and text.
type Source struct {
	Name string
	Text []byte
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
				", found none but tests, if any; without a policy every image is refused",
		}}
	}
	return Parse(sources...)
}

// Parse is Load for texts that were read already.
func Parse(sources ...Source) (*Set, error) { return parse(checks(), sources) }

// parse has the policies judge by a table of checks.
func parse(table []check, sources []Source) (*Set, error) {
	if len(sources) == 0 {
		return nil, Errors{
			{File: "policies", Line: 1, Column: 1, Message: "no policy: without one every image is refused"},
		}
	}

	var errs Errors
	set := &Set{byName: map[string]*Policy{}}
	for _, s := range sources {
		p, bad := parseOne(table, s)
		errs = append(errs, bad...)
		if p == nil {
			continue
		}

		if other := set.byName[p.ref.Name]; other != nil && p.ref.Name != "" {
			at := p.places["metadata.name"]
			errs = append(errs, Diagnostic{File: s.Name, Line: at.line, Column: at.column, Path: "metadata.name",
				Message: fmt.Sprintf("%q is the name of the policy in %s too", p.ref.Name, other.file)})
		}
		set.byName[p.ref.Name] = p
		set.policies = append(set.policies, p)
	}

	errs = append(errs, set.ties()...)
	if len(errs) > 0 {
		return nil, errs.sorted()
	}
	set.seal()
	return set, nil
}

// parseOne returns a policy as far as it could be read, for the checks across
// policies, beside whatever is wrong with it.
func parseOne(table []check, s Source) (*Policy, Errors) {
	p := &Policy{checks: table, questions: questions(table), file: s.Name, text: slices.Clone(s.Text)}
	d, errs := decode(s.Name, s.Text, &p.doc)
	p.places = d.places
	p.ref.Name, p.ref.Mode, p.ref.Digest = p.doc.Metadata.Name, p.doc.Spec.Mode, attestor.DigestOf(p.text)
	if !d.has("spec") {
		return nil, errs
	}

	d.errs = nil
	v := validator{decoder: d, table: table, doc: &p.doc}
	v.all()
	p.rules = v.rules
	if errs = append(errs, v.errs...); len(errs) > 0 {
		return p, errs
	}
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
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if closed := f.Close(); err == nil {
		err = closed
	}

	if err != nil {
		return nil, fmt.Errorf("reading policies: %w", err)
	}
	return text, nil
}
