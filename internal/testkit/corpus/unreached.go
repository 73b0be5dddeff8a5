package corpus

import "github.com/attestor-gate/attestor"

// Unreached are codes of a denial or an error that no image, document or
// request gives by itself, and what shows them instead.
func Unreached() map[attestor.Code]string {
	const failing = "Google's answers are what fails: the harness over every call (internal/engine) and " +
		"TestFailures of vuln"
	return map[attestor.Code]string{
		attestor.CodeNothingChecked: "the platforms of what was fetched are always checked: " +
			"TestOneDenyOutweighsAnErrorOutweighsAPass on verdicts made by hand",
		attestor.CodeCheckMissing:    "a policy that leaves a question out is a defect of the gate: TestZeroValuesDeny",
		attestor.CodeEvidenceMissing: "recorded evidence of an older gate, judged again: TestSimulateMissingEvidence",
		attestor.CodeUploadTooOld: "needs Artifact Registry's own time of upload, which is not emulated: " +
			"TestArtifactRegistryUploaded",
		attestor.CodeInterrupted:   "a crash: TestRecoverNeverInventsAPass",
		attestor.CodeImageNotFound: "an unknown image has no decision, and so no reason: TestWhatTheRegistryAnswers",
		attestor.CodeCircuitOpen: "outages one after another, which the corpus must survive without: " +
			"TestCircuitOpensAndCloses",
		attestor.CodeBaseEvidenceTooWeak: "the inspector proves nothing weaker than the policy asks for: " +
			"recorded evidence under a stricter policy, in policy's TestJudgeBase",
		attestor.CodeScanNotTrusted: "an on-demand scan that the command line names: TestOnDemand, script " +
			"ondemand.txt",
		attestor.CodeScanPermissionDenied:  failing,
		attestor.CodeScanUnavailable:       failing,
		attestor.CodeProvenanceUnavailable: failing,
		attestor.CodeSigningFailed:         "Cloud KMS fails or lies: TestKMSThatLies, TestKMSStates",
		attestor.CodeSignatureInvalid:      "Cloud KMS lies: TestKMSThatLies",
		attestor.CodeKeyNotOfAttestor:      "the attestor has other keys: TestPreflight",
		attestor.CodeAttestorUnavailable:   "Binary Authorization fails: TestStandingFaults",
		attestor.CodeAttestorDenied:        "the gate's account lacks a role: TestPreflight",
		attestor.CodeAttestationConflict:   "another instance at the same instant: TestAConflictThatNobodySees",
		attestor.CodeAttestationNotStored:  "Container Analysis fails after the signature: TestWritesThatFail",
		attestor.CodeSummaryNotStored:      "the registry fails after the signature: TestRegistriesThatFail",
		attestor.CodeSummaryUnavailable:    "the registry fails when it is asked for referrers: TestRegistriesThatFail",
		attestor.CodeRevoked:               "an operator's own request: TestRevoke",
	}
}
