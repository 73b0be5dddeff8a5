package verify

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/attestor-gate/attestor"
)

// A hint is what the image's author says it is built on: by annotation, label,
// or BuildKit's unsigned provenance. Each is wrong at times, even from honest
// tools, and anybody who can push can write it.
type hint struct {
	source     string
	repository string // canonical, or ""
	digest     attestor.Digest
	text       string
}

const (
	annotationBaseName      = "org.opencontainers.image.base.name"
	annotationBaseDigest    = "org.opencontainers.image.base.digest"
	annotationPredicateType = "in-toto.io/predicate-type"
	predicateSLSA           = "https://slsa.dev/provenance/"
	maxHints                = 16
	maxProvenanceBytes      = 1 << 20
	maxStatements           = 4 // that are read of one image; BuildKit attaches one
)

// hintsOf reads annotations and labels.
func hintsOf(s subject) []hint {
	var hints []hint
	for _, m := range []struct {
		kind   string
		values map[string]string
	}{{"", s.doc.Annotations}, {"label ", s.config.Config.Labels}} {
		repository := repositoryOf(m.values[annotationBaseName])
		if v := m.values[annotationBaseName]; v != "" {
			hints = append(
				hints,
				hint{
					source:     m.kind + annotationBaseName,
					repository: repository,
					text:       m.kind + annotationBaseName + " " + clip(v),
				},
			)
		}

		if v := m.values[annotationBaseDigest]; v != "" {
			h := hint{
				source:     m.kind + annotationBaseDigest,
				repository: repository,
				text:       m.kind + annotationBaseDigest + " " + clip(v),
			}
			h.digest, _ = attestor.ParseDigest(v)
			hints = append(hints, h)
		}
	}
	return hints
}

// repositoryOf is canonical, or "" for what is no reference. Tools write what
// the Dockerfile has, which may leave Docker Hub out.
func repositoryOf(s string) string {
	if s == "" || len(s) > 1024 {
		return ""
	}
	ref, err := name.ParseReference(s)
	if err != nil {
		return ""
	}
	return ref.Context().Name()
}

// provenanceHints reads what BuildKit attached to the index about s.
func (i *Inspector) provenanceHints(ctx context.Context, s subject) []hint {
	var hints []hint
	read := 0
	for _, e := range s.entries {
		if !claimsAttestation(e) || e.Annotations[annotationReferenceDigest] != string(s.image.Digest()) {
			continue
		}
		d, err := i.child(ctx, s.image.Sibling(e.Digest), e.Size)
		if err != nil {
			continue // a hint less; Resolve has reported it
		}

		for _, l := range *d.Layers {
			if l.MediaType != mediaInToto || !strings.HasPrefix(l.Annotations[annotationPredicateType], predicateSLSA) {
				continue
			}
			if _, err := attestor.ParseDigest(string(l.Digest)); err != nil {
				continue
			}

			// Whoever pushes chooses how many there are, and each is a request.
			if read++; read > maxStatements {
				return hints[:min(len(hints), maxHints)]
			}

			// Unsigned, so that it is a hint: what it names is read, and proven by layers, or counts for nothing.
			c, err := i.fetch.blob(ctx, s.image.Sibling(l.Digest), l.Size, maxProvenanceBytes)
			if err != nil {
				continue
			}
			hints = append(hints, dependencies(c.bytes)...)
		}
	}
	return hints[:min(len(hints), maxHints)]
}

// dependency is one entry of resolvedDependencies (SLSA v1) or materials (v0.2).
type dependency struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest"`
}

// dependencies lists the images that an unsigned statement says were used.
func dependencies(statement []byte) []hint {
	var s struct {
		Predicate struct {
			Materials       []dependency `json:"materials"`
			BuildDefinition struct {
				ResolvedDependencies []dependency `json:"resolvedDependencies"`
			} `json:"buildDefinition"`
		} `json:"predicate"`
	}

	if json.Unmarshal(statement, &s) != nil {
		return nil
	}
	var hints []hint
	for _, d := range append(s.Predicate.Materials, s.Predicate.BuildDefinition.ResolvedDependencies...) {
		// pkg:docker/REPOSITORY@TAG?platform=…, with REPOSITORY escaped
		rest, ok := strings.CutPrefix(d.URI, "pkg:docker/")
		digest, err := attestor.ParseDigest("sha256:" + d.Digest["sha256"])
		if !ok || err != nil {
			continue
		}

		rest, _, _ = strings.Cut(rest, "?")
		if at := strings.LastIndex(rest, "@"); at >= 0 {
			rest = rest[:at]
		}
		if rest, err = url.PathUnescape(rest); err != nil {
			continue
		}

		hints = append(
			hints,
			hint{
				source:     "provenance",
				repository: repositoryOf(rest),
				digest:     digest,
				text:       "unsigned provenance " + clip(rest) + "@" + string(digest),
			},
		)
	}
	return hints
}

func textsOf(hints []hint) []string {
	var texts []string
	for _, h := range hints {
		if !slices.Contains(texts, h.text) && len(texts) < maxHints {
			texts = append(texts, h.text)
		}
	}
	return texts
}

// texts adds what the config's diffIDs claim, where the policy does not want
// them proven.
func (i *Inspector) texts(s subject, needs attestor.Needs, hints []hint) []string {
	texts := textsOf(hints)
	if m, ok := i.bases.find(i.bases.basesOf(s.platform), s, needs, true, nil); ok && !m.exact {
		texts = append(
			texts,
			"diffIDs of "+m.entry.Name+" ("+m.base.image(m.base.root()).String()+
				"), whose layers these are not by digest",
		)
	}
	return texts
}

// maxFollowed bounds what one image's hints cause to be fetched.
const maxFollowed = 4

// follow reads the digests that hints name from approved repositories whose
// bases must be signed: for others, a digest in nobody's list proves nothing.
// They are not filed: anybody who may push can name them without end.
func (c *catalogue) follow(ctx context.Context, s *platformBases, hints []hint, needs attestor.Needs) []*baseImage {
	ctx, cancel := context.WithTimeout(ctx, c.i.limits.BaseTimeout)
	defer cancel()

	var found []*baseImage
	followed := map[baseKey]bool{}
	for _, h := range hints {
		if h.digest == "" {
			continue
		}
		approved := slices.ContainsFunc(
			needs.Bases, func(ab attestor.ApprovedBase) bool { return ab.Repository == h.repository },
		)

		for _, ab := range needs.Bases {
			key := baseKey{ab.Repository, h.digest}

			// A hint that names a repository is tried there alone.
			if ab.SignedBy == nil || len(ab.Tags) == 0 || approved && ab.Repository != h.repository || followed[key] ||
				len(followed) >= maxFollowed {
				continue
			}

			followed[key] = true
			if b, err := c.read(ctx, s, key); err == nil && b != nil {
				found = append(found, b)
			}
		}
	}
	return found
}
