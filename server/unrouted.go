package server

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/attestor-gate/attestor/internal/nearest"
)

// maxPathShown bounds what a message repeats of a path.
const maxPathShown = 200

// unrouted makes the router's error about a request into one that says what exists; any other error stays as it is.
// The routes are no secret: /openapi.json lists them for everybody.
func (s *Server) unrouted(err error, c echo.Context) error {
	e, ok := errors.AsType[*echo.HTTPError](err)
	if !ok {
		return err
	}

	r := c.Request()
	path := r.URL.Path
	if len(path) > maxPathShown {
		path = path[:maxPathShown] + "…"
	}

	switch e.Code {
	case http.StatusMethodNotAllowed:
		methods := s.methods(r.URL.Path)
		return &refusal{
			status: e.Code, msg: path + " does not take " + plainMethod(r.Method),
			fix: "send " + strings.Join(methods, " or "),
		}
	case http.StatusNotFound:
		fix := "/openapi.json lists the calls"
		if s.c.Pages != nil {
			fix += ", and / leads to the pages"
		}
		return &refusal{status: e.Code, msg: "there is no " + path + s.meant(r.URL.Path), fix: fix}
	}
	return err
}

// plainMethod is a method as a message may repeat it. RFC 9110, 9.1: it is any token, which the client chooses.
func plainMethod(method string) string {
	if len(method) > 10 {
		return "this method"
	}
	return method
}

// meant says which path was probably meant: the one without a slash at its end, the one with /v1, or the nearest.
func (s *Server) meant(path string) string {
	trimmed := strings.TrimRight(path, "/")
	switch {
	case trimmed != path && len(s.methods(trimmed)) > 0:
		return ": leave out the slash at the end, " + trimmed + " exists"
	case len(s.methods("/v1"+trimmed)) > 0:
		return "; did you mean /v1" + trimmed + "?"
	}

	var paths []string
	for _, r := range s.routes {
		if !strings.ContainsAny(r.path, ":*") {
			paths = append(paths, r.path)
		}
	}
	return nearest.Question(trimmed, paths)
}

// methods lists what the routes of a path take, HEAD where there is GET.
func (s *Server) methods(path string) []string {
	var out []string
	for _, r := range s.routes {
		if matches(r.path, path) && !slices.Contains(out, r.method) {
			out = append(out, r.method)
		}
	}
	if slices.Contains(out, http.MethodGet) {
		out = append(out, http.MethodHead)
	}
	slices.Sort(out)
	return out
}

// matches reports whether a path is one of a route's pattern.
func matches(pattern, path string) bool {
	want, got := strings.Split(pattern, "/"), strings.Split(path, "/")
	for i, w := range want {
		switch {
		case w == "*":
			return true
		case i >= len(got), strings.HasPrefix(w, ":") && got[i] == "", !strings.HasPrefix(w, ":") && w != got[i]:
			return false
		}
	}
	return len(want) == len(got)
}

// wantsText reports whether a client asks for text and not for JSON, as curl -H 'Accept: text/plain' does. Whoever
// accepts anything gets JSON.
func wantsText(accept string) bool { return wants(accept, "text/plain") }

// wantsPage reports whether a client asks for a page and not for JSON, as browsers do.
func wantsPage(accept string) bool { return wants(accept, "text/html") }

func wants(accept, wanted string) bool {
	found := false
	for part := range strings.SplitSeq(accept, ",") {
		media, parameters, _ := strings.Cut(part, ";")
		switch refused := strings.ReplaceAll(parameters, " ", "") == "q=0"; strings.TrimSpace(strings.ToLower(media)) {
		case wanted:
			found = !refused
		case jsonType:
			return false
		}
	}
	return found
}
