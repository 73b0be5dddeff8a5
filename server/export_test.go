package server

import (
	"slices"
	"strings"
)

// RoutesForTest lists what a server serves, as OpenAPI writes it.
func RoutesForTest(s *Server) []string {
	var out []string
	for _, r := range s.routes {
		path := r.path
		for _, param := range []string{"id", "name"} {
			path = strings.Replace(path, ":"+param, "{"+param+"}", 1)
		}
		out = append(out, r.method+" "+path)
	}
	slices.Sort(out)
	return out
}
