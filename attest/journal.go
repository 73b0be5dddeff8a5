package attest

import (
	"bytes"
	"context"
	"sync"
)

// A Journal keeps intents through crashes. An intent is written before an
// attestation is deleted to be made again. When its methods return nil, what
// they did has been made durable. All may be called concurrently.
type Journal interface {
	// PutIntent writes an intent; one of the same id is replaced. It keeps a copy
	// of data.
	PutIntent(ctx context.Context, id string, data []byte) error
	// DeleteIntent removes one; an unknown id is no error.
	DeleteIntent(ctx context.Context, id string) error
	// Intents returns all that are left, by id, in a map that is the caller's.
	Intents(ctx context.Context) (map[string][]byte, error)
}

// A MemoryJournal is for tests, and for a gate without a store: intents do
// not outlive the process.
type MemoryJournal struct {
	mu      sync.Mutex
	intents map[string][]byte // guarded by mu
}

// PutIntent implements [Journal].
func (j *MemoryJournal) PutIntent(_ context.Context, id string, data []byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.intents == nil {
		j.intents = map[string][]byte{}
	}
	j.intents[id] = bytes.Clone(data)
	return nil
}

// DeleteIntent implements [Journal].
func (j *MemoryJournal) DeleteIntent(_ context.Context, id string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.intents, id)
	return nil
}

// Intents implements [Journal].
func (j *MemoryJournal) Intents(context.Context) (map[string][]byte, error) {
	j.mu.Lock()
	defer j.mu.Unlock()

	out := make(map[string][]byte, len(j.intents))
	for id, data := range j.intents {
		out[id] = bytes.Clone(data)
	}
	return out, nil
}
