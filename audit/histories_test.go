package audit_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/policy"
	"github.com/attestor-gate/attestor/server/watch"
)

// errKilled is what a step returns at which the process is killed.
var errKilled = errors.New("killed")

// A fate is what must be true of one image: the model that histories are held to.
type fate struct {
	passes   bool                  // a pass is its last ground
	passed   int                   // when that was begun, in the order of what was
	override map[string]*time.Time // open ones, and when each ends
	denies   bool                  // what it is judged as now
}

// A past is a random history of a few images, on a real record.
type past struct {
	t      *testing.T
	random *rand.Rand
	clock  *clock
	config audit.Config
	store  *audit.Store

	attested map[attestor.Digest]bool // what stands in Container Analysis
	fates    map[int]*fate
	n        atomic.Int64             // of ids
	begun    map[string]begunOverride // by id; what a kill left, and nobody has recovered yet
	order    int                      // of what was begun
	kill     string                   // the step at which the process is killed; "": none
	said     []string
}

const pastImages = 4

// TestRandomHistories: whatever happens in whatever order, overrides end, what
// passes keeps its attestations, and every admitted image is looked at.
// GATE_HISTORY_SEED=N repeats one.
func TestRandomHistories(t *testing.T) {
	steps, rounds := 60, 6
	if os.Getenv("GATE_TEST_ALL") == "1" {
		steps, rounds = 300, 40
	}
	seed, _ := strconv.ParseUint(os.Getenv("GATE_HISTORY_SEED"), 10, 64)
	if seed == 0 {
		seed = rand.Uint64() //nolint:gosec // which history
	}
	t.Logf("GATE_HISTORY_SEED=%d", seed)

	onBothConfigs(t, func(t *testing.T, config func(t *testing.T) audit.Config) {
		for round := range rounds {
			p := &past{
				t: t, random: rand.New(rand.NewPCG(seed, uint64(round))), //nolint:gosec // the same
				clock: clockAt(day), config: config(t), attested: map[attestor.Digest]bool{}, fates: map[int]*fate{},
				begun: map[string]begunOverride{},
			}
			for n := range pastImages {
				p.fates[n] = &fate{override: map[string]*time.Time{}}
			}
			p.config.Now = p.clock.now
			p.reopen()
			for range steps {
				p.step()
				if t.Failed() {
					t.Fatalf("round %d, history:\n%s", round, p.said)
				}
			}
			if err := p.store.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestKilledAtEachStep ends an override, and revokes an image, and is killed once
// at each step of that.
func TestKilledAtEachStep(t *testing.T) {
	onBothConfigs(t, func(t *testing.T, config func(t *testing.T) audit.Config) {
		for _, step := range []string{"begun", "deleted"} {
			for _, what := range []string{"expire", "revoke"} {
				p := &past{
					t: t, random: rand.New(rand.NewPCG(1, 1)), clock: clockAt(day), config: config(t), //nolint:gosec // nothing is random here
					attested: map[attestor.Digest]bool{}, fates: map[int]*fate{0: {override: map[string]*time.Time{}}},
				}
				p.config.Now = p.clock.now
				p.reopen()
				p.override(0, time.Hour)
				p.clock.set(p.clock.now().Add(2 * time.Hour))

				p.kill = step
				if what == "expire" {
					if e, err := p.watcher().Expire(t.Context(), p.request()); err != nil || e.Failed != 1 {
						t.Errorf("%s, killed when %s: %+v, %v", what, step, e, err)
					}
				} else if _, err := p.revoker().Revoke(t.Context(), attestor.Revocation{Image: p.image(0), Reason: "found to be wrong"}); err == nil {
					t.Errorf("%s, killed when %s: no error", what, step)
				}
				p.kill = ""
				p.reopen()
				p.recover()
				p.expire()

				// One revocation, whatever came by since.
				if n, err := p.store.Count(t.Context(), "revocations"); err != nil || n != 1 {
					t.Errorf("%s, killed when %s: %d revocations, %v", what, step, n, err)
				}
				if admitted, err := p.store.AdmittedWith(t.Context(), p.image(0)); err != nil || len(admitted) != 0 {
					t.Errorf("%s, killed when %s: still admitted: %+v, %v", what, step, admitted, err)
				}
				if err := p.store.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

func (p *past) say(format string, args ...any) {
	p.said = append(p.said, p.clock.now().Format("Jan 2 15:04 ")+fmt.Sprintf(format, args...)+"\n")
}

// reopen is another process on the same record.
func (p *past) reopen() {
	if p.store != nil {
		if err := p.store.Close(); err != nil {
			p.t.Fatal(err)
		}
	}
	s, err := audit.Open(p.t.Context(), p.config)
	if err != nil {
		p.t.Fatal(err)
	}
	p.store = s
}

func (p *past) image(n int) attestor.Image {
	img, err := attestor.ParseImage("us-docker.pkg.dev/acme/prod/api@" + string(digest(n)))
	if err != nil {
		p.t.Fatal(err)
	}
	return img
}

func (p *past) id() string {
	return fmt.Sprintf("h-%06d", p.n.Add(1))
}

func (p *past) step() {
	n := p.random.IntN(pastImages)
	f := p.fates[n]
	switch p.random.IntN(15) {
	case 0, 1:
		f.denies = false
		p.pass(n, "")
	case 2:
		p.pass(n, []string{"begun", "attested"}[p.random.IntN(2)])
	case 3, 4:
		p.override(n, time.Duration(1+p.random.IntN(48))*time.Hour)
	case 5:
		f.denies = true
		p.record(n, attestor.Deny, nil)
		p.say("deny %d", n)
	case 6:
		p.revoke(n)
	case 7:
		p.kill = []string{"begun", "deleted"}[p.random.IntN(2)]
		_, err := p.watcher().Expire(p.t.Context(), p.request())
		p.say("expire, killed when %s: %v", p.kill, err)
		p.kill = ""
		p.reopen()
		p.recover()
		p.expire()
	case 8:
		p.expire()
	case 9:
		p.rejudge()
	case 10:
		before := p.clock.now().Add(-time.Duration(p.random.IntN(72)) * time.Hour)
		if _, err := p.store.Prune(p.t.Context(), before); err != nil {
			p.t.Errorf("prune: %v", err)
		}
		p.say("prune before %v", before)
		p.reopen()
	case 11:
		jump := time.Duration(p.random.IntN(60)-20) * time.Hour
		p.clock.set(p.clock.now().Add(jump))
		p.say("the clock jumps by %v", jump)
	case 12:
		verdict := []attestor.Outcome{attestor.Pass, attestor.Deny, attestor.Undecided}[p.random.IntN(3)]
		p.record(n, verdict, func(r *attestor.Record) {
			r.Decision.DryRun, r.Decision.Attestations = true, []attestor.Attestation{}
		})
		p.say("a dry run of %d: %s", n, verdict)
	case 13:
		p.overrideKilled(n, time.Duration(1+p.random.IntN(48))*time.Hour, []string{"begun", "attested"}[p.random.IntN(2)])
	case 14:
		p.recover()
	}
	p.clock.set(p.clock.now().Add(time.Minute))
	p.check()
}

// record is a real decision on an image, finished.
func (p *past) record(n int, verdict attestor.Outcome, change func(*attestor.Record)) attestor.Record {
	r := record(n, verdict, func(r *attestor.Record) {
		r.Decision.ID, r.Decision.Time, r.Evidence.Time = p.id(), p.clock.now(), p.clock.now()
		if change != nil {
			change(r)
		}
	})
	if _, err := p.store.Finish(p.t.Context(), r); err != nil {
		p.t.Errorf("finishing: %v", err)
	}
	return r
}

// stored adds the attestation of a record's image.
func stored(r *attestor.Record) {
	r.Decision.Attestations = []attestor.Attestation{{
		Attestor: "projects/acme/attestors/gate", Note: "projects/acme/notes/gate", Occurrence: "projects/acme/occurrences/" + r.Decision.ID,
		Digest: r.Decision.Image.Digest, PublicKeyID: "key",
	}}
}

// attest is what the gate does once a verdict allows: begin, store, finish. killed
// is where it is killed.
func (p *past) attest(n int, killed string, change func(*attestor.Record)) (attestor.Record, error) {
	r := record(n, attestor.Pass, func(r *attestor.Record) {
		r.Decision.ID, r.Decision.Time, r.Evidence.Time = p.id(), p.clock.now(), p.clock.now()
		r.Decision.Attestations = nil
		change(r)
	})
	p.order++
	if err := p.store.Begin(p.t.Context(), r); err != nil || killed == "begun" {
		return r, err
	}
	p.attested[digest(n)] = true
	if killed == "attested" {
		return r, nil
	}
	stored(&r)
	_, err := p.store.Finish(p.t.Context(), r)
	return r, err
}

func (p *past) pass(n int, killed string) {
	order := p.order + 1
	r, err := p.attest(n, killed, func(*attestor.Record) {})
	p.say("pass of %d as %s, killed when %q: %v", n, r.Decision.ID, killed, err)
	if err != nil {
		p.t.Errorf("pass: %v", err)
		return
	}
	if killed != "" {
		p.reopen()
		p.recover()
		if killed == "begun" && !p.attested[digest(n)] {
			return // recovery found no attestation
		}
	}
	p.fates[n].passes, p.fates[n].passed, p.fates[n].override = true, order, map[string]*time.Time{}
}

func (p *past) override(n int, lasts time.Duration) {
	end := p.clock.now().Add(lasts)
	r, err := p.attest(n, "", func(r *attestor.Record) {
		r.Decision.Verdict = attestor.Deny
		r.Decision.BreakGlass = &attestor.BreakGlass{Reason: "INC-1 outage", By: "oncall@example", Expires: &end}
	})
	p.say("override of %d as %s until %v: %v", n, r.Decision.ID, end, err)
	if err != nil {
		p.t.Errorf("override: %v", err)
	}
	p.fates[n].passes = false
	p.fates[n].override[r.Decision.ID] = &end
}

func (p *past) revoke(n int) {
	_, err := p.revoker().Revoke(p.t.Context(), attestor.Revocation{Image: p.image(n), Reason: "found to be wrong"})
	p.say("revoke %d: %v", n, err)
	if err != nil {
		p.t.Errorf("revoke: %v", err)
	}
	p.fates[n].passes, p.fates[n].override = false, map[string]*time.Time{}
}

func (p *past) revoker() *attestor.Revoker {
	v, err := attestor.NewRevoker(attestor.RevokerConfig{
		Record: p.store, NewID: p.id, Now: p.clock.now,
		Remove: func(_ context.Context, r attestor.RevocationRecord) (attestor.Deleted, error) {
			if p.kill == "begun" {
				return attestor.Deleted{}, errKilled
			}
			if !slices.Contains(r.Kept, r.Image.Digest()) {
				delete(p.attested, r.Image.Digest())
			}
			if p.kill == "deleted" {
				return attestor.Deleted{}, errKilled
			}
			return attestor.Deleted{}, nil
		},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return v
}

func (p *past) request() watch.Request {
	return watch.Request{Caller: attestor.LocalCaller("scheduler"), RequestID: p.id()}
}

func (p *past) watcher() *watch.Watcher {
	w, err := watch.New(watch.Config{
		Admit: func(context.Context, attestor.Request) (attestor.Decision, error) {
			return attestor.Decision{}, errKilled
		},
		Policies: &policy.Set{}, Now: p.clock.now, History: p.store, Admissions: p.store, Overrides: p.store,
		Revoke: p.revoker().Revoke,
		Reconsider: func(ctx context.Context, r attestor.Request, keep func(attestor.Decision) (bool, error)) (attestor.Decision, error) {
			img, _ := r.Image.Pinned()
			for n, f := range p.fates {
				if p.image(n) != img {
					continue
				}
				verdict := map[bool]attestor.Outcome{true: attestor.Deny, false: attestor.Pass}[f.denies]
				rec := record(n, verdict, func(x *attestor.Record) {
					x.Decision.ID, x.Decision.Time, x.Decision.DryRun, x.Decision.Labels = p.id(), p.clock.now(), true, r.Labels
				})
				kept, err := keep(rec.Decision)
				if err == nil && kept {
					_, err = p.store.Finish(ctx, rec)
				}
				return rec.Decision, err
			}
			return attestor.Decision{}, errKilled
		},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return w
}

// recover is what the gate does when it starts.
func (p *past) recover() {
	revocations, err := collected(p.store.PendingRevocations(p.t.Context(), -1000*time.Hour))
	if err != nil {
		p.t.Fatal(err)
	}
	for _, r := range revocations {
		if _, err := p.revoker().Finish(p.t.Context(), r); err != nil {
			p.t.Fatal(err)
		}
	}

	pending, err := collected(p.store.Pending(p.t.Context(), -1000*time.Hour))
	if err != nil {
		p.t.Fatal(err)
	}
	for _, r := range pending {
		o, override := p.begun[r.Decision.ID]
		delete(p.begun, r.Decision.ID)
		switch f := p.fates[o.image]; {
		case !p.attested[r.Decision.Image.Digest]:
			r = interrupted(r)
		case !override || f.passes && f.passed > o.order: // a pass that was begun later is what counts
			stored(&r)
		default:
			stored(&r)
			f.passes, f.override[r.Decision.ID] = false, r.Decision.BreakGlass.Expires
		}
		if _, err := p.store.Finish(p.t.Context(), r); err != nil {
			p.t.Fatal(err)
		}
	}
	p.say("recovered")
}

func (p *past) expire() {
	e, err := p.watcher().Expire(p.t.Context(), p.request())
	p.say("expire: %+v, %v", e, err)
	if err != nil || e.Failed != 0 || e.Waiting != 0 && len(p.begun) == 0 || e.Left {
		p.t.Errorf("expire: %+v, %v", e, err)
	}

	now := p.clock.now()
	for n, f := range p.fates {
		over, inForce := false, false
		for id, end := range f.override {
			switch {
			case now.Before(*end):
				inForce = true
			case p.waits(n) && p.attested[digest(n)]: // what was begun may have reused what this one had stored
			default:
				over = true
				delete(f.override, id)
			}
		}
		// "Every open override past its end has no valid attestation after the next
		// expire."
		if over && !f.passes && !inForce && p.attested[digest(n)] {
			p.t.Errorf("the override of image %d has ended, and its attestation stands", n)
		}
	}
}

func (p *past) rejudge() {
	r, err := p.watcher().Rejudge(p.t.Context(), p.request())
	p.say("rejudge: %+v, %v", r, err)
	if err != nil || r.Left != 0 || r.Failed != 0 {
		p.t.Errorf("rejudge: %+v, %v", r, err)
		return
	}
	p.expire() // the run has ended overrides

	// "Every admitted digest is looked at within the period": by each whole run.
	for n := range p.fates {
		admitted, err := p.store.AdmittedWith(p.t.Context(), p.image(n))
		if err != nil {
			p.t.Fatal(err)
		}
		for _, a := range admitted {
			if a.Tried.Before(r.Started) {
				p.t.Errorf("the run of %v left image %d, last judged at %v", r.Started, n, a.Tried)
			}
		}
	}
}

// check holds the record to what must always be true.
func (p *past) check() {
	for _, n := range slices.Sorted(maps.Keys(p.fates)) {
		f := p.fates[n]
		admitted, err := p.store.AdmittedWith(p.t.Context(), p.image(n))
		if err != nil {
			p.t.Fatal(err)
		}

		// "No attestation of a passing digest is revoked."
		if f.passes && !p.attested[digest(n)] {
			p.t.Errorf("image %d passes, and its attestation was revoked", n)
		}
		if f.passes && (len(admitted) != 1 || admitted[0].BreakGlass) {
			p.t.Errorf("image %d passes, and is admitted as %+v", n, admitted)
		}
		open, err := p.store.OpenOverrides(p.t.Context(), p.image(n))
		if err != nil {
			p.t.Fatal(err)
		}
		if f.passes && len(open) != 0 {
			p.t.Errorf("image %d passes, and overrides are open: %+v", n, open)
		}
		if !f.passes && len(f.override) > 0 && (len(admitted) != 1 || !admitted[0].BreakGlass) {
			p.t.Errorf("image %d is overridden, and is admitted as %+v", n, admitted)
		}
		for _, a := range admitted {
			if _, err := p.store.Record(p.t.Context(), a.Decision); err != nil {
				p.t.Errorf("the decision that admitted image %d is gone: %v", n, err)
			}
		}
	}
}
