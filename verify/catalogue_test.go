package verify_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/contract"
	"github.com/attestor-gate/attestor/verify"
)

// history is a TagHistory in memory, which can fail. It passes the suite of all
// of them.
type history struct {
	mu     sync.Mutex
	points []attestor.TagPoint // of each tag, oldest first
	err    error

	reads int                 // that were asked for
	taken []attestor.TagPoint // what RecordTag was given and took, in order
}

func TestHistoryInMemory(t *testing.T) {
	contract.TagHistory(t, func(*testing.T) verify.TagHistory { return &history{} })
}

func (h *history) RecordTag(_ context.Context, p attestor.TagPoint) error {
	h.mu.Lock()
	defer h.mu.Unlock()

	switch {
	case h.err != nil:
		return h.err
	case p.Repository == "" || p.Tag == "" || p.Digest == "" || p.From.IsZero():
		return errors.New("incomplete")
	}

	h.taken = append(h.taken, p)
	p.Seen, p.Until = p.From, nil
	for _, q := range slices.Backward(h.points) {
		if q.Repository != p.Repository || q.Tag != p.Tag {
			continue
		}

		i := slices.Index(h.points, q)
		switch same := q.Digest == p.Digest; {
		case p.From.Before(q.From), p.From.Equal(q.From) && !same:
			return nil
		case same && q.Until == nil:
			if p.From.After(q.Seen) {
				h.points[i].Seen = p.From
			}
			return nil
		case q.Until == nil:
			h.points[i].Until = new(p.From)
			if q.Seen.After(p.From) {
				h.points[i].Seen = p.From
			}
		}

		break
	}

	h.points = append(h.points, p)
	return nil
}

func (h *history) TagHistory(_ context.Context, repository, tag string) ([]attestor.TagPoint, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reads++
	var out []attestor.TagPoint

	for _, p := range h.points {
		if p.Repository == repository && p.Tag == tag {
			out = append(out, p)
		}
	}
	return out[max(0, len(out)-attestor.MaxTagPoints):], h.err
}

// After a restart, what a tag named within maxBehind must be read again before
// an image can be said not to be built on it; what was deleted since is gone.
func TestPastBaseThatCannotBeRead(t *testing.T) {
	old := sumManifest(rawImage{Layers: layersOf("old")})
	for _, tt := range []struct {
		name   string
		status int
		behind time.Duration
		codes  []attestor.Code
	}{
		{"the registry fails", http.StatusInternalServerError, 30 * 24 * time.Hour, []attestor.Code{attestor.CodeBaseUnresolved}},
		{"it was deleted", http.StatusNotFound, 30 * 24 * time.Hour, nil},
		{"too long ago to count", http.StatusInternalServerError, 24 * time.Hour, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &front{}
			host := newRegistry(t, f.wrap)
			pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("new")})
			pushRaw(t, host, "app", "1", rawImage{Layers: layersOf("old", "x")})
			f.set(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "base/manifests/"+string(old)) {
					return false
				}
				w.WriteHeader(tt.status)
				return true
			})

			now := clockAt(time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC))
			moved := now.Now().AddDate(0, 0, -3)
			store := &history{points: []attestor.TagPoint{
				{Repository: host + "/base", Tag: "1", Digest: old, From: now.Now().AddDate(0, 0, -9), Until: &moved},
				{Repository: host + "/base", Tag: "1", Digest: sumManifest(rawImage{Layers: layersOf("new")}), From: moved},
			}}

			i := newInspector(t, host, func(c *config) { c.Now, c.History = now.Now, store })
			ev := inspectOne(t, i, host+"/app:1", basesOf(host, func(ab *attestor.ApprovedBase) { ab.MaxBehind = tt.behind }))
			wantCodes(t, ev.Problems, tt.codes...)
			if ev.Base.Evidence != "" {
				t.Errorf("base = %+v", ev.Base)
			}
		})
	}
}

// recklessHistory panics when it is read.
type recklessHistory struct{ history }

func (*recklessHistory) TagHistory(context.Context, string, string) ([]attestor.TagPoint, error) {
	panic("a bug")
}

// The look-ups of bases run on goroutines of their own, where a panic would end the process. What they did not find out is
// unknown, and the log says why.
func TestHistoryThatPanics(t *testing.T) {
	host := newRegistry(t, nil)
	pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("base")})
	pushRaw(t, host, "app", "1", rawImage{Layers: layersOf("base", "x")})
	var log bytes.Buffer

	i := newInspector(t, host, func(c *config) {
		c.History, c.Logger = &recklessHistory{}, slog.New(slog.NewTextHandler(&log, nil))
	})
	ev := inspectOne(t, i, host+"/app:1", basesOf(host, nil))
	wantCodes(t, ev.Problems, attestor.CodeBaseUnresolved)
	if ev.Base.Evidence != "" || !strings.Contains(log.String(), "panicked") {
		t.Errorf("base = %+v, log %q", ev.Base, log.String())
	}
}

// An image that was admissible long ago is told by how much its base is out of
// date, once the past was read off the request path.
func TestLongOutdatedBaseIsNamed(t *testing.T) {
	host := newRegistry(t, nil)
	old := pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("old")})
	pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("new")})
	pushRaw(t, host, "app", "1", rawImage{Layers: layersOf("old", "x")})
	now := clockAt(time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC))
	moved := now.Now().AddDate(-1, 0, 0)
	store := &history{points: []attestor.TagPoint{
		{Repository: host + "/base", Tag: "1", Digest: old, From: now.Now().AddDate(-2, 0, 0), Until: &moved},
		{Repository: host + "/base", Tag: "1", Digest: sumManifest(rawImage{Layers: layersOf("new")}), From: moved},
	}}

	i := newInspector(t, host, func(c *config) { c.Now, c.History = now.Now, store })
	needs := basesOf(host, nil)
	if err := i.RefreshBases(context.Background(), needs.Bases); err != nil {
		t.Fatal(err)
	}

	if b := inspectOne(t, i, host+"/app:1", needs).Base; b.Digest != old || b.Superseded == nil || !b.Superseded.Equal(moved) {
		t.Errorf("base = %+v, want superseded at %s", b, moved)
	}
}

// A fresh base is found although the tag was looked up a while ago.
func TestMissRefreshes(t *testing.T) {
	host := newRegistry(t, nil)
	now := clockAt(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
	i := newInspector(t, host, func(c *config) { c.Now = now.Now })
	pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("old")})
	pushRaw(t, host, "app", "1", rawImage{Layers: layersOf("old", "x")})
	inspectOne(t, i, host+"/app:1", basesOf(host, nil))
	pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("new")})
	pushRaw(t, host, "app", "2", rawImage{Layers: layersOf("new", "x")})
	now.set(now.Now().Add(2 * time.Minute))
	if b := inspectOne(t, i, host+"/app:2", basesOf(host, nil)).Base; !b.Current {
		t.Errorf("base = %+v, want current", b)
	}
}

// The base's registry goes down: known digests count until their valid-until,
// then it is not known what they are.
func TestBaseRegistryDown(t *testing.T) {
	f := &front{}
	host := newRegistry(t, f.wrap)
	now := clockAt(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
	i := newInspector(t, host, func(c *config) { c.Now = now.Now })
	needs := basesOf(host, func(ab *attestor.ApprovedBase) { ab.MaxBehind = 24 * time.Hour })
	pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("a")})
	pushRaw(t, host, "app", "1", rawImage{Layers: layersOf("a", "x")})
	pushRaw(t, host, "app", "2", rawImage{Layers: layersOf("b", "x")})
	inspectOne(t, i, host+"/app:1", needs)
	f.set(func(w http.ResponseWriter, r *http.Request) bool {
		if isManifest(r, "base") {
			w.WriteHeader(http.StatusInternalServerError)
			return true
		}
		return false
	})

	now.set(now.Now().Add(23 * time.Hour))
	ev := inspectOne(t, i, host+"/app:1", needs)
	wantCodes(t, ev.Problems)
	if !ev.Base.Current {
		t.Errorf("within maxBehind: base = %+v", ev.Base)
	}

	now.set(now.Now().Add(2 * time.Hour))
	ev = inspectOne(t, i, host+"/app:1", needs)
	wantCodes(t, ev.Problems, attestor.CodeBaseUnresolved)
	if ev.Base.Evidence != "" || ev.Problems[0].Status != attestor.StatusError {
		t.Errorf("beyond maxBehind: %+v", ev)
	}

	// Another image is not "not built on it" either: that is not known.
	wantCodes(t, inspectOne(t, i, host+"/app:2", needs).Problems, attestor.CodeBaseUnresolved)

	// By digest, nothing needs to be asked again.
	pinned := needs
	d := sumManifest(rawImage{Layers: layersOf("a")})
	pinned.Bases = []attestor.ApprovedBase{{Name: "p", Repository: host + "/base", Digests: []attestor.Digest{d}}}
	if b := inspectOne(t, i, host+"/app:1", pinned).Base; !b.Listed || b.Evidence != attestor.LayersExact {
		t.Errorf("pinned base = %+v", b)
	}
}

func sumManifest(r rawImage) attestor.Digest {
	m, _ := r.Bytes()
	return sum(m)
}

func TestUnresolvedBase(t *testing.T) {
	host := newRegistry(t, nil)
	pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("a")})
	pushRaw(t, host, "app", "1", rawImage{Layers: layersOf("b")})

	for name, change := range map[string]func(*attestor.ApprovedBase){
		"no such tag":        func(ab *attestor.ApprovedBase) { ab.Tags = []string{"1", "none"} },
		"no such repository": func(ab *attestor.ApprovedBase) { ab.Repository = host + "/none" },
		"no such digest":     func(ab *attestor.ApprovedBase) { ab.Digests = []attestor.Digest{sum(nil)} },
		"another registry":   func(ab *attestor.ApprovedBase) { ab.Repository = "registry.example/base" },
		"not a repository":   func(ab *attestor.ApprovedBase) { ab.Repository = "x y" },
	} {
		ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", basesOf(host, change))
		wantCodes(t, ev.Problems, attestor.CodeBaseUnresolved)
		if ev.Problems[0].Subject != "debian" {
			t.Errorf("%s: %+v", name, ev.Problems[0])
		}
	}

	t.Run("the history cannot be read", func(t *testing.T) {
		i := newInspector(t, host, func(c *config) { c.History = &history{err: errors.New("disk full")} })
		wantCodes(t, inspectOne(t, i, host+"/app:1", basesOf(host, nil)).Problems, attestor.CodeBaseUnresolved)
	})
}

func TestBaseStates(t *testing.T) {
	host := newRegistry(t, nil)
	d := pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("a")})
	i := newInspector(t, host, nil)
	needs := basesOf(host, nil)
	if got := i.Bases(needs.Bases); len(got) != 1 || got[0].Problem == "" || got[0].Tags[0].Digest != "" {
		t.Errorf("before: %+v", got)
	}
	if err := i.RefreshBases(context.Background(), needs.Bases); err != nil {
		t.Fatal(err)
	}

	got := i.Bases(needs.Bases)
	want := []verify.TagState{{Tag: "1", Digest: d, Since: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC),
		Seen: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}}
	if diff := cmp.Diff(want, got[0].Tags); diff != "" || got[0].Problem != "" {
		t.Errorf("after (-want +got):\n%s%s", diff, got[0].Problem)
	}

	needs.Bases[0].Tags = []string{"none"}
	if err := i.RefreshBases(context.Background(), needs.Bases); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("RefreshBases = %v", err)
	}
}

// One call that goes wrong refuses one image, not everybody's for a while; a
// registry that stays down is asked less and less often.
func TestFailedLookUpIsAskedAgain(t *testing.T) {
	f := &front{}
	host := newRegistry(t, f.wrap)
	now := clockAt(time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC))
	i := newInspector(t, host, func(c *config) { c.Now = now.Now })
	pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("a")})
	pushRaw(t, host, "app", "1", rawImage{Layers: layersOf("a", "x")})
	var asked atomic.Int32
	var up atomic.Bool
	f.set(func(w http.ResponseWriter, r *http.Request) bool {
		if !isManifest(r, "base") || up.Load() {
			return false
		}

		asked.Add(1)
		w.WriteHeader(http.StatusInternalServerError)
		return true
	})

	look := func(want int32, codes ...attestor.Code) {
		t.Helper()
		asked.Store(0)
		wantCodes(t, inspectOne(t, i, host+"/app:1", basesOf(host, nil)).Problems, codes...)
		if got := asked.Load(); got != want {
			t.Errorf("the base's registry was asked %d times, want %d", got, want)
		}
	}

	look(1, attestor.CodeBaseUnresolved)
	look(1, attestor.CodeBaseUnresolved) // at once
	look(0, attestor.CodeBaseUnresolved) // twice in a row: not at once
	now.set(now.Now().Add(250 * time.Millisecond))
	look(1, attestor.CodeBaseUnresolved)
	now.set(now.Now().Add(250 * time.Millisecond))
	look(0, attestor.CodeBaseUnresolved)
	now.set(now.Now().Add(5 * time.Second))
	up.Store(true)
	look(0)
}
