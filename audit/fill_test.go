package audit_test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pressly/goose/v3"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

const (
	oldRepository = "us-docker.pkg.dev/acme/prod/old"
	// oldPasses is how many images passed between the two halves of an old history: more than Fill reads at once.
	oldPasses = 600
)

// An oldDecision is a row as versions before migration 4 wrote it.
type oldDecision struct {
	id       string
	minutes  int // before day
	image    int
	verdict  string
	begun    bool
	dryRun   bool
	attested bool
	override string // breakGlass, JSON; "": none
	revoked  string // the reason of a revocation; "": it is a decision
	ruled    bool   // a policy governed
}

// body is the Decision in the JSON of that version. It is spelt out, so that a change of the types of today shows.
func (o oldDecision) body() string {
	attestations, policy, breakGlass, check := "", "null", "null", ""
	if o.attested {
		attestations = fmt.Sprintf(`{"attestor":"projects/acme/attestors/gate","note":"projects/acme/notes/gate",
			"occurrence":"projects/acme/occurrences/%d","digest":"%s","publicKeyId":"key","created":true}`, o.image, digest(o.image))
	}
	if o.ruled {
		policy = fmt.Sprintf(`{"name":"production","digest":"%s","mode":"enforce"}`, digest(7))
	}
	if o.override != "" {
		breakGlass = o.override
	}
	if o.revoked != "" {
		check = fmt.Sprintf(`{"name":"attest","status":"deny","reasons":[{"code":"REVOKED","severity":"refuses","message":%q}]}`, o.revoked)
	}
	return fmt.Sprintf(`{"id":"%s","time":"%s","durationMs":3,"emulated":false,
		"image":{"requested":"%[3]s@%[4]s","reference":"%[3]s@%[4]s","digest":"%[4]s","mediaType":""},
		"verdict":"%[5]s","dryRun":%[6]t,"indexAttested":false,"breakGlass":%[7]s,"policy":%[8]s,"platforms":[],
		"checks":[%[9]s],"attestations":[%[10]s],"caller":{"subject":"admin@acme.example","issuer":"local"}}`,
		o.id, o.at().Format(time.RFC3339Nano), oldRepository, digest(o.image), o.verdict, o.dryRun, breakGlass, policy, check, attestations)
}

func (o oldDecision) at() time.Time { return day.Add(-time.Duration(o.minutes) * time.Minute) }

// oldHistory is what a version before left. The overrides of its first half end, or are taken the place of, in the
// second: an interruption between them must lose neither.
func oldHistory() []oldDecision {
	const granted = `{"by":"oncall@acme.example","reason":"INC-1 outage","expires":"2026-11-22T12:00:00Z"}`
	pass := func(id string, minutes, image int) oldDecision {
		return oldDecision{id: id, minutes: minutes, image: image, verdict: "pass", attested: true, ruled: true}
	}
	override := func(id string, minutes, image int) oldDecision {
		return oldDecision{id: id, minutes: minutes, image: image, verdict: "deny", attested: true, ruled: true, override: granted}
	}
	revoked := func(id string, minutes, image int, reason string) oldDecision {
		return oldDecision{id: id, minutes: minutes, image: image, verdict: "deny", attested: true, revoked: reason}
	}
	without := func(d oldDecision, f func(*oldDecision)) oldDecision { f(&d); return d }

	out := []oldDecision{
		pass("a-pass", 4000, 1),
		without(pass("a-dry", 3999, 2), func(d *oldDecision) { d.dryRun = true }),
		without(pass("a-unattested", 3998, 3), func(d *oldDecision) { d.attested = false }),
		without(pass("a-begun", 3997, 10), func(d *oldDecision) { d.begun = true }),
		override("a-open", 3996, 4), override("a-passed", 3995, 5), pass("a-revoked", 3994, 6),
		override("a-expired", 3993, 7), pass("a-found", 3992, 8), override("a-refused", 3991, 9), pass("a-pending", 3990, 11),
		override("a-new", 3989, 12),
		{id: "a-ungoverned", minutes: 3988, image: 13, verdict: "deny"},
		without(override("a-forever", 3987, 14), func(d *oldDecision) { d.override = `{"by":"admin@acme.example","reason":"INC-2 outage"}` }),
	}
	// Dry runs of an image between its override and its pass hide neither.
	for n := range manyDryRuns {
		out = append(out, without(pass(fmt.Sprintf("a-dry-%04d", n), 3600-n, 5), func(d *oldDecision) { d.dryRun, d.attested = true, false }))
	}
	for n := range oldPasses {
		out = append(out, pass(fmt.Sprintf("b-%04d", n), 3000-n, 1000+n))
	}
	return append(out,
		pass("c-passed", 400, 5),
		revoked("c-person", 399, 6, "leaked credentials, ticket 4711"),
		revoked("c-expired", 398, 7, "decision a-expired: the override by oncall@acme.example ended at 2026-11-22T12:00:00Z"),
		revoked("c-found", 397, 8, "decision c-judged: found after admission by a-found: CVE-2026-1"),
		pass("c-again", 396, 8),
		oldDecision{id: "c-refused", minutes: 395, image: 9, verdict: "deny", ruled: true},
		without(revoked("c-pending", 394, 11, "a drill of the security team"), func(d *oldDecision) { d.begun = true }),
	)
}

// An oldRecord is an empty database of an engine, for what a version before wrote.
type oldRecord struct {
	config         audit.Config
	driver, source string
	dialect        goose.Dialect
}

// onOldRecords runs one test on an empty database of each engine.
func onOldRecords(t *testing.T, f func(t *testing.T, r oldRecord)) {
	t.Run("sqlite", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "record.db")
		// A store that was closed may be rolling back what its indexer had begun.
		f(t, oldRecord{
			audit.Config{SQLite: path, Now: clockAt(day).now}, "sqlite", "file:" + path + "?_pragma=busy_timeout(10000)", goose.DialectSQLite3,
		})
	})
	t.Run("postgresql", func(t *testing.T) {
		dsn := shared.empty(t)
		f(t, oldRecord{audit.Config{PostgreSQL: dsn, Now: clockAt(day).now}, "pgx", dsn, goose.DialectPostgres})
	})
}

func (r oldRecord) execute(t *testing.T, f func(db *sql.DB)) {
	t.Helper()
	db, err := sql.Open(r.driver, r.source)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	f(db)
}

// writeOldDecisions makes a database of migration 3 with an old history, of which one row cannot be read.
func writeOldDecisions(t *testing.T, db *sql.DB, dialect goose.Dialect, history []oldDecision, unreadable string) {
	t.Helper()
	provider, err := goose.NewProvider(dialect, db, os.DirFS("migrations"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.UpTo(t.Context(), 3); err != nil {
		t.Fatal(err)
	}

	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	for _, o := range history {
		state, policy, body := "finished", "", o.body()
		if o.begun {
			state = "begun"
		}
		if o.ruled {
			policy = "production"
		}
		if o.id == unreadable {
			body = "{"
		}
		_, err := tx.ExecContext(t.Context(), `INSERT INTO decisions (id, at, state, requested, repository, digest, verdict, policy,
				policy_digest, break_glass, body, evidence) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, '{}')`,
			o.id, o.at().UnixMicro(), state, oldRepository+"@"+string(digest(o.image)), oldRepository, string(digest(o.image)), o.verdict,
			policy, "", o.override != "", body)
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

// TestFillReadsWhatVersionsBeforeWrote: the record of an earlier version becomes
// admissions, overrides and revocations, also where the reading was interrupted and
// another process goes on.
func TestFillReadsWhatVersionsBeforeWrote(t *testing.T) {
	onOldRecords(t, func(t *testing.T, old oldRecord) {
		old.execute(t, func(db *sql.DB) { writeOldDecisions(t, db, old.dialect, oldHistory(), "c-expired") })

		// This version is at work before all is read: it passes an image whose old override was not read yet.
		first, err := audit.Open(t.Context(), old.config)
		if err != nil {
			t.Fatal(err)
		}
		now := record(12, attestor.Pass, func(r *attestor.Record) {
			img := oldImage(t, 12)
			r.Decision.ID, r.Decision.Time, r.Evidence.Image = "n-passed", day, img
			r.Decision.Image.Requested, r.Decision.Image.Reference = img.String(), img.String()
			r.Decision.Attestations = []attestor.Attestation{{Attestor: "projects/acme/attestors/gate", Digest: img.Digest()}}
		})
		finish(t, first, now)

		// The row that cannot be read stops it after some were read. They stay.
		if complete, err := first.Fill(t.Context()); err == nil || complete || !strings.Contains(fmt.Sprintf("%+v", err), "decision store") {
			t.Fatalf("Fill: %t, %v", complete, err)
		}
		if n, err := first.Count(t.Context(), "admissions"); err != nil || n < 400 || n >= oldPasses {
			t.Fatalf("%d admissions when it was interrupted, %v", n, err)
		}
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}

		old.execute(t, func(db *sql.DB) {
			for _, o := range oldHistory() {
				if o.id != "c-expired" {
					continue
				}
				if _, err := db.ExecContext(t.Context(), `UPDATE decisions SET body = $1 WHERE id = $2`, o.body(), o.id); err != nil {
					t.Fatal(err)
				}
			}
		})
		s := open(t, old.config)
		for range 2 { // once more changes nothing
			if complete, err := s.Fill(t.Context()); err != nil || !complete {
				t.Fatalf("Fill: %t, %v", complete, err)
			}
			checkFilled(t, s)
		}
	})
}

func oldImage(t *testing.T, n int) attestor.Image {
	t.Helper()
	img, err := attestor.ParseImage(oldRepository + "@" + string(digest(n)))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// checkFilled compares the record with oldHistory, as it should be told now.
func checkFilled(t *testing.T, s *audit.Store) {
	t.Helper()

	// Who stands admitted, and by what. "": nobody.
	glass := map[string]bool{"a-open": true, "a-refused": true, "a-forever": true}
	for image, want := range map[int]string{
		1: "a-pass", 2: "", 3: "", 4: "a-open", 5: "c-passed", 6: "", 7: "", 8: "c-again", 9: "a-refused", 10: "",
		11: "a-pending", 12: "n-passed", 13: "", 14: "a-forever", 1000: "b-0000", 1000 + oldPasses - 1: fmt.Sprintf("b-%04d", oldPasses-1),
	} {
		got, err := s.AdmittedWith(t.Context(), oldImage(t, image))
		switch {
		case err != nil || len(got) > 1 || (len(got) == 0) != (want == ""):
			t.Errorf("image %d is admitted by %+v, %v, want %q", image, got, err, want)
		case want != "" && (got[0].Decision != want || got[0].BreakGlass != glass[want]):
			t.Errorf("image %d is admitted by %s, break-glass %t, want %s", image, got[0].Decision, got[0].BreakGlass, want)
		}
	}
	if n, err := s.Count(t.Context(), "admissions"); err != nil || n != oldPasses+8 {
		t.Errorf("%d admissions, %v", n, err)
	}

	// The overrides, and what closed them.
	for id, want := range map[string]struct {
		image  int
		closed attestor.Closing
		by     string
	}{
		"a-open": {4, "", ""}, "a-passed": {5, attestor.ClosedPassed, "c-passed"}, "a-expired": {7, attestor.ClosedExpired, "c-expired"},
		"a-refused": {9, "", ""}, "a-new": {12, attestor.ClosedPassed, "n-passed"}, "a-forever": {14, "", ""},
	} {
		o, err := s.Override(t.Context(), id)
		if err != nil || o.Closed != want.closed || o.ClosedBy != want.by || len(o.Digests) != 1 || o.Digests[0] != digest(want.image) ||
			(o.Expires == nil) != (id == "a-forever") || len(o.Attestors) != 1 {
			t.Errorf("override %s: %+v, %v, want %+v", id, o, err, want)
		}
		open, err := s.OpenOverrides(t.Context(), oldImage(t, want.image))
		if err != nil || (len(open) == 1) != (want.closed == "") {
			t.Errorf("open overrides of image %d: %+v, %v", want.image, open, err)
		}
	}
	if n, err := s.Count(t.Context(), "overrides"); err != nil || n != 6 {
		t.Errorf("%d overrides, %v", n, err)
	}

	checkFilledRevocations(t, s)
}

// checkFilledRevocations: they are told as what they are, and are not listed as decisions any more. What was begun is finished by
// whoever recovers it.
func checkFilledRevocations(t *testing.T, s *audit.Store) {
	t.Helper()
	for id, want := range map[string]attestor.RevocationRecord{
		"c-person":  {Kind: attestor.RevokedByPerson, Admitted: []string{"a-revoked"}},
		"c-expired": {Kind: attestor.RevokedAtEnd, Admitted: []string{"a-expired"}, Override: "a-expired"},
		"c-found":   {Kind: attestor.RevokedByJudgment, Admitted: []string{"a-found"}, Judgment: "c-judged", Cause: attestor.CauseFinding},
	} {
		r, err := s.Revocation(t.Context(), id)
		got := attestor.RevocationRecord{Kind: r.Kind, Admitted: r.Admitted, Override: r.Override, Judgment: r.Judgment, Cause: r.Cause}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(attestor.Image{})); err != nil || diff != "" {
			t.Errorf("revocation %s: %v (-want +got):\n%s", id, err, diff)
		}
		if r.Caller.Subject != "admin@acme.example" || len(r.Attestations) != 1 || r.Reason == "" {
			t.Errorf("revocation %s is by %+v, of %+v", id, r.Caller, r.Attestations)
		}
	}

	listed := map[string]bool{}
	for d, err := range s.Decisions(t.Context(), audit.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		listed[d.ID] = true
	}
	for _, o := range oldHistory() {
		if want := o.revoked == "" && !o.begun; listed[o.id] != want {
			t.Errorf("%s is among the decisions: %t, want %t", o.id, listed[o.id], want)
		}
	}

	if r, err := s.Revocation(t.Context(), "a-ungoverned"); attestor.KindOf(err) != attestor.NotFound {
		t.Errorf("a refusal without a policy is read as a revocation: %+v, %v", r, err)
	}
	pending, err := collected(s.PendingRevocations(t.Context(), 0))
	if err != nil || len(pending) != 1 || pending[0].ID != "c-pending" {
		t.Errorf("begun revocations: %+v, %v", pending, err)
	}
}
