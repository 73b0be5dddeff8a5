package audit_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/event"
)

// telling runs a test on a record of each database whose receiver "all" gets every type.
func telling(t *testing.T, f func(t *testing.T, s *audit.Store, c *clock)) {
	t.Helper()
	onBothConfigs(t, func(t *testing.T, config func(t *testing.T) audit.Config) {
		c, now := config(t), clockAt(day)
		c.Now = now.now
		c.Receivers = []audit.Receiver{{Name: "all", Types: event.Types()}}
		f(t, open(t, c), now)
	})
}

// takeTold takes and removes what waits.
func takeTold(t *testing.T, s *audit.Store) []event.Event {
	t.Helper()
	claimed, err := s.ClaimEvents(t.Context(), "all", 1000, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Delivered(t.Context(), claimed); err != nil {
		t.Fatal(err)
	}
	var out []event.Event
	for _, d := range claimed {
		out = append(out, d.Event)
	}
	return out
}

// wantTold compares types and ids.
func wantTold(t *testing.T, s *audit.Store, want ...string) []event.Event {
	t.Helper()
	got := takeTold(t, s)
	var ids []string
	for _, e := range got {
		ids = append(ids, e.ID)
	}
	slices.Sort(ids)
	slices.Sort(want)
	if !slices.Equal(ids, want) {
		t.Errorf("told %q, want %q", ids, want)
	}
	return got
}

func TestRevocationsAreTold(t *testing.T) {
	telling(t, func(t *testing.T, s *audit.Store, _ *clock) {
		passed, over := record(1, attestor.Pass, stored), overridden(2)
		finish(t, s, passed, over)
		wantTold(t, s, "override-used-"+over.Decision.ID)

		var got []event.Event
		// In this order: while the pass stands, it admits what the override admitted, and nothing is revoked at its end.
		for _, tt := range []struct {
			want string
			r    attestor.RevocationRecord
		}{
			{"attestation-revoked-r-1", attestor.RevocationRecord{
				ID: "r-1", Time: day, Kind: attestor.RevokedByPerson, Image: imageOf(t, passed), Reason: "leaked by somebody",
				Attestations: passed.Decision.Attestations, Caller: attestor.CallerRef{Subject: "security@example"},
			}},
			{"override-expired-r-2", attestor.RevocationRecord{
				ID: "r-2", Time: day, Kind: attestor.RevokedAtEnd, Image: imageOf(t, over), Reason: "ended at its end",
				Override: over.Decision.ID,
			}},
		} {
			want, r := tt.want, tt.r
			begun, err := s.BeginRevocation(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			wantTold(t, s) // nothing was deleted yet
			for range 2 {  // a crash may follow the commit
				if err := s.FinishRevocation(t.Context(), begun); err != nil {
					t.Fatal(err)
				}
			}
			got = append(got, wantTold(t, s, want)...)
		}

		for _, e := range got {
			if e.Type == event.OverrideExpired && e.Data.Decision != over.Decision.ID {
				t.Errorf("%+v does not name the override", e)
			}
			if e.Type == event.AttestationRevoked && (e.Data.Kind != "person" || !slices.Equal(e.Data.Admitted, []string{passed.Decision.ID})) {
				t.Errorf("%+v does not say what was revoked, and by whom", e)
			}
		}
	})
}

func imageOf(t *testing.T, r attestor.Record) attestor.Image {
	t.Helper()
	img, err := attestor.ParseImage(r.Decision.Image.Reference)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// A change for the worse is told once, an unchanged denial and a pass are not.
func TestLostAdmissionsAreTold(t *testing.T) {
	telling(t, func(t *testing.T, s *audit.Store, c *clock) {
		passed := record(1, attestor.Pass, stored)
		finish(t, s, passed)
		admitted, err := s.AdmittedWith(t.Context(), imageOf(t, passed))
		if err != nil || len(admitted) != 1 {
			t.Fatalf("%v, %v", admitted, err)
		}
		look := func(l attestor.Rejudgement) {
			t.Helper()
			l.Admission, l.Time, l.Answered = admitted[0], c.now(), true
			if err := s.Looked(t.Context(), attestor.Run{}, []attestor.Rejudgement{l}); err != nil {
				t.Fatal(err)
			}
		}

		look(attestor.Rejudgement{Verdict: attestor.Pass})
		wantTold(t, s)
		look(attestor.Rejudgement{Verdict: attestor.Deny, Cause: attestor.CauseFinding, Decision: "judged-1"})
		if got := wantTold(t, s, "admission-lost-judged-1"); got[0].Data.Cause != "new-finding" || got[0].Data.Admitted[0] != passed.Decision.ID {
			t.Errorf("%+v", got[0])
		}
		look(attestor.Rejudgement{Verdict: attestor.Deny, Cause: attestor.CauseFinding}) // as before
		look(attestor.Rejudgement{Verdict: attestor.Pass, Decision: "judged-2"})
		wantTold(t, s)

		// Another decision has admitted it since: the look is of an older one.
		again := record(2, attestor.Pass, stored, func(r *attestor.Record) { r.Decision.Image = passed.Decision.Image })
		finish(t, s, again)
		look(attestor.Rejudgement{Verdict: attestor.Deny, Cause: attestor.CauseFinding, Decision: "judged-3"})
		wantTold(t, s)
	})
}

func TestAStalledWatchIsToldOnce(t *testing.T) {
	telling(t, func(t *testing.T, s *audit.Store, c *clock) {
		run, err := s.StartRun(t.Context(), "run-1", attestor.CallerRef{Subject: "scheduler"})
		if err != nil {
			t.Fatal(err)
		}
		for n := range 4 {
			if may, _, err := s.MayRevoke(t.Context(), run, 2); err != nil || may != (n < 2) {
				t.Fatalf("%d: %t, %v", n, may, err)
			}
		}
		if got := wantTold(t, s, "watch-stalled-run-1"); got[0].Data.Stalled == nil || got[0].Data.Stalled.What != "rejudge-cap" {
			t.Errorf("%+v", got[0])
		}

		over := overridden(1) // ends after an hour
		finish(t, s, over)
		takeTold(t, s)
		stalled := func(want int) {
			t.Helper()
			for range 3 { // as several instances ask, minute by minute
				if err := s.PublishStalled(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			got := takeTold(t, s)
			if len(got) != want {
				t.Fatalf("told %+v, want %d", got, want)
			}
			for _, e := range got {
				if e.Type != event.WatchStalled || e.Data.Stalled.What != "expire-late" || !e.Data.Stalled.Since.Equal(*over.Decision.BreakGlass.Expires) {
					t.Errorf("%+v", e)
				}
			}
		}
		stalled(0)
		c.set(over.Decision.BreakGlass.Expires.Add(10 * time.Minute))
		stalled(0)
		c.set(over.Decision.BreakGlass.Expires.Add(20 * time.Minute))
		stalled(1)
		c.set(over.Decision.BreakGlass.Expires.Add(40 * time.Minute))
		stalled(0) // the same state

		// It ends, and so may stall anew.
		r := attestor.RevocationRecord{ID: "r", Time: c.now(), Kind: attestor.RevokedAtEnd, Image: imageOf(t, over),
			Reason: "ended at its end", Override: over.Decision.ID}
		begun, err := s.BeginRevocation(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.FinishRevocation(t.Context(), begun); err != nil {
			t.Fatal(err)
		}
		wantTold(t, s, "override-expired-r")
		stalled(0)
	})
}

// Waiting events stay whatever is pruned, and dead ones are counted when they go. The
// bounds drop the oldest, and say how many.
func TestTheOutboxIsBounded(t *testing.T) {
	telling(t, func(t *testing.T, s *audit.Store, c *clock) {
		deny := func(n int) { finish(t, s, record(n, attestor.Deny)) }
		counts := func() event.Counts {
			t.Helper()
			all, err := s.EventCounts(t.Context())
			if err != nil || len(all) != 1 {
				t.Fatalf("%v, %v", all, err)
			}
			return all[0]
		}
		if got := counts(); got != (event.Counts{Receiver: "all"}) {
			t.Errorf("at first %+v", got)
		}

		deny(1)
		c.set(day.Add(time.Minute))
		deny(2)
		claimed, err := s.ClaimEvents(t.Context(), "all", 1, time.Minute)
		if err != nil || len(claimed) != 1 {
			t.Fatalf("%v, %v", claimed, err)
		}
		if err := s.Undelivered(t.Context(), claimed[0], time.Time{}, "410"); err != nil {
			t.Fatal(err)
		}
		if got := counts(); got.Pending != 1 || got.Dead != 1 || got.Oldest != 0 {
			t.Errorf("%+v", got)
		}
		if dead, err := s.Events(t.Context(), event.Filter{Dead: true}, event.Delivery{}, 10); err != nil || len(dead) != 1 ||
			dead[0].Error != "410" || dead[0].Event.ID != claimed[0].Event.ID {
			t.Errorf("%+v, %v", dead, err)
		}

		// Sent again by a person.
		if n, err := s.Redrive(t.Context(), event.Filter{Receiver: "other"}); attestor.KindOf(err) != attestor.Invalid || n != 0 ||
			!strings.Contains(attestor.Message(err), `"other"`) {
			t.Errorf("%d of a receiver that nobody knows, %v", n, err)
		}
		if n, err := s.Redrive(t.Context(), event.Filter{Receiver: "all"}); err != nil || n != 1 {
			t.Errorf("%d, %v", n, err)
		}
		if got := counts(); got.Pending != 2 || got.Dead != 0 {
			t.Errorf("%+v", got)
		}

		// Nobody delivers for a week: they are dead letters. Before that, pruning spares them.
		pruned, err := s.Prune(t.Context(), day.AddDate(1, 0, 0))
		if err != nil || pruned.Decisions != 2 || pruned.Events != 0 {
			t.Fatalf("%+v, %v", pruned, err)
		}
		c.set(day.AddDate(0, 0, 8))
		if n, err := s.SweepEvents(t.Context()); err != nil || n != 0 {
			t.Fatalf("%d, %v", n, err)
		}
		if got := counts(); got.Pending != 0 || got.Dead != 2 {
			t.Errorf("after a week %+v", got)
		}
		if pruned, err = s.Prune(t.Context(), day.AddDate(1, 0, 0)); err != nil || pruned.Events != 2 {
			t.Errorf("%+v, %v", pruned, err)
		}
		if got := counts(); got.Dead != 0 || got.Dropped != 2 {
			t.Errorf("after a prune %+v", got)
		}

		// Beyond the bound the oldest go.
		audit.SetOutboxBounds(s, 3, 2)
		for n := range 5 {
			c.set(day.AddDate(0, 0, 9).Add(time.Duration(n) * time.Minute))
			deny(10 + n)
		}
		if n, err := s.SweepEvents(t.Context()); err != nil || n != 2 {
			t.Errorf("%d dropped, %v", n, err)
		}
		left, err := s.Events(t.Context(), event.Filter{}, event.Delivery{}, 10)
		if err != nil || len(left) != 3 || left[0].Event.Data.Decision != record(12, attestor.Deny).Decision.ID {
			t.Errorf("%+v, %v", left, err)
		}
		if got := counts(); got.Dropped != 4 || got.Pending != 3 {
			t.Errorf("%+v", got)
		}
		page, err := s.Events(t.Context(), event.Filter{}, left[0], 10)
		if err != nil || len(page) != 2 || page[0].Event.ID != left[1].Event.ID {
			t.Errorf("the next page %+v, %v", page, err)
		}
	})
}

// A record without receivers, and one that keeps nothing, tell nobody and say so.
func TestNobodyIsTold(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, _ *clock) {
		finish(t, s, record(1, attestor.Deny))
		if got, err := s.EventCounts(t.Context()); err != nil || len(got) != 0 {
			t.Errorf("%v, %v", got, err)
		}
		if err := s.PublishStalled(t.Context()); err != nil {
			t.Error(err)
		}
	})

	none, err := audit.Open(t.Context(), audit.Config{None: true, Now: clockAt(day).now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := none.ClaimEvents(t.Context(), "all", 1, time.Minute); attestor.KindOf(err) != attestor.Unsupported {
		t.Errorf("%v", err)
	}
	if _, err := none.Redrive(t.Context(), event.Filter{}); attestor.KindOf(err) != attestor.Unsupported {
		t.Errorf("%v", err)
	}
}

func TestChangedPoliciesAreTold(t *testing.T) {
	telling(t, func(t *testing.T, s *audit.Store, c *clock) {
		put := func(id string, digests ...int) {
			t.Helper()
			change := attestor.PolicyChange{ID: id, Time: c.now(), Cause: attestor.PoliciesReloaded}
			for _, n := range digests {
				change.Policies = append(change.Policies, attestor.PolicyInForce{Name: "production", Digest: digest(n)})
			}
			for range 2 { // two instances reload the same files
				if _, err := s.RecordPolicies(t.Context(), change); err != nil {
					t.Fatal(err)
				}
			}
		}
		put("c-1", 1)
		wantTold(t, s)
		put("c-2", 1) // the same
		wantTold(t, s)
		put("c-3", 2)
		got := wantTold(t, s, "policy-changed-c-3")
		if d := got[0].Data; len(d.Policies) != 1 || d.Policies[0].Digest != string(digest(2)) || d.Former[0].Digest != string(digest(1)) {
			t.Errorf("%+v", d)
		}
	})
}
