package server

import (
	"context"
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
		"/report": append(filter.Names(), "format"), "/policies": nil, "/bases": nil,
	}
}

// pageClass is the class of a page.
func pageClass(path string) class {
	if path == "/report" {
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
				ctx := context.WithValue(k.ctx, callerContextKey, k.caller)
				s.c.Pages.ServeHTTP(k.Response(), k.Request().WithContext(ctx))
				return nil
			},
		}
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			e.Add(method, path, func(c echo.Context) error { return s.serve(r, c) })
		}
	}
}
