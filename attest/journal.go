package attest

import "context"

// A Journal keeps intents through crashes. An intent is written before an
// attestation is deleted to be made again. When its methods return nil, what
// they did has been made durable. All may be called concurrently, and limit their
// own time.
type Journal interface {
	// PutIntent writes an intent; one of the same id is replaced. It keeps a copy
	// of data.
	PutIntent(ctx context.Context, id string, data []byte) error
	// DeleteIntent removes one; an unknown id is no error.
	DeleteIntent(ctx context.Context, id string) error
	// Intents returns all that are left, by id, in a map that is the caller's.
	Intents(ctx context.Context) (map[string][]byte, error)
}
