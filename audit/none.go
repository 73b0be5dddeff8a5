package audit

import (
	"context"
	"io"
	"iter"
	"time"

	"github.com/attestor-gate/attestor"
)

// None stores nothing (store: none). Decisions are made and not kept; methods
// that read the history return an error of kind Unsupported. The zero value is
// ready for use.
type None struct{}

func unsupported() error {
	return &attestor.Error{
		Kind: attestor.Unsupported,
		Msg:  "this gate keeps no decisions (store: none)",
		Fix:  "set an SQLite file or PostgreSQL under store in the configuration",
	}
}

// Begin does nothing.
func (None) Begin(context.Context, attestor.Record) error { return nil }

// Finish does nothing.
func (None) Finish(context.Context, attestor.Record) error { return nil }

// Ready is always nil.
func (None) Ready(context.Context) error { return nil }

// Alone is false: there is no store that a process could have to itself.
func (None) Alone() bool { return false }

// Pending returns no decisions.
func (None) Pending(context.Context, time.Duration) ([]attestor.Record, error) { return nil, nil }

// List returns an error of kind Unsupported.
func (None) List(context.Context, Filter, int, string) (Page, error) { return Page{}, unsupported() }

// Record returns an error of kind Unsupported.
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

// Export returns an error of kind Unsupported.
func (None) Export(context.Context, io.Writer, Filter) (int, error) { return 0, unsupported() }

// Prune returns an error of kind Unsupported.
func (None) Prune(context.Context, time.Time) (Pruned, error) { return Pruned{}, unsupported() }

// RecordTag does nothing: a base's history then begins with the process.
func (None) RecordTag(context.Context, attestor.TagPoint) error { return nil }

// TagHistory is empty.
func (None) TagHistory(context.Context, string, string) ([]attestor.TagPoint, error) { return nil, nil }

// PutIntent does nothing.
func (None) PutIntent(context.Context, string, []byte) error { return nil }

// DeleteIntent does nothing.
func (None) DeleteIntent(context.Context, string) error { return nil }

// Intents returns no intents.
func (None) Intents(context.Context) (map[string][]byte, error) { return nil, nil }

// Close does nothing.
func (None) Close() error { return nil }
