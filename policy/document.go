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

// A Document is one policy file. Field tags are the single source of names, defaults and requirements, and comments of
// fields the single source of what they mean: the loader, the JSON schema and the documentation's tests read them.
type Document struct {
	// Always attestor/v1.
	APIVersion string `json:"apiVersion" jsonschema:"required,enum=attestor/v1"`
	// Always GatePolicy.
	Kind string `json:"kind" jsonschema:"required,enum=GatePolicy"`
	// What the policy is called.
	Metadata Metadata `json:"metadata" jsonschema:"required"`
	// Names of GatePolicyFragments whose spec is part of this one's. Every value is written once: in the policy or in
	// one fragment. exceptions and rules of all are joined.
	Uses []string `json:"uses,omitempty"`
	// What is demanded of which images.
	Spec Spec `json:"spec" jsonschema:"required"`
}

// Metadata names a policy.
type Metadata struct {
	// Unique among the policies in force: lower-case letters, digits and hyphens, at most 63.
	Name string `json:"name" jsonschema:"required"`
}

// Spec is what a policy demands.
type Spec struct {
	// enforce, or dryRun: judge and record, refuse nothing, sign nothing.
	Mode attestor.Mode `json:"mode" jsonschema:"required"`
	// The repositories that this policy governs: * within a path segment, ** across. The most specific pattern of all
	// policies wins.
	Images []attestor.Pattern `json:"images" jsonschema:"required"`
	// all, or the platforms (os/architecture[/variant]) that are judged and attested.
	Platforms OrAll `json:"platforms" jsonschema:"default=all"`
	// Where images must come from, and how old their upload may be.
	Scope *Scope `json:"scope,omitempty"`
	// What images must be built on.
	Base Base `json:"base" jsonschema:"required"`
	// Whom images may run as.
	User User `json:"user" jsonschema:"required"`
	// Which findings are accepted, and what counts as a scan.
	Vulnerabilities Vulnerabilities `json:"vulnerabilities" jsonschema:"required"`
	// What to do about secrets that the scanner reports in an image.
	Secrets Secrets `json:"secrets"`
	// What to do about findings whose severity or status this version does not know. Kinds of findings that it does
	// not know are named and warned of. Can have a day.
	UnknownFindings Treatment `json:"unknownFindings" limit:"ignore" jsonschema:"default=deny"`
	// By whom and from what images must be built.
	Provenance *Provenance `json:"provenance,omitempty"`
	// Whether a bill of materials must be attached, and who signs it. Absent: none is read.
	SBOM *SBOM `json:"sbom,omitempty"`
	// Which packages and licenses images may contain, by the SBOM and the scan together. Needs sbom.
	Packages *Packages `json:"packages,omitempty"`
	// Denials that are accepted for a time: the general form.
	Exceptions []Exception `json:"exceptions,omitempty"`
	// An exception that ends later than this from now does not count. 0: no maximum.
	ExceptionMaxLifetime Duration `json:"exceptionMaxLifetime" jsonschema:"default=0"`
	// How long before its end an exception in use is warned of.
	ExceptionWarning Duration `json:"exceptionWarning" jsonschema:"default=14d"`
	// Checks that only warn, by name, and rules as rule:NAME. An error stays an error.
	Checks map[string]CheckMode `json:"checks,omitempty"`
	// CEL expressions over the evidence, each of which must be true.
	Rules []Rule `json:"rules,omitempty"`
	// projects/PROJECT/attestors/NAME, all of which attest to what passes.
	Attestors []string `json:"attestors" jsonschema:"required"`
	// How an image that passes is attested to.
	Attest Attest `json:"attest"`
	// Whether, and how, a denial may be overridden. Absent: it may not.
	BreakGlass *BreakGlass `json:"breakGlass,omitempty"`
	// From when the policy refuses. Absent: now.
	EffectiveFrom *Effective `json:"effectiveFrom,omitempty"`
}

// Scope limits where images come from.
type Scope struct {
	// Patterns, one of which must match the image's repository. Can have a day.
	TrustedDirectories []attestor.Pattern `json:"trustedDirectories,omitempty" limit:"-"`
	// Longest time since Artifact Registry received the image. 0: no limit. Can have a day.
	MaxUploadAge Duration `json:"maxUploadAge" limit:"0" jsonschema:"default=0"`
}

// Base says what images must be built on.
type Base struct {
	// Whether an approved base must be proven. Can have a day.
	Required bool `json:"required" limit:"false" jsonschema:"required"`
	// The least proof that is accepted: layers-exact, diffids-verified or attested, strongest first. Can have a day.
	Evidence attestor.Level `json:"evidence" limit:"attested" jsonschema:"default=diffids-verified"`
	// The catalogue of bases.
	Approved []Approved `json:"approved,omitempty"`
}

// Approved is one base.
type Approved struct {
	// What decisions call this base.
	Name string `json:"name" jsonschema:"required"`
	// Its repository, with registry, without tag.
	Repository string `json:"repository" jsonschema:"required"`
	// Tags whose current digest is approved.
	Tags []string `json:"tags,omitempty"`
	// Digests of indexes or manifests that are approved as long as they stand here.
	Digests []attestor.Digest `json:"digests,omitempty"`
	// How long after its tag moved on an older digest is still good. Can have a day.
	MaxBehind Duration `json:"maxBehind" limit:"" jsonschema:"default=0d"`
	// When its publisher stops maintaining it: holds in place of what is known of its operating system; lint warns
	// from then on.
	EndOfLife Date `json:"endOfLife,omitzero"`
	// Who must have signed it. Absent: a signature is not required.
	SignedBy *SignedBy `json:"signedBy,omitempty"`
	// From when images are refused for what is wrong with this base. Absent: now.
	EffectiveFrom *Effective `json:"effectiveFrom,omitempty"`
}

// SignedBy is a key or a keyless identity.
type SignedBy struct {
	// The path of a PEM public key, or gcpkms://…
	Key string `json:"key,omitempty"`
	// An identity in a Fulcio certificate.
	Keyless *Keyless `json:"keyless,omitempty"`
	// The path of a trusted_root.json. Absent: the configured one.
	TrustedRoot string `json:"trustedRoot,omitempty"`
	// Whether a transparency log entry is required. Absent: for keyless, not for keys.
	Transparency *bool `json:"transparency,omitempty"`
}

// Keyless is an identity: its issuer and its subject.
type Keyless struct {
	// The OIDC issuer, exactly.
	Issuer string `json:"issuer" jsonschema:"required"`
	// The certificate's subject, exactly.
	Subject string `json:"subject,omitempty"`
	// A regular expression that matches the whole subject.
	SubjectRegexp string `json:"subjectRegexp,omitempty"`
}

// User says whom images may run as.
type User struct {
	// Whether images must not run as root. Can have a day.
	NonRoot bool `json:"nonRoot" limit:"false" jsonschema:"required"`
	// A name instead of a number: refuse a user by name as kubelet does, or resolve users and groups from the image's
	// own /etc/passwd and /etc/group. Can have a day.
	Names Names `json:"names" limit:"resolve" jsonschema:"default=refuse"`
	// What to do about group 0, which a config that gives no group has too, and about a group whose gid is not proven.
	// Can have a day.
	RootGroup Response `json:"rootGroup" limit:"allow" jsonschema:"default=warn"`
	// The lowest uid that is accepted. Can have a day.
	MinimumUID int64 `json:"minimumUID" limit:"1" jsonschema:"default=1,minimum=1,maximum=2147483647"`
}

// Exception accepts a denial for a time.
type Exception struct {
	// What decisions call it. Absent: its check and subject.
	ID string `json:"id,omitempty"`
	// The name of a check, or rule:NAME.
	Check string `json:"check" jsonschema:"required"`
	// The subject or the code of the denial, exactly, or * for any.
	Subject string `json:"subject" jsonschema:"required"`
	// Only for findings in these packages. Absent: for any. A malicious package is excepted only by its name here,
	// under the code MALICIOUS_PACKAGE.
	Packages []string `json:"packages,omitempty"`
	// Only for secrets in these files: * within a path segment, ** across. Absent: in any.
	Paths []string `json:"paths,omitempty"`
	// Only for these images. Absent: for all that the policy governs.
	Images []attestor.Pattern `json:"images,omitempty"`
	// Only for these platforms. Absent: for all.
	Platforms []string `json:"platforms,omitempty"`
	// Who answers for it.
	Owner string `json:"owner" jsonschema:"required"`
	// Why it is acceptable.
	Reason string `json:"reason" jsonschema:"required"`
	// The last day, UTC, on which it counts.
	Expires Date `json:"expires" jsonschema:"required"`
}

// Rule is a CEL expression that must be true of every platform.
type Rule struct {
	// Lower-case letters, digits and hyphens.
	Name string `json:"name" jsonschema:"required"`
	// A CEL expression of type bool; see docs/rules.md.
	Expression string `json:"expression" jsonschema:"required"`
	// What is wrong where it is false.
	Message string `json:"message" jsonschema:"required"`
	// What to do about it.
	Fix string `json:"fix,omitempty"`
	// From when it refuses. Absent: now.
	EffectiveFrom *Effective `json:"effectiveFrom,omitempty"`
}

// Attest says how to attest.
type Attest struct {
	// Whether the children of an index are attested to, and not only the index.
	Children *bool `json:"children" jsonschema:"default=true"`
	// Whether a second signature in DSSE form is made, as continuous validation wants.
	DSSE bool `json:"dsse" jsonschema:"default=false"`
	// projects/P/notes/N for the DSSE attestation. Absent: the attestor's note.
	DSSENote string `json:"dsseNote,omitempty"`
	// Verification summaries (SLSA VSA) that are published in a registry, before the attestations are stored. Absent:
	// none.
	VSA *VSA `json:"vsa,omitempty"`
}

// VSA says which verification summaries are published, and where.
type VSA struct {
	// passed: of images that pass. passedAndRefused: also of images that are denied, by a key of their own that the
	// gate must have.
	Publish Published `json:"publish" jsonschema:"required"`
	// HOST/PATH that they are stored in. Absent: the image's own repository.
	Repository string `json:"repository,omitempty"`
}

// BreakGlass says how a denial may be overridden.
type BreakGlass struct {
	// Whether callers with the right to may override this policy.
	Allowed bool `json:"allowed" jsonschema:"required"`
	// A regular expression that a whole word of the reason must match.
	Ticket string `json:"ticket,omitempty"`
	// Attestors used instead. Absent: the policy's own.
	Attestors []string `json:"attestors,omitempty"`
	// How long such an attestation stands. 0: until it is revoked.
	Expires Duration `json:"expires" jsonschema:"default=0"`
}

// An Effective says from when something refuses. Until then, what it would refuse is a warning that names the day and
// the owner.
type Effective struct {
	// The first day, from its beginning in UTC, on which it refuses.
	Date Date `json:"date" jsonschema:"required"`
	// Who answers for the date; every warning names the owner.
	Owner string `json:"owner" jsonschema:"required"`
}
