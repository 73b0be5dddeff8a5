package audit_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// manyDryRuns is more than the 500 decisions that earlier builds looked back.
const manyDryRuns = 501

// dryRuns records dry runs of an image, of every verdict. None is a ground for an attestation.
func (p *past) dryRuns(n int) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, 128) // the store commits side by side
	for i := range manyDryRuns {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			verdict := []attestor.Outcome{attestor.Pass, attestor.Deny, attestor.Undecided}[i%3]
			p.record(n, verdict, func(r *attestor.Record) {
				r.Decision.DryRun, r.Decision.Attestations = true, []attestor.Attestation{}
			})
		})
	}
	wg.Wait()
	p.clock.set(p.clock.now().Add(time.Minute))
}

// TestManyDryRunsHideNoPass: a later pass in its own right keeps the attestation of an override that ends, however many
// dry runs lie between them, or between the pass and the end. Without a later pass the attestation goes.
func TestManyDryRunsHideNoPass(t *testing.T) {
	onBothConfigs(t, func(t *testing.T, config func(t *testing.T) audit.Config) {
		p := &past{
			t: t, random: rand.New(rand.NewPCG(1, 1)), clock: clockAt(day), config: config(t), //nolint:gosec // nothing is random here
			attested: map[attestor.Digest]bool{}, fates: map[int]*fate{},
		}
		for n := range 3 {
			p.fates[n] = &fate{override: map[string]*time.Time{}}
		}
		p.config.Now = p.clock.now
		p.reopen()

		// Image 0 passes between many dry runs, image 1 never does, and image 2 passed only before its override.
		p.pass(2, "")
		for n := range 3 {
			p.override(n, time.Hour)
		}
		p.dryRuns(0)
		p.dryRuns(1)
		p.pass(0, "")
		p.dryRuns(0)
		passed, err := p.store.AdmittedWith(t.Context(), p.image(0))
		if err != nil || len(passed) != 1 || passed[0].BreakGlass {
			t.Fatalf("image 0 is admitted by %+v, %v", passed, err)
		}

		p.clock.set(p.clock.now().Add(2 * time.Hour))
		p.reopen()
		p.expire()
		for n, want := range []bool{true, false, false} {
			admitted, err := p.store.AdmittedWith(t.Context(), p.image(n))
			if err != nil || (len(admitted) == 1) != want || p.attested[digest(n)] != want {
				t.Errorf("image %d: attested: %t, admitted by %+v, %v; want an attestation: %t",
					n, p.attested[digest(n)], admitted, err, want)
			}
			open, err := p.store.OpenOverrides(t.Context(), p.image(n))
			if err != nil || len(open) != 0 {
				t.Errorf("image %d: overrides are open: %+v, %v", n, open, err)
			}
		}
		if n, err := p.store.Count(t.Context(), "revocations"); err != nil || n != 2 {
			t.Errorf("%d revocations, %v, want those of the images 1 and 2", n, err)
		}
		if err := p.store.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
