package watch

import (
	"context"

	"github.com/attestor-gate/attestor"
)

// ClassifyForTest decodes a push body: its kind, what it is about, and whether
// there is nothing to do. An error of the second kind makes it poison.
func ClassifyForTest(body []byte) (kind string, images []attestor.Reference, occurrence string, ignored bool, invalid, poison error) {
	p, err := decodePush(body)
	if err != nil {
		return "", nil, "", false, err, nil
	}
	m, err := classify(p)
	return string(m.kind), m.images, m.occurrence, m.ignore != "", nil, err
}

// Turns are for tests.
type Turns struct{ t *turns }

// NewTurns returns fresh ones.
func NewTurns() Turns { return Turns{newTurns()} }

// Take runs f in its turn.
func (t Turns) Take(ctx context.Context, key string, f func(context.Context) (attestor.Decision, error)) (attestor.Decision, error) {
	return t.t.take(ctx, key, f)
}

// CauseForTest compares a refusal with an admission whose evidence had the findings of known.
func CauseForTest(was, now attestor.Decision, known map[string]bool) (Cause, error) {
	return baseline{was: was, known: func() (map[string]bool, error) { return known, nil }}.cause(now)
}
