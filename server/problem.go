package server

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/attestor-gate/attestor"
)

// A Problem is the body of every answer that is neither a Decision nor another
// success: RFC 9457, media type application/problem+json.
type Problem struct {
	Type      string        `json:"type"` // about:blank: the status says it
	Title     string        `json:"title"`
	Status    int           `json:"status"`
	Detail    string        `json:"detail,omitempty"` // what was found; nothing with 500
	Fix       string        `json:"fix,omitempty"`    // what to do about it
	Code      attestor.Code `json:"code,omitempty"`
	RequestID string        `json:"requestId"`
}

const problemType = "application/problem+json"

// statusOf is the HTTP status of a kind of error. What is not known is 500.
func statusOf(k attestor.Kind) int {
	switch k {
	case attestor.Invalid:
		return http.StatusBadRequest
	case attestor.Unauthenticated:
		return http.StatusUnauthorized
	case attestor.Forbidden:
		return http.StatusForbidden
	case attestor.NotFound:
		return http.StatusNotFound
	case attestor.Unavailable:
		return http.StatusServiceUnavailable
	case attestor.Upstream:
		return http.StatusBadGateway
	case attestor.TooMany:
		return http.StatusTooManyRequests
	case attestor.Unsupported:
		return http.StatusNotImplemented
	case attestor.TooLarge:
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusInternalServerError
}

const unavailableRetryAfter = 5 * time.Second

// problemOf reads an error: what may be said of it, and when to come back.
func problemOf(err error) (p Problem, after time.Duration) {
	p = Problem{Type: "about:blank", Status: http.StatusInternalServerError}
	if e, ok := errors.AsType[*attestor.Error](err); ok && e.Kind != attestor.Internal {
		p.Status, p.Detail, p.Fix, p.Code = statusOf(e.Kind), e.Msg, e.Fix, e.Code
	} else if e, ok := errors.AsType[*refusal](err); ok {
		p.Status, p.Detail, p.Fix = e.status, e.msg, e.fix
	} else if e, ok := errors.AsType[*echo.HTTPError](err); ok && e.Code >= 400 && e.Code < 500 { // the router's
		p.Status = e.Code
	} else if errors.Is(err, context.DeadlineExceeded) {
		p.Status, p.Detail = http.StatusServiceUnavailable, "the time allowed ran out"
	}
	p.Title = http.StatusText(p.Status)
	if l, ok := errors.AsType[*limited](err); ok {
		after = l.after
	} else if p.Status == http.StatusServiceUnavailable {
		after = unavailableRetryAfter
	}
	return p, after
}

// refusal is an error about HTTP itself, for which the domain has no kind.
type refusal struct {
	status   int
	msg, fix string
}

func (r *refusal) Error() string { return r.msg }

// fail writes err as the answer, unless one has been begun.
func (s *Server) fail(c echo.Context, err error) {
	p, after := problemOf(err)
	r := c.Request()
	p.RequestID = requestID(r.Context())
	switch {
	case p.Status >= 500 && p.Status != http.StatusNotImplemented:
		s.c.Logger.ErrorContext(r.Context(), "request failed", slog.Int("status", p.Status), slog.String("route", c.Path()), slog.Any("error", err))
	default:
		s.c.Logger.DebugContext(r.Context(), "request refused", slog.Int("status", p.Status), slog.String("route", c.Path()), slog.Any("error", err))
	}
	if c.Response().Committed {
		return
	}
	h := c.Response().Header()
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="attestor"`)
	}
	setRetryAfter(h, after)
	s.write(c, p.Status, problemType, p)
}

func setRetryAfter(h http.Header, after time.Duration) {
	if after > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
	}
}

// write sends a JSON body. It is encoded first, so that what cannot be encoded
// is a 500 rather than half an answer.
func (s *Server) write(c echo.Context, status int, mediaType string, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		s.c.Logger.ErrorContext(c.Request().Context(), "encoding an answer failed", slog.Any("error", err))
		c.Response().WriteHeader(http.StatusInternalServerError)
		return
	}
	c.Response().Header().Set("Content-Type", mediaType)
	c.Response().WriteHeader(status)
	if _, err := c.Response().Write(append(b, '\n')); err != nil {
		s.c.Logger.DebugContext(c.Request().Context(), "writing an answer failed", slog.Any("error", err))
	}
}
