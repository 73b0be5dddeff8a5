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

// ownerFixes is how many fixes are listed for an owner.
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

// An ownerTable is a table of owners of a report.
type ownerTable struct {
	View   view
	Owners []OwnerCount
}

// OwnerTable is for the template, which passes one value.
func (v view) OwnerTable(owners []OwnerCount) ownerTable { return ownerTable{v, owners} }

// waiting are the owners with something to fix, which come first.
func (v view) waiting() []OwnerCount {
	n := 0
	for n < len(v.Owners) && v.Owners[n].Refused+v.Owners[n].Undecided > 0 {
		n++
	}
	return v.Owners[:n]
}

// FirstOwners and RestOwners are the owners with something to fix, in two parts.
func (v view) FirstOwners() []OwnerCount {
	all := v.waiting()
	return all[:min(folded, len(all))]
}

// RestOwners are folded away, and at most two hundred.
func (v view) RestOwners() []OwnerCount {
	all := v.waiting()
	return all[min(folded, len(all)):min(200, len(all))]
}

// KnownOwners are the names to choose from.
func (v view) KnownOwners() []string {
	var out []string
	for _, o := range v.Owners[:min(200, len(v.Owners))] {
		out = append(out, o.Name)
	}
	slices.Sort(out)
	return out
}
