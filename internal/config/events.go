package config

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"

	"github.com/attestor-gate/attestor/internal/courier"
	"github.com/attestor-gate/attestor/internal/event"
)

// receiverName is what a receiver may be called: it is a label of metrics.
var receiverName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// maxReceivers bounds the receivers: each costs a row for each event.
const maxReceivers = 16

func (e Events) problems(s Store) []error {
	var out []error
	bad := func(format string, args ...any) { out = append(out, fmt.Errorf(format, args...)) }

	// CloudEvents 1.0, source: "An absolute URI is RECOMMENDED".
	if u, err := url.Parse(e.Source); err != nil || u.Scheme == "" || len(e.Source) > maxOrigin {
		bad("events.source: %q is not an absolute URI, such as https://gate.example", e.Source)
	}

	// Without a record events could not wait for their receivers: a crash would lose them.
	if s.None {
		bad("events: a gate that keeps no decisions (store: none) publishes none; set store.sqlite or store.postgres")
	}
	if len(e.Receivers) == 0 || len(e.Receivers) > maxReceivers {
		bad("events.receivers: there are %d: want 1 to %d", len(e.Receivers), maxReceivers)
	}

	seen := map[string]bool{}
	for i, r := range e.Receivers {
		if seen[r.Name] {
			bad("events.receivers[%d].name: duplicate %q", i, r.Name)
		}
		seen[r.Name] = true
		for _, err := range r.problems() {
			bad("events.receivers[%d].%w", i, err)
		}
	}
	return out
}

func (r Receiver) problems() []error {
	var out []error
	bad := func(format string, args ...any) { out = append(out, fmt.Errorf(format, args...)) }

	if !receiverName.MatchString(r.Name) {
		bad("name: %q: want lower-case letters, digits and -, beginning with a letter, 63 at most", r.Name)
	}

	// The first fault of a receiver is enough: further ones follow from it.
	switch {
	case count(r.Webhook != nil, r.Topic != "", r.Table != "") != 1:
		bad("name: %q: want one of webhook, topic and table", r.Name)
	case r.Table != "" && !topicName.MatchString(r.Table):
		bad("table: %q is not projects/PROJECT/topics/NAME", r.Table)
	case r.Table != "" && len(r.Types) > 0:
		bad("types: a table has %v, and no others", event.TableTypes())
	case r.Topic != "" && !topicName.MatchString(r.Topic):
		bad("topic: %q is not projects/PROJECT/topics/NAME", r.Topic)
	case r.Webhook != nil:
		if _, err := courier.ParseWebhookURL(r.Webhook.URL); err != nil {
			bad("webhook.url: %w", err)
		}
		if r.Webhook.SecretFile == "" {
			bad("webhook.secretFile: required; without a signature the receiver could not tell the gate's events " +
				"from others")
		}
	}

	for _, t := range r.Types {
		if !event.Type(t).Known() {
			bad("types: %q: want %v or %s", t, event.Types(), event.DecisionRecorded)
		}
	}
	for _, p := range r.Include {
		if !slices.Contains(event.Parts(), event.Part(p)) {
			bad("include: %q: want %v", p, event.Parts())
		}
	}
	return out
}

// EventTypes lists the types that the receiver gets.
func (r Receiver) EventTypes() []event.Type {
	if r.Table != "" {
		return event.TableTypes()
	}
	if len(r.Types) == 0 {
		return event.Types()
	}
	var out []event.Type
	for _, t := range r.Types {
		out = append(out, event.Type(t))
	}
	return out
}

// Parts lists the parts that the receiver may see.
func (r Receiver) Parts() []event.Part {
	var out []event.Part
	for _, p := range r.Include {
		out = append(out, event.Part(p))
	}
	return out
}
