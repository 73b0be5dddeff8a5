package server

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/attestor-gate/attestor"
)

// pagePaths are the paths that [Config.Pages] serves.
func pagePaths() []string {
	return []string{"/", "/decisions", "/decisions/:id", "/report", "/policies", "/bases"}
}

// mountPages registers the pages with the same steps as the API: identity,
// rights, rate and queue.
func (s *Server) mountPages(e *echo.Echo) {
	r := route{
		any: []attestor.Action{attestor.ActionRead}, enabled: true,
		query: append(decisionQuery(), "breakGlass"),
		handle: func(k *call) error {
			ctx := context.WithValue(k.ctx, callerContextKey, k.caller)
			s.c.Pages.ServeHTTP(k.Response(), k.Request().WithContext(ctx))
			return nil
		},
	}

	for _, path := range pagePaths() {
		e.Add(http.MethodGet, path, func(c echo.Context) error { return s.serve(r, c) })
	}
}
