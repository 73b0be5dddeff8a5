package server

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
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

// TeamBurst is how many requests one team's callers may send at once.
const TeamBurst = teamBurst

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
		c.mu.Lock()
		n += c.waiting
		c.mu.Unlock()
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
		n += len(c.tenants)
		c.mu.Unlock()
	}
	return n
}

// Slots are those of one class, by themselves.
type Slots struct{ *slots }

// NewSlotsForTest makes them.
func NewSlotsForTest(running, waiting int, wait time.Duration) Slots {
	return Slots{makeSlots(running, waiting, wait, "limits")}
}

// Take waits for a slot.
func (s Slots) Take(ctx context.Context, c attestor.Caller) (release func(), err error) {
	return s.take(ctx, c)
}

// Held is how many requests of a team run and wait.
func (s Slots) Held(team string) (running, waiting int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tenants[tenantKey(attestor.Caller{Team: team})]; t != nil {
		return t.running, len(t.line)
	}
	return 0, 0
}

// Idle reports whether a slot is free that somebody who waits could have.
func (s Slots) Idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next() != nil
}

// Tenants is how many are remembered.
func (s Slots) Tenants() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tenants)
}
