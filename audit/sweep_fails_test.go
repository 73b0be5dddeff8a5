package audit_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

func TestSweepRefusesAForeignState(t *testing.T) {
	dir := t.TempDir()
	own := filepath.Join(dir, "own")
	s := audit.Sweep{Now: time.Now, Judge: judge, State: own, Key: "k", Result: func(audit.Result) error { return nil }}
	if _, err := s.Run(t.Context(), references(3)); err != nil {
		t.Fatal(err)
	}

	junk := filepath.Join(dir, "junk")
	if err := os.WriteFile(junk, []byte("hello\nworld\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	for name, change := range map[string]func(*audit.Sweep){
		"another key":   func(s *audit.Sweep) { s.Key = "other" },
		"not a state":   func(s *audit.Sweep) { s.State = junk },
		"no directory":  func(s *audit.Sweep) { s.State = filepath.Join(dir, "none", "s") },
		"a directory":   func(s *audit.Sweep) { s.State = dir },
		"no judge":      func(s *audit.Sweep) { s.Judge = nil },
		"broken source": func(s *audit.Sweep) { s.State = "" },
	} {
		t.Run(name, func(t *testing.T) {
			changed := s
			change(&changed)
			refs := references(3)
			if name == "broken source" {
				refs = func(yield func(string, error) bool) { yield("", errors.New("listing broke off")) }
			}

			if _, err := changed.Run(t.Context(), refs); err == nil {
				t.Error("it ran")
			}
		})
	}
}

func TestSweepSlowsDownWhenTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 3 // at once, beyond which the server says 429
		var mu sync.Mutex
		at, most, reported := 0, 0, 0
		begun := time.Now()
		var got outcomes
		var widest int
		totals, err := audit.Sweep{
			Now: time.Now, Result: got.add, Most: 16,
			Progress: func(p audit.Progress) { widest = max(widest, p.AtOnce) },
			Judge: func(ctx context.Context, ref attestor.Reference) (attestor.Decision, error) {
				mu.Lock()
				at++
				most = max(most, at)
				over := at > limit
				if over {
					reported++
				}

				mu.Unlock()
				defer func() { mu.Lock(); at--; mu.Unlock() }()
				if over {
					return attestor.Decision{}, &audit.Throttled{After: 5 * time.Second, Err: errors.New("429")}
				}

				select {
				case <-ctx.Done():
				case <-time.After(100 * time.Millisecond):
				}
				return judge(ctx, ref)
			},
		}.Run(t.Context(), references(300))

		if err != nil {
			t.Fatal(err)
		}

		if totals.Images() != 300 || totals.Failed != 0 {
			t.Errorf("%+v, want 300 images and no failure", totals)
		}
		if reported == 0 || reported > 150 || most > 16 {
			t.Errorf("the server had to refuse %d times, %d came at once", reported, most)
		}

		if widest < 2 {
			t.Errorf("it never went wider than %d", widest)
		}
		if took := time.Since(begun); took < 5*time.Second {
			t.Errorf("it took %v, and so did not wait as long as Retry-After said", took)
		}
	})
}

func TestSweepEndsWhenTheGateIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := &attestor.Error{Kind: attestor.Unavailable, Msg: "the record is down"}
		reported := 0
		_, err := audit.Sweep{
			Now: time.Now, Result: func(audit.Result) error { reported++; return nil },
			Judge: func(context.Context, attestor.Reference) (attestor.Decision, error) { return attestor.Decision{}, down },
		}.Run(t.Context(), references(20))

		if !errors.Is(err, down) || reported != 0 {
			t.Errorf("%d were reported, %v; want none, and the gate's error", reported, err)
		}
	})
}

func TestSweepTellsFailures(t *testing.T) {
	var got outcomes
	refs := audit.LinesOf(strings.NewReader("# what runs\n\nnginx\nus-docker.pkg.dev/acme/prod/api:v1\n" +
		"us-docker.pkg.dev/acme/prod/api@" + string(digest(0)) + "\n"))
	totals, err := audit.Sweep{Now: time.Now, Judge: judge, Result: got.add}.Run(t.Context(), refs)
	if err != nil {
		t.Fatal(err)
	}

	if totals.Failed != 2 || totals.Images() != 3 {
		t.Errorf("%+v, want 2 failures of 3", totals)
	}
	if v := got.verdicts["us-docker.pkg.dev/acme/prod/api:v1"]; v != "failed: no such image" {
		t.Errorf("the failure says %q", v)
	}

	full := errors.New("no space left")
	if _, err := (audit.Sweep{Now: time.Now, Judge: judge, Result: func(audit.Result) error { return full }}).Run(
		t.Context(), references(50)); !errors.Is(err, full) {
		t.Errorf("a result that cannot be reported: %v, want the error", err)
	}
}

func TestSweepSaysHowLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last, half audit.Progress
		_, err := audit.Sweep{
			Now: time.Now, Most: 1, Result: func(audit.Result) error { return nil },
			Progress: func(p audit.Progress) {
				if last = p; p.Images() == 50 {
					half = p
				}
			},
			Judge: func(ctx context.Context, ref attestor.Reference) (attestor.Decision, error) {
				time.Sleep(time.Second)
				return judge(ctx, ref)
			},
		}.Run(t.Context(), references(100))

		if err != nil {
			t.Fatal(err)
		}

		if half.Rate != 1 || half.Left != 50*time.Second || last.Left != 0 {
			t.Errorf("half-way: %+v; at the end: %+v", half, last)
		}
	})
}
