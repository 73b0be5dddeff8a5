package audit_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// revoke records a finished revocation of an image.
func revoke(t *testing.T, s *audit.Store, id string, at time.Time, img attestor.Image) {
	t.Helper()
	begun, err := s.BeginRevocation(t.Context(), attestor.RevocationRecord{
		ID: id, Time: at, Kind: attestor.RevokedByPerson, Image: img, Reason: "leaked credentials",
		Admitted: []string{}, Attestations: []attestor.Attestation{},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.FinishRevocation(t.Context(), begun); err != nil {
		t.Fatal(err)
	}
}

// execute runs a statement as whoever may write to the database can.
func execute(t *testing.T, s *audit.Store, text string) {
	t.Helper()
	if _, err := s.Writer().ExecContext(t.Context(), text); err != nil {
		t.Fatal(err)
	}
}

// revocationPages reads a list to its end, in pages of two.
func revocationPages(t *testing.T, s *audit.Store, f audit.Filter) (ids []string, pages int) {
	t.Helper()
	for token := ""; ; {
		page, err := s.ListRevocations(t.Context(), f, 2, token)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Revocations) > 2 {
			t.Errorf("a page of two has %d", len(page.Revocations))
		}
		for _, r := range page.Revocations {
			ids = append(ids, r.ID)
		}
		if pages++; page.Next == "" {
			return ids, pages
		}
		if token = page.Next; pages > 10 {
			t.Fatal("the list has no end")
		}
	}
}

// Revocations are listed newest first, and only begun ones and those that nobody may see are not.
func TestRevocationsAreListed(t *testing.T) {
	t.Parallel()
	onBothSigned(t, func(t *testing.T, s *audit.Store, _ *clock) {
		mine, other := record(1, attestor.Pass).Evidence.Image, record(2, attestor.Pass).Evidence.Image
		for n := range 5 {
			revoke(t, s, fmt.Sprintf("r%d", n), day.Add(time.Duration(n)*time.Hour), mine)
		}
		pending := attestor.RevocationRecord{ID: "begun", Time: day.Add(time.Hour), Kind: attestor.RevokedByPerson, Image: other}
		if _, err := s.BeginRevocation(t.Context(), pending); err != nil {
			t.Fatal(err)
		}

		if got, pages := revocationPages(t, s, audit.Filter{}); !slices.Equal(got, []string{"r4", "r3", "r2", "r1", "r0"}) || pages != 3 {
			t.Errorf("%v in %d pages", got, pages)
		}
		if got, pages := revocationPages(t, s, audit.Filter{Visible: func(string) bool { return false }}); len(got) != 0 || pages != 1 {
			t.Errorf("whoever may see nothing is shown %v in %d pages", got, pages)
		}

		// A period that is relative to the clock is fixed by the first page.
		f := audit.Filter{Since: day.Add(2 * time.Hour), Period: "since=2h&until="}
		page, err := s.ListRevocations(t.Context(), f, 2, "")
		if err != nil || len(page.Revocations) != 2 {
			t.Fatalf("%+v, %v", page, err)
		}
		f.Since = day.Add(5 * time.Hour)
		if page, err = s.ListRevocations(t.Context(), f, 2, page.Next); err != nil || len(page.Revocations) != 1 || page.Revocations[0].ID != "r2" {
			t.Errorf("the page after: %+v, %v", page, err)
		}
	})
}

// A page looks at no more revocations than it may, and its token leads on.
func TestRevocationPageIsBounded(t *testing.T) {
	t.Parallel()
	onBothSigned(t, func(t *testing.T, s *audit.Store, _ *clock) {
		revoke(t, s, "oldest", day, record(1, attestor.Pass).Evidence.Image)
		execute(t, s, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4500)
			INSERT INTO revocations (id, at, state, kind, repository, digest, body)
			SELECT 'other-' || i, at + i, state, kind, 'registry.example/other', digest, body FROM revocations, n WHERE id = 'oldest'`)

		f := audit.Filter{Visible: func(repository string) bool { return repository != "registry.example/other" }}
		first, err := s.ListRevocations(t.Context(), f, 50, "")
		if err != nil || len(first.Revocations) != 0 || first.Next == "" {
			t.Fatalf("first page: %d, token %q, %v", len(first.Revocations), first.Next, err)
		}
		second, err := s.ListRevocations(t.Context(), f, 50, first.Next)
		if err != nil || len(second.Revocations) != 1 || second.Revocations[0].ID != "oldest" || second.Next != "" {
			t.Errorf("second page: %+v, %v", second, err)
		}
	})
}

// A revocation that somebody changed in the database says so.
func TestChangedRevocationIsMarked(t *testing.T) {
	t.Parallel()
	onBothSigned(t, func(t *testing.T, s *audit.Store, _ *clock) {
		img := record(1, attestor.Pass).Evidence.Image
		for _, id := range []string{"same", "changed", "unlogged"} {
			revoke(t, s, id, day, img)
		}
		execute(t, s, `UPDATE revocations SET body = REPLACE(body, 'leaked', 'wrong') WHERE id = 'changed'`)
		execute(t, s, `INSERT INTO revocations (id, at, state, kind, repository, digest, body)
			SELECT 'forged', at, state, kind, repository, digest, REPLACE(body, 'same', 'forged') FROM revocations WHERE id = 'same'`)

		page, err := s.ListRevocations(t.Context(), audit.Filter{}, 50, "")
		if err != nil || len(page.Revocations) != 4 {
			t.Fatalf("%+v, %v", page, err)
		}
		for _, r := range page.Revocations {
			want := r.ID == "changed" || r.ID == "forged"
			if r.Log == nil || (r.Log.Changed != "") != want {
				t.Errorf("%s is told as %+v", r.ID, r.Log)
			}
		}
	})
}
