package referrers

import (
	"context"
	"fmt"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/attestor-gate/attestor"
)

type memoryKey struct{}

// memory holds the lists of one inspection. Signatures, provenance, SBOMs and VEX documents of an image, and of the
// index that all its platforms share, are found in one and the same list.
type memory struct {
	mu    sync.Mutex
	lists map[string]*remembered // by image
}

// remembered is one list. Its turn is held while it is read, so that it is read once.
type remembered struct {
	turn chan struct{}
	list []v1.Descriptor
	read bool
}

// Remember returns a context for one inspection of an image: each list that a [Client] reads under it is read once.
// What is attached is so judged as of one moment, and the next inspection asks again. It is not for who writes
// referrers: they would not see what they wrote.
func Remember(ctx context.Context) context.Context {
	return context.WithValue(ctx, memoryKey{}, &memory{lists: map[string]*remembered{}})
}

// once returns the list of img, by read unless this inspection has read it. A failure is not remembered, and fails only
// the caller whose read it was.
func once(
	ctx context.Context, img attestor.Image, read func() ([]v1.Descriptor, error),
) ([]v1.Descriptor, error) {
	m, ok := ctx.Value(memoryKey{}).(*memory)
	if !ok {
		return read()
	}

	m.mu.Lock()
	r := m.lists[img.String()]
	if r == nil {
		r = &remembered{turn: make(chan struct{}, 1)}
		m.lists[img.String()] = r
	}
	m.mu.Unlock()

	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("listing referrers: %w", ctx.Err())
	}
	if r.read {
		return r.list, nil
	}

	list, err := read()
	if err != nil {
		return nil, err
	}
	r.list, r.read = list, true
	return list, nil
}
