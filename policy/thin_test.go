package policy_test

import (
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

const productExample = `
apiVersion: attestor/v1
kind: GatePolicy
metadata: {name: production}
spec:
  mode: enforce
  images: ["us-docker.pkg.dev/acme/prod/**"]
  platforms: all
  scope: {trustedDirectories: ["us-docker.pkg.dev/acme/prod/**"], maxUploadAge: 30d}
  base:
    required: true
    evidence: diffids-verified
    approved:
      - name: distroless-static
        repository: gcr.io/distroless/static-debian12
        tags: [nonroot, latest]
        maxBehind: 14d
        signedBy: {keyless: {issuer: "https://accounts.google.com", subject: "keyless@distroless.iam.gserviceaccount.com"}}
      - name: acme-java
        repository: us-docker.pkg.dev/acme/base/java
        digests: ["sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]
        signedBy: {key: /etc/attestor/keys/base.pub}
  user: {nonRoot: true, names: refuse, rootGroup: warn, minimumUID: 1}
  vulnerabilities:
    maximumFixableSeverity: MEDIUM
    maximumUnfixableSeverity: HIGH
    unspecifiedSeverity: deny
    allowedCves: [{id: CVE-2025-9, packages: [zlib], images: ["us-docker.pkg.dev/acme/prod/api"], owner: "a", reason: "b", expires: 2026-12-31}]
    blockedCves: [CVE-2021-44228]
    knownExploited: deny
    maximumEPSS: 0.5
    gracePeriod: {HIGH: 7d, MEDIUM: 30d}
    vex: {accept: [not_affected, fixed], projects: [acme-security]}
    scan: {required: true, continuous: required, maxAge: 0, onUnsupported: deny, packageTypes: all, trusted: []}
  provenance: {slsaLevel: 3, builders: ["https://cloudbuild.googleapis.com/GoogleHostedWorker"], sources: ["https://github.com/acme/*"]}
  exceptions: []
  rules:
    - {name: team-label, expression: '"team" in image.labels && image.labels["team"] != ""', message: "image label team is missing"}
  attestors: [projects/acme-security/attestors/gate]
  attest: {children: true, dsse: false}
`

func TestContractExampleLoads(t *testing.T) {
	set, err := policy.Parse(policy.Source{Name: "production.yaml", Text: []byte(productExample)})
	if err != nil {
		t.Fatal(err)
	}
	p, ok := set.Govern("us-docker.pkg.dev/acme/prod/api")
	if !ok || p.Ref().Name != "production" {
		t.Fatalf("got %v %v", p, ok)
	}
	if v := p.Judge(attestor.Evidence{Time: time.Unix(1, 0)}); v.Outcome() == attestor.Pass {
		t.Fatal("empty evidence passes")
	}
}
