package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/v2/pstest"

	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/google"
	"github.com/attestor-gate/attestor/internal/samples"
	"github.com/attestor-gate/attestor/internal/when"
	"github.com/attestor-gate/attestor/server/watch"
)

const (
	ownTopic        = "projects/dev/topics/gate-rejudge"
	ownSubscription = "projects/dev/subscriptions/gate-rejudge"
)

// The whole way of one image: admitted, published by the schedule's call, pushed
// back, judged again. Pub/Sub that fails is a run that failed.
func TestScheduledRunIsSpread(t *testing.T) {
	bus := pstest.NewServer()
	down := sync.OnceValue(bus.Close) // it does not bear two
	t.Cleanup(func() { _ = down() })
	t.Setenv("PUBSUB_EMULATOR_HOST", bus.Addr)
	client, err := pubsub.NewClient(t.Context(), "dev")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, err = client.TopicAdminClient.CreateTopic(t.Context(), &pubsubpb.Topic{Name: ownTopic})
	if _, subErr := client.SubscriptionAdminClient.CreateSubscription(t.Context(),
		&pubsubpb.Subscription{Name: ownSubscription, Topic: ownTopic}); err != nil || subErr != nil {
		t.Fatal(errors.Join(err, subErr))
	}
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
	err = client.Subscriber(ownSubscription).Receive(ctx, func(_ context.Context, m *pubsub.Message) {
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
