package audit_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// What was begun and was damaged since is named, and keeps nothing else from being finished.
func TestPendingBesideDamage(t *testing.T) {
	const damaged = "0199-000002"
	ofPolicy := func(n int) string { return fmt.Sprintf("a policy of decision %d alone", n) }
	for name, damage := range map[string]string{
		"a blob is lost":    "DELETE FROM blobs WHERE hash = $1",
		"a blob is no blob": "UPDATE blobs SET data = 'no blob' WHERE hash = $1",
		"a blob is another": `UPDATE blobs SET data = (SELECT b.data FROM blobs b WHERE b.hash <> $1 ORDER BY b.hash LIMIT 1)
			WHERE hash = $1`,
		"its evidence does not decode": "UPDATE decisions SET evidence = '[1]' WHERE id = '" + damaged + "' AND $1 <> ''",
		"its decision does not decode": "UPDATE decisions SET body = '[1]' WHERE id = '" + damaged + "' AND $1 <> ''",
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, s *audit.Store, c *clock) {
				for n := 1; n <= 3; n++ {
					r := record(n, attestor.Pass)
					r.PolicyText = []byte(ofPolicy(n))
					if err := s.Begin(t.Context(), r); err != nil {
						t.Fatal(err)
					}
				}
				c.set(day.AddDate(1, 0, 0))
				result, err := s.Writer().ExecContext(t.Context(), damage, audit.HashOf([]byte(ofPolicy(2))))
				if err != nil {
					t.Fatal(err)
				}
				if n, err := result.RowsAffected(); err != nil || n != 1 {
					t.Fatalf("%d rows were damaged, %v", n, err)
				}

				pending, err := s.Pending(t.Context(), 0)
				if err == nil || !strings.Contains(err.Error(), damaged) || strings.Contains(err.Error(), "0199-000001") ||
					strings.Contains(err.Error(), "0199-000003") {
					t.Errorf("%v, want an error that names %s and no other", err, damaged)
				}
				var ids []string
				for _, r := range pending {
					ids = append(ids, r.Decision.ID)
				}
				if got := strings.Join(ids, " "); got != "0199-000001 0199-000003" {
					t.Errorf("listed: %q, want all but the damaged one", got)
				}
			})
		})
	}

	// A database that does not answer is another error, and nothing is listed: the rest is not known to be damaged.
	s := openSQLite(t, migratedFile(t), clockAt(day.AddDate(1, 0, 0)))
	if err := s.Begin(t.Context(), record(1, attestor.Pass)); err != nil {
		t.Fatal(err)
	}
	deaf := &deafReader{}
	s.WrapReader(deaf.wrap)
	deaf.arm("FROM blobs", 1)
	if pending, err := s.Pending(t.Context(), 0); attestor.KindOf(err) != attestor.Unavailable || len(pending) > 0 {
		t.Errorf("%d listed, %v; want an error of kind Unavailable", len(pending), err)
	}
}
