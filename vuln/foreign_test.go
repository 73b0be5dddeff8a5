package vuln_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/vuln"
)

// TestForeignDocuments: a document of another kind is called what it is, by all of what only that kind has.
func TestForeignDocuments(t *testing.T) {
	const none, sarif, snapshot, syft, advisory, attestation = "in none of the supported formats", "in SARIF", "a dependency snapshot",
		"Syft's JSON", "an advisory in OSV's schema", "an attestation"
	for text, says := range map[string]string{
		`{"runs": []}`: sarif,
		`{"$schema": "https://json.schemastore.org/SARIF-2.1.0.json"}`: sarif,
		`{"runs": null, "$schema": "https://x.example"}`:               none,
		`{"detected": {}, "manifests": {}}`:                            snapshot,
		`{"detected": {}}`:                                             none,
		`{"manifests": {}}`:                                            none,
		`{"detected": null, "manifests": {}}`:                          none,
		`{"artifacts": [], "artifactRelationships": []}`:               syft,
		`{"artifacts": []}`:                                            none,
		`{"artifactRelationships": []}`:                                none,
		`{"id": "GHSA-1", "affected": []}`:                             advisory,
		`{"id": "GHSA-1"}`:                                             none,
		`{"affected": []}`:                                             none,
		`{"payloadType": "application/vnd.in-toto+json"}`:              attestation,
		`{"predicateType": "https://slsa.dev/provenance/v1"}`:          attestation,
		`{"invocation": {}, "scanner": {}}`:                            attestation,
		`{"invocation": {}}`:                                           none,
		`{"scanner": {}}`:                                              none,
		`{"bomFormat": "CycloneDX"}`:                                   "CycloneDX' JSON",
		`{"spdxVersion": "SPDX-2.3"}`:                                  "SPDX's JSON",
		`{"@context": "https://spdx.org/rdf/3.0.1"}`:                   "SPDX's JSON",
		`{"@context": "https://OpenVEX.dev/ns"}`:                       "OpenVEX",
		`<bom xmlns="http://cyclonedx.org/schema/bom/1.5"/>`:           "CycloneDX' XML",
		` <html></html>`:                                               "XML or HTML",
		`cyclonedx.org/schema/bom`:                                     "is not a JSON object",
		`text`:                                                         "is not a JSON object",
		"\nSPDXVersion: SPDX-2.3":                                      "SPDX's tag-value",
	} {
		in, err := vuln.Import(strings.NewReader(text), coverageTarget(t))
		if !refusalSays(in, err, says) {
			t.Errorf("%s: %v, want %q", text, err, says)
		}
	}
}

// TestCommandOfSARIF: the command is that of the tool that wrote it, where it is one of those that are read.
func TestCommandOfSARIF(t *testing.T) {
	all := []string{"grype registry:", "trivy image --format json", "osv-scanner scan image"}
	for runs, want := range map[string][]string{
		`[{"tool": {"driver": {"name": "Grype"}}}]`:                                          all[:1],
		`[{"tool": {"driver": {"name": "Trivy"}}}]`:                                          all[1:2],
		`[{"tool": {"driver": {"name": "osv-scanner"}}}]`:                                    all[2:],
		`[{"tool": {"driver": {"name": "CodeQL"}}}]`:                                         all,
		`[{"tool": {"driver": {"name": "Trivy"}}}, {"tool": {"driver": {"name": "Grype"}}}]`: all[1:2],
		`[]`:                                  all,
		`[{"tool": {"driver": {"name": 5}}}]`: all,
		`"none"`:                              all,
	} {
		_, err := vuln.Import(strings.NewReader(`{"runs": `+runs+`}`), coverageTarget(t))
		refusal, ok := errors.AsType[*attestor.Error](err)
		if !ok {
			t.Fatalf("%s: %v", runs, err)
		}
		for _, command := range all {
			if got := strings.Contains(refusal.Fix, command); got != slices.Contains(want, command) {
				t.Errorf("%s: %q names %q: %t", runs, refusal.Fix, command, got)
			}
		}
	}
}
