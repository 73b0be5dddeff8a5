package audit_test

import (
	"testing"
	"time"

	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/translog"
)

// A row that somebody put behind the log's head excuses nothing: it says that a prune
// removed what is gone, and is no entry of the log.
func TestAPruneBehindTheLogExcusesNothing(t *testing.T) {
	onBothSigned(t, func(t *testing.T, s *audit.Store, c *clock) {
		filled(t, s)
		entry := translog.Entry{Kind: "prune", ID: "somebody", Time: day.AddDate(1, 0, 0)}
		text, err := entry.Encode()
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Writer().ExecContext(t.Context(), `INSERT INTO log_leaves (n, kind, id, entry, hashes)
			VALUES ($1, 'prune', 'somebody', $2, $3)`, 1000, text, []byte{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Writer().ExecContext(t.Context(), `DELETE FROM decisions WHERE id = '0199-000003'`); err != nil {
			t.Fatal(err)
		}

		v, faults := verified(t, s)
		if len(faults) == 0 || v.Pruned != 0 || faults[0].ID != "0199-000003" {
			t.Errorf("%+v, %v: want that 0199-000003 was removed", v, faults)
		}
	})
}

// A prune that begins after the log's head was read, and removes what is compared after
// it, is no fault: verifying may run beside a gate.
func TestVerifyBesideAPrune(t *testing.T) {
	onBothSigned(t, func(t *testing.T, s *audit.Store, c *clock) {
		filled(t, s)
		c.set(day.AddDate(0, 6, 0))

		var faults []audit.Fault
		v, err := s.VerifyBeside(t.Context(), audit.VerifyRequest{
			Key: logVerifier(t), Fault: func(f audit.Fault) { faults = append(faults, f) },
		}, func() error {
			_, err := s.Prune(t.Context(), day.Add(10*time.Minute))
			return err
		})
		if err != nil || len(faults) > 0 || v.Pruned == 0 {
			t.Errorf("%+v, %v, %v: want what was pruned, and no fault", v, faults, err)
		}
		head, err := translog.ReadHead(t.Context(), s.Reader())
		if err != nil || v.Entries != head.Size {
			t.Errorf("%d entries were followed, want %d, that of the prune too: %v", v.Entries, head.Size, err)
		}
	})
}
