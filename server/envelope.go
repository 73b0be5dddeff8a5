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

// CallerFrom is who sent the request that ctx belongs to: the zero Caller, who
// may do nothing, where nobody was authenticated.
func CallerFrom(ctx context.Context) attestor.Caller {
	c, _ := ctx.Value(callerContextKey).(attestor.Caller)
	return c
}

// secure sets the headers that every answer carries.
func secure(h http.Header) {
	h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains; preload")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cache-Control", "no-store, no-cache, must-revalidate")
	h.Set("Referrer-Policy", "strict-origin-when-cross-origin")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// envelope is around every request, known or not: an id, headers, a span, and
// an end to panics.
func (s *Server) envelope(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := time.Now() // for a metric only
		h := c.Response().Header()
		secure(h)
		id := uuid.NewString() // a client's own id is not trusted: it could pose as another request's
		h.Set("X-Request-Id", id)
		if s.draining.begun() {
			h.Set("Connection", "close")
		}
		ctx, end := s.startSpan(context.WithValue(c.Request().Context(), requestIDKey, id), c.Request())
		c.SetRequest(c.Request().WithContext(ctx))
		if err := s.contained(next, c); err != nil {
			s.fail(c, err)
		}
		end(c.Path(), c.Response().Status)
		s.metrics.request(c.Request().Method, c.Path(), c.Response().Status, time.Since(start))
		return nil
	}
}

// contained runs a handler and turns its panic into an error.
func (s *Server) contained(next echo.HandlerFunc, c echo.Context) (err error) {
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

// callerHash stands for the caller in logs: the same for the same caller, and
// of no use without the key.
func (s *Server) callerHash(c attestor.Caller) slog.Attr {
	mac := hmac.New(sha256.New, s.c.HashKey)
	mac.Write([]byte(callerKey(c)))
	return slog.String("caller_hash", hex.EncodeToString(mac.Sum(nil)[:16]))
}
