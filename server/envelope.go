package server

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/attestor-gate/attestor"
)

type contextKey int

const (
	requestIDKey contextKey = iota
	callerContextKey
)

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey).(string)
	return id
}

// CallerFrom returns the caller of the request of ctx. Without an authenticated
// caller it is the zero Caller, who has no rights.
func CallerFrom(ctx context.Context) attestor.Caller {
	c, _ := ctx.Value(callerContextKey).(attestor.Caller)
	return c
}

// WithCaller returns a context for a request of a caller who was authenticated, as [CallerFrom] reads it.
func WithCaller(ctx context.Context, c attestor.Caller) context.Context {
	return context.WithValue(ctx, callerContextKey, c)
}

// secure sets the security headers of every answer.
func secure(h http.Header) {
	h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains; preload")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cache-Control", "no-store, no-cache, must-revalidate")
	h.Set("Referrer-Policy", "strict-origin-when-cross-origin")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// envelope wraps every request, with or without a route: it sets the request's id
// and the headers, starts a span, catches panics and counts the answer.
func (s *Server) envelope(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := time.Now() // for a metric only
		h := c.Response().Header()
		secure(h)

		// An id that the client sends is not used: it could be another request's, whose
		// log lines would then mix with this one's.
		id := uuid.NewString()
		h.Set("X-Request-Id", id)

		// A client on a kept connection must move to another instance.
		if s.draining.begun() {
			h.Set("Connection", "close")
		}

		ctx, end := s.startSpan(context.WithValue(c.Request().Context(), requestIDKey, id), c.Request())
		c.SetRequest(c.Request().WithContext(ctx))
		if err := s.withoutPanic(next, c); err != nil {
			s.fail(c, err)
		}

		end(c.Path(), c.Response().Status)
		s.metrics.request(c.Request().Method, c.Path(), c.Response().Status, time.Since(start))
		return nil
	}
}

// withoutPanic runs a handler and turns its panic into an error, which is answered
// 500: a bug must neither admit an image nor end the process.
func (s *Server) withoutPanic(next echo.HandlerFunc, c echo.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { //nolint:errorlint // the very value, as net/http compares it
				panic(p)
			}
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return next(c)
}

// callerHash identifies the caller in logs. It is the same for the same caller.
// Without the key nobody can compute it for a name that they guess.
func (s *Server) callerHash(c attestor.Caller) slog.Attr {
	mac := hmac.New(sha256.New, s.c.HashKey)
	mac.Write([]byte(callerKey(c)))
	return slog.String("caller_hash", hex.EncodeToString(mac.Sum(nil)[:16]))
}
