package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/plain"
)

// A route is one row of the API.
type route struct {
	method, path string
	open         bool              // no identity is required
	limited      bool              // an open route that takes a slot, as all others do
	any          []attestor.Action // otherwise the caller must have one of these rights for some image
	media        []string          // media types of the body; empty: the request has no body
	bodiless     bool              // the body is optional
	query        []string          // the parameters that are known
	part         string            // the part of the configuration that enables it, for messages
	enabled      bool
	class        class // whose slots it takes
	handle       func(*call) error
}

// A call is one request to a route, after its caller was authenticated.
type call struct {
	echo.Context
	ctx    context.Context
	caller attestor.Caller
	body   []byte
	media  string
	query  map[string]string
}

const jsonType = "application/json"

// table lists every route. There are no others but those of pages.
func (s *Server) table() []route {
	c := s.c
	may := func(a ...attestor.Action) []attestor.Action { return a }
	read, rejudge := may(attestor.ActionRead), may(attestor.ActionRejudge)
	json, text := []string{jsonType}, []string{jsonType, "application/yaml"}

	return slices.Concat(s.logRoutes(read), s.outboxRoutes(), s.historyRoutes(), []route{
		{
			method:  "POST",
			path:    "/v1/attest",
			any:     may(attestor.ActionAttest, attestor.ActionCheck),
			media:   json,
			enabled: true,
			handle:  s.attest,
		},
		{
			method:  "GET",
			path:    "/v1/decisions",
			class:   reads,
			any:     read,
			query:   listQuery(),
			part:    "a store",
			enabled: c.Decisions != nil,
			handle:  s.listDecisions,
		},
		{
			method:  "GET",
			path:    "/v1/records",
			class:   weighs,
			any:     read,
			query:   listQuery(),
			part:    "a store",
			enabled: c.Decisions != nil,
			handle:  s.listRecords,
		},
		{
			method:  "GET",
			path:    "/v1/decisions/:id",
			class:   reads,
			any:     read,
			part:    "a store",
			enabled: c.Decisions != nil,
			handle:  s.showDecision,
		},
		{
			method:  "GET",
			path:    "/v1/decisions/:id/policy",
			class:   reads,
			any:     read,
			part:    "a store",
			enabled: c.Decisions != nil,
			handle:  s.showDecisionPolicy,
		},
		{
			method:  "GET",
			path:    "/v1/revocations/:id",
			class:   reads,
			any:     read,
			part:    "a store",
			enabled: c.Decisions != nil,
			handle:  s.showRevocation,
		},
		{
			method:  "POST",
			path:    "/v1/simulate",
			class:   weighs,
			any:     may(attestor.ActionSimulate),
			media:   json,
			part:    "a store",
			enabled: c.Simulator != nil,
			handle:  s.simulate,
		},
		{
			method:  "GET",
			path:    "/v1/policies",
			class:   reads,
			any:     read,
			part:    "policies",
			enabled: c.Policies != nil,
			handle:  s.listPolicies,
		},
		{
			method:  "GET",
			path:    "/v1/policies/:name",
			class:   reads,
			any:     read,
			part:    "policies",
			enabled: c.Policies != nil,
			handle:  s.showPolicy,
		},
		{
			method:  "GET",
			path:    "/v1/attestations",
			any:     read,
			query:   []string{"image"},
			part:    "attestors",
			enabled: c.Attestations != nil,
			handle:  s.listAttestations,
		},
		{
			method:  "DELETE",
			path:    "/v1/attestations",
			any:     may(attestor.ActionRevoke),
			query:   []string{"image", "reason"},
			part:    "attestors",
			enabled: c.Attestations != nil,
			handle:  s.revoke,
		},
		{
			method:  "POST",
			path:    "/v1/posture",
			class:   documents,
			any:     may(attestor.ActionPosture),
			media:   text,
			part:    "hardening rules",
			enabled: c.Posture != nil,
			handle:  s.judgePosture,
		},
		{
			method:  "POST",
			path:    "/v1/events",
			any:     rejudge,
			media:   json,
			part:    "events",
			enabled: s.watcher != nil,
			handle:  s.event,
		},
		{
			method:   "POST",
			path:     "/v1/rejudge",
			any:      rejudge,
			media:    json,
			bodiless: true,
			part:     "events",
			enabled:  s.watcher != nil,
			handle:   s.rejudge,
		},
		{
			method:   "POST",
			path:     "/v1/expire",
			any:      rejudge,
			media:    json,
			bodiless: true,
			part:     "events",
			enabled:  s.watcher != nil,
			handle:   s.expire,
		},
		{
			method:   "POST",
			path:     "/v1/prune",
			any:      may(attestor.ActionPrune),
			media:    json,
			bodiless: true,
			part:     "retention (store.retention)",
			enabled:  c.Prune != nil,
			handle:   s.prune,
		},
		{method: "GET", path: "/health", open: true, enabled: true, handle: s.health},
		{method: "GET", path: "/healthz", open: true, enabled: true, handle: s.health},
		{method: "GET", path: "/ready", open: true, enabled: true, handle: s.readiness},
		{method: "GET", path: "/readyz", open: true, enabled: true, handle: s.readiness},
		{method: "GET", path: "/metrics", open: true, enabled: true, handle: s.exposeMetrics},
		{method: "GET", path: "/openapi.json", open: true, enabled: true, handle: s.showOpenAPI},
	})
}

// mount registers the routes. Pre runs the envelope around requests without a
// route too.
func (s *Server) mount() {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.Logger.SetOutput(io.Discard)
	e.HTTPErrorHandler = func(err error, c echo.Context) { s.fail(c, err) }
	e.Pre(s.envelope)

	s.routes = s.table()
	for _, r := range s.routes {
		e.Add(r.method, r.path, func(c echo.Context) error { return s.serve(r, c) })

		// RFC 9110, 9.1: "All general-purpose servers MUST support the methods GET and HEAD." net/http leaves out the
		// body.
		if r.method == http.MethodGet {
			e.Add(http.MethodHead, r.path, func(c echo.Context) error { return s.serve(r, c) })
		}
	}

	if s.c.Pages != nil {
		s.mountPages(e)
	}
	s.echo = e
}

// serve runs the steps that precede the work of a route.
func (s *Server) serve(r route, c echo.Context) error {
	k := &call{Context: c, ctx: c.Request().Context()}
	if r.open && !r.limited {
		if err := k.readQuery(r.query); err != nil {
			return err
		}
		return r.handle(k)
	}

	// First of all, since every further step takes memory.
	if err := s.shed(r.class); err != nil {
		return err
	}
	if r.open {
		if err := k.readQuery(r.query); err != nil {
			return err
		}
		release, err := s.slots[r.class].take(k.ctx, attestor.Caller{}) // strangers are one caller
		if err != nil {
			return err
		}
		defer release()
		return r.handle(k)
	}

	// A stranger learns nothing, not even which parts are configured, and costs no
	// more than the check of a token: the body is not read yet.
	if err := s.authenticate(r, k); err != nil {
		return err
	}
	if !r.enabled {
		return &attestor.Error{
			Kind: attestor.Unsupported, Msg: "this gate is configured without " + r.part,
			Fix: "ask an administrator of the gate to configure " + r.part,
		}
	}

	// Malformed requests cost a token of the rate, too: the body is not read yet.
	if err := s.allow(k.caller); err != nil {
		return err
	}

	if err := k.readQuery(r.query); err != nil {
		return err
	}

	// Large bodies are counted before they are read, since together they must fit into memory.
	free, err := s.bodies.hold(tenantKey(k.caller), r.bodySize(k.Request()))
	if err != nil {
		return err
	}
	defer free()
	if err := k.readBody(r); err != nil {
		return err
	}

	// The slot comes after the body, so that a client that sends slowly occupies
	// none.
	release, err := s.slots[r.class].take(k.ctx, k.caller)
	if err != nil {
		s.metrics.limited(k.caller.Team, "slots")
		return err
	}
	s.metrics.teamRequest(k.caller.Team)
	begun := time.Now()
	defer func() { s.giveBack(r.class, time.Since(begun), release) }()

	return r.handle(k)
}

// authenticate identifies the caller and checks that they have one of the route's
// rights for some image. Whether they have it for the image of the request is
// checked where that is known: by the Gate or the handler.
func (s *Server) authenticate(r route, k *call) error {
	caller, err := s.c.Identity.Authenticate(k.Request())
	if err != nil {
		return err
	}
	k.caller = caller

	if !slices.ContainsFunc(r.any, caller.MayAnywhere) {
		return &attestor.Error{
			Kind: attestor.Forbidden,
			Msg:  "this identity lacks the right " + actionNames(r.any),
			Fix:  "ask an administrator of the gate to grant " + actionNames(r.any) + " under identity.callers",
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

// callerKey identifies a caller. It is unambiguous, since neither issuers nor
// subjects contain line breaks.
func callerKey(c attestor.Caller) string { return c.Issuer + "\n" + c.Subject }

// readQuery reads the query. It refuses unknown parameters, since a misspelt filter
// would select everything, and duplicate ones, of which readers choose differently.
func (k *call) readQuery(known []string) error {
	values, err := url.ParseQuery(k.Request().URL.RawQuery)
	if err != nil {
		return &attestor.Error{
			Kind: attestor.Invalid, Msg: "the query is malformed",
			Fix: "encode its values as in application/x-www-form-urlencoded", Err: err,
		}
	}

	k.query = map[string]string{}
	for name, v := range values {
		switch {
		case !slices.Contains(known, name):
			e := &attestor.Error{
				Kind: attestor.Invalid, Msg: "the query has an unknown parameter, " + plain.Quote(name, maxShown),
				Fix: "send no query: this call has no parameters",
			}
			if len(known) > 0 {
				e.Fix = "use only " + strings.Join(known, ", ")
			}
			return e
		case len(v) != 1:
			return &attestor.Error{
				Kind: attestor.Invalid, Msg: "the query has " + plain.Quote(name, maxShown) + " more than once",
				Fix: "send it once",
			}
		}
		k.query[name] = v[0]
	}
	return nil
}

// maxShown is how much of a caller's text a message repeats, in bytes.
const maxShown = 100

// bodySize is how many bytes of a request's body may be read.
func (r route) bodySize(req *http.Request) int64 {
	switch n := req.ContentLength; {
	case len(r.media) == 0, n > maxBody: // the latter is refused unread
		return 0
	case n >= 0:
		return n
	}
	return maxBody
}

// readBody reads the whole body, at most maxBody bytes.
func (k *call) readBody(route route) error {
	r, media := k.Request(), route.media
	if len(media) == 0 || (route.bodiless && r.ContentLength == 0) {
		return nil
	}

	// A compressed body could be small and become larger than any limit. RFC 9110,
	// 15.5.16: 415 "might be due to the request's indicated Content-Type or
	// Content-Encoding".
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return &refusal{
			status: http.StatusUnsupportedMediaType,
			msg:    "the body is compressed",
			fix:    "send it without Content-Encoding",
		}
	}

	types := r.Header.Values("Content-Type")
	kind, params, err := mime.ParseMediaType(strings.Join(types, ","))
	charset := params["charset"]
	if err != nil || !slices.Contains(media, kind) || (charset != "" && !strings.EqualFold(charset, "utf-8")) {
		return &refusal{
			status: http.StatusUnsupportedMediaType,
			msg:    "the body's type is not one that this call reads",
			fix:    "send Content-Type: " + strings.Join(media, " or "),
		}
	}

	k.media = kind

	// A length that is too large is refused before a byte is read. A body without
	// one, or with a wrong one, ends at the same limit.
	tooLarge := &attestor.Error{
		Kind: attestor.TooLarge,
		Msg:  fmt.Sprintf("the body has more than %d bytes, the most that this API reads", maxBody),
		Fix:  "send a smaller body: the limit cannot be changed",
	}
	if r.ContentLength > maxBody {
		return tooLarge
	}

	k.body, err = io.ReadAll(http.MaxBytesReader(k.Response(), r.Body, maxBody))
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge
	}
	return &attestor.Error{
		Kind: attestor.Invalid, Msg: "the body ended before its Content-Length, or arrived too slowly",
		Fix: "send the request again", Err: err,
	}
}

// answer sends a JSON body that is not a problem.
func (s *Server) answer(k *call, status int, body any) error {
	s.write(k.Context, status, jsonType, body)
	return nil
}

// answerDecision sends a decision: as text to a client that asks for that and for no JSON, else as JSON.
func (s *Server) answerDecision(k *call, status int, d attestor.Decision) error {
	k.Response().Header().Add("Vary", "Accept")
	if s.c.Text == nil || !wantsText(k.Request().Header.Get("Accept")) {
		return s.answer(k, status, d)
	}

	text, err := s.c.Text(d)
	if err != nil {
		return err
	}
	k.Response().Header().Set("Content-Type", "text/plain; charset=utf-8")
	k.Response().WriteHeader(status)
	_, _ = k.Response().Write(text) // the client is gone
	return nil
}
