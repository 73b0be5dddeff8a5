package emulator_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/api/iterator"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"

	"github.com/attestor-gate/attestor/emulator"
)

// fill creates n findings of one image, in batches.
func (g google) fill(t testing.TB, parent string, n int) {
	t.Helper()
	for i := 0; i < n; i += 1000 {
		var batch []*grafeaspb.Occurrence
		for j := i; j < min(i+1000, n); j++ {
			batch = append(batch, vulnerability("https://"+imageA, fmt.Sprintf("CVE-%d", j)))
		}
		if _, err := g.Grafeas.BatchCreateOccurrences(ctxFor(t), &grafeaspb.BatchCreateOccurrencesRequest{Parent: parent, Occurrences: batch}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPages(t *testing.T) {
	for _, n := range []int{0, 1, 999, 1000, 1001, 25_000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			g := newGoogle(t, emulator.Options{Behaviour: emulator.Behaviour{EmptyPages: 3}})
			g.fill(t, "projects/p", n)

			for _, filter := range []string{"", `kind="VULNERABILITY" AND resourceUrl="https://` + imageA + `"`} {
				seen := map[string]bool{}
				pages, empty := 0, 0
				pager := iterator.NewPager(g.Grafeas.ListOccurrences(ctxFor(t),
					&grafeaspb.ListOccurrencesRequest{Parent: "projects/p", Filter: filter}), 1000, "")

				for {
					var page []*grafeaspb.Occurrence
					token, err := pager.NextPage(&page)
					if err != nil {
						t.Fatal(err)
					}

					pages++
					if len(page) == 0 && token != "" {
						empty++
					}

					for i, o := range page {
						if seen[o.GetName()] {
							t.Fatalf("page %d repeats %s", pages, o.GetName())
						}
						if want := fmt.Sprintf("projects/goog-vulnz/notes/CVE-%d", len(seen)); o.GetNoteName() != want {
							t.Fatalf("page %d has %s at %d, want %s", pages, o.GetNoteName(), i, want)
						}
						seen[o.GetName()] = true
					}

					if token == "" {
						break
					}
				}

				if len(seen) != n {
					t.Errorf("filter %q: %d occurrences on %d pages, want %d", filter, len(seen), pages, n)
				}
			}
		})
	}
}

func TestPageSizes(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	g.fill(t, "projects/p", 1500)
	c := grafeaspb.NewGrafeasClient(g.Conn())

	for _, tt := range []struct {
		size int32
		want int
	}{{0, 20}, {1, 1}, {1000, 1000}, {1001, 1000}, {2_000_000_000, 1000}} {
		r, err := c.ListOccurrences(ctxFor(t), &grafeaspb.ListOccurrencesRequest{Parent: "projects/p", PageSize: tt.size})
		if err != nil || len(r.GetOccurrences()) != tt.want || r.GetNextPageToken() == "" {
			t.Errorf("page_size %d: %d occurrences, token %q, %v; want %d and a token", tt.size, len(r.GetOccurrences()), r.GetNextPageToken(), err, tt.want)
		}
	}

	_, err := c.ListOccurrences(ctxFor(t), &grafeaspb.ListOccurrencesRequest{Parent: "projects/p", PageSize: -1})
	wantCode(t, err, codes.InvalidArgument)
}

func TestPageTokens(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	g.fill(t, "projects/p", 30)
	c := grafeaspb.NewGrafeasClient(g.Conn())
	first, err := c.ListOccurrences(ctxFor(t), &grafeaspb.ListOccurrencesRequest{Parent: "projects/p"})
	if err != nil {
		t.Fatal(err)
	}

	for name, r := range map[string]*grafeaspb.ListOccurrencesRequest{
		"garbage":         {Parent: "projects/p", PageToken: "garbage"},
		"another filter":  {Parent: "projects/p", PageToken: first.GetNextPageToken(), Filter: `kind="VULNERABILITY"`},
		"another project": {Parent: "projects/q", PageToken: first.GetNextPageToken()},
	} {
		if _, err := c.ListOccurrences(ctxFor(t), r); code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v, want INVALID_ARGUMENT", name, err)
		}
	}

	// What is written and deleted between pages neither repeats nor hides the rest.
	if err := g.Grafeas.DeleteOccurrence(ctxFor(t), &grafeaspb.DeleteOccurrenceRequest{Name: first.GetOccurrences()[19].GetName()}); err != nil {
		t.Fatal(err)
	}

	g.fill(t, "projects/p", 1)
	second, err := c.ListOccurrences(ctxFor(t), &grafeaspb.ListOccurrencesRequest{Parent: "projects/p", PageToken: first.GetNextPageToken()})
	if err != nil || len(second.GetOccurrences()) != 11 || second.GetNextPageToken() != "" {
		t.Errorf("%d occurrences, token %q, %v; want the remaining 10 and the new one", len(second.GetOccurrences()), second.GetNextPageToken(), err)
	}
}

func TestListLag(t *testing.T) {
	now := start
	g := newGoogle(t, emulator.Options{Now: func() time.Time { return now }, Behaviour: emulator.Behaviour{ListLag: 5 * time.Second}})
	g.createNote(t, note)
	o, err := g.Grafeas.CreateOccurrence(ctxFor(t), &grafeaspb.CreateOccurrenceRequest{Parent: "projects/p",
		Occurrence: attestation(note, imageA, []byte("p"), []byte("s"))})
	if err != nil {
		t.Fatal(err)
	}

	byNote := func() (*grafeaspb.Occurrence, error) {
		return g.Grafeas.ListNoteOccurrences(ctxFor(t), &grafeaspb.ListNoteOccurrencesRequest{Name: note}).Next()
	}

	if got := g.list(t, "projects/p", ""); len(got) != 0 {
		t.Errorf("listed at once: %v", got)
	}
	if _, err := byNote(); !errors.Is(err, iterator.Done) {
		t.Errorf("listed by note at once: %v", err)
	}
	if _, err := g.Grafeas.GetOccurrence(ctxFor(t), &grafeaspb.GetOccurrenceRequest{Name: o.GetName()}); err != nil {
		t.Errorf("get lags too: %v", err)
	}

	now = now.Add(5 * time.Second)
	if got := g.list(t, "projects/p", ""); len(got) != 1 {
		t.Errorf("%d listed after the lag, want 1", len(got))
	}
	if _, err := byNote(); err != nil {
		t.Errorf("by note after the lag: %v", err)
	}
}

func TestUnreachableLocations(t *testing.T) {
	g := newGoogle(t, emulator.Options{Behaviour: emulator.Behaviour{Unreachable: []string{"us-east1"}}})
	c := grafeaspb.NewGrafeasClient(g.Conn())
	_, err := c.ListOccurrences(ctxFor(t), &grafeaspb.ListOccurrencesRequest{Parent: "projects/p"})
	wantCode(t, err, codes.Unavailable)
	r, err := c.ListOccurrences(ctxFor(t), &grafeaspb.ListOccurrencesRequest{Parent: "projects/p", ReturnPartialSuccess: true})
	if err != nil || len(r.GetUnreachable()) != 1 || r.GetUnreachable()[0] != "projects/p/locations/us-east1" {
		t.Errorf("unreachable %v, %v", r.GetUnreachable(), err)
	}
}

func TestNamesAndLocations(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	for _, parent := range []string{"projects/example.com:proj", "projects/p/locations/europe-west1"} {
		g.fill(t, parent, 2)
		if got := g.list(t, parent, ""); len(got) != 2 {
			t.Errorf("%s lists %d, want 2", parent, len(got))
		}
	}

	if got := g.list(t, "projects/p", ""); len(got) != 2 {
		t.Errorf("a project lists %d occurrences of its locations, want 2", len(got))
	}
	if got := g.list(t, "projects/p/locations/us", `resourceUrl="https://`+imageA+`"`); len(got) != 0 {
		t.Errorf("a location lists %d occurrences of another", len(got))
	}
	if got := g.list(t, "projects/example.com:pro", ""); len(got) != 0 {
		t.Errorf("a project lists %d occurrences of one whose name it begins", len(got))
	}

	for _, parent := range []string{"", "p", "projects/", "projects/p/", "projects/p/locations/", "projects/p/x/y", "projects/a/b", "projects/p q"} {
		_, err := g.Grafeas.ListOccurrences(ctxFor(t), &grafeaspb.ListOccurrencesRequest{Parent: parent}).Next()
		if code(err) != codes.InvalidArgument {
			t.Errorf("parent %q: %v, want INVALID_ARGUMENT", parent, err)
		}
	}
}
