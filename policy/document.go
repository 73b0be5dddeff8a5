package policy

import "github.com/attestor-gate/attestor"

// APIVersion and the kinds are what files say they are.
const (
	APIVersion = "attestor/v1"
	Kind       = "GatePolicy"
	// FragmentKind is the kind of what policies share by uses.
	FragmentKind = "GatePolicyFragment"
	TestKind     = "GatePolicyTest"
)

// A Document is one policy file. Field tags are the single source of names,
// defaults and requirements: the loader, the JSON schema and the
// documentation's tests read them.
type Document struct {
	APIVersion string   `json:"apiVersion" jsonschema:"required,enum=attestor/v1" jsonschema_description:"Always attestor/v1."`
	Kind       string   `json:"kind" jsonschema:"required,enum=GatePolicy" jsonschema_description:"Always GatePolicy."`
	Metadata   Metadata `json:"metadata" jsonschema:"required" jsonschema_description:"What the policy is called."`
	Uses       []string `json:"uses,omitempty" jsonschema_description:"Names of GatePolicyFragments whose spec is part of this one's. Every value is written once: in the policy or in one fragment. exceptions and rules of all are joined."`
	Spec       Spec     `json:"spec" jsonschema:"required" jsonschema_description:"What is demanded of which images."`
}

// Metadata names a policy.
type Metadata struct {
	Name string `json:"name" jsonschema:"required" jsonschema_description:"Unique among the policies in force: lower-case letters, digits and hyphens, at most 63."`
}

// Spec is what a policy demands.
type Spec struct {
	Mode                 attestor.Mode        `json:"mode" jsonschema:"required" jsonschema_description:"enforce, or dryRun: judge and record, refuse nothing, sign nothing."`
	Images               []attestor.Pattern   `json:"images" jsonschema:"required" jsonschema_description:"The repositories that this policy governs: * within a path segment, ** across. The most specific pattern of all policies wins."`
	Platforms            OrAll                `json:"platforms" jsonschema:"default=all" jsonschema_description:"all, or the platforms (os/architecture[/variant]) that are judged and attested."`
	Scope                *Scope               `json:"scope,omitempty" jsonschema_description:"Where images must come from, and how old their upload may be."`
	Base                 Base                 `json:"base" jsonschema:"required" jsonschema_description:"What images must be built on."`
	User                 User                 `json:"user" jsonschema:"required" jsonschema_description:"Whom images may run as."`
	Vulnerabilities      Vulnerabilities      `json:"vulnerabilities" jsonschema:"required" jsonschema_description:"Which findings are accepted, and what counts as a scan."`
	Secrets              Secrets              `json:"secrets" jsonschema_description:"What to do about secrets that the scanner reports in an image."`
	UnknownFindings      Treatment            `json:"unknownFindings" limit:"ignore" jsonschema:"default=deny" jsonschema_description:"What to do about findings whose severity or status this version does not know. Kinds of findings that it does not know are named and warned of. Can have a day."`
	Provenance           *Provenance          `json:"provenance,omitempty" jsonschema_description:"By whom and from what images must be built."`
	SBOM                 *SBOM                `json:"sbom,omitempty" jsonschema_description:"Whether a bill of materials must be attached, and who signs it. Absent: none is read."`
	Packages             *Packages            `json:"packages,omitempty" jsonschema_description:"Which packages and licenses images may contain, by the SBOM and the scan together. Needs sbom."`
	Exceptions           []Exception          `json:"exceptions,omitempty" jsonschema_description:"Denials that are accepted for a time: the general form."`
	ExceptionMaxLifetime Duration             `json:"exceptionMaxLifetime" jsonschema:"default=0" jsonschema_description:"An exception that ends later than this from now does not count. 0: no maximum."`
	ExceptionWarning     Duration             `json:"exceptionWarning" jsonschema:"default=14d" jsonschema_description:"How long before its end an exception in use is warned of."`
	Checks               map[string]CheckMode `json:"checks,omitempty" jsonschema_description:"Checks that only warn, by name, and rules as rule:NAME. An error stays an error."`
	Rules                []Rule               `json:"rules,omitempty" jsonschema_description:"CEL expressions over the evidence, each of which must be true."`
	Attestors            []string             `json:"attestors" jsonschema:"required" jsonschema_description:"projects/PROJECT/attestors/NAME, all of which attest to what passes."`
	Attest               Attest               `json:"attest" jsonschema_description:"How an image that passes is attested to."`
	BreakGlass           *BreakGlass          `json:"breakGlass,omitempty" jsonschema_description:"Whether, and how, a denial may be overridden. Absent: it may not."`
	EffectiveFrom        *Effective           `json:"effectiveFrom,omitempty" jsonschema_description:"From when the policy refuses. Absent: now."`
}

// Scope limits where images come from.
type Scope struct {
	TrustedDirectories []attestor.Pattern `json:"trustedDirectories,omitempty" limit:"-" jsonschema_description:"Patterns, one of which must match the image's repository. Can have a day."`
	MaxUploadAge       Duration           `json:"maxUploadAge" limit:"0" jsonschema:"default=0" jsonschema_description:"Longest time since Artifact Registry received the image. 0: no limit. Can have a day."`
}

// Base says what images must be built on.
type Base struct {
	Required bool           `json:"required" limit:"false" jsonschema:"required" jsonschema_description:"Whether an approved base must be proven. Can have a day."`
	Evidence attestor.Level `json:"evidence" limit:"attested" jsonschema:"default=diffids-verified" jsonschema_description:"The least proof that is accepted: layers-exact, diffids-verified or attested, strongest first. Can have a day."`
	Approved []Approved     `json:"approved,omitempty" jsonschema_description:"The catalogue of bases."`
}

// Approved is one base.
type Approved struct {
	Name          string            `json:"name" jsonschema:"required" jsonschema_description:"What decisions call this base."`
	Repository    string            `json:"repository" jsonschema:"required" jsonschema_description:"Its repository, with registry, without tag."`
	Tags          []string          `json:"tags,omitempty" jsonschema_description:"Tags whose current digest is approved."`
	Digests       []attestor.Digest `json:"digests,omitempty" jsonschema_description:"Digests of indexes or manifests that are approved as long as they stand here."`
	MaxBehind     Duration          `json:"maxBehind" limit:"" jsonschema:"default=0d" jsonschema_description:"How long after its tag moved on an older digest is still good. Can have a day."`
	EndOfLife     Date              `json:"endOfLife,omitzero" jsonschema_description:"When its publisher stops maintaining it: holds in place of what is known of its operating system; lint warns from then on."`
	SignedBy      *SignedBy         `json:"signedBy,omitempty" jsonschema_description:"Who must have signed it. Absent: a signature is not required."`
	EffectiveFrom *Effective        `json:"effectiveFrom,omitempty" jsonschema_description:"From when images are refused for what is wrong with this base. Absent: now."`
}

// SignedBy is a key or a keyless identity.
type SignedBy struct {
	Key          string   `json:"key,omitempty" jsonschema_description:"The path of a PEM public key, or gcpkms://…"`
	Keyless      *Keyless `json:"keyless,omitempty" jsonschema_description:"An identity in a Fulcio certificate."`
	TrustedRoot  string   `json:"trustedRoot,omitempty" jsonschema_description:"The path of a trusted_root.json. Absent: the configured one."`
	Transparency *bool    `json:"transparency,omitempty" jsonschema_description:"Whether a transparency log entry is required. Absent: for keyless, not for keys."`
}

// Keyless is an identity: its issuer and its subject.
type Keyless struct {
	Issuer        string `json:"issuer" jsonschema:"required" jsonschema_description:"The OIDC issuer, exactly."`
	Subject       string `json:"subject,omitempty" jsonschema_description:"The certificate's subject, exactly."`
	SubjectRegexp string `json:"subjectRegexp,omitempty" jsonschema_description:"A regular expression that matches the whole subject."`
}

// User says whom images may run as.
type User struct {
	NonRoot    bool     `json:"nonRoot" limit:"false" jsonschema:"required" jsonschema_description:"Whether images must not run as root. Can have a day."`
	Names      Names    `json:"names" limit:"resolve" jsonschema:"default=refuse" jsonschema_description:"A name instead of a number: refuse a user by name as kubelet does, or resolve users and groups from the image's own /etc/passwd and /etc/group. Can have a day."`
	RootGroup  Response `json:"rootGroup" limit:"allow" jsonschema:"default=warn" jsonschema_description:"What to do about group 0, which a config that gives no group has too, and about a group whose gid is not proven. Can have a day."`
	MinimumUID int64    `json:"minimumUID" limit:"1" jsonschema:"default=1,minimum=1,maximum=2147483647" jsonschema_description:"The lowest uid that is accepted. Can have a day."`
}

// Vulnerabilities says which findings are accepted.
type Vulnerabilities struct {
	MaximumFixableSeverity   attestor.Ceiling               `json:"maximumFixableSeverity" limit:"ALLOW_ALL" jsonschema:"required" jsonschema_description:"Highest severity allowed where a fix exists. Can have a day."`
	MaximumUnfixableSeverity attestor.Ceiling               `json:"maximumUnfixableSeverity" limit:"ALLOW_ALL" jsonschema:"required" jsonschema_description:"Highest severity allowed where none exists. Can have a day."`
	UnspecifiedSeverity      Binary                         `json:"unspecifiedSeverity" limit:"allow" jsonschema:"default=deny" jsonschema_description:"What to do about findings without a severity. Can have a day."`
	BaseFindings             *BaseFindings                  `json:"baseFindings,omitempty" jsonschema_description:"Limits of their own for findings in layers that are proven to be the approved base's."`
	AllowedCVEs              []AllowedCVE                   `json:"allowedCves,omitempty" jsonschema_description:"Findings that are accepted for a time: exceptions in short form."`
	BlockedCVEs              []string                       `json:"blockedCves,omitempty" limit:"-" jsonschema_description:"Findings that are refused whatever their severity; no exception excuses them. Can have a day."`
	KnownExploited           Response                       `json:"knownExploited" limit:"allow" jsonschema:"default=allow" jsonschema_description:"What to do about findings that are known to be exploited. Can have a day."`
	MaximumEPSS              *float64                       `json:"maximumEPSS,omitempty" limit:"-" jsonschema:"minimum=0,maximum=1" jsonschema_description:"Highest probability of exploitation allowed, 0 to 1. Can have a day."`
	GracePeriod              map[attestor.Severity]Duration `json:"gracePeriod,omitempty" jsonschema_description:"By severity: how long after its advisory was published a finding above a limit only warns."`
	VEX                      *VEX                           `json:"vex,omitempty" jsonschema_description:"Whose statements that a finding does not matter are believed."`
	EndOfLife                Treatment                      `json:"endOfLife,omitempty" limit:"ignore" jsonschema_description:"What to do about an operating system past the last day on which fixes are published for everybody, read from the image's os-release. Absent: deny, where the scan says which system it is. Can have a day."`
	Scan                     Scan                           `json:"scan" jsonschema_description:"What counts as a scan."`
}

// BaseFindings are the limits for what an approved base brings along.
type BaseFindings struct {
	MaximumFixableSeverity   attestor.Ceiling `json:"maximumFixableSeverity" limit:"ALLOW_ALL" jsonschema:"required" jsonschema_description:"Highest severity allowed where a fix exists. Can have a day."`
	MaximumUnfixableSeverity attestor.Ceiling `json:"maximumUnfixableSeverity" limit:"ALLOW_ALL" jsonschema:"required" jsonschema_description:"Highest severity allowed where none exists. Can have a day."`
}

// AllowedCVE is an exception for one vulnerability.
type AllowedCVE struct {
	ID       string             `json:"id" jsonschema:"required" jsonschema_description:"CVE-…, GHSA-…, as the scanner names it."`
	Packages []string           `json:"packages,omitempty" jsonschema_description:"Only in these packages. Absent: in any."`
	Images   []attestor.Pattern `json:"images,omitempty" jsonschema_description:"Only in these images. Absent: in all that the policy governs."`
	Owner    string             `json:"owner" jsonschema:"required" jsonschema_description:"Who answers for it."`
	Reason   string             `json:"reason" jsonschema:"required" jsonschema_description:"Why it is acceptable."`
	Expires  Date               `json:"expires" jsonschema:"required" jsonschema_description:"The last day, UTC, on which it counts."`
}

// VEX says whose statements count.
type VEX struct {
	Accept   []VEXStatus `json:"accept" jsonschema:"required" jsonschema_description:"The statuses that excuse a finding."`
	Projects []string    `json:"projects,omitempty" jsonschema_description:"Google Cloud projects whose VULNERABILITY_ASSESSMENT notes count."`
	Sources  []VEXSource `json:"sources,omitempty" jsonschema_description:"Signers whose OpenVEX and CycloneDX documents count."`
	Order    []string    `json:"order,omitempty" jsonschema_description:"All projects and sources by name: the first that says something about a finding decides. Absent: one that does not excuse it outweighs all that do."`
}

// VEXSource is a signer of VEX documents.
type VEXSource struct {
	Name     string    `json:"name" jsonschema:"required" jsonschema_description:"What decisions call it."`
	SignedBy *SignedBy `json:"signedBy" jsonschema:"required" jsonschema_description:"Who must have signed its documents."`
	File     string    `json:"file,omitempty" jsonschema_description:"The path of a document, with its signature (cosign sign-blob) in FILE.sigstore.json. Absent: documents that are attached to the image."`
}

// Scan says what counts as a scan.
type Scan struct {
	Required      *bool      `json:"required" limit:"false" jsonschema:"default=true" jsonschema_description:"Whether a finished scan must exist. Can have a day."`
	Continuous    Continuous `json:"continuous" limit:"optional" jsonschema:"default=required" jsonschema_description:"Whether the scan must still be kept up to date. Can have a day."`
	MaxAge        Duration   `json:"maxAge" limit:"0" jsonschema:"default=0" jsonschema_description:"Oldest last scan accepted. 0: no limit. Can have a day."`
	OnUnsupported Response   `json:"onUnsupported" limit:"allow" jsonschema:"default=deny" jsonschema_description:"What to do about images that the scanner does not support. Can have a day."`
	PackageTypes  OrAll      `json:"packageTypes" limit:"all" jsonschema:"default=all" jsonschema_description:"all, or the package types (OS, GO, …) that must have been analysed and whose findings are judged. Findings of no stated type always are. Can have a day."`
	Trusted       []string   `json:"trusted,omitempty" jsonschema_description:"Notes (projects/P/notes/N) under which other scanners' results count too."`
	Projects      []string   `json:"projects,omitempty" jsonschema_description:"Further projects whose scans count, as for on-demand scans."`
}

// Secrets says what to do about credentials in an image.
type Secrets struct {
	Found    Treatment      `json:"found" limit:"ignore" jsonschema:"default=deny" jsonschema_description:"What to do about a secret that is reported. None being reported does not say that the image was searched. Can have a day."`
	Statuses []SecretStatus `json:"statuses,omitempty" jsonschema_description:"The statuses that are judged: VALID, INVALID, UNKNOWN. Absent: all but INVALID."`
}

// Provenance says how images must be built.
type Provenance struct {
	SLSALevel     int64      `json:"slsaLevel" limit:"0" jsonschema:"default=0,minimum=0,maximum=4" jsonschema_description:"Lowest SLSA build level accepted. Can have a day."`
	Builders      []string   `json:"builders,omitempty" limit:"-" jsonschema_description:"Builder ids, exactly. Absent: any builder whose statement verifies. Can have a day."`
	Sources       []string   `json:"sources,omitempty" limit:"-" jsonschema_description:"Source repositories: * within a path segment, ** across. Can have a day."`
	SignedBy      *SignedBy  `json:"signedBy,omitempty" jsonschema_description:"Who signs statements attached with cosign. Absent: only Cloud Build's own count."`
	EffectiveFrom *Effective `json:"effectiveFrom,omitempty" jsonschema_description:"From when images without such provenance are refused. Absent: now."`

	VSA *StageVSA `json:"vsa,omitempty" jsonschema_description:"Verification summaries (SLSA VSA) of an earlier stage that count in place of a statement of the build. Absent: none."`

	ReusableWorkflows []ReusableWorkflow `json:"reusableWorkflows,omitempty" jsonschema_description:"Reusable workflows of GitHub Actions whose statements count as SLSA level 3. Absent: those of slsa-github-generator."`
}

// StageVSA says whose verification summaries count as evidence of an earlier stage.
type StageVSA struct {
	Verifiers []string           `json:"verifiers" jsonschema:"required" jsonschema_description:"verifier.id, exactly."`
	SignedBy  *SignedBy          `json:"signedBy" jsonschema:"required" jsonschema_description:"Who signs them."`
	Levels    []string           `json:"levels" jsonschema:"required" jsonschema_description:"verifiedLevels, all of which they must have: SLSA_BUILD_LEVEL_1 to 3 as a minimum, SLSA_BUILD_LEVEL_UNEVALUATED for no level of the build, others exactly."`
	Policies  []string           `json:"policies,omitempty" jsonschema_description:"policy.uri, exactly. Required beside builders or sources, which such a policy must have demanded. Absent: any."`
	Resources []attestor.Pattern `json:"resources,omitempty" jsonschema_description:"Repositories that resourceUri may name. Absent: the image's own."`
	MaxAge    Duration           `json:"maxAge" jsonschema:"default=0" jsonschema_description:"The oldest timeVerified. 0: any."`
}

// ReusableWorkflow is a workflow that was vetted, at the references that were.
type ReusableWorkflow struct {
	Workflow string   `json:"workflow" jsonschema:"required" jsonschema_description:"https://github.com/OWNER/REPOSITORY/.github/workflows/FILE, exactly, without a reference."`
	Refs     []string `json:"refs,omitempty" jsonschema_description:"References at which it may be called: refs/tags/v1.2.3, refs/tags/v*; * within a path segment, ** across."`
	Commits  []string `json:"commits,omitempty" jsonschema_description:"Commits of the workflow that count at any reference, in full."`
}

// SBOM says which bills of materials count.
type SBOM struct {
	Required bool         `json:"required" limit:"false" jsonschema:"required" jsonschema_description:"Whether an image without an SBOM by the signer is refused. Otherwise packages and licenses are not judged where none is attached, and the check says so. Can have a day."`
	Formats  []SBOMFormat `json:"formats,omitempty" jsonschema_description:"The formats that count: spdx, cyclonedx. Absent: both."`
	SignedBy *SignedBy    `json:"signedBy,omitempty" jsonschema_description:"Whose SBOMs speak for an image. Those of anybody else can only speak against it."`
}

// Packages says which packages and licenses images may contain.
type Packages struct {
	Deny     []DeniedPackage  `json:"deny,omitempty" limit:"-" jsonschema_description:"Packages that are refused, by whomever they are reported. Can have a day."`
	Allow    []AllowedPackage `json:"allow,omitempty" limit:"-" jsonschema_description:"Where given, every other package is refused. Can have a day."`
	Licenses *Licenses        `json:"licenses,omitempty" jsonschema_description:"Licenses that are refused."`
}

// DeniedPackage names packages by what a package URL has.
type DeniedPackage struct {
	Name     string   `json:"name" jsonschema:"required" jsonschema_description:"As in a package URL, with or without its namespace: debian/openssl, openssl, org.apache.logging.log4j/log4j-core."`
	Type     string   `json:"type,omitempty" jsonschema_description:"The type of the package URL: deb, golang, npm, maven, … Absent: any."`
	Versions []string `json:"versions,omitempty" jsonschema_description:"Exact versions, or *. Absent: any."`
	Reason   string   `json:"reason,omitempty" jsonschema_description:"Why; decisions quote it."`
}

// AllowedPackage names packages by what a package URL has.
type AllowedPackage struct {
	Name     string   `json:"name" jsonschema:"required" jsonschema_description:"As in a package URL, with its namespace; a distribution's own (debian, alpine) may be left out."`
	Type     string   `json:"type" jsonschema:"required" jsonschema_description:"The type of the package URL."`
	Versions []string `json:"versions,omitempty" jsonschema_description:"Exact versions, or *. Absent: any."`
}

// Licenses says which licenses are refused.
type Licenses struct {
	Deny    []string  `json:"deny" limit:"-" jsonschema:"required" jsonschema_description:"SPDX license identifiers, with or without an exception (WITH). A package is refused if no choice (OR) of its expression leaves them out. Can have a day."`
	Unknown Treatment `json:"unknown" limit:"ignore" jsonschema:"default=deny" jsonschema_description:"What to do about packages whose license is not stated, or not as an SPDX expression. Can have a day."`
}

// Exception accepts a denial for a time.
type Exception struct {
	ID        string             `json:"id,omitempty" jsonschema_description:"What decisions call it. Absent: its check and subject."`
	Check     string             `json:"check" jsonschema:"required" jsonschema_description:"The name of a check, or rule:NAME."`
	Subject   string             `json:"subject" jsonschema:"required" jsonschema_description:"The subject or the code of the denial, exactly, or * for any."`
	Packages  []string           `json:"packages,omitempty" jsonschema_description:"Only for findings in these packages. Absent: for any. A malicious package is excepted only by its name here, under the code MALICIOUS_PACKAGE."`
	Paths     []string           `json:"paths,omitempty" jsonschema_description:"Only for secrets in these files: * within a path segment, ** across. Absent: in any."`
	Images    []attestor.Pattern `json:"images,omitempty" jsonschema_description:"Only for these images. Absent: for all that the policy governs."`
	Platforms []string           `json:"platforms,omitempty" jsonschema_description:"Only for these platforms. Absent: for all."`
	Owner     string             `json:"owner" jsonschema:"required" jsonschema_description:"Who answers for it."`
	Reason    string             `json:"reason" jsonschema:"required" jsonschema_description:"Why it is acceptable."`
	Expires   Date               `json:"expires" jsonschema:"required" jsonschema_description:"The last day, UTC, on which it counts."`
}

// Rule is a CEL expression that must be true of every platform.
type Rule struct {
	Name          string     `json:"name" jsonschema:"required" jsonschema_description:"Lower-case letters, digits and hyphens."`
	Expression    string     `json:"expression" jsonschema:"required" jsonschema_description:"A CEL expression of type bool; see docs/rules.md."`
	Message       string     `json:"message" jsonschema:"required" jsonschema_description:"What is wrong where it is false."`
	Fix           string     `json:"fix,omitempty" jsonschema_description:"What to do about it."`
	EffectiveFrom *Effective `json:"effectiveFrom,omitempty" jsonschema_description:"From when it refuses. Absent: now."`
}

// Attest says how to attest.
type Attest struct {
	Children *bool  `json:"children" jsonschema:"default=true" jsonschema_description:"Whether the children of an index are attested to, and not only the index."`
	DSSE     bool   `json:"dsse" jsonschema:"default=false" jsonschema_description:"Whether a second signature in DSSE form is made, as continuous validation wants."`
	DSSENote string `json:"dsseNote,omitempty" jsonschema_description:"projects/P/notes/N for the DSSE attestation. Absent: the attestor's note."`
	VSA      *VSA   `json:"vsa,omitempty" jsonschema_description:"Verification summaries (SLSA VSA) that are published in a registry, before the attestations are stored. Absent: none."`
}

// VSA says which verification summaries are published, and where.
type VSA struct {
	Publish    Published `json:"publish" jsonschema:"required" jsonschema_description:"passed: of images that pass. passedAndRefused: also of images that are denied, by a key of their own that the gate must have."`
	Repository string    `json:"repository,omitempty" jsonschema_description:"HOST/PATH that they are stored in. Absent: the image's own repository."`
}

// BreakGlass says how a denial may be overridden.
type BreakGlass struct {
	Allowed   bool     `json:"allowed" jsonschema:"required" jsonschema_description:"Whether callers with the right to may override this policy."`
	Ticket    string   `json:"ticket,omitempty" jsonschema_description:"A regular expression that a whole word of the reason must match."`
	Attestors []string `json:"attestors,omitempty" jsonschema_description:"Attestors used instead. Absent: the policy's own."`
	Expires   Duration `json:"expires" jsonschema:"default=0" jsonschema_description:"How long such an attestation stands. 0: until it is revoked."`
}
