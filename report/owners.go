package report

import (
	"cmp"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/tally"
)

// An OwnerCount is the images of one owner, and what they should fix first.
type OwnerCount struct {
	GroupCount
	Fixes []FixCount `json:"fixes"` // at most ownerFixes, those that clear most images first
}

// ownerFixes is how many fixes an owner is told.
const ownerFixes = 3

// ownerFix counts a fix of one owner, under the first code that asks for it.
func (b *Builder) ownerFix(owner, fix string, code attestor.Code, n tally.Numbers) {
	fixes := b.ownerFixes[owner]
	if fixes == nil {
		fixes = map[string]*FixCount{}
		b.ownerFixes[owner] = fixes
	}
	addFix(entry(fixes, fix), fix, code, n)
}

// ownerCounts are all owners, those with most images that do not pass first.
func (b *Builder) ownerCounts() []OwnerCount {
	out := sorted(b.owners, func(a, b OwnerCount) int {
		return cmp.Or(b.Refused+b.Undecided-a.Refused-a.Undecided, b.Images-a.Images, strings.Compare(a.Name, b.Name))
	})
	for i := range out {
		fixes := sorted(b.ownerFixes[out[i].Name], byEffect)
		out[i].Fixes = slices.Clip(fixes[:min(ownerFixes, len(fixes))])
	}
	return out
}

// byEffect puts the fix first that clears most images.
func byEffect(a, b FixCount) int {
	return cmp.Or(b.Clears-a.Clears, b.Images-a.Images, strings.Compare(a.Fix, b.Fix))
}
