package attestor_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
)

// A caller who leaves while evidence is gathered gets no attestation: nobody
// waits for the answer, and the pipeline that gave up may have gone on without
// it. Nothing is begun, signed or recorded, even if all evidence is there.
func TestNothingIsSignedForACallerWhoHasLeft(t *testing.T) {
	for name, leaves := range map[string]bool{"stays": false, "leaves": true} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s := newStages(t)
			s.resolving = func(context.Context) error {
				if leaves {
					cancel()
				}
				return nil
			}

			d, err := gate(t, s).Admit(ctx, attestor.Request{Image: reference(t, repository+":v7"), Caller: attestor.LocalCaller("me")})

			if leaves {
				if attestor.KindOf(err) != attestor.Unavailable || d.ID != "" {
					t.Errorf("answered %+v, %v", d, err)
				}
				if n := s.called("begin") + s.called("attest") + s.called("finish"); n != 0 {
					t.Errorf("%d of begin, attest and finish were called: %v", n, s.calls)
				}
				return
			}
			if err != nil || d.Verdict != attestor.Pass || s.called("attest") != 1 {
				t.Errorf("answered %+v, %v", d, err)
			}
		})
	}
}

func TestAGateIsMadeWhole(t *testing.T) {
	s := newStages(t)
	whole := func() attestor.GateConfig {
		return attestor.GateConfig{
			Policies: s, Inspector: s, Scanner: s, Attester: s, Recorder: s,
			NewID: func() string { return "id" }, Now: time.Now, Deadline: 1, Settle: 1,
		}
	}

	if _, err := attestor.NewGate(whole()); err != nil {
		t.Fatal(err)
	}

	for name, leaveOut := range map[string]func(*attestor.GateConfig){
		"policies":          func(c *attestor.GateConfig) { c.Policies = nil },
		"inspector":         func(c *attestor.GateConfig) { c.Inspector = nil },
		"scanner":           func(c *attestor.GateConfig) { c.Scanner = nil },
		"attester":          func(c *attestor.GateConfig) { c.Attester = nil },
		"recorder":          func(c *attestor.GateConfig) { c.Recorder = nil },
		"ids":               func(c *attestor.GateConfig) { c.NewID = nil },
		"clock":             func(c *attestor.GateConfig) { c.Now = nil },
		"deadline":          func(c *attestor.GateConfig) { c.Deadline = 0 },
		"negative deadline": func(c *attestor.GateConfig) { c.Deadline = -1 },
		"settle":            func(c *attestor.GateConfig) { c.Settle = 0 },
		"negative settle":   func(c *attestor.GateConfig) { c.Settle = -1 },
	} {
		c := whole()
		leaveOut(&c)
		if g, err := attestor.NewGate(c); err == nil || g != nil {
			t.Errorf("a gate was made without %s", name)
		}
	}
}

// Each request is refused for one reason, of the kind that its client acts on,
// and answered without that reason.
func TestRequestsThatAreNotAnswered(t *testing.T) {
	only := func(a attestor.Action) func(*attestor.Request) {
		return func(r *attestor.Request) { r.Caller.Grants[0].Actions = []attestor.Action{a} }
	}

	both := func(changes ...func(*attestor.Request)) func(*attestor.Request) {
		return func(r *attestor.Request) {
			for _, c := range changes {
				c(r)
			}
		}
	}

	dry := func(r *attestor.Request) { r.DryRun = true }
	glass := func(r *attestor.Request) { r.BreakGlass = "INC-1: checkout is down" }
	named := func(name string) func(*attestor.Request) {
		return func(r *attestor.Request) { r.Policy = name }
	}

	platforms := func(r *attestor.Request) { r.Platforms = []string{"linux/amd64"} }

	for _, tt := range []struct {
		name   string
		change func(*attestor.Request)
		kind   attestor.Kind
		says   string // "": answered
	}{
		{"attest with the right to", only(attestor.ActionAttest), 0, ""},
		{"attest with the right to check", only(attestor.ActionCheck), attestor.Forbidden, "may not attest"},
		{"dry run with the right to check", both(only(attestor.ActionCheck), dry), 0, ""},
		{"dry run with the right to attest", both(only(attestor.ActionAttest), dry), attestor.Forbidden, "may not check"},
		{"dry run by a named policy", both(dry, named("production")), 0, ""},
		{"dry run by a policy that there is not", both(dry, named("staging")), attestor.NotFound, "no such policy"},
		{"a named policy", named("production"), attestor.Invalid, "dry run only"},
		{"dry run of one platform", both(dry, platforms), 0, ""},
		{"one platform", platforms, attestor.Invalid, "dry run only"},
		{"break-glass", glass, 0, ""},
		{"break-glass in a dry run", both(glass, dry), attestor.Invalid, "exclude each other"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStages(t)
			s.policy.glass = attestor.BreakGlassPolicy{Allowed: true}

			d, err := admit(t, s, tt.change)

			if tt.says == "" {
				if err != nil || d.Verdict != attestor.Pass {
					t.Errorf("%s, %v", d.Verdict, err)
				}
				return
			}
			if attestor.KindOf(err) != tt.kind || !strings.Contains(attestor.Message(err), tt.says) || len(s.calls) != 0 {
				t.Errorf("%v of kind %v, want %v and %q; calls %v", err, attestor.KindOf(err), tt.kind, tt.says, s.calls)
			}
		})
	}
}

// Break-glass for an image that no policy governs is answered as any request is.
func TestNoPolicyMeansNoBreakGlass(t *testing.T) {
	s := newStages(t)
	s.policy = nil
	d, err := admit(t, s, func(r *attestor.Request) { r.BreakGlass = "INC-1: checkout is down" })
	if err != nil || d.Verdict != attestor.Deny || d.BreakGlass != nil || d.Checks[0].Reasons[0].Code != attestor.CodeNoPolicy || s.called("attest") != 0 {
		t.Errorf("%+v, %v", d, err)
	}
}

// A policy that gives no right makes an error of its pass, and of its override:
// nobody is told of a pass without an attestation.
func TestAPassWithoutARightIsAnError(t *testing.T) {
	for name, tt := range map[string]struct {
		status attestor.Status
		glass  string
		change func(*stages)
	}{
		"a pass, and no attestor":      {attestor.StatusPass, "", func(s *stages) { s.policy.needs.Attest.Attestors = nil }},
		"an override, and no attestor": {attestor.StatusDeny, "INC-1: checkout is down", func(s *stages) { s.policy.needs.Attest.Attestors = nil }},
		"an override that is not allowed any more": {attestor.StatusDeny, "INC-1: checkout is down", func(s *stages) {
			s.resolving = func(context.Context) error {
				s.policy.glass.Allowed = false
				return nil
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStages(t)
			s.policy.glass.Allowed = true
			s.policy.status[attestor.CheckUser] = tt.status
			tt.change(s)
			d, err := admit(t, s, func(r *attestor.Request) { r.BreakGlass = tt.glass })
			if err == nil || d.ID != "" || s.called("attest")+s.called("begin")+s.called("finish") != 0 {
				t.Errorf("answered %+v, %v; calls %v", d, err, s.calls)
			}
			if forbidden := attestor.KindOf(err) == attestor.Forbidden; forbidden != strings.Contains(name, "not allowed") {
				t.Errorf("%v is of kind %v", err, attestor.KindOf(err))
			}
		})
	}
}

// What stood when a request began is believed for five seconds, and no longer.
func TestStandingIsBelievedForFiveSeconds(t *testing.T) {
	for wait, want := range map[time.Duration]bool{5 * time.Second: true, 5*time.Second + time.Microsecond: false} {
		s := newStages(t)
		s.standing, s.scan = attestor.Standing{Known: true}, wait
		if _, err := admit(t, s, nil); err != nil || s.known.Known != want {
			t.Errorf("after %s Attest was told what stands: %t, %v; want %t", wait, s.known.Known, err, want)
		}
	}
}

// A request that waits for a scan has that time on top of the gate's own.
func TestWaitingIsAddedToTheDeadline(t *testing.T) {
	for wait, least := range map[time.Duration]time.Duration{0: 0, time.Hour: 30 * time.Minute} {
		s := newStages(t)
		var left time.Duration
		s.resolving = func(ctx context.Context) error {
			deadline, _ := ctx.Deadline()
			left = time.Until(deadline)
			return ctx.Err()
		}

		d, err := admit(t, s, func(r *attestor.Request) { r.Wait = wait })
		if err != nil || d.Verdict != attestor.Pass || left < least || left > wait+time.Minute {
			t.Errorf("waiting %s: %s is left, verdict %s, %v", wait, left, d.Verdict, err)
		}
	}
}

// What is deployed of an index is said only where the index itself is not
// attested: one that was judged in part.
func TestWhatMayBeDeployed(t *testing.T) {
	for name, tt := range map[string]struct {
		index    bool
		left     []attestor.Child
		attested bool
		deploy   []string
	}{
		"an image": {false, nil, false, nil},
		"an index": {true, nil, true, nil},
		"an index that was judged in part": {true, []attestor.Child{{Platform: "linux/s390x", Digest: digest(3)}}, false,
			[]string{repository + "@" + string(digest(2))}},
	} {
		s := newStages(t)
		s.resolved.Index, s.resolved.Left = tt.index, tt.left
		if tt.index {
			s.resolved.Children[0].Digest = digest(2)
		}

		d, err := admit(t, s, nil)
		if err != nil || d.Verdict != attestor.Pass || d.IndexAttested != tt.attested || !slices.Equal(d.Deploy, tt.deploy) {
			t.Errorf("%s: %s, index attested %t, deploy %v, %v", name, d.Verdict, d.IndexAttested, d.Deploy, err)
		}
	}
}

// attestCheck is what a Decision says of attesting.
func attestCheck(t *testing.T, d attestor.Decision) attestor.Check {
	t.Helper()
	last := d.Checks[len(d.Checks)-1]
	if last.Name != attestor.CheckAttest {
		t.Fatalf("the last check is %+v", last)
	}

	return last
}

// An attestation that failed is told by the stage's own code, a time-out by its
// own, and anything else by the general one without its text. A denial stays a
// denial, and the list of attestations is a list.
func TestWhatIsSaidOfAnAttestationThatFailed(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		code attestor.Code
		says string
	}{
		"by its own code": {&attestor.Error{Kind: attestor.Upstream, Code: attestor.CodeKeyNotOfAttestor,
			Msg: "not its key"}, attestor.CodeKeyNotOfAttestor, "not its key"},
		"without a code":         {&attestor.Error{Kind: attestor.Upstream, Msg: "down"}, attestor.CodeAttestationNotStored, "down"},
		"out of time":            {fmt.Errorf("storing: %w", context.DeadlineExceeded), attestor.CodeTimedOut, "ran out"},
		"by a text that may not": {errors.New("secret"), attestor.CodeAttestationNotStored, "internal error"},
	} {
		for _, status := range []attestor.Status{attestor.StatusPass, attestor.StatusDeny} {
			s := newStages(t)
			s.attest = tt.err
			s.policy.glass.Allowed = true
			s.policy.status[attestor.CheckUser] = status
			d, err := admit(t, s, func(r *attestor.Request) {
				if status == attestor.StatusDeny {
					r.BreakGlass = "INC-1: checkout is down"
				}
			})

			if err != nil {
				t.Fatal(err)
			}

			want := map[attestor.Status]attestor.Outcome{attestor.StatusPass: attestor.Undecided, attestor.StatusDeny: attestor.Deny}[status]
			c := attestCheck(t, d)
			if d.Verdict != want || c.Status != attestor.StatusError || len(c.Reasons) != 1 ||
				c.Reasons[0].Code != tt.code || !strings.Contains(c.Reasons[0].Message, tt.says) {
				t.Errorf("%s: %s, %+v", name, d.Verdict, c)
			}
			if d.Attestations == nil || strings.Contains(c.Reasons[0].Message, "secret") {
				t.Errorf("%s: attestations %v, reason %+v", name, d.Attestations, c.Reasons[0])
			}
		}
	}
}

// Where nothing was signed the Decision says why, and lists what stands: an
// earlier attestation of an image that does not pass now is a warning, with the
// command that ends it.
func TestWhatIsSaidWhereNothingWasSigned(t *testing.T) {
	for name, tt := range map[string]struct {
		status attestor.Status
		dry    bool
		mode   attestor.Mode
		why    string
		codes  []attestor.Code
	}{
		"a denial": {attestor.StatusDeny, false, attestor.Enforce, "did not pass",
			[]attestor.Code{attestor.CodeNotAttested, attestor.CodeAlreadyAttested}},
		"a dry run": {attestor.StatusPass, true, attestor.Enforce, "this was a dry run", []attestor.Code{attestor.CodeNotAttested}},
		"a denied dry run": {attestor.StatusDeny, true, attestor.Enforce, "this was a dry run",
			[]attestor.Code{attestor.CodeNotAttested, attestor.CodeAlreadyAttested}},
		"a policy's dry run": {attestor.StatusPass, false, attestor.DryRun, "the policy is in dry run", []attestor.Code{attestor.CodeNotAttested}},
	} {
		s := newStages(t)
		s.policy.ref.Mode = tt.mode
		s.policy.status[attestor.CheckUser] = tt.status
		s.standing = attestor.Standing{Known: true, Valid: []attestor.Attestation{{Attestor: "projects/p/attestors/a", Digest: digest(1)}}}
		d, err := admit(t, s, func(r *attestor.Request) { r.DryRun = tt.dry })
		if err != nil {
			t.Fatal(err)
		}

		c := attestCheck(t, d)
		var codes []attestor.Code

		for _, r := range c.Reasons {
			codes = append(codes, r.Code)
		}

		if c.Status != attestor.StatusSkipped || !slices.Equal(codes, tt.codes) || !strings.Contains(c.Reasons[0].Message, tt.why) || len(d.Attestations) != 1 {
			t.Errorf("%s: %+v, attestations %v", name, c, d.Attestations)
		}
		if len(c.Reasons) > 1 && (c.Reasons[1].Subject != string(digest(1)) ||
			!strings.Contains(c.Reasons[1].Fix, "attestor revoke "+repository+"@"+string(digest(1)))) {
			t.Errorf("%s: %+v", name, c.Reasons[1])
		}
	}
}

// What stands may be an attestation of one platform: the command that ends it names that digest, since the index was never
// signed, and says that the platform may be an image of its own.
func TestAnAttestationOfAPlatformIsNamed(t *testing.T) {
	s := newStages(t)
	s.policy.status[attestor.CheckUser] = attestor.StatusDeny
	s.standing = attestor.Standing{Known: true, Valid: []attestor.Attestation{
		{Attestor: "projects/p/attestors/a", Digest: digest(1)}, {Attestor: "projects/p/attestors/a", Digest: digest(7)},
	}}
	d, err := admit(t, s, nil)
	if err != nil {
		t.Fatal(err)
	}

	const why = " --reason 'refused by the policy now'"
	reasons := attestCheck(t, d).Reasons
	if len(reasons) != 3 {
		t.Fatalf("reasons %+v, want what was not signed and two attestations", reasons)
	}
	own, platform := reasons[1], reasons[2]
	if own.Fix != "attestor revoke "+repository+"@"+string(digest(1))+why || strings.Contains(own.Message, "platform") {
		t.Errorf("of the image's own digest: %+v", own)
	}
	if platform.Subject != string(digest(7)) || !strings.Contains(platform.Message, "one of the image's platforms") ||
		platform.Fix != "if this platform is not to run by itself either: attestor revoke "+repository+"@"+string(digest(7))+why {
		t.Errorf("of a platform: %+v", platform)
	}
}

// The record of a Decision has the evidence, named by its content hash, the
// policy's text and the time that it took; without a policy nothing was
// gathered.
func TestTheRecordIsWhole(t *testing.T) {
	s := newStages(t)
	s.scan = time.Second
	d, err := admit(t, s, nil)
	if err != nil || len(s.records) != 1 {
		t.Fatalf("%d records, %v", len(s.records), err)
	}

	r := s.records[0]
	evidence, err := json.Marshal(r.Evidence)
	if want := fmt.Sprintf("sha256:%x", sha256.Sum256(evidence)); err != nil || d.Evidence != want || r.Decision.Evidence != want {
		t.Errorf("the evidence is %q, %q in the record, want %q, %v", d.Evidence, r.Decision.Evidence, want, err)
	}
	if string(r.PolicyText) != "text" || r.Evidence.Image != s.resolved.Image {
		t.Errorf("policy %q, evidence of %s", r.PolicyText, r.Evidence.Image)
	}
	if d.DurationMS != 1000 || d.Stages["evidence"] != 1000 || len(d.Stages) < 3 {
		t.Errorf("it took %d ms, by stage %v; want a second", d.DurationMS, d.Stages)
	}

	s = newStages(t)
	s.policy = nil
	if d, err = admit(t, s, nil); err != nil || d.Evidence != "" || s.records[0].PolicyText != nil {
		t.Errorf("without a policy: evidence %q, policy %q, %v", d.Evidence, s.records[0].PolicyText, err)
	}
}

// unspeakable finds a number that JSON does not have.
type unspeakable struct{ *stages }

func (s unspeakable) Scans(_ context.Context, requests []attestor.ScanRequest) []attestor.Scan {
	scan := attestor.Scan{State: attestor.ScanComplete, Findings: []attestor.Vulnerability{{EPSS: new(math.NaN())}}}
	return slices.Repeat([]attestor.Scan{scan}, len(requests))
}

// Evidence that cannot be written down is no ground for an attestation.
func TestNothingIsSignedOnEvidenceThatCannotBeRecorded(t *testing.T) {
	for _, status := range []attestor.Status{attestor.StatusPass, attestor.StatusDeny} {
		s := newStages(t)
		s.policy.status[attestor.CheckUser] = status
		g, err := attestor.NewGate(attestor.GateConfig{
			Policies: s, Inspector: s, Scanner: unspeakable{s}, Attester: s, Recorder: s,
			NewID: func() string { return "id" }, Now: time.Now, Deadline: time.Minute, Settle: time.Minute,
		})

		if err != nil {
			t.Fatal(err)
		}

		d, err := g.Admit(t.Context(), attestor.Request{Image: reference(t, repository+":v7"), Caller: attestor.LocalCaller("me")})

		if err == nil || d.ID != "" || s.called("begin")+s.called("attest")+s.called("finish") != 0 {
			t.Errorf("%s: answered %+v, %v; calls %v", status, d, err, s.calls)
		}
	}
}
