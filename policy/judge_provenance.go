package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
)

// provenance wants one statement that satisfies everything; of several that do
// not, the one that comes nearest is reported.
func (j *judge) provenance(e *attestor.PlatformEvidence) {
	want := j.policy.doc.Spec.Provenance
	if want == nil {
		j.skip(attestor.CheckProvenance, e.Platform, "the policy does not ask for provenance")
		return
	}
	problems := j.problems(attestor.CheckProvenance, j.ev.Problems, e.Problems)
	var nearest []finding
	best := false
	for i := range e.Provenance {
		found, counts := want.judge(&e.Provenance[i])
		if counts && (!best || len(found) < len(nearest)) {
			nearest, best = found, true
		}
	}
	switch {
	case best:
		problems = append(problems, nearest...)
	case len(problems) == 0:
		problems = append(problems, deny(attestor.CodeProvenanceMissing, j.ev.Image.Sibling(e.Digest).String(), "no verified provenance was found",
			"build with Cloud Build, options.requestedVerifyOption: VERIFIED, or attach a signed statement and name its signer in spec.provenance.signedBy"))
	}
	j.settle(attestor.CheckProvenance, e.Platform, problems)
}

// judge compares one statement. One of a source that the policy does not name
// a signer for does not count.
func (p *Provenance) judge(s *attestor.Provenance) (found []finding, counts bool) {
	if s.Source != "cloud-build" && (s.Source != "cosign" || p.SignedBy == nil) {
		return nil, false
	}
	if len(p.Builders) > 0 && !slices.Contains(p.Builders, s.Builder) {
		found = append(found, deny(attestor.CodeProvenanceBuilder, s.Builder, fmt.Sprintf("built by %q; allowed: %s", s.Builder, strings.Join(p.Builders, ", ")),
			"build with one of them, or add the builder to spec.provenance.builders"))
	}
	if int64(s.SLSALevel) < p.SLSALevel {
		found = append(found, deny(attestor.CodeProvenanceLevel, s.Builder, fmt.Sprintf("the provenance is of SLSA level %d; at least %d is required", s.SLSALevel, p.SLSALevel),
			"build with a builder of that level"))
	}
	if len(p.Sources) > 0 && !slices.ContainsFunc(p.Sources, func(pattern string) bool { return matchSource(pattern, s.SourceURI) }) {
		found = append(found, deny(attestor.CodeProvenanceSource, s.SourceURI, fmt.Sprintf("built from %q; allowed: %s", s.SourceURI, strings.Join(p.Sources, ", ")),
			"build from one of them, or add the repository to spec.provenance.sources"))
	}
	return found, true
}

// A source is a URI's scheme and the rest as a pattern of path segments.
type source struct {
	scheme  string
	pattern attestor.Pattern
}

func parseSource(s string) (source, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || scheme == "" || strings.Trim(scheme, "abcdefghijklmnopqrstuvwxyz") != "" {
		return source{}, fmt.Errorf("want a scheme, such as https://github.com/acme/*")
	}
	p, err := attestor.ParsePattern(rest)
	return source{scheme: scheme, pattern: p}, err
}

// matchSource compares by path segment, after taking from a URI what does not
// name the repository: "git+", "@ref", ".git".
func matchSource(pattern, uri string) bool {
	want, err := parseSource(pattern)
	if err != nil {
		return false
	}
	uri, _, _ = strings.Cut(strings.TrimPrefix(uri, "git+"), "#")
	scheme, rest, ok := strings.Cut(uri, "://")
	if authority, _, _ := strings.Cut(rest, "/"); strings.Contains(authority, "@") {
		return false // https://github.com@elsewhere.example/…
	}
	rest, _, _ = strings.Cut(rest, "@")
	rest = strings.TrimSuffix(strings.TrimSuffix(rest, "/"), ".git")
	return ok && scheme == want.scheme && !strings.ContainsAny(rest, "?%\\") && !hasDots(rest) && want.pattern.Match(rest)
}

// hasDots reports whether a path could name something else than it reads.
func hasDots(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return true
		}
	}
	return false
}
