package engine

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/courier"
	"github.com/attestor-gate/attestor/internal/event"
	"github.com/attestor-gate/attestor/internal/google"
)

const (
	// webhookBatch and topicBatch are how many events are sent to a receiver at once.
	webhookBatch = 8
	topicBatch   = 100
	// maxEventFile is far above any file of secrets or certificates, in bytes.
	maxEventFile = 1 << 20
)

// receivers are who the record keeps events for.
func receivers(c config.Config) []audit.Receiver {
	if c.Events == nil {
		return nil
	}
	var out []audit.Receiver
	for _, r := range c.Events.Receivers {
		out = append(out, audit.Receiver{Name: r.Name, Types: r.EventTypes()})
	}
	return out
}

// joinCourier makes what delivers events, and connects to nobody yet. A secret that
// cannot be read is an error now, and not when the first event is delivered.
func (e *Engine) joinCourier(ctx context.Context, guard google.Guard) error {
	if e.Config.Events == nil {
		return nil
	}

	var out []courier.Receiver
	for _, r := range e.Config.Events.Receivers {
		made := courier.Receiver{Name: r.Name, Parts: r.Parts()}
		if r.Webhook != nil {
			w, err := newWebhook(*r.Webhook, e.o.Version)
			if err != nil {
				return fmt.Errorf("events receiver %s: %w", r.Name, err)
			}
			e.closers = append(e.closers, w.Close)
			made.Sender, made.Batch = w, webhookBatch
		} else {
			t, err := dialTopic(ctx, cmp.Or(r.Topic, r.Table), time.Duration(e.Config.Dependencies.Timeouts.PubSub),
				guard)
			if err != nil {
				return fmt.Errorf("events receiver %s: %w", r.Name, err)
			}
			e.closers = append(e.closers, t.Close)
			made.Sender, made.Batch = courier.Topic{Publish: t.Publish, Rows: r.Table != ""}, topicBatch
			if r.Table != "" {
				made.Encode = event.Event.EncodeRow
			}
		}
		out = append(out, made)
	}

	if err := e.metrics.Register(newOutboxGauges(e.Store)); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	var err error
	e.courier, err = courier.New(courier.Config{
		Outbox: e.Store, Receivers: out, Source: e.Config.Events.Source, Now: time.Now, Logger: e.log,
		Registry: e.metrics,
	})
	return err
}

func newWebhook(c config.Webhook, version string) (*courier.Webhook, error) {
	text, err := readBounded(c.SecretFile)
	if err != nil {
		return nil, fmt.Errorf("webhook.secretFile: %w", err)
	}
	secrets, err := courier.ParseSecrets(string(text))
	if err != nil {
		return nil, fmt.Errorf("webhook.secretFile: %s: %w", c.SecretFile, err)
	}

	// Without an authority of its own, the system's roots hold.
	var roots *x509.CertPool
	if c.CA != "" {
		pem, err := readBounded(c.CA)
		if err != nil {
			return nil, fmt.Errorf("webhook.ca: %w", err)
		}
		if roots = x509.NewCertPool(); !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("webhook.ca: %s holds no certificate in PEM", c.CA)
		}
	}
	return courier.NewWebhook(courier.WebhookConfig{
		URL: c.URL, Secrets: secrets, Private: c.Private, RootCAs: roots, Now: time.Now, Agent: "attestor/" + version,
	})
}

// readBounded reads a small file.
func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the path is the operator's configuration
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only

	// One byte more than is allowed shows that there is more.
	b, err := io.ReadAll(io.LimitReader(f, maxEventFile+1))
	if err == nil && len(b) > maxEventFile {
		err = errors.New(path + " is larger than 1 MiB")
	}
	return b, err
}
