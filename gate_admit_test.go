package attestor_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
)

func TestZeroValuesDeny(t *testing.T) {
	if got := (attestor.Verdict{}).Outcome(); got != attestor.Deny {
		t.Errorf("the zero Verdict is %s", got)
	}

	var o attestor.Outcome
	if b, _ := o.MarshalText(); string(b) != "deny" {
		t.Errorf("the zero Outcome is written as %s", b)
	}
	if a := (attestor.Decision{}).Answer(); a.HTTPStatus != 422 || a.ExitCode != attestor.ExitDeny {
		t.Errorf("the zero Decision answers %+v", a)
	}

	ev := attestor.Evidence{Platforms: []attestor.PlatformEvidence{{Child: attestor.Child{Platform: "linux/amd64"}}}}
	if got := attestor.NewVerdict(ev, attestor.PolicyRef{}, attestor.AttestNeeds{}, questions(), nil).Outcome(); got != attestor.Deny {
		t.Errorf("no checks at all: %s", got)
	}
	if got := attestor.NewVerdict(attestor.Evidence{}, attestor.PolicyRef{}, attestor.AttestNeeds{}, questions(),
		[]attestor.Check{{Name: "user", Status: attestor.StatusPass}}).Outcome(); got != attestor.Deny {
		t.Errorf("no platform: %s", got)
	}
	if attestor.Ceiling("").Allows(attestor.Minimal) || attestor.Ceiling("").Allows("") {
		t.Error("the zero Ceiling allows something")
	}
	if attestor.Level("").Satisfies("") || attestor.Level("").Satisfies(attestor.Attested) || attestor.LayersExact.Satisfies("") {
		t.Error("a zero Level satisfies or is satisfied")
	}
	if (attestor.Caller{}).May(attestor.ActionAttest, repository) || (attestor.Caller{Grants: []attestor.Grant{{}}}).May(attestor.ActionAttest, repository) {
		t.Error("the zero Caller may attest")
	}
	if _, err := attestor.Authorize("id", attestor.Verdict{}); err == nil {
		t.Error("the zero Verdict was authorized")
	}
	if got := (attestor.Authorization{}); len(got.Images()) != 0 || len(got.Attestors()) != 0 {
		t.Error("the zero Authorization permits something")
	}
	if attestor.KindOf(errors.New("x")) != attestor.Internal || attestor.Message(errors.New("secret")) != "internal error" {
		t.Error("an unclassified error is shown")
	}
}

func TestOneDenyOutweighsAnErrorOutweighsAPass(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status map[string]attestor.Status
		want   attestor.Outcome
	}{
		{"all pass", nil, attestor.Pass},
		{"one error", map[string]attestor.Status{"user": attestor.StatusError}, attestor.Undecided},
		{"error and deny", map[string]attestor.Status{"user": attestor.StatusError, "base": attestor.StatusDeny}, attestor.Deny},
		{"an unknown status", map[string]attestor.Status{"user": "fine"}, attestor.Undecided},
		{"an empty status", map[string]attestor.Status{"user": ""}, attestor.Undecided},
		{"a warning", map[string]attestor.Status{"user": attestor.StatusWarn}, attestor.Pass},
		{"all skipped", map[string]attestor.Status{"user": attestor.StatusSkipped, "base": attestor.StatusSkipped,
			"vulnerabilities": attestor.StatusSkipped}, attestor.Deny},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStages(t)
			s.policy.status = tt.status
			d, err := admit(t, s, nil)
			if err != nil {
				t.Fatal(err)
			}

			if d.Verdict != tt.want {
				t.Errorf("got %s, want %s: %+v", d.Verdict, tt.want, d.Checks)
			}
			if signed := s.called("attest") > 0; signed != (tt.want == attestor.Pass) {
				t.Errorf("signed: %v", signed)
			}
		})
	}
}

func TestNothingIsFetchedForWhoeverMayNotAsk(t *testing.T) {
	t.Run("no policy governs", func(t *testing.T) {
		s := newStages(t)
		s.policy = nil
		d, err := admit(t, s, nil)
		if err != nil {
			t.Fatal(err)
		}

		if d.Verdict != attestor.Deny || d.Policy != nil || d.Checks[0].Reasons[0].Code != attestor.CodeNoPolicy {
			t.Errorf("got %+v", d)
		}
		if len(s.calls) != 1 || s.calls[0] != "finish" {
			t.Errorf("calls were made: %v", s.calls)
		}
	})
	for name, change := range map[string]func(*attestor.Request){
		"no rights":              func(r *attestor.Request) { r.Caller = attestor.Caller{} },
		"check only":             func(r *attestor.Request) { r.Caller.Grants[0].Actions = []attestor.Action{attestor.ActionCheck} },
		"policy without dry run": func(r *attestor.Request) { r.Policy = "production" },
		"glass and dry run":      func(r *attestor.Request) { r.DryRun, r.BreakGlass = true, "because it is urgent" },
		"glass without the right": func(r *attestor.Request) {
			r.BreakGlass = "because it is urgent"
			r.Caller.Grants[0].Actions = []attestor.Action{attestor.ActionAttest}
		},
		"glass not allowed": func(r *attestor.Request) { r.BreakGlass = "because it is urgent" },
		"no image":          func(r *attestor.Request) { r.Image = attestor.Reference{} },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStages(t)
			if _, err := admit(t, s, change); err == nil {
				t.Error("the request was answered")
			}
			if len(s.calls) != 0 {
				t.Errorf("calls were made: %v", s.calls)
			}
		})
	}
}

func TestDryRunsSignNothing(t *testing.T) {
	t.Run("by request", func(t *testing.T) {
		s := newStages(t)
		d, err := admit(t, s, func(r *attestor.Request) { r.DryRun = true })
		if err != nil || !d.DryRun || d.Verdict != attestor.Pass || s.called("attest")+s.called("begin") != 0 {
			t.Errorf("got %+v, %v, calls %v", d, err, s.calls)
		}
	})

	t.Run("by policy", func(t *testing.T) {
		s := newStages(t)
		s.policy.ref.Mode = attestor.DryRun
		d, err := admit(t, s, nil)
		if err != nil || !d.DryRun || s.called("attest") != 0 {
			t.Errorf("got %+v, %v", d, err)
		}
	})

	t.Run("a policy without a mode", func(t *testing.T) {
		s := newStages(t)
		s.policy.ref.Mode = ""
		d, err := admit(t, s, nil)
		if err != nil || !d.DryRun || s.called("attest") != 0 {
			t.Errorf("got %+v, %v", d, err)
		}
	})
}

func TestASignatureThatWasNotStoredIsNoSuccess(t *testing.T) {
	s := newStages(t)
	s.attest = &attestor.Error{Kind: attestor.Upstream, Code: attestor.CodeAttestationNotStored, Msg: "not stored"}
	d, err := admit(t, s, nil)
	if err != nil {
		t.Fatal(err)
	}

	if d.Verdict != attestor.Undecided || d.Answer().HTTPStatus != 502 || d.Answer().ExitCode != attestor.ExitError {
		t.Errorf("got %s, %+v", d.Verdict, d.Answer())
	}
}

// What attests may have a defect: where it reports success and returns less than was authorized, nothing passes.
func TestNothingPassesByAttestsWordAlone(t *testing.T) {
	type made = []attestor.Attestation
	edited := func(edit func(*attestor.Attestation)) func(made) made {
		return func(list made) made { edit(&list[0]); return list }
	}
	for name, returns := range map[string]func(made) made{
		"nothing":             func(made) made { return nil },
		"a nil error alone":   func(made) made { return made{} },
		"one image less":      func(list made) made { return list[1:] },
		"an image twice":      func(list made) made { list[0] = list[1]; return list },
		"of another digest":   edited(func(a *attestor.Attestation) { a.Digest = digest(99) }),
		"by another attestor": edited(func(a *attestor.Attestation) { a.Attestor = "another" }),
	} {
		t.Run(name, func(t *testing.T) {
			s := newStages(t)
			s.resolved.Index = true
			s.resolved.Children = []attestor.Child{
				{Platform: "linux/amd64", Digest: digest(2)}, {Platform: "linux/arm64", Digest: digest(3)},
			}
			s.returns = returns
			d, err := admit(t, s, nil)
			if err != nil || d.Verdict != attestor.Undecided || d.Answer().ExitCode != attestor.ExitError {
				t.Errorf("got %s, %+v, %v", d.Verdict, d.Answer(), err)
			}
		})
	}
}

func TestAnUnrecordedDecisionIsNoAnswer(t *testing.T) {
	for name, change := range map[string]func(*stages){
		"before attesting": func(s *stages) { s.begin = errors.New("disk full") },
		"after attesting":  func(s *stages) { s.finish = errors.New("disk full") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStages(t)
			change(s)
			d, err := admit(t, s, nil)
			if attestor.KindOf(err) != attestor.Unavailable || d.Verdict == attestor.Pass {
				t.Errorf("got %+v, %v", d, err)
			}
			if s.begin != nil && (s.called("attest") != 0 || s.called("finish") != 0) {
				t.Error("attested without a record")
			}
			if strings.Contains(attestor.Message(err), "disk full") {
				t.Error("the private cause is shown")
			}
		})
	}
}

func TestARecordSaysWhyItWaits(t *testing.T) {
	s := newStages(t)
	s.begin = &attestor.Error{Kind: attestor.Unavailable, Msg: "attestations are just being deleted", After: time.Second}
	if _, err := admit(t, s, nil); attestor.KindOf(err) != attestor.Unavailable ||
		attestor.Message(err) != "attestations are just being deleted" || s.called("attest") != 0 || s.called("finish") != 0 {
		t.Errorf("got %v", err)
	}

	// What names no time says only that nothing is recorded.
	s = newStages(t)
	s.begin = &attestor.Error{Kind: attestor.Unavailable, Msg: "the disk is full"}
	if _, err := admit(t, s, nil); !strings.Contains(attestor.Message(err), "cannot be written") {
		t.Errorf("got %v", err)
	}
}

func TestTheCallerHangingUpDoesNotStopASignature(t *testing.T) {
	s := newStages(t)
	ctx, cancel := context.WithCancel(context.Background())
	s.during = cancel
	d, err := gate(t, s).Admit(ctx, attestor.Request{Image: reference(t, repository+":v7"), Caller: attestor.LocalCaller("me")})
	if err != nil || d.Verdict != attestor.Pass || len(s.records) != 1 {
		t.Errorf("got %+v, %v", d, err)
	}
}

func TestWhatIsNotTrustedIsReported(t *testing.T) {
	for _, dry := range []bool{false, true} {
		s := newStages(t)
		s.standing = attestor.Standing{Known: true, Invalid: []attestor.InvalidAttestation{{
			Attestation: attestor.Attestation{Note: "projects/p/notes/n", Occurrence: "projects/p/occurrences/o"}, Why: "its key is not one of the attestor's",
		}}}

		d, err := admit(t, s, func(r *attestor.Request) { r.DryRun = dry })
		if err != nil || d.Verdict != attestor.Pass {
			t.Fatalf("%+v, %v", d, err)
		}

		var found bool
		for _, c := range d.Checks {
			for _, r := range c.Reasons {
				found = found || c.Name == attestor.CheckAttest && r.Code == attestor.CodeAttestationForeign && r.Subject == "projects/p/occurrences/o"
			}
		}

		if !found || len(d.Attestations) > 1 {
			t.Errorf("dry run %t: checks %+v", dry, d.Checks)
		}
	}
}

// What stood when a request began may have been revoked while it waited.
func TestStandingIsLookedUpAgainAfterAWait(t *testing.T) {
	for wait, want := range map[time.Duration]bool{time.Second: true, time.Minute: false} {
		s := newStages(t)
		s.standing, s.scan = attestor.Standing{Known: true}, wait
		d, err := admit(t, s, nil)
		if err != nil || d.Verdict != attestor.Pass {
			t.Fatalf("%s, %v", d.Verdict, err)
		}
		if s.known.Known != want {
			t.Errorf("after %s Attest was told what stands: %t, want %t", wait, s.known.Known, want)
		}
	}
}

// The answer says where in the log the decision stands; the record gets that with
// its last write, so that the answer is the only one to know it at once.
func TestTheAnswerHasItsLogEntry(t *testing.T) {
	s := newStages(t)
	s.entry = &attestor.LogEntry{Index: 7, Origin: "log.example"}
	d, err := admit(t, s, nil)
	if err != nil {
		t.Fatal(err)
	}

	if d.Log == nil || *d.Log != *s.entry {
		t.Errorf("log entry %+v, want %+v", d.Log, s.entry)
	}
}

// An image that is judged again signs nothing, and is recorded where the caller says
// so: an error of whom it asks is the answer's, and nothing is recorded by accident.
func TestReconsider(t *testing.T) {
	broken := errors.New("the history cannot be read")
	for name, tt := range map[string]struct {
		keep    bool
		err     error
		records int
	}{
		"kept": {true, nil, 1}, "not kept": {false, nil, 0}, "not known": {true, broken, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStages(t)
			r := attestor.Request{Image: reference(t, repository+":v7"), Caller: attestor.LocalCaller("me"), DryRun: true}
			var asked []attestor.Outcome
			d, err := gate(t, s).Reconsider(context.Background(), r, func(d attestor.Decision) (bool, error) {
				asked = append(asked, d.Verdict)
				return tt.keep, tt.err
			})

			if !errors.Is(err, tt.err) || tt.err == nil && d.Verdict != attestor.Pass {
				t.Errorf("%s, %v", d.Verdict, err)
			}
			if len(asked) != 1 || asked[0] != attestor.Pass {
				t.Errorf("asked about %v", asked)
			}
			if len(s.records) != tt.records || s.called("attest") != 0 {
				t.Errorf("%d records, calls %v", len(s.records), s.calls)
			}
		})
	}

	t.Run("refused", func(t *testing.T) {
		s := newStages(t)
		always := func(attestor.Decision) (bool, error) { return true, nil }
		r := attestor.Request{Image: reference(t, repository+":v7"), Caller: attestor.LocalCaller("me")}
		if _, err := gate(t, s).Reconsider(context.Background(), r, always); err == nil {
			t.Error("a request that signs was judged again")
		}

		r.DryRun = true
		if _, err := gate(t, s).Reconsider(context.Background(), r, nil); err == nil {
			t.Error("judged again, and nobody says whether it is recorded")
		}
		if len(s.calls) != 0 {
			t.Errorf("calls were made: %v", s.calls)
		}
	})
}
