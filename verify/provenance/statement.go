package provenance

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/plain"
)

// The predicate types that are understood.
const (
	slsaV01 = "https://slsa.dev/provenance/v0.1"
	slsaV02 = "https://slsa.dev/provenance/v0.2"
	slsaV1  = "https://slsa.dev/provenance/v1"
)

const cloudBuildBuilder = "https://cloudbuild.googleapis.com/GoogleHostedWorker"

type digests map[string]string

type dependency struct {
	URI    string  `json:"uri"`
	Digest digests `json:"digest"`
}

// configSource is the origin of a build's instructions, under the names that
// different builders use.
type configSource struct {
	URI        string  `json:"uri"`
	Repository string  `json:"repository"`
	Ref        string  `json:"ref"`
	Digest     digests `json:"digest"`
}

type statement struct {
	Type          string `json:"_type"`
	PredicateType string `json:"predicateType"`
	Subject       []struct {
		Digest digests `json:"digest"`
	} `json:"subject"`
	Predicate json.RawMessage `json:"predicate"`
}

// parse reads the payload of an envelope whose signature was verified. It returns
// an error unless the statement is about digest.
//
// The decoder is the lenient one of encoding/json: builders add fields, and the
// bytes are those of a trusted signer, who could as well have signed the reading
// that a second decoder would prefer.
func parse(payload []byte, digest attestor.Digest) (attestor.Provenance, error) {
	none := attestor.Provenance{}
	var st statement
	if err := json.Unmarshal(payload, &st); err != nil {
		return none, errors.New("it is not a statement")
	}

	// in-toto's validation model: "Reject if statement.type != …". All versions of the
	// statement have the fields that are read here.
	if !strings.HasPrefix(st.Type, "https://in-toto.io/Statement/v") {
		return none, fmt.Errorf("it is of type %q, not an in-toto statement", clip(st.Type))
	}

	// And: "Reject if matchedSubjects is empty." sha256 is the only acceptable
	// algorithm. The subject's name is not compared, since the digest identifies the
	// image wherever it was pushed.
	about := false
	for _, s := range st.Subject {
		about = about || s.Digest["sha256"] == digest.Hex()
	}
	if digest == "" || !about {
		return none, errors.New("it is about another digest")
	}

	// The predicate is read as the signed type says; one of an unknown type may mean
	// anything.
	p := attestor.Provenance{PredicateType: st.PredicateType}
	var err error
	switch st.PredicateType {
	case slsaV01:
		err = parseV01(st.Predicate, &p)
	case slsaV02:
		err = parseV02(st.Predicate, &p)
	case slsaV1:
		err = parseV1(st.Predicate, &p)
	default:
		err = fmt.Errorf("its predicate %q is not SLSA provenance", clip(st.PredicateType))
	}
	if err != nil {
		return none, err
	}
	return p, nil
}

// parseV1 reads a predicate of SLSA v1, as Cloud Build, GitHub and BuildKit write it.
func parseV1(b json.RawMessage, p *attestor.Provenance) error {
	var v struct {
		BuildDefinition struct {
			ExternalParameters   json.RawMessage `json:"externalParameters"`
			ResolvedDependencies []dependency    `json:"resolvedDependencies"`
		} `json:"buildDefinition"`
		RunDetails struct {
			Builder struct {
				ID string `json:"id"`
			} `json:"builder"`
		} `json:"runDetails"`
	}

	if err := json.Unmarshal(b, &v); err != nil {
		return errors.New("its predicate is malformed")
	}
	p.Builder = clip(v.RunDetails.Builder.ID)

	for _, s := range externalSources(v.BuildDefinition.ExternalParameters) {
		if setSource(p, s) {
			break
		}
	}

	// externalParameters may name a branch; the commit that it resolved to is with the
	// dependency of the same URI.
	for _, d := range v.BuildDefinition.ResolvedDependencies {
		if uri, _ := splitSource(d.URI); p.Commit == "" && p.SourceURI != "" && uri == p.SourceURI {
			p.Commit = commit(d.Digest)
		}
	}
	p.Materials = materials(v.BuildDefinition.ResolvedDependencies)
	return nil
}

// externalSources are what a build was asked to build from. SLSA v1 leaves the form of externalParameters to the build
// type, so that nothing in them makes a statement malformed: a name has the form that one of the known builders gives
// it, or says nothing.
func externalSources(b json.RawMessage) []configSource {
	var named map[string]json.RawMessage
	if json.Unmarshal(b, &named) != nil {
		return nil
	}

	// Each builder fills one of these: Cloud Build, GitHub Actions, BuildKit; slsa-github-generator and GitLab.
	var out []configSource
	for _, name := range []string{"buildConfigSource", "workflow", "configSource", "source"} {
		var s configSource
		switch {
		case json.Unmarshal(named[name], &s) == nil:
		case name == "source" && json.Unmarshal(named[name], &s.URI) == nil: // GitLab's is the address of the project
		default:
			continue // what was read of another form says nothing
		}
		out = append(out, s)
	}
	return out
}

// parseV02 reads SLSA v0.2.
func parseV02(b json.RawMessage, p *attestor.Provenance) error {
	var v struct {
		Builder struct {
			ID string `json:"id"`
		} `json:"builder"`
		Invocation struct {
			// Of its fields SLSA defines these two: what a builder adds cannot replace them.
			ConfigSource dependency `json:"configSource"`
		} `json:"invocation"`
		Materials []dependency `json:"materials"`
	}

	if err := json.Unmarshal(b, &v); err != nil {
		return errors.New("its predicate is malformed")
	}
	p.Builder = clip(v.Builder.ID)
	p.Materials = materials(v.Materials)
	setSource(p, configSource{URI: v.Invocation.ConfigSource.URI, Digest: v.Invocation.ConfigSource.Digest})
	return nil
}

// parseV01 reads Cloud Build's older statements. A source counts only if the
// build's steps came from it: with steps given inline, anyone can build
// anything "from" a public repository.
func parseV01(b json.RawMessage, p *attestor.Provenance) error {
	var v struct {
		Builder struct {
			ID string `json:"id"`
		} `json:"builder"`
		Recipe struct {
			EntryPoint        string      `json:"entryPoint"`
			DefinedInMaterial json.Number `json:"definedInMaterial"`
		} `json:"recipe"`
		Materials []dependency `json:"materials"`
	}

	if err := json.Unmarshal(b, &v); err != nil {
		return errors.New("its predicate is malformed")
	}
	p.Builder = clip(v.Builder.ID)
	p.Materials = materials(v.Materials)

	// SLSA v0.1 on definedInMaterial: "Index in materials containing the recipe steps".
	// Protobuf's JSON omits a zero.
	at := int64(0)
	if v.Recipe.DefinedInMaterial != "" {
		n, err := v.Recipe.DefinedInMaterial.Int64()
		if err != nil {
			return errors.New("its recipe is malformed")
		}
		at = n
	}

	// Without an entry point the steps were given inline: the build has no source.
	if at < 0 || at >= int64(len(v.Materials)) || v.Recipe.EntryPoint == "" {
		return nil
	}

	source := v.Materials[at]
	setSource(p, configSource{URI: source.URI, Digest: source.Digest})
	return nil
}

// setSource reports whether s names a source.
func setSource(p *attestor.Provenance, s configSource) bool {
	uri, ref := splitSource(s.Repository)
	if uri == "" {
		uri, ref = splitSource(s.URI)
	}
	if uri == "" {
		return false
	}

	if s.Ref != "" {
		ref = s.Ref
	}
	p.SourceURI, p.Ref, p.Commit = clip(uri), clip(ref), commit(s.Digest)

	// Cloud Build before v0.3 wrote https://HOST/PATH/commit/COMMIT.
	if base, sha, ok := strings.Cut(p.SourceURI, "/commit/"); ok {
		p.SourceURI, p.Commit = base, sha
	}
	return true
}

// splitSource returns https://HOST/PATH and the ref of a source as builders write
// it: git+https://HOST/PATH@REF, or https://HOST/PATH.git#REF:DIRECTORY.
func splitSource(s string) (uri, ref string) {
	s = strings.TrimPrefix(s, "git+")
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || scheme == "gs" { // behind the "#" of gs:// is the object's generation
		return s, ""
	}

	rest, fragment, _ := strings.Cut(rest, "#")
	ref, _, _ = strings.Cut(fragment, ":")

	// Only an "@" of the path separates a ref: the one before the first slash belongs
	// to a user's name, and cutting there would change the host.
	host, path, _ := strings.Cut(rest, "/")
	if p, at, ok := strings.Cut(path, "@"); ok {
		rest, ref = host+"/"+p, at
	}
	return scheme + "://" + rest, ref
}

func commit(d digests) string {
	for _, name := range []string{"gitCommit", "sha1"} {
		if c := d[name]; c != "" {
			return clip(c)
		}
	}
	return ""
}

// materials returns the images among the build's dependencies, by canonical
// repository. A repository with two digests is left out, since only one of them
// may be the base.
func materials(list []dependency) map[string]attestor.Digest {
	m := map[string]attestor.Digest{}
	var ambiguous []string
	for _, d := range list {
		digest, err := attestor.ParseDigest("sha256:" + d.Digest["sha256"])
		repository, ok := imageRepository(d.URI)
		if err != nil || !ok || slices.Contains(ambiguous, repository) {
			continue
		}

		if before, known := m[repository]; known && before != digest {
			ambiguous = append(ambiguous, repository)
			delete(m, repository)
			continue
		}
		m[repository] = digest
	}

	if len(m) == 0 {
		return nil
	}
	return m
}

// imageRepository reads pkg:docker/REPOSITORY@TAG?…, docker-image://…,
// oci://…, and plain references with a digest.
func imageRepository(uri string) (string, bool) {
	if len(uri) > 1024 {
		return "", false
	}
	s := uri

	// A package URL: its name is percent-encoded, its digest is in the statement.
	if rest, ok := strings.CutPrefix(s, "pkg:docker/"); ok {
		rest, _, _ = strings.Cut(rest, "?")
		rest, _, _ = strings.Cut(rest, "@")
		unescaped, err := url.PathUnescape(rest)
		if err != nil {
			return "", false
		}
		return canonical(unescaped)
	}

	for _, scheme := range []string{"docker-image://", "docker://", "oci://"} {
		s = strings.TrimPrefix(s, scheme)
	}

	// Any other scheme, or git+https, is not an image.
	if strings.Contains(s, "://") || strings.Contains(s, "+") {
		return "", false
	}

	// Without scheme and digest, "ubuntu" may be a file as well as an image.
	repository, _, pinned := strings.Cut(s, "@sha256:")
	if !pinned && s == uri {
		return "", false
	}
	return canonical(repository)
}

// canonical returns the repository of a reference in full: ubuntu:24.04 is of
// index.docker.io/library/ubuntu.
func canonical(s string) (string, bool) {
	if tag, err := name.NewTag(s); err == nil {
		return tag.Context().Name(), true
	}
	return "", false
}

// cloudBuildLevel returns the SLSA build level of a statement that a Google key
// signed, as Google documents it for its builders.
func cloudBuildLevel(p attestor.Provenance) int {
	switch {
	case p.PredicateType == slsaV1 && p.Builder == cloudBuildBuilder:
		return 3
	case p.PredicateType == slsaV01 && p.Builder == cloudBuildBuilder+"@v0.3":
		return 3
	case p.PredicateType == slsaV01 && p.Builder == cloudBuildBuilder+"@v0.2":
		return 2
	}
	return 1
}

// clip keeps hostile text from filling the record.
func clip(s string) string { return plain.Clip(s, 512) }
