package engine

import (
	"context"
	"fmt"
	"strings"
	"time"

	"cloud.google.com/go/pubsub/v2"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/google"
	"github.com/attestor-gate/attestor/server/watch"
)

// topic is where the gate publishes work to itself.
type topic struct {
	client    *pubsub.Client
	publisher *pubsub.Publisher
}

var _ watch.Publisher = (*topic)(nil)

// dialTopic connects to Pub/Sub at the first call. name is projects/P/topics/T.
// The client itself reads PUBSUB_EMULATOR_HOST.
func dialTopic(ctx context.Context, name string, timeout time.Duration, guard google.Guard) (*topic, error) {
	project, _, _ := strings.Cut(strings.TrimPrefix(name, "projects/"), "/")
	client, err := pubsub.NewClient(ctx, project, guard.Options(google.ServicePubSub, "")...)
	if err != nil {
		return nil, google.Connecting(google.ServicePubSub, err)
	}

	t := &topic{client: client, publisher: client.Publisher(name)}
	t.publisher.PublishSettings.Timeout = timeout // the client's own would be a minute, with retries in it
	return t, nil
}

// dialTopic connects where the configuration names a topic.
func (e *Engine) dialTopic(ctx context.Context, guard google.Guard) (err error) {
	c := e.Config
	if c.Rejudge.Topic == "" {
		return nil
	}

	e.topic, err = dialTopic(ctx, c.Rejudge.Topic, time.Duration(c.Dependencies.Timeouts.PubSub), guard)
	switch {
	case err == nil:
		e.closers = append(e.closers, e.topic.Close)
	case e.o.policies != nil: // an examination asks everything else all the same
		e.topic, e.noTopic, err = nil, err, nil
	}
	return err
}

// Publish implements [watch.Publisher].
func (t *topic) Publish(ctx context.Context, data []byte, attributes map[string]string) error {
	// Waited for: what is reported as published is stored by Pub/Sub.
	if _, err := t.publisher.Publish(ctx, &pubsub.Message{Data: data, Attributes: attributes}).Get(ctx); err != nil {
		return fmt.Errorf("publishing to %s: %w", t.publisher.String(), err)
	}
	return nil
}

// Close sends what is waiting, and ends the connection.
func (t *topic) Close() error {
	t.publisher.Stop()
	return t.client.Close()
}

// Spread publishes images of a sweep: the instances of the gate judge them in dry run, and record that.
func (e *Engine) Spread(ctx context.Context, images []attestor.Reference) error {
	if e.topic == nil {
		return &attestor.Error{
			Kind: attestor.Unsupported, Msg: "the configuration names no topic that the gate's instances get work by",
			Fix: "set rejudge.topic and rejudge.subscription, or audit in this process",
		}
	}
	return watch.Sweep(ctx, e.topic, images)
}
