package server

import (
	"slices"
	"strings"
	"time"
)

// RoutesForTest lists what a server serves, as OpenAPI writes it.
func RoutesForTest(s *Server) []string { return routesForTest(s.routes) }

// ClosedRoutesForTest lists the routes that need a right.
func ClosedRoutesForTest(s *Server) []string {
	return routesForTest(slices.DeleteFunc(slices.Clone(s.routes), func(r route) bool { return r.open }))
}

func routesForTest(routes []route) []string {
	var out []string
	for _, r := range routes {
		path := r.path
		for _, param := range []string{"id", "name"} {
			path = strings.Replace(path, ":"+param, "{"+param+"}", 1)
		}
		// A tile's index has more than one segment from 1000 on, which OpenAPI cannot say.
		path = strings.Replace(path, "/log/tile/*", "/log/tile/{level}/{index}", 1)
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

// CallerBurst is how many requests one caller may send at once.
const CallerBurst = callerBurst

// SetReadTimeouts changes how long a client may take to send a header, and a
// header with its body. It must be called before Serve.
func (s *Server) SetReadTimeouts(header, whole time.Duration) {
	s.timeouts.readHeader, s.timeouts.read = header, whole
}

// SetQueueWait changes how long a request waits in the queue.
func (s *Server) SetQueueWait(d time.Duration) {
	for _, c := range s.slots {
		c.wait = d
	}
}

// WaitingForTest is how many requests are in the queue.
func WaitingForTest(s *Server) int {
	n := 0
	for _, c := range s.slots {
		n += len(c.waiting)
	}
	return n
}

// PagesForTest lists the pages that a server serves.
func PagesForTest() []string {
	var out []string
	for path := range pageQueries() {
		out = append(out, "GET "+path)
	}
	return out
}

// SharesForTest is how many callers have a request that takes a slot.
func SharesForTest(s *Server) int {
	n := 0
	for _, c := range s.slots {
		c.mu.Lock()
		n += len(c.shares)
		c.mu.Unlock()
	}
	return n
}
