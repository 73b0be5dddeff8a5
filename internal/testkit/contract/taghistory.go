package contract

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/attestor-gate/attestor"
)

// tagHistory is verify.TagHistory.
type tagHistory interface {
	RecordTag(ctx context.Context, p attestor.TagPoint) error
	TagHistory(ctx context.Context, repository, tag string) ([]attestor.TagPoint, error)
}

const (
	tagRepository = "registry.example/base/debian"
	tagName       = "12"
)

// tagHour is a time so many hours after the first observation of the suite.
func tagHour(h int) time.Time {
	return time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(h) * time.Hour)
}

func tagDigest(n int) attestor.Digest { return attestor.Digest(fmt.Sprintf("sha256:%064x", n)) }

// observed says that the tag named digest n in hour h.
func observed(n, h int) attestor.TagPoint {
	return attestor.TagPoint{Repository: tagRepository, Tag: tagName, Digest: tagDigest(n), From: tagHour(h)}
}

// stretch is one of digest n, from hour to hour; until < 0: to this day.
func stretch(n, from, seen, until int) attestor.TagPoint {
	p := observed(n, from)
	p.Seen = tagHour(seen)
	if until >= 0 {
		p.Until = new(tagHour(until))
	}
	return p
}

// TagHistory proves of a store, made empty by open for each case, that it keeps
// the history of tags: oldest first, without overlaps, and at most the last
// stretch open.
func TagHistory[H tagHistory](t *testing.T, open func(t *testing.T) H) {
	t.Helper()
	for _, tt := range []struct {
		name string
		in   []attestor.TagPoint
		want []attestor.TagPoint
	}{
		{"never observed", nil, nil},
		{"observed once", []attestor.TagPoint{observed(1, 0)}, []attestor.TagPoint{stretch(1, 0, 0, -1)}},
		{
			"observed again",
			[]attestor.TagPoint{observed(1, 0), observed(1, 5), observed(1, 5)},
			[]attestor.TagPoint{stretch(1, 0, 5, -1)},
		},
		{
			"moved on",
			[]attestor.TagPoint{observed(1, 0), observed(1, 4), observed(2, 5)},
			[]attestor.TagPoint{stretch(1, 0, 4, 5), stretch(2, 5, 5, -1)},
		},
		{
			"moved twice",
			[]attestor.TagPoint{observed(1, 0), observed(2, 5), observed(3, 9)},
			[]attestor.TagPoint{stretch(1, 0, 0, 5), stretch(2, 5, 5, 9), stretch(3, 9, 9, -1)},
		},
		{
			"moved back to a digest that it named before",
			[]attestor.TagPoint{observed(1, 0), observed(2, 5), observed(1, 9)},
			[]attestor.TagPoint{stretch(1, 0, 0, 5), stretch(2, 5, 5, 9), stretch(1, 9, 9, -1)},
		},
		{
			"an older observation, reported late",
			[]attestor.TagPoint{observed(1, 0), observed(3, 9), observed(2, 5), observed(1, 8)},
			[]attestor.TagPoint{stretch(1, 0, 0, 9), stretch(3, 9, 9, -1)},
		},
		{
			"an observation older than all",
			[]attestor.TagPoint{observed(2, 5), observed(1, 0)},
			[]attestor.TagPoint{stretch(2, 5, 5, -1)},
		},
		{
			"two digests at one moment",
			[]attestor.TagPoint{observed(1, 0), observed(2, 0)},
			[]attestor.TagPoint{stretch(1, 0, 0, -1)},
		},
		{
			"one move, noticed by two instances one after the other",
			[]attestor.TagPoint{observed(1, 0), observed(1, 1), observed(2, 5), observed(2, 6)},
			[]attestor.TagPoint{stretch(1, 0, 1, 5), stretch(2, 5, 6, -1)},
		},
		{
			"seen to go on by one instance after another saw it move",
			[]attestor.TagPoint{observed(1, 0), observed(1, 6), observed(2, 5)},
			[]attestor.TagPoint{stretch(1, 0, 5, 5), stretch(2, 5, 5, -1)},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			store := open(t)
			for _, p := range tt.in {
				recordTag(t, store, p)
			}

			if diff := cmp.Diff(tt.want, tagPoints(t, store), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}

	t.Run("tags and repositories are kept apart", func(t *testing.T) { tagsApart(t, open(t)) })
	t.Run("more moves than are handed over", func(t *testing.T) { newestTags(t, open(t)) })
	t.Run("at once", func(t *testing.T) { tagsAtOnce(t, open(t)) })
	t.Run("nothing to record", func(t *testing.T) { incompleteTags(t, open(t)) })
}

func recordTag(t *testing.T, store tagHistory, p attestor.TagPoint) {
	t.Helper()
	if err := store.RecordTag(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

// tagPoints reads the history, and checks what holds of every history.
func tagPoints(t *testing.T, store tagHistory) []attestor.TagPoint {
	t.Helper()
	points, err := store.TagHistory(t.Context(), tagRepository, tagName)
	if err != nil {
		t.Fatal(err)
	}

	for n, p := range points {
		last := n == len(points)-1
		switch {
		case p.Repository != tagRepository || p.Tag != tagName:
			t.Errorf("point %d is of %s:%s", n, p.Repository, p.Tag)
		case p.Until == nil && !last:
			t.Errorf("point %d is open, and %d follow", n, len(points)-1-n)
		case p.Until != nil && p.Until.Before(p.From):
			t.Errorf("point %d ends at %s, before it begins at %s", n, p.Until, p.From)
		case !last && points[n+1].From.Before(*p.Until):
			t.Errorf("point %d ends at %s, and the next one begins at %s", n, p.Until, points[n+1].From)
		}
	}
	return points
}

func tagsApart(t *testing.T, store tagHistory) {
	other, elsewhere := observed(2, 1), observed(3, 1)
	other.Tag, elsewhere.Repository = "13", "registry.example/base/other"
	for _, p := range []attestor.TagPoint{observed(1, 0), other, elsewhere} {
		recordTag(t, store, p)
	}

	if diff := cmp.Diff([]attestor.TagPoint{stretch(1, 0, 0, -1)}, tagPoints(t, store)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// newestTags moves a tag more often than a history may have points: what it
// names now, and what it named last, is what decides.
func newestTags(t *testing.T, store tagHistory) {
	const moves = attestor.MaxTagPoints + 7
	for n := range moves {
		recordTag(t, store, observed(n, n))
	}

	got := tagPoints(t, store)
	if len(got) > attestor.MaxTagPoints || len(got) < attestor.MaxTagPoints/2 {
		t.Fatalf("%d points of %d, want up to %d", len(got), moves, attestor.MaxTagPoints)
	}
	for n, p := range got {
		if want := moves - len(got) + n; p.Digest != tagDigest(want) {
			t.Fatalf("point %d of %d is of %s, want that of move %d", n, len(got), p.Digest, want)
		}
	}
}

// tagsAtOnce lets several instances report two moves at the same time, each by
// its own clock.
func tagsAtOnce(t *testing.T, store tagHistory) {
	const instances = 8
	errs := make(chan error, 3*instances)
	var wg sync.WaitGroup
	for n := range instances {
		wg.Go(func() {
			for move := 1; move <= 3; move++ {
				p := observed(move, move)
				p.From = p.From.Add(time.Duration(n) * time.Second)
				errs <- store.RecordTag(t.Context(), p)
			}
		})
	}

	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}

	points := tagPoints(t, store)
	if len(points) == 0 || points[len(points)-1].Digest != tagDigest(3) || points[len(points)-1].Until != nil {
		t.Errorf("history = %+v, want it to end with the third digest, open", points)
	}
}

func incompleteTags(t *testing.T, store tagHistory) {
	for name, change := range map[string]func(*attestor.TagPoint){
		"no repository": func(p *attestor.TagPoint) { p.Repository = "" },
		"no tag":        func(p *attestor.TagPoint) { p.Tag = "" },
		"no digest":     func(p *attestor.TagPoint) { p.Digest = "" },
		"no time":       func(p *attestor.TagPoint) { p.From = time.Time{} },
	} {
		p := observed(1, 0)
		change(&p)
		if err := store.RecordTag(t.Context(), p); err == nil {
			t.Errorf("%s: recorded", name)
		}
	}

	if got := tagPoints(t, store); len(got) > 0 {
		t.Errorf("history = %+v, want none", got)
	}
}
