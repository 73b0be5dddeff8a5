# cosign verify-attestation --policy policy.rego: what a verification summary must say.
package signature

import rego.v1

default allow := false

allow if {
	input.predicateType == "https://slsa.dev/verification_summary/v1"
	input.predicate.verificationResult == "PASSED"
	input.predicate.verifier.id == "https://gate.example/attestor"
	input.predicate.resourceUri == "oci://us-docker.pkg.dev/acme/prod/api"

	# Two days at most.
	time.now_ns() - time.parse_rfc3339_ns(input.predicate.timeVerified) < ((48 * 3600) * 1000) * 1000000
}
