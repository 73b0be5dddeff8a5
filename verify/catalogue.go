package verify

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/attestor-gate/attestor"
)

// record is one approved base for one platform: immutable, and read from bytes
// that were hashed.
type record struct {
	repository string
	index      attestor.Digest // "" where the base is a manifest by itself
	manifest   attestor.Digest
	platform   platform // normal
	layers     []attestor.Digest
	diffIDs    []attestor.Digest
}

// is reports whether d names the record: its index, whose bytes list the
// manifest, or the manifest.
func (r *record) is(d attestor.Digest) bool {
	return d != "" && (d == r.index || d == r.manifest)
}

func (r *record) root() attestor.Digest {
	if r.index != "" {
		return r.index
	}
	return r.manifest
}

func (r *record) image(d attestor.Digest) attestor.Image {
	img, _ := attestor.ParseImage(r.repository + "@" + string(d))
	return img
}

// recordKey says what was asked for: an index or manifest, for a platform.
type recordKey struct {
	repository string
	digest     attestor.Digest
	platform   platform
}

type tagKey struct{ repository, tag string }

// tagState is what a tag was seen to name.
type tagState struct {
	points []attestor.TagPoint // oldest first; the last one open
	seen   time.Time           // when the registry last answered
	loaded bool                // the history was read
}

func (t *tagState) current() attestor.Digest {
	if t == nil || len(t.points) == 0 || t.points[len(t.points)-1].Until != nil {
		return ""
	}
	return t.points[len(t.points)-1].Digest
}

// catalogue knows what approved bases consist of and what their tags name, now
// and before. It learns from what policies ask for, off the request path where
// [Inspector.RefreshBases] is called, else with the first image that needs it.
type catalogue struct {
	i       *Inspector
	flights singleflight.Group

	mu        sync.RWMutex
	records   map[recordKey]*record // nil: known not to have the platform
	failed    map[recordKey]error   // why the last attempt failed
	byLayers  map[chain][]*record
	byDiffIDs map[chain][]*record
	tags      map[tagKey]*tagState
	tagErrs   map[tagKey]error
	tried     map[string]attempt // by flight
}

func newCatalogue(i *Inspector) *catalogue {
	return &catalogue{
		i: i, records: map[recordKey]*record{}, failed: map[recordKey]error{}, byLayers: map[chain][]*record{}, byDiffIDs: map[chain][]*record{},
		tags: map[tagKey]*tagState{}, tagErrs: map[tagKey]error{}, tried: map[string]attempt{},
	}
}

// add files a record under its chains. Bases that would match what was never
// built on them are refused.
func (c *catalogue) add(key recordKey, r *record) error {
	if r != nil && !slices.ContainsFunc(r.diffIDs, func(d attestor.Digest) bool { return !emptyLayer(d) }) {
		return fault(attestor.CodeBaseUnresolved, "it has no layers but empty ones, so that every image would be built on it", "remove it from the approved bases", nil)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.failed, key)
	if _, ok := c.records[key]; ok {
		return nil
	}
	c.records[key] = r
	if r != nil {
		l, d := chainOf(r.layers), chainOf(r.diffIDs)
		c.byLayers[l] = append(c.byLayers[l], r)
		c.byDiffIDs[d] = append(c.byDiffIDs[d], r)
	}
	return nil
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

// load reads what digest of an approved repository consists of on p, once. Its
// failures are the caller's to keep: hints of hostile images come here too.
func (c *catalogue) load(ctx context.Context, repository string, digest attestor.Digest, p platform) error {
	key := recordKey{repository, digest, p.normal()}
	c.mu.RLock()
	_, known := c.records[key]
	c.mu.RUnlock()
	if known {
		return nil
	}
	r, err := c.read(ctx, key)
	if err != nil {
		return err
	}
	return c.add(key, r)
}

// read returns nil where an index has no image for the platform.
func (c *catalogue) read(ctx context.Context, key recordKey) (*record, error) {
	img, err := attestor.ParseImage(key.repository + "@" + string(key.digest))
	if err != nil {
		return nil, err
	}
	raw, err := c.i.fetch.byDigest(ctx, img)
	if err != nil {
		return nil, err
	}
	d, mt, err := parseDocument(raw)
	if err != nil {
		return nil, err
	}
	r := &record{repository: key.repository, manifest: key.digest, platform: key.platform}
	if isIndexType(mt) {
		entries := slices.DeleteFunc(slices.Clone(*d.Manifests), func(e descriptor) bool {
			return poses(e) || e.Platform == nil || e.Platform.normal() != key.platform
		})
		if len(entries) == 0 {
			return nil, nil //nolint:nilnil // the base has no such platform, which is an answer
		}
		if len(entries) > 1 {
			return nil, fault(attestor.CodePlatformDuplicate, fmt.Sprintf("%s has two images for %s", img, key.platform), "approve a base with one image for each platform", nil)
		}
		if err := checkEntry(entries[0], "an entry"); err != nil {
			return nil, err
		}
		r.index, r.manifest = key.digest, entries[0].Digest
		if d, err = c.i.child(ctx, img.Sibling(r.manifest), entries[0].Size); err != nil {
			return nil, err
		}
	}
	config, err := c.i.config(ctx, img.Sibling(r.manifest), d)
	if err != nil {
		return nil, err
	}
	if !key.platform.agrees(config.platform) {
		if r.index == "" {
			return nil, nil //nolint:nilnil // a manifest for another platform
		}
		return nil, fault(attestor.CodePlatformMismatch, fmt.Sprintf("%s lists %s for %s, its config says %s", img, r.manifest, key.platform, clip(config.String())), "approve another base", nil)
	}
	for _, l := range *d.Layers {
		r.layers = append(r.layers, l.Digest)
	}
	r.diffIDs = config.RootFS.DiffIDs
	return r, nil
}

// refresh looks up what an entry's tags name now, and reads what they name and
// named, for one platform: as far back as it can matter, and with past as far
// as it can explain a denial.
func (c *catalogue) refresh(ctx context.Context, ab attestor.ApprovedBase, p platform, past bool) {
	for _, tag := range ab.Tags {
		key := tagKey{ab.Repository, tag}
		_, err, _ := c.flights.Do("tag\x00"+key.repository+":"+key.tag, func() (any, error) { return nil, c.look(ctx, key) })
		c.mu.Lock()
		if err != nil {
			c.tagErrs[key] = err
		} else {
			delete(c.tagErrs, key)
		}
		c.mu.Unlock()
	}
	c.mu.RLock()
	digests := c.wanted(ab, past)
	c.mu.RUnlock()
	slots := make(chan struct{}, refreshesAtOnce)
	var wg sync.WaitGroup
	for _, d := range digests {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			err := c.load(ctx, ab.Repository, d, p)
			c.mu.Lock()
			defer c.mu.Unlock()
			if key := (recordKey{ab.Repository, d, p}); err != nil {
				c.failed[key] = err
				c.i.c.Logger.WarnContext(ctx, "approved base could not be read",
					slog.String("base", ab.Name), slog.String("image", ab.Repository+"@"+string(d)), slog.String("error", err.Error()))
			} else {
				delete(c.failed, key)
			}
		})
	}
	wg.Wait()
}

// maxPoints bounds how much of a tag's past is looked at.
const maxPoints = 50

// wanted are the digests that an entry is about, newest first: those listed,
// those that its tags name, and those they named within maxBehind. With past,
// those before too. Must be called with c.mu held.
func (c *catalogue) wanted(ab attestor.ApprovedBase, past bool) []attestor.Digest {
	now := c.i.c.Now()
	digests := slices.Clone(ab.Digests)
	for _, tag := range ab.Tags {
		t := c.tags[tagKey{ab.Repository, tag}]
		if t == nil {
			continue
		}
		for n, p := range slices.Backward(t.points) {
			if len(t.points)-n > maxPoints || !past && p.Until != nil && now.Sub(*p.Until) > ab.MaxBehind {
				break
			}
			if !slices.Contains(digests, p.Digest) {
				digests = append(digests, p.Digest)
			}
		}
	}
	return digests
}

// look resolves one tag and records it if it moved.
func (c *catalogue) look(ctx context.Context, key tagKey) error {
	if err := c.remember(ctx, key); err != nil {
		return err
	}
	c.mu.RLock()
	fresh := c.i.c.Now().Sub(c.tags[key].seen) < retryAfter
	c.mu.RUnlock()
	if fresh { // for another platform, or another policy
		return nil
	}
	raw, err := c.i.fetch.byTag(ctx, key.repository, key.tag)
	if err != nil {
		return err
	}
	now := c.i.c.Now().UTC()
	changed := c.observe(key, raw.digest, now)
	if c.i.c.History == nil {
		return nil
	}
	for _, p := range changed {
		if err := c.i.c.History.RecordTag(ctx, p); err != nil {
			// What was seen counts all the same; only a restart forgets it.
			c.i.c.Logger.ErrorContext(ctx, "tag of an approved base could not be recorded",
				slog.String("repository", key.repository), slog.String("tag", key.tag), slog.String("error", err.Error()))
		}
	}
	return nil
}

// remember reads a tag's history, once.
func (c *catalogue) remember(ctx context.Context, key tagKey) error {
	c.mu.RLock()
	loaded := c.tags[key] != nil && c.tags[key].loaded
	c.mu.RUnlock()
	if loaded {
		return nil
	}
	state := &tagState{loaded: true}
	if c.i.c.History != nil {
		points, err := c.i.c.History.TagHistory(ctx, key.repository, key.tag)
		if err != nil {
			return fault(attestor.CodeBaseUnresolved, "the history of its tags could not be read", "see to the gate's store", err)
		}
		state.points = points
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tags[key] == nil {
		c.tags[key] = state
	}
	return nil
}

// observe notes that a tag names d now, and returns the points that changed.
func (c *catalogue) observe(key tagKey, d attestor.Digest, now time.Time) []attestor.TagPoint {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tags[key]
	t.seen = now
	if t.current() == d {
		return nil
	}
	var changed []attestor.TagPoint
	if t.current() != "" {
		last := &t.points[len(t.points)-1]
		last.Until = &now
		changed = append(changed, *last)
	}
	t.points = append(t.points, attestor.TagPoint{Repository: key.repository, Tag: key.tag, Digest: d, From: now})
	return append(changed, t.points[len(t.points)-1])
}
