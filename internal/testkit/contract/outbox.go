package contract

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/courier"
	"github.com/attestor-gate/attestor/internal/event"
)

// Receivers of an [OutboxRecord]: one gets denials and overrides, the other denials.
const (
	ReceiverBoth    = "both"
	ReceiverDenials = "denials"
)

// An OutboxRecord is a courier.Outbox with the means to fill it. Its receivers are those
// above.
type OutboxRecord struct {
	courier.Outbox
	Add   func(t *testing.T, records ...attestor.Record)
	Later func(d time.Duration) // moves the clock
	// Again is the same outbox as another instance has it; nil: it is for one.
	Again func(t *testing.T) courier.Outbox
}

// Outbox is the suite of courier.Outbox. open returns an empty record.
func Outbox(t *testing.T, open func(t *testing.T) OutboxRecord) {
	const lease = time.Minute
	denied := func(t *testing.T, n int) attestor.Record {
		return recordOf(t, n, func(r *attestor.Record) {
			r.Decision.Verdict, r.Decision.Attestations = attestor.Deny,
				nil
		})
	}
	claim := func(t *testing.T, o courier.Outbox, receiver string, n int) []event.Delivery {
		t.Helper()
		out, err := o.ClaimEvents(t.Context(), receiver, n, lease)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	want := func(t *testing.T, what string, got []event.Delivery, ids ...string) {
		t.Helper()
		var have []string
		for _, d := range got {
			have = append(have, d.Event.ID)
		}
		slices.Sort(have)
		slices.Sort(ids)
		if !slices.Equal(have, ids) {
			t.Errorf("%s: %q, want %q", what, have, ids)
		}
	}

	t.Run("written once with what it tells", func(t *testing.T) {
		r := open(t)
		dry := func(r *attestor.Record) { r.Decision.DryRun = true }
		verdict := func(v attestor.Outcome) func(r *attestor.Record) {
			return func(r *attestor.Record) { r.Decision.Verdict, r.Decision.Attestations = v, nil }
		}
		r.Add(t,
			recordOf(t, 0), denied(t, 1), denied(t, 1), // again, as after a commit whose answer was lost
			recordOf(t, 2, verdict(attestor.Deny), dry), recordOf(t, 3, verdict(attestor.Undecided)),
			recordOf(t, 4, overriddenUntil(nil)),
		)
		deny, override := event.DecisionDenied.ID("contract-000001"), event.OverrideUsed.ID("contract-000004")
		got := claim(t, r, ReceiverBoth, 10)
		want(t, "both", got, deny, override)
		want(t, "denials", claim(t, r, ReceiverDenials, 10), deny)
		want(t, "somebody else", claim(t, r, "nobody", 10))
		for _, d := range got {
			if d.Attempts != 1 || d.Dead || d.Event.Data.Decision == "" || d.Event.Time.IsZero() ||
				d.Event.Subject == "" {
				t.Errorf("delivery %+v", d)
			}
		}
		select {
		case <-r.Written():
		default:
			t.Error("events were written and nobody was told to look")
		}
	})

	t.Run("claimed by one", func(t *testing.T) {
		r := open(t)
		r.Add(t, denied(t, 1), denied(t, 2), denied(t, 3))
		first := claim(t, r, ReceiverBoth, 2)
		rest := claim(t, r, ReceiverBoth, 5)
		if len(first) != 2 || len(rest) != 1 {
			t.Fatalf("%d and %d claimed of three", len(first), len(rest))
		}
		want(t, "while they are claimed", claim(t, r, ReceiverBoth, 5))

		// Whoever had claimed them is gone.
		r.Later(lease)
		again := claim(t, r, ReceiverBoth, 5)
		if len(again) != 3 || again[0].Attempts != 2 {
			t.Fatalf("after the lease: %+v", again)
		}

		// It was not gone: what it says counts no more, since another one has claimed.
		if err := r.Undelivered(t.Context(), first[0], time.Time{}, "late"); err != nil {
			t.Fatal(err)
		}
		r.Later(lease)
		if got := claim(t, r, ReceiverBoth, 5); len(got) != 3 {
			t.Errorf("a claim that has ended made a dead letter: %d left", len(got))
		}
	})

	t.Run("delivered, delayed, dead", func(t *testing.T) {
		r := open(t)
		r.Add(t, denied(t, 1), denied(t, 2), denied(t, 3))
		all := claim(t, r, ReceiverBoth, 5)
		if len(all) != 3 {
			t.Fatalf("%d claimed", len(all))
		}
		for range 2 {
			if err := r.Delivered(t.Context(), all[:1]); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Undelivered(t.Context(), all[1], all[1].Due.Add(4*lease), "503"); err != nil {
			t.Fatal(err)
		}
		if err := r.Undelivered(t.Context(), all[2], time.Time{}, "410"); err != nil {
			t.Fatal(err)
		}

		r.Later(3 * lease)
		want(t, "before it is due", claim(t, r, ReceiverBoth, 5))
		r.Later(2 * lease)
		got := claim(t, r, ReceiverBoth, 5)
		want(t, "when it is due", got, all[1].Event.ID)
		if len(got) == 1 && (got[0].Error != "503" || got[0].Attempts != 2) {
			t.Errorf("delivery %+v", got[0])
		}

		// The other receiver knows nothing of all that.
		want(t, "the other", claim(t, r, ReceiverDenials, 5), all[0].Event.ID, all[1].Event.ID, all[2].Event.ID)
		if err := r.Delivered(t.Context(), nil); err != nil {
			t.Errorf("nothing delivered: %v", err)
		}
	})

	t.Run("several instances", func(t *testing.T) {
		r := open(t)
		outboxes := []courier.Outbox{r}
		if r.Again != nil {
			outboxes = append(outboxes, r.Again(t))
		}
		const n = 60
		for i := range n {
			r.Add(t, denied(t, i))
		}
		var mu sync.Mutex
		seen := map[string]int{}
		var wg sync.WaitGroup
		for worker := range 6 {
			wg.Go(func() {
				o := outboxes[worker%len(outboxes)]
				for empty := 0; empty < 3; {
					got, err := o.ClaimEvents(t.Context(), ReceiverBoth, 7, lease)
					if err != nil {
						t.Error(err)
						return
					}
					if len(got) == 0 {
						empty++
						continue
					}
					mu.Lock()
					for _, d := range got {
						seen[d.Event.ID]++
					}
					mu.Unlock()
					if err := o.Delivered(t.Context(), got); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		for id, times := range seen {
			if times != 1 {
				t.Errorf("%s was claimed %d times", id, times)
			}
		}
		if len(seen) != n {
			t.Errorf("%d of %d events were claimed", len(seen), n)
		}
	})

	t.Run("ended context", func(t *testing.T) {
		r := open(t)
		if _, err := r.ClaimEvents(gone(t), ReceiverBoth, 1, lease); err == nil {
			t.Error("claimed by an ended context")
		}
	})
}

// A SentTo is a courier.Sender with what its receiver got.
type SentTo struct {
	courier.Sender
	Received func(t *testing.T, n int) []courier.Message // waits for n; of the events only the ids are compared
	Break    func()                                      // from now on the receiver does not answer
}

// Sender is the suite of courier.Sender.
func Sender(t *testing.T, open func(t *testing.T) SentTo) {
	r := open(t)
	sent := map[string]string{}
	for i := range 3 {
		e := event.New(event.DecisionDenied, fmt.Sprintf("contract-%d", i), epoch, "", event.Data{Reason: "ü\x00"})
		body := fmt.Sprintf(`{"id": "%s", "text": "ü"}`, e.ID)
		sent[e.ID] = body
		for range 2 { // once more, as after a crash
			if err := r.Send(t.Context(), courier.Message{Event: e, Body: []byte(body)}); err != nil {
				t.Fatal(err)
			}
		}
	}

	got := r.Received(t, 6)
	seen := map[string]int{}
	for _, m := range got {
		seen[m.Event.ID]++
		if sent[m.Event.ID] != string(m.Body) {
			t.Errorf("%s arrived as %s, sent %s", m.Event.ID, m.Body, sent[m.Event.ID])
		}
	}
	for id := range sent {
		if seen[id] != 2 {
			t.Errorf("%s arrived %d times, want each of 2", id, seen[id])
		}
	}

	m := courier.Message{Event: event.New(event.DecisionDenied, "late", epoch, "", event.Data{}), Body: []byte("{}")}
	if err := r.Send(gone(t), m); err == nil {
		t.Error("sent by an ended context")
	}
	r.Break()
	if err := r.Send(t.Context(), m); err == nil {
		t.Error("a receiver that does not answer has the message")
	}
}
