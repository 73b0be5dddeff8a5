package verify_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify"
)

// watched is a base's tag that is looked up by a gate with a memory.
type watched struct {
	t     *testing.T
	host  string
	clock *clock
	store *history
	i     *verify.Inspector
	needs attestor.Needs
}

// now is the time at which each of these tests begins.
func now() time.Time { return time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC) }

func watch(t *testing.T, points ...attestor.TagPoint) *watched {
	t.Helper()
	w := &watched{t: t, host: newRegistry(t, nil), clock: clockAt(now())}
	w.needs = basesOf(w.host, func(ab *attestor.ApprovedBase) { ab.MaxBehind = oneDay })
	for n := range points {
		points[n].Repository, points[n].Tag = w.host+"/base", "1"
	}
	w.store = &history{points: points}
	w.i = newInspector(t, w.host, func(c *config) { c.Now, c.History = w.clock.Now, w.store })
	return w
}

// names has the tag name the base of a layer.
func (w *watched) names(layer string) attestor.Digest {
	w.t.Helper()
	return pushRaw(w.t, w.host, "base", "1", rawImage{Layers: layersOf(layer)})
}

// look looks the tag up, some time later.
func (w *watched) look(after time.Duration) {
	w.t.Helper()
	w.clock.set(w.clock.Now().Add(after))
	if err := w.i.RefreshBases(w.t.Context(), w.needs.Bases); err != nil {
		w.t.Fatal(err)
	}
}

// fails has the store take nothing, or again what it is given.
func (w *watched) fails(err error) {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	w.store.err = err
}

// taken is how long after the beginning the store was told each of its points.
func (w *watched) taken() (after []time.Duration) {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	for _, p := range w.store.taken {
		after = append(after, p.From.Sub(now()))
	}
	return after
}

// What is observed continues the history, wherever that ends and whatever the clock says.
func TestObservationsContinueTheHistory(t *testing.T) {
	a := sumManifest(rawImage{Layers: layersOf("a")})
	from := func(from time.Duration) attestor.TagPoint { return attestor.TagPoint{Digest: a, From: now().Add(from)} }
	until := func(p attestor.TagPoint, until time.Duration) attestor.TagPoint {
		p.Until = new(now().Add(until))
		return p
	}
	const us = time.Microsecond

	for _, tt := range []struct {
		name       string
		last       attestor.TagPoint
		names      string
		superseded time.Duration // when the base a was, by what is known
		since      time.Duration // when the tag began to name what it names
	}{
		{"it is over, and the tag names another", until(from(-5*time.Hour), -2*time.Hour), "b", -2 * time.Hour, 0},
		{"it is over, and the tag names the same again", until(from(-5*time.Hour), -2*time.Hour), "a", 0, 0},
		{"it is over in the future", until(from(-5*time.Hour), time.Hour), "b", time.Hour, time.Hour},
		{"it goes on, and the tag names another", from(-5 * time.Hour), "b", 0, 0},
		{"it goes on", from(-5 * time.Hour), "a", 0, -5 * time.Hour},
		{"it goes on since the future", from(time.Hour), "b", time.Hour + us, time.Hour + us},
		{"it goes on since just now", from(0), "b", us, us},
		{"it goes on since a moment ago", from(-us), "b", 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := watch(t, tt.last)
			pushRaw(t, w.host, "base", "old", rawImage{Layers: layersOf("a")})
			pushRaw(t, w.host, "app", "a", rawImage{Layers: layersOf("a", "x")})
			d := w.names(tt.names)
			w.look(0)

			b := inspectOne(t, w.i, w.host+"/app:a", w.needs).Base
			if b.Digest != a || b.Current != (tt.names == "a") {
				t.Errorf("base = %+v, want %s, current: %t", b, a, tt.names == "a")
			}
			if !b.Current && (b.Superseded == nil || !b.Superseded.Equal(now().Add(tt.superseded))) {
				t.Errorf("superseded %v, want %s", b.Superseded, now().Add(tt.superseded))
			}
			if s := w.i.Bases(w.needs.Bases)[0].Tags[0]; s.Digest != d || !s.Since.Equal(now().Add(tt.since)) {
				t.Errorf("the tag's state is %+v, want %s since %s", s, d, now().Add(tt.since))
			}
		})
	}
}

// The store is asked for the past once, and is told every five minutes that it goes on.
func TestTheStoreIsToldFromTimeToTime(t *testing.T) {
	w := watch(t)
	w.names("a")
	w.look(0)
	for range 11 {
		w.look(time.Minute)
	}
	w.names("b")
	w.look(time.Minute)
	w.look(time.Minute)

	want := []time.Duration{0, 5 * time.Minute, 10 * time.Minute, 12 * time.Minute}
	if diff := cmp.Diff(want, w.taken()); diff != "" {
		t.Errorf("recorded after (-want +got):\n%s", diff)
	}
	if w.store.reads != 1 {
		t.Errorf("the past was read %d times, want once", w.store.reads)
	}
}

// Of a stretch, the store that took nothing for long is told the begin and the end.
func TestTheStoreIsToldBeginAndEnd(t *testing.T) {
	w := watch(t)
	w.names("a")
	w.look(0)
	w.fails(errors.New("disk full"))
	for range 30 {
		w.look(time.Minute)
	}
	w.names("b")
	for range 30 {
		w.look(time.Minute)
	}
	w.fails(nil)
	w.look(time.Minute)

	want := []time.Duration{0, 5 * time.Minute, 30 * time.Minute, 31 * time.Minute, 61 * time.Minute}
	if diff := cmp.Diff(want, w.taken()); diff != "" {
		t.Errorf("recorded after (-want +got):\n%s", diff)
	}
}

// What waits for a store is bounded: the newest are kept.
func TestObservationsThatWaitAreBounded(t *testing.T) {
	w := watch(t)
	w.names("a")
	w.look(0)
	w.fails(errors.New("disk full"))
	for n := range 70 {
		w.names([]string{"b", "a"}[n%2])
		w.look(time.Minute)
	}
	w.fails(nil)
	w.look(time.Minute)

	want := []time.Duration{0}
	for n := 8; n <= 71; n++ {
		want = append(want, time.Duration(n)*time.Minute)
	}
	if diff := cmp.Diff(want, w.taken()); diff != "" {
		t.Errorf("recorded after (-want +got):\n%s", diff)
	}
}
