package verify

import (
	"cmp"
	"time"
)

// Limits bound what one image may cost. A zero field takes its default.
type Limits struct {
	ManifestBytes     int64         // a manifest or index; 4 MiB
	ConfigBytes       int64         // an image's config; 1 MiB
	Descriptors       int           // entries of an index; 64
	Layers            int           // layers of an image; 256
	LayerBytes        int64         // one compressed layer, where it must be read; 1 GiB
	UncompressedBytes int64         // one layer unpacked; 4 GiB
	LayerEntries      int           // files in one layer; 1,000,000
	PasswdBytes       int64         // each of /etc/passwd and /etc/group; 1 MiB
	FetchTimeout      time.Duration // one manifest or config; 10 s
	LayerTimeout      time.Duration // one layer; 60 s
	LayerReads        int           // layers being read at once, in the whole process; 4
	CacheBytes        int64         // manifests and configs kept; 32 MiB
	LayerFacts        int           // layers whose size, compression and diffID are remembered; 100,000
	BaseRefresh       time.Duration // how old what a base's tag names may be before an image that matches nothing has it looked up again; 1 min
	BaseGrace         time.Duration // how long what a base's tag names counts, at least, while its registry cannot be asked; 15 min
	BaseTimeout       time.Duration // one such look-up of one base; 15 s
	RetryDelay        time.Duration // before a failed request is tried again, three times as long before the second time; 100 ms
}

func (l Limits) withDefaults() Limits {
	return Limits{
		ManifestBytes:     cmp.Or(l.ManifestBytes, 4<<20),
		ConfigBytes:       cmp.Or(l.ConfigBytes, 1<<20),
		Descriptors:       cmp.Or(l.Descriptors, 64),
		Layers:            cmp.Or(l.Layers, 256),
		LayerBytes:        cmp.Or(l.LayerBytes, 1<<30),
		UncompressedBytes: cmp.Or(l.UncompressedBytes, 4<<30),
		LayerEntries:      cmp.Or(l.LayerEntries, 1_000_000),
		PasswdBytes:       cmp.Or(l.PasswdBytes, 1<<20),
		FetchTimeout:      cmp.Or(l.FetchTimeout, 10*time.Second),
		LayerTimeout:      cmp.Or(l.LayerTimeout, time.Minute),
		LayerReads:        cmp.Or(l.LayerReads, 4),
		CacheBytes:        cmp.Or(l.CacheBytes, 32<<20),
		LayerFacts:        cmp.Or(l.LayerFacts, 100_000),
		BaseRefresh:       cmp.Or(l.BaseRefresh, time.Minute),
		BaseGrace:         cmp.Or(l.BaseGrace, 15*time.Minute),
		BaseTimeout:       cmp.Or(l.BaseTimeout, 15*time.Second),
		RetryDelay:        cmp.Or(l.RetryDelay, 100*time.Millisecond),
	}
}
