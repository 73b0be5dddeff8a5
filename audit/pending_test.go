package audit_test

import (
	"errors"
	"fmt"
	"iter"
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

				pending, err := collected(s.Pending(t.Context(), 0))
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
	if pending, err := collected(s.Pending(t.Context(), 0)); attestor.KindOf(err) != attestor.Unavailable || len(pending) > 0 {
		t.Errorf("%d listed, %v; want an error of kind Unavailable", len(pending), err)
	}
}

// collected is what a list yields, and every error.
func collected[T any](rows iter.Seq2[T, error]) (out []T, err error) {
	for row, e := range rows {
		if e != nil {
			err = errors.Join(err, e)
			continue
		}
		out = append(out, row)
	}
	return out, err
}

// What was damaged stays begun: however much there is of it, it does not stand before what can be finished. Neither does
// what is listed and not finished.
func TestPendingBehindMuchDamage(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, c *clock) {
		for n := 1; n <= 3; n++ {
			if err := s.Begin(t.Context(), record(n, attestor.Pass)); err != nil {
				t.Fatal(err)
			}
		}
		c.set(day.AddDate(1, 0, 0))

		// Copies of the first, at its time: 1,100 that cannot be read, and as many that can.
		for damage, values := range map[string]string{"damaged": "'[1]', '[1]', CAST(NULL AS BYTEA)", "whole": "body, evidence, packed"} {
			_, err := s.Writer().ExecContext(t.Context(), `WITH RECURSIVE
				digits (d) AS (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9), (10)),
				tens (d) AS (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9))
				INSERT INTO decisions (id, at, state, requested, repository, digest, verdict, policy, policy_digest, break_glass,
					moved, body, evidence, packed)
				SELECT id || '-`+damage+`-' || a.d || '-' || b.d || '-' || c.d, at, state, requested, repository, digest, verdict,
					policy, policy_digest, break_glass, moved, `+values+`
				FROM decisions, digits a, tens b, tens c WHERE id = '0199-000001'`)
			if err != nil {
				t.Fatal(err)
			}
		}

		seen, damaged := map[string]int{}, 0
		for r, err := range s.Pending(t.Context(), 0) {
			switch {
			case err == nil:
				seen[r.Decision.ID]++
			case strings.Contains(err.Error(), "-damaged-"):
				damaged++
			default:
				t.Fatal(err)
			}
		}
		// A copy's body says the id of the first.
		if damaged != 1100 || seen["0199-000001"] != 1101 || seen["0199-000002"] != 1 || seen["0199-000003"] != 1 {
			t.Errorf("%d damaged, want 1100; %v, want 1101 of the first and the two others", damaged, seen)
		}
	})
}

// One revocation that cannot be read keeps no other from being finished.
func TestPendingRevocationsBesideDamage(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, c *clock) {
		for n, id := range []string{"first", "second", "third"} {
			img, err := attestor.ParseImage(fmt.Sprintf("registry.example/acme/app-%d@%s", n, digest(n)))
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.BeginRevocation(t.Context(), attestor.RevocationRecord{
				ID: id, Time: day, Kind: attestor.RevokedByPerson, Image: img, Reason: "it was built by a stolen account",
				Attestations: []attestor.Attestation{},
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		c.set(day.AddDate(1, 0, 0))
		if _, err := s.Writer().ExecContext(t.Context(), `UPDATE revocations SET body = '[1]' WHERE id = 'second'`); err != nil {
			t.Fatal(err)
		}

		pending, err := collected(s.PendingRevocations(t.Context(), 0))
		if err == nil || !strings.Contains(err.Error(), "second") {
			t.Errorf("%v, want an error that names the second", err)
		}
		if len(pending) != 2 || pending[0].ID != "first" || pending[1].ID != "third" {
			t.Errorf("%+v, want the first and the third", pending)
		}
	})
}
