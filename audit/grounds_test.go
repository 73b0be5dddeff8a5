package audit_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// begin records what is about to be attested.
func begin(t *testing.T, s *audit.Store, r attestor.Record) {
	t.Helper()
	r.Decision.Attestations = []attestor.Attestation{}
	if err := s.Begin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

// called is a record under another id.
func called(id string, r attestor.Record) attestor.Record {
	r.Decision.ID = id
	return r
}

// interrupted is a record as recovery finishes it that finds no attestation.
func interrupted(r attestor.Record) attestor.Record {
	r.Decision.BreakGlass, r.Decision.Attestations = nil, []attestor.Attestation{}
	if r.Decision.Verdict == attestor.Pass {
		r.Decision.Verdict = attestor.Undecided
	}
	return r
}

// indexed makes a record that of an index with one child, both attested.
func indexed(child attestor.Digest) func(*attestor.Record) {
	return func(r *attestor.Record) {
		r.Evidence.Index, r.Evidence.Platforms[0].Digest = true, child
		r.Decision.Platforms[0].Digest = child
		stored(r)
		of := r.Decision.Attestations[0]
		of.Digest, of.Occurrence = child, of.Occurrence+"-child"
		r.Decision.Attestations = append(r.Decision.Attestations, of)
	}
}

// A begunOverride is an override that a kill left begun.
type begunOverride struct{ image, order int }

// overrideKilled begins an override, and the process is killed. Others go on before anybody recovers it, as instances on
// one PostgreSQL do.
func (p *past) overrideKilled(n int, lasts time.Duration, killed string) {
	end := p.clock.now().Add(lasts)
	r, err := p.attest(n, killed, func(r *attestor.Record) {
		r.Decision.Verdict = attestor.Deny
		r.Decision.BreakGlass = &attestor.BreakGlass{Reason: "INC-1 outage", By: "oncall@example", Expires: &end}
	})
	p.say("override of %d as %s until %v, killed when %s: %v", n, r.Decision.ID, end, killed, err)
	if err != nil {
		p.t.Errorf("override: %v", err)
	}
	p.begun[r.Decision.ID] = begunOverride{n, p.order}
	p.reopen()
}

// waits reports whether an override of an image is begun.
func (p *past) waits(n int) bool {
	for _, o := range p.begun {
		if o.image == n {
			return true
		}
	}
	return false
}

// TestGroundsInTheOrderTheyWereBegun: of a pass and an override, the one that was begun later is what admits an image,
// whichever is finished first: an override that a crash left begun may be finished after a later pass, whose
// attestations its end must not take away. Small letters begin the override or the pass, capitals finish them; x
// finishes the pass without attestations.
func TestGroundsInTheOrderTheyWereBegun(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, c *clock) {
		for n, tt := range []struct {
			steps  string
			passed bool
		}{
			{"oOpP", true}, {"opOP", true}, {"opPO", true},
			{"pPoO", false}, {"poPO", false}, {"poOP", false}, {"opxO", false}, {"oOpx", false}, {"opOx", false},
		} {
			over, pass := called(fmt.Sprintf("o-%d", n), granted(n)), called(fmt.Sprintf("p-%d", n), record(n, attestor.Pass, stored))
			c.set(over.Decision.Time)
			for _, step := range tt.steps {
				switch step {
				case 'o':
					begin(t, s, over)
				case 'p':
					begin(t, s, pass)
				case 'O':
					finish(t, s, over)
				case 'P':
					finish(t, s, pass)
				case 'x':
					finish(t, s, interrupted(pass))
				}
			}

			admitted, err := s.AdmittedWith(t.Context(), imageOf(t, over))
			if err != nil || len(admitted) != 1 || admitted[0].BreakGlass == tt.passed {
				t.Errorf("%s: admitted as %+v, %v", tt.steps, admitted, err)
			}
			o, err := s.Override(t.Context(), over.Decision.ID)
			if err != nil || (o.Closed == attestor.ClosedPassed) != tt.passed || tt.passed && o.ClosedBy != pass.Decision.ID {
				t.Errorf("%s: the override is %+v, %v", tt.steps, o, err)
			}

			// At its end: only what no pass followed ends, and nothing holds that up.
			c.set(over.Decision.Time.Add(2 * time.Hour))
			_, err = s.BeginRevocation(t.Context(), attestor.RevocationRecord{
				ID: fmt.Sprintf("r-%d", n), Time: c.now(), Kind: attestor.RevokedAtEnd, Image: o.Image, Override: o.Decision, Reason: "ended at its end",
			})
			if tt.passed && attestor.KindOf(err) != attestor.NotFound || !tt.passed && err != nil {
				t.Errorf("%s: its end: %v", tt.steps, err)
			}
			if left, err := s.Count(t.Context(), "override_passes"); err != nil || left != 0 {
				t.Errorf("%s: %d marks are left, %v", tt.steps, left, err)
			}
		}
	})
}

// TestAnOverrideThatWasNoneLeavesNoMark: what a pass noted of an override that came to nothing goes with a prune.
func TestAnOverrideThatWasNoneLeavesNoMark(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, c *clock) {
		over, pass := called("o", granted(1)), called("p", record(1, attestor.Pass, stored))
		begin(t, s, over)
		begin(t, s, pass)
		finish(t, s, pass)
		if left, err := s.Count(t.Context(), "override_passes"); err != nil || left != 1 {
			t.Errorf("%d marks, %v: recovery may still find the override's attestations", left, err)
		}
		finish(t, s, interrupted(over))
		if _, err := s.Prune(t.Context(), day.AddDate(-1, 0, 0)); err != nil {
			t.Fatal(err)
		}
		if left, err := s.Count(t.Context(), "override_passes"); err != nil || left != 0 {
			t.Errorf("%d marks are left, %v", left, err)
		}
	})
}

// TestNothingIsBegunOnWhatIsBeingDeleted: attestations that exist are reused. Those that a revocation deletes, or will
// delete when it is recovered after a crash, are not counted on.
func TestNothingIsBegunOnWhatIsBeingDeleted(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, c *clock) {
		child := digest(900)
		n := 0
		for _, kind := range []attestor.RevocationKind{attestor.RevokedByPerson, attestor.RevokedByJudgment, attestor.RevokedAtEnd} {
			n += 10
			admitted := record(n, attestor.Pass, indexed(child))
			if kind == attestor.RevokedAtEnd {
				admitted = granted(n)
				indexed(child)(&admitted)
			}
			c.set(admitted.Decision.Time)
			finish(t, s, admitted)
			c.set(admitted.Decision.Time.Add(2 * time.Hour))
			again := func(id string, r attestor.Record) attestor.Record {
				r.Decision.ID, r.Decision.Time, r.Decision.Attestations = fmt.Sprint(kind, id), c.now(), nil
				return r
			}
			over, pass := again("-o", granted(n)), again("-p", record(n, attestor.Pass))
			part := again("-c", record(900, attestor.Pass))

			begun, err := s.BeginRevocation(t.Context(), attestor.RevocationRecord{
				ID: string(kind), Time: c.now(), Kind: kind, Image: imageOf(t, admitted), Reason: "it is to go", Override: admitted.Decision.ID,
				Admitted: []string{admitted.Decision.ID}, Judgment: "j", Cause: attestor.CauseFinding,
			})
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			for name, r := range map[string]attestor.Record{"an override": over, "a pass": pass, "its child": part} {
				if err := s.Begin(t.Context(), r); attestor.KindOf(err) != attestor.Unavailable {
					t.Errorf("%s: %s is begun: %v", kind, name, err)
				}
			}

			// Others are not concerned, and neither is what attests nothing.
			if err := s.Begin(t.Context(), again("-other", record(n+1, attestor.Pass))); err != nil {
				t.Errorf("%s: another image: %v", kind, err)
			}
			finish(t, s, again("-denied", record(n, attestor.Deny)))

			if err := s.FinishRevocation(t.Context(), begun); err != nil {
				t.Fatal(err)
			}
			for name, r := range map[string]attestor.Record{"an override": over, "a pass": pass, "its child": part} {
				if err := s.Begin(t.Context(), r); err != nil {
					t.Errorf("%s: afterwards %s is not begun: %v", kind, name, err)
				}
				finish(t, s, interrupted(r))
			}
		}
	})
}

// TestARevocationWaitsForWhatWasBegun: what is just being attested may have reused the attestations. A person's word
// waits for nobody.
func TestARevocationWaitsForWhatWasBegun(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, c *clock) {
		for n, tt := range []struct {
			name  string
			kind  attestor.RevocationKind
			begun attestor.Record
			later time.Duration // after it was begun
			ends  func(attestor.Record) attestor.Record
			waits bool
		}{
			{"a judgement, while a pass is begun", attestor.RevokedByJudgment, record(0, attestor.Pass, stored), time.Minute, nil, true},
			{"a judgement, while an override is begun", attestor.RevokedByJudgment, granted(0), time.Minute, nil, true},
			{"a judgement, after the pass came to nothing", attestor.RevokedByJudgment, record(0, attestor.Pass, stored), time.Minute, interrupted, false},
			{"a judgement, long after a crash", attestor.RevokedByJudgment, record(0, attestor.Pass, stored), 2 * time.Hour, nil, false},
			{"an end, while another override is begun", attestor.RevokedAtEnd, granted(0), time.Minute, nil, true},
			{"an end, after that came to nothing", attestor.RevokedAtEnd, granted(0), time.Minute, interrupted, false},
			{"an end, long after a crash", attestor.RevokedAtEnd, granted(0), 2 * time.Hour, nil, false},
			{"a person", attestor.RevokedByPerson, granted(0), time.Minute, nil, false},
		} {
			of := 10 * (n + 1)
			admitted := record(of, attestor.Pass, stored)
			if tt.kind == attestor.RevokedAtEnd {
				admitted = granted(of)
			}
			c.set(admitted.Decision.Time)
			finish(t, s, admitted)

			c.set(admitted.Decision.Time.Add(2 * time.Hour))
			next := record(of, tt.begun.Decision.Verdict, stored, func(r *attestor.Record) {
				r.Decision.ID, r.Decision.Time, r.Decision.BreakGlass = fmt.Sprint("next-", n), c.now(), tt.begun.Decision.BreakGlass
			})
			begin(t, s, next)
			if tt.ends != nil {
				finish(t, s, tt.ends(next))
			}
			c.set(c.now().Add(tt.later))

			begun, err := s.BeginRevocation(t.Context(), attestor.RevocationRecord{
				ID: fmt.Sprint("r-", n), Time: c.now(), Kind: tt.kind, Image: imageOf(t, admitted), Reason: "it is to go", Override: admitted.Decision.ID,
				Admitted: []string{admitted.Decision.ID}, Judgment: "j", Cause: attestor.CauseFinding,
			})
			if tt.waits != (attestor.KindOf(err) == attestor.NotFound) || !tt.waits && err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			if !tt.waits && begun.ID == "" {
				t.Errorf("%s: no record of it", tt.name)
			}
		}
	})
}

// TestAJudgementKeepsWhatStandsByItself: an index that is refused takes its children's attestations with it, but for a
// child that has a ground of its own and was not found to be refused.
func TestAJudgementKeepsWhatStandsByItself(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, c *clock) {
		for n, tt := range []struct {
			name  string
			other func(child int) *attestor.Record
			found attestor.Outcome // by the last look at the other; "": there was none
			kept  bool
		}{
			{name: "nothing else"},
			{name: "a pass of its own", other: func(n int) *attestor.Record { return new(record(n, attestor.Pass, stored)) }, kept: true},
			{name: "another index", other: func(n int) *attestor.Record { return new(record(n+5, attestor.Pass, indexed(digest(n)))) }, kept: true},
			{name: "its own, and refused since", other: func(n int) *attestor.Record { return new(record(n, attestor.Pass, stored)) }, found: attestor.Deny},
			{name: "an override of its own", other: func(n int) *attestor.Record { return new(granted(n)) }, kept: true},
			{name: "a denial", other: func(n int) *attestor.Record { return new(record(n, attestor.Deny)) }},
		} {
			of := 100 * (n + 1)
			index := record(of, attestor.Pass, indexed(digest(of+1)))
			finish(t, s, index)
			if tt.other != nil {
				finish(t, s, *tt.other(of + 1))
			}
			c.set(index.Decision.Time.Add(10 * time.Minute))
			if tt.found != "" {
				img, err := attestor.ParseImage("us-docker.pkg.dev/acme/prod/api@" + string(digest(of+1)))
				if err != nil {
					t.Fatal(err)
				}
				admitted, err := s.AdmittedWith(t.Context(), img)
				if err != nil {
					t.Fatal(err)
				}
				for _, a := range admitted {
					if a.Image == img {
						look := attestor.Rejudgement{
							Admission: a, Time: c.now(), Answered: true, Verdict: tt.found, Cause: attestor.CauseFinding, Decision: "look",
						}
						if err := s.Looked(t.Context(), attestor.Run{}, []attestor.Rejudgement{look}); err != nil {
							t.Fatal(err)
						}
					}
				}
			}

			got, err := s.BeginRevocation(t.Context(), attestor.RevocationRecord{
				ID: fmt.Sprint("r-", n), Time: c.now(), Kind: attestor.RevokedByJudgment, Image: imageOf(t, index), Reason: "found after its admission",
				Admitted: []string{index.Decision.ID}, Judgment: "j", Cause: attestor.CauseFinding,
			})
			var want []attestor.Digest
			if tt.kept {
				want = []attestor.Digest{digest(of + 1)}
			}
			if err != nil || !slices.Equal(got.Kept, want) {
				t.Errorf("%s: kept %v, %v, want %v", tt.name, got.Kept, err, want)
			}
		}
	})
}

// TestAnEndSeesThePassThatItWaitedFor: in PostgreSQL, the end of an override waits for a pass that is just being begun,
// and then finds it.
func TestAnEndSeesThePassThatItWaitedFor(t *testing.T) {
	c := clockAt(day)
	s := open(t, audit.Config{PostgreSQL: shared.database(t), Now: c.now})
	over := granted(1)
	finish(t, s, over)
	c.set(day.Add(2 * time.Hour))

	// What Begin does, up to its commit.
	tx, err := s.Writer().BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	for _, text := range []string{
		`UPDATE overrides SET revocation = revocation WHERE decision = $1`,
		`INSERT INTO override_passes (override, decision) VALUES ($1, 'pass')`,
	} {
		if _, err := tx.ExecContext(t.Context(), text, over.Decision.ID); err != nil {
			t.Fatal(err)
		}
	}

	ended := make(chan error, 1)
	go func() {
		_, err := s.BeginRevocation(t.Context(), attestor.RevocationRecord{
			ID: "r", Time: c.now(), Kind: attestor.RevokedAtEnd, Image: imageOf(t, over), Override: over.Decision.ID, Reason: "ended at its end",
		})
		ended <- err
	}()
	for waiting := 0; waiting == 0; {
		if waiting, err = s.Count(t.Context(), `pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-ended:
			t.Fatalf("the end did not wait: %v", err)
		default:
		}
	}

	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; attestor.KindOf(err) != attestor.NotFound {
		t.Errorf("the end deletes what a pass has just reused: %v", err)
	}
}
