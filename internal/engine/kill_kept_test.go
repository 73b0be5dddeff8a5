package engine_test

import (
	"cmp"
	"database/sql"
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
)

// checkKept compares what the record keeps beside its decisions with them: a kill makes none of it count twice or not
// at all, and leaves nothing behind that would hold up what comes later.
func (k *killer) checkKept(t *testing.T) {
	t.Helper()
	db := k.db()
	defer db.Close()

	// What waits is done by the program meanwhile.
	for _, waiting := range []string{"decision_queue", "sum_queue", "intents", "revocations WHERE state = 'begun'"} {
		for until := time.Now().Add(2 * time.Minute); k.rows(t, db, waiting) > 0; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(until) {
				t.Fatalf("%d rows are left in %s", k.rows(t, db, waiting), waiting)
			}
		}
	}

	verdicts, images := map[string]int64{}, map[string]bool{}
	for _, body := range k.texts(t, db, "SELECT body, packed FROM decisions WHERE state = 'finished' AND NOT moved") {
		var d attestor.Decision
		k.ok(json.Unmarshal([]byte(body), &d))
		verdicts[string(d.Verdict)]++
		images[cmp.Or(d.Image.Reference, d.Image.Requested)] = true
	}
	for _, table := range []string{"hour_sums", "day_sums"} {
		sums := map[string]int64{}
		for verdict := range verdicts {
			var n int64
			k.ok(db.QueryRowContext(t.Context(), "SELECT CAST(COALESCE(SUM(decisions), 0) AS BIGINT) FROM "+table+" WHERE verdict = $1", verdict).Scan(&n))
			sums[verdict] = n
		}
		if !maps.Equal(sums, verdicts) {
			t.Errorf("%s has %v, and the decisions are %v", table, sums, verdicts)
		}
	}
	if n := k.rows(t, db, "images"); n != len(images) {
		t.Errorf("%d images are counted, and decisions are on %d", n, len(images))
	}

	// What stands is what is admitted, by decisions that are there.
	stands, admitted := map[string]bool{}, map[string]bool{}
	for _, image := range k.attested() {
		stands[image] = true
	}
	for _, name := range k.strings(t, db, "SELECT repository || '@' || digest FROM admission_digests") {
		admitted[name] = true
	}
	if !maps.Equal(stands, admitted) {
		t.Errorf("attestations stand of %v, and admitted are %v", slices.Sorted(maps.Keys(stands)), slices.Sorted(maps.Keys(admitted)))
	}
	const finished = " WHERE NOT EXISTS (SELECT 1 FROM decisions d WHERE d.id = a.decision AND d.state = 'finished')"
	for what, rows := range map[string]string{
		"admissions by no decision":                 "admissions a" + finished,
		"overrides by no decision":                  "overrides a" + finished,
		"open overrides whose end would be held up": "overrides o JOIN override_passes p ON p.override = o.decision WHERE o.closed_at IS NULL",
		"overrides that nothing is ending any more": "overrides o WHERE o.closed_at IS NULL AND o.revocation <> ''",
	} {
		if n := k.rows(t, db, rows); n != 0 {
			t.Errorf("%d %s", n, what)
		}
	}
}

// rows counts rows.
func (k *killer) rows(t *testing.T, db *sql.DB, rows string) (n int) {
	t.Helper()
	k.ok(db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+rows).Scan(&n))
	return n
}

// strings lists the one column of a query.
func (k *killer) strings(t *testing.T, db *sql.DB, query string) (out []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	k.ok(err)
	defer rows.Close()
	for rows.Next() {
		var s string
		k.ok(rows.Scan(&s))
		out = append(out, s)
	}
	k.ok(rows.Err())
	return out
}
