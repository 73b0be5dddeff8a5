package posture

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/plain"
	"github.com/attestor-gate/attestor/posture/dockerfile"
)

// kindDockerfile is the kind of a Dockerfile as the subject of rules.
const kindDockerfile = "dockerfile"

// maxDockerfile bounds a Dockerfile and a .dockerignore, which people write by hand.
const maxDockerfile = 1 << 20

// A build is a Dockerfile with what belongs to it.
type build struct {
	*dockerfile.Build
	ignore  *dockerfile.Ignore // nil: not given
	ignored string             // the name of the .dockerignore
}

// isDockerfile and isDockerignore go by the name of a file.

func isDockerfile(name string) bool {
	base := strings.ToLower(path.Base(name))
	return base == "dockerfile" || base == "containerfile" || strings.HasPrefix(base, "dockerfile.") &&
		!isDockerignore(name) ||
		strings.HasSuffix(base, ".dockerfile")
}

func isDockerignore(name string) bool {
	return strings.HasSuffix(strings.ToLower(path.Base(name)), ".dockerignore")
}

// builds adds the Dockerfiles and the .dockerignore files of the input, and returns the other definitions.
func (m *model) builds(in []Source) (rest []Source, errs []error) {
	// The .dockerignore files come first: a Dockerfile looks for its own among them.
	ignores := map[string]*dockerfile.Ignore{}
	for _, src := range in {
		if !isDockerignore(src.Name) {
			continue
		}

		if len(src.Text) > maxDockerfile {
			errs = append(errs, fmt.Errorf("%s: has %d bytes, a .dockerignore may have %d", plain.Text(src.Name),
				len(src.Text), maxDockerfile))
			continue
		}
		ignore, err := dockerfile.ParseIgnore(src.Text)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %s", plain.Text(src.Name), plain.Text(err.Error())))
		}
		ignores[src.Name] = ignore
	}

	used := map[string]bool{}
	for _, src := range in {
		switch {
		case isDockerignore(src.Name):
		case !isDockerfile(src.Name):
			rest = append(rest, src)
		case len(src.Text) > maxDockerfile:
			errs = append(errs, fmt.Errorf("%s: has %d bytes, a Dockerfile may have %d", plain.Text(src.Name),
				len(src.Text), maxDockerfile))
		default:
			b, err := dockerfile.Parse(src.Text)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: not a Dockerfile: %s", plain.Text(src.Name), clip(err.Error())))
				continue
			}

			one := &build{Build: b}
			one.ignored, one.ignore = ignoreOf(src.Name, ignores)
			used[one.ignored] = true
			m.addBuild(src.Name, one)
		}
	}

	// A file that belongs to nothing was meant for something: the rule about the context would miss it without a
	// word.
	for _, name := range slices.Sorted(maps.Keys(ignores)) {
		if !used[name] && len(errs) == 0 {
			errs = append(errs, fmt.Errorf("%s: belongs to no Dockerfile of the input: pass the Dockerfile too",
				plain.Text(name)))
		}
	}

	return rest, errs
}

// ignoreOf is the .dockerignore of a Dockerfile: "NAME.dockerignore" beside it, ".dockerignore" in its folder, or the
// only one that was given, since a build's context may be another folder.
func ignoreOf(file string, ignores map[string]*dockerfile.Ignore) (string, *dockerfile.Ignore) {
	for _, name := range []string{file + ".dockerignore", path.Join(path.Dir(file), ".dockerignore")} {
		for given, ignore := range ignores {
			if path.Clean(given) == path.Clean(name) {
				return given, ignore
			}
		}
	}

	if len(ignores) == 1 {
		for name, ignore := range ignores {
			return name, ignore
		}
	}

	return "", nil
}

func (m *model) addBuild(file string, b *build) {
	s := &workload{kind: kindDockerfile, name: file, file: file, line: 1, form: formDockerfile, build: b}
	m.workloads = append(m.workloads, s)

	// Another frontend reads the file by rules of its own.
	name, _, _ := strings.Cut(strings.TrimPrefix(b.Frontend, "docker.io/"), "@")
	name, _, _ = strings.Cut(name, ":")
	if f := b.Frontend; f != "" && name != "docker/dockerfile" && name != "docker/dockerfile-upstream" {
		m.unjudged = append(m.unjudged, unjudgedPart{file: file, name: file, kind: kindDockerfile,
			line: 1, unread: true,
			message: "the frontend " + quote(f) + " reads the file by rules of its own",
			fix:     "judge the image that it builds: attestor check IMAGE"})
	}
}

// approves reports whether a reference is one of the bases that a policy approves, and whether the reference says
// enough to tell.
func approves(bases []attestor.ApprovedBase, text string) (approved, known bool) {
	ref, err := attestor.ParseReference(qualified(text))
	if err != nil {
		return false, true
	}

	// A tag beside a digest says which tag is meant; the reference itself keeps the digest alone.
	tag := ref.Tag()
	if name, _, pinned := strings.Cut(text, "@"); pinned {
		if named, err := attestor.ParseReference(qualified(name)); err == nil &&
			strings.Contains(path.Base(name), ":") {
			tag = named.Tag()
		}
	}

	// The repository decides first: a tag or a digest is approved only within its own.
	for _, b := range bases {
		if b.Repository != ref.Repository() {
			continue
		}

		img, pinned := ref.Pinned()
		switch {
		case len(b.Tags) == 0 && len(b.Digests) == 0:
			return true, true
		case pinned && slices.Contains(b.Digests, img.Digest()), tag != "" && slices.Contains(b.Tags, tag):
			return true, true
		case pinned && tag == "" && len(b.Tags) > 0:
			known = true // which tag has this digest, only the registry knows
		}
	}

	return false, !known
}

// qualified is a reference as BuildKit takes it: a name without a registry is Docker Hub's, and one without a path is
// of its library.
func qualified(ref string) string {
	first, _, nested := strings.Cut(ref, "/")
	switch {
	case !nested:
		return "docker.io/library/" + ref
	case !strings.ContainsAny(first, ".:") && first != "localhost":
		return "docker.io/" + ref
	}

	return ref
}
