package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/client"
)

// A pass counts only where it answers the question that was asked.
func TestClientRefusesAnotherAnswer(t *testing.T) {
	const repository = "registry.example/app/good"
	digest, other := "sha256:"+strings.Repeat("a", 64), "sha256:"+strings.Repeat("b", 64)
	enforce, dry := &attestor.PolicyRef{Name: "p", Mode: attestor.Enforce}, &attestor.PolicyRef{Name: "p", Mode: attestor.DryRun}
	pass := func(reference string, change func(*attestor.Decision)) attestor.Decision {
		d := attestor.Decision{
			ID: "1", Verdict: attestor.Pass, Policy: enforce, Image: attestor.DecidedImage{Reference: reference},
			Attestations: []attestor.Attestation{{Attestor: "projects/p/attestors/a"}},
		}
		if change != nil {
			change(&d)
		}
		return d
	}

	dryRun := func(d *attestor.Decision) { d.DryRun, d.Attestations = true, nil }
	for _, tt := range []struct {
		name   string
		image  string
		dryRun bool
		status int
		answer attestor.Decision
		good   bool
	}{
		{"of the tag", repository + ":v1", false, 200, pass(repository+"@"+digest, nil), true},
		{"of the digest", repository + "@" + digest, false, 200, pass(repository+"@"+digest, nil), true},
		{"of a dry run", repository + ":v1", true, 200, pass(repository+"@"+digest, dryRun), true},
		{"by a policy in dry run", repository + ":v1", false, 200, pass(repository+"@"+digest, func(d *attestor.Decision) { dryRun(d); d.Policy = dry }), true},
		{"of another digest", repository + "@" + digest, false, 200, pass(repository+"@"+other, nil), false},
		{"of another repository", repository + ":v1", false, 200, pass("registry.example/app/else@"+digest, nil), false},
		{"of no image", repository + ":v1", false, 200, pass("", nil), false},
		{"of a dry run that nobody asked for", repository + ":v1", false, 200, pass(repository+"@"+digest, dryRun), false},
		{"that counts, instead of a dry run", repository + ":v1", true, 200, pass(repository+"@"+digest, nil), false},
		{"without an attestation", repository + ":v1", false, 200, pass(repository+"@"+digest, func(d *attestor.Decision) { d.Attestations = nil }), false},
		{"of a tag only", repository + ":v1", false, 200, pass(repository+":v1", nil), false},
		{"by no policy", repository + ":v1", false, 200, pass(repository+"@"+digest, func(d *attestor.Decision) { d.Policy = nil }), false},
		{"under a status that refuses", repository + ":v1", false, 422, pass(repository+"@"+digest, nil), false},
		{"that is a refusal", repository + ":v1", false, 200, pass(repository+"@"+digest, func(d *attestor.Decision) { d.Verdict = attestor.Deny }), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(tt.status)
				_ = json.NewEncoder(w).Encode(tt.answer)
			}))
			defer srv.Close()
			c, err := client.New(client.Options{Server: srv.URL, Notice: io.Discard})
			if err != nil {
				t.Fatal(err)
			}

			ref, err := attestor.ParseReference(tt.image)
			if err != nil {
				t.Fatal(err)
			}

			d, err := c.Admit(t.Context(), attestor.Request{Image: ref, DryRun: tt.dryRun})
			if (err == nil) != tt.good {
				t.Errorf("answered %s for %s, %v", d.Verdict, d.Image.Reference, err)
			}
		})
	}
}

// flaky answers as a list says, one after another, and then well.
func flaky(t *testing.T, answers ...func(w http.ResponseWriter)) (*httptest.Server, *atomic.Int64) {
	t.Helper()
	asked := &atomic.Int64{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if n := int(asked.Add(1)); n <= len(answers) {
			answers[n-1](w)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(attestor.Decision{
			ID: "1", Verdict: attestor.Pass, Policy: &attestor.PolicyRef{Name: "p", Mode: attestor.Enforce},
			Image:        attestor.DecidedImage{Reference: "registry.example/app@sha256:" + strings.Repeat("a", 64)},
			Attestations: []attestor.Attestation{{Attestor: "a"}},
		})
	}))
	t.Cleanup(srv.Close)
	return srv, asked
}

// comeAgain is 503 or 429 with Retry-After: a decision, or a problem.
func comeAgain(status int, code attestor.Code) func(w http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Retry-After", "0")
		if code == "" {
			w.Header().Set("Retry-After", "1")
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(`{"title":"busy","detail":"the queue is full"}`))
			return
		}

		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(attestor.Decision{
			ID: "0", Verdict: attestor.Undecided, Image: attestor.DecidedImage{Reference: "registry.example/app@sha256:" + strings.Repeat("a", 64)},
			Checks: []attestor.Check{{Name: "vulnerabilities", Status: attestor.StatusError, Reasons: []attestor.Reason{{Code: code}}}},
		})
	}
}

// What says "come again" is asked again for as long as the caller waits, with
// one line of progress; without a wait it is the answer.
func TestClientComesAgain(t *testing.T) {
	t.Parallel()
	ref, err := attestor.ParseReference("registry.example/app@sha256:" + strings.Repeat("a", 64))
	if err != nil {
		t.Fatal(err)
	}

	for _, tt := range []struct {
		name    string
		answer  func(w http.ResponseWriter)
		says    string
		decided bool // even without waiting there is a decision
	}{
		{"the queue is full", comeAgain(429, ""), "waiting for the service, which is busy, at most 1m\n", false},
		{"memory is short", comeAgain(503, ""), "waiting for the service, which is busy, at most 1m\n", false},
		{"the scan runs", comeAgain(503, attestor.CodeScanRunning), "waiting for the scan of registry.example/app@sha256:", true},
		{"a registry is busy", comeAgain(503, attestor.CodeRegistryBusy), "waiting for the registry, which asks for a later retry", true},
		{"a dependency is down", comeAgain(503, attestor.CodeCircuitOpen), "waiting for what the service depends on", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			srv, asked := flaky(t, tt.answer)
			var notice strings.Builder
			c, err := client.New(client.Options{Server: srv.URL, Notice: &notice})
			if err != nil {
				t.Fatal(err)
			}

			d, err := c.Admit(t.Context(), attestor.Request{Image: ref})
			if (err == nil) != tt.decided || d.Verdict == attestor.Pass || asked.Load() != 1 || notice.Len() > 0 {
				t.Fatalf("without a wait: asked %d times, %s, %v, said %q", asked.Load(), d.Verdict, err, notice.String())
			}

			asked.Store(0)
			d, err = c.Admit(t.Context(), attestor.Request{Image: ref, Wait: time.Minute})
			if err != nil || d.Verdict != attestor.Pass || asked.Load() != 2 ||
				!strings.HasPrefix(notice.String(), tt.says) || strings.Count(notice.String(), "\n") != 1 {
				t.Errorf("asked %d times, %s, %v, said %q", asked.Load(), d.Verdict, err, notice.String())
			}
		})
	}
}

// A connection that cannot be made is tried again, whatever is asked; one that
// broke is not, since nobody knows what it did.
func TestClientDialsAgain(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	address := ln.Addr().String()
	ln.Close()
	c, err := client.New(client.Options{Server: "http://" + address, Notice: io.Discard})
	if err != nil {
		t.Fatal(err)
	}

	c.DialWith(nil, time.Millisecond)
	if _, err := c.Record(t.Context(), "1"); attestor.KindOf(err) != attestor.Unavailable {
		t.Errorf("nobody is there: %v", err)
	}

	broken, asked := flaky(t, func(http.ResponseWriter) { panic(http.ErrAbortHandler) })
	if c, err = client.New(client.Options{Server: broken.URL, Notice: io.Discard}); err != nil {
		t.Fatal(err)
	}

	if _, err := c.Revoke(t.Context(), attestor.Image{}, "a reason that is long enough"); err == nil || asked.Load() != 1 {
		t.Errorf("a connection that broke: asked %d times, %v", asked.Load(), err)
	}

	dials := 0
	srv, asked := flaky(t)
	if c, err = client.New(client.Options{Server: srv.URL, Notice: io.Discard}); err != nil {
		t.Fatal(err)
	}

	c.DialWith(&http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dials++; dials < 3 {
			return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("connection refused")}
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}}, time.Millisecond)

	if r, err := c.Record(t.Context(), "1"); err != nil || r.Decision.ID != "1" || asked.Load() != 1 || dials != 3 {
		t.Errorf("dialled %d times, asked %d times, %v", dials, asked.Load(), err)
	}
}
