package courier

import (
	"context"

	"github.com/attestor-gate/attestor/internal/event"
)

// A Topic sends events to a Pub/Sub topic.
type Topic struct {
	// Publish returns nil once the message is durable. Required.
	Publish func(ctx context.Context, data []byte, attributes map[string]string) error
	// Rows says that messages are rows of a table, and not CloudEvents.
	Rows bool
}

var _ Sender = Topic{}

// Send implements [Sender]. The message is in the structured content mode of CloudEvents'
// binding for Pub/Sub. Subscriptions can filter by the attributes.
func (t Topic) Send(ctx context.Context, m Message) error {
	kind := event.ContentType
	if t.Rows {
		kind = "application/json"
	}
	return t.Publish(ctx, m.Body, map[string]string{
		"content-type": kind, "id": m.Event.ID, "type": string(m.Event.Type),
	})
}
