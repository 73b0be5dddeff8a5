package engine_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/v2/pstest"
	"github.com/prometheus/client_golang/prometheus"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/attest"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/courier"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/event"
	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/internal/samples"
	"github.com/attestor-gate/attestor/internal/testkit/contract"
	"github.com/attestor-gate/attestor/internal/testkit/pgtest"
	"github.com/attestor-gate/attestor/server"
	"github.com/attestor-gate/attestor/server/telemetry"
	"github.com/attestor-gate/attestor/verify/signed"
	"github.com/attestor-gate/attestor/vuln"
)

// recordsOfBoth runs one suite over the record on each database.
func recordsOfBoth(t *testing.T, suite func(t *testing.T, open func(t *testing.T) *audit.Store)) {
	t.Helper()
	open := func(t *testing.T, c audit.Config) *audit.Store {
		t.Helper()
		c.Now = time.Now
		c.Timeout = 5 * time.Minute // a loaded machine is no fault of the store
		s, err := audit.Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	t.Run("sqlite", func(t *testing.T) {
		suite(t, func(t *testing.T) *audit.Store {
			return open(t, audit.Config{SQLite: filepath.Join(t.TempDir(), "record.db")})
		})
	})
	t.Run("postgresql", func(t *testing.T) {
		databases := pgtest.Databases(t)
		suite(t, func(t *testing.T) *audit.Store {
			t.Helper()
			return open(t, audit.Config{PostgreSQL: databases(t)})
		})
	})
}

func TestDecisionsContract(t *testing.T) {
	t.Parallel()
	recordsOfBoth(t, func(t *testing.T, open func(t *testing.T) *audit.Store) {
		contract.Decisions(t, func(t *testing.T) contract.DecisionRecord {
			s := open(t)
			d := engine.Decisions(s)
			return contract.DecisionRecord{
				Decision: d.Decision,
				List: func(ctx context.Context, q contract.DecisionQuery) ([]attestor.Decision, string, error) {
					page, err := d.List(ctx, server.DecisionFilter{
						Filter: q.Filter, PageSize: q.PageSize, PageToken: q.PageToken,
					})
					return page.Decisions, page.NextPageToken, err
				},
				Add: func(t *testing.T, records ...attestor.Record) {
					t.Helper()
					for _, r := range records {
						if _, err := s.Finish(t.Context(), r); err != nil {
							t.Fatal(err)
						}
					}
				},
			}
		})
	})
}

// The parts that this package gives the service keep their promises over the
// real engine.
func TestPartsContracts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{quiet: true})
	base := baseImage(t)
	w.push("base/debian", "12", base)
	var images []attestor.Image
	for n := range 3 {
		ref := w.push("app/good", fmt.Sprint("v", n), imageOn(t, base, "65532:65532", entry{"app", fmt.Sprint(n)}))
		w.scan(ref, samples.Clean)
		img, err := attestor.ParseImage(ref)
		w.ok(err)
		images = append(images, img)
	}
	for _, img := range images[:2] {
		if a := w.post(img.String(), false); a.decision.Verdict != attestor.Pass {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	attested, other, unattested := images[0], images[1], images[2]

	t.Run("admission", func(t *testing.T) { contract.Standings(t, engine.Attestations(w.engine), attested, unattested) })
	t.Run("posture's attestations", func(t *testing.T) {
		contract.Attested(t, attest.AttestedBy{Of: w.engine.Attester, Attestors: w.engine.Config.AttestorNames()}, attested, unattested)
	})
	t.Run("posture's attestations, by the policy", func(t *testing.T) {
		contract.Attested(t, w.engine.Attested(), attested, unattested)
	})
	t.Run("posture's attestations, by a verifier alone", func(t *testing.T) {
		v, err := attest.NewVerifier(attest.VerifierConfig{
			Grafeas: w.outside.Grafeas, BinAuthz: w.outside.Binauthz, Now: time.Now, Limit: limit.Call(time.Minute),
		})
		w.ok(err)
		contract.Attested(t, attest.AttestedBy{Of: v, Attestors: w.engine.Config.AttestorNames()}, attested, unattested)
	})
	t.Run("scans", func(t *testing.T) {
		s, err := vuln.New(vuln.Config{Client: w.engine.Google.Grafeas, ScanProjects: w.config.ScanProjects, Now: time.Now, NoListLag: true})
		w.ok(err)
		unscanned, err := attestor.ParseImage(attested.Repository() + "@sha256:" + strings.Repeat("e", 64))
		w.ok(err)
		contract.Scanner(t, contract.Scanning{Scanner: engine.Named(s), Scanned: attested, Unscanned: unscanned})
	})
	t.Run("policies", func(t *testing.T) {
		contract.Policies(t, w.engine.Policies, attested.Repository(), "registry.example/other/app")
		p := engine.Policies(w.engine)
		contract.PolicyList(t, func() (refs []attestor.PolicyRef, images [][]string, texts []string) {
			for _, info := range p.All() {
				refs, images, texts = append(refs, info.PolicyRef), append(images, info.Images), append(texts, info.Text)
			}
			return refs, images, texts
		})
	})
	t.Run("public keys", func(t *testing.T) {
		k := signed.KMSKeys{Client: w.engine.Google.KMS, Limit: limit.Call(time.Minute)}
		contract.PublicKeys(t, k, "gcpkms://"+samples.Key, "gcpkms://"+samples.Key+"0")
	})
	t.Run("posture", func(t *testing.T) {
		p, err := engine.Postures(w.engine)
		w.ok(err)
		definition := "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: api}\n" +
			"spec: {template: {spec: {containers: [{image: " + attested.String() + "}]}}}\n"
		contract.Posture(t, definition, func(ctx context.Context, document []byte) (attestor.Outcome, int, error) {
			r, err := p.Judge(ctx, document)
			return r.Verdict, len(r.Findings), err
		})
	})
	t.Run("occurrences", func(t *testing.T) {
		named := func(resource string, status grafeaspb.DiscoveryOccurrence_AnalysisStatus) string {
			o, err := w.outside.Grafeas.CreateOccurrence(t.Context(), &grafeaspb.CreateOccurrenceRequest{
				Parent: "projects/" + samples.Project, Occurrence: &grafeaspb.Occurrence{
					ResourceUri: resource, NoteName: "projects/goog-analysis/notes/PACKAGE_VULNERABILITY", Kind: grafeaspb.NoteKind_DISCOVERY,
					Details: &grafeaspb.Occurrence_Discovery{Discovery: &grafeaspb.DiscoveryOccurrence{AnalysisStatus: status}},
				},
			})
			w.ok(err)
			return o.GetName()
		}
		o := engine.Occurrences(w.engine)
		contract.Occurrences(t, func(ctx context.Context, name string) (attestor.Image, bool, error) {
			got, err := o.Occurrence(ctx, name)
			return got.Image, got.Finished, err
		}, attested,
			named("https://"+attested.String(), grafeaspb.DiscoveryOccurrence_FINISHED_SUCCESS),
			named("https://"+attested.String(), grafeaspb.DiscoveryOccurrence_SCANNING),
			named("https://example.com/a/package", grafeaspb.DiscoveryOccurrence_FINISHED_SUCCESS),
			"projects/"+samples.Project+"/occurrences/unknown")

		// A scan that failed, or is not supported, is no longer waited for.
		for status, want := range map[grafeaspb.DiscoveryOccurrence_AnalysisStatus]bool{
			grafeaspb.DiscoveryOccurrence_FINISHED_FAILED: true, grafeaspb.DiscoveryOccurrence_FINISHED_UNSUPPORTED: true,
			grafeaspb.DiscoveryOccurrence_PENDING: false, grafeaspb.DiscoveryOccurrence_ANALYSIS_STATUS_UNSPECIFIED: false,
		} {
			got, err := o.Occurrence(t.Context(), named("https://"+attested.String(), status))
			if w.ok(err); got.Finished != want {
				t.Errorf("%s: finished %t", status, got.Finished)
			}
		}
	})

	// What watches the stages lets through what they promise.
	t.Run("observed", func(t *testing.T) {
		c := attestor.GateConfig{
			Policies: w.engine.Policies, Inspector: w.engine.Inspector, Attester: w.engine.Attester, Recorder: w.engine.Store, Now: time.Now,
		}
		s, err := vuln.New(vuln.Config{Client: w.engine.Google.Grafeas, ScanProjects: w.config.ScanProjects, Now: time.Now, NoListLag: true})
		w.ok(err)
		c.Scanner = s
		observed := func(c attestor.GateConfig, err error) attestor.GateConfig { w.ok(err); return c }
		options := func() telemetry.Options { return telemetry.Options{Registry: prometheus.NewRegistry()} }

		contract.Scanner(t, contract.Scanning{
			Scanner: observed(telemetry.Observe(c, options())).Scanner, Scanned: other,
			Unscanned: attested.Sibling(attestor.Digest("sha256:" + strings.Repeat("e", 64))),
		})
		contract.Attester(t, func(t *testing.T) contract.Attesting {
			w := newWorld(t, worldOptions{quiet: true})
			c.Attester = w.engine.Attester
			return contract.Attesting{Attester: observed(telemetry.Observe(c, options())).Attester, Attestors: w.engine.Config.AttestorNames()}
		})
		contract.Summarizer(t, func(t *testing.T) contract.Summarizing {
			return observedSummarizer(t, func(s attestor.Summarizer) attestor.Summarizer {
				c.Summarizer = s
				return observed(telemetry.Observe(c, options())).Summarizer
			})
		})
		contract.Inspector(t, func(t *testing.T) contract.Inspecting {
			w := newWorld(t, worldOptions{quiet: true})
			img, err := attestor.ParseImage(w.push("app/good", "v1", imageOn(t, baseImage(t), "65532:65532", entry{"app", "1"})))
			w.ok(err)
			tagged, err := attestor.ParseReference(img.Repository() + ":v1")
			w.ok(err)
			unknown, err := attestor.ParseReference(img.Repository() + ":unknown")
			w.ok(err)
			c.Inspector = w.engine.Inspector
			return contract.Inspecting{
				Inspector: observed(telemetry.Observe(c, options())).Inspector, Tagged: tagged, Image: img, Unknown: unknown,
				Down: w.registry.Close,
			}
		})
		contract.Recorder(t, func(t *testing.T) contract.Recording {
			w := newWorld(t, worldOptions{quiet: true})
			c.Recorder = w.engine.Store
			return contract.Recording{
				Recorder: observed(telemetry.Observe(c, options())).Recorder,
				Finished: func(t *testing.T, id string) (attestor.Decision, bool) {
					t.Helper()
					r, err := w.engine.Store.Record(t.Context(), id)
					return r.Decision, err == nil
				},
			}
		})
	})

	// Last, since it ends what the others look at.
	t.Run("attestations", func(t *testing.T) {
		a := engine.Attestations(w.engine)
		contract.Attestations(t, contract.Revoking{
			Pin: a.Pin, Standing: a.Standing,
			Revoke: func(ctx context.Context, img attestor.Image, reason string) ([]attestor.Attestation, error) {
				r, err := a.Revoke(ctx, attestor.Revocation{Image: img, Reason: reason, Caller: attestor.CallerRef{Subject: "auditor@example"}})
				return r.Attestations, err
			},
		}, attested, other, unattested)
	})
}

// What listens to the record lets through what it promises.
func TestRecorderContract(t *testing.T) {
	t.Parallel()
	recordsOfBoth(t, func(t *testing.T, open func(t *testing.T) *audit.Store) {
		contract.Recorder(t, func(t *testing.T) contract.Recording {
			s := open(t)
			return contract.Recording{
				Recorder: engine.Witnessed(s, func(attestor.Record) {}),
				Finished: func(t *testing.T, id string) (attestor.Decision, bool) {
					t.Helper()
					r, err := s.Record(t.Context(), id)
					return r.Decision, err == nil
				},
			}
		})
	})
}

func TestSimulatorContract(t *testing.T) {
	t.Parallel()
	first := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	text := strings.Replace(oneAttestor(), "127.0.0.1:5000/app/**", contract.Repository, 1)
	recordsOfBoth(t, func(t *testing.T, open func(t *testing.T) *audit.Store) {
		s := open(t)
		img, err := attestor.ParseImage(contract.Repository + "@sha256:" + strings.Repeat("a", 64))
		if err != nil {
			t.Fatal(err)
		}
		const n = 600
		for i := range n {
			at := first.Add(time.Duration(i) * time.Minute)
			r := attestor.Record{
				Decision: attestor.Decision{
					ID: fmt.Sprintf("contract-%06d", i), Time: at, Verdict: attestor.Pass, Policy: &attestor.PolicyRef{Name: "sample", Mode: attestor.Enforce},
					Image: attestor.DecidedImage{Requested: img.String(), Reference: img.String(), Digest: img.Digest()},
				},
				Evidence: attestor.Evidence{Time: at, Image: img, Platforms: []attestor.PlatformEvidence{
					{Child: attestor.Child{Platform: "linux/amd64", Digest: img.Digest()}}}},
			}
			if _, err := s.Finish(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		contract.Simulator(t, n, first, text, func(ctx context.Context, policy []byte, since time.Time, visible func(string) bool) (contract.Simulated, error) {
			got, err := engine.Simulator(s).Simulate(ctx, server.SimulationRequest{Policy: policy, Since: since, Visible: visible})
			out := contract.Simulated{Judged: got.Judged, Before: got.Counts.Before, After: got.Counts.After}
			for _, f := range got.Flips {
				out.Flips = append(out.Flips, f.Decision)
			}
			return out, err
		})
		simulatedInPages(t, s, []byte(text), first, n)
	})
}

// simulatedInPages compares the pages of a simulation with the whole, and a sample with a part.
func simulatedInPages(t *testing.T, s *audit.Store, text []byte, first time.Time, n int) {
	t.Helper()
	all := func(string) bool { return true }
	whole, err := engine.Simulator(s).Simulate(t.Context(), server.SimulationRequest{Policy: text, Since: first, Visible: all})
	if err != nil || whole.Judged != n || whole.Images.Judged != 1 {
		t.Fatalf("the whole: %+v, %v", whole, err)
	}
	for _, size := range []int{150, n, n + 1} {
		var judged, images, pages int
		for token := ""; pages == 0 || token != ""; pages++ {
			// The period is relative: each page is asked for at another time.
			got, err := engine.Simulator(s).Simulate(t.Context(), server.SimulationRequest{
				Policy: text, Since: first.Add(time.Duration(pages) * time.Hour), Period: "30d", Visible: all, PageSize: size, PageToken: token,
			})
			if err != nil {
				t.Fatal(err)
			}
			if got.Judged > size || !got.Since.Equal(first) {
				t.Errorf("a page of %d has %d since %s", size, got.Judged, got.Since)
			}
			judged, images, token = judged+got.Judged, images+got.Images.Judged, got.NextPageToken
		}
		if judged != n || images != 1 {
			t.Errorf("pages of %d: %d decisions on %d images in %d pages", size, judged, images, pages)
		}
	}

	got, err := engine.Simulator(s).Simulate(t.Context(), server.SimulationRequest{Policy: text, Since: first, Visible: all, Sample: 10})
	if err != nil || got.Sample != 10 || got.Judged == 0 || got.Judged > n/2 {
		t.Errorf("a sample: %d of %d, says %d, %v", got.Judged, n, got.Sample, err)
	}
	page := server.SimulationRequest{Policy: text, Since: first, Period: "30d", Visible: all, PageSize: 150}
	one, err := engine.Simulator(s).Simulate(t.Context(), page)
	if err != nil {
		t.Fatal(err)
	}
	page.PageToken, page.Policy = one.NextPageToken, append([]byte("# another text\n"), text...)
	if _, err := engine.Simulator(s).Simulate(t.Context(), page); attestor.KindOf(err) != attestor.Invalid {
		t.Errorf("a token of another policy: %v", err)
	}
}

// TestTopicKeepsTheContract publishes to Google's Pub/Sub stand-in.
func TestTopicKeepsTheContract(t *testing.T) {
	srv := pstest.NewServer()
	t.Cleanup(func() { _ = srv.Close() })
	t.Setenv("PUBSUB_EMULATOR_HOST", srv.Addr)
	const name = "projects/acme/topics/gate-rejudge"
	if _, err := srv.GServer.CreateTopic(t.Context(), &pubsubpb.Topic{Name: name}); err != nil {
		t.Fatal(err)
	}
	publisher, err := engine.DialTopic(t.Context(), name, time.Minute, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = publisher.Close() })
	contract.Publisher(t, publisher, func(t *testing.T, _ int) []contract.Published {
		var out []contract.Published
		for _, m := range srv.Messages() { // all that was published by now
			out = append(out, contract.Published{Data: string(m.Data), Attributes: m.Attributes})
		}
		return out
	})
}

// TestTopicOfEventsKeepsTheContract sends events to Google's Pub/Sub stand-in.
func TestTopicOfEventsKeepsTheContract(t *testing.T) {
	srv := pstest.NewServer()
	down := sync.OnceFunc(func() { _ = srv.Close() }) // it does not bear two
	t.Cleanup(down)
	t.Setenv("PUBSUB_EMULATOR_HOST", srv.Addr)
	const name = "projects/acme/topics/gate-events"
	if _, err := srv.GServer.CreateTopic(t.Context(), &pubsubpb.Topic{Name: name}); err != nil {
		t.Fatal(err)
	}
	publisher, err := engine.DialTopic(t.Context(), name, time.Second, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = publisher.Close() })
	contract.Sender(t, func(*testing.T) contract.SentTo {
		return contract.SentTo{
			Sender: courier.Topic{Publish: publisher.Publish},
			Received: func(t *testing.T, _ int) (out []courier.Message) {
				for _, m := range srv.Messages() {
					if m.Attributes["content-type"] != "application/cloudevents+json; charset=utf-8" || m.Attributes["type"] != "decision.denied" {
						t.Errorf("attributes %v", m.Attributes)
					}
					out = append(out, courier.Message{Event: event.Event{ID: m.Attributes["id"]}, Body: m.Data})
				}
				return out
			},
			Break: down,
		}
	})
}
