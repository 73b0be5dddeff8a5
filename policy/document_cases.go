package policy

import (
	"go.yaml.in/yaml/v4"

	"github.com/attestor-gate/attestor"
)

// A CaseFile tests policies: evidence in, verdict and codes out.
type CaseFile struct {
	// Always attestor/v1.
	APIVersion string `json:"apiVersion" jsonschema:"required"`
	// Always GatePolicyTest.
	Kind string `json:"kind" jsonschema:"required"`
	// The files under test, relative to this one; the most specific governs, as in service.
	Policies []string `json:"policies" jsonschema:"required"`
	// The day on which the cases are judged, at noon UTC.
	Date Date `json:"date" jsonschema:"required"`
	// Evidence that every case starts from, merged into what passes the policy.
	Given yaml.Node `json:"given"`
	// What is judged, and what must come of it.
	Cases []Case `json:"cases" jsonschema:"required"`
}

// A Case is one image.
type Case struct {
	// What the case shows.
	Name string `json:"name" jsonschema:"required"`
	// The repository. Absent: one that the first policy's first pattern matches.
	Image string `json:"image,omitempty"`
	// Another day than the file's.
	Date Date `json:"date,omitzero"`
	// A JSON file with recorded evidence, or a line of an export, to start from instead.
	Record string `json:"record,omitempty"`
	// What of the image's evidence is different: mappings are merged, null removes, all else replaces.
	Change yaml.Node `json:"change"`
	// What is different on each platform.
	Platform yaml.Node `json:"platform"`
	// An index with these platforms, each with what is different there.
	Platforms map[string]yaml.Node `json:"platforms,omitempty"`
	// What must come of it.
	Want Want `json:"want" jsonschema:"required"`
}

// Want is what a case expects.
type Want struct {
	// pass, deny or error.
	Verdict attestor.Outcome `json:"verdict" jsonschema:"required"`
	// Exactly the codes of the reasons that refuse.
	Codes []attestor.Code `json:"codes,omitempty"`
	// Codes that must be among those of the reasons that warn.
	Warnings []attestor.Code `json:"warnings,omitempty"`
}
