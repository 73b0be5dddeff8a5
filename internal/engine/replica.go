package engine

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestor-gate/attestor/audit"
)

// replicaMetrics tell how the record's read replica is; none where there is none.
func replicaMetrics(s *audit.Store) []prometheus.Collector {
	state := func() audit.ReplicaState {
		ctx, cancel := context.WithTimeout(context.Background(), recentTimeout)
		defer cancel()
		return s.Replica(ctx)
	}
	if !state().Configured {
		return nil
	}
	return replicaGauges(state)
}

func replicaGauges(state func() audit.ReplicaState) []prometheus.Collector {
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "attestor_store_replica_away",
			Help: "1 if the record's read replica is not used: it does not answer, is a minute behind, or is a copy " +
				"of another record.",
		}, func() float64 {
			if state().Away != nil {
				return 1
			}
			return 0
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "attestor_store_replica_behind_entries", Help: "Entries of the record's log that its read replica " +
				"lacked when it was looked at.",
		}, func() float64 { return float64(state().Behind) }),
	}
}
