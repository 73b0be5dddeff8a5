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

// Serve answers on ln until ctx ends. It then says that it is not ready, stops
// accepting, lets requests finish for as long as the limits allow, and returns
// nil if all of them did.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	return s.ServeHandler(ctx, ln, s.Handler())
}

// ServeHandler serves another handler by the same limits: admission, on a
// listener of its own.
func (s *Server) ServeHandler(ctx context.Context, ln net.Listener, h http.Handler) error {
	l := s.c.Limits
	// Requests outlive ctx: stopping is no reason to break off a decision. They
	// end with base, once their time is over.
	base, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: l.ReadHeader, ReadTimeout: l.Read, WriteTimeout: l.Write, IdleTimeout: l.Idle,
		MaxHeaderBytes: l.Header, BaseContext: func(net.Listener) context.Context { return base },
		ErrorLog: slog.NewLogLogger(s.c.Logger.Handler(), slog.LevelDebug),
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
	wait(base, l.LameDuck)
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.Drain)
	defer cancel()
	// Whoever waits still, for a scan perhaps, is answered 503 while there is
	// time to. What is being signed does not end with its request.
	last := time.AfterFunc(l.Drain/3*2, abandon)
	defer last.Stop()
	err := srv.Shutdown(drain)
	abandon()
	if err != nil {
		return errors.Join(fmt.Errorf("stopping: requests were still running: %w", err), srv.Close())
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving: %w", err)
	}
	s.c.Logger.InfoContext(ctx, "stopped")
	return nil
}

// wait lets load balancers notice.
func wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
