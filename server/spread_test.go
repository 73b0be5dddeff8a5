package server_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/v2/pstest"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server"
	"github.com/attestor-gate/attestor/server/watch"
)

const ownSubscription = "projects/acme/subscriptions/gate"

// nobody takes what is published.
type nobody struct{}

func (nobody) Publish(context.Context, []byte, map[string]string) error { return errBoom }

// bus is Google's Pub/Sub stand-in with the gate's own topic. It never pushes,
// so that the test carries the messages.
type bus struct {
	t         *testing.T
	client    *pubsub.Client
	publisher *pubsub.Publisher
	on        func() // before each message is published
}

func newBus(t *testing.T) *bus {
	t.Helper()
	srv := pstest.NewServer()
	conn, err := grpc.NewClient(srv.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}

	client, err := pubsub.NewClient(t.Context(), "acme", option.WithGRPCConn(conn))
	if err != nil {
		t.Fatal(err)
	}
	const name = "projects/acme/topics/gate-rejudge"
	if _, err := client.TopicAdminClient.CreateTopic(t.Context(), &pubsubpb.Topic{Name: name}); err != nil {
		t.Fatal(err)
	}

	if _, err := client.SubscriptionAdminClient.CreateSubscription(t.Context(),
		&pubsubpb.Subscription{Name: ownSubscription, Topic: name, AckDeadlineSeconds: 60}); err != nil {
		t.Fatal(err)
	}
	b := &bus{t: t, client: client, publisher: client.Publisher(name), on: func() {}}
	t.Cleanup(func() { b.publisher.Stop(); _ = client.Close(); _ = conn.Close(); _ = srv.Close() })
	return b
}

func (b *bus) Publish(ctx context.Context, data []byte, attributes map[string]string) error {
	b.on()
	_, err := b.publisher.Publish(ctx, &pubsub.Message{Data: data, Attributes: attributes}).Get(ctx)
	return err
}

// joined lets a watcher publish to b.
func (b *bus) joined(c *watch.Config) { c.Publisher, c.Subscription = b, ownSubscription }

// carry pushes what is published, n messages of it, and returns their texts.
func (b *bus) carry(base string, n int) []string {
	b.t.Helper()
	ctx, stop := context.WithTimeout(b.t.Context(), time.Minute)
	defer stop()

	texts := make(chan string, n)
	sub := b.client.Subscriber(ownSubscription)
	sub.ReceiveSettings.MaxOutstandingMessages = 1
	err := sub.Receive(ctx, func(_ context.Context, m *pubsub.Message) {
		if len(texts) == n {
			m.Nack()
			return
		}
		if a := send(b.t, "admin", "POST", base+"/v1/events", pushBody(b.t, m.ID, string(m.Data), m.Attributes)); a.status != 204 {
			b.t.Errorf("status %d: %s", a.status, a.body)
		}

		m.Ack()
		if texts <- string(m.Data); len(texts) == n {
			stop()
		}
	})
	if err != nil || len(texts) != n {
		b.t.Fatalf("%d of %d messages, %v", len(texts), n, err)
	}

	close(texts)
	var out []string
	for text := range texts {
		out = append(out, text)
	}
	return out
}

// Work is spread by Pub/Sub: a call publishes the run, and whoever gets the
// message takes part.
func TestRejudgeSpreadsByPubSub(t *testing.T) {
	b := newBus(t)
	w, p, base := rejudged(t, 3, b.joined)
	w.turn(attestor.StatusDeny, attestor.CodeCVEBlocked, "CVE-2026-9")
	w.pass(time.Second)
	if r := rejudge(t, base); !r.Continued || r.Left != 3 || r.Judged != 0 {
		t.Fatalf("report %+v", r)
	}

	b.carry(base, 1)
	denied := 0
	for _, d := range w.decisions() {
		if d.DryRun && d.Verdict == attestor.Deny {
			denied++
		}
	}
	if denied != 3 || len(p.revoked) != 0 {
		t.Errorf("%d denied, %d revoked", denied, len(p.revoked))
	}

	w.pass(2 * time.Hour) // the next run finds them due
	rejudge(t, base)
	b.carry(base, 1)
	if len(p.revoked) != 3 {
		t.Errorf("%d revoked", len(p.revoked))
	}
}

// A run whose time is over publishes itself again, and so completes: all images
// are judged, once, for one call of the schedule.
func TestRunCompletesByPubSub(t *testing.T) {
	b := newBus(t)
	w, p, base := rejudged(t, 130, b.joined)
	w.turn(attestor.StatusDeny, attestor.CodeCVEBlocked, "CVE-2026-9")
	w.pass(time.Second)
	w.mu.Lock()
	w.step = 2 * time.Second // 32 images take longer than a part may
	w.mu.Unlock()
	r := rejudge(t, base)

	b.carry(base, 5) // 130 images by 32
	judged := map[string]int{}
	for _, d := range w.decisions() {
		if d.Labels[watch.LabelRejudges] != "" {
			judged[d.Image.Reference]++
		}
	}
	for image, n := range judged {
		if n != 1 {
			t.Errorf("%s was judged %d times", image, n)
		}
	}
	run, err := p.w.store().Run(t.Context(), r.Run)
	if err != nil || len(judged) != 130 || run.Covered != 130 || run.Changed != 130 || run.Ended.IsZero() {
		t.Errorf("%d images judged, run %+v, %v", len(judged), run, err)
	}

	// A message that is delivered again finds a run that has ended.
	before := len(w.decisions())
	if a := send(t, "admin", "POST", base+"/v1/events",
		pushBody(t, "again", `{"run":"`+r.Run+`"}`, ownMessage())); a.status != 204 || len(w.decisions()) != before {
		t.Errorf("status %d, %d decisions more", a.status, len(w.decisions())-before)
	}
}

func ownMessage() map[string]string { return map[string]string{"attestor.rejudge": "1"} }

// The most that one run may revoke holds for all of its parts together.
func TestCapHoldsForTheWholeRun(t *testing.T) {
	b := newBus(t)
	w, p, base := rejudged(t, 105, func(c *watch.Config) { b.joined(c); c.Cap = 70 })
	w.turn(attestor.StatusDeny, attestor.CodeCVEBlocked, "CVE-2026-9")
	w.pass(time.Second)
	rejudge(t, base)
	b.carry(base, 1)

	w.pass(2 * time.Hour)
	p.onRevoke = func() { w.pass(2 * time.Second) }
	rejudge(t, base)
	b.carry(base, 3) // 32, 32 and 6 images
	if len(p.revoked) != 70 {
		t.Errorf("%d revoked by one run, whose cap is 70", len(p.revoked))
	}
}

// What publishes to another topic cannot make instances work, nor can a message
// that no gate writes.
func TestOnlyItsOwnSubscriptionBringsWork(t *testing.T) {
	b := newBus(t)
	w, _, base := rejudged(t, 1, b.joined)
	w.turn(attestor.StatusDeny, attestor.CodeCVEBlocked, "CVE-2026-9")
	w.pass(time.Second)
	run := fmt.Sprintf(`{"run":%q}`, rejudge(t, base).Run)
	before := len(w.decisions())
	for name, body := range map[string]string{
		"by another":        strings.Replace(pushBody(t, "1", run, ownMessage()), "subscriptions/gate", "subscriptions/gcr", 1),
		"a run without end": pushBody(t, "2", `{"run":"`+strings.Repeat("0", 5000)+`"}`, ownMessage()),
		"two runs":          pushBody(t, "3", `{"run":"a","run":"b"}`, ownMessage()),
	} {
		if a := send(t, "admin", "POST", base+"/v1/events", body); a.status != 204 {
			t.Errorf("%s: status %d: poison is acknowledged", name, a.status)
		}
	}

	if after := len(w.decisions()); after != before {
		t.Errorf("%d decisions were made", after-before)
	}
	if a := send(t, "admin", "GET", base+"/metrics", ""); !strings.Contains(a.body, `attestor_events_total{kind="rejudge",outcome="poison"} 3`) {
		t.Error("they are not counted as poison")
	}

	if a := send(t, "admin", "POST", base+"/v1/events", pushBody(t, "5", run, ownMessage())); a.status != 204 || len(w.decisions()) != before+1 {
		t.Errorf("its own: status %d, %d decisions", a.status, len(w.decisions())-before)
	}
}

func sweepMessage() map[string]string { return map[string]string{"attestor.sweep": "1"} }

// A queue keeps what is published.
type queue struct {
	mu      sync.Mutex
	texts   []string // guarded by mu
	carried int
}

func (q *queue) Publish(_ context.Context, data []byte, _ map[string]string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.texts = append(q.texts, string(data))
	return nil
}

// sweepWorld is a server that gets messages, and references of two images.
func sweepWorld(t *testing.T, b watch.Publisher) (w *world, base string, refs []attestor.Reference) {
	t.Helper()
	w = newWorld()
	base = serve(t, w, func(c *server.Config) {
		(&parts{w: w}).with(c)
		c.Watch.Publisher, c.Watch.Subscription = b, ownSubscription
	})
	for _, d := range []attestor.Digest{digestA, digestB} {
		ref, err := attestor.ParseReference(repository + "@" + string(d))
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, ref)
	}
	return w, base, refs
}

// judged counts the decisions about each image, and demands that all are dry runs and nothing is attested.
func judged(t *testing.T, w *world) map[string]int {
	t.Helper()
	out := map[string]int{}
	for _, d := range w.decisions() {
		out[d.Image.Reference]++
		if !d.DryRun || len(d.Attestations) > 0 {
			t.Errorf("%s is no dry run", d.Image.Reference)
		}
	}
	if len(w.standing) > 0 {
		t.Errorf("a sweep signed: %v", w.standing)
	}
	return out
}

// A sweep judges and signs nothing, although its caller may attest. What cannot be decided yet is published by itself, and
// nothing that was decided is judged again.
func TestASweepPublishesItsRest(t *testing.T) {
	b := &queue{}
	w, base, refs := sweepWorld(t, b)
	w.checks[digestA] = checkStatus{attestor.StatusError, attestor.CodeScanPending, ""}
	if err := watch.Sweep(t.Context(), b, refs); err != nil {
		t.Fatal(err)
	}
	carry := func() string {
		b.mu.Lock()
		text := b.texts[0]
		b.texts = b.texts[1:]
		b.mu.Unlock()
		b.carried++
		if a := send(t, "admin", "POST", base+"/v1/events", pushBody(t, fmt.Sprint(b.carried), text, sweepMessage())); a.status != 204 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		return text
	}
	carry()
	if n := judged(t, w); n[refs[0].String()] != 1 || n[refs[1].String()] != 1 {
		t.Errorf("judged %v", n)
	}

	w.mu.Lock()
	w.checks[digestA] = checkStatus{status: attestor.StatusPass}
	w.mu.Unlock()
	if want, rest := `{"images":["`+refs[0].String()+`"]}`, carry(); rest != want {
		t.Errorf("the rest is %s, want %s", rest, want)
	}
	if n := judged(t, w); n[refs[0].String()] != 2 || n[refs[1].String()] != 1 {
		t.Errorf("judged %v", n)
	}
}

// A sweep needs the right to judge again, for each image, and comes by the gate's own subscription only.
func TestASweepNeedsItsRight(t *testing.T) {
	for name, tt := range map[string]struct {
		actions []attestor.Action
		images  string
		from    string
		asked   int
	}{
		"rejudge":              {[]attestor.Action{attestor.ActionRejudge}, "registry.example/team/**", ownSubscription, 1},
		"of other images":      {[]attestor.Action{attestor.ActionRejudge}, "registry.example/other/**", ownSubscription, 0},
		"another's":            {[]attestor.Action{attestor.ActionRejudge}, "registry.example/team/**", "projects/acme/subscriptions/gcr", 0},
		"attest, without it":   {[]attestor.Action{attestor.ActionAttest}, "registry.example/team/**", ownSubscription, 0},
		"with every right":     {attestor.Actions(), "registry.example/team/**", ownSubscription, 1},
		"with none, of others": {[]attestor.Action{attestor.ActionRead}, "registry.example/team/**", ownSubscription, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			base := serve(t, w, func(c *server.Config) {
				(&parts{w: w}).with(c)
				c.Watch.Publisher, c.Watch.Subscription = nobody{}, ownSubscription
				c.Identity = as{"pubsub": caller(t, "pubsub", tt.images, tt.actions...)}
			})
			data := `{"images":["` + repository + "@" + string(digestA) + `"]}`
			body := strings.Replace(pushBody(t, "1", data, sweepMessage()), ownSubscription, tt.from, 1)
			send(t, "pubsub", "POST", base+"/v1/events", body)
			if len(w.asked) != tt.asked || len(judged(t, w)) != tt.asked {
				t.Errorf("asked %v, decided %v, want %d", w.asked, w.decisions(), tt.asked)
			}
		})
	}
}

// What another instance has claimed is left to it. Should it be killed, its claim
// lapses, and the message that is delivered again finds it.
func TestAClaimThatLapsedIsTaken(t *testing.T) {
	b := newBus(t)
	w, p, base := rejudged(t, 2, b.joined)
	w.turn(attestor.StatusDeny, attestor.CodeCVEBlocked, "CVE-2026-9")
	w.pass(time.Second)
	id := rejudge(t, base).Run
	run, err := p.w.store().Run(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	claimed, _, err := p.w.store().Claim(t.Context(), run, attestor.Admission{}, 1, func(string) bool { return true })
	if err != nil || len(claimed) != 1 {
		t.Fatalf("claimed %v, %v", claimed, err)
	}

	push := func() int {
		return send(t, "admin", "POST", base+"/v1/events", pushBody(t, "m", `{"run":"`+id+`"}`, ownMessage())).status
	}
	before := len(w.decisions())
	if status := push(); status != 503 || len(w.decisions()) != before+1 {
		t.Errorf("beside a claim: status %d, %d judged; want the other image judged, and the message again", status, len(w.decisions())-before)
	}
	w.pass(2*time.Minute + time.Second)
	if status := push(); status != 204 || len(w.decisions()) != before+2 {
		t.Errorf("after it: status %d, %d judged", status, len(w.decisions())-before)
	}
}

// Where the run cannot be published the call fails, so that the schedule tries
// again; nobody is told that a run is complete when it is not.
func TestRestThatCannotBePublishedIsAFailure(t *testing.T) {
	b := newBus(t)
	w, _, base := rejudged(t, 5, b.joined)
	w.pass(time.Second)
	b.publisher.Stop()
	if a := send(t, "admin", "POST", base+"/v1/rejudge", "{}"); a.status != 503 {
		t.Errorf("status %d: %s", a.status, a.body)
	}
}
