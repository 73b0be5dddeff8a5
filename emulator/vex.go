package emulator

import (
	"strings"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
)

// vexKey is the index key of the VEX notes about a resource. Clients write resources with and without a scheme.
func vexKey(resource string) string { return "vex=" + strings.TrimPrefix(resource, "https://") }

// productOf is the resource that a VEX note is about, or "".
func productOf(n *grafeaspb.Note) string {
	return n.GetVulnerabilityAssessment().GetProduct().GetGenericUri()
}

// carryVEX fills in what VEX notes say of a vulnerability. Artifact Analysis, "Upload VEX statements": it "carries VEX
// status information into associated vulnerability occurrences"; a statement about an image is carried "over to all
// versions of that image"; and of two, "the VEX statement written for the resource URL will take precedence".
// The caller holds the store's lock.
func (e *Emulator) carryVEX(o *grafeaspb.Occurrence) {
	v := o.GetVulnerability()
	if v == nil {
		return
	}

	// The version first, then the image that it is a version of.
	resource := o.GetResourceUri()
	for _, r := range []string{resource, strings.TrimSuffix(resource, "@"+digestOf(resource))} {
		if n := e.vexNote(r, projectOf(o.GetName()), lastSegment(o.GetNoteName())); n != nil {
			v.VexAssessment = vexAssessment(n)
			return
		}
	}
}

// vexNote is the note of a project about a resource and a vulnerability, the one that was changed last, or nil.
// "Notes are stored in the Container Analysis API, within the same project as the specified image": a note of another
// project says nothing, since its writer need not have a right on the image.
func (e *Emulator) vexNote(resource, project, vulnerability string) *grafeaspb.Note {
	var found *grafeaspb.Note
	for _, r := range e.store.list(tableNotes, vexKey(resource)).after(0) {
		if r.dead || projectOf(r.name) != project {
			continue
		}
		n := decode[grafeaspb.Note](r)
		a := n.GetVulnerabilityAssessment().GetAssessment()

		//nolint:staticcheck // cve is deprecated, and older notes have nothing else
		if a.GetVulnerabilityId() != vulnerability && a.GetCve() != vulnerability {
			continue
		}
		if found == nil || asTime(n.GetUpdateTime()).After(asTime(found.GetUpdateTime())) {
			found = n
		}
	}
	return found
}

func vexAssessment(n *grafeaspb.Note) *grafeaspb.VulnerabilityOccurrence_VexAssessment {
	a := n.GetVulnerabilityAssessment().GetAssessment()
	return &grafeaspb.VulnerabilityOccurrence_VexAssessment{
		Cve:             a.GetCve(), //nolint:staticcheck // deprecated, and kept as it was written
		VulnerabilityId: a.GetVulnerabilityId(),
		RelatedUris:     a.GetRelatedUris(), NoteName: n.GetName(), State: a.GetState(), Impacts: a.GetImpacts(),
		Remediations: a.GetRemediations(), Justification: a.GetJustification(),
	}
}
