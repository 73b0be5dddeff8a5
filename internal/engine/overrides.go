package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/policy"
	"github.com/attestor-gate/attestor/server"
)

// expireEvery is how often the single instance on SQLite ends overrides by itself,
// as deploy/ schedules POST /v1/expire elsewhere.
const expireEvery = 5 * time.Minute

// expireOverrides ends overrides that are past their end until ctx ends. Only where
// no other process has the record open; others are called by a scheduler.
func (e *Engine) expireOverrides(ctx context.Context, s *server.Server) {
	ticker := time.NewTicker(expireEvery)
	defer ticker.Stop()
	for {
		// The process itself is the caller: nobody else's rights may limit what must end.
		me := attestor.LocalCaller("the gate itself")
		if _, err := s.Expire(ctx, me); err != nil && ctx.Err() == nil {
			e.log.ErrorContext(ctx, "overrides could not be ended; the next run tries again",
				slog.String("error", err.Error()))
		}

		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// checkOverrides refuses policies whose overrides end at a time that this
// configuration cannot keep: nothing records them, or nobody may end them.
func (e *Engine) checkOverrides(set *policy.Set) error {
	var errs []error
	for _, p := range set.All() {
		b := p.BreakGlass()
		if !b.Allowed || b.Expires <= 0 {
			continue
		}

		name, c := p.Ref().Name, e.Config
		switch {
		case c.Store.None:
			errs = append(errs,
				fmt.Errorf("policy %s: breakGlass.expires is %v, and the configuration has store.none: "+
					"without a record nothing ends an override; set store.sqlite or store.postgres, or remove "+
					"breakGlass.expires",
					name, b.Expires))

		// An SQLite file is for one process, which ends overrides by itself. Without
		// identities, whoever reaches the loopback interface may do everything.
		case c.Store.SQLite != "" || c.Identity == nil:
		case !mayExpire(c, p):
			errs = append(errs, fmt.Errorf("policy %s: breakGlass.expires is %v, and no caller in identity.callers "+
				"has the action "+
				"rejudge for all of its images: with store.postgres, a caller must call POST /v1/expire every "+
				"five minutes; "+
				"add rejudge to the actions of the scheduler's account, or remove breakGlass.expires", name, b.Expires))
		}
	}
	return errors.Join(errs...)
}

// mayExpire reports whether one caller has the right to end every override that a
// policy can grant. A run by somebody who may end only some of them leaves the others,
// and does not count as one.
func mayExpire(c config.Config, p *policy.Policy) bool {
	// A pattern for every registry is as wide as the registries that may be asked.
	var images []attestor.Pattern
	for _, pattern := range p.Images() {
		images = append(images, onHosts(pattern, c.Registries.Hosts())...)
	}

	return slices.ContainsFunc(c.Identity.Callers, func(who config.Caller) bool {
		// A pattern that does not parse gives no right; the start refuses it elsewhere.
		var may []attestor.Pattern
		for _, text := range who.Images {
			if pattern, err := attestor.ParsePattern(text); err == nil {
				may = append(may, pattern)
			}
		}

		uncovered := func(q attestor.Pattern) bool {
			return !slices.ContainsFunc(may, func(p attestor.Pattern) bool { return p.Covers(q) })
		}
		return slices.Contains(who.Actions, string(attestor.ActionRejudge)) && !slices.ContainsFunc(images, uncovered)
	})
}

// onHosts is a pattern on each registry that may be asked, if it is for any registry: no
// image of another one is ever judged.
func onHosts(p attestor.Pattern, hosts []string) []attestor.Pattern {
	host, path, _ := strings.Cut(p.String(), "/")
	wild := func(h string) bool { return strings.Contains(h, "*") }
	if host != "*" && host != "**" || len(hosts) == 0 || slices.ContainsFunc(hosts, wild) {
		return []attestor.Pattern{p}
	}

	var out []attestor.Pattern
	for _, h := range hosts {
		text := h + "/" + path
		if host == "**" { // which stands for the registry and any number of segments
			text = h + "/" + p.String()
		}
		on, err := attestor.ParsePattern(text)
		if err != nil {
			return []attestor.Pattern{p}
		}
		out = append(out, on)
	}

	// Or for nothing at all.
	if rest, err := attestor.ParsePattern(path); host == "**" && err == nil && rest.Unmatchable() == "" {
		out = append(out, onHosts(rest, hosts)...)
	}
	return out
}

// watchGauges say how well the record of admissions and overrides is kept up. They
// are of the whole record, so that each instance says the same.
type watchGauges struct {
	oldest, expired, open, overdue *prometheus.Desc

	watched recent[audit.Watched]
}

func newWatchGauges(s *audit.Store) *watchGauges {
	desc := func(o prometheus.GaugeOpts) *prometheus.Desc { return prometheus.NewDesc(o.Name, o.Help, nil, nil) }
	return &watchGauges{
		watched: recent[audit.Watched]{ask: s.Watched},
		oldest: desc(prometheus.GaugeOpts{
			Name: "attestor_admission_look_age_seconds",
			Help: "Time since the admitted image was judged that was not judged for longest; missing where nothing " +
				"is admitted.",
		}),
		expired: desc(prometheus.GaugeOpts{
			Name: "attestor_expire_age_seconds", Help: "Time since the last run that ended all overdue overrides.",
		}),
		open: desc(prometheus.GaugeOpts{Name: "attestor_overrides_open", Help: "Open overrides that have an end."}),
		overdue: desc(prometheus.GaugeOpts{
			Name: "attestor_override_overdue_seconds",
			Help: "Time since the end of the open override that should have ended first; 0 where none should.",
		}),
	}
}

// Describe implements [prometheus.Collector].
func (g *watchGauges) Describe(c chan<- *prometheus.Desc) {
	c <- g.oldest
	c <- g.expired
	c <- g.open
	c <- g.overdue
}

// Collect implements [prometheus.Collector]. Where the record does not answer, the
// gauges are missing: an old number would look well.
func (g *watchGauges) Collect(c chan<- prometheus.Metric) {
	w, err := g.watched.get()
	if err != nil {
		return
	}
	gauge := func(d *prometheus.Desc, v float64) { c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	if w.Admissions {
		gauge(g.oldest, w.Oldest.Seconds())
	}
	gauge(g.expired, w.Expired.Seconds())
	gauge(g.open, float64(w.Open))
	gauge(g.overdue, w.Overdue.Seconds())
}
