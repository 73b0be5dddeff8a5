package courier

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/attestor-gate/attestor/internal/event"
	"github.com/attestor-gate/attestor/internal/loopback"
	"github.com/attestor-gate/attestor/internal/reach"
)

// WebhookConfig is a receiver by HTTPS.
type WebhookConfig struct {
	URL     string   // https://…
	Secrets []string // whsec_…, base64; the message is signed by each, so that they can be exchanged
	Private bool     // the receiver may have an address that is not public
	RootCAs *x509.CertPool
	// Lookup turns host names into addresses; nil: the system's resolver.
	Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
	Now    func() time.Time // required
	Agent  string           // the User-Agent
}

// A Webhook sends events by HTTPS, signed as Standard Webhooks 1.0 says.
type Webhook struct {
	url     *url.URL
	signers []*standardwebhooks.Webhook
	client  *http.Client
	now     func() time.Time
	agent   string
}

var _ Sender = (*Webhook)(nil)

// Bounds of a secret, in bytes. Standard Webhooks: "between 24 bytes (192 bits) and 64
// bytes (512 bits)".
const (
	minSecret = 24
	maxSecret = 64
)

// maxAnswer is how much of an answer is read, in bytes: its content is not used.
const maxAnswer = 4 << 10

// NewWebhook returns a Webhook, or what is wrong with its configuration.
func NewWebhook(c WebhookConfig) (*Webhook, error) {
	u, err := ParseWebhookURL(c.URL)
	if err != nil {
		return nil, err
	}
	if len(c.Secrets) == 0 || c.Now == nil {
		return nil, errors.New("making a webhook: secret or clock is missing")
	}

	w := &Webhook{url: u, now: c.Now, agent: c.Agent}
	for _, secret := range c.Secrets {
		signer, err := signerOf(secret)
		if err != nil {
			return nil, err
		}
		w.signers = append(w.signers, signer)
	}

	// The rules are those of registries. A private address, which may be another service's
	// of this network, needs the operator's word; so does a link-local one, where metadata
	// servers are, and then only as a literal address.
	dial := reach.Dialer{Lookup: c.Lookup, May: func(hostport string, a netip.Addr) bool {
		return reach.May(hostport, a, c.Private || loopback.HostPort(hostport))
	}}
	w.client = &http.Client{
		Transport: &http.Transport{
			DialContext:            dial.DialContext,
			TLSClientConfig:        &tls.Config{RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    5 * time.Second,
			ResponseHeaderTimeout:  sendTimeout,
			MaxResponseHeaderBytes: 64 << 10,
			MaxIdleConnsPerHost:    2,
			IdleConnTimeout:        time.Minute,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true,
		},
		// A redirect could lead anywhere, and would take the event along.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       sendTimeout,
	}
	return w, nil
}

// ParseWebhookURL parses the address of a webhook.
func ParseWebhookURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil: // the parser's error would quote the address, which may hold a token
		return nil, errors.New("the address is not a URL")
	case u.Scheme != "https" || u.Host == "" || u.Opaque != "":
		return nil, errors.New("the address is not of the form https://HOST/PATH: events leave by TLS only")
	case u.User != nil:
		return nil, errors.New("the address holds a user name: the receiver identifies the gate by the signature")
	case u.Fragment != "":
		return nil, errors.New("the address holds a fragment, which is never sent")
	}
	return u, nil
}

// signerOf reads one secret.
func signerOf(secret string) (*standardwebhooks.Webhook, error) {
	key, err := decodeSecret(secret)
	if err != nil {
		return nil, err
	}
	return standardwebhooks.NewWebhookRaw(key)
}

// Send implements [Sender].
func (w *Webhook) Send(ctx context.Context, m Message) error {
	at := w.now()
	var signatures []string
	for _, s := range w.signers {
		signature, err := s.Sign(m.Event.ID, at, m.Body)
		if err != nil {
			return fmt.Errorf("signing an event: %w", err)
		}
		signatures = append(signatures, signature)
	}

	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url.String(), bytes.NewReader(m.Body))
	if err != nil {
		return errors.New("the address of the webhook cannot be called")
	}
	req.Header.Set("Content-Type", event.ContentType)
	req.Header.Set("User-Agent", w.agent)
	req.Header.Set(standardwebhooks.HeaderWebhookID, m.Event.ID)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(at.Unix(), 10))
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(signatures, " "))

	resp, err := w.client.Do(req)
	if err != nil {
		// net/http's own error quotes the address, which may hold a token.
		if inner, ok := errors.AsType[*url.Error](err); ok {
			err = inner.Err
		}
		return fmt.Errorf("calling the webhook at %s: %w", w.url.Host, err)
	}
	defer resp.Body.Close()                                          //nolint:errcheck // read only
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer)) // so that the connection can be used again
	return answered(resp, at)
}

// answered judges an answer. Standard Webhooks: a status of 2xx is a success, any other a
// failure, redirects included; 410 asks the sender to stop.
func answered(resp *http.Response, now time.Time) error {
	switch {
	case resp.StatusCode >= 200 && resp.StatusCode < 300:
		return nil
	case resp.StatusCode == http.StatusGone:
		return &Failure{Err: errors.New("the webhook answered 410: it wants no events any more"), Gone: true}
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return &Failure{Err: fmt.Errorf("the webhook answered %d: redirects are not followed", resp.StatusCode)}
	}
	return &Failure{
		Err:   fmt.Errorf("the webhook answered %d", resp.StatusCode),
		After: retryAfter(resp.Header.Get("Retry-After"), now),
	}
}

// retryAfter reads the header Retry-After, seconds or a date; 0 where it has neither.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(header, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second //nolint:gosec // 31 bits
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// Close ends the connections.
func (w *Webhook) Close() error {
	w.client.CloseIdleConnections()
	return nil
}
