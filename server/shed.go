package server

import (
	"math"
	"runtime/debug"
	runtimemetrics "runtime/metrics"

	"github.com/attestor-gate/attestor"
)

// memory is what the process holds and may hold, in bytes. A limit of 0 is
// none: GOMEMLIMIT is not set.
func memory() (live, limit uint64) {
	sample := []runtimemetrics.Sample{{Name: "/gc/heap/live:bytes"}}
	runtimemetrics.Read(sample)
	if sample[0].Value.Kind() == runtimemetrics.KindUint64 {
		live = sample[0].Value.Uint64()
	}
	if l := debug.SetMemoryLimit(-1); l > 0 && l < math.MaxInt64 {
		limit = uint64(l)
	}
	return live, limit
}

// shed refuses work while what survived the last collection is four fifths of
// what the process may hold: better than dying with everyone's requests.
func (s *Server) shed() error {
	live, limit := s.c.Memory()
	if limit == 0 || live < limit/5*4 {
		return nil
	}
	s.metrics.shed.Inc()
	return &attestor.Error{Kind: attestor.Unavailable, Msg: "the gate is short of memory", Fix: "try again after the time in Retry-After"}
}
