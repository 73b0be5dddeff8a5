package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server"
)

// listRecords reads every page of GET /v1/records as a caller, and returns the ids of each page and its bytes.
func listRecords(t *testing.T, base, who string) (pages [][]string, sizes []int) {
	t.Helper()
	for token := ""; ; {
		got := send(t, who, "GET", base+"/v1/records?pageSize=100&pageToken="+token, "")
		var page struct {
			Records []struct {
				Decision attestor.Decision
				Evidence attestor.Evidence
				Policy   string
			}
			NextPageToken string
		}
		if err := json.Unmarshal([]byte(got.body), &page); err != nil || got.status != 200 {
			t.Fatalf("status %d, %v: %.200s", got.status, err, got.body)
		}

		ids := []string{}
		for _, r := range page.Records {
			ids = append(ids, r.Decision.ID)
			if r.Decision.Image.Reference == "" || r.Evidence.Labels == nil || r.Policy == "" {
				t.Errorf("record %s is not whole", r.Decision.ID)
			}
		}
		pages, sizes = append(pages, ids), append(sizes, len(got.body))
		if token = page.NextPageToken; token == "" {
			return pages, sizes
		}
	}
}

// growing lists decisions while more are recorded: one before every second look at the record.
type growing struct {
	*parts
	looks int
}

func (g *growing) List(ctx context.Context, f server.DecisionFilter) (server.DecisionPage, error) {
	if g.looks++; g.looks%2 == 0 {
		g.w.record(100+g.looks, repository, 1)
	}
	return g.parts.List(ctx, f)
}

// record adds a decision with evidence of some bytes.
func (w *world) record(n int, repo string, bytes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.records = append(w.records, attestor.Record{
		Decision: attestor.Decision{
			ID: fmt.Sprintf("d%06d", n), Time: t0.Add(time.Duration(n) * time.Second), Verdict: attestor.Pass,
			Image: attestor.DecidedImage{Reference: repo + "@" + digestA},
		},
		Evidence:   attestor.Evidence{Time: t0, Labels: map[string]string{"text": strings.Repeat("x", bytes)}},
		PolicyText: []byte("policy"),
	})
}

// A page of records is cut where it is full, and the rest follows: every record once, whatever is recorded meanwhile.
func TestRecordsAreBoundedInBytes(t *testing.T) {
	w := newWorld()
	for n, size := range []int{1, 9 << 20, 9 << 20, 1, 20 << 20, 1} {
		w.record(n, repository, size)
	}
	base := serve(t, w, func(c *server.Config) {
		p := &parts{w: w}
		p.with(c)
		c.Decisions = &growing{parts: p}
	})

	pages, sizes := listRecords(t, base, "reader")
	var all []string
	for i, ids := range pages {
		all = append(all, ids...)
		if sizes[i] > 17<<20 && len(ids) > 1 {
			t.Errorf("page %d has %d records and %d bytes", i, len(ids), sizes[i])
		}
	}
	if want := []string{"d000005", "d000004", "d000003", "d000002", "d000001", "d000000"}; !slices.Equal(all, want) {
		t.Errorf("listed %v on pages %v, want %v", all, pages, want)
	}
	if len(pages) < 4 {
		t.Errorf("%d pages: nothing was cut", len(pages))
	}
}

// Nobody gets the evidence of an image that they may not read.
func TestRecordsOfOthersAreHidden(t *testing.T) {
	w := newWorld()
	w.record(1, repository, 1)
	w.record(2, "registry.example/other/app", 1)
	base := serve(t, w, func(c *server.Config) { (&parts{w: w}).with(c) })

	pages, _ := listRecords(t, base, "reader")
	if len(pages) != 1 || !slices.Equal(pages[0], []string{"d000001"}) {
		t.Errorf("a reader of one team gets %v", pages)
	}
	if pages, _ := listRecords(t, base, "stranger"); len(pages) != 1 || !slices.Equal(pages[0], []string{"d000002"}) {
		t.Errorf("a reader of another team gets %v", pages)
	}
	for who, want := range map[string]int{"": 401, "checker": 403, "nobody": 403} {
		if got := send(t, who, "GET", base+"/v1/records", ""); got.status != want {
			t.Errorf("%q: status %d, want %d", who, got.status, want)
		}
	}
	if got := send(t, "reader", "GET", base+"/v1/records?pageSize=0", ""); got.status != 400 {
		t.Errorf("pageSize=0: status %d", got.status)
	}
}

// The numbers of a simulation are bounded, and a token goes with the size of its pages.
func TestSimulationIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld()
	p := &parts{w: w}
	base := serve(t, w, p.with)
	for body, want := range map[string]int{
		`{"policy":"good"}`:                                     200,
		`{"policy":"good","pageSize":1}`:                        200,
		`{"policy":"good","pageSize":10000,"sample":1000000}`:   200,
		`{"policy":"good","pageSize":10001}`:                    400,
		`{"policy":"good","pageSize":-1}`:                       400,
		`{"policy":"good","pageToken":"x"}`:                     400,
		`{"policy":"good","sample":-1}`:                         400,
		`{"policy":"good","sample":1000001}`:                    400,
		`{"policy":"good","pageSize":"many"}`:                   400,
		`{"policy":"good","pageSize":1,"pages":1}`:              400,
		`{"policy":"good","pageSize":1e99,"pageToken":"token"}`: 400,
	} {
		if got := send(t, "admin", "POST", base+"/v1/simulate", body, "Content-Type", "application/json"); got.status != want {
			t.Errorf("%s: %d %s, want %d", body, got.status, got.body, want)
		}
	}
}
