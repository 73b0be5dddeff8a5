// Command release writes the SLSA provenance of the artifacts in dist: an in-toto
// statement with the digest of every artifact, the commit and the images that it was
// built with. It does not sign: the person who runs the release signs it.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"
)

const repository = "https://github.com/attestor-gate/attestor"

type descriptor struct {
	Name   string            `json:"name,omitempty"`
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest,omitempty"`
}

type statement struct {
	Type          string       `json:"_type"`
	Subject       []descriptor `json:"subject"`
	PredicateType string       `json:"predicateType"`
	Predicate     predicate    `json:"predicate"`
}

type predicate struct {
	BuildDefinition struct {
		BuildType            string            `json:"buildType"`
		ExternalParameters   map[string]string `json:"externalParameters"`
		InternalParameters   map[string]string `json:"internalParameters"`
		ResolvedDependencies []descriptor      `json:"resolvedDependencies"`
	} `json:"buildDefinition"`
	RunDetails struct {
		Builder  map[string]string `json:"builder"`
		Metadata map[string]string `json:"metadata"`
	} `json:"runDetails"`
}

type options struct {
	dist, version, commit, base, builder, dockerfile string
	readme, image, ci                                string
	epoch                                            int64
}

func main() {
	var o options
	flag.StringVar(&o.dist, "dist", "dist", "`DIRECTORY` of the artifacts")
	flag.StringVar(&o.version, "version", "", "version")
	flag.StringVar(&o.commit, "commit", "", "commit, in full")
	flag.Int64Var(&o.epoch, "epoch", 0, "seconds since 1970 of the commit")
	flag.StringVar(&o.base, "base", "", "base image; that of the Dockerfile")
	flag.StringVar(&o.builder, "builder", "", "builder image; that of the Dockerfile")
	flag.StringVar(&o.dockerfile, "dockerfile", "Dockerfile",
		"`FILE` with the default images, as ARG BASE and ARG BUILDER")
	flag.StringVar(&o.readme, "readme", "README.md",
		"`FILE` whose part about installing a release is written for this one")
	flag.StringVar(&o.image, "image", "",
		"`REPOSITORY` that the image is published in, for README.md; none: it is not named there")

	flag.StringVar(&o.ci, "ci", "", "`DIRECTORY` of the files for CI systems, to fill in; none: they are not written")

	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	if len(o.commit) != 40 || o.version == "" || o.epoch <= 0 {
		return errors.New("-version, -commit (40 hex digits) and -epoch are required")
	}
	subjects, err := artifacts(o.dist)
	if err != nil {
		return err
	}
	images, err := o.images()
	if err != nil {
		return err
	}

	s := statement{
		Type:          "https://in-toto.io/Statement/v1",
		Subject:       subjects,
		PredicateType: "https://slsa.dev/provenance/v1",
	}

	// Everything that determines the bytes of the artifacts: the commit, the version, the Go release, both images.
	d := &s.Predicate.BuildDefinition
	d.BuildType = repository + "/tree/main/tools/release"
	d.ExternalParameters = map[string]string{"source": "git+" + repository + "@" + o.commit, "version": o.version}
	d.InternalParameters = map[string]string{"go": runtime.Version()}
	d.ResolvedDependencies = append(
		[]descriptor{{URI: "git+" + repository + "@" + o.commit, Digest: map[string]string{"gitCommit": o.commit}}},
		images...,
	)

	// The time is the commit's and not the clock's, so that two releases of one commit are the same bytes.
	s.Predicate.RunDetails.Builder = map[string]string{"id": repository + "/tree/main/tools/release"}
	s.Predicate.RunDetails.Metadata = map[string]string{"startedOn": time.Unix(o.epoch, 0).UTC().Format(time.RFC3339)}

	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	//nolint:gosec // published
	if err := os.WriteFile(filepath.Join(o.dist, "provenance.json"), append(b, '\n'), 0o644); err != nil {
		return err
	}
	if err := o.writeCI(subjects); err != nil {
		return err
	}
	return o.writeReadme(subjects)
}

// artifacts lists the binaries, the SBOMs, and the image by the digest of its index.
func artifacts(dist string) ([]descriptor, error) {
	entries, err := os.ReadDir(dist)
	if err != nil {
		return nil, err
	}

	var out []descriptor
	for _, e := range entries {
		// Other files in dist are made from these.
		if e.IsDir() || !strings.HasPrefix(e.Name(), "attestor-") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dist, e.Name()))
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(text)
		out = append(out, descriptor{Name: e.Name(), Digest: map[string]string{"sha256": hex.EncodeToString(sum[:])}})
	}

	if len(out) == 0 {
		return nil, fmt.Errorf("%s has no artifact attestor-…; run make release", dist)
	}

	// A release may be made without the image, on a machine that cannot build one.
	text, err := os.ReadFile(filepath.Join(dist, "image", "index.json"))
	if os.IsNotExist(err) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}

	// What is pulled by the release's digest is the index of all platforms, so that it is the subject.
	var index struct {
		Manifests []struct {
			Digest string `json:"digest"`
		} `json:"manifests"`
	}
	if err := json.Unmarshal(text, &index); err != nil || len(index.Manifests) != 1 {
		return nil, fmt.Errorf("the image layout has %d images, want one: %v", len(index.Manifests), err)
	}
	digest := strings.TrimPrefix(index.Manifests[0].Digest, "sha256:")
	return append(out, descriptor{Name: "image", Digest: map[string]string{"sha256": digest}}), nil
}

// images lists the base and the builder, with their digests.
func (o options) images() ([]descriptor, error) {
	text, err := os.ReadFile(o.dockerfile)
	if err != nil {
		return nil, err
	}
	var out []descriptor
	for arg, given := range map[string]string{"BASE": o.base, "BUILDER": o.builder} {
		if given == "" {
			m := regexp.MustCompile(`(?m)^ARG ` + arg + `=(\S+)$`).FindSubmatch(text)
			if m == nil {
				return nil, fmt.Errorf("%s has no line ARG %s=IMAGE", o.dockerfile, arg)
			}
			given = string(m[1])
		}

		// Without a digest the image is named all the same: a reader then sees that it was not pinned.
		d := descriptor{URI: "docker://" + given}
		if _, digest, ok := strings.Cut(given, "@sha256:"); ok {
			d.Digest = map[string]string{"sha256": digest}
		}
		out = append(out, d)
	}

	// The order of a map is random, and the statement is not.
	if len(out) == 2 && out[0].URI > out[1].URI {
		out[0], out[1] = out[1], out[0]
	}
	return out, nil
}
