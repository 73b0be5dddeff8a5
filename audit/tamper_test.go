package audit_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/translog"
)

const logOrigin = "gate.example/decisions"

// signedLog is how a test's record signs its log.
func signedLog(wait time.Duration) *audit.LogKey {
	private := ed25519.NewKeyFromSeed([]byte(strings.Repeat("k", ed25519.SeedSize)))
	key := translog.Key{
		Origin: logOrigin, Public: private.Public().(ed25519.PublicKey), //nolint:forcetypeassert // crypto/ed25519 says so
		Sign: func(_ context.Context, msg []byte) ([]byte, error) { return ed25519.Sign(private, msg), nil },
	}
	return &audit.LogKey{
		Origin: logOrigin, Wait: wait, Key: func(context.Context) (translog.Key, error) { return key, nil },
	}
}

func logVerifier(t *testing.T) string {
	t.Helper()
	key, err := signedLog(0).Key(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v, err := key.Verifier()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// onBothSigned runs one test on a store of each engine, with a signed log.
func onBothSigned(t *testing.T, f func(t *testing.T, s *audit.Store, c *clock)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		c := clockAt(day)
		f(t, open(t, audit.Config{SQLite: migratedFile(t), Now: c.now, Log: signedLog(time.Minute)}), c)
	})
	t.Run("postgresql", func(t *testing.T) {
		c := clockAt(day)
		f(t, open(t, audit.Config{PostgreSQL: shared.database(t), Now: c.now, Log: signedLog(time.Minute)}), c)
	})
}

// overridden is a record of a granted override with an attestation.
func overridden(n int) attestor.Record {
	return record(n, attestor.Deny, attest, func(r *attestor.Record) {
		expires := r.Decision.Time.Add(time.Hour)
		r.Decision.BreakGlass = &attestor.BreakGlass{Reason: "production is down", By: "admin@example", Expires: &expires}
	})
}

// filled records some of every kind: ids 0199-000000 to 0199-000019, of which 5 is
// attested and 7 an override that a revocation ended.
func filled(t *testing.T, s *audit.Store) {
	t.Helper()
	for n := range 20 {
		switch {
		case n == 5:
			finish(t, s, record(n, attestor.Pass, attest))
		case n == 7:
			finish(t, s, overridden(n))
		case n%3 == 0:
			finish(t, s, record(n, attestor.Deny))
		default:
			finish(t, s, record(n, attestor.Pass))
		}
	}

	r := attestor.RevocationRecord{
		ID: "0199-revocation", Time: day.Add(time.Hour), Kind: attestor.RevokedByPerson,
		Image: overridden(7).Evidence.Image, Reason: "the incident is over", Caller: attestor.CallerRef{Subject: "admin@example"},
		Admitted: []string{}, Attestations: []attestor.Attestation{},
	}
	begun, err := s.BeginRevocation(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.FinishRevocation(t.Context(), begun); err != nil {
		t.Fatal(err)
	}
}

func verified(t *testing.T, s *audit.Store, kept ...[]byte) (audit.Verification, []audit.Fault) {
	t.Helper()
	var faults []audit.Fault
	v, err := s.Verify(t.Context(), audit.VerifyRequest{
		Key: logVerifier(t), Kept: kept, Fault: func(f audit.Fault) { faults = append(faults, f) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if v.Faults != int64(len(faults)) {
		t.Errorf("%d faults are counted, %d were told", v.Faults, len(faults))
	}
	return v, faults
}

func checkpoint(t *testing.T, s *audit.Store) []byte {
	t.Helper()
	signed, err := s.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestUntouchedRecordVerifies(t *testing.T) {
	t.Parallel()
	onBothSigned(t, func(t *testing.T, s *audit.Store, c *clock) {
		filled(t, s)
		c.set(day.Add(time.Minute)) // the last checkpoint was not signed just now
		kept := checkpoint(t, s)
		finish(t, s, record(30, attestor.Pass))

		// One entry says that nothing is older than the log, one is the override's, one the
		// revocation's.
		v, faults := verified(t, s, kept)
		if len(faults) != 0 || v.Entries != 24 || v.Records != 23 || v.Signed != 23 {
			t.Fatalf("%+v: %v", v, faults)
		}

		// What retention removes is removed, and nothing else.
		c.set(day.AddDate(1, 0, 0))
		if _, err := s.Prune(t.Context(), day.Add(10*time.Minute)); err != nil {
			t.Fatal(err)
		}
		v, faults = verified(t, s, kept)
		if len(faults) != 0 || v.Pruned == 0 || v.Records+v.Pruned != 23 {
			t.Fatalf("after a prune: %+v: %v", v, faults)
		}
	})
}

func TestTamperingIsFound(t *testing.T) {
	t.Parallel()
	for _, tt := range tamperings() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			onBothSigned(t, func(t *testing.T, s *audit.Store, _ *clock) {
				filled(t, s)
				if tt.plain {
					asEarlier(t, s)
				}
				for _, statement := range tt.sql {
					run(t, s.Writer(), statement)
				}
				_, faults := verified(t, s)
				i := slices.IndexFunc(faults, func(f audit.Fault) bool {
					return strings.HasPrefix(f.ID, tt.about) && strings.Contains(f.Problem, tt.says)
				})
				if i < 0 {
					t.Fatalf("%v\ndoes not tell of %q: %q", faults, tt.about, tt.says)
				}
				if faults[i].Kind == "decision" {
					notRepeated(t, s, faults[i].ID)
				}
			})
		})
	}
}

// notRepeated checks that nobody is told what a changed decision claims.
func notRepeated(t *testing.T, s *audit.Store, id string) {
	t.Helper()
	r, err := s.Record(t.Context(), id)
	if err != nil {
		return // it is not there, or its evidence is not
	}
	if text := audit.Explain(r); !strings.HasPrefix(text, "CHANGED SINCE IT WAS RECORDED") || strings.Contains(text, "assed") {
		t.Errorf("explain tells of %s:\n%s", id, text)
	}
	if r.Decision.Verdict == attestor.Pass || r.Decision.Log == nil || r.Decision.Log.Changed == "" {
		t.Errorf("%s is told as %+v", id, r.Decision)
	}
	d, err := s.Decision(t.Context(), id)
	if err != nil || d.Log == nil || d.Log.Changed == "" {
		t.Errorf("%s is told as %+v, %v", id, d, err)
	}
}

// A list tells which of its decisions were changed, and what the others say.
func TestListTellsWhatWasChanged(t *testing.T) {
	t.Parallel()
	onBothSigned(t, func(t *testing.T, s *audit.Store, _ *clock) {
		filled(t, s)
		rewrite(t, s, "0199-000003", func(body string) string {
			return strings.Replace(body, `"verdict":"deny"`, `"verdict":"pass"`, 1)
		})

		page, err := s.List(t.Context(), audit.Filter{}, 100, "")
		if err != nil || len(page.Decisions) != 20 {
			t.Fatalf("%d decisions, %v", len(page.Decisions), err)
		}
		all := page.Decisions
		for d, err := range s.Decisions(t.Context(), audit.Filter{}) {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, d)
		}
		for r, err := range s.Records(t.Context(), audit.Filter{}) {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, r.Decision)
		}
		if len(all) != 60 {
			t.Errorf("%d decisions in three lists of 20", len(all))
		}
		for _, d := range all {
			changed := d.Log != nil && d.Log.Changed != ""
			if changed != (d.ID == "0199-000003") || changed && d.Verdict == attestor.Pass {
				t.Errorf("%s is told as %+v", d.ID, d)
			}
		}
	})
}

// Whoever rewrites the database as a whole, log and head included, or puts an earlier
// state in its place, is shown by a checkpoint that was kept outside of it.
func TestRewrittenLogIsFoundByAKeptCheckpoint(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, says string
		records    int
	}{
		{"rolled back", "put back to an earlier state", 3},
		{"forked", "log was rewritten", 25},
		{"as long as before", "log was rewritten", 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			onBothSigned(t, func(t *testing.T, s *audit.Store, _ *clock) {
				for n := range 20 {
					finish(t, s, record(n, attestor.Pass))
				}
				kept := checkpoint(t, s)

				// The other database has a history of its own, by the same key.
				onBothSigned(t, func(t *testing.T, other *audit.Store, _ *clock) {
					for n := range tt.records {
						finish(t, other, record(n, attestor.Deny))
					}
					if _, faults := verified(t, other); len(faults) != 0 {
						t.Fatalf("without the kept checkpoint: %v", faults)
					}
					_, faults := verified(t, other, kept)
					if len(faults) != 1 || !strings.Contains(faults[0].Problem, tt.says) {
						t.Errorf("%v, want one that says %q", faults, tt.says)
					}
				})

				// A checkpoint by another key says nothing, and that is said.
				_, faults := verified(t, s, []byte(strings.Replace(string(kept), logOrigin, "other.example/log", 1)))
				if len(faults) != 1 || !strings.Contains(faults[0].Problem, "cannot be relied on") {
					t.Errorf("%v", faults)
				}
			})
		})
	}
}

func TestProofOfADecision(t *testing.T) {
	t.Parallel()
	onBothSigned(t, func(t *testing.T, s *audit.Store, c *clock) {
		r := record(1, attestor.Deny)
		entry, err := s.Finish(t.Context(), r)
		if err != nil || entry.Origin != logOrigin || entry.Proof == "" {
			t.Fatalf("%+v, %v", entry, err)
		}
		finish(t, s, record(2, attestor.Pass))
		proof, err := s.Prove(t.Context(), r.Decision.ID)
		if err != nil {
			t.Fatal(err)
		}

		// The answer as the service sends it, and as a person keeps it.
		stored, err := s.Record(t.Context(), r.Decision.ID)
		if err != nil {
			t.Fatal(err)
		}
		stored.Decision.Log = entry
		answer, err := json.Marshal(stored.Decision)
		if err != nil {
			t.Fatal(err)
		}
		indented, err := json.MarshalIndent(stored.Decision, "", "  ")
		if err != nil {
			t.Fatal(err)
		}

		v := logVerifier(t)
		for name, tt := range map[string]struct {
			proof, content []byte
			ok             bool
		}{
			"alone":                     {proof, nil, true},
			"with the answer":           {proof, answer, true},
			"with the answer, indented": {proof, indented, true},
			"the answer's own":          {[]byte(entry.Proof), answer, true},
			"another verdict":           {proof, []byte(strings.Replace(string(answer), `"verdict":"deny"`, `"verdict":"pass"`, 1)), false},
			"another verdict, by the answer's own": {[]byte(entry.Proof),
				[]byte(strings.Replace(string(answer), `"verdict":"deny"`, `"verdict":"pass"`, 1)), false},
			"a member more": {proof, []byte(strings.Replace(string(answer), `"log":`, `"more":1,"log":`, 1)), false},
			"not JSON":      {proof, []byte("x"), false},
			"another index": {[]byte(strings.Replace(string(proof), fmt.Sprintf("index %d", entry.Index), "index 0", 1)), nil, false},
			"no proof":      {[]byte("x"), nil, false},
		} {
			p, err := audit.CheckProof(tt.proof, tt.content, v)
			if (err == nil) != tt.ok {
				t.Errorf("%s: %v", name, err)
			}
			if tt.ok && (p.Entry.ID != r.Decision.ID || p.Index != entry.Index || !p.Entry.Time.Equal(r.Decision.Time)) {
				t.Errorf("%s: %+v", name, p)
			}
		}
		if _, err := audit.CheckProof(proof, nil, strings.Replace(v, "gate", "xate", 1)); err == nil {
			t.Error("the proof verifies by another log's key")
		}

		// The proof outlives the content.
		c.set(day.AddDate(1, 0, 0))
		if _, err := s.Prune(t.Context(), day.AddDate(0, 1, 0)); err != nil {
			t.Fatal(err)
		}
		bare, err := s.Prove(t.Context(), r.Decision.ID)
		if err != nil {
			t.Fatal(err)
		}
		p, err := audit.CheckProof(bare, nil, v)
		if err != nil || p.Decision != nil || p.Entry.ID != r.Decision.ID {
			t.Errorf("after a prune: %+v, %v", p, err)
		}
		if strings.Contains(string(bare), "CVE-2026-1234") {
			t.Error("the proof tells what was pruned")
		}
		if _, err := s.Prove(t.Context(), "none"); attestor.KindOf(err) != attestor.NotFound {
			t.Errorf("no such decision: %v", err)
		}
	})
}

// A key that is away holds up nothing: the decision is recorded, and its proof follows.
func TestDecisionsGoOnWhileNothingIsSigned(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, plain *audit.Store, _ *clock) {
		if _, err := plain.Prove(t.Context(), "x"); attestor.KindOf(err) != attestor.Unsupported {
			t.Errorf("without a key: %v", err)
		}
	})

	away := true
	c := clockAt(day)
	l := signedLog(time.Minute)
	key := l.Key
	l.Key = func(ctx context.Context) (translog.Key, error) {
		if away {
			return translog.Key{}, errors.New("the key is away")
		}
		return key(ctx)
	}
	s := open(t, audit.Config{SQLite: filepath.Join(t.TempDir(), "r.db"), Now: c.now, Log: l})
	entry, err := s.Finish(t.Context(), record(1, attestor.Pass))
	if err != nil || entry.Proof != "" || entry.Origin != logOrigin {
		t.Fatalf("%+v, %v", entry, err)
	}
	if _, err := s.Prove(t.Context(), "0199-000001"); attestor.KindOf(err) != attestor.Unavailable {
		t.Errorf("%v", err)
	}
	if state, ok := s.LogState(); !ok || !state.Failed {
		t.Errorf("%+v, %v", state, ok)
	}

	away = false
	if _, err := s.Prove(t.Context(), "0199-000001"); err != nil {
		t.Error(err)
	}
	if state, _ := s.LogState(); state.Failed || state.Signed != 2 {
		t.Errorf("%+v", state)
	}
}

// Nothing is signed that does not continue what is kept outside: not while that cannot
// be read, and not in a database that was put back.
func TestNothingIsSignedBesideWhatIsKept(t *testing.T) {
	t.Parallel()
	onBothSigned(t, func(t *testing.T, s *audit.Store, c *clock) {
		filled(t, s)
		kept := checkpoint(t, s)

		unreadable := true
		l := signedLog(0)
		bucket, at := keptOutside(t)
		l.Kept = at
		bucket.Fail(func(r *http.Request) int {
			switch {
			case r.Method != http.MethodGet:
				t.Error("a second history was kept")
			case unreadable:
				return http.StatusServiceUnavailable
			}
			return 0
		})
		bucket.Set(logOrigin+"/checkpoint", kept)
		behind := open(t, audit.Config{SQLite: filepath.Join(t.TempDir(), "restored.db"), Now: c.now, Log: l})
		finish(t, behind, record(1, attestor.Pass)) // decisions go on
		for range 2 {
			if _, err := behind.Prove(t.Context(), "0199-000001"); attestor.KindOf(err) != attestor.Unavailable {
				t.Errorf("unreadable %v: %v", unreadable, err)
			}
			unreadable = false
		}
	})
}

// A gate that runs while its database is put back says so at once, and not when there are as many entries again.
func TestTheLogIsPutBackUnderARunningGate(t *testing.T) {
	t.Parallel()
	onBothSigned(t, func(t *testing.T, s *audit.Store, c *clock) {
		keep := func() (err error) {
			ctx, stop := context.WithCancel(t.Context())
			s.KeepLog(ctx, func(e error) { err = e; stop() })
			return err
		}
		finish(t, s, record(1, attestor.Pass))
		var size int64
		var peaks string
		if err := s.Reader().QueryRowContext(t.Context(), "SELECT size, peaks FROM log_head").Scan(&size, &peaks); err != nil {
			t.Fatal(err)
		}
		finish(t, s, record(2, attestor.Pass), record(3, attestor.Deny))
		if err := keep(); err != nil {
			t.Fatal(err)
		}

		if _, err := s.Writer().ExecContext(t.Context(), "UPDATE log_head SET size = $1, peaks = $2", size, peaks); err != nil {
			t.Fatal(err)
		}
		if err := keep(); err == nil || !strings.Contains(err.Error(), "does not continue the checkpoint") {
			t.Errorf("a log that was put back is kept with %v", err)
		}
		c.set(c.now().Add(time.Minute))
		if state, _ := s.LogState(); !state.Failed || state.Behind < time.Minute {
			t.Errorf("%+v, want that it failed a minute ago", state)
		}
	})
}
