package verify

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/singleflight"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/lru"
)

// baseImage is what one base consists of on one platform: immutable, and read
// from bytes that were hashed.
type baseImage struct {
	repository string
	index      attestor.Digest // "" where the base is a manifest by itself
	manifest   attestor.Digest
	layers     []attestor.Digest
	diffIDs    []attestor.Digest
}

// is reports whether d names the base: its index, whose bytes list the
// manifest, or the manifest.
func (b *baseImage) is(d attestor.Digest) bool {
	return d != "" && (d == b.index || d == b.manifest)
}

func (b *baseImage) root() attestor.Digest {
	if b.index != "" {
		return b.index
	}
	return b.manifest
}

func (b *baseImage) image(d attestor.Digest) attestor.Image {
	img, _ := attestor.ParseImage(b.repository + "@" + string(d))
	return img
}

// baseKey says what was asked for: an index or a manifest.
type baseKey struct {
	repository string
	digest     attestor.Digest
}

// platformBases holds the approved bases of one platform. It grows with the bases
// that policies approve, never with claims of images.
type platformBases struct {
	platform platform // normal
	asked    atomic.Bool

	mu        sync.RWMutex
	images    map[baseKey]*baseImage // nil: known not to have the platform; guarded by mu
	failed    map[baseKey]error      // why the last attempt failed; guarded by mu
	byLayers  map[chain][]*baseImage // only appended to; guarded by mu
	byDiffIDs map[chain][]*baseImage // only appended to; guarded by mu
	tried     map[string]attempt     // by entryKey; guarded by mu
}

func newPlatformBases(p platform) *platformBases {
	return &platformBases{
		platform: p, images: map[baseKey]*baseImage{}, failed: map[baseKey]error{},
		byLayers: map[chain][]*baseImage{}, byDiffIDs: map[chain][]*baseImage{}, tried: map[string]attempt{},
	}
}

// get returns what was read of a base; nil and true: it lacks the platform.
func (s *platformBases) get(key baseKey) (*baseImage, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b, ok := s.images[key]
	return b, ok
}

// failure is why a base could not be read, or nil.
func (s *platformBases) failure(key baseKey) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.failed[key]
}

func (s *platformBases) fail(key baseKey, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed[key] = err
}

// add files a base under its chains; nil: the platform is not there.
func (s *platformBases) add(key baseKey, b *baseImage) {
	var layers, diffIDs chain
	if b != nil {
		layers, diffIDs = chainOf(b.layers), chainOf(b.diffIDs)
	}

	s.mu.Lock()
	defer s.mu.Unlock()

	delete(s.failed, key)

	// Filed once: two that read it at the same time must not list it twice.
	if _, ok := s.images[key]; ok {
		return
	}
	s.images[key] = b
	if b != nil {
		s.byLayers[layers] = append(s.byLayers[layers], b)
		s.byDiffIDs[diffIDs] = append(s.byDiffIDs[diffIDs], b)
	}
}

// candidates are the bases filed under each chain of two lists.
func (s *platformBases) candidates(layers, diffIDs []chain) (exact, claimed [][]*baseImage) {
	exact, claimed = make([][]*baseImage, len(layers)), make([][]*baseImage, len(diffIDs))
	s.mu.RLock()
	defer s.mu.RUnlock()

	for n := range layers {
		exact[n], claimed[n] = s.byLayers[layers[n]], s.byDiffIDs[diffIDs[n]]
	}
	return exact, claimed
}

func (s *platformBases) attempt(entry string) (attempt, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	a, ok := s.tried[entry]
	return a, ok
}

// note counts an attempt to read an entry's bases.
func (s *platformBases) note(entry string, a attempt, failed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if failed {
		a.failed = s.tried[entry].failed + 1
	}
	s.tried[entry] = a
}

// maxUnknownPlatforms bounds the platforms that are kept beside the known ones.
// Whoever may push can invent them without end; one that is forgotten is read
// again with the next image for it.
const maxUnknownPlatforms = 16

// catalogue knows the contents of approved bases, and the digests that their tags name
// and have named. It reads the bases that policies approve: in the background if
// [Inspector.RefreshBases] is called, otherwise with the first image that needs them.
// No lock is held during a fetch or while a list is searched.
type catalogue struct {
	i       *Inspector
	lookups singleflight.Group
	ticks   atomic.Uint64               // orders look-ups and inspections by their begin
	known   map[platform]*platformBases // of every known platform; never written to after newCatalogue
	unknown *lru.Cache[platform, *platformBases]
	uploads *lru.Cache[string, uploadedAt] // when bases were uploaded, which does not change

	mu   sync.RWMutex
	tags map[tagKey]tagState // guarded by mu
}

func newCatalogue(i *Inspector) *catalogue {
	c := &catalogue{
		i: i, known: map[platform]*platformBases{}, unknown: lru.New[platform, *platformBases](maxUnknownPlatforms),
		uploads: lru.New[string, uploadedAt](keptUploads), tags: map[tagKey]tagState{},
	}
	for _, p := range knownPlatforms() {
		c.known[p] = newPlatformBases(p)
	}
	c.known[amd64()].asked.Store(true)
	return c
}

// basesOf returns the bases of a platform. An inspection keeps them until its end, so
// that they serve it even if the catalogue forgets them meanwhile.
func (c *catalogue) basesOf(p platform) *platformBases {
	p = p.normal()
	if s, ok := c.known[p]; ok {
		s.asked.Store(true)
		return s
	}

	c.mu.Lock()
	defer c.mu.Unlock()

	s, ok := c.unknown.Get(p)
	if !ok {
		s = newPlatformBases(p)
		c.unknown.Put(p, s, 1)
	}
	return s
}

// asked returns the bases of the known platforms for which an image was inspected.
// Platforms invented by pushers are not refreshed in the background.
func (c *catalogue) asked() []*platformBases {
	return slices.DeleteFunc(slices.Collect(maps.Values(c.known)),
		func(s *platformBases) bool { return !s.asked.Load() })
}

// read returns what digest of an approved repository consists of on the
// platform, from memory if possible; nil if it has no image for it. It records
// nothing, not even a failure: it is also called for hints of hostile images.
func (c *catalogue) read(ctx context.Context, s *platformBases, key baseKey) (*baseImage, error) {
	if b, ok := s.get(key); ok {
		return b, nil
	}

	img, err := attestor.ParseImage(key.repository + "@" + string(key.digest))
	if err != nil {
		return nil, err
	}

	// By digest, so that the bytes are those that the policy or a tag named.
	raw, err := c.i.fetch.byDigest(ctx, img)
	if err != nil {
		return nil, err
	}

	d, mt, err := c.i.document(img, raw)
	if err != nil {
		return nil, err
	}

	b := &baseImage{repository: key.repository, manifest: key.digest}
	listed := s.platform
	if isIndexType(mt) {
		entry, err := entryFor(img, d, s.platform)
		if err != nil || entry == nil {
			return nil, err
		}
		b.index, b.manifest, listed = key.digest, entry.Digest, *entry.Platform
		if d, err = c.i.child(ctx, img.Sibling(b.manifest), entry.Size); err != nil {
			return nil, err
		}
	}

	config, err := c.i.config(ctx, img.Sibling(b.manifest), d)
	if err != nil {
		return nil, err
	}
	switch agrees := listed.agrees(config.platform); {
	case b.index == "" && !agrees && !slices.Contains(s.platform.runs(), config.normal()):
		return nil, nil //nolint:nilnil // a manifest for another platform
	case b.index != "" && !agrees:
		return nil, fault(
			attestor.CodePlatformMismatch,
			fmt.Sprintf("%s lists %s for %s, its config says %s", img, b.manifest, clip(listed.String()),
				clip(config.String())),
			"approve another base",
			nil,
		)
	}

	for _, l := range *d.Layers {
		b.layers = append(b.layers, l.Digest)
	}
	b.diffIDs = config.RootFS.DiffIDs
	return b, b.check()
}

// check refuses bases that would match what was never built on them.
func (b *baseImage) check() error {
	if slices.ContainsFunc(b.diffIDs, func(d attestor.Digest) bool { return !emptyLayer(d) }) {
		return nil
	}
	return fault(
		attestor.CodeBaseUnresolved,
		"it has no layers but empty ones, so that every image would be built on it",
		"remove it from the approved bases",
		nil,
	)
}

// entryFor is the one image of an index that a builder takes for a platform, or nil.
func entryFor(img attestor.Image, index document, p platform) (*descriptor, error) {
	// A base rarely has an image for each variant: that of the next older one is what is built on then.
	var entries []descriptor
	for _, p = range p.runs() {
		entries = slices.DeleteFunc(slices.Clone(*index.Manifests), func(e descriptor) bool {
			return claimsAttestation(e) || e.Platform == nil || e.Platform.normal() != p
		})
		if len(entries) > 0 {
			break
		}
	}
	if len(entries) == 0 {
		return nil, nil //nolint:nilnil // the base has no such platform, which is an answer
	}

	// Which of two a runtime takes is not said: neither is approved.
	if len(entries) > 1 {
		return nil, fault(attestor.CodePlatformDuplicate, fmt.Sprintf("%s has two images for %s", img, p),
			"approve a base with one image for each platform", nil)
	}
	if err := checkEntry(entries[0], "an entry"); err != nil {
		return nil, err
	}
	return &entries[0], nil
}

// emptyLayer knows the diffIDs of layers without content: no bytes, and tars
// of nothing but the end mark, in the sizes that tools write.
func emptyLayer(d attestor.Digest) bool {
	switch d {
	case "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", // nothing
		"sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef", // 1,024 zero bytes
		"sha256:84ff92691f909a05b224e1c56abb4864f01b4f8e3c854e4bb4c7baf1d3f6d652": // 10,240 zero bytes
		return true
	}
	return false
}
