package audit

import (
	"bytes"
	"slices"

	"github.com/attestor-gate/attestor/internal/lru"
)

// A termSet is a summary: it has the ids and packages of an image's findings, each as a number. Most images lack what is searched for,
// and their summary tells so, a hundred times sooner than their findings do. Two texts may have one number: a summary
// only says what findings lack, and never what they have.
//
// It is made of findings whose hash was compared, and is kept by that hash. So it is as right later as it was then.
type termSet []uint32

// maxSummaries bounds the summaries that a store remembers, in bytes: of some five thousand images with 120 findings.
const maxSummaries = 8 << 20

// summaryOf is the summary of stored findings; false: they are not plain, and have none.
func summaryOf(stored []byte) (termSet, bool) {
	if !unescaped(stored) {
		return nil, false
	}
	_, rest, more := bytes.Cut(stored, []byte(idMember))
	if !more {
		return nil, false
	}

	var out termSet
	for quote := []byte(`"`); more; {
		var one []byte
		one, rest, more = bytes.Cut(rest, []byte(idMember))
		_, after, found := bytes.Cut(one, []byte(packageMember))
		if !found {
			return nil, false
		}
		id, _, _ := bytes.Cut(one, quote)
		pkg, _, _ := bytes.Cut(after, quote)
		out = append(out, numberOf(id), numberOf(pkg))
	}
	slices.Sort(out)
	return slices.Clip(slices.Compact(out)), true
}

// lacks reports whether no finding is f. False says nothing.
func (s termSet) lacks(f finding) bool {
	// Text that is not ASCII may be equal to text that is, in another case.
	if !unescaped([]byte(f.cve + f.pkg)) {
		return false
	}
	for _, value := range []string{f.cve, f.pkg} {
		if value == "" {
			continue
		}
		if _, found := slices.BinarySearch(s, numberOf(value)); !found {
			return true
		}
	}
	return false
}

// numberOf is FNV-1a of a text of ASCII in lower case.
func numberOf[T string | []byte](text T) uint32 {
	n := uint32(2166136261)
	for i := range len(text) {
		c := text[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		n = (n ^ uint32(c)) * 16777619
	}
	return n
}

// summarize remembers the summary of stored findings whose hash was compared.
func (s *Store) summarize(hash string, stored []byte) {
	if _, known := s.summaries.Get(hash); known {
		return
	}
	if sum, ok := summaryOf(stored); ok {
		s.summaries.Put(hash, sum, int64(4*len(sum)+len(hash)+lru.Entry))
	}
}
