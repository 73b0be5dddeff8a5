package server_test

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/event"
	"github.com/attestor-gate/attestor/server"
	"github.com/attestor-gate/attestor/server/watch"
)

// parts are what a server has beside its Gate, over one world. Every one of
// them fails with err while that is set.
type parts struct {
	w           *world
	err         error
	posture     attestor.Outcome
	occur       map[string]watch.Occurrence
	revoked     []attestor.RevocationRecord
	onRevoke    func()
	artifact    string // what the manifest of any image is
	unread      error  // of reading that
	unwitnessed bool
	reading     func() // how long a simulation reads; nil: no time
}

// with gives a server all its parts.
func (p *parts) with(c *server.Config) {
	c.Decisions, c.Policies, c.Attestations, c.Simulator, c.Posture = p, p, p, p, p
	c.Prune = func(context.Context) (server.Pruned, error) {
		return server.Pruned{Decisions: 3, Complete: true}, p.err
	}
	c.Log = &server.Log{
		Proof:      func(_ context.Context, id string) ([]byte, error) { return []byte("proof of " + id), p.err },
		Checkpoint: func(context.Context) ([]byte, error) { return []byte("checkpoint"), p.err },
		Witnessed: func(context.Context) ([]byte, error) {
			if p.unwitnessed {
				return nil, &attestor.Error{Kind: attestor.NotFound, Msg: "no witness has cosigned"}
			}
			return []byte("cosigned"), p.err
		},
		Tile: func(_ context.Context, path string) ([]byte, bool, error) {
			if p.err == nil && path != "0/000" && path != "entries/x001/000.p/7" {
				return nil, false, &attestor.Error{Kind: attestor.NotFound, Msg: "no such tile"}
			}
			return []byte("tile " + path), !strings.Contains(path, ".p/"), p.err
		},
	}
	c.Outbox = &server.Outbox{
		List: func(_ context.Context, f event.Filter, after event.Delivery, _ int) ([]event.Delivery, error) {
			d := event.Delivery{Receiver: f.Receiver, Event: event.Event{ID: f.Event}, Dead: f.Dead, Written: after.Written}
			return []event.Delivery{d}, p.err
		},
		Counts: func(context.Context) ([]event.Counts, error) {
			return []event.Counts{{Receiver: "chat", Dead: 1}}, p.err
		},
		Redrive: func(_ context.Context, f event.Filter) (int64, error) { return int64(len(f.Receiver)), p.err },
	}
	c.History = &server.History{
		Revocations: func(ctx context.Context, f server.DecisionFilter) (server.RevocationPage, error) {
			if p.err != nil {
				return server.RevocationPage{}, p.err
			}
			return recorded{p.w.store()}.revocations(ctx, f)
		},
		PolicyChanges: func(ctx context.Context, size int, token string) (server.PolicyChangePage, error) {
			if p.err != nil {
				return server.PolicyChangePage{}, p.err
			}
			page, err := p.w.store().ListPolicyChanges(ctx, size, token)
			return server.PolicyChangePage{Changes: page.Changes, NextPageToken: page.Next}, err
		},
	}
	c.Watch = &watch.Config{Policies: p.w, Occurrences: p, History: watched{p}, Admissions: watched{p}, Overrides: watched{p}}
	c.Watch.Artifact = func(context.Context, attestor.Image, string) (string, error) { return p.artifact, p.unread }
}

func (p *parts) Decision(ctx context.Context, id string) (attestor.Record, error) {
	if p.err != nil {
		return attestor.Record{}, p.err
	}
	return recorded{p.w.store()}.Decision(ctx, id)
}

func (p *parts) Revocation(ctx context.Context, id string) (attestor.RevocationRecord, error) {
	if p.err != nil {
		return attestor.RevocationRecord{}, p.err
	}
	return p.w.store().Revocation(ctx, id)
}

func (p *parts) List(ctx context.Context, f server.DecisionFilter) (server.DecisionPage, error) {
	if p.err != nil {
		return server.DecisionPage{}, p.err
	}
	return recorded{p.w.store()}.List(ctx, f)
}

// revoke records that the attestations of an image were deleted.
func (p *parts) revoke(id string) {
	img, err := attestor.ParseImage(repository + "@" + digestA)
	if err != nil {
		panic(err)
	}
	r := attestor.RevocationRecord{
		ID: id, Time: t0, Kind: attestor.RevokedByPerson, Image: img, Reason: "leaked credentials",
		Admitted: []string{}, Attestations: []attestor.Attestation{},
	}
	if _, err := p.w.store().BeginRevocation(context.Background(), r); err != nil {
		panic(err)
	}
	if err := p.w.store().FinishRevocation(context.Background(), r); err != nil {
		panic(err)
	}
}

// recorded gives a server a record, as internal/engine does.
type recorded struct{ store *audit.Store }

func (r recorded) Decision(ctx context.Context, id string) (attestor.Record, error) {
	return r.store.Record(ctx, id)
}

func (r recorded) Revocation(ctx context.Context, id string) (attestor.RevocationRecord, error) {
	return r.store.Revocation(ctx, id)
}

func (r recorded) List(ctx context.Context, f server.DecisionFilter) (server.DecisionPage, error) {
	page, err := r.store.List(ctx, f.Filter, f.PageSize, f.PageToken)
	return server.DecisionPage{Decisions: page.Decisions, NextPageToken: page.Next}, err
}

func (r recorded) revocations(ctx context.Context, f server.DecisionFilter) (server.RevocationPage, error) {
	page, err := r.store.ListRevocations(ctx, f.Filter, f.PageSize, f.PageToken)
	return server.RevocationPage{Revocations: page.Revocations, NextPageToken: page.Next}, err
}

// store is a real record of what the gate has recorded so far.
func (w *world) store() *audit.Store {
	w.keeping.Lock()
	defer w.keeping.Unlock()

	if w.kept == nil {
		w.kept = open(w.tb, audit.Config{SQLite: filepath.Join(w.tb.TempDir(), "record.db"), Now: w.clock})
	}
	w.mu.Lock()
	records := slices.Clone(w.records)
	w.mu.Unlock()
	for ; w.keptUpTo < len(records); w.keptUpTo++ {
		if _, err := w.kept.Finish(context.Background(), records[w.keptUpTo]); err != nil {
			w.tb.Error(err)
		}
	}
	return w.kept
}

// openRecord is an empty record that ends with the test.
func openRecord(tb testing.TB) *audit.Store {
	tb.Helper()
	return open(tb, audit.Config{SQLite: filepath.Join(tb.TempDir(), "record.db"), Now: func() time.Time { return t0 }})
}

func open(tb testing.TB, c audit.Config) *audit.Store {
	tb.Helper()
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Minute // a loaded machine is no fault of the store
	}
	s, err := audit.Open(tb.Context(), c)
	if err != nil {
		tb.Fatal(err)
	}

	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func (p *parts) All() []server.PolicyInfo {
	if p.err != nil {
		panic(p.err)
	}
	return []server.PolicyInfo{{PolicyRef: worldPolicy{p.w}.Ref(), Images: []string{"registry.example/team/**"}, Text: "policy"}}
}

func (p *parts) Pin(ctx context.Context, ref attestor.Reference) (attestor.Image, error) {
	if p.err != nil {
		return attestor.Image{}, p.err
	}
	if img, ok := ref.Pinned(); ok {
		return img, nil
	}
	r, err := p.w.Resolve(ctx, ref, attestor.Needs{})
	return r.Image, err
}

func (p *parts) Standing(ctx context.Context, img attestor.Image) (attestor.Standing, error) {
	if p.err != nil {
		return attestor.Standing{}, p.err
	}
	return p.w.Standing(ctx, nil, []attestor.Image{img})
}

func (p *parts) Revoke(ctx context.Context, r attestor.Revocation) (attestor.RevocationRecord, error) {
	if p.err != nil {
		return attestor.RevocationRecord{}, p.err
	}
	if p.onRevoke != nil {
		p.onRevoke()
	}

	record, err := p.revoker().Revoke(ctx, r)
	if err == nil {
		p.w.mu.Lock()
		p.revoked = append(p.revoked, record)
		p.w.mu.Unlock()
	}
	return record, err
}

func (p *parts) Simulate(_ context.Context, r server.SimulationRequest) (server.Simulation, error) {
	if p.err != nil {
		return server.Simulation{}, p.err
	}
	if p.reading != nil {
		p.reading()
	}
	if string(r.Policy) != "good" {
		return server.Simulation{}, &attestor.Error{Kind: attestor.Invalid, Msg: "line 1: not a policy"}
	}

	s := server.Simulation{Policy: worldPolicy{p.w}.Ref(), Since: r.Since,
		Counts: server.SimulationCounts{Before: map[attestor.Outcome]int{}, After: map[attestor.Outcome]int{}}}
	for _, d := range slices.Backward(p.w.decisions()) {
		ref, err := attestor.ParseReference(d.Image.Reference)
		if err != nil || !r.Visible(ref.Repository()) || d.Time.Before(r.Since) {
			continue
		}
		s.Judged++
		s.Counts.Before[d.Verdict]++
		s.Counts.After[attestor.Deny]++
		if d.Verdict != attestor.Deny {
			s.Flips = append(s.Flips, attestor.Flip{Decision: d.ID, Time: d.Time, Image: d.Image.Reference,
				Before: d.Verdict, After: attestor.Deny,
				Reasons: []attestor.Reason{{Code: attestor.CodeUserRoot, Message: "runs as root"}}})
		}
	}
	return s, nil
}

// definition is what parts takes for a service definition.
const definition = `{"kind":"Service"}`

func (p *parts) Judge(_ context.Context, document []byte) (attestor.PostureReport, error) {
	if p.err != nil {
		return attestor.PostureReport{}, p.err
	}
	if string(document) != definition {
		return attestor.PostureReport{}, &attestor.Error{Kind: attestor.Invalid, Msg: "not a service definition"}
	}
	return attestor.PostureReport{Verdict: p.posture,
		Findings: []attestor.PostureFinding{{Rule: "MIN_INSTANCES", Service: "api", Kind: "service",
			Status: attestor.StatusDeny, Message: "no minimum", Fix: "--min-instances=1"}}}, nil
}

func (p *parts) Occurrence(ctx context.Context, name string) (watch.Occurrence, error) {
	if err := cmp.Or(p.err, ctx.Err()); err != nil {
		return watch.Occurrence{}, err
	}
	o, ok := p.occur[name]
	if !ok {
		return watch.Occurrence{}, &attestor.Error{Kind: attestor.NotFound, Msg: "no such occurrence"}
	}
	return o, nil
}

var errBoom = errors.New("boom: secret-detail")
