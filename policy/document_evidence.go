package policy

import "github.com/attestor-gate/attestor"

// Vulnerabilities says which findings are accepted.
type Vulnerabilities struct {
	// Highest severity allowed where a fix exists. Can have a day.
	MaximumFixableSeverity attestor.Ceiling `json:"maximumFixableSeverity" limit:"ALLOW_ALL" jsonschema:"required"`
	// Highest severity allowed where none exists. Can have a day.
	MaximumUnfixableSeverity attestor.Ceiling `json:"maximumUnfixableSeverity" limit:"ALLOW_ALL" jsonschema:"required"`
	// What to do about findings without a severity. Can have a day.
	UnspecifiedSeverity Binary `json:"unspecifiedSeverity" limit:"allow" jsonschema:"default=deny"`
	// Limits of their own for findings in layers that are proven to be the approved base's.
	BaseFindings *BaseFindings `json:"baseFindings,omitempty"`
	// Findings that are accepted for a time: exceptions in short form.
	AllowedCVEs []AllowedCVE `json:"allowedCves,omitempty"`
	// Findings that are refused whatever their severity; no exception excuses them. Can have a day.
	BlockedCVEs []string `json:"blockedCves,omitempty" limit:"-"`
	// What to do about findings that are known to be exploited. Can have a day.
	KnownExploited Response `json:"knownExploited" limit:"allow" jsonschema:"default=allow"`
	// Highest probability of exploitation allowed, 0 to 1. Can have a day.
	MaximumEPSS *float64 `json:"maximumEPSS,omitempty" limit:"-" jsonschema:"minimum=0,maximum=1"`
	// By severity: how long after its advisory was published a finding above a limit only warns.
	GracePeriod map[attestor.Severity]Duration `json:"gracePeriod,omitempty"`
	// Whose statements that a finding does not matter are believed.
	VEX *VEX `json:"vex,omitempty"`
	// What to do about an operating system past the last day on which fixes are published for everybody, read from the
	// image's os-release. Absent: deny, where the scan says which system it is. Can have a day.
	EndOfLife Treatment `json:"endOfLife,omitempty" limit:"ignore"`
	// What counts as a scan.
	Scan Scan `json:"scan"`
}

// BaseFindings are the limits for what an approved base brings along.
type BaseFindings struct {
	// Highest severity allowed where a fix exists. Can have a day.
	MaximumFixableSeverity attestor.Ceiling `json:"maximumFixableSeverity" limit:"ALLOW_ALL" jsonschema:"required"`
	// Highest severity allowed where none exists. Can have a day.
	MaximumUnfixableSeverity attestor.Ceiling `json:"maximumUnfixableSeverity" limit:"ALLOW_ALL" jsonschema:"required"`
}

// AllowedCVE is an exception for one vulnerability.
type AllowedCVE struct {
	// CVE-…, GHSA-…, as the scanner names it.
	ID string `json:"id" jsonschema:"required"`
	// Only in these packages. Absent: in any.
	Packages []string `json:"packages,omitempty"`
	// Only in these images. Absent: in all that the policy governs.
	Images []attestor.Pattern `json:"images,omitempty"`
	// Who answers for it.
	Owner string `json:"owner" jsonschema:"required"`
	// Why it is acceptable.
	Reason string `json:"reason" jsonschema:"required"`
	// The last day, UTC, on which it counts.
	Expires Date `json:"expires" jsonschema:"required"`
}

// VEX says whose statements count.
type VEX struct {
	// The statuses that excuse a finding.
	Accept []VEXStatus `json:"accept" jsonschema:"required"`
	// Google Cloud projects whose VULNERABILITY_ASSESSMENT notes count.
	Projects []string `json:"projects,omitempty"`
	// Signers whose OpenVEX and CycloneDX documents count.
	Sources []VEXSource `json:"sources,omitempty"`
	// All projects and sources by name: the first that says something about a finding decides. Absent: one that does
	// not excuse it outweighs all that do.
	Order []string `json:"order,omitempty"`
}

// VEXSource is a signer of VEX documents.
type VEXSource struct {
	// What decisions call it.
	Name string `json:"name" jsonschema:"required"`
	// Who must have signed its documents.
	SignedBy *SignedBy `json:"signedBy" jsonschema:"required"`
	// The path of a document, with its signature (cosign sign-blob) in FILE.sigstore.json. Absent: documents that are
	// attached to the image.
	File string `json:"file,omitempty"`
}

// Scan says what counts as a scan.
type Scan struct {
	// Whether a finished scan must exist. Can have a day.
	Required *bool `json:"required" limit:"false" jsonschema:"default=true"`
	// Whether the scan must still be kept up to date. Can have a day.
	Continuous Continuous `json:"continuous" limit:"optional" jsonschema:"default=required"`
	// Oldest last scan accepted. 0: no limit. Can have a day.
	MaxAge Duration `json:"maxAge" limit:"0" jsonschema:"default=0"`
	// What to do about images that the scanner does not support. Can have a day.
	OnUnsupported Response `json:"onUnsupported" limit:"allow" jsonschema:"default=deny"`
	// all, or the package types (OS, GO, …) that must have been analysed and whose findings are judged. Findings of no
	// stated type always are. Can have a day.
	PackageTypes OrAll `json:"packageTypes" limit:"all" jsonschema:"default=all"`
	// Notes (projects/P/notes/N) under which other scanners' results count too.
	Trusted []string `json:"trusted,omitempty"`
	// Further projects whose scans count, as for on-demand scans.
	Projects []string `json:"projects,omitempty"`
}

// Secrets says what to do about credentials in an image.
type Secrets struct {
	// What to do about a secret that is reported. None being reported does not say that the image was searched. Can
	// have a day.
	Found Treatment `json:"found" limit:"ignore" jsonschema:"default=deny"`
	// The statuses that are judged: VALID, INVALID, UNKNOWN. Absent: all but INVALID.
	Statuses []SecretStatus `json:"statuses,omitempty"`
}

// Provenance says how images must be built.
type Provenance struct {
	// Lowest SLSA build level accepted. Can have a day.
	SLSALevel int64 `json:"slsaLevel" limit:"0" jsonschema:"default=0,minimum=0,maximum=4"`
	// Builder ids, exactly. Absent: any builder whose statement verifies. Can have a day.
	Builders []string `json:"builders,omitempty" limit:"-"`
	// Source repositories: * within a path segment, ** across. Can have a day.
	Sources []string `json:"sources,omitempty" limit:"-"`
	// Who signs statements attached with cosign. Absent: only Cloud Build's own count.
	SignedBy *SignedBy `json:"signedBy,omitempty"`
	// From when images without such provenance are refused. Absent: now.
	EffectiveFrom *Effective `json:"effectiveFrom,omitempty"`

	// Verification summaries (SLSA VSA) of an earlier stage that count in place of a statement of the build. Absent:
	// none.
	VSA *StageVSA `json:"vsa,omitempty"`

	// Reusable workflows of GitHub Actions whose statements count as SLSA level 3. Absent: those of
	// slsa-github-generator.
	ReusableWorkflows []ReusableWorkflow `json:"reusableWorkflows,omitempty"`
}

// StageVSA says whose verification summaries count as evidence of an earlier stage.
type StageVSA struct {
	// verifier.id, exactly.
	Verifiers []string `json:"verifiers" jsonschema:"required"`
	// Who signs them.
	SignedBy *SignedBy `json:"signedBy" jsonschema:"required"`
	// verifiedLevels, all of which they must have: SLSA_BUILD_LEVEL_1 to 3 as a minimum, SLSA_BUILD_LEVEL_UNEVALUATED
	// for no level of the build, others exactly.
	Levels []string `json:"levels" jsonschema:"required"`
	// policy.uri, exactly. Required beside builders or sources, which such a policy must have demanded. Absent: any.
	Policies []string `json:"policies,omitempty"`
	// Repositories that resourceUri may name. Absent: the image's own.
	Resources []attestor.Pattern `json:"resources,omitempty"`
	// The oldest timeVerified. 0: any.
	MaxAge Duration `json:"maxAge" jsonschema:"default=0"`
}

// ReusableWorkflow is a workflow that was vetted, at the references that were.
type ReusableWorkflow struct {
	// https://github.com/OWNER/REPOSITORY/.github/workflows/FILE, exactly, without a reference.
	Workflow string `json:"workflow" jsonschema:"required"`
	// References at which it may be called: refs/tags/v1.2.3, refs/tags/v*; * within a path segment, ** across.
	Refs []string `json:"refs,omitempty"`
	// Commits of the workflow that count at any reference, in full.
	Commits []string `json:"commits,omitempty"`
}

// SBOM says which bills of materials count.
type SBOM struct {
	// Whether an image without an SBOM by the signer is refused. Otherwise packages and licenses are not judged where
	// none is attached, and the check says so. Can have a day.
	Required bool `json:"required" limit:"false" jsonschema:"required"`
	// The formats that count: spdx, cyclonedx. Absent: both.
	Formats []SBOMFormat `json:"formats,omitempty"`
	// Whose SBOMs speak for an image. Those of anybody else can only speak against it.
	SignedBy *SignedBy `json:"signedBy,omitempty"`
}

// Packages says which packages and licenses images may contain.
type Packages struct {
	// Packages that are refused, by whomever they are reported. Can have a day.
	Deny []DeniedPackage `json:"deny,omitempty" limit:"-"`
	// Where given, every other package is refused. Can have a day.
	Allow []AllowedPackage `json:"allow,omitempty" limit:"-"`
	// Licenses that are refused.
	Licenses *Licenses `json:"licenses,omitempty"`
}

// DeniedPackage names packages by what a package URL has.
type DeniedPackage struct {
	// As in a package URL, with or without its namespace: debian/openssl, openssl,
	// org.apache.logging.log4j/log4j-core.
	Name string `json:"name" jsonschema:"required"`
	// The type of the package URL: deb, golang, npm, maven, … Absent: any.
	Type string `json:"type,omitempty"`
	// Exact versions, or *. Absent: any.
	Versions []string `json:"versions,omitempty"`
	// Why; decisions quote it.
	Reason string `json:"reason,omitempty"`
}

// AllowedPackage names packages by what a package URL has.
type AllowedPackage struct {
	// As in a package URL, with its namespace; a distribution's own (debian, alpine) may be left out.
	Name string `json:"name" jsonschema:"required"`
	// The type of the package URL.
	Type string `json:"type" jsonschema:"required"`
	// Exact versions, or *. Absent: any.
	Versions []string `json:"versions,omitempty"`
}

// Licenses says which licenses are refused.
type Licenses struct {
	// SPDX license identifiers, with or without an exception (WITH). A package is refused if no choice (OR) of its
	// expression leaves them out. Can have a day.
	Deny []string `json:"deny" limit:"-" jsonschema:"required"`
	// What to do about packages whose license is not stated, or not as an SPDX expression. Can have a day.
	Unknown Treatment `json:"unknown" limit:"ignore" jsonschema:"default=deny"`
}
