package verify

import (
	"context"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/throttle"
)

// registryTries is how often one thing is asked of a registry that asks to be
// asked later, at most: without a Retry-After, over some 15 seconds.
const registryTries = 5

// patiently repeats f where a registry asks for it, as long as the caller's own
// deadline allows. Reading itself is shared and has a deadline of its own; so
// the waiting is done out here, by each caller, and takes nobody's place.
func patiently[T any](ctx context.Context, f func() (T, error)) (T, error) {
	return throttle.Do(ctx, registryTries, f)
}

// read returns what a layer holds, and waits where the registry asks for it.
func (r *layerReader) read(ctx context.Context, layer attestor.Image, size int64) (readLayer, error) {
	return patiently(ctx, func() (readLayer, error) { return r.readOnce(ctx, layer, size) })
}
