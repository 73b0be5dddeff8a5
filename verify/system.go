package verify

import (
	"archive/tar"
	"cmp"
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/eol"
)

// The files that say which distribution an image is, in the order of os-release(5): "/etc/os-release takes precedence
// over /usr/lib/os-release". Most distributions have the first as a link to the second.
const (
	etcRelease = iota
	libRelease
	systemFiles // how many there are
)

// maxRelease is how many bytes of an os-release are read. Those of distributions have less than one KiB.
const maxRelease = 64 << 10

// systemFile is what a layer does to one of the files. The zero value: nothing.
type systemFile struct {
	touched bool   // it writes or hides the file
	link    bool   // it writes it as a link
	content []byte // as it writes it; nil if it hides it, or if the file is too large
}

func systemPath(f int) string { return [systemFiles]string{"etc/os-release", "usr/lib/os-release"}[f] }

// systemEntry notes what an entry of a layer does to the files. They are the image's own word about itself: an author
// who wants to deceive writes what they like, so that links of directories are not followed.
func (w *tarWalk) systemEntry(name string, h *tar.Header, content io.Reader) {
	for f := range systemFiles {
		p := systemPath(f)
		e := &w.effect.system[f]
		switch {
		case name == p:
			*e = systemFile{touched: true, link: h.Typeflag == tar.TypeSymlink || h.Typeflag == tar.TypeLink}
			if h.Typeflag != tar.TypeReg || h.Size > maxRelease {
				continue
			}
			if b, err := io.ReadAll(io.LimitReader(content, maxRelease)); err == nil {
				e.content = b
			}
		case !e.touched && hides(name, p):
			e.touched = true
		}
	}
}

// hides reports whether an entry is a whiteout of a path, or of a directory above it.
func hides(name, p string) bool {
	dir, base := path.Split(name)
	hidden, ok := strings.CutPrefix(base, whiteoutPrefix)
	if !ok {
		return false
	}
	if base == whiteoutOpaque {
		return strings.HasPrefix(p, dir)
	}
	return p == dir+hidden || strings.HasPrefix(p, dir+hidden+"/")
}

// system reads which distribution an image says that it is. Unless the policy asks, only layers count that were read
// already, from the top down without a gap. It is nil if no layer says.
func (i *Inspector) system(ctx context.Context, s subject, asked bool) (*attestor.System, []attestor.Problem) {
	var files [systemFiles]systemFile
	for n, l := range slices.Backward(*s.doc.Layers) {
		e, known := i.layers.known(s, n)
		if !known && !asked {
			return nil, nil
		}
		if !known {
			var err error
			if e, err = i.layers.effect(ctx, s, n); err != nil {
				return nil, []attestor.Problem{unreadableSystem(err)}
			}
		}

		// A layer that was not read to its end may have the file behind what was read.
		if why := cmp.Or(e.refused, e.limited); why != "" {
			if !asked {
				return nil, nil
			}
			return nil, []attestor.Problem{unreadableSystem(limited(n, l, why))}
		}

		for f := range files {
			if !files[f].touched {
				files[f] = e.system[f]
			}
		}
		if files[etcRelease].touched && (files[etcRelease].content != nil || files[libRelease].touched) {
			break
		}
	}

	content := files[etcRelease].content
	if content == nil {
		content = files[libRelease].content
	}
	found, ok := eol.FromOSRelease(content)
	if !ok {
		return nil, nil
	}
	i.c.Ends.Describe(&found, i.c.Now())
	return &found, nil
}

func unreadableSystem(err error) attestor.Problem {
	p := problemOf(attestor.CheckVulnerabilities, err, "os-release")
	if contradicts(p.Code) {
		return p
	}
	p.Message = fmt.Sprintf("the image's os-release could not be read: %s", p.Message)
	p.Code, p.Status = attestor.CodeSystemUnreadable, attestor.StatusError
	return p
}
