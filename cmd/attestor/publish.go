package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"cloud.google.com/go/pubsub/v2"

	"github.com/attestor-gate/attestor/server/watch"
)

// topic is where the gate publishes work to itself.
type topic struct {
	client    *pubsub.Client
	publisher *pubsub.Publisher
}

var _ watch.Publisher = (*topic)(nil)

// dialTopic connects to Pub/Sub, lazily. name is projects/P/topics/T. The client
// itself knows PUBSUB_EMULATOR_HOST.
func dialTopic(ctx context.Context, name string, timeout time.Duration, guard googleGuard) (*topic, error) {
	project, _, _ := strings.Cut(strings.TrimPrefix(name, "projects/"), "/")
	client, err := pubsub.NewClient(ctx, project, guard.around(servicePubSub, "")...)
	if err != nil {
		return nil, fmt.Errorf("connecting to Pub/Sub: %w", err)
	}
	t := &topic{client: client, publisher: client.Publisher(name)}
	t.publisher.PublishSettings.Timeout = timeout // the client's own would be a minute, with retries in it
	return t, nil
}

// dialTopic connects where the configuration names a topic.
func (e *engine) dialTopic(ctx context.Context) (err error) {
	c := e.config
	if c.Rejudge.Topic == "" {
		return nil
	}
	if e.topic, err = dialTopic(ctx, c.Rejudge.Topic, time.Duration(c.Dependencies.Timeouts.PubSub), c.Dependencies.guardGoogle(e.calls)); err == nil {
		e.closers = append(e.closers, e.topic.close)
	}
	return err
}

// Publish returns when Pub/Sub has the message.
func (t *topic) Publish(ctx context.Context, data []byte, attributes map[string]string) error {
	if _, err := t.publisher.Publish(ctx, &pubsub.Message{Data: data, Attributes: attributes}).Get(ctx); err != nil {
		return fmt.Errorf("publishing to %s: %w", t.publisher.String(), err)
	}
	return nil
}

func (t *topic) close() error {
	t.publisher.Stop()
	return t.client.Close()
}
