package filter

import (
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/nearest"
	"github.com/attestor-gate/attestor/internal/plain"
)

// Remark says why a filter that is valid probably selects nothing, or "". It is for whoever typed it: an empty list
// must not read as "there are none" where a word was misspelt.
func (f Filter) Remark() string { return ReasonRemark(f.Reason) }

// ReasonRemark is the remark on one code. A code that this version does not know is no error: decisions of another
// version may have it.
func ReasonRemark(code attestor.Code) string {
	if code == "" || knownCode(code) {
		return ""
	}

	var known []string
	for _, c := range attestor.Codes() {
		known = append(known, string(c.Code))
	}
	return "this version gives no reason " + plain.Quote(string(code), 60) +
		": only decisions of another version can have it" + nearest.Question(string(code), known)
}

// ParseReason reads the code of a reason, in upper or lower case.
func ParseReason(s string) (attestor.Code, error) { return asReason(s, time.Time{}) }
