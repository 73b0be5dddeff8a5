package server

import (
	"fmt"
	"math"
	"runtime/debug"
	runtimemetrics "runtime/metrics"

	"github.com/attestor-gate/attestor"
)

// memory returns the bytes that survived the last garbage collection, and the
// limit of GOMEMLIMIT; 0: it is not set.
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

// shed refuses a request while the process uses four fifths of its memory limit, and
// one that reads from three fifths on, so that decisions are made longest. Otherwise
// the kernel could end the process, and every request with it.
func (s *Server) shed(c class) error {
	live, limit := s.c.Memory()
	allowed := limit / 5 * 4
	if c != decides {
		allowed = limit / 5 * 3
	}
	if limit == 0 || live < allowed {
		return nil
	}

	s.metrics.shed.Inc()
	return &attestor.Error{
		Kind: attestor.Unavailable,
		Msg:  fmt.Sprintf("the gate is short of memory: it uses %d MiB of %d MiB (GOMEMLIMIT)", live>>20, limit>>20),
		Fix:  "send the request again after the time in Retry-After; nothing was decided",
	}
}
