package policy_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

// watched is a watcher on one file, and what it logs.
type watched struct {
	*policy.Watcher
	t    *testing.T
	file string
	log  bytes.Buffer
}

func watch(t *testing.T) *watched {
	w := &watched{t: t, file: filepath.Join(t.TempDir(), "policy.yaml")}
	w.write(strict)
	var err error
	if w.Watcher, err = policy.NewWatcher(policy.WatcherConfig{Paths: []string{w.file}, Now: today,
		Logger: slog.New(slog.NewTextHandler(&w.log, nil))}); err != nil {
		t.Fatal(err)
	}

	return w
}

func (w *watched) write(text string) {
	w.t.Helper()
	if err := os.WriteFile(w.file, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// twice looks as often as it takes to believe what is there.
func (w *watched) twice() (changed bool) {
	w.Reload(w.t.Context())
	return w.Reload(w.t.Context())
}

func (w *watched) digest() attestor.Digest {
	w.t.Helper()
	p, ok := w.Govern(prodImage)
	if !ok {
		w.t.Fatal("nothing governs")
	}

	return p.Ref().Digest
}

func TestWatcherPicksUpChanges(t *testing.T) {
	w := watch(t)
	before := w.digest()
	if w.twice() || w.digest() != before {
		t.Error("without a change, something changed")
	}

	w.write(strings.Replace(strict, "MEDIUM", "LOW", 1))
	if w.Reload(t.Context()) || w.digest() != before {
		t.Error("what was read once is in force: it may have been half of it")
	}
	if !w.Reload(t.Context()) || w.digest() == before || w.Err() != nil {
		t.Errorf("a changed policy is not in force: %v", w.Err())
	}
	if s := w.Status(); s.Digest != w.Set().Digest() || !s.Loaded.Equal(today()) {
		t.Errorf("%+v", s)
	}
}

// A policy that is being written is not taken for a shorter one.
func TestWatcherHalfWritten(t *testing.T) {
	w := watch(t)
	before := w.digest()
	long := strings.Replace(strict, "  rules: []\n", "", 1) + "  rules:\n    - {name: a, expression: 'size(image.labels) > 0', message: m}\n"
	half := long[:strings.Index(long, "  rules:")]

	for _, text := range []string{half, long, half, long} {
		w.write(text)
		if w.Reload(t.Context()) {
			t.Fatal("half a policy came into force")
		}
	}

	if w.digest() != before {
		t.Fatal("half a policy is in force")
	}
	if !w.Reload(t.Context()) {
		t.Error("the whole one is not")
	}
}

func TestWatcherHoldsTheOldSet(t *testing.T) {
	for name, breakIt := range map[string]func(w *watched){
		"broken":  func(w *watched) { w.write(strings.Replace(strict, "enforce", "enfoce", 1)) },
		"emptied": func(w *watched) { w.write("") },
		"removed": func(w *watched) {
			if err := os.Remove(w.file); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := watch(t)
			before := w.digest()
			breakIt(w)

			for range 5 {
				if w.Reload(t.Context()) {
					t.Fatal("it came into force")
				}
			}

			if w.digest() != before || w.Err() == nil || w.Status().Since.IsZero() {
				t.Errorf("digest %s, error %v", w.digest(), w.Err())
			}
			if n := strings.Count(w.log.String(), "level=ERROR"); n != 1 {
				t.Errorf("%d errors logged, want one that is not repeated:\n%s", n, &w.log)
			}
			if !strings.Contains(w.log.String(), w.file) {
				t.Errorf("the log does not name the file:\n%s", &w.log)
			}

			w.write(strict)
			if w.twice(); w.Err() != nil || w.digest() != before {
				t.Errorf("mended, and still: %v", w.Err())
			}
		})
	}
}

// Back and forth between unreadable and broken, the error stands.
func TestWatcherBrokenStaysBroken(t *testing.T) {
	w := watch(t)
	broken := strings.Replace(strict, "enforce", "enfoce", 1)
	w.write(broken)
	w.twice()
	if err := os.Remove(w.file); err != nil {
		t.Fatal(err)
	}

	w.twice()
	w.write(broken)
	w.twice()
	if _, parsed := errors.AsType[policy.Errors](w.Err()); !parsed {
		t.Errorf("%v", w.Err())
	}
}

func TestWatcherNeedsAGoodStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.yaml")
	if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, paths := range map[string][]string{"no path": nil, "broken": {file}, "missing": {file + "x"}} {
		if _, err := policy.NewWatcher(policy.WatcherConfig{Paths: paths}); err == nil {
			t.Errorf("%s: starts", name)
		}
	}
}

func TestWatcherRun(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "p.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	write(strict)
	synctest.Test(t, func(t *testing.T) {
		w, err := policy.NewWatcher(policy.WatcherConfig{Paths: []string{dir}, Interval: time.Minute})
		if err != nil {
			t.Fatal(err)
		}

		before := w.Set().Digest()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); w.Run(ctx) }()
		write(strings.Replace(strict, "MEDIUM", "LOW", 1))
		time.Sleep(2*time.Minute + time.Second)
		synctest.Wait()
		if w.Set().Digest() == before {
			t.Error("after two intervals the change is not in force")
		}

		cancel()
		<-done
	})
}

// A change is in force within a second, long after the last one, and a moment after it, though the second one leaves the
// file's size and time as they are: file systems keep times to two seconds at the worst. Every file is read once a day
// here, so that only looking at files' times can tell.
func TestAChangeIsInForceWithinASecond(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	behind := func(days string) string { return strings.Replace(strict, "maxBehind: 14d", "maxBehind: "+days, 1) }
	put := func(t *testing.T, name, text string) {
		t.Helper()
		path, at := filepath.Join(dir, name), time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	put(t, "p.yaml", behind("14d"))
	long := time.Date(2019, 1, 1, 0, 0, 0, 0, time.UTC) // the kernel's clock for files is coarse, and this test is fast
	if err := os.Chtimes(dir, long, long); err != nil {
		t.Fatal(err)
	}

	synctest.Test(t, func(t *testing.T) {
		w, err := policy.NewWatcher(policy.WatcherConfig{Paths: []string{dir}, Interval: 24 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); w.Run(ctx) }()
		follows := func(change string, want bool) {
			t.Helper()
			before := w.Set().Digest()
			time.Sleep(time.Second)
			synctest.Wait()
			if changed := w.Set().Digest() != before; changed != want {
				t.Errorf("%s: after a second another set is in force: %t, want %t: %v", change, changed, want, w.Err())
			}
		}

		time.Sleep(time.Minute)
		synctest.Wait()
		put(t, "p.yaml", "apiVersion: attestor/v1\n")
		follows("broken", false)
		put(t, "p.yaml", behind("24d"))
		follows("mended", true)
		put(t, "p.yaml", behind("34d"))
		follows("a moment after it, with the same size and time", true)

		time.Sleep(time.Hour)
		synctest.Wait()
		put(t, "q.yaml", strings.NewReplacer("name: strict", "name: other", "registry.example/acme/", "registry.example/q/").Replace(strict))
		follows("a file more", true)
		time.Sleep(time.Hour)
		synctest.Wait()
		if err := os.Remove(filepath.Join(dir, "q.yaml")); err != nil {
			t.Fatal(err)
		}
		follows("a file less", true)

		cancel()
		<-done
	})
}
