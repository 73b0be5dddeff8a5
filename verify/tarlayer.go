package verify

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// passwdEffect is what one layer does to /etc/passwd when it is unpacked onto
// those below it.
type passwdEffect struct {
	present  bool   // it writes the file
	content  []byte // the file
	removed  bool   // it hides what is below
	etcDir   bool   // it has /etc as a directory of its own
	refused  string // why its effect cannot be told
	doubtful string // a path that may be /etc/passwd through a link in a layer below
}

const maxTracked = 32 << 20 // bytes of names of directories and links

// tarWalk follows one layer's entries.
type tarWalk struct {
	effect   passwdEffect
	whiteout bool            // an explicit one, of the file or of /etc
	opaque   bool            // a directory that hides what is below
	dirs     map[string]bool // true: a directory here; false: was a link or file here
	suspects []string        // paths that another path could lead to
	tracked  int
}

// readPasswd reads a layer's tar. It does not fail: what cannot be read makes
// the effect a refused one.
func readPasswd(r io.Reader, limits Limits) passwdEffect {
	w := &tarWalk{dirs: map[string]bool{}}
	t := tar.NewReader(r)
	for n := 0; w.effect.refused == ""; n++ {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		switch {
		case err != nil:
			w.refuse("the layer is not a tar that can be read")
		case n >= limits.LayerEntries:
			w.refuse("the layer has more than %d files", limits.LayerEntries)
		default:
			w.entry(h, t, limits)
		}
	}
	return w.finish()
}

func (w *tarWalk) refuse(format string, args ...any) {
	if w.effect.refused == "" {
		w.effect.refused = fmt.Sprintf(format, args...)
	}
}

// The names that OCI layers give to what they hide.
const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
)

func (w *tarWalk) entry(h *tar.Header, content io.Reader, limits Limits) {
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	isDir := h.Typeflag == tar.TypeDir
	switch name {
	case "etc/" + whiteoutPrefix + "passwd", whiteoutPrefix + "etc":
		w.whiteout = true
	case "etc/" + whiteoutOpaque, whiteoutOpaque:
		w.opaque = true
	case "etc":
		if !isDir {
			w.refuse("/etc is not a directory, but a link or a file")
		}
		w.effect.etcDir = true
	case "etc/passwd":
		if h.Typeflag != tar.TypeReg {
			w.refuse("/etc/passwd is not a regular file")
			return
		}
		w.file(h, content, limits)
	default:
		base := path.Base(name)
		if base == "passwd" || base == "etc" && !isDir {
			w.suspects = append(w.suspects, name)
			if len(w.suspects) > 256 {
				w.refuse("the layer has too many files that could be /etc/passwd by another path")
			}
		}
	}
	if isDir || h.Typeflag == tar.TypeSymlink {
		w.track(name, isDir)
	}
}

func (w *tarWalk) file(h *tar.Header, content io.Reader, limits Limits) {
	if h.Size > limits.PasswdBytes {
		w.refuse("/etc/passwd has %d bytes, at most %d are read", h.Size, limits.PasswdBytes)
		return
	}
	b, err := io.ReadAll(io.LimitReader(content, limits.PasswdBytes))
	if err != nil {
		w.refuse("/etc/passwd could not be unpacked")
		return
	}
	w.effect.present, w.effect.content = true, b // the last of duplicates is what remains
}

// track notes directories and links. What was a link once stays one here.
func (w *tarWalk) track(name string, isDir bool) {
	if known, ok := w.dirs[name]; ok && !known {
		return
	}
	if w.tracked += len(name) + 16; w.tracked > maxTracked {
		w.refuse("the layer has too many directories")
		return
	}
	w.dirs[name] = isDir
}

func (w *tarWalk) finish() passwdEffect {
	e := w.effect
	e.removed = w.whiteout || w.opaque
	if e.present && w.whiteout {
		e.refused = "the layer both writes and removes /etc/passwd, which runtimes read differently"
	}
	for _, s := range w.suspects {
		for dir := path.Dir(s); dir != "." && e.refused == ""; dir = path.Dir(dir) {
			real, known := w.dirs[dir]
			switch {
			case known && !real:
				e.refused = fmt.Sprintf("/%s is reached through a link, and may be /etc/passwd", clip(s))
			case !known:
				e.doubtful = clip(s)
			}
		}
	}
	return e
}
