package server

import "time"

// Where decisions are made, a slot of a long read rests after it: so long readers use a
// tenth of the time of their slot, and decisions do not wait for the processor behind
// report after report.
const (
	restFactor = 9
	maxRest    = 10 * time.Second
	calmAfter  = time.Second // since the last decision ended
)

// giveBack gives the slot of a request back, which took so long: at once, or after a rest.
// The request itself is answered, and who asks next waits as for a slot that is taken.
func (s *Server) giveBack(c class, took time.Duration, release func()) {
	switch {
	case c == decides:
		s.lastDecided.Store(time.Now().UnixNano())
		release()
	case c == weighs && s.deciding():
		time.AfterFunc(min(restFactor*took, maxRest), release)
	default:
		release()
	}
}

// deciding reports whether decisions are made now, or were a moment ago.
func (s *Server) deciding() bool {
	last := time.Unix(0, s.lastDecided.Load())
	return s.slots[decides].inUse() > 0 || time.Since(last) < calmAfter
}
