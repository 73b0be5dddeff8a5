// Package client asks a service of the gate over HTTP: it proves who calls, asks
// again where the service says so, and believes no answer to another question.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/loopback"
	"github.com/attestor-gate/attestor/internal/waiting"
	"github.com/attestor-gate/attestor/internal/when"
)

const (
	// maxAnswer bounds what is read of a service's answer, in bytes: a Decision with
	// every reason of an image with tens of thousands of findings fits.
	maxAnswer = 64 << 20
	// serverWait is asked of the service in one request; longer waits repeat it.
	serverWait = 40 * time.Second
	// callTimeout bounds one request, with the wait in it.
	callTimeout = 90 * time.Second
	// dialAttempts is how often a connection is tried: an instance that just ended,
	// or a name that does not resolve for a moment.
	dialAttempts = 3
	// dialPause is before the second attempt, and twice as long before the third.
	dialPause = 500 * time.Millisecond
	// maxRetryAfter caps what a service may ask for.
	maxRetryAfter = 5 * time.Minute
)

// Options say which service is asked, and as whom.
type Options struct {
	Server  string                                    // its URL; plain http on loopback only
	Token   func(ctx context.Context) (string, error) // see [Identity.Source]; nil: no identity is sent
	Notice  io.Writer                                 // progress, for people
	Version string                                    // of the program, for User-Agent
}

// A Client asks a service. It is safe for concurrent use.
type Client struct {
	o     Options
	base  *url.URL
	http  *http.Client
	now   func() time.Time
	pause time.Duration
}

// notURL is the error of an address that is no service's: HOST:PORT alone, more often than not.
func notURL(server string) error {
	return fmt.Errorf("--server %q is not a URL such as https://gate.example or http://127.0.0.1:8080", server)
}

// New returns a Client, or what is wrong with the URL. It contacts nobody.
func New(o Options) (*Client, error) {
	base, err := url.Parse(strings.TrimSuffix(o.Server, "/"))
	if err != nil || base.Host == "" || (base.Scheme != "https" && base.Scheme != "http") {
		return nil, notURL(o.Server)
	}
	if base.Scheme == "http" && !loopback.Host(base.Hostname()) {
		return nil, fmt.Errorf(
			"--server %s: plain http is for this machine only, since a token would be sent in the clear",
			o.Server,
		)
	}

	return &Client{
		o: o, base: base, now: time.Now, pause: dialPause,
		http: &http.Client{
			Timeout: callTimeout,
			// A redirect would carry the token to whoever it names.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Close drops idle connections. Its error is always nil.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// Admit asks until the answer is no longer "come again", or the request's wait is
// over. Asking twice is safe: what was signed is found the second time. Caller and
// RequestID are the service's to find out.
func (c *Client) Admit(ctx context.Context, r attestor.Request) (attestor.Decision, error) {
	if len(r.Platforms) > 0 {
		return attestor.Decision{}, errors.New("--platform works in-process only: leave out --server")
	}

	until := c.now().Add(r.Wait)
	notice := func(string) {}
	if r.Wait > 0 {
		n := waiting.Start(c.o.Notice, "the answer about "+r.Image.String(), r.Wait)
		defer n.Stop()
		notice = n.For
	}
	for {
		left := max(until.Sub(c.now()), 0)
		// The service bounds the wait of one request, so that a longer one is divided.
		d, retry, err := c.attest(ctx, r, min(left, serverWait))
		if e, ok := errors.AsType[*Error](err); ok {
			retry = e.RetryAfter // the queue is full, memory is short: nothing was decided
		}

		left = until.Sub(c.now())

		// The last answer counts, whatever it is: an answer to come again is no pass.
		if retry <= 0 || left <= 0 {
			return d, err
		}

		notice(awaited(r, d))
		if err := when.Sleep(ctx, min(retry, left)); err != nil {
			return attestor.Decision{}, err
		}
	}
}

// awaited says what is waited for, for whoever reads a build's log.
func awaited(r attestor.Request, d attestor.Decision) string {
	refusals := d.Refusals()
	switch {
	case d.ID == "":
		return "the service, which is busy"
	case slices.ContainsFunc(refusals, func(r attestor.Reason) bool { return r.Code == attestor.CodeCircuitOpen }):
		return "what the service depends on and does not answer"
	case slices.ContainsFunc(refusals, func(r attestor.Reason) bool { return r.Code == attestor.CodeRegistryBusy }):
		return "the registry, which asks for a later retry"
	}
	return "the scan of " + r.Image.String()
}

// attest is one request. retry is positive where the service asks to be asked
// again.
func (c *Client) attest(
	ctx context.Context, r attestor.Request, wait time.Duration,
) (d attestor.Decision, retry time.Duration, err error) {
	body := map[string]any{"image": r.Image.String()}
	if r.DryRun {
		body["dryRun"] = true
	}
	if r.Policy != "" {
		body["policy"] = r.Policy
	}
	if wait > 0 {
		body["wait"] = wait.Round(time.Second).String()
	}
	if len(r.Labels) > 0 {
		body["labels"] = r.Labels
	}
	if r.BreakGlass != "" {
		body["breakGlass"] = map[string]any{"reason": r.BreakGlass}
	}

	resp, err := c.do(ctx, http.MethodPost, "/v1/attest", nil, body)
	if err != nil {
		return attestor.Decision{}, 0, err
	}
	if err := json.Unmarshal(resp.body, &d); err != nil || d.ID == "" || d.Verdict == "" {
		return attestor.Decision{}, 0, resp.problem()
	}

	// Status and body agree, or somebody between us and the service lies.
	if want := d.Answer().HTTPStatus; want != resp.status {
		return attestor.Decision{}, 0, &attestor.Error{
			Kind: attestor.Upstream, Msg: fmt.Sprintf("the service answered %d with a decision that means %d",
				resp.status, want),
		}
	}
	if err := answers(d, r); err != nil {
		return attestor.Decision{}, 0, err
	}

	// At least a second, so that a service that names no time is not asked in a loop.
	if resp.status == http.StatusServiceUnavailable {
		retry = max(resp.retryAfter, time.Second)
	}
	return d, retry, nil
}

// answers refuses a decision on another question: a pass for another image, or
// a dry run's, would be taken for the one that was asked for.
func answers(d attestor.Decision, r attestor.Request) error {
	wrong := func(format string, args ...any) error {
		return &attestor.Error{
			Kind: attestor.Upstream,
			Msg:  fmt.Sprintf(format, args...),
			Fix:  "find out what is between this and the service: a cache must not answer for it",
		}
	}

	enforced := d.Policy != nil && d.Policy.Mode == attestor.Enforce
	switch got, err := attestor.ParseReference(d.Image.Reference); {
	case err != nil || got.Repository() != r.Image.Repository():
		return wrong("the service was asked about %s and answered about %q", r.Image, d.Image.Reference)
	case pinnedElsewhere(r.Image, got):
		return wrong("the service was asked about %s and answered about %s", r.Image, got)
	// An image would have been signed that was only to be looked at.
	case r.DryRun && !d.DryRun:
		return wrong("the service was asked for a dry run and answered with a decision that counts")
	case !r.DryRun && d.DryRun && enforced:
		return wrong("the service was asked for a decision and answered with a dry run")
	// A pass must name what judged and which bytes.
	case d.Verdict == attestor.Pass && (d.Policy == nil || !pinned(got)):
		return wrong("the service says that %s passed, and names no policy or no digest", r.Image)
	case d.Verdict == attestor.Pass && !d.DryRun && len(d.Attestations) == 0:
		return wrong("the service says that %s passed, and names no attestation of it", r.Image)
	}
	return nil
}

// pinned reports whether a reference is by digest.
func pinned(r attestor.Reference) bool { _, ok := r.Pinned(); return ok }

// pinnedElsewhere reports whether a digest was asked about and got is another.
func pinnedElsewhere(asked, got attestor.Reference) bool {
	want, ok := asked.Pinned()
	img, _ := got.Pinned()
	return ok && img != want
}

// Pin returns the image by digest that a reference names. The service looks a tag up, if the caller may read the
// repository; a digest needs nobody.
func (c *Client) Pin(ctx context.Context, ref attestor.Reference) (attestor.Image, error) {
	if img, ok := ref.Pinned(); ok {
		return img, nil
	}

	var out struct {
		Image attestor.Image `json:"image"`
	}
	if err := c.read(ctx, http.MethodGet, "/v1/attestations", url.Values{"image": {ref.String()}}, &out); err != nil {
		return attestor.Image{}, err
	}

	// The answer to another question would have another image revoked.
	if out.Image.IsZero() || out.Image.Repository() != ref.Repository() {
		return attestor.Image{}, &attestor.Error{
			Kind: attestor.Upstream, Msg: fmt.Sprintf("the service was asked about %s and answered about %q",
				ref, out.Image),
		}
	}
	return out.Image, nil
}

// Overrides returns the open overrides that the image's valid attestations stand by; nil: the service has no record.
func (c *Client) Overrides(ctx context.Context, img attestor.Image) ([]attestor.StandingOverride, error) {
	var out struct {
		Image     attestor.Image              `json:"image"`
		Overrides []attestor.StandingOverride `json:"overrides"`
	}
	if err := c.read(ctx, http.MethodGet, "/v1/attestations", url.Values{"image": {img.String()}}, &out); err != nil {
		return nil, err
	}

	// The answer to another question would hide this image's override.
	if out.Image != img {
		return nil, &attestor.Error{
			Kind: attestor.Upstream, Msg: fmt.Sprintf("the service was asked about %s and answered about %q",
				img, out.Image),
		}
	}
	return out.Overrides, nil
}

// Revoke has the service delete its attestations and summaries of an image, and returns those.
func (c *Client) Revoke(ctx context.Context, img attestor.Image, reason string) (attestor.Deleted, error) {
	var out struct {
		Image     attestor.Image         `json:"image"`
		Revoked   []attestor.Attestation `json:"revoked"`
		Summaries []attestor.Summary     `json:"summaries"`
		Left      []attestor.LeftSummary `json:"left"`
	}
	query := url.Values{"image": {img.String()}, "reason": {reason}}
	if err := c.read(ctx, http.MethodDelete, "/v1/attestations", query, &out); err != nil {
		return attestor.Deleted{}, err
	}

	// Any other document would be read as: there was nothing to delete.
	if out.Image != img {
		return attestor.Deleted{}, &attestor.Error{
			Kind: attestor.Upstream, Msg: fmt.Sprintf("the service was asked to revoke %s and answered about %q",
				img, out.Image),
			Fix: "check --server, and any proxy in front of the service; then revoke again",
		}
	}
	return attestor.Deleted{Attestations: out.Revoked, Summaries: out.Summaries, Left: out.Left}, nil
}

// read asks for one JSON document.
func (c *Client) read(ctx context.Context, method, path string, query url.Values, into any) error {
	resp, err := c.do(ctx, method, path, query, nil)
	if err != nil {
		return err
	}
	if resp.status != http.StatusOK || json.Unmarshal(resp.body, into) != nil {
		return resp.problem()
	}
	return nil
}

// A response is an answer, read whole.
type response struct {
	status     int
	header     http.Header
	body       []byte
	retryAfter time.Duration
}

// do sends one request. Only what is safe to repeat whatever is asked is
// repeated: a connection that could not be made.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, body any) (response, error) {
	for attempt := 1; ; attempt++ {
		resp, err := c.once(ctx, method, path, query, body)
		if e, ok := errors.AsType[*net.OpError](err); !ok || e.Op != "dial" || attempt == dialAttempts {
			return resp, err
		}
		if when.Sleep(ctx, c.pause<<(attempt-1)) != nil {
			return resp, err
		}
	}
}

func (c *Client) once(ctx context.Context, method, path string, query url.Values, body any) (response, error) {
	req, err := c.request(ctx, method, path, query, body)
	if err != nil {
		return response{}, err
	}
	resp, err := c.http.Do(req)
	if err != nil && ctx.Err() != nil {
		return response{}, ctx.Err() // whoever asks ended it: nothing is said of the service
	}
	if err != nil {
		// The cause without the request: its query has what a person wrote.
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		fix := "check --server, and that the service runs"
		if strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") { // net/http has no value for it
			fix = "the service speaks HTTP there: begin --server with http://"
		}
		return response{}, &attestor.Error{
			Kind: attestor.Unavailable, Msg: fmt.Sprintf("the service at %s cannot be reached", c.base),
			Fix: fix, Err: err,
		}
	}
	defer resp.Body.Close()

	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return response{}, &attestor.Error{
			Kind: attestor.Unavailable, Msg: "the service's answer is truncated",
			Fix: "try again: existing signatures are found and reused", Err: err,
		}
	}
	if len(b) > maxAnswer {
		return response{}, &attestor.Error{Kind: attestor.Upstream, Msg: "the service's answer is larger than 64 MiB"}
	}

	out := response{status: resp.StatusCode, header: resp.Header, body: b}

	// RFC 9110, 10.2.3, also allows a date, which the gate does not send.
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds >= 0 {
		out.retryAfter = time.Duration(min(seconds, int(maxRetryAfter/time.Second))) * time.Second
	}
	return out, nil
}

// request makes one, with the token where there is one.
func (c *Client) request(ctx context.Context, method, path string, query url.Values, body any) (*http.Request, error) {
	var payload io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		payload = bytes.NewReader(b)
	}

	// The base may have a path of its own, which stays in front.
	target := c.base.JoinPath(path)
	target.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, target.String(), payload)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("User-Agent", "attestor/"+c.o.Version)

	if c.o.Token != nil {
		token, err := c.o.Token(ctx)
		if err != nil {
			return nil, err
		}
		// Cloud Run checks the first and strips its signature; the gate verifies the
		// second for itself.
		req.Header.Set("X-Serverless-Authorization", "Bearer "+token)
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return req, nil
}
