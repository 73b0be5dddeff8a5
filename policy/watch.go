package policy

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/attestor-gate/attestor"
)

// WatcherConfig says what to watch. Paths is required.
type WatcherConfig struct {
	Paths    []string         // files and directories, as for [Load]
	Interval time.Duration    // how often to look; 0: 10 s
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

	mu      sync.RWMutex
	set     *Set
	status  Status
	pending string // the texts read last, where they are not the ones in force; guarded by mu
	current string // the texts in force, or last found broken; guarded by mu
}

var _ attestor.Policies = (*Watcher)(nil)

// Status is what a Watcher is doing.
type Status struct {
	Digest attestor.Digest // of the set in force
	Loaded time.Time       // since when it is in force
	Err    error           // why what is on disk is not; nil: it is
	Since  time.Time       // since when Err stands
}

const defaultInterval = 10 * time.Second

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

	sources, err := read(c.Paths)
	if err != nil {
		return nil, err
	}
	set, err := Parse(sources...)
	if err != nil {
		return nil, err
	}

	return &Watcher{
		c:       c,
		set:     set,
		current: fingerprint(sources),
		status:  Status{Digest: set.digest, Loaded: c.Now()},
	}, nil
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

// Run looks for changes until ctx ends.
func (w *Watcher) Run(ctx context.Context) {
	ticker := time.NewTicker(w.c.Interval)
	defer ticker.Stop()

	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			w.Reload(ctx)
		}
	}
}

// Reload looks once. It reports whether another set is in force than before.
func (w *Watcher) Reload(ctx context.Context) (changed bool) {
	sources, err := read(w.c.Paths) // outside the lock: disks can hang
	w.mu.Lock()
	defer w.mu.Unlock()

	if err != nil {
		w.pending, w.current = "", "" // once it can be read again, it is judged anew
		w.fail(ctx, err)
		return false
	}

	seen := fingerprint(sources)
	switch {
	case seen == w.current:
		w.pending = ""
		return false
	case seen != w.pending:
		w.pending = seen
		return false
	}

	w.current, w.pending = seen, ""
	set, err := Parse(sources...)
	if err == nil && w.c.Check != nil {
		err = w.c.Check(set)
	}
	if err != nil {
		w.fail(ctx, err)
		return false
	}

	changed = set.digest != w.set.digest
	w.set, w.status = set, Status{Digest: set.digest, Loaded: w.c.Now()}
	w.c.Logger.InfoContext(
		ctx, "policies reloaded", slog.String("policies_digest", string(set.digest)),
		slog.Int("policies", len(set.policies)),
	)
	return changed
}

func (w *Watcher) fail(ctx context.Context, err error) {
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

func fingerprint(sources []Source) string {
	var all []byte
	for _, s := range sources {
		all = append(all, s.Name+"\x00"+string(attestor.DigestOf(s.Text))+"\n"...)
	}
	return string(attestor.DigestOf(all))
}
