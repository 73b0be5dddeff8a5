package engine_test

import (
	"testing"
	"time"
)

// checkTold holds what the webhook got to the record: each denial was told, under one id,
// and nothing was told that is not recorded.
func (k *killer) checkTold(t *testing.T) {
	t.Helper()
	db := k.db()
	defer db.Close()
	for until := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		var left int
		k.ok(db.QueryRowContext(t.Context(), "SELECT count(*) FROM outbox").Scan(&left))
		if left == 0 {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("%d events are not delivered", left)
		}
	}

	got, repeats := map[string]string{}, 0
	for len(k.hook.got) > 0 {
		ev := k.hook.next(t)
		if body, ok := got[ev.event.ID]; ok {
			repeats++
			if body != string(ev.body) {
				t.Errorf("told %s, and again as %s", body, ev.body)
			}
		}
		got[ev.event.ID] = string(ev.body)
	}

	rows, err := db.QueryContext(t.Context(), "SELECT id FROM decisions WHERE state = 'finished' AND verdict = 'deny'")
	k.ok(err)
	defer rows.Close()
	denied := 0
	for rows.Next() {
		var id string
		k.ok(rows.Scan(&id))
		denied++
		if _, ok := got["decision-denied-"+id]; !ok {
			t.Errorf("the denial %s was told to nobody", id)
		}
		delete(got, "decision-denied-"+id)
	}
	k.ok(rows.Err())
	for id := range got {
		t.Errorf("%s was told and is not recorded", id)
	}
	t.Logf("%d denials told, %d of them again", denied, repeats)
}
