package policy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/filestat"
)

// WatcherConfig says what to watch. Paths is required.
type WatcherConfig struct {
	Paths    []string         // files and directories, as for [Load]
	Interval time.Duration    // how often to read every file, whatever its time says, where that is cheap; 0: 10 s
	Logger   *slog.Logger     // nil: silent
	Now      func() time.Time // nil: time.Now; for Status only

	// Check refuses a changed set that loads and that whoever serves it cannot keep: the
	// old policies stay in force. nil: whatever loads is taken.
	Check func(*Set) error
}

// A Watcher holds the policies in force and picks up changes on disk. It
// implements [attestor.Policies] and is safe for concurrent use.
//
// A text is put in force once it was read twice alike, so that a file that is
// half written is not taken for a policy that asks for less. One that does not
// load leaves the old policies in force, and Err says so until it is mended.
type Watcher struct {
	c WatcherConfig

	// Reading and loading take their time, and hold up nobody who asks for a policy.
	looking sync.Mutex
	stats   *filestat.Stats     // guarded by looking
	took    time.Duration       // to read every file; guarded by looking
	known   bool                // files are as they were read last, and could all be read; guarded by looking
	files   map[string]readFile // as they were read last; guarded by looking
	loader  loader              // guarded by looking
	pending string              // the texts read last, where they are not the ones in force; guarded by looking
	current string              // the texts in force, or last found broken; guarded by looking

	mu     sync.RWMutex
	set    *Set
	status Status
}

var _ attestor.Policies = (*Watcher)(nil)

// Status is what a Watcher is doing.
type Status struct {
	Digest attestor.Digest // of the set in force
	Loaded time.Time       // since when it is in force
	Err    error           // why what is on disk is not; nil: it is
	Since  time.Time       // since when Err stands
}

const (
	defaultInterval = 10 * time.Second
	statEvery       = 700 * time.Millisecond // at the files' times
	rereadAfter     = 50 * time.Millisecond  // between the two times that a change is read
)

// NewWatcher loads the policies, and fails where they do not load: there is no
// old set to fall back to.
func NewWatcher(c WatcherConfig) (*Watcher, error) {
	if len(c.Paths) == 0 {
		return nil, errors.New("watching policies: no path was given")
	}
	if c.Interval <= 0 {
		c.Interval = defaultInterval
	}

	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}

	w := &Watcher{c: c, loader: loader{table: checks()}, stats: filestat.New(c.Paths, isPolicyFile)}
	sources, err := w.readFiles(true)
	if err != nil {
		return nil, err
	}
	set, err := w.loader.load(sources)
	if err != nil {
		return nil, err
	}
	w.set, w.current, w.status = set, fingerprint(sources), Status{Digest: set.digest, Loaded: c.Now()}
	return w, nil
}

// Unwatched holds a set that stays in force: nothing on the disk is looked at. err is why another one is not; it is
// what Err answers.
func Unwatched(set *Set, err error) *Watcher {
	return &Watcher{set: set, status: Status{Digest: set.digest, Err: err}}
}

// Set is what is in force now.
func (w *Watcher) Set() *Set {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.set
}

// Govern asks the set in force.
func (w *Watcher) Govern(repository string) (attestor.Policy, bool) {
	return w.Set().Govern(repository)
}

// Named asks the set in force.
func (w *Watcher) Named(name string) (attestor.Policy, bool) { return w.Set().Named(name) }

// Status says what is in force, and what is wrong with what is not.
func (w *Watcher) Status() Status {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.status
}

// Err is why what is on disk is not in force, or nil.
func (w *Watcher) Err() error { return w.Status().Err }

// Run looks for changes until ctx ends: often at the files' times, and every Interval into each file, since times lie
// where disks are mounted or copied. Where there are so many that reading them takes more than a two-hundredth of that,
// they are read more seldom.
func (w *Watcher) Run(ctx context.Context) {
	pause := min(w.c.Interval, statEvery)
	timer := time.NewTimer(pause)
	defer timer.Stop()

	whole := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}

		// By the monotonic clock: a wall clock that is set back does not stop the reading of files.
		due := time.Since(whole) >= w.wholeEvery()
		if due {
			whole = time.Now()
		}
		_, again := w.reload(ctx, due)
		if again {
			timer.Reset(min(pause, rereadAfter))
		} else {
			timer.Reset(pause)
		}
	}
}

const (
	readShare = 200 // a process that has nothing to do spends at most this part of its time on reading every file
	wholeMost = 10 * time.Minute
)

// wholeEvery is how often every file is read.
func (w *Watcher) wholeEvery() time.Duration {
	w.looking.Lock()
	defer w.looking.Unlock()
	return max(w.c.Interval, min(readShare*w.took, wholeMost))
}

// Reload reads every file once. It reports whether another set is in force than before.
func (w *Watcher) Reload(ctx context.Context) (changed bool) {
	changed, _ = w.reload(ctx, true)
	return changed
}

// reload looks once: into every file, or into those whose times changed. again says that something was read for the
// first time, and counts if it is read alike once more.
func (w *Watcher) reload(ctx context.Context, whole bool) (changed, again bool) {
	w.looking.Lock()
	defer w.looking.Unlock()

	// Everything that was read is in force, or reported, and no file looks otherwise than it did when it was read.
	if !whole && w.known && w.pending == "" && w.stats.Same() {
		return false, false
	}

	sources, err := w.readFiles(whole)
	w.known = err == nil
	if err != nil {
		w.pending, w.current = "", "" // once it can be read again, it is judged anew
		w.fail(ctx, err)
		return false, false
	}

	seen := fingerprint(sources)
	switch {
	// In force already, or broken and reported.
	case seen == w.current:
		w.pending = ""
		return false, false
	// Read once: a file that is half written reads otherwise the next time.
	case seen != w.pending:
		w.pending = seen
		return false, true
	}

	// Set before loading: a text that does not load is not loaded again each second.
	w.current, w.pending = seen, ""
	set, err := w.loader.load(sources)
	if err == nil && w.c.Check != nil {
		err = w.c.Check(set)
	}
	if err != nil {
		w.fail(ctx, err)
		return false, false
	}

	w.mu.Lock()
	defer w.mu.Unlock()
	changed = set.digest != w.set.digest
	w.set, w.status = set, Status{Digest: set.digest, Loaded: w.c.Now()}
	w.c.Logger.InfoContext(
		ctx, "policies reloaded", slog.String("policies_digest", string(set.digest)),
		slog.Int("policies", len(set.policies)),
	)
	return changed, false
}

func (w *Watcher) fail(ctx context.Context, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.status.Err == nil {
		w.status.Since = w.c.Now()
	}
	if w.status.Err == nil || w.status.Err.Error() != err.Error() {
		w.c.Logger.ErrorContext(
			ctx, "policies on disk do not load; the old ones stay in force", slog.String("error", err.Error()),
			slog.String("policies_digest", string(w.status.Digest)),
		)
	}
	w.status.Err = err
}

// A readFile is a file's text, and what its time and size were before it was read.
type readFile struct {
	Source
	digest  attestor.Digest
	size    int64
	at      time.Time
	once    bool      // the text was read once, and may be half of one
	noticed time.Time // when it was seen to change
}

// readFiles returns every file. It reads anew those whose time or size changed, those that were read once, and those that
// changed a moment ago, since a second change may leave the time of the first. With whole it reads each.
func (w *Watcher) readFiles(whole bool) ([]Source, error) {
	began := time.Now()
	names, err := expand(w.c.Paths)
	if err != nil {
		return nil, err
	}

	files := make(map[string]readFile, len(names))
	sources := make([]Source, 0, len(names))
	for _, name := range names {
		// Before the file is read: a change between the two is seen the next time.
		info, err := os.Stat(name)
		if err != nil {
			return nil, fmt.Errorf("reading policies: %w", err)
		}
		f, known := w.files[name]
		same := known && f.size == info.Size() && f.at.Equal(info.ModTime())
		if whole || !same || f.once || began.Sub(f.noticed) < filestat.Settle {
			text, err := readBounded(name)
			if err != nil {
				return nil, err
			}
			next := readFile{Source: Source{Name: name, Text: text}, size: info.Size(), at: info.ModTime()}
			next.digest, next.noticed = attestor.DigestOf(text), f.noticed
			next.once = next.digest != f.digest
			if next.once || !same {
				next.noticed = began
			}
			f = next
		}
		files[name] = f
		sources = append(sources, Source{Name: name, Text: f.Text, digest: f.digest})
	}
	w.files = files
	if whole {
		w.took = time.Since(began)
	}
	return sources, nil
}

func fingerprint(sources []Source) string {
	var all []byte
	for _, s := range sources {
		all = append(all, s.Name+"\x00"+string(s.digested())+"\n"...)
	}
	return string(attestor.DigestOf(all))
}
