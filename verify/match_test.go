package verify_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
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

// TestApprovalByTags: "An older digest of a tag counts for maxBehind from the last time that the gate saw it under the tag." A digest that the tag
// names counts for 15 minutes, or for maxBehind, after the registry last said so. A signature stands in for a tag that names something else.
func TestApprovalByTags(t *testing.T) {
	const idx, manifest, other = attestor.Digest("sha256:index"), attestor.Digest("sha256:manifest"), attestor.Digest("sha256:other")
	now := start()
	ago := func(d time.Duration) *time.Time { return new(now.Add(-d)) }
	names := func(d attestor.Digest) attestor.TagPoint { return attestor.TagPoint{Digest: d} }
	named := func(d attestor.Digest, seen, until time.Duration) attestor.TagPoint {
		return attestor.TagPoint{Digest: d, Seen: *ago(seen), Until: ago(until)}
	}
	at := func(d time.Duration, points ...attestor.TagPoint) verify.Seen {
		return verify.Seen{Points: points, At: *ago(d)}
	}
	tags := func(one verify.Seen, more ...verify.Seen) map[string]verify.Seen {
		out := map[string]verify.Seen{"1": one}
		for _, s := range more {
			out["2"] = s
		}
		return out
	}
	moved := at(0, named(manifest, 2*time.Hour, time.Hour), names(other))
	before := attestor.TagPoint{Digest: manifest, Until: ago(time.Hour)}

	for _, tt := range []struct {
		name  string
		entry attestor.ApprovedBase // its tags are 1 and 2, unless it has none
		tags  map[string]verify.Seen
		want  verify.Approval
	}{
		{"listed", attestor.ApprovedBase{Digests: []attestor.Digest{other, manifest}}, nil, verify.Approval{Listed: true}},
		{"listed by its index", attestor.ApprovedBase{Digests: []attestor.Digest{idx}}, nil, verify.Approval{Listed: true}},
		{"another is listed", attestor.ApprovedBase{Digests: []attestor.Digest{other, ""}}, nil, verify.Approval{}},

		{"named", attestor.ApprovedBase{}, tags(at(0, names(manifest))), verify.Approval{Current: true, Newest: manifest}},
		{"named by its index", attestor.ApprovedBase{}, tags(at(0, names(idx))), verify.Approval{Current: true, Newest: idx}},
		{"named by the second tag", attestor.ApprovedBase{}, tags(at(0, names(other)), at(0, names(manifest))),
			verify.Approval{Current: true, Newest: other}},
		{"another is named", attestor.ApprovedBase{}, tags(at(0, names(other))), verify.Approval{Newest: other}},
		{"nothing is known", attestor.ApprovedBase{}, nil, verify.Approval{}},

		{"named 15 minutes ago", attestor.ApprovedBase{}, tags(at(15*time.Minute, names(manifest))),
			verify.Approval{Current: true, Newest: manifest}},
		{"named a moment earlier", attestor.ApprovedBase{}, tags(at(15*time.Minute+1, names(manifest))), verify.Approval{Newest: manifest}},
		{"named maxBehind ago", attestor.ApprovedBase{MaxBehind: time.Hour}, tags(at(time.Hour, names(manifest))),
			verify.Approval{Current: true, Newest: manifest}},
		{"named longer ago than maxBehind", attestor.ApprovedBase{MaxBehind: time.Hour}, tags(at(time.Hour+1, names(manifest))),
			verify.Approval{Newest: manifest}},

		// The last time that it was seen counts, and not when somebody saw that it had moved on.
		{"moved on", attestor.ApprovedBase{}, tags(moved), verify.Approval{Superseded: ago(2 * time.Hour), Newest: other}},
		{"moved on, by a record without the last time", attestor.ApprovedBase{}, tags(at(0, before, names(other))),
			verify.Approval{Superseded: ago(time.Hour), Newest: other}},
		{"moved on before it was seen last", attestor.ApprovedBase{}, tags(at(0, named(manifest, time.Hour, 2*time.Hour), names(other))),
			verify.Approval{Superseded: ago(2 * time.Hour), Newest: other}},
		{"moved on twice", attestor.ApprovedBase{}, tags(at(0, named(manifest, 9*time.Hour, 8*time.Hour), named(other, 7*time.Hour, 6*time.Hour),
			named(manifest, 5*time.Hour, 4*time.Hour), names(other))), verify.Approval{Superseded: ago(5 * time.Hour), Newest: other}},
		{"moved on, and another tag long before", attestor.ApprovedBase{}, tags(moved, at(0, named(manifest, 9*time.Hour, 8*time.Hour), names(other))),
			verify.Approval{Superseded: ago(2 * time.Hour), Newest: other}},

		// What another tag still names has no age. Where that is not known, neither is the age.
		{"moved on, and named by another tag", attestor.ApprovedBase{}, tags(moved, at(0, names(manifest))),
			verify.Approval{Current: true, Newest: other}},
		{"named by another tag, and moved on", attestor.ApprovedBase{}, tags(at(0, names(manifest)), moved),
			verify.Approval{Current: true, Newest: manifest}},
		{"moved on, and perhaps named by another tag", attestor.ApprovedBase{}, tags(moved, at(time.Hour, names(manifest))),
			verify.Approval{Newest: other}},

		{"signed, and another is named", signedEntry(), tags(at(0, names(other))), verify.Approval{Unseen: true, Newest: other}},
		{"signed, and another is named by the second tag", signedEntry(), tags(verify.Seen{}, at(0, names(other))), verify.Approval{Unseen: true}},
		{"signed, and the second tag is not known", signedEntry(), tags(at(0, names(other)), verify.Seen{}),
			verify.Approval{Unseen: true, Newest: other}},
		{"signed, and nothing is known", signedEntry(), nil, verify.Approval{}},
		{"signed, and moved on", signedEntry(), tags(moved), verify.Approval{Superseded: ago(2 * time.Hour), Newest: other}},
		{"signed, and perhaps named", signedEntry(), tags(at(time.Hour, names(manifest))), verify.Approval{Newest: manifest}},
		{"signed and named", signedEntry(), tags(at(0, names(manifest))), verify.Approval{Current: true, Newest: manifest}},
	} {
		tt.entry.Repository = "registry.example/base"
		if len(tt.entry.Digests) == 0 {
			tt.entry.Tags = []string{"1", "2"}
		}
		if diff := cmp.Diff(tt.want, verify.ApprovalOf(tt.entry, idx, manifest, tt.tags, now)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func signedEntry() attestor.ApprovedBase {
	return attestor.ApprovedBase{SignedBy: &attestor.SignedBy{Key: "/k.pub"}}
}

func start() time.Time { return time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC) }
