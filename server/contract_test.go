package server_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/testkit/contract"
	"github.com/attestor-gate/attestor/internal/testkit/pgtest"
	"github.com/attestor-gate/attestor/server"
	"github.com/attestor-gate/attestor/server/watch"
)

// finisher adds records.
func finisher(s *audit.Store) func(t *testing.T, records ...attestor.Record) {
	return func(t *testing.T, records ...attestor.Record) {
		t.Helper()
		for _, r := range records {
			if _, err := s.Finish(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// listed asks d as the suite does.
func listed(d server.Decisions, add func(t *testing.T, records ...attestor.Record)) contract.DecisionRecord {
	return contract.DecisionRecord{
		Decision: d.Decision,
		Add:      add,
		List: func(ctx context.Context, q contract.DecisionQuery) ([]attestor.Decision, string, error) {
			page, err := d.List(ctx, server.DecisionFilter{
				Filter: q.Filter, PageSize: q.PageSize, PageToken: q.PageToken,
			})
			return page.Decisions, page.NextPageToken, err
		},
	}
}

func TestDecisionsContract(t *testing.T) {
	t.Run("recorded", func(t *testing.T) {
		contract.Decisions(t, func(t *testing.T) contract.DecisionRecord {
			s := openRecord(t)
			return listed(recorded{s}, finisher(s))
		})
	})

	t.Run("parts", func(t *testing.T) {
		contract.Decisions(t, func(t *testing.T) contract.DecisionRecord {
			w := newWorld()
			w.tb = t
			return listed(&parts{w: w}, finisher(w.store()))
		})
	})
}

func TestHistoryContract(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		contract.History(t, func(t *testing.T) (watch.History, func(t *testing.T, records ...attestor.Record)) {
			s := openRecord(t)
			return s, finisher(s)
		})
	})

	t.Run("postgresql", func(t *testing.T) {
		databases := pgtest.Databases(t)
		contract.History(t, func(t *testing.T) (watch.History, func(t *testing.T, records ...attestor.Record)) {
			s := open(t, audit.Config{PostgreSQL: databases(t), Now: newWorld().clock})
			return s, finisher(s)
		})
	})
}

// The world around the server keeps the promises that the real stages keep.
func TestWorldKeepsTheContracts(t *testing.T) {
	tagged := reference(t, repository+":v1")
	unscanned := tagged.At(attestor.Digest(fmt.Sprintf("sha256:%064x", 77)))
	t.Run("policies", func(t *testing.T) { contract.Policies(t, newWorld(), repository, "registry.example/other/app") })
	t.Run("policy", func(t *testing.T) { contract.Policy(t, worldPolicy{newWorld()}) })
	t.Run("inspector", func(t *testing.T) {
		contract.Inspector(t, func(t *testing.T) contract.Inspecting {
			w := newWorld()
			return contract.Inspecting{
				Inspector: w, Tagged: tagged, Image: tagged.At(digestA), Unknown: reference(t, repository+":unknown"),
				Down: func() {
					w.down = &attestor.Error{Kind: attestor.Upstream, Code: attestor.CodeRegistryUnavailable, Msg: "the registry does not answer"}
				},
			}
		})
	})

	t.Run("scanner", func(t *testing.T) {
		contract.Scanner(t, contract.Scanning{Scanner: newWorld(), Scanned: tagged.At(digestA), Unscanned: unscanned})
	})
	t.Run("attester", func(t *testing.T) {
		contract.Attester(t, func(*testing.T) contract.Attesting {
			return contract.Attesting{Attester: newWorld(), Attestors: []string{"projects/p/attestors/a"}}
		})
	})

	t.Run("recorder", func(t *testing.T) {
		contract.Recorder(t, func(*testing.T) contract.Recording {
			w := newWorld()
			return contract.Recording{Recorder: w, Finished: func(_ *testing.T, id string) (attestor.Decision, bool) {
				w.mu.Lock()
				defer w.mu.Unlock()
				r, ok := w.finished(id)
				return r.Decision, ok
			}}
		})
	})
}

// The parts of a server keep the promises that internal/engine's keep.
func TestPartsKeepTheContracts(t *testing.T) {
	tagged := reference(t, repository+":v1")
	a, b := tagged.At(digestA), tagged.At(digestB)
	unattested := tagged.At(attestor.Digest(fmt.Sprintf("sha256:%064x", 77)))

	t.Run("attestations", func(t *testing.T) {
		w := newWorld()
		w.tb = t
		for i, img := range []attestor.Image{a, b} {
			w.standing = append(w.standing, attestor.Attestation{Attestor: "projects/p/attestors/a",
				Occurrence: fmt.Sprint("projects/p/occurrences/", i), Digest: img.Digest()})
		}
		p := &parts{w: w}
		contract.Attestations(t, contract.Revoking{
			Pin: p.Pin, Standing: p.Standing,
			Revoke: func(ctx context.Context, img attestor.Image, reason string) ([]attestor.Attestation, error) {
				r, err := p.Revoke(ctx, attestor.Revocation{Image: img, Reason: reason})
				return r.Attestations, err
			},
		}, a, b, unattested)
	})

	t.Run("simulator", func(t *testing.T) {
		w := newWorld()
		for n := range 5 {
			w.records = append(w.records, attestor.Record{Decision: attestor.Decision{
				ID: fmt.Sprintf("d%06d", n), Time: t0.Add(time.Duration(n) * time.Minute), Verdict: attestor.Pass,
				Image: attestor.DecidedImage{Reference: a.String()},
			}})
		}

		p := &parts{w: w}
		contract.Simulator(t, 5, t0, "good", func(ctx context.Context, policy []byte, since time.Time, visible func(string) bool) (contract.Simulated, error) {
			s, err := p.Simulate(ctx, server.SimulationRequest{Policy: policy, Since: since, Visible: visible})
			return simulated(s), err
		})
	})

	t.Run("posture", func(t *testing.T) {
		p := &parts{w: newWorld(), posture: attestor.Deny}
		contract.Posture(t, definition, func(ctx context.Context, document []byte) (attestor.Outcome, int, error) {
			r, err := p.Judge(ctx, document)
			return r.Verdict, len(r.Findings), err
		})
	})

	t.Run("policies", func(t *testing.T) {
		p := &parts{w: newWorld()}
		contract.PolicyList(t, func() (refs []attestor.PolicyRef, images [][]string, texts []string) {
			for _, info := range p.All() {
				refs, images, texts = append(refs, info.PolicyRef), append(images, info.Images), append(texts, info.Text)
			}
			return refs, images, texts
		})
	})

	t.Run("occurrences", func(t *testing.T) {
		p := &parts{w: newWorld(), occur: map[string]watch.Occurrence{
			"finished": {Image: a, Finished: true}, "running": {Image: a}, "foreign": {},
		}}
		contract.Occurrences(t, func(ctx context.Context, name string) (attestor.Image, bool, error) {
			o, err := p.Occurrence(ctx, name)
			return o.Image, o.Finished, err
		}, a, "finished", "running", "foreign", "unknown")
	})
}

func simulated(s server.Simulation) contract.Simulated {
	out := contract.Simulated{Judged: s.Judged, Before: s.Counts.Before, After: s.Counts.After}
	for _, f := range s.Flips {
		out.Flips = append(out.Flips, f.Decision)
	}
	return out
}

func reference(t testing.TB, s string) attestor.Reference {
	t.Helper()
	ref, err := attestor.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func TestAuthenticatorContract(t *testing.T) {
	request := func(word string) func(t *testing.T) *http.Request {
		return func(t *testing.T) *http.Request {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://gate.example/v1/policies", http.NoBody)
			if word != "" {
				r.Header.Set("Authorization", word)
			}
			return r
		}
	}

	refused := map[string]func(t *testing.T) *http.Request{"nothing": request(""), "an unknown word": request("mallory")}
	contract.Authenticator(t, callers(t), "builder@example", request("builder"), refused)
	contract.Authenticator(t, arrivals{callers(t), &fleet{t: t}}, "builder@example", request("builder"), refused)
}

func TestPublisherContract(t *testing.T) {
	b := newBus(t)
	contract.Publisher(t, b, func(t *testing.T, n int) []contract.Published {
		t.Helper()
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		messages := make(chan contract.Published, n)
		sub := b.client.Subscriber(ownSubscription)
		sub.ReceiveSettings.MaxOutstandingMessages = 1
		err := sub.Receive(ctx, func(_ context.Context, m *pubsub.Message) {
			m.Ack()
			if messages <- (contract.Published{Data: string(m.Data), Attributes: m.Attributes}); len(messages) == n {
				stop()
			}
		})
		if err != nil {
			t.Fatal(err)
		}

		close(messages)
		var out []contract.Published
		for m := range messages {
			out = append(out, m)
		}
		return out
	})
}
