package engine_test

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/google"

	"github.com/attestor-gate/attestor/internal/engine"
)

// A gate that has lost its admission ends with an error, as it does without its other listener, and answers nobody any
// more. One that is told to stop ends without.
func TestServingEndsWithAdmission(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]bool{"its admission is lost": true, "it is told to stop": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, worldOptions{unstarted: true, config: func(c *config.Config) {
				c.Admission = &config.Admission{Listen: "127.0.0.1:0", Mode: "attested", UnsafeOpen: true}
			}})
			e, err := w.newEngine(t.Context(), google.EmulatedAt(w.google.Addr()), slog.New(slog.DiscardHandler))
			w.ok(err)
			defer func() { w.ok(e.Close()) }()

			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			opened, served := make(chan net.Listener, 1), make(chan error, 1)
			go func() {
				served <- engine.ServeWith(ctx, e, w.listener, func(network, address string) (net.Listener, error) {
					ln, err := net.Listen(network, address)
					opened <- ln
					return ln, err
				})
			}()

			ln := <-opened
			if lost {
				w.ok(ln.Close())
			} else {
				cancel()
			}
			select {
			case err = <-served:
			case <-time.After(2 * time.Minute):
				t.Fatal("it goes on without admission")
			}
			if told := err != nil && strings.Contains(err.Error(), "admission: "); told != lost || !lost && err != nil {
				t.Errorf("it ended with %v", err)
			}
			if c, err := net.Dial("tcp", w.address); err == nil {
				_ = c.Close()
				t.Error("it still listens")
			}
		})
	}
}
