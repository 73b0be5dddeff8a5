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
	"github.com/attestor-gate/attestor/verify/signed"
)

// The predicate types that are understood.
const (
	slsaV01 = "https://slsa.dev/provenance/v0.1"
	slsaV02 = "https://slsa.dev/provenance/v0.2"
	slsaV1  = "https://slsa.dev/provenance/v1"
)

const (
	cloudBuildBuilder = "https://cloudbuild.googleapis.com/GoogleHostedWorker"
	githubGenerator   = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/"
)

type digests map[string]string

type dependency struct {
	URI    string  `json:"uri"`
	Digest digests `json:"digest"`
}

// configSource is where a build's instructions came from, under the names
// that different builders use.
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

// parse reads signed bytes. It answers only for a statement about digest.
func parse(payload []byte, digest attestor.Digest) (attestor.Provenance, error) {
	none := attestor.Provenance{}
	var st statement
	if err := json.Unmarshal(payload, &st); err != nil {
		return none, errors.New("it is not a statement")
	}
	if !strings.HasPrefix(st.Type, "https://in-toto.io/Statement/v") {
		return none, fmt.Errorf("it is of type %q, not an in-toto statement", clip(st.Type))
	}
	about := false
	for _, s := range st.Subject {
		about = about || s.Digest["sha256"] == digest.Hex()
	}
	if digest == "" || !about {
		return none, errors.New("it is about another digest")
	}
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

// parseV1 reads SLSA v1: Cloud Build's, GitHub's, BuildKit's.
func parseV1(b json.RawMessage, p *attestor.Provenance) error {
	var v struct {
		BuildDefinition struct {
			ExternalParameters struct {
				BuildConfigSource configSource `json:"buildConfigSource"` // Cloud Build
				Workflow          configSource `json:"workflow"`          // GitHub Actions
				ConfigSource      configSource `json:"configSource"`      // BuildKit
				Source            dependency   `json:"source"`            // slsa-github-generator
			} `json:"externalParameters"`
			ResolvedDependencies []dependency `json:"resolvedDependencies"`
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
	ext := v.BuildDefinition.ExternalParameters
	for _, s := range []configSource{ext.BuildConfigSource, ext.Workflow, ext.ConfigSource, {URI: ext.Source.URI, Digest: ext.Source.Digest}} {
		if setSource(p, s) {
			break
		}
	}
	// The commit stands with the dependency that is the source.
	for _, d := range v.BuildDefinition.ResolvedDependencies {
		if uri, _ := splitSource(d.URI); p.Commit == "" && p.SourceURI != "" && uri == p.SourceURI {
			p.Commit = commit(d.Digest)
		}
	}
	p.Materials = materials(v.BuildDefinition.ResolvedDependencies)
	return nil
}

// parseV02 reads SLSA v0.2.
func parseV02(b json.RawMessage, p *attestor.Provenance) error {
	var v struct {
		Builder struct {
			ID string `json:"id"`
		} `json:"builder"`
		Invocation struct {
			ConfigSource configSource `json:"configSource"`
		} `json:"invocation"`
		Materials []dependency `json:"materials"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return errors.New("its predicate is malformed")
	}
	p.Builder = clip(v.Builder.ID)
	setSource(p, v.Invocation.ConfigSource)
	p.Materials = materials(v.Materials)
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
			Arguments         struct {
				Substitutions map[string]string `json:"substitutions"`
			} `json:"arguments"`
		} `json:"recipe"`
		Materials []dependency `json:"materials"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return errors.New("its predicate is malformed")
	}
	p.Builder = clip(v.Builder.ID)
	p.Materials = materials(v.Materials)
	at := int64(0) // protobuf leaves a zero out
	if v.Recipe.DefinedInMaterial != "" {
		n, err := v.Recipe.DefinedInMaterial.Int64()
		if err != nil {
			return errors.New("its recipe is malformed")
		}
		at = n
	}
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
	if base, sha, ok := strings.Cut(p.SourceURI, "/commit/"); ok { // Cloud Build before v0.3
		p.SourceURI, p.Commit = base, sha
	}
	return true
}

// splitSource makes https://HOST/PATH and a ref of what builders write:
// git+https://HOST/PATH@REF, https://HOST/PATH.git#REF:DIRECTORY.
func splitSource(s string) (uri, ref string) {
	s = strings.TrimPrefix(s, "git+")
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || scheme == "gs" { // an object's generation stands behind "#"
		return s, ""
	}
	rest, fragment, _ := strings.Cut(rest, "#")
	ref, _, _ = strings.Cut(fragment, ":")
	if host, path, ok := strings.Cut(rest, "/"); ok { // a user's "@" is before the first slash
		if p, at, ok := strings.Cut(path, "@"); ok {
			rest, ref = host+"/"+p, at
		}
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

// materials are the images among what went into the build, by canonical
// repository. A repository that is there with two digests is left out: which
// of them was meant cannot be told.
func materials(list []dependency) map[string]attestor.Digest {
	m := map[string]attestor.Digest{}
	var ambiguous []string
	for _, d := range list {
		digest, err := attestor.ParseDigest("sha256:" + d.Digest["sha256"])
		repository, ok := imageRepository(d.URI)
		if err != nil || !ok || slices.Contains(ambiguous, repository) {
			continue
		}
		if before, twice := m[repository]; twice && before != digest {
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
		if rest, ok := strings.CutPrefix(s, scheme); ok {
			s = rest
		}
	}
	if strings.Contains(s, "://") || strings.Contains(s, "+") {
		return "", false
	}
	repository, _, pinned := strings.Cut(s, "@sha256:")
	if !pinned && s == uri {
		return "", false // a plain name without digest may be anything
	}
	return canonical(repository)
}

func canonical(s string) (string, bool) {
	if tag, err := name.NewTag(s); err == nil {
		return tag.Context().Name(), true
	}
	return "", false
}

// cloudBuildLevel is the SLSA build level of a statement that one of Google's
// keys signed: what Google says of its own builder.
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

// attachedLevel is the level of a statement attached with cosign: 3 only where
// the builder itself signed, isolated from the build's author, which is known
// of one builder; else 2, or 1 where no builder is named.
func attachedLevel(p attestor.Provenance, st signed.Statement) int {
	switch {
	case p.Builder == "":
		return 1
	case st.Issuer == "https://token.actions.githubusercontent.com" && st.Subject == p.Builder &&
		strings.HasPrefix(p.Builder, githubGenerator) && strings.Contains(p.Builder, "@refs/tags/v"):
		return 3
	}
	return 2
}

// clip keeps hostile text from filling the record.
func clip(s string) string {
	if len(s) > 512 {
		return strings.ToValidUTF8(s[:512], "") + "…"
	}
	return s
}
