package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// placeholder is what a file for a CI system leaves open: the version, the image by digest, or the checksum of a file.
var placeholder = regexp.MustCompile(`@(VERSION|IMAGE|SHA256:[A-Za-z0-9._-]+)@`)

// writeCI fills in the files for CI systems. A commit without a version has none, since nobody could download what they
// would name; and a release without a published image, or without a binary, has none of the files that need it.
func (o options) writeCI(subjects []descriptor) error {
	if o.ci == "" || !released.MatchString(o.version) {
		return nil
	}
	values := map[string]string{"VERSION": o.version}
	for _, s := range subjects {
		switch {
		case s.Name != "image":
			values["SHA256:"+s.Name] = s.Digest["sha256"]
		case o.image != "":
			values["IMAGE"] = o.image + "@sha256:" + s.Digest["sha256"]
		}
	}

	return filepath.WalkDir(o.ci, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(o.ci, path)
		if err != nil || name == "README.md" {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}

		// A file with a gap would make somebody's pipeline fetch nothing, or something else.
		filled, missing := fill(string(text), values)
		if len(missing) > 0 {
			fmt.Fprintf(os.Stderr, "release: ci/%s is left out: there is no %s\n", name, strings.Join(missing, ", "))
			return nil
		}
		out := filepath.Join(o.dist, "ci", name)
		if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil { //nolint:gosec // published
			return err
		}
		return os.WriteFile(out, []byte(filled), info.Mode().Perm())
	})
}

// fill replaces placeholders, and lists those that have no value.
func fill(text string, values map[string]string) (filled string, missing []string) {
	filled = placeholder.ReplaceAllStringFunc(text, func(p string) string {
		value, ok := values[strings.Trim(p, "@")]
		if !ok {
			missing = append(missing, strings.Trim(p, "@"))
		}
		return value
	})
	return filled, missing
}
