package verify

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/attestor-gate/attestor"
)

// MayDial answers for a configuration of registries.
func MayDial(r Registries, host string, addr netip.Addr) (bool, error) {
	h, err := newHosts(r)
	if err != nil {
		return false, err
	}
	return h.mayDial(host, addr), nil
}

// Allowed reports whether, and how, a registry is spoken to.
func Allowed(r Registries, host string) (scheme string, ok bool, err error) {
	h, err := newHosts(r)
	if err != nil {
		return "", false, err
	}

	scheme, ok = h.scheme(host)
	return scheme, ok, nil
}

// ParsePasswd is what names are resolved with.
func ParsePasswd(content []byte, name string) (uid, gid int64, err error) {
	return parsePasswd(content, name)
}

// DecodeStrict reports whether a document is one that every decoder reads alike.
func DecodeStrict(b []byte, v any) error { return decodeStrict(b, v) }

// ParseDocument reports what kind of document b is.
func ParseDocument(b []byte, contentType string) (mediaType string, layers, manifests int, err error) {
	d, mt, err := parseDocument(content{digest: attestor.DigestOf(b), mediaType: contentType, bytes: b})
	if err != nil {
		return "", 0, 0, err
	}

	if d.Layers != nil {
		if fault := checkImage(d, limits{}.withDefaults()); fault != nil {
			return mt, len(*d.Layers), 0, fault
		}
		return mt, len(*d.Layers), 0, nil
	}
	return mt, 0, len(*d.Manifests), nil
}

// ParseConfig returns the user and the number of diffIDs of a config, of a
// manifest with so many layers.
func ParseConfig(b []byte, layers int) (user string, diffIDs int, err error) {
	l := make([]descriptor, layers)
	c, fault := parseConfig(b, document{Layers: &l})
	if fault != nil {
		return "", 0, fault
	}

	return c.Config.User, len(c.RootFS.DiffIDs), nil
}

// PasswdEffect is what one layer's tar does to /etc/passwd.
func PasswdEffect(r io.Reader) (content []byte, decided, refused bool) {
	e := readEffect(r, limits{PasswdBytes: 1 << 16, LayerEntries: 1000}.withDefaults())
	f := e.files[passwdFile]
	return f.content, f.present, e.refused+e.limited+f.refused+f.limited != ""
}

// ParseGroups is what groups are resolved with.
func ParseGroups(content []byte, name string) (gid int64, err error) {
	return parseGroups(content, name)
}

// ParseNames is what the users of a number are found with.
func ParseNames(content []byte, uid int64) ([]string, error) { return parseNames(content, uid) }

// ParseMembers is what further groups are found with.
func ParseMembers(content []byte, names []string) (member, group string, err error) {
	return parseMembers(content, names)
}

// OpenLayer reads a blob as layers are read, and returns its compression and
// diffID.
func OpenLayer(blob io.Reader) (c string, diffID attestor.Digest, err error) {
	r := &layerReader{limits: limits{UncompressedBytes: 1 << 24}.withDefaults()}
	read, err := r.walk(bufio.NewReader(blob), maxZstdWindow)
	return string(read.facts.compression), read.facts.diffID, err
}

// WindowOf is the largest zstd window that a layer may have that begins with head.
func WindowOf(head []byte) uint64 { return windowOf(head) }

// IsTooLarge reports whether a layer is beyond the gate's limits.
func IsTooLarge(err error) bool { return errors.Is(err, errTooLarge) }

// A Matcher looks images up among approved bases, for benchmarks.
type Matcher struct {
	c     *catalogue
	s     subject
	needs attestor.Needs
}

// NewMatcher files bases, each a list of layers, and an image of layers.
func NewMatcher(i *Inspector, bases [][]attestor.Digest, image []attestor.Digest) *Matcher {
	m := &Matcher{c: i.bases}
	for n, layers := range bases {
		d, repository := attestor.DigestOf(fmt.Append(nil, n)), fmt.Sprint("registry.example/base/", n/10)
		if n%10 == 0 {
			m.needs.Bases = append(m.needs.Bases, attestor.ApprovedBase{Name: "b", Repository: repository})
		}

		m.c.basesOf(amd64()).add(baseKey{repository, d}, &baseImage{repository: repository, manifest: d, layers: layers, diffIDs: layers})
		ab := &m.needs.Bases[len(m.needs.Bases)-1]
		ab.Digests = append(ab.Digests, d)
	}

	var layers []descriptor
	for _, d := range image {
		layers = append(layers, descriptor{Digest: d})
	}

	m.s = subject{platform: amd64(), doc: document{Layers: &layers}}
	m.s.config.RootFS.DiffIDs = image
	return m
}

// Match returns how many layers of the image are an approved base's.
func (m *Matcher) Match() int {
	found, _ := m.c.find(m.c.basesOf(amd64()), m.s, m.needs, true, nil)
	return found.layers
}

// Ensure looks up what bases are on a platform, as an image for it causes it,
// and returns what is not known.
func Ensure(ctx context.Context, i *Inspector, bases []attestor.ApprovedBase, platform string) []attestor.Problem {
	return i.bases.ensure(ctx, i.bases.basesOf(parsePlatform(platform)), bases)
}

// KeptPlatforms is how many platforms bases are kept for, known ones apart from
// others, and how many are refreshed.
func KeptPlatforms(i *Inspector) (known, others, refreshed int) {
	return len(i.bases.known), i.bases.unknown.Len(), len(i.bases.asked())
}

// Normal is the one spelling of a platform, and whether it is a known one.
func Normal(i *Inspector, platform string) (string, bool) {
	p := parsePlatform(platform).normal()
	_, ok := i.bases.known[p]
	return p.String(), ok
}

// Pause is the time until the next look-up after so many that failed in a row.
func Pause(failed int) time.Duration { return attempt{failed: failed}.pause() }

// CheckPlatform refuses what is no platform that can be judged.
func CheckPlatform(s string) error {
	if err := parsePlatform(s).check("it"); err != nil {
		return err
	}
	return nil
}

// PlatformsAgree reports whether a config states the platform that an index gives.
func PlatformsAgree(index, config string) bool {
	return parsePlatform(index).agrees(parsePlatform(config))
}

// PlatformSelected reports whether a policy that names wanted is about a platform.
func PlatformSelected(s string, wanted []string) bool { return parsePlatform(s).selected(wanted) }

// LayerSlots are what bounds the layers that are read at once.
type LayerSlots = layerSlots

// NewLayerSlots returns n of them.
func NewLayerSlots(n int) *LayerSlots { return newLayerSlots(n) }

// Take waits for one.
func (s *layerSlots) Take(ctx context.Context, registry string) (give func(), err error) {
	return s.take(ctx, registry)
}

// Kept is of how many registries slots are kept.
func (s *layerSlots) Kept() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.registries)
}

// KeptRegistries is of how many registries an Inspector keeps slots.
func KeptRegistries(i *Inspector) int { return i.layers.slots.Kept() }

// Limits are limits; the product sets two of them.
type Limits = limits

// NewWithLimits is New with other limits.
func NewWithLimits(c Config, l Limits) (*Inspector, error) { return newInspector(c, l) }

// MissingRole is what to do about a registry's refusal.
var MissingRole = missingRole

// A Found is a base as it was found for an image: what is looked at where two have equally many layers.
type Found struct {
	Exact, Listed, Current bool
	Superseded             *time.Time
}

func (f *Found) match() match {
	if f == nil {
		return match{}
	}
	return match{
		base: &baseImage{}, exact: f.Exact, approval: approval{listed: f.Listed, current: f.Current, superseded: f.Superseded},
	}
}

// Better reports whether f is chosen before o; nil is no base.
func (f *Found) Better(o *Found) bool { return f.match().better(o.match()) }

// Outdated reports whether an entry with that maxBehind denies f for its age.
func (f *Found) Outdated(maxBehind time.Duration, now time.Time) bool {
	return f.match().approval.outdated(attestor.ApprovedBase{MaxBehind: maxBehind}, now)
}

// Seen is what a tag was seen to name, oldest first, and when the registry last answered.
type Seen struct {
	Points []attestor.TagPoint
	At     time.Time
}

// An Approval is the way in which an entry approves a base.
type Approval struct {
	Listed, Current, Unseen bool
	Superseded              *time.Time
	Newest                  attestor.Digest
}

// ApprovalOf is how an entry approves a base by what its tags were seen to name.
func ApprovalOf(ab attestor.ApprovedBase, index, manifest attestor.Digest, tags map[string]Seen, now time.Time) Approval {
	c := newCatalogue(&Inspector{limits: limits{}.withDefaults()})
	for tag, s := range tags {
		c.tags[tagKey{ab.Repository, tag}] = tagState{points: s.Points, seen: s.At}
	}
	a := c.approval(ab, &baseImage{repository: ab.Repository, index: index, manifest: manifest}, now)
	return Approval{Listed: a.listed, Current: a.current, Unseen: a.unseen, Superseded: a.superseded, Newest: a.newest}
}

// Timeouts are how long a registry has for the header of an answer, and for a layer.
func (i *Inspector) Timeouts() (header, layer time.Duration) {
	return i.fetch.closer.ResponseHeaderTimeout, i.limits.LayerTimeout
}
