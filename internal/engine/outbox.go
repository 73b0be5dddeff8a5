package engine

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/event"
	"github.com/attestor-gate/attestor/server"
)

// keepOutboxEvery is how often an instance holds the outbox to its bounds, and looks
// whether the watch has stalled.
const keepOutboxEvery = time.Minute

// keepOutbox does that until ctx ends.
func (e *Engine) keepOutbox(ctx context.Context) {
	ticker := time.NewTicker(keepOutboxEvery)
	defer ticker.Stop()

	// The first round is at once: what an instance before left need not wait.
	for {
		dropped, err := e.Store.SweepEvents(ctx)
		if dropped > 0 {
			e.log.ErrorContext(ctx, "undelivered events were dropped: more events wait than the outbox keeps; see why "+
				"their receiver does not take them",
				slog.Int64("dropped", dropped))
		}
		if err = errors.Join(err, e.Store.PublishStalled(ctx)); err != nil && ctx.Err() == nil {
			e.log.WarnContext(ctx, "the outbox could not be cleaned up; it is tried again in a minute",
				slog.String("error", err.Error()))
		}

		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// outboxGauges say what waits in the outbox. They are of the whole record, so that each
// instance says the same.
type outboxGauges struct {
	pending, oldest, dead, dropped *prometheus.Desc

	counts recent[[]event.Counts]
}

func newOutboxGauges(s *audit.Store) *outboxGauges {
	desc := func(o prometheus.GaugeOpts) *prometheus.Desc {
		return prometheus.NewDesc(o.Name, o.Help, []string{"receiver"}, nil)
	}
	return &outboxGauges{
		counts: recent[[]event.Counts]{ask: s.EventCounts},
		pending: desc(prometheus.GaugeOpts{Name: "attestor_outbox_pending",
			Help: "Events that wait for their receiver."}),
		oldest: desc(prometheus.GaugeOpts{
			Name: "attestor_outbox_oldest_seconds", Help: "How long the oldest event waits for its receiver; 0 where " +
				"none waits.",
		}),
		dead: desc(prometheus.GaugeOpts{
			Name: "attestor_outbox_dead", Help: "Dead letters: events that were not delivered and are not " +
				"tried any more.",
		}),
		dropped: desc(prometheus.GaugeOpts{
			Name: "attestor_outbox_dropped", Help: "Events that were removed from the record and never delivered, " +
				"since the record began.",
		}),
	}
}

// Describe implements [prometheus.Collector].
func (g *outboxGauges) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.pending, g.oldest, g.dead, g.dropped} {
		c <- d
	}
}

// Collect implements [prometheus.Collector]. Where the record does not answer, the
// gauges are missing: an old number would look well.
func (g *outboxGauges) Collect(c chan<- prometheus.Metric) {
	all, err := g.counts.get()
	if err != nil {
		return
	}

	for _, r := range all {
		gauge := func(d *prometheus.Desc, v float64) {
			c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, r.Receiver)
		}
		gauge(g.pending, float64(r.Pending))
		gauge(g.oldest, r.Oldest.Seconds())
		gauge(g.dead, float64(r.Dead))
		gauge(g.dropped, float64(r.Dropped))
	}
}

// servedOutbox is what the service shows of the outbox; nil where no receiver is configured.
func (e *Engine) servedOutbox() *server.Outbox {
	if e.Config.Events == nil {
		return nil
	}
	return &server.Outbox{List: e.Store.Events, Counts: e.Store.EventCounts, Redrive: e.Store.Redrive}
}
