package engine

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/server"
)

// pruneFor bounds one call of POST /v1/prune: schedulers wait for two minutes. What is left is deleted by the next
// call.
const pruneFor = 90 * time.Second

// servedPrune deletes what is older than the configured retention; nil where none is configured.
func (e *Engine) servedPrune() func(context.Context) (server.Pruned, error) {
	retention := time.Duration(e.Config.Store.Retention)

	// Nothing is ever deleted without a retention.
	if retention <= 0 {
		return nil
	}
	return func(ctx context.Context) (server.Pruned, error) {
		out, err := prune(ctx, e.Store, time.Now().Add(-retention), pruneFor)
		if err == nil {
			e.log.InfoContext(ctx, "deleted decisions that are older than the retention",
				slog.Int64("decisions", out.Decisions), slog.Bool("complete", out.Complete))
		}
		return out, err
	}
}

// prune deletes what is from before a time, for at most so long. A caller who leaves ends it as well: each batch is a
// transaction of its own, so that nothing is left half deleted.
func prune(ctx context.Context, s *audit.Store, before time.Time, atMost time.Duration) (server.Pruned, error) {
	bounded, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()

	pruned, err := s.Prune(bounded, before)
	out := server.Pruned{
		Before: before.UTC(), Decisions: pruned.Decisions, Events: pruned.Events, Blobs: pruned.Blobs,
		Complete: err == nil,
	}

	// Where the time of one call is over, what is left is no error: Complete says so. A caller who left, or a
	// database that fails, is one.
	if err != nil && (ctx.Err() != nil || !errors.Is(bounded.Err(), context.DeadlineExceeded)) {
		return server.Pruned{}, err
	}
	return out, nil
}
