package vuln

import (
	"slices"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
)

// chunk is how many findings are kept together while they are gathered: about those of a page.
const chunk = 1024

// gathered holds the findings of lists while they are read. An image can have tens of thousands: they lie in chunks,
// which are never copied to grow, and share the texts and layers that most of them have in common.
type gathered struct {
	chunks [][]attestor.Vulnerability
	n      int
	one    []attestor.Vulnerability // of the occurrence that is being read
	texts  map[string]string
	layers map[attestor.Digest][]attestor.Digest
}

// add appends the findings of an occurrence.
func (g *gathered) add(o *grafeaspb.Occurrence, trusted []string) {
	g.one = appendFindings(g.one[:0], o, trusted)
	for _, f := range g.one {
		// Tens of thousands of findings have some hundreds of packages and paths.
		f.Package, f.PackageType, f.Path = g.text(f.Package), g.text(f.PackageType), g.text(f.Path)
		f.DiffIDs = g.layer(f.DiffIDs)

		last := len(g.chunks) - 1
		if last < 0 || len(g.chunks[last]) == chunk {
			g.chunks = append(g.chunks, make([]attestor.Vulnerability, 0, chunk))
			last++
		}
		g.chunks[last] = append(g.chunks[last], f)
		g.n++
	}
	clear(g.one)
}

// text is the first of all equal texts.
func (g *gathered) text(s string) string {
	if s == "" {
		return ""
	}
	if first, ok := g.texts[s]; ok {
		return first
	}
	if g.texts == nil {
		g.texts = map[string]string{}
	}
	g.texts[s] = s
	return s
}

// layer is the first of all equal lists of one layer. Nobody writes into the lists of findings: merge makes new ones.
func (g *gathered) layer(list []attestor.Digest) []attestor.Digest {
	if len(list) != 1 {
		return list
	}
	if first, ok := g.layers[list[0]]; ok {
		return first
	}
	if g.layers == nil {
		g.layers = map[attestor.Digest][]attestor.Digest{}
	}
	g.layers[list[0]] = slices.Clip(list)
	return list
}

// take returns all findings of several lists and leaves those empty.
func take(lists []*gathered) []attestor.Vulnerability {
	n := 0
	for _, g := range lists {
		n += g.n
	}

	out := make([]attestor.Vulnerability, 0, n)
	for _, g := range lists {
		for i, c := range g.chunks {
			out = append(out, c...)
			g.chunks[i] = nil
		}
		*g = gathered{}
	}

	return out
}
