package server

import (
	"bytes"
	"io"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/filter"
)

// pageQueries are the paths that [Config.Pages] serves, with the parameters that
// each reads.
func pageQueries() map[string][]string {
	return map[string][]string{
		"/": nil, "/decisions": append(filter.Names(), pageToken), "/decisions/:id": nil,
		"/decisions/:id/proof": nil, "/revocations/:id": nil, "/images/*": nil,
		"/images": append(append(filter.Names(), filter.ImageNames()...), "page"),
		"/report": append(filter.Names(), "format", "owner"), "/policies": nil, "/bases": nil, "/reasons": nil,
		simulatePath: {"policy", "since"},
	}
}

// simulatePath is the page that takes a form too.
const simulatePath = "/simulate"

// pageClass is the class of a page.
func pageClass(path string) class {
	if path == "/report" || path == "/images" || path == simulatePath {
		return weighs
	}
	return reads
}

// mountPages registers the pages with the same steps as the API: identity,
// rights, rate and queue.
func (s *Server) mountPages(e *echo.Echo) {
	for path, query := range pageQueries() {
		r := route{
			any: []attestor.Action{attestor.ActionRead}, enabled: true, query: query, class: pageClass(path),
			handle: func(k *call) error {
				// The body was read within the limits of every request. The page reads the same bytes.
				k.Request().Body = io.NopCloser(bytes.NewReader(k.body))
				ctx := WithCaller(k.ctx, k.caller)
				s.c.Pages.ServeHTTP(k.Response(), k.Request().WithContext(ctx))
				return nil
			},
		}
		r.path = path
		r.method = http.MethodGet
		s.routes = append(s.routes, r)
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			e.Add(method, path, func(c echo.Context) error { return s.serve(r, c) })
		}

		// The form's parameters are in its body.
		if path == simulatePath {
			form := r
			form.query, form.media, form.method = nil, []string{"application/x-www-form-urlencoded"}, http.MethodPost
			s.routes = append(s.routes, form)
			e.Add(http.MethodPost, path, func(c echo.Context) error { return s.serve(form, c) })
		}
	}
}
