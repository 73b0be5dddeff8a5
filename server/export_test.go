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

// DecodeForTest reads the body of POST /v1/attest.
func DecodeForTest(body []byte) (any, error) {
	var b attestRequest
	err := decodeStrict(body, &b)
	return b, err
}

// WaitingForTest is how many requests are in the queue.
func WaitingForTest(s *Server) int { return len(s.slots.waiting) }

// HistoryForTest is the history that a server lends its watcher.
func HistoryForTest(d Decisions) history { return history{d} } //nolint:revive // its type is what tests must pass to the suite
