package server_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/v2/pstest"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/attestor-gate/attestor"
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

	if _, err := client.SubscriptionAdminClient.CreateSubscription(t.Context(), &pubsubpb.Subscription{Name: ownSubscription, Topic: name, AckDeadlineSeconds: 60}); err != nil {
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

// Work is spread by Pub/Sub: one run publishes, whoever gets the messages
// judges.
func TestRejudgeSpreadsByPubSub(t *testing.T) {
	b := newBus(t)
	w, p, base := rejudged(t, 3, b.joined)
	w.turn(attestor.StatusDeny, attestor.CodeCVEBlocked, "CVE-2026-9")
	if r := rejudge(t, base); r.Published != 3 || r.Judged != 0 || r.Continued {
		t.Fatalf("report %+v", r)
	}

	b.carry(base, 3)
	denied := 0
	for _, d := range w.decisions() {
		if d.DryRun && d.Verdict == attestor.Deny {
			denied++
		}
	}

	if denied != 3 || len(p.revoked) != 0 {
		t.Errorf("%d denied, %d revoked", denied, len(p.revoked))
	}
	w.pass(2 * time.Hour) // the next run finds them due, and judges those itself
	if r := rejudge(t, base); r.Revoked != 3 || r.Published != 0 {
		t.Errorf("report %+v", r)
	}
}

// A run whose time is over publishes the rest of itself, and so completes: all
// images are judged for one call of the schedule.
func TestRunCompletesByPubSub(t *testing.T) {
	b := newBus(t)
	w, _, base := rejudged(t, 130, b.joined)
	b.on = func() { w.pass(time.Second) } // a page of 100 takes longer than a run may
	r := rejudge(t, base)
	if !r.Continued || r.NextPageToken != "" || r.Published != 100 {
		t.Fatalf("the first part: %+v", r)
	}

	// One more part, and every image.
	parts, seen := 0, map[string]bool{}
	for _, text := range b.carry(base, 130+1) {
		if strings.Contains(text, "pageToken") {
			parts++
		}
		seen[text] = true
	}

	judged := map[string]bool{}
	for _, d := range w.decisions() {
		if d.Labels[watch.LabelRejudges] != "" {
			judged[d.Image.Reference] = true
		}
	}

	if parts != 1 || len(judged) != 130 {
		t.Errorf("%d further parts, %d images judged, %d messages", parts, len(judged), len(seen))
	}
}

// The most that one run may revoke holds for all of its parts together.
func TestCapHoldsForTheWholeRun(t *testing.T) {
	b := newBus(t)
	w, p, base := rejudged(t, 105, func(c *watch.Config) { b.joined(c); c.Cap = 103 })
	w.turn(attestor.StatusDeny, attestor.CodeCVEBlocked, "CVE-2026-9")
	if r := rejudge(t, base); r.Published != 105 || r.Continued {
		t.Fatalf("report %+v", r)
	}

	b.carry(base, 105)
	w.pass(2 * time.Hour)
	p.onRevoke = func() { w.pass(time.Second) }
	r := rejudge(t, base)
	if r.Revoked != 100 || !r.Continued {
		t.Fatalf("the first part: %+v", r)
	}

	b.carry(base, 1)
	if len(p.revoked) != 103 {
		t.Errorf("%d revoked by one run, whose cap is 103", len(p.revoked))
	}
}

// What publishes to another topic cannot start runs or parts of them, nor can
// a message that no gate writes.
func TestOnlyItsOwnSubscriptionBringsWork(t *testing.T) {
	b := newBus(t)
	w, _, base := rejudged(t, 1, b.joined)
	before := len(w.decisions())
	own := map[string]string{"attestor.rejudge": "1"}
	admitted := w.decisions()[0]
	judge := fmt.Sprintf(`{"image":%q,"decision":%q}`, admitted.Image.Reference, admitted.ID)
	for name, body := range map[string]string{
		"an image, by another":  strings.Replace(pushBody(t, "1", judge, own), "subscriptions/gate", "subscriptions/gcr", 1),
		"a run, by another":     strings.Replace(pushBody(t, "2", `{"pageToken":"0"}`, own), "subscriptions/gate", "subscriptions/gcr", 1),
		"a cap that is avoided": pushBody(t, "3", `{"pageToken":"0","revoked":-1000}`, own),
		"a token without end":   pushBody(t, "4", `{"pageToken":"`+strings.Repeat("0", 5000)+`"}`, own),
		"a token of before":     pushBody(t, "6", `{"pageToken":"eyJ0IjoxLCJpIjoiZDAwMDAwMSIsImYiOiIwMTIzNDU2Nzg5YWJjZGVmIn0"}`, own), // version 1: {"t":1,"i":"d000001","f":"0123456789abcdef"}
	} {
		if a := send(t, "admin", "POST", base+"/v1/events", body); a.status != 204 {
			t.Errorf("%s: status %d: poison is acknowledged", name, a.status)
		}
	}

	if after := len(w.decisions()); after != before {
		t.Errorf("%d decisions were made", after-before)
	}
	if a := send(t, "admin", "GET", base+"/metrics", ""); !strings.Contains(a.body, `attestor_events_total{kind="rejudge",outcome="poison"} 5`) {
		t.Error("they are not counted as poison")
	}

	if a := send(t, "admin", "POST", base+"/v1/events", pushBody(t, "5", judge, own)); a.status != 204 || len(w.decisions()) != before+1 {
		t.Errorf("its own: status %d, %d decisions", a.status, len(w.decisions())-before)
	}
}

// Where the rest cannot be published the call fails, so that the schedule
// tries again; nobody is told that a run is complete when it is not.
func TestRestThatCannotBePublishedIsAFailure(t *testing.T) {
	b := newBus(t)
	w, _, base := rejudged(t, 105, b.joined)
	var published atomic.Int64
	b.on = func() {
		w.pass(time.Second)
		if published.Add(1) == 100 { // the page is out
			b.publisher.Stop()
		}
	}

	if a := send(t, "admin", "POST", base+"/v1/rejudge", "{}"); a.status != 503 {
		t.Errorf("status %d: %s", a.status, a.body)
	}
}
