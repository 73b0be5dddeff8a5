package vuln

import (
	"cmp"
	"fmt"
	"slices"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
)

// noFindings are the kinds of occurrences that describe an image and find nothing wrong with it. They are left out by
// the filter, so that an image with many packages or attestations is listed in as few pages as before. COMPLIANCE is
// not among them: it reports rules that an image violates.
func noFindings() []string {
	return []string{
		"ATTESTATION", "BUILD", "DEPLOYMENT", "DSSE_ATTESTATION", "IMAGE", "PACKAGE", "SBOM_REFERENCE", "UPGRADE",
		"VULNERABILITY_ASSESSMENT",
	}
}

// findingKinds are the kinds that are judged, for a service that does not list by exclusion.
func findingKinds() []string { return []string{"VULNERABILITY", "DISCOVERY", "SECRET"} }

// maxUnread is how many kinds that cannot be judged are named.
const maxUnread = 16

// unread counts occurrences of kinds that cannot be judged.
type unread map[string]int

// add counts o unless this version judges its kind, or knows it not to be a finding.
func (u *unread) add(o *grafeaspb.Occurrence) {
	switch {
	case o.GetVulnerability() != nil, o.GetDiscovery() != nil, o.GetSecret() != nil:
		return
	}

	// The kind decides where the details are of a later version. Details of a known kind are no finding either.
	switch k := o.GetKind(); k {
	case grafeaspb.NoteKind_VULNERABILITY, grafeaspb.NoteKind_DISCOVERY, grafeaspb.NoteKind_SECRET:
		return
	case grafeaspb.NoteKind_NOTE_KIND_UNSPECIFIED:
		u.name("NOTE_KIND_UNSPECIFIED", 1)
	default:
		if name := kindName(k); !slices.Contains(noFindings(), name) {
			u.name(name, 1)
		}
	}
}

func (u *unread) name(kind string, n int) {
	if *u == nil {
		*u = unread{}
	}
	if _, named := (*u)[kind]; !named && len(*u) >= maxUnread {
		kind = "others"
	}
	(*u)[kind] += n
}

// join adds the counts of other.
func (u *unread) join(other unread) {
	for kind, n := range other {
		u.name(kind, n)
	}
}

// list is sorted by kind.
func (u unread) list() []attestor.UnreadKind {
	var out []attestor.UnreadKind
	for kind, n := range u {
		out = append(out, attestor.UnreadKind{Kind: kind, Count: n})
	}
	slices.SortFunc(out, func(a, b attestor.UnreadKind) int { return cmp.Compare(a.Kind, b.Kind) })
	return out
}

// aiSkillAnalysis is in the REST description of the API and not yet in its Go types.
const aiSkillAnalysis = 14

func kindName(k grafeaspb.NoteKind) string {
	if name, ok := grafeaspb.NoteKind_name[int32(k)]; ok {
		return name
	}
	if k == aiSkillAnalysis {
		return "AI_SKILL_ANALYSIS"
	}
	return fmt.Sprintf("NOTE_KIND_%d", k)
}
