package contract

import (
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
)

// A RevocationRecord is an [attestor.Revocations] with the means to fill and to
// read it.
type RevocationRecord struct {
	attestor.Revocations
	attestor.Recorder
	// Finished returns a revocation, and false for one that was not finished.
	Finished func(t *testing.T, id string) (attestor.RevocationRecord, bool)
}

// Revocations is the suite of [attestor.Revocations]. open returns an empty
// record.
func Revocations(t *testing.T, open func(t *testing.T) RevocationRecord) {
	revocation := func(n int, kind attestor.RevocationKind) attestor.RevocationRecord {
		return attestor.RevocationRecord{
			ID: "revocation-" + string(rune('a'+n)), Time: epoch.Add(time.Hour), Kind: kind,
			Image:  imageOf(t, Repository, 1),
			Reason: "found to be malicious", Admitted: []string{}, Attestations: []attestor.Attestation{},
		}
	}
	admitted := func(t *testing.T, r RevocationRecord, n int, change ...func(*attestor.Record)) string {
		t.Helper()
		record := recordOf(t, n, change...)
		same := recordOf(t, 1)
		record.Decision.Image, record.Evidence.Image = same.Decision.Image, same.Evidence.Image
		record.Evidence.Platforms, record.Decision.Attestations = same.Evidence.Platforms, same.Decision.Attestations
		if _, err := r.Finish(t.Context(), record); err != nil {
			t.Fatal(err)
		}
		return record.Decision.ID
	}
	overridden := func(r *attestor.Record) {
		r.Decision.Verdict = attestor.Deny
		r.Decision.BreakGlass = &attestor.BreakGlass{Reason: "INC-1 outage", By: "oncall@example", Expires: &epoch}
	}

	t.Run("begun is not finished", func(t *testing.T) {
		r := open(t)
		id := admitted(t, r, 1)
		begun, err := r.BeginRevocation(t.Context(), revocation(0, attestor.RevokedByPerson))
		if err != nil || len(begun.Admitted) != 1 || begun.Admitted[0] != id {
			t.Fatalf("begun as %+v, %v; want the decision %s", begun, err, id)
		}
		if _, ok := r.Finished(t, begun.ID); ok {
			t.Error("a revocation that only was begun is finished")
		}

		begun.Attestations = []attestor.Attestation{{Occurrence: "projects/p/occurrences/1"}}
		for range 2 { // a crash may follow the commit
			if err := r.FinishRevocation(t.Context(), begun); err != nil {
				t.Fatal(err)
			}
		}
		later := begun
		later.Attestations = nil
		if err := r.FinishRevocation(t.Context(), later); err != nil {
			t.Errorf("finishing what another instance has finished: %v", err)
		}
		if got, ok := r.Finished(t, begun.ID); !ok || len(got.Attestations) != 1 ||
			got.Kind != attestor.RevokedByPerson {
			t.Errorf("finished as %+v, %t", got, ok)
		}
	})

	t.Run("an override ends once", func(t *testing.T) {
		r := open(t)
		first := revocation(0, attestor.RevokedAtEnd)
		first.Override = admitted(t, r, 1, overridden)
		if _, err := r.BeginRevocation(t.Context(), first); err != nil {
			t.Fatal(err)
		}

		second := first
		second.ID = "revocation-of-another-instance"
		got, err := r.BeginRevocation(t.Context(), second)
		if err != nil || got.ID != first.ID {
			t.Errorf("begun again as %s, %v; want %s, which was begun before", got.ID, err, first.ID)
		}
		if err := r.FinishRevocation(t.Context(), got); err != nil {
			t.Fatal(err)
		}
		_, err = r.BeginRevocation(t.Context(), second)
		wantKind(t, "ending an override that has ended", err, attestor.NotFound)
	})

	t.Run("a pass that is being attested keeps the override's end back", func(t *testing.T) {
		r := open(t)
		end := revocation(0, attestor.RevokedAtEnd)
		end.Override = admitted(t, r, 1, overridden)
		pass := recordOf(t, 2)
		same := recordOf(t, 1)
		pass.Decision.Image, pass.Evidence.Image, pass.Evidence.Platforms = same.Decision.Image, same.Evidence.Image,
			same.Evidence.Platforms
		if err := r.Begin(t.Context(), pass); err != nil {
			t.Fatal(err)
		}
		_, err := r.BeginRevocation(t.Context(), end)
		wantKind(t, "ending an override while its image is attested", err, attestor.NotFound)

		pass.Decision.Attestations = same.Decision.Attestations
		if _, err := r.Finish(t.Context(), pass); err != nil {
			t.Fatal(err)
		}
		_, err = r.BeginRevocation(t.Context(), end)
		wantKind(t, "ending an override of an image that has passed", err, attestor.NotFound)
	})

	t.Run("a judgement of an earlier admission", func(t *testing.T) {
		r := open(t)
		was := admitted(t, r, 1)
		admitted(t, r, 2)
		late := revocation(0, attestor.RevokedByJudgment)
		late.Admitted, late.Judgment, late.Cause = []string{was}, "judgement", attestor.CauseFinding
		_, err := r.BeginRevocation(t.Context(), late)
		wantKind(t, "revoking what was admitted again", err, attestor.NotFound)
	})
}
