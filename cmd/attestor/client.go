package main

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
)

// maxAnswer bounds what is read of a service's answer: a Decision with every
// reason of an image with tens of thousands of findings fits.
const maxAnswer = 64 << 20

// client is the judge that asks a service.
type client struct {
	base   *url.URL
	http   *http.Client
	token  func(ctx context.Context) (string, error) // nil: no identity is sent
	notice io.Writer                                 // progress
	now    func() time.Time
	pause  time.Duration // before a connection is tried a second time; twice as long before the third
}

func newClient(server string, token func(context.Context) (string, error), notice io.Writer) (*client, error) {
	base, err := url.Parse(strings.TrimSuffix(server, "/"))
	if err != nil || base.Host == "" || (base.Scheme != "https" && base.Scheme != "http") {
		return nil, fmt.Errorf("--server %q is not a URL such as https://gate.example", server)
	}
	if base.Scheme == "http" && !isLoopback(base.Hostname()) {
		return nil, fmt.Errorf("--server %s: plain http is for this machine only, since a token would be sent in the clear", server)
	}
	return &client{
		base: base, token: token, notice: notice, now: time.Now, pause: 500 * time.Millisecond,
		http: &http.Client{
			Timeout: 90 * time.Second,
			// A redirect would carry the token to whoever it names.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

func (c *client) Close() error { c.http.CloseIdleConnections(); return nil }

// serverWait is asked of the service in one request; longer waits repeat it.
const serverWait = 40 * time.Second

// Admit asks until the answer is no longer "come again", or the wait is over.
// Asking twice is safe: what was signed is found the second time.
func (c *client) Admit(ctx context.Context, r judgeRequest) (attestor.Decision, error) {
	until := c.now().Add(r.Wait)
	for waiting := false; ; waiting = true {
		left := max(until.Sub(c.now()), 0)
		d, retry, err := c.attest(ctx, r, min(left, serverWait))
		if e, ok := errors.AsType[*exit](err); ok {
			retry = e.after // the queue is full, memory is short: nothing was decided
		}
		left = until.Sub(c.now())
		if retry <= 0 || left <= 0 {
			if waiting {
				fmt.Fprintln(c.notice)
			}
			return d, err
		}
		if !waiting {
			fmt.Fprintf(c.notice, "waiting for %s ", awaited(r, d))
		}
		fmt.Fprint(c.notice, ".")
		timer := time.NewTimer(min(retry, left))
		select {
		case <-ctx.Done():
			timer.Stop()
			return attestor.Decision{}, ctx.Err()
		case <-timer.C:
		}
	}
}

// awaited says what is waited for, for whoever reads a build's log.
func awaited(r judgeRequest, d attestor.Decision) string {
	refusals := d.Refusals()
	switch {
	case d.ID == "":
		return "the service, which is busy"
	case slices.ContainsFunc(refusals, func(r attestor.Reason) bool { return r.Code == attestor.CodeCircuitOpen }):
		return "what the service depends on and does not answer"
	case slices.ContainsFunc(refusals, func(r attestor.Reason) bool { return r.Code == attestor.CodeRegistryBusy }):
		return "the registry, which asks to be asked later"
	}
	return "the scan of " + r.Image.String()
}

// attest is one request. retry is positive where the service asks to be asked
// again.
func (c *client) attest(ctx context.Context, r judgeRequest, wait time.Duration) (d attestor.Decision, retry time.Duration, err error) {
	body := map[string]any{"image": r.Image.String()}
	if r.DryRun {
		body["dryRun"] = true
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
	if len(r.Platforms) > 0 {
		return attestor.Decision{}, 0, errors.New("--platform works in-process only: leave out --server")
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
		return attestor.Decision{}, 0, &attestor.Error{Kind: attestor.Upstream, Msg: fmt.Sprintf("the service answered %d with a decision that means %d", resp.status, want)}
	}
	if err := answers(d, r); err != nil {
		return attestor.Decision{}, 0, err
	}
	if resp.status == http.StatusServiceUnavailable {
		retry = max(resp.retryAfter, time.Second)
	}
	return d, retry, nil
}

// answers refuses a decision on another question: a pass for another image, or
// a dry run's, would be taken for the one that was asked for.
func answers(d attestor.Decision, r judgeRequest) error {
	wrong := func(format string, args ...any) error {
		return &attestor.Error{Kind: attestor.Upstream, Msg: fmt.Sprintf(format, args...), Fix: "find out what is between this and the service: a cache must not answer for it"}
	}
	enforced := d.Policy != nil && d.Policy.Mode == attestor.Enforce
	switch got, err := attestor.ParseReference(d.Image.Reference); {
	case err != nil || got.Repository() != r.Image.Repository():
		return wrong("the service was asked about %s and answered about %q", r.Image, d.Image.Reference)
	case pinnedElsewhere(r.Image, got):
		return wrong("the service was asked about %s and answered about %s", r.Image, got)
	case r.DryRun && !d.DryRun:
		return wrong("the service was asked for a dry run and answered with a decision that counts")
	case !r.DryRun && d.DryRun && enforced:
		return wrong("the service was asked for a decision and answered with a dry run")
	case d.Verdict == attestor.Pass && (d.Policy == nil || !pinned(got)):
		return wrong("the service says that %s passed, and names no policy or no digest", r.Image)
	case d.Verdict == attestor.Pass && !d.DryRun && len(d.Attestations) == 0:
		return wrong("the service says that %s passed, and names no attestation of it", r.Image)
	}
	return nil
}

func pinned(r attestor.Reference) bool { _, ok := r.Pinned(); return ok }

func pinnedElsewhere(asked, got attestor.Reference) bool {
	want, ok := asked.Pinned()
	img, _ := got.Pinned()
	return ok && img != want
}

type response struct {
	status     int
	header     http.Header
	body       []byte
	retryAfter time.Duration
}

// dialAttempts is how often a connection is tried: an instance that just ended,
// or a name that does not resolve for a moment.
const dialAttempts = 3

// do sends one request. Only what is safe to repeat whatever is asked is
// repeated: a connection that could not be made.
func (c *client) do(ctx context.Context, method, path string, query url.Values, body any) (response, error) {
	for attempt := 1; ; attempt++ {
		resp, err := c.once(ctx, method, path, query, body)
		if e, ok := errors.AsType[*net.OpError](err); !ok || e.Op != "dial" || attempt == dialAttempts {
			return resp, err
		}
		timer := time.NewTimer(c.pause << (attempt - 1))
		select {
		case <-ctx.Done():
			timer.Stop()
			return resp, err
		case <-timer.C:
		}
	}
}

func (c *client) once(ctx context.Context, method, path string, query url.Values, body any) (response, error) {
	var payload io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return response{}, err
		}
		payload = bytes.NewReader(b)
	}
	target := c.base.JoinPath(path)
	target.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, target.String(), payload)
	if err != nil {
		return response{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("User-Agent", "attestor/"+version)
	if c.token != nil {
		token, err := c.token(ctx)
		if err != nil {
			return response{}, err
		}
		// Cloud Run checks the first and strips its signature; the gate
		// verifies the second for itself.
		req.Header.Set("X-Serverless-Authorization", "Bearer "+token)
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return response{}, &attestor.Error{Kind: attestor.Unavailable, Msg: fmt.Sprintf("the service at %s cannot be reached", c.base), Fix: "check --server, and that the service runs", Err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return response{}, &attestor.Error{Kind: attestor.Unavailable, Msg: "the service's answer broke off", Fix: "try again; what was signed is found then", Err: err}
	}
	if len(b) > maxAnswer {
		return response{}, &attestor.Error{Kind: attestor.Upstream, Msg: "the service's answer is larger than 64 MiB"}
	}
	out := response{status: resp.StatusCode, header: resp.Header, body: b}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds >= 0 {
		out.retryAfter = time.Duration(min(seconds, 300)) * time.Second
	}
	return out, nil
}

// problem turns an answer that is no Decision into an error that says who
// refused: the gate, Cloud Run in front of it, or a web application firewall.
func (r response) problem() error {
	var p struct {
		Title, Detail, Fix string
	}
	typ, _, _ := strings.Cut(r.header.Get("Content-Type"), ";")
	if typ == "application/problem+json" && json.Unmarshal(r.body, &p) == nil {
		msg := p.Title
		if p.Detail != "" {
			msg = p.Detail
		}
		kind := attestor.Invalid
		if exitFor(r.status) == attestor.ExitError {
			kind = attestor.Unavailable
		}
		return &exit{code: exitFor(r.status), after: r.retryAfter, err: &attestor.Error{Kind: kind, Msg: fmt.Sprintf("%s (HTTP %d)", msg, r.status), Fix: p.Fix}}
	}
	msg := fmt.Sprintf("the answer is not the gate's (HTTP %d, %s)", r.status, or(typ, "no content type"))
	fix := ""
	switch r.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		msg += ": something in front of it refused, Cloud Run's invoker check or a web application firewall such as Cloud Armor"
		fix = "grant roles/run.invoker to this identity; for a firewall, look at the load balancer's log for the rule that matched"
	case http.StatusNotFound:
		fix = "check --server: its path, and that Cloud Run's default URL is not switched off"
	}
	return &exit{code: exitFor(r.status), err: &attestor.Error{Kind: attestor.Upstream, Msg: msg, Fix: fix}}
}

// exitFor is the exit code of an answer without a Decision: the caller's fault
// is 2, anything else could not be decided.
func exitFor(status int) int {
	if status >= 400 && status < 500 && status != http.StatusTooManyRequests {
		return attestor.ExitUsage
	}
	return attestor.ExitError
}
