package verify

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// accountFile is a file of /etc that names are resolved from.
type accountFile int

const (
	passwdFile accountFile = iota
	groupFile
	accountFiles // how many there are
)

// base is the file's name in /etc.
func (f accountFile) base() string { return [accountFiles]string{"passwd", "group"}[f] }

// path is the file's path in a container, with its slash.
func (f accountFile) path() string { return "/etc/" + f.base() }

// layerEffect is what one layer does to the files of accounts when it is
// unpacked onto those below it.
type layerEffect struct {
	files   [accountFiles]fileEffect
	system  [systemFiles]systemFile
	etcDir  bool   // it has /etc as a directory, from before it writes into it
	etcGone bool   // it hides the /etc of the layers below
	refused string // why nothing is known of it; "" otherwise
	limited string // the limit that kept it from being walked to its end; "" otherwise
}

// fileEffect is what a layer does to one file.
type fileEffect struct {
	present  bool   // it writes the file
	content  []byte // as it writes it
	removed  bool   // it hides the file of the layers below
	refused  string // why its effect is not known; "" otherwise
	limited  string // the limit that kept the file from being read; "" otherwise
	doubtful string // a path that is the file's if a layer below has a link there; "" otherwise
}

// bytes is the size of what is kept.
func (e layerEffect) bytes() int64 {
	var n int
	for _, f := range e.files {
		n += len(f.content)
	}
	for _, f := range e.system {
		n += len(f.content)
	}
	return int64(n)
}

const (
	maxPath      = 4096     // bytes of a path, Linux's own limit (PATH_MAX): a runtime fails to unpack a longer one
	maxTracked   = 32 << 20 // bytes of directories and links: their names, and trackedEntry for each
	trackedEntry = 64       // bytes that a map takes beside a name
	maxSuspects  = 10_000   // files with the name of a file of accounts in other directories
)

// tarWalk follows one layer's entries in their order.
type tarWalk struct {
	limits   limits
	effect   layerEffect
	hidden   [accountFiles]bool // by a whiteout of the file or of /etc
	opaque   bool               // a directory hides what is below it
	written  bool               // a file of accounts was met
	dirs     map[string]bool    // true: a directory in this layer; false: a link
	tracked  int                // bytes in dirs
	suspects int
}

// readEffect reads a layer's tar. It does not fail: the effect says what could
// not be read, or was not for a limit.
func readEffect(r io.Reader, limits limits) layerEffect {
	w := &tarWalk{limits: limits, dirs: map[string]bool{}}
	t := tar.NewReader(r)
	for n := 0; w.effect.refused == "" && w.effect.limited == ""; n++ {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}

		switch {
		case err != nil:
			w.refuse("it is not a tar that can be read")
		case n >= limits.LayerEntries:
			w.limit("it has more than %d files", limits.LayerEntries)
		default:
			w.entry(h, t)
		}
	}
	return w.finish()
}

func (w *tarWalk) refuse(why string) {
	if w.effect.refused == "" {
		w.effect.refused = why
	}
}

func (w *tarWalk) limit(format string, args ...any) { w.effect.limited = fmt.Sprintf(format, args...) }

// The names that OCI layers give to what they hide.
const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
)

func (w *tarWalk) entry(h *tar.Header, content io.Reader) {
	// A tar may have paths of a megabyte, and each directory of a path may be looked up: that takes the square of its
	// length.
	if len(h.Name) > maxPath {
		w.refuse(fmt.Sprintf("it has a path of more than %d bytes, which no runtime unpacks", maxPath))
		return
	}

	// By such an attribute a path of this layer hides what is below it, or shows another path's content: what is at a
	// path here is then not what a container has there.
	if moves(h) {
		w.refuse("it has attributes by which an overlay file system hides or moves files")
		return
	}

	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	isDir := h.Typeflag == tar.TypeDir

	switch name {
	case "":
		if !isDir {
			w.refuse("its root is not a directory")
		}
	case whiteoutPrefix + "etc":
		w.hidden = [accountFiles]bool{true, true}
		w.effect.etcGone = true
	case whiteoutOpaque:
		w.opaque, w.effect.etcGone = true, true
	case "etc/" + whiteoutOpaque:
		w.opaque = true
	case "etc":
		if !isDir {
			w.refuse("it has a link or a file as /etc")
		}
		// A directory that comes after its files replaces a link that they were
		// written through, and them with it: it proves nothing about them.
		if !w.written {
			w.effect.etcDir = true
		}
	default:
		w.other(name, h, content)
	}
	w.systemEntry(name, h, content)

	// A hard link to a symbolic link is one too.
	if isDir || h.Typeflag == tar.TypeSymlink || h.Typeflag == tar.TypeLink {
		w.track(name, isDir)
	}
}

// Extended attributes of an entry, those of overlay file systems among them. containerd sets those that begin with
// "user.", Docker all of them.
const paxAttribute = "SCHILY.xattr."

// moves reports whether an entry has an attribute that makes an overlay file system look elsewhere, such as redirect,
// metacopy, opaque and whiteout. Two change nothing that is read, and are left behind by builders.
func moves(h *tar.Header) bool {
	for key := range h.PAXRecords {
		attribute, ok := strings.CutPrefix(key, paxAttribute)
		_, overlay, _ := strings.Cut(attribute, ".")
		if what, own := strings.CutPrefix(overlay, "overlay."); ok && own && what != "impure" && what != "origin" {
			return true
		}
	}
	return false
}

// other sees to an entry that may be a file of accounts, by its own path or
// through a link.
func (w *tarWalk) other(name string, h *tar.Header, content io.Reader) {
	base := path.Base(name)
	for f := range accountFiles {
		switch {
		case name == "etc/"+f.base():
			w.file(f, h, content)
		case name == "etc/"+whiteoutPrefix+f.base():
			w.hidden[f] = true
		case h.Typeflag != tar.TypeDir && (base == f.base() || base == "etc"):
			w.suspect(f, name)
		}
	}
}

// file reads a file of accounts. Of several in a layer the last one remains.
func (w *tarWalk) file(f accountFile, h *tar.Header, content io.Reader) {
	w.written = true
	e := &w.effect.files[f]
	switch {
	case h.Typeflag != tar.TypeReg:
		e.refused = f.path() + " is not a regular file"
		return
	case h.Size > w.limits.PasswdBytes:
		e.limited = fmt.Sprintf("%s has %d bytes, and at most %d are read", f.path(), h.Size, w.limits.PasswdBytes)
		return
	}

	b, err := io.ReadAll(io.LimitReader(content, w.limits.PasswdBytes))
	if err != nil {
		e.refused = f.path() + " could not be unpacked"
		return
	}
	e.present, e.content = true, b
}

// suspect looks at a path that ends like a file of accounts, or like /etc. It is
// that file if a directory on its way is a link when it is written; what comes
// later in the layer cannot undo that.
func (w *tarWalk) suspect(f accountFile, name string) {
	e := &w.effect.files[f]
	if e.refused != "" {
		return // nothing worse can be found
	}
	if w.suspects++; w.suspects > maxSuspects {
		w.limit("it has more than %d files that are named like %s", maxSuspects, f.path())
		return
	}

	for i := strings.LastIndexByte(name, '/'); i >= 0; i = strings.LastIndexByte(name[:i], '/') {
		switch isDir, known := w.dirs[name[:i]]; {
		case known && !isDir:
			e.refused = fmt.Sprintf("/%s is reached through a link, and may be %s", clip(name), f.path())
			return
		case !known:
			e.doubtful = clip(name)
		}
	}
}

// track notes directories and links. What was a link once stays one here.
func (w *tarWalk) track(name string, isDir bool) {
	if known, ok := w.dirs[name]; ok && !known {
		return
	}
	if w.tracked += len(name) + trackedEntry; w.tracked > maxTracked {
		w.limit("its directories and links take more than %d bytes", maxTracked)
		return
	}
	w.dirs[name] = isDir
}

func (w *tarWalk) finish() layerEffect {
	for f := range accountFiles {
		e := &w.effect.files[f]
		e.removed = w.hidden[f] || w.opaque
		if e.present && w.hidden[f] {
			e.refused = "it both writes and removes " + f.path() + ", which runtimes read differently"
		}
	}
	return w.effect
}
