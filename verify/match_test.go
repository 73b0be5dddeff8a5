package verify_test

import (
	"testing"
	"time"

	"github.com/attestor-gate/attestor/verify"
)

// TestWhichBaseIsChosen: of bases with equally many layers, one whose layers are the image's own comes before one that the config only claims; then
// one that is approved without a date, then the one that was approved last, then one of which that is not known.
func TestWhichBaseIsChosen(t *testing.T) {
	late, early := new(start().Add(-time.Hour)), new(start().Add(-2*time.Hour))
	order := []struct {
		name string
		*verify.Found
	}{
		{"exact and current", &verify.Found{Exact: true, Current: true}},
		{"exact, named an hour ago", &verify.Found{Exact: true, Superseded: late}},
		{"exact, named two hours ago", &verify.Found{Exact: true, Superseded: early}},
		{"exact, named at an unknown time", &verify.Found{Exact: true}},
		{"claimed and listed", &verify.Found{Listed: true}},
		{"claimed, named an hour ago", &verify.Found{Superseded: late}},
		{"claimed, named two hours ago", &verify.Found{Superseded: early}},
		{"claimed, named at an unknown time", &verify.Found{}},
	}
	for n, a := range order {
		if !a.Better(nil) {
			t.Errorf("%s: not better than none", a.name)
		}
		for m, b := range order {
			if got := a.Better(b.Found); got != (n < m) {
				t.Errorf("%s before %s: %t", a.name, b.name, got)
			}
		}
	}

	// What was superseded does not matter where another way of approval is enough.
	listed := &verify.Found{Exact: true, Listed: true, Superseded: late}
	for _, equal := range []*verify.Found{{Exact: true, Listed: true}, {Exact: true, Current: true}} {
		if listed.Better(equal) || equal.Better(listed) {
			t.Errorf("%+v and %+v are chosen by a time that does not matter", listed, equal)
		}
	}
}

// TestOutdatedBase: "An older digest of a tag counts for maxBehind from the last time that the gate saw it under the tag." A digest that is listed, or
// that the tag names now, has no age.
func TestOutdatedBase(t *testing.T) {
	const day = 24 * time.Hour
	now := start()
	ago := func(d time.Duration) *time.Time { return new(now.Add(-d)) }
	for _, tt := range []struct {
		name      string
		found     verify.Found
		maxBehind time.Duration
		want      bool
	}{
		{"current", verify.Found{Current: true}, 0, false},
		{"listed", verify.Found{Listed: true}, 0, false},
		{"listed, and superseded long ago", verify.Found{Listed: true, Superseded: ago(100 * day)}, day, false},
		{"superseded within the time", verify.Found{Superseded: ago(day - 1)}, day, false},
		{"superseded just so long ago", verify.Found{Superseded: ago(day)}, day, false},
		{"superseded a moment longer ago", verify.Found{Superseded: ago(day + 1)}, day, true},
		{"superseded now, by a clock that is ahead", verify.Found{Superseded: ago(-time.Hour)}, day, false},
		{"superseded, and no time is allowed", verify.Found{Superseded: ago(0)}, 0, true},
		{"superseded ahead, and no time is allowed", verify.Found{Superseded: ago(-time.Hour)}, 0, true},
		{"superseded at an unknown time", verify.Found{}, 1000 * day, true},
	} {
		if got := tt.found.Outdated(tt.maxBehind, now); got != tt.want {
			t.Errorf("%s: outdated %t, want %t", tt.name, got, tt.want)
		}
	}
}

func start() time.Time { return time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC) }
