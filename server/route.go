package server

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/attestor-gate/attestor"
)

// A route is one row of the API: who may call it, what it reads, what it does.
type route struct {
	method, path string
	open         bool              // no identity is asked for
	any          []attestor.Action // otherwise the caller must have one of these for some image
	media        []string          // of the body; none: there is no body
	bodiless     bool              // the body may be left out
	query        []string          // the parameters it knows
	part         string            // what is missing where it is switched off
	enabled      bool
	handle       func(*call) error
}

// A call is one request to a route, read and authenticated.
type call struct {
	echo.Context
	ctx    context.Context
	caller attestor.Caller
	body   []byte
	media  string
	query  map[string]string
}

const jsonType = "application/json"

// table lists every route. What is not here does not exist.
func (s *Server) table() []route {
	c := s.c
	may := func(a ...attestor.Action) []attestor.Action { return a }
	read, rejudge := may(attestor.ActionRead), may(attestor.ActionRejudge)
	json, text := []string{jsonType}, []string{jsonType, "application/yaml"}
	return []route{
		{method: "POST", path: "/v1/attest", any: may(attestor.ActionAttest, attestor.ActionCheck), media: json, enabled: true, handle: s.attest},
		{method: "GET", path: "/v1/decisions", any: read, query: decisionQuery(), part: "a store", enabled: c.Decisions != nil, handle: s.listDecisions},
		{method: "GET", path: "/v1/decisions/:id", any: read, part: "a store", enabled: c.Decisions != nil, handle: s.showDecision},
		{method: "GET", path: "/v1/decisions/:id/policy", any: read, part: "a store", enabled: c.Decisions != nil, handle: s.showDecisionPolicy},
		{method: "POST", path: "/v1/simulate", any: may(attestor.ActionSimulate), media: json, part: "a store", enabled: c.Simulator != nil, handle: s.simulate},
		{method: "GET", path: "/v1/policies", any: read, part: "policies", enabled: c.Policies != nil, handle: s.listPolicies},
		{method: "GET", path: "/v1/policies/:name", any: read, part: "policies", enabled: c.Policies != nil, handle: s.showPolicy},
		{method: "GET", path: "/v1/attestations", any: read, query: []string{"image"}, part: "attestors", enabled: c.Attestations != nil, handle: s.listAttestations},
		{method: "DELETE", path: "/v1/attestations", any: may(attestor.ActionRevoke), query: []string{"image", "reason"}, part: "attestors", enabled: c.Attestations != nil, handle: s.revoke},
		{method: "POST", path: "/v1/posture", any: may(attestor.ActionPosture), media: text, part: "hardening rules", enabled: c.Posture != nil, handle: s.judgePosture},
		{method: "POST", path: "/v1/events", any: rejudge, media: json, part: "events", enabled: s.watcher != nil, handle: s.event},
		{method: "POST", path: "/v1/rejudge", any: rejudge, media: json, bodiless: true, part: "events", enabled: s.watcher != nil, handle: s.rejudge},
		{method: "GET", path: "/health", open: true, enabled: true, handle: s.health},
		{method: "GET", path: "/healthz", open: true, enabled: true, handle: s.health},
		{method: "GET", path: "/ready", open: true, enabled: true, handle: s.readiness},
		{method: "GET", path: "/readyz", open: true, enabled: true, handle: s.readiness},
		{method: "GET", path: "/metrics", open: true, enabled: true, handle: s.exposeMetrics},
		{method: "GET", path: "/openapi.json", open: true, enabled: true, handle: s.showOpenAPI},
	}
}

// mount puts the table on an echo router, inside what every answer gets.
func (s *Server) mount() {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.Logger.SetOutput(io.Discard)
	e.HTTPErrorHandler = func(err error, c echo.Context) { s.fail(c, err) }
	e.Pre(s.envelope)
	s.routes = s.table()
	for _, r := range s.routes {
		e.Add(r.method, r.path, func(c echo.Context) error { return s.serve(r, c) })
	}
	if s.c.Pages != nil {
		s.mountPages(e)
	}
	s.echo = e
}

// serve does for every route what comes before its own work, cheapest and
// most telling first: who is it, may they, is it too much, can it be read.
func (s *Server) serve(r route, c echo.Context) error {
	k := &call{Context: c, ctx: c.Request().Context()}
	if r.open {
		return r.handle(k)
	}
	if err := s.shed(); err != nil {
		return err
	}
	if err := s.authenticate(r, k); err != nil {
		return err
	}
	if !r.enabled {
		return &attestor.Error{Kind: attestor.Unsupported, Msg: "this gate is configured without " + r.part}
	}
	if err := s.rates.allow(callerKey(k.caller)); err != nil {
		return err
	}
	if err := k.readQuery(r.query); err != nil {
		return err
	}
	if err := k.readBody(r, s.c.Limits.Body); err != nil {
		return err
	}
	done, err := s.slots.take(k.ctx)
	if err != nil {
		return err
	}
	defer done()
	return r.handle(k)
}

func (s *Server) authenticate(r route, k *call) error {
	caller, err := s.c.Identity.Authenticate(k.Request())
	if err != nil {
		return err
	}
	k.caller = caller
	if !slices.ContainsFunc(r.any, caller.MayAnywhere) {
		return &attestor.Error{
			Kind: attestor.Forbidden, Msg: "this identity may not do this: it lacks " + actionNames(r.any),
			Fix: "ask whoever administers the gate to grant " + actionNames(r.any),
		}
	}
	return nil
}

func actionNames(actions []attestor.Action) string {
	names := make([]string, 0, len(actions))
	for _, a := range actions {
		names = append(names, string(a))
	}
	return strings.Join(names, " or ")
}

// callerKey tells callers apart; issuers and subjects hold no line breaks.
func callerKey(c attestor.Caller) string { return c.Issuer + "\n" + c.Subject }

// readQuery refuses what the route does not know, and what is given twice.
func (k *call) readQuery(known []string) error {
	values, err := url.ParseQuery(k.Request().URL.RawQuery)
	if err != nil {
		return &attestor.Error{Kind: attestor.Invalid, Msg: "the query is not well-formed", Err: err}
	}
	k.query = map[string]string{}
	for name, v := range values {
		switch {
		case !slices.Contains(known, name):
			e := &attestor.Error{Kind: attestor.Invalid, Msg: "the query has a parameter that this call does not know"}
			if len(known) > 0 {
				e.Fix = "it knows " + strings.Join(known, ", ")
			}
			return e
		case len(v) != 1:
			return &attestor.Error{Kind: attestor.Invalid, Msg: "the query has " + name + " more than once"}
		}
		k.query[name] = v[0]
	}
	return nil
}

// readBody reads the whole body, within its limit.
func (k *call) readBody(route route, limit int64) error {
	r, media := k.Request(), route.media
	if len(media) == 0 || (route.bodiless && r.ContentLength == 0) {
		return nil
	}
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return &refusal{status: http.StatusUnsupportedMediaType, msg: "the body is compressed", fix: "send it without Content-Encoding"}
	}
	types := r.Header.Values("Content-Type")
	kind, params, err := mime.ParseMediaType(strings.Join(types, ","))
	charset := params["charset"]
	if err != nil || !slices.Contains(media, kind) || (charset != "" && !strings.EqualFold(charset, "utf-8")) {
		return &refusal{status: http.StatusUnsupportedMediaType, msg: "the body's type is not one that this call reads", fix: "send Content-Type: " + strings.Join(media, " or ")}
	}
	k.media = kind
	tooLarge := &attestor.Error{Kind: attestor.TooLarge, Msg: "the body is larger than this gate reads"}
	if r.ContentLength > limit {
		return tooLarge
	}
	k.body, err = io.ReadAll(http.MaxBytesReader(k.Response(), r.Body, limit))
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge
	}
	return &attestor.Error{Kind: attestor.Invalid, Msg: "the body could not be read to its end", Err: err}
}

// answer sends a success.
func (s *Server) answer(k *call, status int, body any) error {
	s.write(k.Context, status, jsonType, body)
	return nil
}
