package audit

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
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

// Limits of what one step reads of findings, so that a page is answered soon: it may be shorter, and says that the list
// goes on.
const (
	maxFindings     = 256      // images
	maxFindingBytes = 16 << 20 // of their findings; those of one image may be ten megabytes
	firstFindings   = 8        // images, by the first statement: how large they are is not known yet
	findingsAt      = 64       // images, by one statement
)

// A look is what one step has found out about findings.
type look struct {
	held  map[string]bool // by the hash of their blob
	bytes int             // that were read
	at    int             // images of the next statement
}

// enough reports whether a step has read as much as it may.
func (l *look) enough() bool { return len(l.held) >= maxFindings || l.bytes >= maxFindingBytes }

// next is of how many images the next statement reads: of no more than there is room for, if they are as large as
// those before.
func (l *look) next() int {
	n := l.at
	l.at = min(2*l.at, findingsAt)
	if l.bytes > 0 {
		n = min(n, max(1, (maxFindingBytes-l.bytes)*len(l.held)/l.bytes))
	}
	return n
}

// unknown are the blobs of a row's findings that were not looked at.
func (l *look) unknown(h head) (hashes []string) {
	for _, part := range h.evidence.Parts {
		if _, known := l.held[part.Findings]; !known && part.Findings != "" {
			hashes = append(hashes, part.Findings)
		}
	}
	return hashes
}

// lookUp finds out whether the findings of the next rows have what a plan asks for, if
// that of the first is not known. seen has what was found in blobs that were read
// before, and is added to.
func (s *Store) lookUp(ctx context.Context, p *plan, next []head, seen *look) error {
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
		seen.bytes += len(data)
		return nil
	})
}

// held reports whether the evidence of a row has a finding, by what [Store.lookUp] found.
func (f finding) held(h head, seen *look) bool {
	return !f.set() || slices.ContainsFunc(h.evidence.Parts, func(p part) bool {
		return p.Findings != "" && seen.held[p.Findings]
	})
}
