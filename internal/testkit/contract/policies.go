package contract

import (
	"encoding/json"
	"sync"
	"testing"

	"github.com/attestor-gate/attestor"
)

// Policies is the suite of [attestor.Policies]. One policy governs the
// repository governed, and none governs the other.
func Policies(t *testing.T, p attestor.Policies, governed, ungoverned string) {
	got, ok := p.Govern(governed)
	if !ok || got == nil {
		t.Fatalf("nothing governs %s", governed)
	}
	ref := got.Ref()
	if ref.Name == "" {
		t.Errorf("the policy of %s has no name", governed)
	}

	named, ok := p.Named(ref.Name)
	if !ok || named == nil || named.Ref() != ref {
		t.Errorf("Named(%q) is not the policy that governs %s", ref.Name, governed)
	}

	// What is not found is nil, so that nobody judges by it by mistake.
	if got, ok := p.Govern(ungoverned); ok || got != nil {
		t.Errorf("%v governs %s (%t)", got, ungoverned, ok)
	}
	for _, name := range []string{"", "no-such-policy", ref.Name + " "} {
		if got, ok := p.Named(name); ok || got != nil {
			t.Errorf("Named(%q) is %v, %t", name, got, ok)
		}
	}

	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if again, ok := p.Govern(governed); !ok || again.Ref() != ref {
				t.Errorf("asked concurrently, another policy governs %s", governed)
			}
		})
	}
	wg.Wait()
}

// Policy is the suite of [attestor.Policy].
func Policy(t *testing.T, p attestor.Policy) {
	ref := p.Ref()
	if ref.Name == "" || (ref.Mode != attestor.Enforce && ref.Mode != attestor.DryRun) {
		t.Errorf("Ref is %+v: a policy has a name and a mode", ref)
	}
	if _, err := attestor.ParseDigest(string(ref.Digest)); err != nil {
		t.Errorf("Ref().Digest: %v", err)
	}

	if len(p.Text()) == 0 {
		t.Error("the policy has no text for the record")
	}
	needs, glass := asJSON(t, p.Needs().Attest), p.BreakGlass()
	again := p.BreakGlass()
	if p.Ref() != ref || asJSON(t, p.Needs().Attest) != needs || again.Allowed != glass.Allowed ||
		again.Expires != glass.Expires {
		t.Error("the policy says something else the second time")
	}

	whole := recordOf(t, 1).Evidence
	problem := func(status attestor.Status) attestor.Evidence {
		ev := recordOf(t, 1).Evidence
		ev.Problems = []attestor.Problem{{Check: attestor.CheckUser, Status: status,
			Reason: attestor.Reason{Code: attestor.CodeUserLookupFailed, Message: "the user could not be read"}}}
		return ev
	}

	for name, tt := range map[string]struct {
		ev      attestor.Evidence
		refused bool
	}{
		"nothing at all":            {attestor.Evidence{}, true},
		"an image without platform": {attestor.Evidence{Time: epoch, Image: imageOf(t, Repository, 1)}, true},
		"a problem that denies":     {problem(attestor.StatusDeny), true},
		"a problem that is unknown": {problem(attestor.StatusError), true},
		"an image":                  {whole, false},
	} {
		before := asJSON(t, tt.ev)
		v := p.Judge(tt.ev)
		if tt.refused && v.Outcome() == attestor.Pass {
			t.Errorf("%s passes", name)
		}

		if v.Policy() != ref {
			t.Errorf("%s: the verdict names the policy %+v, want %+v", name, v.Policy(), ref)
		}

		// No clock, no memory: the same evidence has the same verdict, and stays as
		// it was.
		again := p.Judge(tt.ev)
		if again.Outcome() != v.Outcome() || asJSON(t, again.Checks()) != asJSON(t, v.Checks()) {
			t.Errorf("%s is judged otherwise the second time", name)
		}

		if asJSON(t, tt.ev) != before {
			t.Errorf("%s: judging changed the evidence", name)
		}
	}

	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if p.Judge(attestor.Evidence{}).Outcome() == attestor.Pass {
				t.Error("judged concurrently, nothing at all passes")
			}
		})
	}
	wg.Wait()
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
