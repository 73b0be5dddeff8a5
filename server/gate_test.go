package server_test

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

const (
	repository = "registry.example/team/app"
	digestA    = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	digestB    = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// world stands in for the stages around the Gate, by the root's interfaces:
// images are known by tag or digest, and each has the answer it is to get.
type world struct {
	mu       sync.Mutex
	images   map[string]attestor.Digest      // tag or digest → digest
	checks   map[attestor.Digest]checkStatus // what vulnerabilities says
	mode     attestor.Mode
	governs  func(repository string) bool
	down     error         // the registry's answer to everything
	attestFn func() error  // before anything is signed
	step     time.Duration // that the clock moves with each Inspect
	hold     chan struct{} // Inspect waits for it to close, or for its context
	entered  chan struct{} // Inspect says that it has begun
	asked    []string      // what was asked of the registry
	standing []attestor.Attestation
	records  []attestor.Record
	recorder error
	ids      int
	now      time.Time
	digest   attestor.Digest // of the policy
	also     attestor.Status // of one more check
	tb       testing.TB      // set by the first server over it

	keeping  sync.Mutex   // before mu, where both are held
	kept     *audit.Store // guarded by keeping; nil until somebody reads
	keptUpTo int          // of records; guarded by keeping
}

type checkStatus struct {
	status attestor.Status
	code   attestor.Code
	about  string
}

func newWorld() *world {
	return &world{
		images: map[string]attestor.Digest{"v1": digestA, digestA: digestA, "v2": digestB, digestB: digestB},
		checks: map[attestor.Digest]checkStatus{
			digestA: {status: attestor.StatusPass},
			digestB: {attestor.StatusDeny, attestor.CodeFixableSeverityExceeded, "CVE-2026-1"},
		},
		mode:    attestor.Enforce,
		governs: func(r string) bool { return strings.HasPrefix(r, "registry.example/team/") },
		now:     t0,
		digest:  digestB,
	}
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// id is in the order of time, as the gate's own are.
func (w *world) id() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ids++
	return fmt.Sprintf("d%06d", w.ids)
}

func (w *world) gate(t testing.TB) *attestor.Gate {
	t.Helper()
	g, err := attestor.NewGate(attestor.GateConfig{
		Policies: w, Inspector: w, Scanner: w, Attester: w, Recorder: w,
		NewID: w.id, Now: w.clock, Deadline: time.Minute, Settle: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// Index knows of no index, and of images by their digests.
func (w *world) Index(ctx context.Context, img attestor.Image) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()

	for _, d := range w.images {
		if d == img.Digest() && w.down == nil {
			return false, nil
		}
	}
	return false, cmp.Or(w.down, error(&attestor.Error{Kind: attestor.NotFound, Msg: "no such image"}))
}

// Pin is what Resolve finds, and counts as asked where it finds nothing.
func (w *world) Pin(ctx context.Context, ref attestor.Reference) (attestor.Image, error) {
	if err := ctx.Err(); err != nil {
		return attestor.Image{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()

	d, ok := w.images[ref.Tag()]
	if w.down == nil && ok {
		return ref.At(d), nil
	}
	w.asked = append(w.asked, ref.String())
	if w.down != nil {
		return attestor.Image{}, w.down
	}
	return attestor.Image{}, &attestor.Error{Kind: attestor.NotFound, Msg: "no such image", Fix: "push it first"}
}

func (w *world) Resolve(ctx context.Context, ref attestor.Reference, _ attestor.Needs) (attestor.Resolved, error) {
	if err := ctx.Err(); err != nil {
		return attestor.Resolved{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()

	w.asked = append(w.asked, ref.String())
	if w.down != nil {
		return attestor.Resolved{}, w.down
	}
	name := ref.Tag()
	if img, ok := ref.Pinned(); ok {
		name = string(img.Digest())
	}

	d, ok := w.images[name]
	for _, tagged := range w.images {
		if img, pinned := ref.Pinned(); pinned && tagged == img.Digest() { // after Pin
			d, ok = tagged, true
		}
	}

	if !ok {
		return attestor.Resolved{}, &attestor.Error{Kind: attestor.NotFound, Msg: "no such image", Fix: "push it first"}
	}
	return attestor.Resolved{Image: ref.At(d), MediaType: "application/vnd.oci.image.manifest.v1+json",
		Children: []attestor.Child{{Platform: "linux/amd64", Digest: d}}}, nil
}

func (w *world) Inspect(ctx context.Context, _ attestor.Resolved, c attestor.Child, _ attestor.Needs) attestor.PlatformEvidence {
	w.mu.Lock()
	w.now = w.now.Add(w.step)
	hold, entered := w.hold, w.entered
	w.mu.Unlock()
	if entered != nil {
		entered <- struct{}{}
	}

	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
		}
	}
	return attestor.PlatformEvidence{Child: c}
}

func (w *world) Scans(ctx context.Context, requests []attestor.ScanRequest) []attestor.Scan {
	scans := make([]attestor.Scan, len(requests))
	for i, r := range requests {
		scans[i] = w.scanOf(ctx, r)
	}
	return scans
}

func (w *world) scanOf(ctx context.Context, r attestor.ScanRequest) attestor.Scan {
	if ctx.Err() != nil {
		return attestor.Scan{Scanner: &attestor.ScannerInfo{Name: "a scanner"}, State: attestor.ScanUnavailable,
			Problem: &attestor.Reason{Code: attestor.CodeScanUnavailable, Message: "nobody waits"}}
	}
	w.mu.Lock()
	defer w.mu.Unlock()

	for _, d := range w.images {
		if d == r.Image.Digest() {
			return attestor.Scan{Scanner: &attestor.ScannerInfo{Name: "a scanner"}, State: attestor.ScanComplete}
		}
	}
	return attestor.Scan{Scanner: &attestor.ScannerInfo{Name: "a scanner"}, State: attestor.ScanNotFound}
}

func (w *world) Govern(repository string) (attestor.Policy, bool) {
	if !w.governs(repository) {
		return nil, false
	}
	return worldPolicy{w}, true
}

func (w *world) Named(name string) (attestor.Policy, bool) {
	if name != "production" {
		return nil, false
	}
	return worldPolicy{w}, true
}

func (w *world) Standing(ctx context.Context, _ []string, images []attestor.Image) (attestor.Standing, error) {
	if err := ctx.Err(); err != nil {
		return attestor.Standing{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()

	s := attestor.Standing{Known: true}
	for _, a := range w.standing {
		if slices.ContainsFunc(images, func(i attestor.Image) bool { return i.Digest() == a.Digest }) {
			s.Valid = append(s.Valid, a)
		}
	}
	return s, nil
}

func (w *world) Attest(ctx context.Context, a attestor.Authorization, _ attestor.Standing, begin func() error) ([]attestor.Attestation, error) {
	if err := begin(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}

	if w.attestFn != nil {
		if err := w.attestFn(); err != nil {
			return nil, err
		}
	}

	w.mu.Lock()
	defer w.mu.Unlock()

	var out []attestor.Attestation
	for _, img := range a.Images() {
		made := attestor.Attestation{Attestor: "projects/p/attestors/a", Note: "projects/p/notes/n",
			Occurrence: "projects/p/occurrences/1", Digest: img.Digest(), PublicKeyID: "key", Created: true}
		if slices.ContainsFunc(w.standing, func(a attestor.Attestation) bool { return a.Digest == made.Digest }) {
			made.Created = false
		} else {
			w.standing = append(w.standing, made)
		}
		out = append(out, made)
	}
	return out, nil
}

func (w *world) Begin(_ context.Context, r attestor.Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.finished(r.Decision.ID); ok {
		return errors.New("the decision is finished already")
	}
	return w.recorder
}

func (w *world) Finish(_ context.Context, r attestor.Record) (*attestor.LogEntry, error) {
	w.mu.Lock()
	defer w.mu.Unlock()

	if w.recorder != nil {
		return nil, w.recorder
	}
	if old, ok := w.finished(r.Decision.ID); ok {
		if !reflect.DeepEqual(old.Decision, r.Decision) {
			return nil, errors.New("the decision is finished already, with another answer")
		}
		return nil, nil
	}
	w.records = append(w.records, r)
	return nil, nil
}

// finished is the record of a decision. It must be called with mu held.
func (w *world) finished(id string) (attestor.Record, bool) {
	for _, r := range w.records {
		if r.Decision.ID == id {
			return r, true
		}
	}
	return attestor.Record{}, false
}

func (w *world) decisions() []attestor.Decision {
	w.mu.Lock()
	defer w.mu.Unlock()

	var out []attestor.Decision
	for _, r := range w.records {
		out = append(out, r.Decision)
	}
	return out
}

type worldPolicy struct{ w *world }

func (p worldPolicy) Ref() attestor.PolicyRef {
	return attestor.PolicyRef{Name: "production", Digest: p.w.digest, Mode: p.w.mode}
}
func (p worldPolicy) Text() []byte { return []byte("policy") }
func (p worldPolicy) Needs() attestor.Needs {
	return attestor.Needs{Attest: attestor.AttestNeeds{Attestors: []string{"projects/p/attestors/a"}, Children: true}}
}

func (p worldPolicy) BreakGlass() attestor.BreakGlassPolicy {
	return attestor.BreakGlassPolicy{Allowed: true}
}

func (p worldPolicy) Judge(ev attestor.Evidence) attestor.Verdict {
	var checks []attestor.Check
	for _, problem := range ev.Problems {
		checks = append(checks, attestor.Check{Name: problem.Check, Status: problem.Status, Reasons: []attestor.Reason{problem.Reason}})
	}
	p.w.mu.Lock()
	defer p.w.mu.Unlock()

	for _, e := range ev.Platforms {
		want := p.w.checks[e.Digest]
		c := attestor.Check{Name: attestor.CheckVulnerabilities, Platform: e.Platform, Status: want.status, Reasons: []attestor.Reason{}}
		if want.code != "" {
			c.Reasons = append(c.Reasons, attestor.Reason{Code: want.code, Subject: want.about, Message: "found", Fix: "update"})
		}

		checks = append(checks, c,
			attestor.Check{Name: attestor.CheckUser, Platform: e.Platform, Status: attestor.StatusPass, Reasons: []attestor.Reason{}},
			attestor.Check{Name: attestor.CheckBase, Platform: e.Platform, Status: attestor.StatusPass, Reasons: []attestor.Reason{}})
	}

	if p.w.also != "" {
		checks = append(checks, attestor.Check{Name: attestor.CheckProvenance, Status: p.w.also,
			Reasons: []attestor.Reason{{Code: attestor.CodeProvenanceUnavailable, Message: "down"}}})
	}
	asked := []attestor.Question{{Check: attestor.CheckBase}, {Check: attestor.CheckUser}, {Check: attestor.CheckVulnerabilities}}

	return attestor.NewVerdict(ev, p.Ref(), p.Needs().Attest, asked, checks)
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
