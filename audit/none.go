package audit

import (
	"context"
	"io"
	"iter"
	"time"

	"github.com/attestor-gate/attestor"
)

// None is the explicit choice of no record (store: none): decisions are made
// and forgotten, and whatever asks for history is told so. The zero value is
// ready for use.
type None struct{}

func unsupported() error {
	return &attestor.Error{Kind: attestor.Unsupported, Msg: "this gate keeps no record (store: none)", Fix: "configure a store: an SQLite file or PostgreSQL"}
}

// Begin does nothing.
func (None) Begin(context.Context, attestor.Record) error { return nil }

// Finish does nothing.
func (None) Finish(context.Context, attestor.Record) error { return nil }

// Ready is always nil.
func (None) Ready(context.Context) error { return nil }

// Alone is false: nobody has a record open.
func (None) Alone() bool { return false }

// Pending has nothing to list.
func (None) Pending(context.Context, time.Duration) ([]attestor.Record, error) { return nil, nil }

// List answers with an error of kind Unsupported.
func (None) List(context.Context, Filter, int, string) (Page, error) { return Page{}, unsupported() }

// Record answers with an error of kind Unsupported.
func (None) Record(context.Context, string) (attestor.Record, error) {
	return attestor.Record{}, unsupported()
}

// Records yields one error of kind Unsupported.
func (None) Records(context.Context, Filter) iter.Seq2[attestor.Record, error] {
	return func(yield func(attestor.Record, error) bool) { yield(attestor.Record{}, unsupported()) }
}

// Decisions yields one error of kind Unsupported.
func (None) Decisions(context.Context, Filter) iter.Seq2[attestor.Decision, error] {
	return func(yield func(attestor.Decision, error) bool) { yield(attestor.Decision{}, unsupported()) }
}

// Export answers with an error of kind Unsupported.
func (None) Export(context.Context, io.Writer, Filter) (int, error) { return 0, unsupported() }

// Prune answers with an error of kind Unsupported.
func (None) Prune(context.Context, time.Time) (Pruned, error) { return Pruned{}, unsupported() }

// RecordTag forgets: without a record, a base's history is what was seen since
// the start.
func (None) RecordTag(context.Context, attestor.TagPoint) error { return nil }

// TagHistory is empty.
func (None) TagHistory(context.Context, string, string) ([]attestor.TagPoint, error) { return nil, nil }

// PutIntent does nothing.
func (None) PutIntent(context.Context, string, []byte) error { return nil }

// DeleteIntent does nothing.
func (None) DeleteIntent(context.Context, string) error { return nil }

// Intents has none.
func (None) Intents(context.Context) (map[string][]byte, error) { return nil, nil }

// Close does nothing.
func (None) Close() error { return nil }
