package audit_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/testkit/postgres"
)

var _ attestor.Recorder = (*audit.Store)(nil)

var day = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// A clock is a time that tests set.
type clock struct{ at atomic.Int64 }

func clockAt(t time.Time) *clock {
	c := &clock{}
	c.set(t)
	return c
}
func (c *clock) now() time.Time  { return time.UnixMicro(c.at.Load()).UTC() }
func (c *clock) set(t time.Time) { c.at.Store(t.UnixMicro()) }

// onBoth runs one test on a store of each engine.
func onBoth(t *testing.T, f func(t *testing.T, s *audit.Store, c *clock)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		c := clockAt(day)
		f(t, openSQLite(t, migratedFile(t), c), c)
	})

	t.Run("postgresql", func(t *testing.T) {
		c := clockAt(day)
		f(t, open(t, audit.Config{PostgreSQL: shared.database(t), Now: c.now}), c)
	})
}

func open(t testing.TB, c audit.Config) *audit.Store {
	t.Helper()

	// A loaded machine is slow, and that is no fault of the store: tests of time limits set their own.
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Minute
	}
	s, err := audit.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func openSQLite(t testing.TB, path string, c *clock) *audit.Store {
	t.Helper()
	return open(t, audit.Config{SQLite: path, Now: c.now})
}

// server is one PostgreSQL for the package's tests, each with its own database.
type server struct {
	mu       sync.Mutex
	pg       *postgres.Server // guarded by mu
	n        int              // guarded by mu
	migrated string           // guarded by mu: a database that others are copied from; "": there is none yet
	file     []byte           // guarded by mu: of SQLite, the same
}

var shared server

func digest(n int) attestor.Digest { return attestor.Digest(fmt.Sprintf("sha256:%064x", n)) }

// record is a decision on the n-th image, at its own minute.
func record(n int, verdict attestor.Outcome, change ...func(*attestor.Record)) attestor.Record {
	const repo = "us-docker.pkg.dev/acme/prod/api"
	at := day.Add(time.Duration(n) * time.Minute)
	img, err := attestor.ParseImage(repo + "@" + string(digest(n)))
	if err != nil {
		panic(err)
	}

	uid := int64(65532)
	user := attestor.User{Configured: "65532:65532", UID: &uid, GID: &uid, Source: attestor.UserFromConfig}
	child := attestor.Child{Platform: "linux/amd64", Digest: img.Digest()}
	findings := []attestor.Vulnerability{{ID: "CVE-2026-1234", Severity: attestor.High, Package: "openssl",
		Version: "3.0.11", FixedVersion: "3.0.15", Fixable: true}}
	scan := attestor.Scan{State: attestor.ScanComplete, Finished: &day, Findings: findings}
	check := attestor.Check{Name: attestor.CheckVulnerabilities, Platform: "linux/amd64", Status: attestor.StatusPass, Reasons: []attestor.Reason{}}
	if verdict != attestor.Pass {
		check.Status = attestor.Status(verdict)
		check.Reasons = []attestor.Reason{{
			Code: attestor.CodeFixableSeverityExceeded, Severity: attestor.Refuses, Subject: "CVE-2026-1234",
			Message: "HIGH in openssl 3.0.11, limit for fixable is MEDIUM", Fix: "update openssl to 3.0.15",
		}}
	}

	text := []byte("apiVersion: attestor/v1\nkind: GatePolicy\n")
	r := attestor.Record{
		Decision: attestor.Decision{
			ID: fmt.Sprintf("0199-%06d", n), Time: at, DurationMS: 84,
			Image: attestor.DecidedImage{Requested: repo + ":v7", Reference: img.String(), Digest: img.Digest(),
				MediaType: "application/vnd.oci.image.manifest.v1+json"},
			Verdict: verdict,
			Policy:  &attestor.PolicyRef{Name: "production", Digest: digest(1 << 20), Mode: attestor.Enforce},
			Platforms: []attestor.PlatformSummary{{Child: child, User: user, Scan: attestor.ScanSummary{
				State: scan.State, Finished: scan.Finished, Counts: scan.Counts(), Fixable: 1}}},
			Checks: []attestor.Check{check}, Attestations: []attestor.Attestation{},
			Caller: attestor.CallerRef{Subject: "build@acme.iam.gserviceaccount.com", Issuer: "https://accounts.google.com"},
		},
		Evidence: attestor.Evidence{
			Time: at, Image: img, Requested: repo + ":v7", MediaType: "application/vnd.oci.image.manifest.v1+json",
			Platforms: []attestor.PlatformEvidence{{Child: child, User: user, Scan: scan}},
		},
		PolicyText: text,
	}

	for _, f := range change {
		f(&r)
	}
	return r
}

func finish(t testing.TB, s *audit.Store, rs ...attestor.Record) {
	t.Helper()
	for _, r := range rs {
		if _, err := s.Finish(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
}

// want is r as it comes back: with the hash of its evidence.
func want(t testing.TB, r attestor.Record) attestor.Record {
	t.Helper()
	hash, err := audit.EvidenceHash(r.Evidence)
	if err != nil {
		t.Fatal(err)
	}
	r.Decision.Evidence = hash
	return r
}

var compareImages = cmp.Comparer(func(a, b attestor.Image) bool { return a == b })

func TestFinishKeepsEverything(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, _ *clock) {
		r := record(1, attestor.Deny)
		finish(t, s, r)
		got, err := s.Record(t.Context(), r.Decision.ID)
		if err != nil {
			t.Fatal(err)
		}

		if d := cmp.Diff(want(t, r), got, compareImages); d != "" {
			t.Errorf("the record came back changed (-want +got):\n%s", d)
		}
	})
}

func TestRecordsOutliveTheProgram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a dir?#%20", "record.db")
	c := clockAt(day)
	s, err := audit.Open(t.Context(), audit.Config{SQLite: path, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}

	finish(t, s, record(1, attestor.Pass))
	// Not closed: what a crash leaves behind is what a second program finds.
	other := openSQLite(t, path, c)
	if _, err := other.Record(t.Context(), record(1, attestor.Pass).Decision.ID); err != nil {
		t.Errorf("the record is not durable: %v", err)
	}

	if err := s.Close(); err != nil {
		t.Error(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}

	if info.Mode().Perm() != 0o600 {
		t.Errorf("the file is open to others: %v", info.Mode())
	}
}

func TestBeginThenFinish(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, c *clock) {
		ctx := t.Context()
		begun := record(1, attestor.Pass)
		if err := s.Begin(ctx, begun); err != nil {
			t.Fatal(err)
		}

		c.set(begun.Decision.Time.Add(5 * time.Minute))
		if _, err := s.Record(ctx, begun.Decision.ID); attestor.KindOf(err) != attestor.NotFound {
			t.Errorf("a decision that was only begun is answered: %v", err)
		}
		for _, tt := range []struct {
			olderThan time.Duration
			want      int
		}{{time.Minute, 1}, {time.Hour, 0}} {
			got, err := collected(s.Pending(ctx, tt.olderThan))
			if err != nil || len(got) != tt.want {
				t.Fatalf("Pending(%v) = %d records, %v; want %d", tt.olderThan, len(got), err, tt.want)
			}
			if tt.want == 1 {
				if d := cmp.Diff(want(t, begun), got[0], compareImages); d != "" {
					t.Errorf("what was begun came back changed (-want +got):\n%s", d)
				}
			}
		}

		done := record(1, attestor.Pass, func(r *attestor.Record) {
			r.Decision.Attestations = []attestor.Attestation{{Attestor: "projects/p/attestors/a", Digest: digest(1), Created: true}}
		})
		finish(t, s, done)
		got, err := s.Record(ctx, begun.Decision.ID)
		if err != nil {
			t.Fatal(err)
		}

		if len(got.Decision.Attestations) != 1 {
			t.Error("finishing did not replace what was begun")
		}
		if left, err := collected(s.Pending(ctx, 0)); err != nil || len(left) != 0 {
			t.Errorf("Pending after Finish = %d, %v", len(left), err)
		}
	})
}

// Whatever is different from what was begun, the record and its indexes have
// what was finished.
func TestFinishedOtherwiseThanBegun(t *testing.T) {
	attested := func(r *attestor.Record) {
		r.Decision.Attestations = []attestor.Attestation{{Attestor: "projects/p/attestors/a", Digest: digest(1), Created: true}}
	}
	for name, change := range map[string]func(*attestor.Record){
		"nothing": func(*attestor.Record) {},
		"verdict": func(r *attestor.Record) { r.Decision.Verdict = attestor.Undecided },
		"policy": func(r *attestor.Record) {
			r.Decision.Policy = &attestor.PolicyRef{Name: "other", Digest: digest(7), Mode: attestor.Enforce}
		},
		"override": func(r *attestor.Record) {
			r.Decision.BreakGlass = &attestor.BreakGlass{Reason: "INC-1 is on fire", By: "someone"}
		},
		"requested":   func(r *attestor.Record) { r.Decision.Image.Requested += "-2" },
		"findings":    func(r *attestor.Record) { r.Evidence.Platforms[0].Scan.Findings[0].ID = "CVE-2026-9" },
		"platform":    func(r *attestor.Record) { r.Evidence.Platforms[0].Digest = digest(9) },
		"policy text": func(r *attestor.Record) { r.PolicyText = []byte("another text") },
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, s *audit.Store, _ *clock) {
				if err := s.Begin(t.Context(), record(1, attestor.Pass)); err != nil {
					t.Fatal(err)
				}
				done := record(1, attestor.Pass, attested, change)
				finish(t, s, done)
				got, err := s.Record(t.Context(), done.Decision.ID)
				if err != nil {
					t.Fatal(err)
				}

				// What became of an override is told beside what was recorded.
				if open := got.Decision.OverrideState; (open != nil && open.Open) != (done.Decision.BreakGlass != nil) {
					t.Errorf("the override's state is %+v", open)
				}
				got.Decision.OverrideState = nil
				if d := cmp.Diff(want(t, done), got, compareImages); d != "" {
					t.Errorf("-want +got:\n%s", d)
				}
				for _, f := range []audit.Filter{
					{Verdict: done.Decision.Verdict}, {Policy: done.Decision.Policy.Name}, {Image: string(done.Evidence.Platforms[0].Digest)},
					{Image: done.Decision.Image.Requested}, {BreakGlass: done.Decision.BreakGlass != nil}, {Since: done.Decision.Time},
				} {
					if page, err := s.List(t.Context(), f, 10, ""); err != nil || len(page.Decisions) != 1 {
						t.Errorf("by %+v there are %d, %v", f, len(page.Decisions), err)
					}
				}

				if left, err := collected(s.Pending(t.Context(), 0)); err != nil || len(left) != 0 {
					t.Errorf("Pending after Finish = %d, %v", len(left), err)
				}
				if _, err := s.Finish(t.Context(), record(1, attestor.Deny, attested)); err == nil {
					t.Error("a finished decision was replaced")
				}
				finish(t, s, done) // a repeat is accepted
			})
		})
	}
}

func TestFinishedIsNeverChanged(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, _ *clock) {
		r := record(1, attestor.Deny)
		finish(t, s, r, r) // a repeat is accepted
		changed := record(1, attestor.Pass)
		if _, err := s.Finish(t.Context(), changed); err == nil {
			t.Error("a finished decision was replaced")
		}

		if err := s.Begin(t.Context(), changed); err == nil {
			t.Error("a finished decision was begun again")
		}
		got, err := s.Record(t.Context(), r.Decision.ID)
		if err != nil || got.Decision.Verdict != attestor.Deny {
			t.Errorf("the record is %q, %v; want the first answer", got.Decision.Verdict, err)
		}

		if _, err := s.Finish(t.Context(), attestor.Record{}); err == nil {
			t.Error("a decision without an id was recorded")
		}
	})
}

func TestContentIsStoredOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, _ *clock) {
		for i := range 10 {
			finish(t, s, record(1, attestor.Deny, func(r *attestor.Record) { r.Decision.ID = fmt.Sprint("repeat-", i) }))
		}
		n, err := s.Count(t.Context(), "blobs")
		if err != nil {
			t.Fatal(err)
		}

		if want := 3; n != want { // findings, the platform's evidence, the policy
			t.Errorf("ten decisions on one scan left %d blobs, want %d", n, want)
		}
	})
}

func TestHostileTextIsKept(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, _ *clock) {
		r := record(1, attestor.Deny, func(r *attestor.Record) {
			r.Decision.Image.Requested = "'; DROP TABLE decisions; -- \x00\xff"
			r.Decision.Policy.Name = "p\x00\xff"
			r.Decision.Labels = map[string]string{"\x00": strings.Repeat("é\xff", 100)}
		})

		finish(t, s, r)
		if _, err := s.Record(t.Context(), r.Decision.ID); err != nil {
			t.Error(err)
		}
		if _, err := s.Record(t.Context(), "x\x00\xff' OR 1=1"); attestor.KindOf(err) != attestor.NotFound {
			t.Errorf("a hostile id: %v", err)
		}
	})
}

func TestConcurrentWriters(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, _ *clock) {
		var wg sync.WaitGroup
		errs := make(chan error, 8*20)
		for g := range 8 {
			wg.Go(func() {
				for i := range 20 {
					r := record(1, attestor.Deny, func(r *attestor.Record) { r.Decision.ID = fmt.Sprintf("%d-%d", g, i) })
					errs <- s.Begin(context.Background(), r)
					_, err := s.Finish(context.Background(), r)
					errs <- err
				}
			})

			if g == 3 { // what is read meanwhile does not stand in the way
				wg.Go(func() {
					if _, err := s.List(context.Background(), audit.Filter{}, 10, ""); err != nil {
						t.Error(err)
					}
				})
			}
		}

		go func() { wg.Wait(); close(errs) }()
		for err := range errs {
			if err != nil {
				t.Error(err)
			}
		}

		if n, err := s.Count(t.Context(), "decisions"); err != nil || n != 160 {
			t.Errorf("%d decisions, %v; want 160", n, err)
		}
	})
}

func TestIntents(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, _ *clock) {
		ctx := t.Context()
		for _, put := range [][2]string{{"a", "1"}, {"b", "2"}, {"a", "3"}} {
			if err := s.PutIntent(ctx, put[0], []byte(put[1])); err != nil {
				t.Fatal(err)
			}
		}

		if err := s.DeleteIntent(ctx, "b"); err != nil {
			t.Fatal(err)
		}
		if err := s.DeleteIntent(ctx, "never there"); err != nil {
			t.Error(err)
		}

		if err := s.Ready(ctx); err != nil {
			t.Error(err)
		}
		got, err := s.Intents(ctx)
		if err != nil {
			t.Fatal(err)
		}

		if d := cmp.Diff(map[string][]byte{"a": []byte("3")}, got); d != "" {
			t.Error(d)
		}
	})
}

// What was recorded before reasons had a severity gets it when it is read, from code and status; evidence has none, and
// its hash stays what it was.
func TestOldRecordsAreReadWithSeverities(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, _ *clock) {
		old := record(1, attestor.Deny, func(r *attestor.Record) {
			r.Decision.Checks[0].Reasons = []attestor.Reason{
				{Code: attestor.CodeFixableSeverityExceeded, Message: "m"}, {Code: attestor.CodeShortestWay, Message: "m"},
			}
			r.Evidence.Problems = []attestor.Problem{{
				Check: attestor.CheckUser, Status: attestor.StatusDeny, Reason: attestor.Reason{Code: attestor.CodeUserInvalid, Message: "m"},
			}}
		})

		before := want(t, old)
		finish(t, s, old)

		got, err := s.Record(t.Context(), old.Decision.ID)
		if err != nil {
			t.Fatal(err)
		}
		reasons := got.Decision.Checks[0].Reasons
		if reasons[0].Severity != attestor.Refuses || reasons[1].Severity != attestor.Informs {
			t.Errorf("%+v", reasons)
		}

		hash, err := audit.EvidenceHash(got.Evidence)
		if err != nil || hash != before.Decision.Evidence || got.Decision.Evidence != hash {
			t.Errorf("the evidence's hash was %s and is %s, recorded as %s: %v", before.Decision.Evidence, hash, got.Decision.Evidence, err)
		}
	})
}
