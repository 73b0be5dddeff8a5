package verify

import (
	"cmp"
	"time"
)

// limits bound the cost of one image. Two depend on the configuration (see [Config]);
// the others are constants of the product, which only tests change. A limit that is
// reached is always a refusal or an error and never a shorter list, so that a larger
// image cannot pass by its size.
type limits struct {
	ManifestBytes     int64         // a manifest or index
	ConfigBytes       int64         // an image's config
	Descriptors       int           // entries of an index
	IndexBytes        int64         // the manifests of an index together
	Layers            int           // layers of an image
	LayerBytes        int64         // one compressed layer, where it must be read
	UncompressedBytes int64         // one layer unpacked
	LayerEntries      int           // files in one layer
	PasswdBytes       int64         // each of /etc/passwd and /etc/group
	FetchTimeout      time.Duration // one manifest or config, and the header of any answer
	LayerTimeout      time.Duration // one layer; six times as long unless it is set
	LayerReads        int           // layers that are read at once in the whole process; three of four from one registry
	CacheBytes        int64         // manifests and configs in memory
	LayerFacts        int           // layers whose size, compression and diffID are in memory

	// How old the known digest of a base's tag may be before an image that matches no
	// base causes another look-up of the tag.
	BaseRefresh time.Duration
	// How long the known digest of a base's tag counts, at least, while its registry
	// cannot be asked.
	BaseGrace   time.Duration
	BaseTimeout time.Duration // one look-up of one base

	// Before a failed request is tried again; three times as long before the second time.
	RetryDelay time.Duration
}

// withDefaults returns l with the product's limits in place of zeros.
func (l limits) withDefaults() limits {
	fetch := cmp.Or(l.FetchTimeout, 10*time.Second)
	return limits{
		ManifestBytes:     cmp.Or(l.ManifestBytes, 4<<20),
		ConfigBytes:       cmp.Or(l.ConfigBytes, 1<<20),
		Descriptors:       cmp.Or(l.Descriptors, 64),
		IndexBytes:        cmp.Or(l.IndexBytes, 16<<20),
		Layers:            cmp.Or(l.Layers, 256),
		LayerBytes:        cmp.Or(l.LayerBytes, 1<<30),
		UncompressedBytes: cmp.Or(l.UncompressedBytes, 4<<30),
		LayerEntries:      cmp.Or(l.LayerEntries, 1_000_000),
		PasswdBytes:       cmp.Or(l.PasswdBytes, 1<<20),
		FetchTimeout:      fetch,
		LayerTimeout:      cmp.Or(l.LayerTimeout, 6*fetch),
		LayerReads:        cmp.Or(l.LayerReads, 4),
		CacheBytes:        cmp.Or(l.CacheBytes, 32<<20),
		LayerFacts:        cmp.Or(l.LayerFacts, 100_000),
		BaseRefresh:       cmp.Or(l.BaseRefresh, time.Minute),
		BaseGrace:         cmp.Or(l.BaseGrace, 15*time.Minute),
		BaseTimeout:       cmp.Or(l.BaseTimeout, 15*time.Second),
		RetryDelay:        cmp.Or(l.RetryDelay, 100*time.Millisecond),
	}
}
