package engine_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/samples"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/internal/when"
)

// plainPolicy asks for none of the evidence that costs calls of its own: documents that are attached, provenance, layers.
const plainPolicy = `apiVersion: attestor/v1
kind: GatePolicy
metadata: {name: plain}
spec:
  mode: enforce
  images: ["127.0.0.1:5000/app/**"]
  base: {required: false}
  user: {nonRoot: true}
  vulnerabilities:
    maximumFixableSeverity: MEDIUM
    maximumUnfixableSeverity: HIGH
    # more of vulnerabilities
  # more
  attestors: [projects/dev/attestors/gate]
`

// TestEvidenceThatNobodyAsksForCostsNoCall: a decision makes the calls that its policy needs: of the plain one, one for each of manifest,
// config and occurrences, and two that tell whether the image is attested already. What is in the same
// answers costs none, and each kind of evidence that does cost one is asked for where it is named.
func TestEvidenceThatNobodyAsksForCostsNoCall(t *testing.T) {
	t.Parallel()
	key := filepath.Join(t.TempDir(), "key.pub")
	if err := os.WriteFile(key, corpus.NewKey().PublicPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	const inVulnerabilities, inSpec = "    # more of vulnerabilities\n", "  # more\n"
	plain := callsOf(t, plainPolicy)
	want := []string{
		"GET /v2/app/plain/blobs/CONFIG", "GET /v2/app/plain/manifests/IMAGE",
		"POST /google.cloud.binaryauthorization.v1.BinauthzManagementServiceV1/GetAttestor",
		"POST /grafeas.v1.Grafeas/ListNoteOccurrences", "POST /grafeas.v1.Grafeas/ListOccurrences",
	}
	if !slices.Equal(plain, want) {
		t.Errorf("the plain policy makes the calls %q, want %q", plain, want)
	}

	for _, tt := range []struct{ name, place, line, more string }{
		{"secrets", inSpec, "  secrets: {found: deny}\n", ""},
		{"unknown findings", inSpec, "  unknownFindings: warn\n", ""},
		{"packages of the scan", inSpec, "  packages: {deny: [{name: telnetd, reason: r}]}\n  sbom: {required: false}\n", "/referrers/"},
		{"statements of Container Analysis", inVulnerabilities, "    vex: {accept: [not_affected], projects: [acme]}\n", ""},
		{"an SBOM", inSpec, "  sbom: {required: true, signedBy: {key: " + key + "}}\n", "/referrers/"},
		{"VEX documents", inVulnerabilities, "    vex: {accept: [not_affected], sources: [{name: s, signedBy: {key: " + key + "}}]}\n", "/referrers/"},
		{"the end of life by os-release", inVulnerabilities, "    endOfLife: deny\n", "/blobs/LAYER"},
		{"provenance", inSpec, "  provenance: {slsaLevel: 1}\n", "ListOccurrences"},
		{"provenance of a signer", inSpec, "  provenance: {slsaLevel: 1, signedBy: {key: " + key + "}}\n", "/referrers/"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			more := callsOf(t, strings.Replace(plainPolicy, tt.place, tt.line+tt.place, 1))
			for _, c := range plain {
				i := slices.Index(more, c)
				if i < 0 {
					t.Fatalf("%q is not among %q", c, more)
				}
				more = slices.Delete(more, i, i+1)
			}
			if tt.more == "" && len(more) > 0 || tt.more != "" && !strings.Contains(strings.Join(more, "\n"), tt.more) {
				t.Errorf("calls beside those of the plain policy: %q, want %q", more, tt.more)
			}
		})
	}
}

// callsOf are the upstream calls of one decision by a policy, sorted, of a service that has not decided before.
func callsOf(t *testing.T, policy string) []string {
	t.Helper()
	w := newWorld(t, worldOptions{policy: policy, quiet: true, config: func(c *config.Config) {
		c.Limits.Deadline, c.Limits.Settle = when.Duration(time.Minute), when.Duration(time.Minute) // a call that is slow is not made twice
	}})
	image := imageOn(t, baseImage(t), "65532:65532", entry{"app", "plain"})
	ref := w.push("app/plain", "v1", image)
	w.scan(ref, samples.Clean)
	w.registry.ResetCalls()
	w.google.ResetCalls()
	if a := w.post(ref, true); a.decision.ID == "" {
		t.Fatalf("%d %s", a.status, a.body)
	}

	// Names in place of digests say which call is which.
	config, err := image.ConfigName()
	w.ok(err)
	digest, err := image.Digest()
	w.ok(err)
	names := []string{config.String(), "CONFIG", digest.String(), "IMAGE"}
	layers, err := image.Layers()
	w.ok(err)
	for _, l := range layers {
		d, err := l.Digest()
		w.ok(err)
		names = append(names, d.String(), "LAYER")
	}
	var out []string
	for _, c := range slices.Concat(whats(w.registry), whats(w.google)) {
		if c != "GET /v2/" {
			out = append(out, strings.NewReplacer(names...).Replace(c))
		}
	}
	slices.Sort(out)
	return out
}
