// Package filestat tells at little cost that no file changed. It knows nothing of contents: whoever asks reads the files
// where something changed, and from time to time anyhow, since times lie where disks are copied or mounted.
package filestat

import "time"

// Settle is how long files that changed are taken for files that still change. Some file systems keep times to two
// seconds, so that a second change within them leaves the time that the first one left.
const Settle = 3 * time.Second

// Stats remember what files looked like. They are not safe for concurrent use.
type Stats struct {
	keep    func(name string) bool
	places  []place
	changed time.Time // when a difference was found last; zero: nothing was looked at yet
}

// A place is a file, or a directory with its files, as it was seen last.
type place struct {
	path  string
	self  stamp
	names []string // of a directory, in the order in which it lists them
	files []stamp  // of the names
}

// A stamp is what changes when a file does. The zero stamp is that of a name that leads to nothing.
type stamp struct {
	device, inode uint64
	size          int64
	written       int64 // nanoseconds
	changed       int64 // also where a program sets the time of writing
}

// New looks at files, and at those files of directories whose names are to be kept.
func New(paths []string, keep func(name string) bool) *Stats {
	g := &Stats{keep: keep}
	for _, path := range paths {
		g.places = append(g.places, place{path: path})
	}
	return g
}

// Same reports whether all files look as they did at the call before, and for [Settle]. It is false where that is not
// known: at the first call, where something cannot be looked at, and on systems other than Linux.
func (g *Stats) Same() bool {
	now := time.Now() // before the files: a change meanwhile is younger
	quiet := !g.changed.IsZero() && now.Sub(g.changed) >= Settle

	same := true
	for i := range g.places {
		// Each is looked at, so that the next call compares with what was there at this one.
		same = g.places[i].same(g.keep, quiet) && same
	}
	if !same || g.changed.IsZero() {
		g.changed = now
	}
	return same && quiet
}
