package server

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/plain"
)

// A Problem is the body of an answer that has no other: RFC 9457, media type
// application/problem+json.
type Problem struct {
	// Type is always about:blank. RFC 9457, 4.2.1: it "indicates that the problem has
	// no additional semantics beyond that of the HTTP status code".
	Type      string        `json:"type"`
	Title     string        `json:"title"` // 4.2.1: "the same as the recommended HTTP status phrase"
	Status    int           `json:"status"`
	Detail    string        `json:"detail,omitempty"` // what is wrong; empty with 500
	Fix       string        `json:"fix,omitempty"`    // what to do about it
	Code      attestor.Code `json:"code,omitempty"`
	RequestID string        `json:"requestId"`
}

// maxProblemText is how long detail and fix may each be, in bytes: a policy can have
// as many errors as lines, and each repeats a part of what was sent.
const maxProblemText = 16 << 10

const problemType = "application/problem+json"

// statusOf returns the HTTP status of a kind of error. A kind that is not listed
// is 500.
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

// problemOf returns the public part of an error, and when to try again; 0: not
// said. RFC 9457, 3.1.4: detail "ought to focus on helping the client correct the
// problem, rather than giving debugging information". An error that is not known
// to be public has no detail.
func problemOf(err error) (p Problem, after time.Duration) {
	p = Problem{Type: "about:blank", Status: http.StatusInternalServerError}

	if e, ok := errors.AsType[*attestor.Error](err); ok && e.Kind != attestor.Internal {
		p.Status, p.Detail, p.Fix, p.Code = statusOf(e.Kind), e.Msg, e.Fix, e.Code
	} else if e, ok := errors.AsType[*refusal](err); ok {
		p.Status, p.Detail, p.Fix = e.status, e.msg, e.fix
	} else if e, ok := errors.AsType[*echo.HTTPError](err); ok && e.Code >= 400 && e.Code < 500 { // the router's
		p.Status = e.Code
	} else if errors.Is(err, context.DeadlineExceeded) {
		p.Status, p.Detail = http.StatusServiceUnavailable, "the request was not answered in the time allowed"
		p.Fix = "send the request again after the time in Retry-After"
	}

	p.Detail, p.Fix = plain.Clip(p.Detail, maxProblemText), plain.Clip(p.Fix, maxProblemText)
	p.Title = http.StatusText(p.Status)
	if l, ok := errors.AsType[*limited](err); ok {
		after = l.after
	} else if p.Status == http.StatusServiceUnavailable {
		after = unavailableRetryAfter
	}
	return p, after
}

// A refusal is an error about HTTP, which the domain has no kind for.
type refusal struct {
	status   int
	msg, fix string
}

func (r *refusal) Error() string { return r.msg }

// fail logs err, and answers with it unless an answer was begun.
func (s *Server) fail(c echo.Context, err error) {
	err = s.unrouted(err, c)
	p, after := problemOf(err)
	r := c.Request()
	p.RequestID = requestID(r.Context())

	// Someone should look at a failure of the gate. A refused request is the
	// caller's matter.
	attrs := []slog.Attr{slog.Int("status", p.Status), slog.String("route", c.Path()), slog.Any("error", err)}
	if p.Status >= 500 && p.Status != http.StatusNotImplemented {
		s.c.Logger.LogAttrs(r.Context(), slog.LevelError, "request failed", attrs...)
	} else {
		s.c.Logger.LogAttrs(r.Context(), slog.LevelDebug, "request refused", attrs...)
	}

	if c.Response().Committed {
		return
	}

	// RFC 9110, 15.5.2: a server that sends 401 "MUST send a WWW-Authenticate header
	// field".
	h := c.Response().Header()
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="attestor"`)
	}
	setRetryAfter(h, after)
	h.Add("Vary", "Accept")
	if s.c.ProblemPage != nil && !strings.HasPrefix(r.URL.Path, "/v1/") && wantsPage(r.Header.Get("Accept")) {
		if err := s.c.ProblemPage(c.Response(), p); err != nil {
			s.c.Logger.ErrorContext(r.Context(), "rendering a problem failed", slog.Any("error", err))
		}
		return
	}
	s.write(c, p.Status, problemType, p)
}

// setRetryAfter sets Retry-After in whole seconds, rounded up: a client that
// follows it does not come too early.
func setRetryAfter(h http.Header, after time.Duration) {
	if after > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
	}
}

// write sends a JSON body. It encodes the whole body first: a failure is then a
// 500, and not a truncated body after a 200.
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
