package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// The part of README.md that says how to install a release. In the repository it names none, since the one that this
// commit becomes does not exist yet.
const (
	beginInstall = "<!-- install: make release writes its version here -->\n"
	endInstall   = "<!-- end of install -->\n"
)

// released is the form of a version that somebody can ask for. A commit without a tag has none.
var released = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$`)

// writeReadme writes README.md of a release into dist, with the commands that install this version.
func (o options) writeReadme(subjects []descriptor) error {
	text, err := os.ReadFile(o.readme)
	if err != nil {
		return err
	}

	// Only the part between the marks is written anew.
	before, rest, begun := strings.Cut(string(text), beginInstall)
	none, after, ended := strings.Cut(rest, endInstall)
	if !begun || !ended {
		return errors.New(o.readme + " has no part about installing a release")
	}

	part := none
	if released.MatchString(o.version) {
		digests := map[string]string{}
		for _, s := range subjects {
			digests[s.Name] = s.Digest["sha256"]
		}
		part = o.install(digests)
	}
	out := before + beginInstall + part + endInstall + after
	return os.WriteFile(filepath.Join(o.dist, "README.md"), []byte(out), 0o644) //nolint:gosec // published
}

// install is how to get this version without compiling it, and with. digests are SHA-256, by the names of artifacts.
func (o options) install(digests map[string]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Version %s, a static binary that needs nothing else. For arm64, macOS and Windows replace "+
		"linux-amd64 by linux-arm64, darwin-amd64, darwin-arm64, windows-amd64.exe or windows-arm64.exe", o.version)
	if digest := digests["attestor-linux-amd64"]; digest != "" {
		fmt.Fprintf(&b, ". `attestor-linux-amd64` is `sha256:%s`", digest)
	}
	b.WriteString(":\n\n```sh\n")
	for _, file := range []string{"attestor-linux-amd64", "SHA256SUMS"} {
		fmt.Fprintf(&b, "curl -fLO %s/releases/download/%s/%s\n", repository, o.version, file)
	}
	b.WriteString("sha256sum --ignore-missing -c SHA256SUMS && " +
		"install -D -m 0755 attestor-linux-amd64 bin/attestor\nbin/attestor dev\n```\n\n")

	if o.image != "" {
		image := o.image + ":" + o.version
		if digest := digests["image"]; digest != "" {
			image += "@sha256:" + digest // what is pulled is what the provenance names
		}
		fmt.Fprintf(&b, "As a container image, or compiled from the module:\n\n"+
			"```sh\ndocker run --rm --network host %s dev\n", image)
	} else {
		b.WriteString("Compiled from the module:\n\n```sh\n")
	}
	fmt.Fprintf(&b, "go install %s/cmd/attestor@%s\n```\n", strings.TrimPrefix(repository, "https://"), o.version)
	return b.String()
}
