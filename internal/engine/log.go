package engine

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/server"
)

// servedLog is the record's log as package server asks for it; nil where it is not
// signed.
func (e *Engine) servedLog() *server.Log {
	if e.Config.Log == nil {
		return nil
	}
	return &server.Log{
		Proof: e.Store.Prove, Checkpoint: e.Store.Checkpoint, Witnessed: e.Store.WitnessedCheckpoint,
		Tile: e.Store.LogTile, Public: e.Config.Log.Public,
	}
}

// keepLog signs and publishes the record's log until ctx ends. A signature that cannot
// be had holds up no decision, and is reported once when that begins and when it ends.
func (e *Engine) keepLog(ctx context.Context) {
	failing := false
	e.Store.KeepLog(ctx, func(err error) {
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !failing:
			e.log.ErrorContext(ctx, "the record's log is not signed; decisions are recorded and their proofs follow",
				slog.String("error", err.Error()))
		case err == nil && failing:
			e.log.InfoContext(ctx, "the record's log is signed again")
		}
		failing = err != nil
	})
}

// copyLog copies the record's log to its bucket until ctx ends. A copy that fails holds up nothing, and is reported
// when that begins and when it ends. A fork is reported in each round until somebody ends it.
func (e *Engine) copyLog(ctx context.Context) {
	failing := false
	e.Store.CopyLog(ctx, func(err error) {
		state, _ := e.Store.LogState()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && state.Forked:
			e.log.ErrorContext(ctx, "THE RECORD'S LOG IS FORKED: the database was put back or rewritten, or another "+
				"gate writes "+
				"to log.bucket under this name; decisions are recorded, and nothing is signed",
				slog.String("error", err.Error()))
		case err != nil && !failing:
			e.log.ErrorContext(ctx, "the record's log is not copied to log.bucket; it is tried again",
				slog.String("error", err.Error()))
		case err == nil && failing:
			e.log.InfoContext(ctx, "the record's log is copied to log.bucket again")
		}
		failing = err != nil
	})
}

// witnessLog has the record's log cosigned by its witnesses until ctx ends. A witness that does not cosign holds up
// nothing, and is reported when that begins and when it ends. One that saw another history is reported in each round.
func (e *Engine) witnessLog(ctx context.Context) {
	// Witnesses are asked at the same time, and call back so.
	var mu sync.Mutex
	failing := map[string]bool{}
	e.Store.WitnessLog(ctx, func(name string, err error) {
		mu.Lock()
		defer mu.Unlock()

		witness := slog.String("witness", name)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && e.witnessRefused(name):
			e.log.ErrorContext(ctx, "A WITNESS SAW ANOTHER HISTORY OF THE RECORD'S LOG: the database was put back or "+
				"rewritten, or another gate signs under this name; decisions are recorded and signed", witness,
				slog.String("error", err.Error()))
		case err != nil && !failing[name]:
			e.log.ErrorContext(ctx, "a witness does not cosign the record's log; it is asked again",
				witness, slog.String("error", err.Error()))
		case err == nil && failing[name]:
			e.log.InfoContext(ctx, "a witness cosigns the record's log again", witness)
		}

		failing[name] = err != nil
	})
}

// witnessRefused reports whether a witness saw another history of the log.
func (e *Engine) witnessRefused(name string) bool {
	state, _ := e.Store.LogState()
	return slices.ContainsFunc(state.Witnesses, func(w audit.WitnessState) bool { return w.Name == name && w.Refused })
}

// enterLog gives decisions that are older than the record's log their entries, until all
// have one or ctx ends.
func (e *Engine) enterLog(ctx context.Context) {
	ticker := time.NewTicker(recoverEvery)
	defer ticker.Stop()

	for {
		complete, err := e.Store.EnterLog(ctx)
		if err != nil && ctx.Err() == nil {
			e.log.ErrorContext(ctx, "older decisions could not be entered into the record's log yet",
				slog.String("error", err.Error()))
		}
		if entered, _ := e.Store.LogComplete(ctx); complete && entered {
			return
		}

		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// logMetrics say how far the record's log is signed; none where no key is configured.
func logMetrics(s *audit.Store) []prometheus.Collector {
	if _, ok := s.LogState(); !ok {
		return nil
	}

	gauge := func(o prometheus.GaugeOpts, of func(audit.LogState) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(o, func() float64 {
			state, _ := s.LogState()
			return of(state)
		})
	}

	out := []prometheus.Collector{
		gauge(prometheus.GaugeOpts{
			Name: "attestor_log_signed_entries", Help: "Entries of the newest signed checkpoint of the record's log.",
		}, func(s audit.LogState) float64 { return float64(s.Signed) }),
		gauge(prometheus.GaugeOpts{
			Name: "attestor_log_unsigned_seconds",
			Help: "Since entries of the record's log first waited for the signature that they lack; 0 if none do.",
		}, func(s audit.LogState) float64 { return s.Behind.Seconds() }),
	}

	// Which witnesses there are does not change while the service runs, nor whether there is a bucket.
	state, _ := s.LogState()
	out = append(out, gauge(prometheus.GaugeOpts{
		Name: "attestor_log_kept_outside",
		Help: "1 if checkpoints of the record's log are kept outside of its database, in a bucket or by a witness; 0 if a " +
			"database that was put back would be signed on.",
	}, func(s audit.LogState) float64 {
		if s.Copied || len(s.Witnesses) > 0 {
			return 1
		}
		return 0
	}))
	for _, w := range state.Witnesses {
		out = append(out, witnessMetrics(w.Name, gauge)...)
	}

	// Without a bucket there are no numbers of copies.
	if !state.Copied {
		return out
	}

	return append(out, copyMetrics(gauge)...)
}

// copyMetrics say how far the record's log is copied to its bucket.
func copyMetrics(
	gauge func(prometheus.GaugeOpts, func(audit.LogState) float64) prometheus.Collector,
) []prometheus.Collector {
	return []prometheus.Collector{
		gauge(prometheus.GaugeOpts{
			Name: "attestor_log_kept_entries",
			Help: "Entries of the newest checkpoint of the record's log in its bucket.",
		}, func(s audit.LogState) float64 { return float64(s.Kept) }),
		gauge(prometheus.GaugeOpts{
			Name: "attestor_log_unkept_seconds",
			Help: "Since entries of the record's log first waited to be copied to its bucket; 0 if none do.",
		}, func(s audit.LogState) float64 { return s.Unkept.Seconds() }),
		gauge(prometheus.GaugeOpts{
			Name: "attestor_log_forked", Help: "1 if the record's log does not continue the checkpoint in its bucket.",
		}, func(s audit.LogState) float64 {
			if s.Forked {
				return 1
			}
			return 0
		}),
	}
}

// witnessMetrics say how far one witness cosigned the record's log.
func witnessMetrics(
	name string, gauge func(prometheus.GaugeOpts, func(audit.LogState) float64) prometheus.Collector,
) []prometheus.Collector {
	of := func(value func(audit.WitnessState) float64) func(audit.LogState) float64 {
		return func(s audit.LogState) float64 {
			for _, w := range s.Witnesses {
				if w.Name == name {
					return value(w)
				}
			}
			return 0
		}
	}

	labels := prometheus.Labels{"witness": name}
	return []prometheus.Collector{
		gauge(prometheus.GaugeOpts{
			Name: "attestor_log_witnessed_entries", ConstLabels: labels,
			Help: "Entries of the newest checkpoint of the record's log that a witness cosigned.",
		}, of(func(w audit.WitnessState) float64 { return float64(w.Entries) })),
		gauge(prometheus.GaugeOpts{
			Name: "attestor_log_unwitnessed_seconds", ConstLabels: labels,
			Help: "Since entries of the record's log first waited for a witness's cosignature; 0 if none do.",
		}, of(func(w audit.WitnessState) float64 { return w.Behind.Seconds() })),
		gauge(prometheus.GaugeOpts{
			Name: "attestor_log_disputed", ConstLabels: labels,
			Help: "1 if a witness saw a history of the record's log that the log does not continue.",
		}, of(func(w audit.WitnessState) float64 {
			if w.Refused {
				return 1
			}
			return 0
		})),
	}
}
