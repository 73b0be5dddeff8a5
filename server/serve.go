package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Serve serves on ln until ctx ends. It then accepts no more connections and
// waits for the requests that run: for 30 s at most, and after 20 s it cancels
// those that can be cancelled. It returns nil if all of them were answered.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	return s.ServeHandler(ctx, ln, s.Handler())
}

// ServeHandler serves another handler by the same limits, as admission has on a
// listener of its own.
func (s *Server) ServeHandler(ctx context.Context, ln net.Listener, h http.Handler) error {
	// Requests do not end with ctx: a decision that has begun is completed. They end
	// with base.
	base, cancelRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelRequests()

	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: s.timeouts.readHeader, ReadTimeout: s.timeouts.read,
		WriteTimeout: s.timeouts.write, IdleTimeout: s.timeouts.idle,
		MaxHeaderBytes: maxHeader,
		BaseContext:    func(net.Listener) context.Context { return base },
		ErrorLog:       slog.NewLogLogger(s.c.Logger.Handler(), slog.LevelDebug),
	}

	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()

	select {
	case err := <-failed:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}

	s.draining.begin()
	s.c.Logger.InfoContext(ctx, "stopping")

	// Requests that still wait, for a scan perhaps, are cancelled while there is time
	// to answer them with 503. Signing and recording do not end with the request.
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timeouts.drain)
	defer cancel()
	last := time.AfterFunc(s.timeouts.drain/3*2, cancelRequests)
	defer last.Stop()

	err := srv.Shutdown(drain)
	cancelRequests()
	if err != nil {
		return errors.Join(fmt.Errorf("stopping: requests were still running: %w", err), srv.Close())
	}

	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving: %w", err)
	}
	s.c.Logger.InfoContext(ctx, "stopped")
	return nil
}
