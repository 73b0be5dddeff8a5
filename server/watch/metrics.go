package watch

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	events   *prometheus.CounterVec
	rejudged *prometheus.CounterVec
	flips    *prometheus.CounterVec
	revoked  prometheus.Counter
	stopped  prometheus.Counter
}

func newMetrics(r *prometheus.Registry) (*metrics, error) {
	m := &metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "attestor_events_total",
			Help: "Messages by kind and outcome: done, denied, ignored, forbidden, duplicate, retry, poison.",
		}, []string{"kind", "outcome"}),
		rejudged: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "attestor_rejudged_total", Help: "Admitted images that were judged again, by verdict.",
		}, []string{"verdict"}),
		flips: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "attestor_flips_total",
			Help: "Admitted images that would not be admitted now, by cause: new-finding, policy, error, other.",
		}, []string{"cause"}),
		revoked: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "attestor_rejudge_revocations_total",
			Help: "Images whose attestations were deleted: because of a new finding, or of an override that expired.",
		}),
		stopped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "attestor_rejudge_stopped_total",
			Help: "Runs that reached rejudge.cap, the images that one may revoke.",
		}),
	}

	var errs []error
	for _, c := range []prometheus.Collector{m.events, m.rejudged, m.flips, m.revoked, m.stopped} {
		errs = append(errs, r.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("making a watcher: registering metrics: %w", err)
	}
	return m, nil
}
