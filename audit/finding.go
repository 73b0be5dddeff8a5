package audit

import (
	"bytes"
	"context"
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

// terms are how finding_terms calls it.
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

// mayBeIn reports whether stored findings can have f. Most have not, and need not be
// decoded then, which takes a hundred times as long.
func (f finding) mayBeIn(stored []byte) bool {
	// Only what JSON writes as it is, and what has one form in lower case, is compared.
	plain := func(b []byte) bool {
		return !bytes.ContainsFunc(b, func(r rune) bool { return r >= 0x80 }) && !bytes.ContainsAny(b, `\`)
	}
	if !plain(stored) || !plain([]byte(f.cve)) || !plain([]byte(f.pkg)) {
		return true
	}
	lower := bytes.ToLower(stored)
	for _, part := range []string{f.cve, f.pkg} {
		if part != "" && !bytes.Contains(lower, []byte(`"`+strings.ToLower(part)+`"`)) {
			return false
		}
	}
	return true
}

const (
	maxFindings = 512 // images whose findings are looked at in one step
	findingsAt  = 64  // of them, by one statement
)

// lookUp finds out whether the findings of the next rows have what a plan asks for, if
// that of the first is not known. seen has what was found in blobs that were read
// before, and is added to.
func (s *Store) lookUp(ctx context.Context, p *plan, next []head, seen map[string]bool) error {
	unknown := func(h head) (out []string) {
		for _, part := range h.evidence.Parts {
			if _, known := seen[part.Findings]; !known && part.Findings != "" {
				out = append(out, part.Findings)
			}
		}
		return out
	}

	hashes := unknown(next[0])
	if len(hashes) == 0 {
		return nil
	}
	for _, h := range next[1:] {
		if len(hashes) >= findingsAt {
			break
		}
		if h.matches && p.keep(h.repository) {
			hashes = append(hashes, unknown(h)...)
		}
	}
	slices.Sort(hashes)
	return s.eachBlob(ctx, slices.Compact(hashes), func(hash string, data []byte) error {
		if !p.finding.mayBeIn(data) {
			seen[hash] = false
			return nil
		}

		var findings []found
		if err := json.Unmarshal(data, &findings); err != nil {
			return fmt.Errorf("decoding findings %s: %w", hash, err)
		}
		seen[hash] = p.finding.in(findings)
		return nil
	})
}

// held reports whether the evidence of a row has a finding, by what [Store.lookUp] found.
func (f finding) held(h head, seen map[string]bool) bool {
	return !f.set() || slices.ContainsFunc(h.evidence.Parts, func(p part) bool {
		return p.Findings != "" &&
			seen[p.Findings]
	})
}
