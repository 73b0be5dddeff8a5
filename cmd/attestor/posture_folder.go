package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/attestor-gate/attestor/posture"
)

// Bounds of a folder: its definitions, all of which are in memory at once, and the files of any kind that are passed
// by.
const (
	maxPostureFiles  = 1000
	maxPostureFolder = 256 << 20
)

// definitionsIn are the files that an argument names: itself, or those of a folder that may define something. A
// folder without any is an error, since nothing of it would be judged.
func definitionsIn(arg string) ([]string, error) {
	info, err := os.Stat(arg)
	if arg == "-" || err != nil || !info.IsDir() {
		return []string{arg}, nil //nolint:nilerr // what cannot be opened is an error when it is read
	}

	var names []string
	seen, size := 0, int64(0)
	err = filepath.WalkDir(arg, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if seen++; seen > 50*maxPostureFiles {
			return fmt.Errorf("%s: has more than %d files: name the definitions instead", arg, 50*maxPostureFiles)
		}

		// What tools keep, such as .git and .terraform, is no definition. A link leads out of the folder, or to a
		// file twice.
		base := d.Name()
		hidden := strings.HasPrefix(base, ".") && base != "." && base != ".." && base != ".dockerignore"
		switch {
		case d.IsDir() && hidden && name != arg:
			return filepath.SkipDir
		case d.IsDir() || hidden || !posture.Reads(base):
			return nil
		case !d.Type().IsRegular():
			return fmt.Errorf("%s: is no regular file: name it by itself if it is a definition", name)
		}

		about, err := d.Info()
		if err != nil {
			return err
		}
		size += about.Size()
		if names = append(names, name); len(names) > maxPostureFiles || size > maxPostureFolder {
			return fmt.Errorf("%s: has more than %d definitions, or more than %d bytes of them: judge them in parts",
				arg, maxPostureFiles, maxPostureFolder)
		}

		return nil
	})
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("%s: the folder has no YAML, no JSON and no Dockerfile", arg)
	}

	return names, err
}
