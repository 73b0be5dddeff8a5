package audit

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor/internal/lru"
)

// A finding is what a decision's evidence must have.
type finding struct {
	cve, pkg string // "": any
}

func (f finding) set() bool { return f != finding{} }

// terms are how the index calls it.
func (f finding) terms() []string {
	var out []string
	if f.cve != "" {
		out = append(out, cveTerm(f.cve))
	}
	if f.pkg != "" {
		out = append(out, packageTerm(f.pkg))
	}
	return out
}

// A found is what a search reads of a stored finding.
type found struct {
	ID      string `json:"id"`
	Package string `json:"package"`
}

// in reports whether one of some findings is f: of the package and with the id,
// where both are asked for.
func (f finding) in(findings []found) bool {
	return slices.ContainsFunc(findings, func(v found) bool {
		return (f.cve == "" || strings.EqualFold(v.ID, f.cve)) && (f.pkg == "" || strings.EqualFold(v.Package, f.pkg))
	})
}

// heldBy reports whether stored findings have f. They are JSON of the record's own, since the hash of a blob is
// compared before. Decoding them takes thirty times as long as looking for what they have of f.
func (f finding) heldBy(stored []byte) (bool, error) {
	if unescaped(stored) && unescaped([]byte(f.cve+f.pkg)) {
		// Most have not, and lack what has one form in upper and lower case: of CVE-2026-1234 all but its beginning.
		if !bytes.Contains(stored, []byte(uncased(f.cve))) || !bytes.Contains(stored, []byte(uncased(f.pkg))) {
			return false, nil
		}
		if held, known := f.among(stored); known {
			return held, nil
		}
	}

	var findings []found
	if err := json.Unmarshal(stored, &findings); err != nil {
		return false, err
	}
	return f.in(findings), nil
}

// unescaped reports whether JSON has only text that is what it means, and that has one form in lower case.
func unescaped(b []byte) bool {
	if bytes.IndexByte(b, '\\') >= 0 {
		return false
	}

	var all uint64
	for ; len(b) >= 8; b = b[8:] {
		all |= binary.LittleEndian.Uint64(b)
	}
	for _, c := range b {
		all |= uint64(c)
	}
	return all&0x8080808080808080 == 0
}

// uncased is the longest part of a value without letters, with the quotation marks of a text of JSON.
func uncased(value string) (longest string) {
	if value == "" {
		return ""
	}
	letter := func(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }
	for part := range strings.FieldsFuncSeq(`"`+value+`"`, letter) {
		if len(part) > len(longest) {
			longest = part
		}
	}
	return longest
}

// Members of a stored finding, the first of which each begins with. In plain JSON they are no part of a text, which
// would have its quotation marks escaped, and no object within a finding has them.
const (
	idMember      = `"id":"`
	packageMember = `"package":"`
)

// among is [finding.heldBy] for plain findings. known is false where they are not written as this version does, or are
// none.
func (f finding) among(stored []byte) (held, known bool) {
	_, rest, more := bytes.Cut(stored, []byte(idMember))
	for known = more; more; {
		var one []byte
		one, rest, more = bytes.Cut(rest, []byte(idMember))

		// Both must be of one finding.
		id, _, _ := bytes.Cut(one, []byte(`"`))
		if f.cve != "" && !bytes.EqualFold(id, []byte(f.cve)) {
			continue
		}
		if f.pkg != "" {
			_, after, _ := bytes.Cut(one, []byte(packageMember))
			if pkg, _, _ := bytes.Cut(after, []byte(`"`)); !bytes.EqualFold(pkg, []byte(f.pkg)) {
				continue
			}
		}
		return true, true
	}
	return false, known
}

// Limits of what one step does to look for findings, so that a page is answered soon: it may be shorter, and says that
// the list goes on. Work is counted and not timed, so that a page has the same decisions on every machine.
const (
	maxWork       = 1000    // a decision that is looked at is 1: some 20 us of CPU
	workOfBlob    = 2       // of an image's findings that are read, and one more for each
	workBytes     = 4 << 10 // of them; they may be ten megabytes
	firstFindings = 1       // images, by the first statement: how large they are is not known yet
	findingsAt    = 16      // images, by one statement
	findingChunk  = 200     // decisions, by one statement
)

// A look is what one step has found out about findings.
type look struct {
	finding   finding
	summaries *lru.Cache[string, termSet]
	held      map[string]bool // by the hash of their blob
	work      int
	read      int // blobs
	bytes     int // of them
	at        int // images of the next statement
}

// newLook is that of a step that has found out nothing.
func (s *Store) newLook(p *plan) *look {
	return &look{finding: p.finding, summaries: s.summaries, held: map[string]bool{}, at: firstFindings}
}

// enough reports whether a step has done as much as it may.
func (l *look) enough() bool { return l.work >= maxWork }

// next is of how many images the next statement reads: of no more than there is room for, if they are as large as
// those before.
func (l *look) next() int {
	n := l.at
	l.at = min(2*l.at, findingsAt)
	if l.read > 0 {
		n = min(n, max(1, (maxWork-l.work)/workOf(l.bytes/l.read)))
	}
	return n
}

// workOf is the work of findings that are read.
func workOf(bytes int) int { return workOfBlob + bytes/workBytes }

// unknown are the blobs of a row's findings that must be read. Of the others it is known whether they have the finding.
func (l *look) unknown(h head) (hashes []string) {
	for _, part := range h.evidence.Parts {
		if _, known := l.held[part.Findings]; known || part.Findings == "" {
			continue
		}
		if sum, ok := l.summaries.Get(part.Findings); ok && sum.lacks(l.finding) {
			l.held[part.Findings] = false
			continue
		}
		hashes = append(hashes, part.Findings)
	}
	return hashes
}

// lookUp finds out whether the findings of the next rows have what a plan asks for, if
// that of the first is not known. seen has what was found in blobs that were read
// before, and is added to.
func (s *Store) lookUp(ctx context.Context, p *plan, next []head, seen *look) error {
	seen.work++
	hashes := seen.unknown(next[0])
	if len(hashes) == 0 {
		return nil
	}

	// Rows that follow each other are often of one image.
	most := seen.next()
	for _, h := range next[1:] {
		if len(hashes) >= most {
			break
		}
		if h.matches && p.keep(h.repository) {
			for _, hash := range seen.unknown(h) {
				if !slices.Contains(hashes, hash) {
					hashes = append(hashes, hash)
				}
			}
		}
	}
	return s.eachBlob(ctx, hashes, func(hash string, data []byte) error {
		held, err := p.finding.heldBy(data)
		if err != nil {
			return fmt.Errorf("decoding findings %s: %w", hash, err)
		}
		seen.held[hash] = held
		seen.read, seen.bytes, seen.work = seen.read+1, seen.bytes+len(data), seen.work+workOf(len(data))
		s.summarize(hash, data)
		return nil
	})
}

// held reports whether the evidence of a row has a finding, by what [Store.lookUp] found.
func (f finding) held(h head, seen *look) bool {
	return !f.set() || slices.ContainsFunc(h.evidence.Parts, func(p part) bool {
		return p.Findings != "" && seen.held[p.Findings]
	})
}
