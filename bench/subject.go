package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

// expectation is what an answer must be for a measurement to count.
type expectation struct {
	verdict string
	created bool // an attestation was made, not found
}

// subject is a service under load.
type subject struct {
	*process
	name string
	ask  func(ctx context.Context, c *http.Client, image string, want expectation) error
}

func newGate(p *process) *subject {
	return &subject{process: p, name: "attestor", ask: func(ctx context.Context, c *http.Client, image string,
		want expectation) error {
		status, answer, err := post(ctx, c, p.url+"/v1/attest", map[string]any{"image": image})
		if err != nil {
			return err
		}
		var d struct {
			Verdict      string
			Attestations []struct{ Created bool }
		}

		if err := json.Unmarshal(answer, &d); err != nil {
			return fmt.Errorf("%d: %w: %s", status, err, clip(answer))
		}

		// A time counts only if the answer is right: a gate that refuses early would be the fastest.
		wanted := map[string]int{"pass": http.StatusOK, "deny": http.StatusUnprocessableEntity}[want.verdict]
		if d.Verdict != want.verdict || status != wanted {
			return fmt.Errorf("%s: %d %s", image, status, clip(answer))
		}

		// A pass that found its attestation made fewer calls than one that signed, so that the two are measured apart.
		if want.verdict == "pass" && len(d.Attestations) == 0 {
			return fmt.Errorf("%s passed without an attestation: %s", image, clip(answer))
		}
		for _, a := range d.Attestations {
			if want.verdict == "pass" && a.Created != want.created {
				return fmt.Errorf("%s: an attestation has created: %v, want %v", image, a.Created, want.created)
			}
		}
		return nil
	}}
}

// startPeer runs a command that starts another admission service against the
// stand-ins; its environment says where they are and where to listen. The
// service answers POST / {"image_url": …} with {"success": …}, as Voucher does
// at the path of its checks.
func startPeer(ctx context.Context, command, url string, w *standin.World) (*subject, error) {
	p := &process{cmd: exec.CommandContext(ctx, command), url: url, said: &tail{}, done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), "STANDIN_REGISTRY="+w.Registry.Addr(), "STANDIN_GOOGLE="+w.Google.Addr())
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}

	go func() {
		_ = p.cmd.Wait() // it is stopped by a signal
		close(p.done)
	}()
	s := &subject{process: p, name: "peer", ask: func(ctx context.Context, c *http.Client, image string,
		_ expectation) error {
		status, answer, err := post(ctx, c, url, map[string]any{"image_url": image})
		if err != nil {
			return err
		}
		var d struct{ Success bool }
		if err := json.Unmarshal(answer, &d); err != nil || !d.Success || status != http.StatusOK {
			return fmt.Errorf("%s: %d %s", image, status, clip(answer))
		}
		return nil
	}}

	// It listens within ten seconds, or not at all.
	for range 1000 {
		if resp, err := http.Get(url); err == nil { //nolint:gosec,noctx // the address that the caller named
			resp.Body.Close()
			return s, nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-p.done:
			return nil, fmt.Errorf("%s ended", command)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, fmt.Errorf("%s does not listen at %s", command, url)
}

func clip(b []byte) string {
	s := strings.TrimSpace(string(b))
	return s[:min(len(s), 600)]
}
