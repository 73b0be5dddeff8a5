package watch

import (
	"context"

	"github.com/attestor-gate/attestor"
)

// ClassifyForTest decodes a push: its kind, its images or occurrence, and whether
// it is ignored. invalid is the envelope's error, poison the message's.
func ClassifyForTest(body []byte) (kind string, images []attestor.Reference, occurrence string, ignored bool, invalid, poison error) {
	p, err := decodePush(body)
	if err != nil {
		return "", nil, "", false, err, nil
	}
	m, err := classify(p)
	return string(m.kind), m.images, m.occurrence, m.ignore != "", nil, err
}

// Shared is the sharing of judgements.
type Shared struct{ s *shared[attestor.Decision] }

// NewShared returns one in which nothing runs.
func NewShared() Shared { return Shared{newShared[attestor.Decision]()} }

// Judge calls f, or returns the result of a call that others wait for.
func (s Shared) Judge(ctx context.Context, key string, f func(context.Context) (attestor.Decision, error)) (attestor.Decision, error) {
	return s.s.judge(ctx, key, f)
}

// CauseForTest compares a refusal with an admission whose evidence had the findings of known.
func CauseForTest(was, now attestor.Decision, known map[string]bool) (attestor.Cause, error) {
	return baseline{was: was, known: func() (map[string]bool, error) { return known, nil }}.cause(now)
}

// KnownForTest is what an admission's evidence knew of.
func KnownForTest(ev attestor.Evidence) map[string]bool { return knownIn(&ev) }

// RejudgeForTest judges an admission by a watcher that has no parts: the first that it asks is a panic.
func RejudgeForTest(ctx context.Context, a attestor.Admission) error {
	_, _, err := (&Watcher{}).rejudgeImage(ctx, Request{}, a)
	return err
}
