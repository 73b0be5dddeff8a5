package verify

import (
	"context"
	"sync"
)

// layerSlots bound how many layers are unpacked at once: each holds a window in memory, and a processor. One registry
// gets three of four at most, so that one that sends its layers slowly holds up no image of another.
type layerSlots struct {
	all  chan struct{}
	most int // of one registry

	mu         sync.Mutex
	registries map[string]*registrySlots // those with a layer that is read, or waits for it; guarded by mu
}

// registrySlots are the slots of one registry.
type registrySlots struct {
	held  chan struct{}
	users int // that hold one or wait for it; guarded by layerSlots.mu
}

func newLayerSlots(n int) *layerSlots {
	return &layerSlots{
		all: make(chan struct{}, n), most: max(n*3/4, 1), registries: map[string]*registrySlots{},
	}
}

// take waits for a slot for a layer of a registry. Whoever gets one calls give.
func (s *layerSlots) take(ctx context.Context, registry string) (give func(), err error) {
	own, leave := s.of(registry)

	// First one of the registry's own, so that whoever waits for those holds none that others could have.
	select {
	case own.held <- struct{}{}:
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}

	select {
	case s.all <- struct{}{}:
	case <-ctx.Done():
		<-own.held
		leave()
		return nil, ctx.Err()
	}

	return func() {
		<-s.all
		<-own.held
		leave()
	}, nil
}

// of returns the slots of a registry, which are kept until the last of its users has left.
func (s *layerSlots) of(registry string) (own *registrySlots, leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()

	own, ok := s.registries[registry]
	if !ok {
		own = &registrySlots{held: make(chan struct{}, s.most)}
		s.registries[registry] = own
	}
	own.users++

	return own, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if own.users--; own.users == 0 {
			delete(s.registries, registry)
		}
	}
}
