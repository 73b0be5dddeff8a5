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
	entry     *attestor.LogEntry // that the record is given
	attest    error
	partly    []attestor.Attestation                              // made before attest failed
	returns   func([]attestor.Attestation) []attestor.Attestation // instead of what was made, without an error
	standing  attestor.Standing
	before    []attestor.Attestation // that stand, whatever is begun now
	miscalled bool                   // Index says the opposite of Resolve
	resolving func(context.Context) error
	unknown   attestor.Digest // of which nothing can be found out
	during    func()          // runs while attesting
	scan      time.Duration   // how long a scan takes
	waited    atomic.Int64
	known     attestor.Standing // what Attest was told
	panics    string            // the call that does
	calls     []string
	records   []attestor.Record
	made      []attestor.Attestation // by Attest; guarded by mu
	ids       int                    // given out; guarded by mu
}

func (s *stages) call(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, name)
	if name == s.panics {
		panic("a bug in " + name)
	}
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

func (s *stages) Index(ctx context.Context, img attestor.Image) (bool, error) {
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case img.Repository() != s.resolved.Image.Repository():
		return false, &attestor.Error{Kind: attestor.NotFound, Msg: "no such image"}
	}
	return s.resolved.Index != s.miscalled, nil
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

func (s *stages) Scans(ctx context.Context, requests []attestor.ScanRequest) []attestor.Scan {
	scans := make([]attestor.Scan, len(requests))
	for i, r := range requests {
		scans[i] = s.scanOf(ctx, r)
	}
	return scans
}

func (s *stages) scanOf(ctx context.Context, r attestor.ScanRequest) attestor.Scan {
	s.call("scan")
	switch {
	case ctx.Err() != nil:
		return attestor.Scan{Scanner: &attestor.ScannerInfo{Name: "a scanner"}, State: attestor.ScanUnavailable,
			Problem: &attestor.Reason{Code: attestor.CodeScanUnavailable, Message: "nobody waits"}}
	case r.Image.Repository() != s.resolved.Image.Repository():
		return attestor.Scan{Scanner: &attestor.ScannerInfo{Name: "a scanner"}, State: attestor.ScanNotFound}
	}
	s.waited.Add(int64(s.scan))
	if !r.Index.IsZero() {
		s.call("scan by index: " + string(r.Image.Digest()))
	}
	if !r.Parent.IsZero() {
		s.call("findings of " + string(r.Parent.Digest()) + " too: " + string(r.Image.Digest()))
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
		return s.before, s.anyway(err)
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
	if s.returns != nil {
		return s.returns(out), nil
	}
	return out, nil
}

// anyway is what Attest answers where nothing could be begun: nothing wrong, if all attestations stood before.
func (s *stages) anyway(err error) error {
	if s.before != nil {
		return nil
	}
	return err
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
	return s.entry, s.finish
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
