package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// writes writes a text by writeFile.
func writes(t *testing.T, name, text string) {
	t.Helper()
	err := writeFile(name, 0o644, func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// holds compares what a file has.
func holds(t *testing.T, name, want string) {
	t.Helper()
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s has %q, want %q", name, got, want)
	}
}

func setUp(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// alone checks that a directory has no other files: nothing that was begun is left.
func alone(t *testing.T, dir string, want int) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != want {
		t.Errorf("the directory has %v, want %d files", entries, want)
	}
}

// Until the whole text is written, whoever reads the file has the earlier one, and it stays where the text fails.
func TestAFileIsWrittenWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "d.json")
	setUp(t, os.WriteFile(name, []byte("earlier"), 0o600))

	failed := errors.New("the record ends here")
	err := writeFile(name, 0o644, func(w io.Writer) error {
		_, err := io.WriteString(w, "half of it")
		holds(t, name, "earlier")
		return errors.Join(err, failed)
	})
	if !errors.Is(err, failed) {
		t.Errorf("%v, want %v", err, failed)
	}
	holds(t, name, "earlier")
	alone(t, dir, 1)

	writes(t, name, "all of it")
	holds(t, name, "all of it")
	alone(t, dir, 1)
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v, want the one that it had: %v", info.Mode(), err)
	}
}

// A link stays one: the file that it names is replaced, or made.
func TestAFileIsWrittenThroughItsLinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	setUp(t,
		os.MkdirAll(at("real/deep"), 0o755), os.Mkdir(at("links"), 0o755),
		os.WriteFile(at("real/d.json"), []byte("earlier"), 0o640),
		os.Symlink("../real/d.json", at("links/one")), os.Symlink("one", at("links/two")),
		os.Symlink("../real/new.json", at("links/dangling")), os.Symlink(at("real/deep"), at("links/deep")),
		os.Symlink("deep/../d.json", at("links/through")), os.Symlink("round", at("links/round")))

	for n, name := range []string{"links/one", "links/two", "links/through"} {
		text := fmt.Sprint("text ", n)
		writes(t, at(name), text)
		holds(t, at("real/d.json"), text)
		if info, err := os.Lstat(at(name)); err != nil || info.Mode().Type() != fs.ModeSymlink {
			t.Errorf("%s is no longer a link: %v", name, err)
		}
	}
	if info, err := os.Stat(at("real/d.json")); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the file has mode %v, want the one that it had: %v", info.Mode(), err)
	}

	writes(t, at("links/dangling"), "new")
	holds(t, at("real/new.json"), "new")
	err := writeFile(at("links/round"), 0o644, func(io.Writer) error { return nil })
	if !errors.Is(err, syscall.ELOOP) {
		t.Errorf("a link to itself: %v, want %v", err, syscall.ELOOP)
	}
	alone(t, at("links"), 6)
	alone(t, at("real"), 3)
}

// What is not a regular file is written to, and stays what it is. The links keep the test from replacing the machine's own.
func TestWhatCannotBeReplacedIsWrittenTo(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("the names of open files are those of Linux")
	}
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }

	null := at("null")
	setUp(t, os.Symlink(os.DevNull, null))
	writes(t, null, "nothing")
	if info, err := os.Stat(null); err != nil || info.Mode()&fs.ModeCharDevice == 0 {
		t.Errorf("%s is not a device any more: %v", os.DevNull, err)
	}

	pipe := at("pipe")
	setUp(t, syscall.Mkfifo(pipe, 0o600))
	read := make(chan string)
	go func() {
		text, err := os.ReadFile(pipe)
		read <- fmt.Sprint(string(text), err)
	}()
	writes(t, pipe, "through the pipe")
	if got := <-read; got != "through the pipe<nil>" {
		t.Errorf("the pipe gave %q", got)
	}
	if info, err := os.Stat(pipe); err != nil || info.Mode().Type() != fs.ModeNamedPipe {
		t.Errorf("the pipe is not one any more: %v", err)
	}

	// As /dev/stdout is, where it leads to a file.
	file, err := os.Create(at("stdout"))
	setUp(t, err)
	defer file.Close()
	_, err = file.WriteString("printed before\n")
	setUp(t, err, os.Symlink(fmt.Sprintf("/proc/self/fd/%d", file.Fd()), at("open")))
	writes(t, at("open"), "written\n")
	holds(t, at("stdout"), "printed before\nwritten\n")
	alone(t, dir, 4)
}

// A file that this user may write in a directory that it may not change is written to.
func TestAFileOfSomebodyElsesDirectoryIsWrittenTo(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("root may change every directory")
	}
	dir := t.TempDir()
	name := filepath.Join(dir, "d.json")
	setUp(t, os.WriteFile(name, []byte("an earlier and longer text"), 0o600), os.Chmod(dir, 0o500))
	writes(t, name, "text")
	holds(t, name, "text")
	setUp(t, os.Chmod(dir, 0o700))
}
