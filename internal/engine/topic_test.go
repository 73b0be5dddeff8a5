package engine_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/v2/pstest"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/filter"
	"github.com/attestor-gate/attestor/internal/google"
	"github.com/attestor-gate/attestor/internal/samples"
	"github.com/attestor-gate/attestor/internal/when"
	"github.com/attestor-gate/attestor/server/watch"
)

const (
	ownTopic        = "projects/dev/topics/gate-rejudge"
	ownSubscription = "projects/dev/subscriptions/gate-rejudge"
)

// ownBus is Pub/Sub with the gate's own topic, until down is called.
func ownBus(t *testing.T) (client *pubsub.Client, down func() error) {
	t.Helper()
	bus := pstest.NewServer()
	down = sync.OnceValue(bus.Close) // it does not bear two
	t.Cleanup(func() { _ = down() })
	t.Setenv("PUBSUB_EMULATOR_HOST", bus.Addr)
	client, err := pubsub.NewClient(t.Context(), "dev")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	_, err = client.TopicAdminClient.CreateTopic(t.Context(), &pubsubpb.Topic{Name: ownTopic})
	if _, subErr := client.SubscriptionAdminClient.CreateSubscription(t.Context(),
		&pubsubpb.Subscription{Name: ownSubscription, Topic: ownTopic}); err != nil || subErr != nil {
		t.Fatal(errors.Join(err, subErr))
	}
	return client, down
}

// The whole way of one image: admitted, published by the schedule's call, pushed
// back, judged again. Pub/Sub that fails is a run that failed.
func TestScheduledRunIsSpread(t *testing.T) {
	client, down := ownBus(t)
	w := newWorld(t, worldOptions{policy: anywherePolicy, quiet: true, config: func(c *config.Config) {
		c.Rejudge.Topic, c.Rejudge.Subscription = ownTopic, ownSubscription
		c.Dependencies.Timeouts.PubSub = when.Duration(time.Second)
	}})
	image := w.push("app/good", "v1", imageOn(t, baseImage(t), "65532", entry{"app", "1"}))
	w.scan(image, samples.Clean)
	if a := w.post(image, false); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}

	var report watch.Report
	a := w.do(http.MethodPost, "/v1/rejudge", "{}")
	if err := json.Unmarshal(a.body, &report); err != nil || !report.Continued || report.Left != 1 || report.Judged != 0 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	carried := 0
	err := client.Subscriber(ownSubscription).Receive(ctx, func(_ context.Context, m *pubsub.Message) {
		body, err := json.Marshal(map[string]any{"subscription": ownSubscription,
			"message": map[string]any{"data": m.Data, "attributes": m.Attributes, "messageId": m.ID}})
		if pushed := w.do(http.MethodPost, "/v1/events", string(body)); err != nil || pushed.status != http.StatusNoContent {
			t.Errorf("%d %s, %v", pushed.status, pushed.body, err)
		}
		carried++
		m.Ack()
		stop()
	})
	if err != nil || carried != 1 {
		t.Fatalf("%d messages, %v", carried, err)
	}
	run, err := w.engine.Store.Run(t.Context(), report.Run)
	if err != nil || run.Covered != 1 || run.Changed+run.Failed != 0 || run.Ended.IsZero() {
		t.Errorf("run %+v, %v: want the one image looked at, and nothing changed", run, err)
	}

	if err := down(); err != nil {
		t.Fatal(err)
	}
	if a = w.do(http.MethodPost, "/v1/rejudge", "{}"); a.status != http.StatusServiceUnavailable {
		t.Errorf("with Pub/Sub gone: %d %s", a.status, a.body)
	}
}

// A sweep is judged by two instances with one record, of which one stops while it is at work: the messages that it has not
// acknowledged go to the other one. Every image is judged rightly, and nothing is signed.
func TestASweepIsSpread(t *testing.T) {
	client, _ := ownBus(t)
	w := newWorld(t, worldOptions{policy: anywherePolicy, quiet: true, config: func(c *config.Config) {
		c.Rejudge.Topic, c.Rejudge.Subscription = ownTopic, ownSubscription
	}})
	want := map[string]attestor.Outcome{} // by the reference by digest
	const messages, each = 6, 4
	for m := range messages {
		var refs []attestor.Reference
		for i := range each {
			n := strconv.Itoa(m*each + i)
			user, verdict := "65532", attestor.Pass
			if i == 0 {
				user, verdict = "", attestor.Deny
			}
			image := w.push("app/swept", "v"+n, imageOn(t, baseImage(t), user, entry{"app", n}))
			w.scan(image, samples.Clean)
			want[image] = verdict
			ref, err := attestor.ParseReference(w.registry.Addr() + "/app/swept:v" + n)
			w.ok(err)
			refs = append(refs, ref)
		}
		w.ok(w.engine.Spread(t.Context(), refs))
	}

	serving, stopSecond := context.WithCancel(t.Context())
	second, err := w.newEngine(serving, google.EmulatedAt(w.google.Addr()), slog.New(slog.DiscardHandler))
	w.ok(err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	w.ok(err)
	served := make(chan error, 1)
	go func() { served <- second.ServeOnly(serving, ln) }()
	addresses := []string{w.address, ln.Addr().String()}

	// One message after the other, to the instances in turn. The second one answers its second message, and is gone before
	// that is acknowledged.
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute)
	defer stop()
	turn, carried := 0, 0
	sub := client.Subscriber(ownSubscription)
	sub.ReceiveSettings.MaxOutstandingMessages = 1
	err = sub.Receive(ctx, func(_ context.Context, m *pubsub.Message) {
		body, err := json.Marshal(map[string]any{"subscription": ownSubscription,
			"message": map[string]any{"data": m.Data, "attributes": m.Attributes, "messageId": m.ID}})
		w.ok(err)
		at := turn % len(addresses)
		turn++
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addresses[at]+"/v1/events", bytes.NewReader(body))
		w.ok(err)
		req.Header.Set("Content-Type", "application/json")
		if a := w.send(req); a.status != http.StatusNoContent {
			t.Errorf("%d %s", a.status, a.body)
		}
		if turn == 4 {
			stopSecond()
			w.ok(errors.Join(<-served, second.Close()))
			addresses = addresses[:1]
			m.Nack()
			return
		}
		m.Ack()
		if carried++; carried == messages {
			stop()
		}
	})
	if err != nil || carried != messages {
		t.Fatalf("%d messages, %v", carried, err)
	}

	got := map[string]attestor.Outcome{}
	for d, err := range w.engine.Store.Decisions(t.Context(), filter.Filter{}) {
		w.ok(err)
		got[d.Image.Reference] = d.Verdict
		if !d.DryRun || len(d.Attestations) > 0 {
			t.Errorf("%s is no dry run", d.Image.Reference)
		}
	}
	if !maps.Equal(got, want) || len(w.attested()) > 0 {
		t.Errorf("judged %v, want %v; attested %v", got, want, w.attested())
	}

	// Where no topic is named nobody would judge them.
	w.stop()
	w.config.Rejudge.Topic, w.config.Rejudge.Subscription = "", ""
	w.start()
	if err := w.engine.Spread(t.Context(), nil); attestor.KindOf(err) != attestor.Unsupported {
		t.Errorf("without a topic: %v", err)
	}
}

func TestPubSubEmulatorIsOfThisMachine(t *testing.T) {
	t.Parallel()
	for host, good := range map[string]bool{"127.0.0.1:8085": true, "pubsub.example:8085": false, "http://127.0.0.1:8085": false} {
		_, err := google.FindEmulators(func(name string) string { return map[string]string{"PUBSUB_EMULATOR_HOST": host}[name] }, false)
		if (err == nil) != good {
			t.Errorf("%s: %v", host, err)
		}
	}
	if _, err := google.FindEmulators(func(name string) string {
		return map[string]string{"PUBSUB_EMULATOR_HOST": "127.0.0.1:8085", "K_SERVICE": "gate"}[name]
	}, false); err == nil {
		t.Error("an emulator was accepted on Cloud Run")
	}
}

func TestTopicAndSubscriptionNeedEachOther(t *testing.T) {
	t.Parallel()
	for text, good := range map[string]bool{
		"rejudge: {topic: projects/p/topics/t, subscription: projects/p/subscriptions/s}": true,
		"rejudge: {topic: projects/p/topics/t}":                                           false,
		"rejudge: {subscription: projects/p/subscriptions/s}":                             false,
		"rejudge: {topic: gate-rejudge, subscription: projects/p/subscriptions/s}":        false,
	} {
		if _, err := loadText(t, leastConfig+text+"\n"); (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
}
