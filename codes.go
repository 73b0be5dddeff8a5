package attestor

// The names of the checks; a policy's CEL rules are [RulePrefix] and the rule's name.
const (
	CheckPolicy          = "policy"
	CheckScope           = "scope"
	CheckPlatforms       = "platforms"
	CheckBase            = "base"
	CheckUser            = "user"
	CheckVulnerabilities = "vulnerabilities"
	CheckSecrets         = "secrets"
	CheckProvenance      = "provenance"
	CheckPackages        = "packages"
	CheckAttest          = "attest"
	RulePrefix           = "rule:"
)

// A Code names a kind of reason. The list is closed: [Codes] has them all, and
// docs/reasons.md explains each.
type Code string

// The codes, by the check that gives them.
const (
	CodeNoPolicy          Code = "NO_POLICY"
	CodeNothingChecked    Code = "NOTHING_CHECKED"
	CodeCheckMissing      Code = "CHECK_MISSING"
	CodeEvidenceMissing   Code = "EVIDENCE_MISSING"
	CodeExceptionExpired  Code = "EXCEPTION_EXPIRED"
	CodeExceptionExpiring Code = "EXCEPTION_EXPIRING"
	CodeExceptionStale    Code = "EXCEPTION_STALE"
	CodeExceptionTooLong  Code = "EXCEPTION_TOO_LONG"
	CodeNotAsked          Code = "NOT_ASKED"

	CodeOutOfScope        Code = "OUT_OF_SCOPE"
	CodeUploadTooOld      Code = "UPLOAD_TOO_OLD"
	CodeUploadTimeUnknown Code = "UPLOAD_TIME_UNKNOWN"

	CodeRegistryDenied             Code = "REGISTRY_DENIED"
	CodeRegistryUnavailable        Code = "REGISTRY_UNAVAILABLE"
	CodeRegistryBusy               Code = "REGISTRY_BUSY"
	CodeRegistryMisbehaves         Code = "REGISTRY_MISBEHAVES"
	CodeRegistryNotAllowed         Code = "REGISTRY_NOT_ALLOWED"
	CodeImageNotFound              Code = "IMAGE_NOT_FOUND"
	CodeContentMissing             Code = "CONTENT_MISSING"
	CodeContentMismatch            Code = "CONTENT_MISMATCH"
	CodeManifestInvalid            Code = "MANIFEST_INVALID"
	CodeManifestUnsupported        Code = "MANIFEST_UNSUPPORTED"
	CodeSchema1                    Code = "SCHEMA1"
	CodeArtifact                   Code = "ARTIFACT"
	CodeForeignLayer               Code = "FOREIGN_LAYER"
	CodeTooLarge                   Code = "TOO_LARGE"
	CodeNoPlatforms                Code = "NO_PLATFORMS"
	CodeNestedIndex                Code = "NESTED_INDEX"
	CodePlatformMissing            Code = "PLATFORM_MISSING"
	CodePlatformDuplicate          Code = "PLATFORM_DUPLICATE"
	CodePlatformMismatch           Code = "PLATFORM_MISMATCH"
	CodePlatformNotAllowed         Code = "PLATFORM_NOT_ALLOWED"
	CodePlatformUnsupported        Code = "PLATFORM_UNSUPPORTED"
	CodeAttestationManifestInvalid Code = "ATTESTATION_MANIFEST_INVALID"
	CodeInterrupted                Code = "INTERRUPTED"
	CodeCircuitOpen                Code = "CIRCUIT_OPEN"
	CodeTimedOut                   Code = "TIMED_OUT"

	CodeBaseNotApproved      Code = "BASE_NOT_APPROVED"
	CodeBaseEvidenceTooWeak  Code = "BASE_EVIDENCE_TOO_WEAK"
	CodeBaseUnresolved       Code = "BASE_UNRESOLVED"
	CodeBaseOutdated         Code = "BASE_OUTDATED"
	CodeBaseAgeUnknown       Code = "BASE_AGE_UNKNOWN"
	CodeBaseUnsigned         Code = "BASE_UNSIGNED"
	CodeBaseSignatureUnknown Code = "BASE_SIGNATURE_UNKNOWN"
	CodeLayersMismatch       Code = "LAYERS_MISMATCH"
	CodeLayerContradictory   Code = "LAYER_CONTRADICTORY"
	CodeLayerTooLarge        Code = "LAYER_TOO_LARGE"

	CodeUserRoot          Code = "USER_ROOT"
	CodeUserRootDisguised Code = "USER_ROOT_DISGUISED"
	CodeUserNotSet        Code = "USER_NOT_SET"
	CodeUserNotNumeric    Code = "USER_NOT_NUMERIC"
	CodeUserInvalid       Code = "USER_INVALID"
	CodeUserTooLow        Code = "USER_TOO_LOW"
	CodeUserUnresolved    Code = "USER_UNRESOLVED"
	CodeUserLookupFailed  Code = "USER_LOOKUP_FAILED"
	CodeGroupRoot         Code = "GROUP_ROOT"
	CodeGroupUnresolved   Code = "GROUP_UNRESOLVED"
	CodeUserLimits        Code = "USER_LIMITS"

	CodeScanNotFound              Code = "SCAN_NOT_FOUND"
	CodeScanPending               Code = "SCAN_PENDING"
	CodeScanRunning               Code = "SCAN_RUNNING"
	CodeScanStateUnknown          Code = "SCAN_STATE_UNKNOWN"
	CodeScanFailed                Code = "SCAN_FAILED"
	CodeScanUnsupported           Code = "SCAN_UNSUPPORTED"
	CodeScanInactive              Code = "SCAN_INACTIVE"
	CodeScanArchived              Code = "SCAN_ARCHIVED"
	CodeScanTooOld                Code = "SCAN_TOO_OLD"
	CodeScanNotOfChild            Code = "SCAN_NOT_OF_CHILD"
	CodeScanNotTrusted            Code = "SCAN_NOT_TRUSTED"
	CodeScanPackageTypeMissing    Code = "SCAN_PACKAGE_TYPE_MISSING"
	CodeScanPermissionDenied      Code = "SCAN_PERMISSION_DENIED"
	CodeScanUnavailable           Code = "SCAN_UNAVAILABLE"
	CodeVEXUnavailable            Code = "VEX_UNAVAILABLE"
	CodeFixableSeverityExceeded   Code = "FIXABLE_SEVERITY_EXCEEDED"
	CodeUnfixableSeverityExceeded Code = "UNFIXABLE_SEVERITY_EXCEEDED"
	CodeUnspecifiedSeverity       Code = "UNSPECIFIED_SEVERITY"
	CodeCVEBlocked                Code = "CVE_BLOCKED"
	CodeMaliciousPackage          Code = "MALICIOUS_PACKAGE"
	CodeKnownExploited            Code = "KNOWN_EXPLOITED"
	CodeEPSSExceeded              Code = "EPSS_EXCEEDED"
	CodeInGracePeriod             Code = "IN_GRACE_PERIOD"
	CodeNotReported               Code = "NOT_REPORTED"
	CodeFindingsNotJudged         Code = "FINDINGS_NOT_JUDGED"
	CodeEndOfLife                 Code = "END_OF_LIFE"
	CodeEndOfLifeUnknown          Code = "END_OF_LIFE_UNKNOWN"
	CodeSystemUnreadable          Code = "SYSTEM_UNREADABLE"
	CodeUnknownFinding            Code = "UNKNOWN_FINDING"
	CodeKindNotJudged             Code = "KIND_NOT_JUDGED"
	CodeShortestWay               Code = "SHORTEST_WAY"

	CodeSecretFound        Code = "SECRET_FOUND"
	CodeSecretUnknown      Code = "SECRET_UNKNOWN"
	CodeSecretsNotReported Code = "SECRETS_NOT_REPORTED" //nolint:gosec // the name of a code

	CodeProvenanceMissing     Code = "PROVENANCE_MISSING"
	CodeProvenanceBuilder     Code = "PROVENANCE_BUILDER"
	CodeProvenanceSource      Code = "PROVENANCE_SOURCE"
	CodeProvenanceLevel       Code = "PROVENANCE_LEVEL"
	CodeProvenanceUnavailable Code = "PROVENANCE_UNAVAILABLE"

	CodeSBOMMissing       Code = "SBOM_MISSING"
	CodeSBOMUnsigned      Code = "SBOM_UNSIGNED"
	CodeSBOMOtherDigest   Code = "SBOM_OTHER_DIGEST"
	CodeSBOMInvalid       Code = "SBOM_INVALID"
	CodeSBOMFormat        Code = "SBOM_FORMAT"
	CodeSBOMTooLarge      Code = "SBOM_TOO_LARGE"
	CodeSBOMTooMany       Code = "SBOM_TOO_MANY"
	CodeSBOMUnavailable   Code = "SBOM_UNAVAILABLE"
	CodePackageDenied     Code = "PACKAGE_DENIED"
	CodePackageNotAllowed Code = "PACKAGE_NOT_ALLOWED"
	CodeLicenseDenied     Code = "LICENSE_DENIED"
	CodeLicenseUnknown    Code = "LICENSE_UNKNOWN"

	CodeRuleViolated Code = "RULE_VIOLATED"
	CodeRuleFailed   Code = "RULE_FAILED"

	CodeNotAttested          Code = "NOT_ATTESTED"
	CodeSigningFailed        Code = "SIGNING_FAILED"
	CodeSignatureInvalid     Code = "SIGNATURE_INVALID"
	CodeKeyNotOfAttestor     Code = "KEY_NOT_OF_ATTESTOR"
	CodeAttestorUnavailable  Code = "ATTESTOR_UNAVAILABLE"
	CodeAttestorDenied       Code = "ATTESTOR_DENIED"
	CodeAttestationConflict  Code = "ATTESTATION_CONFLICT"
	CodeAttestationNotStored Code = "ATTESTATION_NOT_STORED"
	CodeAttestationForeign   Code = "ATTESTATION_FOREIGN"
	CodeSummaryNotStored     Code = "SUMMARY_NOT_STORED"
	CodeSummaryUnavailable   Code = "SUMMARY_UNAVAILABLE"
	CodeSummaryNotDeleted    Code = "SUMMARY_NOT_DELETED"
	CodeAlreadyAttested      Code = "ALREADY_ATTESTED"
	CodeRevoked              Code = "REVOKED"
)

// CodeInfo documents a code.
type CodeInfo struct {
	Code   Code
	Check  string // the check that gives it; "rule" for a policy's rules
	Status Status // what it makes of its check, unless the policy says otherwise
	Means  string
}

// Codes lists every code that a reason can carry.
func Codes() []CodeInfo {
	return []CodeInfo{
		{CodeNoPolicy, "policy", StatusDeny, "no policy governs the image"},
		{CodeNothingChecked, "policy", StatusDeny, "every check was skipped"},
		{CodeCheckMissing, "policy", StatusDeny, "the policy gave no answer about something that must be answered"},
		{CodeEvidenceMissing, "policy", StatusError, "the recorded evidence does not hold what this policy asks about"},
		{CodeExceptionExpired, "policy", StatusWarn, "an exception that would have applied has expired"},
		{CodeExceptionExpiring, "policy", StatusWarn, "an exception in use is about to expire"},
		{CodeExceptionStale, "policy", StatusWarn, "an exception matched nothing"},
		{CodeExceptionTooLong, "policy", StatusWarn, "an exception ends further away than the policy allows"},
		{CodeNotAsked, "policy", StatusSkipped, "the policy does not ask for this check"},
		{CodeOutOfScope, "scope", StatusDeny, "the image is not in one of the trusted directories"},
		{CodeUploadTooOld, "scope", StatusDeny, "the image was uploaded longer ago than the policy allows"},
		{CodeUploadTimeUnknown, "scope", StatusError, "when the image was uploaded is not known, or lies in the future"},
		{CodeRegistryDenied, "platforms", StatusError, "the registry refused the gate's credentials"},
		{CodeRegistryUnavailable, "platforms", StatusError, "the registry could not be reached, or failed"},
		{
			CodeRegistryBusy, "platforms", StatusError,
			"the registry asks for a later retry (429, or 503 with Retry-After) than this decision could wait",
		},
		{
			CodeRegistryMisbehaves, "platforms", StatusError,
			"the registry's answer is invalid",
		},
		{
			CodeRegistryNotAllowed, "platforms", StatusDeny,
			"the registry, or where it redirects to, is not one that the gate may contact",
		},
		{
			CodeImageNotFound, "platforms", StatusError,
			"the registry has no such image; the answer is 404, without a decision",
		},
		{
			CodeContentMissing, "platforms", StatusError,
			"the registry lacks a part of the image: a child of the index, the config or a layer",
		},
		{CodeContentMismatch, "platforms", StatusError, "the bytes received are not those of the digest asked for"},
		{CodeManifestInvalid, "platforms", StatusDeny, "the manifest or config is malformed"},
		{CodeManifestUnsupported, "platforms", StatusDeny, "the media type is not an image or index"},
		{CodeSchema1, "platforms", StatusDeny, "a Docker schema 1 manifest"},
		{CodeArtifact, "platforms", StatusDeny, "an OCI artifact, not a runnable image"},
		{CodeForeignLayer, "platforms", StatusDeny, "a layer that is fetched from a URL outside the registry"},
		{CodeTooLarge, "platforms", StatusDeny, "a manifest, config or layer list beyond the limits"},
		{CodeNoPlatforms, "platforms", StatusDeny, "an index without a runnable child"},
		{CodeNestedIndex, "platforms", StatusDeny, "an index within an index"},
		{CodePlatformMissing, "platforms", StatusDeny, "a child without a platform"},
		{CodePlatformDuplicate, "platforms", StatusDeny, "two children for one platform"},
		{CodePlatformMismatch, "platforms", StatusDeny, "the index's platform is not that of the child's config"},
		{CodePlatformNotAllowed, "platforms", StatusDeny, "no child is for one of the policy's platforms"},
		{CodePlatformUnsupported, "platforms", StatusDeny, "a platform that the gate cannot judge, such as Windows"},
		{CodeAttestationManifestInvalid, "platforms", StatusDeny,
			"a child that claims to be a build attestation and is not one"},
		{CodeInterrupted, "platforms", StatusError, "the gate stopped before it had an answer"},
		{
			CodeCircuitOpen, "platforms", StatusError,
			"circuit open: a dependency of the gate does not answer, and is not called for some seconds",
		},
		{CodeTimedOut, "platforms", StatusError, "the time allowed ran out"},
		{CodeBaseNotApproved, "base", StatusDeny, "the image is not built on an approved base"},
		{
			CodeBaseEvidenceTooWeak, "base", StatusDeny,
			"a base was found, but it is not proven as strongly as the policy asks",
		},
		{CodeBaseUnresolved, "base", StatusError, "an approved base could not be looked up yet"},
		{CodeBaseOutdated, "base", StatusDeny, "the base's tag moved on longer ago than the policy allows"},
		{CodeBaseAgeUnknown, "base", StatusError, "since when the base is out of date is not known"},
		{CodeBaseUnsigned, "base", StatusDeny, "no signature of the base satisfies the policy"},
		{CodeBaseSignatureUnknown, "base", StatusError, "the base's signature could not be checked"},
		{
			CodeLayersMismatch, "base", StatusDeny,
			"a layer cannot be unpacked, or not to the diffID that the config lists",
		},
		{
			CodeLayerContradictory, "base", StatusDeny,
			"a layer's media type and its first bytes name different compressions, or one that not every runtime knows",
		},
		{CodeLayerTooLarge, "base", StatusError, "a layer is too large to be hashed"},
		{CodeUserRoot, "user", StatusDeny, "the image runs as root"},
		{CodeUserRootDisguised, "user", StatusDeny, "the image runs as root though it does not look so"},
		{CodeUserNotSet, "user", StatusDeny, "no user is set, which is root"},
		{CodeUserNotNumeric, "user", StatusDeny, "a user name, which cannot be proven not to be root"},
		{CodeUserInvalid, "user", StatusDeny, "a user that runtimes read differently, or refuse"},
		{CodeUserTooLow, "user", StatusDeny, "the uid is lower than the policy's minimum"},
		{CodeUserUnresolved, "user", StatusDeny, "the name cannot be resolved from the image's /etc/passwd"},
		{
			CodeUserLookupFailed, "user", StatusError,
			"the image's /etc/passwd could not be read, or is beyond the limits",
		},
		{CodeGroupRoot, "user", StatusWarn, "the image runs with group 0"},
		{
			CodeGroupUnresolved, "user", StatusWarn,
			"the group is given by a name, and which gid that is could not be proven",
		},
		{CodeUserLimits, "user", StatusWarn, "what a check of the user cannot see"},
		{CodeScanNotFound, "vulnerabilities", StatusError, "no scan of this digest"},
		{CodeScanPending, "vulnerabilities", StatusError, "the scan has not started"},
		{CodeScanRunning, "vulnerabilities", StatusError, "the scan is under way"},
		{CodeScanStateUnknown, "vulnerabilities", StatusError, "the scan is in a state that the gate does not know"},
		{CodeScanFailed, "vulnerabilities", StatusDeny, "the scan failed"},
		{CodeScanUnsupported, "vulnerabilities", StatusDeny, "the scanner does not support this image"},
		{CodeScanInactive, "vulnerabilities", StatusDeny, "the scan is no longer kept up to date"},
		{CodeScanArchived, "vulnerabilities", StatusDeny, "the scan was archived"},
		{CodeScanTooOld, "vulnerabilities", StatusDeny, "the scan is older than the policy allows"},
		{CodeScanNotOfChild, "vulnerabilities", StatusDeny, "the index was scanned, but not this child of it"},
		{
			CodeScanNotTrusted, "vulnerabilities", StatusDeny,
			"the scan that was named is not of this image, or not in a project that the policy trusts",
		},
		{
			CodeScanPackageTypeMissing, "vulnerabilities", StatusDeny,
			"a package type that the policy asks for was not analysed",
		},
		{CodeScanPermissionDenied, "vulnerabilities", StatusError, "the scanner refused the gate's credentials"},
		{CodeScanUnavailable, "vulnerabilities", StatusError, "the scanner could not be reached, or failed"},
		{CodeFixableSeverityExceeded, "vulnerabilities", StatusDeny, "a fixable finding above the limit"},
		{CodeUnfixableSeverityExceeded, "vulnerabilities", StatusDeny, "an unfixable finding above the limit"},
		{CodeUnspecifiedSeverity, "vulnerabilities", StatusDeny, "a finding without a severity"},
		{CodeMaliciousPackage, "vulnerabilities", StatusDeny, "the image contains a package that is malware"},
		{CodeCVEBlocked, "vulnerabilities", StatusDeny, "a finding that the policy blocks by name"},
		{CodeKnownExploited, "vulnerabilities", StatusDeny, "a finding known to be exploited"},
		{
			CodeEPSSExceeded, "vulnerabilities", StatusDeny,
			"a finding more likely to be exploited than the policy allows",
		},
		{CodeInGracePeriod, "vulnerabilities", StatusWarn, "a finding above a limit, still within its grace period"},
		{CodeNotReported, "vulnerabilities", StatusWarn, "the scanner does not report what the policy asks about"},
		{CodeFindingsNotJudged, "vulnerabilities", StatusWarn, "findings of package types that the policy leaves out"},
		{
			CodeEndOfLife, "vulnerabilities", StatusDeny,
			"the image's operating system is past the last day on which fixes are published for everybody",
		},
		{CodeEndOfLifeUnknown, "vulnerabilities", StatusWarn,
			"until when the operating system gets fixes is not known"},
		{CodeVEXUnavailable, "vulnerabilities", StatusError,
			"VEX documents that may be about a finding could not be read"},
		{CodeSystemUnreadable, "vulnerabilities", StatusError, "the image's os-release could not be read"},
		{
			CodeUnknownFinding, "vulnerabilities", StatusDeny,
			"a finding whose severity or content this version does not know",
		},
		{CodeKindNotJudged, "vulnerabilities", StatusWarn, "occurrences of a kind that this version does not judge"},
		{CodeShortestWay, "vulnerabilities", StatusWarn, "the shortest way to a pass"},
		{CodeSecretFound, "secrets", StatusDeny, "a secret in the image that is not known to be invalid"},
		{CodeSecretUnknown, "secrets", StatusDeny, "a secret whose status or content this version does not know"},
		{CodeSecretsNotReported, "secrets", StatusWarn, "no secret is reported; whether anybody searched is not"},
		{CodeProvenanceMissing, "provenance", StatusDeny, "no verified provenance satisfies the policy"},
		{CodeProvenanceBuilder, "provenance", StatusDeny, "built by another builder than the policy allows"},
		{CodeProvenanceSource, "provenance", StatusDeny, "built from another source than the policy allows"},
		{CodeProvenanceLevel, "provenance", StatusDeny, "the provenance's SLSA level is too low"},
		{CodeProvenanceUnavailable, "provenance", StatusError, "provenance could not be read"},
		{CodeSBOMMissing, "packages", StatusDeny, "no SBOM that counts is attached to the image"},
		{CodeSBOMUnsigned, "packages", StatusDeny, "no SBOM is signed by the signer that the policy names"},
		{CodeSBOMOtherDigest, "packages", StatusDeny, "an attached SBOM is about another digest"},
		{CodeSBOMInvalid, "packages", StatusDeny, "an attached SBOM is malformed, or can be read in two ways"},
		{CodeSBOMFormat, "packages", StatusDeny, "an attached SBOM has a format that the policy or this version " +
			"does not accept"},
		{CodeSBOMTooLarge, "packages", StatusError, "an attached SBOM exceeds the limits of size or packages"},
		{CodeSBOMTooMany, "packages", StatusError, "more documents are attached to the image than are read"},
		{CodeSBOMUnavailable, "packages", StatusError, "the attached SBOMs could not be read"},
		{CodePackageDenied, "packages", StatusDeny, "the image contains a package that the policy denies"},
		{CodePackageNotAllowed, "packages", StatusDeny, "the image contains a package that the policy does not allow"},
		{CodeLicenseDenied, "packages", StatusDeny, "a package has a license that the policy denies"},
		{CodeLicenseUnknown, "packages", StatusDeny, "a package whose license is not stated as an SPDX expression"},
		{CodeRuleViolated, "rule", StatusDeny, "a rule of the policy is false"},
		{CodeRuleFailed, "rule", StatusError, "a rule of the policy could not be evaluated"},
		{CodeNotAttested, "attest", StatusWarn, "nothing was signed, and why"},
		{CodeSigningFailed, "attest", StatusError, "the signing key could not be used"},
		{CodeSignatureInvalid, "attest", StatusError, "the signature that came back does not verify"},
		{CodeKeyNotOfAttestor, "attest", StatusError, "the signing key is not one of the attestor's"},
		{CodeAttestorUnavailable, "attest", StatusError, "the attestor or its note could not be read"},
		{CodeAttestorDenied, "attest", StatusError, "the gate may not read the attestor, or attach to its note"},
		{
			CodeAttestationConflict, "attest", StatusError,
			"another attestation stands in the way and could not be seen or replaced yet",
		},
		{CodeAttestationNotStored, "attest", StatusError, "the attestation could not be stored"},
		{CodeAttestationForeign, "attest", StatusWarn, "an attestation that no key of the attestor verifies"},
		{CodeSummaryNotStored, "attest", StatusError, "the verification summary could not be stored"},
		{CodeSummaryUnavailable, "attest", StatusError, "it could not be found out which verification summaries stand"},
		{CodeSummaryNotDeleted, "attest", StatusWarn, "a verification summary that was replaced is there still"},
		{CodeAlreadyAttested, "attest", StatusWarn, "a valid attestation stands although this decision is not a pass"},
		{
			CodeRevoked, "attest", StatusDeny,
			"the attestations were deleted on request; only in old records, where a revocation was recorded " +
				"as a decision",
		},
	}
}

// Status is what the code makes of its check, unless the policy says
// otherwise. A code that is not listed is an error.
func (c Code) Status() Status {
	for _, info := range Codes() {
		if info.Code == c {
			return info.Status
		}
	}
	return StatusError
}

// Severity is that of a reason with the code where its check refuses and its judge did not say otherwise. A code that
// is not listed refuses.
func (c Code) Severity() ReasonSeverity {
	switch c {
	case CodeNotAsked, CodeNotAttested, CodeShortestWay, CodeUserLimits, CodeSecretsNotReported,
		CodeEndOfLifeUnknown:
		return Informs
	}
	if c.Status() == StatusWarn {
		return Warns
	}
	return Refuses
}

// Retry reports whether asking again later, with nothing changed, may turn
// out otherwise: a scan that has not finished, a list that lags, a dependency
// that is given time to recover.
func (c Code) Retry() bool {
	switch c {
	case CodeScanNotFound, CodeScanPending, CodeScanRunning, CodeAttestationConflict, CodeCircuitOpen, CodeRegistryBusy:
		return true
	}
	return false
}
