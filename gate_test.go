package attestor_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
)

// stages stands in for every stage; the real ones are proven in their own
// packages and together in internal/engine.
type stages struct {
	mu        sync.Mutex
	policy    *fixedPolicy // nil: none governs
	resolved  attestor.Resolved
	resolve   error
	begin     error
	finish    error
	attest    error
	partly    []attestor.Attestation // made before attest failed
	standing  attestor.Standing
	resolving func(context.Context) error
	unknown   attestor.Digest // of which nothing can be found out
	during    func()          // runs while attesting
	scan      time.Duration   // how long a scan takes
	waited    atomic.Int64
	known     attestor.Standing // what Attest was told
	calls     []string
	records   []attestor.Record
	made      []attestor.Attestation // by Attest; guarded by mu
	ids       int                    // given out; guarded by mu
}

func (s *stages) call(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, name)
}

func (s *stages) Govern(of string) (attestor.Policy, bool) {
	if s.policy == nil || !strings.HasPrefix(of, "us-docker.pkg.dev/acme/") {
		return nil, false
	}
	return s.policy, true
}

func (s *stages) Named(name string) (attestor.Policy, bool) {
	if s.policy == nil || s.policy.ref.Name != name {
		return nil, false
	}
	return s.policy, true
}

func (s *stages) Pin(ctx context.Context, ref attestor.Reference) (attestor.Image, error) {
	s.call("pin")
	if err := s.found(ctx, ref); err != nil {
		return attestor.Image{}, err
	}
	return s.resolved.Image, nil
}

func (s *stages) Resolve(ctx context.Context, ref attestor.Reference, _ attestor.Needs) (attestor.Resolved, error) {
	s.call("resolve")
	s.call("resolve " + ref.String())
	if s.resolving != nil {
		return s.resolved, s.resolving(ctx)
	}
	return s.resolved, s.found(ctx, ref)
}

// found is why an image cannot be had: there is one, in one repository.
func (s *stages) found(ctx context.Context, ref attestor.Reference) error {
	switch {
	case s.resolve != nil:
		return s.resolve
	case ctx.Err() != nil:
		return ctx.Err()
	case ref.Repository() != s.resolved.Image.Repository():
		return &attestor.Error{Kind: attestor.NotFound, Msg: "no such image"}
	}
	return nil
}

func (s *stages) Inspect(_ context.Context, _ attestor.Resolved, c attestor.Child, _ attestor.Needs) attestor.PlatformEvidence {
	s.call("inspect")
	return attestor.PlatformEvidence{Child: c}
}

func (s *stages) Scan(ctx context.Context, r attestor.ScanRequest) attestor.Scan {
	s.call("scan")
	switch {
	case ctx.Err() != nil:
		return attestor.Scan{Scanner: &attestor.ScannerInfo{Name: "a scanner"}, State: attestor.ScanUnavailable, Problem: &attestor.Reason{Code: attestor.CodeScanUnavailable, Message: "nobody waits"}}
	case r.Image.Repository() != s.resolved.Image.Repository():
		return attestor.Scan{Scanner: &attestor.ScannerInfo{Name: "a scanner"}, State: attestor.ScanNotFound}
	}
	s.waited.Add(int64(s.scan))
	if !r.Index.IsZero() {
		s.call("scan by index: " + string(r.Image.Digest()))
	}
	return attestor.Scan{Scanner: &attestor.ScannerInfo{Name: "a scanner"}, State: attestor.ScanComplete}
}

func (s *stages) Standing(ctx context.Context, _ []string, images []attestor.Image) (attestor.Standing, error) {
	s.call("standing")
	if err := ctx.Err(); err != nil {
		return attestor.Standing{}, err
	}
	for _, img := range images {
		s.call("standing of " + string(img.Digest()))
		if s.unknown == img.Digest() {
			return attestor.Standing{}, errors.New("Container Analysis is down")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.standing
	for _, a := range s.made {
		if slices.ContainsFunc(images, func(img attestor.Image) bool { return img.Digest() == a.Digest }) {
			out.Valid = append(slices.Clone(out.Valid), a)
		}
	}
	return out, nil
}

func (s *stages) Attest(ctx context.Context, a attestor.Authorization, known attestor.Standing, begin func() error) ([]attestor.Attestation, error) {
	s.known = known
	if err := begin(); err != nil {
		return nil, err
	}
	s.call("attest")
	if s.during != nil {
		s.during()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.attest != nil {
		return s.partly, s.attest
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []attestor.Attestation
	for _, img := range a.Images() {
		made := attestor.Attestation{Attestor: a.Attestors()[0], Digest: img.Digest(), Created: true}
		if i := slices.IndexFunc(s.made, func(m attestor.Attestation) bool { return m.Digest == made.Digest }); i >= 0 {
			made.Created = false
		} else {
			s.made = append(s.made, attestor.Attestation{Attestor: made.Attestor, Digest: made.Digest})
		}
		out = append(out, made)
	}
	return out, nil
}

func (s *stages) Begin(_ context.Context, r attestor.Record) error {
	s.call("begin")
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.finished(r.Decision.ID); ok {
		return errors.New("the decision is finished already")
	}
	return s.begin
}

func (s *stages) Finish(_ context.Context, r attestor.Record) (*attestor.LogEntry, error) {
	s.call("finish")
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.finished(r.Decision.ID); ok && s.finish == nil {
		if !reflect.DeepEqual(old.Decision, r.Decision) {
			return nil, errors.New("the decision is finished already, with another answer")
		}
		return nil, nil
	}
	s.records = append(s.records, r)
	return nil, s.finish
}

// id is "id" first, and then another for each decision.
func (s *stages) id() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids++
	if s.ids == 1 {
		return "id"
	}
	return fmt.Sprintf("id-%d", s.ids)
}

// finished is the record of a decision. It must be called with mu held.
func (s *stages) finished(id string) (attestor.Record, bool) {
	i := slices.IndexFunc(s.records, func(r attestor.Record) bool { return r.Decision.ID == id })
	if i < 0 {
		return attestor.Record{}, false
	}
	return s.records[i], true
}

func (s *stages) called(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, c := range s.calls {
		if c == name {
			n++
		}
	}
	return n
}

type fixedPolicy struct {
	ref    attestor.PolicyRef
	needs  attestor.Needs
	glass  attestor.BreakGlassPolicy
	status map[string]attestor.Status // by check; the default passes
	none   bool                       // no checks at all
}

func (p *fixedPolicy) Ref() attestor.PolicyRef               { return p.ref }
func (p *fixedPolicy) Text() []byte                          { return []byte("text") }
func (p *fixedPolicy) Needs() attestor.Needs                 { return p.needs }
func (p *fixedPolicy) BreakGlass() attestor.BreakGlassPolicy { return p.glass }
func (p *fixedPolicy) Judge(ev attestor.Evidence) attestor.Verdict {
	var checks []attestor.Check
	for _, problem := range ev.Problems {
		checks = append(checks, attestor.Check{Name: problem.Check, Status: problem.Status, Reasons: []attestor.Reason{problem.Reason}})
	}
	if !p.none {
		for _, e := range ev.Platforms {
			for _, name := range []string{attestor.CheckBase, attestor.CheckUser, attestor.CheckVulnerabilities} {
				status, ok := p.status[name]
				if !ok {
					status = attestor.StatusPass
				}
				checks = append(checks, attestor.Check{Name: name, Platform: e.Platform, Status: status})
			}
		}
	}
	return attestor.NewVerdict(ev, p.ref, p.needs.Attest, questions(), checks)
}

const repository = "us-docker.pkg.dev/acme/prod/api"

func enforcing() *fixedPolicy {
	return &fixedPolicy{
		ref:    attestor.PolicyRef{Name: "production", Digest: digestA, Mode: attestor.Enforce},
		needs:  attestor.Needs{Attest: attestor.AttestNeeds{Attestors: []string{"projects/p/attestors/a"}, Children: true}},
		status: map[string]attestor.Status{},
	}
}

func digest(n int) attestor.Digest { return attestor.Digest(fmt.Sprintf("sha256:%064x", n)) }

func reference(t *testing.T, s string) attestor.Reference {
	t.Helper()
	ref, err := attestor.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func newStages(t *testing.T) *stages {
	t.Helper()
	img := reference(t, repository+":v7").At(digest(1))
	return &stages{policy: enforcing(), resolved: attestor.Resolved{
		Image: img, MediaType: "application/vnd.oci.image.manifest.v1+json",
		Children: []attestor.Child{{Platform: "linux/amd64", Digest: img.Digest()}},
	}}
}

func gate(t *testing.T, s *stages) *attestor.Gate {
	t.Helper()
	g, err := attestor.NewGate(attestor.GateConfig{
		Policies: s, Inspector: s, Scanner: s, Attester: s, Recorder: s,
		NewID: s.id, Now: func() time.Time {
			return time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC).Add(time.Duration(s.waited.Load()))
		},
		Deadline: time.Minute, Settle: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func admit(t *testing.T, s *stages, change func(*attestor.Request)) (attestor.Decision, error) {
	t.Helper()
	r := attestor.Request{Image: reference(t, repository+":v7"), Caller: attestor.LocalCaller("me")}
	if change != nil {
		change(&r)
	}
	return gate(t, s).Admit(context.Background(), r)
}

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
	if got := attestor.NewVerdict(attestor.Evidence{}, attestor.PolicyRef{}, attestor.AttestNeeds{}, questions(), []attestor.Check{{Name: "user", Status: attestor.StatusPass}}).Outcome(); got != attestor.Deny {
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
		{"all skipped", map[string]attestor.Status{"user": attestor.StatusSkipped, "base": attestor.StatusSkipped, "vulnerabilities": attestor.StatusSkipped}, attestor.Deny},
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
