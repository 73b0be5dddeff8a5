package attestor_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
)

// judged is the verdict of a policy whose mode is given, over an image with
// passing answers for its one platform.
func judged(t *testing.T, mode attestor.Mode, change func(*attestor.Evidence, *attestor.AttestNeeds)) attestor.Verdict {
	t.Helper()
	ev := attestor.Evidence{
		Image:     reference(t, repository+":v7").At(digest(1)),
		Platforms: []attestor.PlatformEvidence{{Child: attestor.Child{Platform: "linux/amd64", Digest: digest(1)}}},
	}

	p := enforcing()
	p.ref.Mode = mode
	if change != nil {
		change(&ev, &p.needs.Attest)
	}

	return attestor.NewVerdict(ev, p.ref, p.needs.Attest, questions(), answers("linux/amd64"))
}

// Only a policy that enforces gives a right to attest, in both ways to one: the
// other modes, the zero one and an unknown one included, give none.
func TestOnlyAnEnforcingPolicyGivesARight(t *testing.T) {
	for mode, want := range map[attestor.Mode]bool{attestor.Enforce: true, attestor.DryRun: false, "": false, "Enforce": false} {
		v := judged(t, mode, nil)
		if v.Outcome() != attestor.Pass {
			t.Fatalf("mode %q: the verdict is %s, so that this would prove nothing", mode, v.Outcome())
		}

		grant, err := attestor.GrantBreakGlass(attestor.LocalCaller("me"), v.Image(), "INC-1: checkout is down",
			attestor.BreakGlassPolicy{Allowed: true}, time.Time{})

		if err != nil {
			t.Fatal(err)
		}

		for way, authorize := range map[string]func() (attestor.Authorization, error){
			"a pass":      func() (attestor.Authorization, error) { return attestor.Authorize("id", v) },
			"break-glass": func() (attestor.Authorization, error) { return attestor.AuthorizeBreakGlass("id", v, grant) },
		} {
			a, err := authorize()
			if (err == nil) != want || (len(a.Images()) > 0) != want || a.IsBreakGlass() != (want && way == "break-glass") {
				t.Errorf("%s under mode %q: %d images, break-glass %t, %v", way, mode, len(a.Images()), a.IsBreakGlass(), err)
			}
		}
	}
}

// A right names the decision, the image, the digests and the attestors that
// it is for; where one of them is missing there is none.
func TestARightIsWholeOrNone(t *testing.T) {
	index := func(ev *attestor.Evidence, needs *attestor.AttestNeeds) {
		ev.Index, needs.Children = true, true
		ev.Platforms[0].Digest = digest(2)
	}
	for name, tt := range map[string]struct {
		decision string
		change   func(*attestor.Evidence, *attestor.AttestNeeds)
		want     []attestor.Digest // nil: no right
	}{
		"an image":    {"id", nil, []attestor.Digest{digest(1)}},
		"an index":    {"id", index, []attestor.Digest{digest(2), digest(1)}},
		"no decision": {"", nil, nil},
		"no image": {"id", func(ev *attestor.Evidence, needs *attestor.AttestNeeds) {
			index(ev, needs)
			ev.Image = attestor.Image{}
			ev.Left = []attestor.Child{{Platform: "linux/arm64", Digest: digest(3)}} // so that its own digest is no subject
		}, nil},
		"no digest of a child": {"id", func(ev *attestor.Evidence, needs *attestor.AttestNeeds) {
			index(ev, needs)
			ev.Platforms[0].Digest = ""
		}, nil},
		"no subject": {"id", func(ev *attestor.Evidence, needs *attestor.AttestNeeds) {
			index(ev, needs)
			needs.Children = false
			ev.Left = []attestor.Child{{Platform: "linux/arm64", Digest: digest(3)}}
		}, nil},
		"no attestor": {"id", func(_ *attestor.Evidence, needs *attestor.AttestNeeds) { needs.Attestors = nil }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			v := judged(t, attestor.Enforce, tt.change)
			if v.Outcome() != attestor.Pass {
				t.Fatalf("the verdict is %s, so that this would prove nothing", v.Outcome())
			}

			a, err := attestor.Authorize(tt.decision, v)

			var got []attestor.Digest
			for _, img := range a.Images() {
				got = append(got, img.Digest())
			}

			if (err == nil) != (tt.want != nil) || !slices.Equal(got, tt.want) {
				t.Fatalf("a right to %v, %v; want %v", got, err, tt.want)
			}
			if tt.want == nil {
				return
			}

			if a.Decision() != "id" || a.Image() != v.Image() || !slices.Equal(a.Attestors(), []string{"projects/p/attestors/a"}) {
				t.Errorf("decision %q, image %s, attestors %v", a.Decision(), a.Image(), a.Attestors())
			}
		})
	}
}

// What did not pass gives a right by break-glass only.
func TestOnlyAPassGivesARightByItself(t *testing.T) {
	for status, want := range map[attestor.Status]attestor.Outcome{attestor.StatusDeny: attestor.Deny, attestor.StatusError: attestor.Undecided} {
		p := enforcing()
		ev := attestor.Evidence{
			Image:     reference(t, repository+":v7").At(digest(1)),
			Platforms: []attestor.PlatformEvidence{{Child: attestor.Child{Platform: "linux/amd64", Digest: digest(1)}}},
		}

		checks := answers("linux/amd64")
		checks[1].Status = status
		v := attestor.NewVerdict(ev, p.ref, p.needs.Attest, questions(), checks)
		grant, err := attestor.GrantBreakGlass(attestor.LocalCaller("me"), v.Image(), "INC-1: checkout is down",
			attestor.BreakGlassPolicy{Allowed: true}, time.Time{})

		if err != nil {
			t.Fatal(err)
		}

		a, err := attestor.Authorize("id", v)
		if v.Outcome() != want || err == nil || len(a.Images()) != 0 {
			t.Errorf("%s gives a right to %v, %v", v.Outcome(), a.Images(), err)
		}
		if a, err := attestor.AuthorizeBreakGlass("id", v, grant); err != nil || len(a.Images()) != 1 || !a.IsBreakGlass() {
			t.Errorf("break-glass gives a right to %v, %v", a.Images(), err)
		}
	}
}

func TestARightSaysWhetherDSSEIsWanted(t *testing.T) {
	for _, want := range []bool{false, true} {
		note := map[bool]string{true: "projects/p/notes/dsse"}[want]
		a, err := attestor.Authorize("id", judged(t, attestor.Enforce, func(_ *attestor.Evidence, needs *attestor.AttestNeeds) {
			needs.DSSE, needs.DSSENote = want, note
		}))
		if dsse, got := a.DSSE(); err != nil || dsse != want || got != note {
			t.Errorf("DSSE %t under %q, %v; want %t under %q", dsse, got, err, want, note)
		}
	}
}

// Each demand of an override refuses by itself, at its very limit.
func TestOverridesAreRefusedByEachDemand(t *testing.T) {
	ticket := func(s string) bool { return strings.HasPrefix(s, "INC-") }
	checker := attestor.LocalCaller("me")
	checker.Grants = []attestor.Grant{{Actions: []attestor.Action{attestor.ActionAttest, attestor.ActionCheck}, Images: checker.Grants[0].Images}}
	allowed := attestor.BreakGlassPolicy{Allowed: true, Ticket: ticket, Hint: "INC-1234"}
	img := reference(t, repository+":v7").At(digest(1))

	for _, tt := range []struct {
		name   string
		caller attestor.Caller
		reason string
		policy attestor.BreakGlassPolicy
		kind   attestor.Kind // of the refusal
		says   string        // in it; "": granted
	}{
		{"granted", attestor.LocalCaller("me"), "INC-1: checkout is down", allowed, 0, ""},
		{"ten characters", attestor.LocalCaller("me"), "INC-123456", allowed, 0, ""},
		{"nine characters", attestor.LocalCaller("me"), "INC-12345", allowed, attestor.Invalid, "at least 10"},
		{"nine characters and spaces", attestor.LocalCaller("me"), "  INC-12345  ", allowed, attestor.Invalid, "at least 10"},
		{"no reason", attestor.LocalCaller("me"), "", allowed, attestor.Invalid, "at least 10"},
		{"a thousand characters", attestor.LocalCaller("me"), "INC-" + strings.Repeat("x", 996), allowed, 0, ""},
		{"a thousand characters and spaces", attestor.LocalCaller("me"), " INC-" + strings.Repeat("x", 996) + " ", allowed, 0, ""},
		{"a character more", attestor.LocalCaller("me"), "INC-" + strings.Repeat("x", 997), allowed, attestor.Invalid, "more than 1000"},
		{"ten characters of several bytes", attestor.LocalCaller("me"), "INC-" + strings.Repeat("é", 6), allowed, 0, ""},
		{"nine characters of several bytes", attestor.LocalCaller("me"), "INC-" + strings.Repeat("日", 5), allowed, attestor.Invalid, "at least 10"},
		{"a thousand characters of several bytes", attestor.LocalCaller("me"), "INC-" + strings.Repeat("é", 996), allowed, 0, ""},
		{"no ticket", attestor.LocalCaller("me"), "checkout is down", allowed, attestor.Invalid, "INC-1234"},
		{"no ticket, and none is asked for", attestor.LocalCaller("me"), "checkout is down", attestor.BreakGlassPolicy{Allowed: true}, 0, ""},
		{"not allowed by the policy", attestor.LocalCaller("me"), "INC-1: checkout is down",
			attestor.BreakGlassPolicy{Ticket: ticket}, attestor.Forbidden, "does not allow"},
		{"not allowed for the caller", checker, "INC-1: checkout is down", allowed, attestor.Forbidden, "identity"},
		{"a caller who is nobody", attestor.Caller{}, "INC-1: checkout is down", allowed, attestor.Forbidden, "identity"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g, err := attestor.GrantBreakGlass(tt.caller, img, tt.reason, tt.policy, time.Time{})
			for _, err := range []error{err, attestor.CheckBreakGlass(tt.caller, repository, tt.reason, tt.policy)} {
				if (err == nil) != (tt.says == "") || err != nil && (attestor.KindOf(err) != tt.kind || !strings.Contains(attestor.Message(err), tt.says)) {
					t.Errorf("%v, want kind %v and %q", err, tt.kind, tt.says)
				}
			}
			if granted := g.Record().Reason != ""; granted != (tt.says == "") || granted && g.Record().Reason != strings.TrimSpace(tt.reason) {
				t.Errorf("the record is %+v", g.Record())
			}
		})
	}

	if g, err := attestor.GrantBreakGlass(attestor.LocalCaller("me"), attestor.Image{}, "INC-1: checkout is down",
		allowed, time.Time{}); attestor.KindOf(err) != attestor.Invalid || g.Record().By != "" {
		t.Errorf("an override of no image: %+v, %v", g.Record(), err)
	}
}

// An override ends at the policy's time after now, or not by itself.
func TestOverridesEnd(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.FixedZone("", 3600))
	img := reference(t, repository+":v7").At(digest(1))

	for expires, want := range map[time.Duration]string{0: "", -time.Hour: "",
		time.Nanosecond: "2026-11-22T09:00:00.000000001Z", time.Hour: "2026-11-22T10:00:00Z"} {
		g, err := attestor.GrantBreakGlass(attestor.LocalCaller("me"), img, "INC-1: checkout is down",
			attestor.BreakGlassPolicy{Allowed: true, Expires: expires}, now)

		if err != nil {
			t.Fatal(err)
		}

		got := ""
		if g.Record().Expires != nil {
			got = g.Record().Expires.Format(time.RFC3339Nano)
		}
		if got != want {
			t.Errorf("allowed for %s: ends %q, want %q", expires, got, want)
		}
	}
}

// The attestors of overrides are theirs: a pass never signs as them, and an
// override signs as the others only if the policy names no attestors of its own
// for overrides.
func TestAttestorsOfOverridesAreTheirs(t *testing.T) {
	usual, glass := []string{"projects/p/attestors/a"}, []string{"projects/p/attestors/glass"}
	for name, tt := range map[string]struct{ own, byOverride []string }{
		"its own": {glass, glass}, "the usual": {nil, usual},
	} {
		v := judged(t, attestor.Enforce, func(_ *attestor.Evidence, needs *attestor.AttestNeeds) { needs.BreakGlass = tt.own })
		grant, err := attestor.GrantBreakGlass(attestor.LocalCaller("me"), v.Image(), "INC-1: checkout is down",
			attestor.BreakGlassPolicy{Allowed: true}, time.Time{})

		if err != nil {
			t.Fatal(err)
		}

		pass, err := attestor.Authorize("id", v)
		override, err2 := attestor.AuthorizeBreakGlass("id", v, grant)
		if err != nil || err2 != nil || !slices.Equal(pass.Attestors(), usual) || !slices.Equal(override.Attestors(), tt.byOverride) {
			t.Errorf("%s: a pass signs as %v, an override as %v, %v, %v", name, pass.Attestors(), override.Attestors(), err, err2)
		}
	}
}
