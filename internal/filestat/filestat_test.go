//go:build linux

package filestat_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/attestor-gate/attestor/internal/filestat"
)

// A tree is a directory whose files were written long ago.
type tree struct {
	t   *testing.T
	dir string
}

func (tr tree) at(name string) string { return filepath.Join(tr.dir, name) }

func (tr tree) ok(errs ...error) {
	tr.t.Helper()
	if err := errors.Join(errs...); err != nil {
		tr.t.Fatal(err)
	}
}

var longAgo = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

func (tr tree) write(name, text string) {
	tr.t.Helper()
	tr.ok(os.WriteFile(tr.at(name), []byte(text), 0o600))
}

// age sets the times of the directory and its files back, so that whatever is written after has another time.
func (tr tree) age(names ...string) {
	tr.t.Helper()
	for _, name := range append(names, ".") {
		tr.ok(os.Chtimes(tr.at(name), longAgo, longAgo))
	}
}

func yaml(name string) bool { return strings.HasSuffix(name, ".yaml") && !strings.HasPrefix(name, ".") }

// TestEveryChangeIsSeen: each is seen at the next look, and until it has been quiet for long enough. Nothing else is.
func TestEveryChangeIsSeen(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(tr tree)
	}{
		{"a file is written", func(tr tree) { tr.write("a.yaml", "other") }},
		{"a file is written with as many bytes", func(tr tree) { tr.write("a.yaml", "TEXT") }},
		{"another file takes its name, with its size and time", func(tr tree) {
			tr.write("new", "TEXT")
			tr.ok(os.Chtimes(tr.at("new"), longAgo, longAgo), os.Rename(tr.at("new"), tr.at("a.yaml")))
			tr.age()
		}},
		{"its time is set back after it was written", func(tr tree) {
			// The kernel's clock for files moves every few milliseconds.
			for before := changed(tr, "a.yaml"); changed(tr, "a.yaml") == before; {
				tr.write("a.yaml", "TEXT")
				tr.age("a.yaml")
			}
		}},
		{"a file more", func(tr tree) { tr.write("c.yaml", "text") }},
		{"a file less", func(tr tree) { tr.ok(os.Remove(tr.at("b.yaml"))) }},
		{"a file less, and the directory's time is set back", func(tr tree) {
			tr.ok(os.Remove(tr.at("b.yaml")))
			tr.age()
		}},
		{"a file behind a link is written", func(tr tree) { tr.write("..one/linked.yaml", "other") }},
		{"a directory of links is swapped, as Kubernetes does", func(tr tree) {
			tr.ok(os.Symlink("..two", tr.at("..tmp")), os.Rename(tr.at("..tmp"), tr.at("..data")))
			tr.age()
		}},
		{"a link leads nowhere", func(tr tree) { tr.ok(os.Remove(tr.at("..one/linked.yaml"))) }},
		{"the directory is another one", func(tr tree) {
			tr.ok(os.Rename(tr.dir, tr.dir+".old"), os.Mkdir(tr.dir, 0o700))
			for _, name := range []string{"a.yaml", "b.yaml", "linked.yaml"} {
				tr.ok(os.Link(tr.at("../dir.old/"+name), tr.at(name)))
			}
			tr.age()
		}},
		{"the directory is gone", func(tr tree) { tr.ok(os.RemoveAll(tr.dir)) }},
		{"a file that was named is written", func(tr tree) { tr.write("../single", "other") }},
		{"a file that was named is gone", func(tr tree) { tr.ok(os.Remove(tr.at("../single"))) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tr := tree{t, filepath.Join(t.TempDir(), "dir")}
			tr.ok(os.MkdirAll(tr.at("..one"), 0o700), os.Mkdir(tr.at("..two"), 0o700))
			for _, name := range []string{"a.yaml", "b.yaml", "..one/linked.yaml", "..two/linked.yaml", "../single"} {
				tr.write(name, "text")
				tr.age(name)
			}
			tr.ok(os.Symlink("..one", tr.at("..data")), os.Symlink("..data/linked.yaml", tr.at("linked.yaml")))
			tr.age()

			synctest.Test(t, func(t *testing.T) {
				tr := tree{t, tr.dir}
				g := filestat.New([]string{tr.dir, tr.at("../single")}, yaml)
				if g.Same() {
					t.Fatal("the first look has nothing to compare with")
				}
				if g.Same() {
					t.Error("what was seen a moment ago may still change")
				}
				time.Sleep(filestat.Settle)
				for range 3 {
					if !g.Same() {
						t.Fatal("nothing changed")
					}
				}

				tt.change(tr)
				if g.Same() {
					t.Error("the change is not seen")
				}
				if g.Same() {
					t.Error("a file that has just changed may change again")
				}
			})
		})
	}
}

// changed is when a file changed last, whatever time was set.
func changed(tr tree, name string) syscall.Timespec {
	tr.t.Helper()
	info, err := os.Stat(tr.at(name))
	tr.ok(err)
	return info.Sys().(*syscall.Stat_t).Ctim //nolint:forcetypeassert // of Linux
}

// What was found changed is compared with from then on.
func TestAChangeSettles(t *testing.T) {
	t.Parallel()
	tr := tree{t, t.TempDir()}
	tr.write("a.yaml", "text")
	tr.age("a.yaml")
	synctest.Test(t, func(t *testing.T) {
		tr := tree{t, tr.dir}
		g := filestat.New([]string{tr.dir}, yaml)
		g.Same()
		time.Sleep(filestat.Settle)
		tr.write("a.yaml", "other")
		tr.write("b.yaml", "more")
		if g.Same() {
			t.Error("the change is not seen")
		}
		time.Sleep(filestat.Settle - 1)
		if g.Same() {
			t.Error("the change is taken for old too soon")
		}
		time.Sleep(time.Nanosecond)
		if !g.Same() {
			t.Error("the change is not taken for old")
		}
	})
}

// What is not there is never the same: whoever asks finds out why.
func TestWhatCannotBeSeenIsNotTheSame(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "none")
	synctest.Test(t, func(t *testing.T) {
		g := filestat.New([]string{path}, yaml)
		for range 3 {
			if g.Same() {
				t.Error("a directory that does not exist is the same")
			}
			time.Sleep(filestat.Settle)
		}
	})
}

func BenchmarkSame(b *testing.B) {
	dir := b.TempDir()
	for n := range 10_000 {
		name := filepath.Join(dir, strings.Repeat("team-", 4)+string(rune('a'+n%26))+time.Duration(n).String()+".yaml")
		if err := os.WriteFile(name, []byte("text"), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	g := filestat.New([]string{dir}, yaml)
	g.Same()
	time.Sleep(filestat.Settle)
	for b.Loop() {
		if !g.Same() {
			b.Fatal("nothing changed")
		}
	}
}
