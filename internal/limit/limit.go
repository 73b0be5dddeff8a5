// Package limit is the time of one question to a service of Google: all attempts,
// the pauses between them, and all pages of a list.
//
// Package dependency limits each attempt. It cannot limit the question, since it
// sees neither the retries of Google's clients, which go on until the context ends,
// nor the pages of a list. So each question starts its own clock, and this package
// holds the one default and the one rule.
package limit

import (
	"context"
	"time"

	"github.com/attestor-gate/attestor/internal/when"
)

// Default is the time of a question where nothing else is configured.
const Default = 10 * time.Second

// Call is the time that one question has. The zero value, and a negative one, mean
// [Default]: no question is without an end.
type Call time.Duration

// Within caps a question at a third of the phase that it is part of, so that two
// more attempts fit before the phase ends.
func Within(phase, call when.Duration) Call {
	return min(Call(call), Call(phase)/3)
}

// Duration is the time as it applies.
func (c Call) Duration() time.Duration {
	if c <= 0 {
		return Default
	}
	return time.Duration(c)
}

// String is the time as messages name it.
func (c Call) String() string { return c.Duration().String() }

// Start starts the clock of one question. It ends no later than ctx.
func (c Call) Start(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.Duration())
}

// StartShared starts the clock of a question whose answer several callers wait for:
// it goes on where the caller that asked first gives up.
func (c Call) StartShared(ctx context.Context) (context.Context, context.CancelFunc) {
	return c.Start(context.WithoutCancel(ctx))
}
