// Package teams keeps the callers that a directory has, a file for each team, and follows its changes. It decides which
// files count: what a file says is read by whoever configures it, and whom a token names is decided by package
// identity.
package teams

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/filestat"
	"github.com/attestor-gate/attestor/server/identity"
)

// Config says where teams' files are, and what they may hold. All fields but those with a default are required.
type Config struct {
	Directory string
	Interval  time.Duration // how often to look; 0: half a second

	// Parse reads a team's file.
	Parse func(team string, text []byte) ([]identity.Rule, error)
	// Check says what is wrong with a rule by itself.
	Check func(identity.Rule) []error
	// Most is the most that a team may grant.
	Most func(team string) ([]attestor.Grant, error)
	// Reserved are the rules of the configuration, whose callers no file may name.
	Reserved []identity.Rule
	// Use puts the rules of all teams in force, in place of those from before.
	Use func([]identity.Rule)

	Logger *slog.Logger     // nil: silent
	Now    func() time.Time // nil: time.Now; for how long something is broken
}

const (
	defaultInterval = 500 * time.Millisecond
	rereadAfter     = 50 * time.Millisecond // between the two times that a changed file is read
	wholeEvery      = 20                    // of how many looks one reads every file, whatever its time says
	maxFiles        = 10_000
	maxText         = 1 << 20 // bytes of one file
)

// Teams are those of a directory. They are safe for concurrent use.
//
// A changed text counts once it was read twice alike, so that half a file does not. One that does not count leaves in
// force what its team had before, and no other team's. What is gone from the directory is out of force at once.
type Teams struct {
	c        Config
	reserved map[string]bool // callers that the configuration names

	looking sync.Mutex // held by the one look at the directory; it guards what follows, up to logged
	stats   *filestat.Stats
	known   bool // every file is as it was read last
	files   map[string]*file
	looks   int
	logged  string // what was logged last

	mu     sync.Mutex
	status Status // guarded by mu
}

// A file is one team's.
type file struct {
	team    string
	seen    stamp           // of the file when it was read last
	noticed time.Time       // when it was seen to change
	pending attestor.Digest // of a text that was read once
	text    attestor.Digest // of the text that was judged last
	parsed  []identity.Rule // of that text
	wrong   error           // why that text does not count by itself; nil: it does
	good    []identity.Rule // in force
	clash   error           // why parsed does not count beside others'
	unread  error           // why the file cannot be read now
	twins   int             // files of this team in the directory, in one look
	gone    bool            // in one look
}

// Status is what is in force, and what is not.
type Status struct {
	Teams  []string         // those with a file, in order
	Rules  []identity.Rule  // in force
	Broken map[string]error // by team or file: why what is on the disk is not in force
	Err    error            // why the directory cannot be read; the files from before count, unless it does not exist
}

var teamName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// New reads the directory. A file that does not count is no error: its team has no grants until it is mended, and the
// others have theirs. Status says so.
func New(ctx context.Context, c Config) (*Teams, error) {
	if c.Directory == "" || c.Parse == nil || c.Check == nil || c.Most == nil || c.Use == nil {
		return nil, errors.New("reading teams: the directory or a function is missing")
	}
	c.Interval = cmp.Or(c.Interval, defaultInterval)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}

	t := &Teams{c: c, files: map[string]*file{}, reserved: map[string]bool{},
		stats: filestat.New([]string{c.Directory}, isTeamFile)}
	for _, r := range c.Reserved {
		t.reserved[r.Who()] = true
	}
	t.look(ctx, true)

	// There is nothing from before that a second reading could be compared with, and callers wait.
	t.look(ctx, true)
	if err := t.Status().Err; err != nil {
		return nil, err
	}
	return t, nil
}

// Run looks for changes until ctx ends.
func (t *Teams) Run(ctx context.Context) {
	timer := time.NewTimer(t.c.Interval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}

		again := t.c.Interval
		if t.Reload(ctx) {
			again = min(again, rereadAfter)
		}
		timer.Reset(again)
	}
}

// Reload reads what has changed, once. It reports whether something was read for the first time, so that it must be
// called again.
func (t *Teams) Reload(ctx context.Context) (again bool) {
	t.looking.Lock()
	t.looks++
	whole := t.looks%wholeEvery == 0

	// All that was read is in force, or reported, and no file looks otherwise than it did when it was read.
	idle := !whole && t.known && t.stats.Same()
	t.looking.Unlock()
	if idle {
		return false
	}

	// Times of files lie where disks are copied or mounted: from time to time every file is read.
	return t.look(ctx, whole)
}

// Status says what is in force.
func (t *Teams) Status() Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.status
}

// Known reports whether a team has a file.
func (t *Teams) Known(team string) bool {
	_, known := slices.BinarySearch(t.Status().Teams, team)
	return known
}

// Err is why some of the directory is not in force, or nil. It names at most ten files.
func (t *Teams) Err() error {
	s := t.Status()
	if s.Err == nil && len(s.Broken) == 0 {
		return nil
	}

	errs := []error{s.Err}
	for n, name := range slices.Sorted(maps.Keys(s.Broken)) {
		if n == 10 {
			errs = append(errs, fmt.Errorf("and %d more", len(s.Broken)-n))
			break
		}
		errs = append(errs, fmt.Errorf("%s: %w", name, s.Broken[name]))
	}
	return errors.Join(errs...)
}

// look compares the directory with what is known of it.
func (t *Teams) look(ctx context.Context, whole bool) (again bool) {
	t.looking.Lock()
	defer t.looking.Unlock()

	names, err := list(t.c.Directory)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		// Nobody removed anything: a disk that does not answer takes no rights away, and gives none.
		t.known = false
		t.note(ctx, Status{Teams: t.Status().Teams, Rules: t.Status().Rules, Broken: t.Status().Broken,
			Err: fmt.Errorf("reading teams: %w; what was read before stays in force", err)})
		return false
	}

	misnamed := t.assign(names)
	changed := false
	t.known = err == nil
	for name, f := range t.files {
		once, judged := false, false
		if !f.gone {
			once, judged = t.read(f, whole)
		}

		// What is gone is out of force with this look.
		if f.gone {
			delete(t.files, name)
		}
		again = again || once
		changed = changed || judged || f.gone
		t.known = t.known && !once && f.unread == nil
	}
	if changed {
		t.resolveClashes()
	}

	s := Status{Broken: misnamed, Err: err}
	for _, name := range slices.Sorted(maps.Keys(t.files)) {
		f := t.files[name]
		s.Teams = append(s.Teams, name)
		if changed {
			s.Rules = append(s.Rules, f.good...)
		}
		if wrong := cmp.Or(f.unread, f.wrong, f.clash); wrong != nil {
			s.Broken[name] = wrong
		}
	}
	if !changed {
		s.Rules = t.Status().Rules
	} else {
		t.c.Use(s.Rules)
		t.c.Logger.InfoContext(ctx, "teams' callers are in force",
			slog.Int("teams", len(s.Teams)), slog.Int("callers", len(s.Rules)))
	}
	t.note(ctx, s)
	return again
}

// assign gives each name of the directory to its team, marks teams without a file, and returns the names that can be no
// team's.
func (t *Teams) assign(names []string) (misnamed map[string]error) {
	for _, f := range t.files {
		f.gone, f.twins = true, 0
	}

	misnamed = map[string]error{}
	for _, name := range names {
		// The name is the file's and not in its text: whoever may write one team's file cannot
		// grant rights in another team's name.
		team := strings.TrimSuffix(strings.TrimSuffix(name, ".yaml"), ".yml")
		if !teamName.MatchString(team) {
			misnamed[name] = errors.New(
				"the file's name is not a team's: want lower-case letters, digits and hyphens, " +
					"at most 63, and .yaml")
			continue
		}
		f := t.files[team]
		if f == nil {
			f = &file{team: team}
			t.files[team] = f
		}
		f.gone = false
		f.twins++
	}
	return misnamed
}

// read looks at one team's file. It reports whether a text was read once and must be read again, and whether one was
// judged.
func (t *Teams) read(f *file, whole bool) (once, judged bool) {
	f.unread = nil
	if f.twins > 1 {
		f.unread = fmt.Errorf("the team has two files, %s.yaml and %s.yml: what it had stays in force", f.team, f.team)
		f.seen = stamp{}
		return false, false
	}

	// A second change a moment after the first may leave the time of that one.
	now := time.Now()
	lately := now.Sub(f.noticed) < filestat.Settle
	text, seen, err := readIfChanged(t.c.Directory, f.team, f.seen, whole || f.pending != "" || lately)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.gone = true // since the directory was listed, or it is a link to nothing
		return false, false
	case err != nil:
		f.unread = fmt.Errorf("%w; what the team had stays in force", err)
		f.seen = stamp{}
		return false, false
	case text == nil:
		return false, false
	}

	// A file that is being written may end anywhere, also in the middle of a pattern that would then cover more.
	if !f.seen.same(seen) {
		f.noticed = now
	}
	f.seen = seen
	switch digest := attestor.DigestOf(text); digest {
	case f.text:
		f.pending = ""
		return false, false
	case f.pending:
		f.pending, f.text = "", digest
	default:
		f.pending, f.noticed = digest, now
		return true, false
	}

	f.parsed, f.wrong = t.grants(f.team, text)
	if f.wrong != nil {
		f.parsed = nil
	}
	return false, true
}

// grants says what a team's text grants, or everything that is wrong with it.
func (t *Teams) grants(team string, text []byte) ([]identity.Rule, error) {
	rules, err := t.c.Parse(team, text)
	if err != nil {
		return nil, err
	}
	most, err := t.c.Most(team)
	if err != nil {
		return nil, err
	}

	var errs []error
	for _, r := range rules {
		bad := func(err error) { errs = append(errs, fmt.Errorf("%s: %w", r.Place, err)) }
		for _, err := range t.c.Check(r) {
			bad(err)
		}
		if t.reserved[r.Who()] {
			bad(fmt.Errorf("the configuration has the caller %s already", r.Who()))
		}
		for _, g := range r.Grants {
			for _, a := range g.Actions {
				for _, p := range g.Images {
					if !within(most, a, p) {
						bad(fmt.Errorf("identity.teams.allow does not let this team grant %s on %s", a, p))
					}
				}
			}
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs[:min(len(errs), maxErrors)]...)
	}
	return rules, nil
}

// maxErrors bounds the errors that are reported of one file.
const maxErrors = 20

// within reports whether a team may grant an action on every repository of a pattern. Covers never says so wrongly.
func within(most []attestor.Grant, a attestor.Action, p attestor.Pattern) bool {
	return slices.ContainsFunc(most, func(g attestor.Grant) bool {
		return slices.Contains(g.Actions, a) &&
			slices.ContainsFunc(g.Images, func(bound attestor.Pattern) bool { return bound.Covers(p) })
	})
}

// resolveClashes puts in force what every file says, but where two name the same caller: what both had before stays.
func (t *Teams) resolveClashes() {
	next := map[*file][]identity.Rule{}
	for _, f := range t.files {
		f.clash = nil
		next[f] = f.good
		if f.text != "" && f.wrong == nil && f.twins == 1 {
			next[f] = f.parsed
		}
	}

	// A file that goes back to what it had may clash with one that took over a caller from it: then that goes back too.
	// Each round sends one back at least. What was in force has no clash.
	for {
		holder, clashed := map[string]*file{}, map[*file]error{}
		for _, name := range slices.Sorted(maps.Keys(t.files)) {
			f := t.files[name]
			for _, r := range next[f] {
				who := r.Who()
				other := holder[who]
				if other == nil {
					holder[who] = f
				} else if other != f {
					clashed[f] = fmt.Errorf("%s: the team %s names the caller %s too; what both had stays in force",
						r.Place, other.team, who)
					clashed[other] = fmt.Errorf(
						"the team %s names the caller %s too (%s); what both had stays in force", f.team, who, r.Place)
				}
			}
		}

		back := false
		for f, why := range clashed {
			if f.clash == nil {
				f.clash, next[f], back = why, f.good, true
			}
		}
		if !back {
			break
		}
	}
	for f, rules := range next {
		f.good = rules
	}
}

// note keeps what a look found, and logs what is newly broken.
func (t *Teams) note(ctx context.Context, s Status) {
	t.mu.Lock()
	t.status = s
	t.mu.Unlock()

	now := ""
	if err := t.Err(); err != nil {
		now = err.Error()
	}
	if now != "" && now != t.logged {
		t.c.Logger.ErrorContext(ctx, "teams' files on disk do not load; what those teams had stays in force",
			slog.Int("failed", len(s.Broken)), slog.String("error", now))
	}
	t.logged = now
}
