package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor/internal/testkit/standin"
	"github.com/attestor-gate/attestor/server/watch"
)

const (
	spreadOver   = 2 // instances
	spreadPushes = 4 // messages that one instance has at once

	ownTopic        = "projects/dev/topics/gate-rejudge"
	ownSubscription = "projects/dev/subscriptions/gate-rejudge"
)

// spreading is how instances judge the images of a sweep that messages name.
type spreading struct {
	took time.Duration
	peak int64         // bytes, resident, of the instance that had most
	cpu  time.Duration // of all instances, per image
}

// spread has instances of the gate judge images of a repository, by the messages that `attestor audit --spread`
// publishes. The harness pushes them, as Pub/Sub does.
func (b *harness) spread(ctx context.Context, repository string, digests []string) (out spreading, err error) {
	var gates []*process
	for range spreadOver {
		dir, err := os.MkdirTemp(b.dir, "spread")
		if err != nil {
			return out, err
		}
		config, err := b.configure(dir, standin.Options{More: limits + fmt.Sprintf("\nrejudge: {topic: %s, subscription: %s}",
			ownTopic, ownSubscription)})
		if err != nil {
			return out, err
		}

		// Nobody is at that address: everything is decided at once, so that no gate publishes anything.
		p, err := serve(ctx, b.binary, config, append(b.world.Env(), "PUBSUB_EMULATOR_HOST=127.0.0.1:1"))
		if err != nil {
			return out, err
		}
		defer p.stop()
		gates = append(gates, p)
	}

	messages := slices.Collect(slices.Chunk(digests, watch.MaxSwept))
	c := client(spreadOver * spreadPushes)
	defer c.CloseIdleConnections()
	var first error
	start := time.Now()
	failed := each(spreadOver*spreadPushes, len(messages), func(i int) error {
		return b.push(ctx, c, gates[i%spreadOver], i, repository, messages[i])
	}, &first)
	out.took = time.Since(start)
	if failed > 0 {
		return out, fmt.Errorf("%d of %d messages failed; the first: %w", failed, len(messages), first)
	}

	done := 0
	for _, p := range gates {
		u, err := p.used(ctx)
		if err != nil {
			return out, err
		}
		out.peak, out.cpu = max(out.peak, u.peak), out.cpu+u.cpu/time.Duration(len(digests))
		n, err := sweptBy(ctx, p)
		if err != nil {
			return out, err
		}
		done += n
	}

	// A message is done if all of its images passed: one that fails early would be the fastest.
	if done != len(messages) {
		b.broken = append(b.broken, fmt.Sprintf("spread: %d of %d messages are done", done, len(messages)))
	}
	return out, nil
}

// push hands one message to an instance.
func (b *harness) push(ctx context.Context, c *http.Client, p *process, id int, repository string, digests []string) error {
	var images struct {
		Images []string `json:"images"`
	}
	for _, d := range digests {
		images.Images = append(images.Images, b.world.Registry.Addr()+"/"+repository+":"+b.stock.tags[d])
	}
	data, err := json.Marshal(images)
	if err != nil {
		return err
	}
	status, answer, err := post(ctx, c, p.url+"/v1/events", map[string]any{
		"subscription": ownSubscription,
		"message": map[string]any{
			"data": data, "attributes": map[string]string{"attestor.sweep": "1"}, "messageId": fmt.Sprint(id),
		},
	})
	if err == nil && status != http.StatusNoContent {
		err = fmt.Errorf("%d %s", status, clip(answer))
	}
	return err
}

// sweptBy is how many messages of a sweep an instance has done.
func sweptBy(ctx context.Context, p *process) (n int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()

	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, `attestor_events_total{kind="sweep",outcome="done"} `); ok {
			_, err = fmt.Sscan(rest, &n)
		}
	}
	return n, err
}
