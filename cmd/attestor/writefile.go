package main

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// writeFile writes a file whole or not at all: whoever reads it, and whenever this process ends, it has its earlier text
// or all of the new one. A file that is there keeps its mode, and a new one has the one given. Where name is a link, the
// file that it names is replaced. What cannot be replaced is written to: a pipe, a device such as /dev/stdout, and a
// file whose directory is not this user's to change.
func writeFile(name string, mode fs.FileMode, write func(io.Writer) error) error {
	if err := writable(name); err != nil {
		return err
	}
	if err := replaceFile(name, mode, write); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}

func replaceFile(name string, mode fs.FileMode, write func(io.Writer) error) error {
	info, err := os.Stat(name)
	exists := err == nil
	if exists && !info.Mode().IsRegular() {
		return writeTo(name, os.O_APPEND, write)
	}
	target, err := linkTarget(name)
	if err != nil {
		return err
	}

	// Others write to an open file too, so that it is added to.
	if isOpenFile(target) {
		return writeTo(target, os.O_APPEND, write)
	}

	// In the directory of the file, so that the rename stays within one file system and replaces it at once.
	temp := filepath.Join(filepath.Dir(target), ".attestor-"+rand.Text())
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
	if exists && (errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)) {
		return writeTo(target, os.O_TRUNC, write)
	}
	if err != nil {
		return err
	}
	defer func() {
		_ = f.Close()       // it was closed where the text is whole
		_ = os.Remove(temp) // nothing is left where it was renamed
	}()

	if exists {
		if err := f.Chmod(info.Mode().Perm()); err != nil {
			return err
		}
	}

	// Synced before it is renamed: after a crash of the machine the name would else be of an empty file.
	if err := errors.Join(write(f), f.Sync()); err != nil {
		return err
	}

	// A file that is mounted by itself, as into a container, can be written and not replaced.
	if err := os.Rename(temp, target); !errors.Is(err, syscall.EBUSY) {
		return errors.Join(err, f.Close())
	}
	return writeTo(target, os.O_TRUNC, func(w io.Writer) error {
		_, err := f.Seek(0, io.SeekStart)
		if err == nil {
			_, err = io.Copy(w, f)
		}
		return err
	})
}

// writeTo writes to what is there.
func writeTo(name string, how int, write func(io.Writer) error) error {
	f, err := os.OpenFile(name, os.O_WRONLY|how, 0)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// maxLinks is how many links Linux follows.
const maxLinks = 40

// isOpenFile reports whether a path is how the system calls a file that a process has open, as /dev/stdout does.
func isOpenFile(path string) bool {
	return strings.HasPrefix(path, "/proc/") || strings.HasPrefix(path, "/dev/fd/")
}

// linkTarget follows the links of a file's name, also where the file does not exist yet, but not to a file that a process
// has open.
func linkTarget(name string) (string, error) {
	for range maxLinks {
		dir, file := filepath.Split(name)
		dir, err := filepath.EvalSymlinks(cmp.Or(dir, "."))
		if err != nil {
			return "", err
		}
		name = filepath.Join(dir, file)
		link, err := os.Readlink(name)
		if err != nil || isOpenFile(name) {
			return name, nil //nolint:nilerr // it is not a link, or does not exist
		}

		// Not joined, since that would drop what ".." goes back from, which may be a link itself.
		if name = link; !filepath.IsAbs(link) {
			name = dir + string(filepath.Separator) + link
		}
	}
	return "", syscall.ELOOP
}
