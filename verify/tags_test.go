package verify_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/testkit/contract"
	"github.com/attestor-gate/attestor/verify"
)

const oneDay = 24 * time.Hour

// stores are the record's own store, and the fake of these tests.
func stores(t *testing.T, now func() time.Time) map[string]verify.TagHistory {
	t.Helper()
	record, err := audit.Open(t.Context(), audit.Config{SQLite: filepath.Join(t.TempDir(), "record.db"), Now: now})
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() {
		if err := record.Close(); err != nil {
			t.Error(err)
		}
	})
	return map[string]verify.TagHistory{"sqlite": record, "in memory": &history{}}
}

// A tag moves on, and on; images on the older bases keep their evidence, with
// when they were superseded, and a restart at any moment changes nothing.
func TestTagThatMovedOn(t *testing.T) {
	for name, restarts := range map[string]bool{"one process": false, "restarted after each step": true} {
		clock := clockAt(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
		for kind, store := range stores(t, clock.Now) {
			t.Run(name+", "+kind, func(t *testing.T) { movesOn(t, clock, store, restarts) })
		}
	}
}

func movesOn(t *testing.T, clock *clock, store verify.TagHistory, restarts bool) {
	host := newRegistry(t, nil)
	needs := basesOf(host, func(ab *attestor.ApprovedBase) { ab.MaxBehind = 14 * oneDay })

	for _, l := range []string{"a", "b", "c"} {
		pushRaw(t, host, "app", l, rawImage{Layers: layersOf(l, "x")})
	}

	i := newInspector(t, host, func(c *config) { c.Now, c.History = clock.Now, store })

	// Each day the tag names the next base, and the gate looks in the evening.
	var looked []time.Time
	var digests []attestor.Digest

	for _, l := range []string{"a", "b", "c", "a"} {
		clock.set(clock.Now().Add(oneDay))
		digests = append(digests, pushRaw(t, host, "base", "1", rawImage{Layers: layersOf(l)}))
		if err := i.RefreshBases(context.Background(), needs.Bases); err != nil {
			t.Fatal(err)
		}

		looked = append(looked, clock.Now())
		if restarts {
			i = newInspector(t, host, func(c *config) { c.Now, c.History = clock.Now, store })
		}

		// What the tag names now is current, and what it named is not, since the
		// last look-up that found it there.
		newest := len(digests) - 1
		for n, l := range []string{"a", "b", "c"}[:min(newest+1, 3)] {
			b := inspectOne(t, i, host+"/app:"+l, needs).Base
			switch current := digests[n] == digests[newest]; {
			case b.Evidence != attestor.LayersExact || b.Digest != digests[n] || b.Newest != digests[newest] || b.Current != current:
				t.Errorf("after %d moves, on %s: base = %+v, want current: %t", newest, l, b, current)
			case current && b.Superseded != nil || !current && (b.Superseded == nil || !b.Superseded.Equal(looked[n])):
				t.Errorf("after %d moves, on %s: superseded %v, want %v", newest, l, b.Superseded, looked[n])
			}
		}
	}

	points, err := store.TagHistory(t.Context(), host+"/base", "1")
	if err != nil || len(points) != 4 {
		t.Errorf("history = %+v, %v; want four points", points, err)
	}
}

// The first image after a restart is told that its base was superseded, though nothing was refreshed in the background yet.
func TestOldBaseRightAfterARestart(t *testing.T) {
	clock := clockAt(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
	for kind, store := range stores(t, clock.Now) {
		t.Run(kind, func(t *testing.T) {
			f := &front{}
			host := newRegistry(t, f.wrap)
			needs := basesOf(host, nil)
			pushRaw(t, host, "app", "a", rawImage{Layers: layersOf("a", "x")})
			pushRaw(t, host, "app", "elsewhere", rawImage{Layers: layersOf("elsewhere", "x")})

			i := newInspector(t, host, func(c *config) { c.Now, c.History = clock.Now, store })
			for _, l := range []string{"a", "b"} {
				pushRaw(t, host, "base", "1", rawImage{Layers: layersOf(l)})
				clock.set(clock.Now().Add(time.Hour))
				if err := i.RefreshBases(t.Context(), needs.Bases); err != nil {
					t.Fatal(err)
				}
			}

			clock.set(clock.Now().Add(time.Hour))
			i = newInspector(t, host, func(c *config) { c.Now, c.History = clock.Now, store })
			b := inspectOne(t, i, host+"/app:a", needs).Base
			if b.Evidence != attestor.LayersExact || b.Current || b.Superseded == nil {
				t.Errorf("base = %+v, want the one that was superseded", b)
			}

			// An image on nothing that was ever approved finds everything read.
			f.set(nil)
			if b := inspectOne(t, i, host+"/app:elsewhere", needs).Base; b.Evidence != "" || tagLooks(f) > 1 {
				t.Errorf("base = %+v after %d look-ups", b, tagLooks(f))
			}
		})
	}
}

// A gate that was away does not know when the tag moved: the base counts from
// when it was last seen under it, and not from when somebody looked again.
func TestBaseThatMovedWhileNobodyLooked(t *testing.T) {
	clock := clockAt(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
	for kind, store := range stores(t, clock.Now) {
		t.Run(kind, func(t *testing.T) {
			host := newRegistry(t, nil)
			needs := basesOf(host, func(ab *attestor.ApprovedBase) { ab.MaxBehind = 60 * oneDay })
			pushRaw(t, host, "app", "1", rawImage{Layers: layersOf("old", "x")})
			pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("old")})
			start := func() *verify.Inspector {
				return newInspector(t, host, func(c *config) { c.Now, c.History = clock.Now, store })
			}

			i := start()
			for range 3 {
				clock.set(clock.Now().Add(time.Hour))
				inspectOne(t, i, host+"/app:1", needs)
				if err := i.RefreshBases(context.Background(), needs.Bases); err != nil {
					t.Fatal(err)
				}
			}

			last := clock.Now()

			pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("new")})
			clock.set(clock.Now().Add(30 * oneDay))
			if b := inspectOne(t, start(), host+"/app:1", needs).Base; b.Current || b.Superseded == nil || !b.Superseded.Equal(last) {
				t.Errorf("base = %+v, want superseded since it was last seen, at %s", b, last)
			}
		})
	}
}

// Clocks are set back; what was seen first stays first.
func TestClockThatGoesBack(t *testing.T) {
	clock := clockAt(time.Date(2027, 6, 1, 0, 0, 0, 0, time.UTC))
	for kind, store := range stores(t, clock.Now) {
		t.Run(kind, func(t *testing.T) {
			host := newRegistry(t, nil)
			needs := basesOf(host, func(ab *attestor.ApprovedBase) { ab.MaxBehind = oneDay })
			start := func() *verify.Inspector {
				return newInspector(t, host, func(c *config) { c.Now, c.History = clock.Now, store })
			}

			pushRaw(t, host, "app", "1", rawImage{Layers: layersOf("a", "x")})
			pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("a")})
			inspectOne(t, start(), host+"/app:1", needs)

			clock.set(clock.Now().AddDate(-1, 0, 0))
			pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("b")})

			for range 2 {
				i := start()
				if err := i.RefreshBases(context.Background(), needs.Bases); err != nil {
					t.Fatal(err)
				}
				// It cannot have been superseded in the future; policy says that its age is
				// not known.
				if b := inspectOne(t, i, host+"/app:1", needs).Base; b.Current || b.Superseded == nil || !b.Superseded.After(clock.Now()) {
					t.Errorf("base = %+v, want superseded, in the future", b)
				}
			}
		})
	}
}

// A history that says the last first would make an old base current.
func TestHistoryInTheWrongOrder(t *testing.T) {
	host := newRegistry(t, nil)
	base := pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("a")})
	pushRaw(t, host, "app", "1", rawImage{Layers: layersOf("a", "x")})
	at := func(h int) time.Time { return time.Date(2026, 11, 1, h, 0, 0, 0, time.UTC) }
	point := func(from int, until *time.Time) attestor.TagPoint {
		return attestor.TagPoint{Repository: host + "/base", Tag: "1", Digest: base, From: at(from), Until: until}
	}

	for name, points := range map[string][]attestor.TagPoint{
		"newest first":    {point(5, nil), point(1, new(at(5)))},
		"overlapping":     {point(1, new(at(6))), point(5, nil)},
		"two open":        {point(1, nil), point(5, nil)},
		"ends at a start": {point(5, new(at(1)))},
	} {
		i := newInspector(t, host, func(c *config) { c.History = &history{points: points} })
		ev := inspectOne(t, i, host+"/app:1", basesOf(host, nil))
		wantCodes(t, ev.Problems, attestor.CodeBaseUnresolved)
		if ev.Base.Evidence != "" {
			t.Errorf("%s: base = %+v", name, ev.Base)
		}
	}
}

// What the store did not take is given to it later, in order.
func TestObservationsWaitForTheStore(t *testing.T) {
	host := newRegistry(t, nil)
	clock := clockAt(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
	store := &history{}
	i := newInspector(t, host, func(c *config) { c.Now, c.History = clock.Now, store })
	needs := basesOf(host, nil)
	see := func(layer string, err error) attestor.Digest {
		d := pushRaw(t, host, "base", "1", rawImage{Layers: layersOf(layer)})
		clock.set(clock.Now().Add(time.Hour))
		store.err = err
		if err := i.RefreshBases(context.Background(), needs.Bases); err != nil {
			t.Fatal(err)
		}

		return d
	}

	var want []attestor.Digest
	for _, step := range []struct {
		layer string
		err   error
	}{{"a", nil}, {"b", errors.New("disk full")}, {"b", errors.New("disk full")}, {"c", errors.New("disk full")}, {"c", nil}} {
		if d := see(step.layer, step.err); len(want) == 0 || want[len(want)-1] != d {
			want = append(want, d)
		}
	}

	points, err := store.TagHistory(t.Context(), host+"/base", "1")
	if err != nil {
		t.Fatal(err)
	}

	var got []attestor.Digest
	for _, p := range points {
		got = append(got, p.Digest)
	}

	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}

// uploadTimes knows when images were uploaded, from a map. It is a
// [verify.UploadTimes], and passes the suite of all of them.
type uploadTimes struct {
	at    map[string]time.Time
	asked atomic.Int32
}

func (u *uploadTimes) Uploaded(_ context.Context, img attestor.Image) (time.Time, error) {
	u.asked.Add(1)
	if at, ok := u.at[img.String()]; ok {
		return at, nil
	}
	return time.Time{}, &attestor.Error{Kind: attestor.Upstream, Code: attestor.CodeUploadTimeUnknown, Msg: "there is no record of " + img.String()}
}

func TestUploadTimesInMemory(t *testing.T) {
	img, err := attestor.ParseImage("registry.example/app@" + string(sum(nil)))
	if err != nil {
		t.Fatal(err)
	}

	at := time.Date(2026, 10, 1, 8, 0, 0, 0, time.UTC)
	contract.UploadTimes(t, &uploadTimes{at: map[string]time.Time{img.String(): at}}, img, at)
}

// A base that no tag was ever seen to name is of the age that its registry's own
// record says, or of none: each start of a gate without a memory is day one.
func TestAgeOfABaseThatNobodySaw(t *testing.T) {
	old := sumManifest(rawImage{Layers: layersOf("old")})
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	uploaded := now.Add(-3 * oneDay)

	for _, tt := range []struct {
		name    string
		behind  time.Duration
		digests []attestor.Digest
		uploads func(host string) verify.UploadTimes
		asked   int32
		known   bool
		listed  bool
	}{
		{name: "its registry knows", behind: 14 * oneDay, uploads: func(host string) verify.UploadTimes {
			return &uploadTimes{at: map[string]time.Time{host + "/base@" + string(old): uploaded}}
		}, asked: 1, known: true},
		{name: "its registry does not know", behind: 14 * oneDay, uploads: func(string) verify.UploadTimes { return &uploadTimes{} }, asked: 2},
		{name: "nobody to ask", behind: 14 * oneDay, uploads: func(string) verify.UploadTimes { return nil }},
		{name: "no time is allowed", uploads: func(string) verify.UploadTimes { return &uploadTimes{} }},
		{name: "its digest is listed", behind: 14 * oneDay, digests: []attestor.Digest{old},
			uploads: func(string) verify.UploadTimes { return &uploadTimes{} }, listed: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := newRegistry(t, nil)
			pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("old")})
			pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("new")})
			pushRaw(t, host, "app", "1", rawImage{Layers: layersOf("old", "x"),
				Extra: fmt.Sprintf(`"annotations":{"org.opencontainers.image.base.digest":%q}`, old)})
			uploads := tt.uploads(host)
			i := newInspector(t, host, func(c *config) {
				c.Signatures, c.Uploads = &signer{signed: map[attestor.Digest]bool{old: true}}, uploads
				c.Now = clockAt(now).Now
			})

			needs := basesOf(host, func(ab *attestor.ApprovedBase) {
				ab.SignedBy, ab.MaxBehind, ab.Digests = &attestor.SignedBy{Key: "/k.pub"}, tt.behind, tt.digests
			})

			for range 2 {
				ev := inspectOne(t, i, host+"/app:1", needs)
				wantCodes(t, ev.Problems)
				b := ev.Base
				if b.Digest != old || b.Evidence != attestor.LayersExact || b.Current || b.Listed != tt.listed {
					t.Errorf("base = %+v", b)
				}
				if known := b.Superseded != nil && b.Superseded.Equal(uploaded); known != tt.known || !known && b.Superseded != nil {
					t.Errorf("superseded %v, want known: %t", b.Superseded, tt.known)
				}
				if why := !tt.known && !tt.listed && tt.behind > 0; (b.AgeUnknown != "") != why {
					t.Errorf("age unknown: %q, want a reason: %t", b.AgeUnknown, why)
				}
			}

			if u, ok := uploads.(*uploadTimes); ok && u.asked.Load() != tt.asked {
				t.Errorf("the registry's record was asked %d times, want %d", u.asked.Load(), tt.asked)
			}
		})
	}
}
