package vuln

import (
	"bytes"
	"encoding/json"
	"strings"
)

// commands says how each scanner writes what can be imported.
const commands = "grype registry:REPOSITORY@DIGEST -o json, trivy image --format json REPOSITORY@DIGEST," +
	" or osv-scanner scan image --all-packages --format json REPOSITORY@DIGEST"

// notJSON is the refusal of a file that is no JSON object, by what it looks like.
func notJSON(b []byte) error {
	fix := "have the scanner write JSON: " + commands
	text := bytes.TrimSpace(b)
	switch {
	case bytes.HasPrefix(b, []byte("\xff\xfe")), bytes.HasPrefix(b, []byte("\xfe\xff")):
		return invalid("the report is in UTF-16, as PowerShell 5 redirects output, and not in UTF-8",
			"have the scanner write the file itself, such as by --output, --file or --output-file")
	case bytes.HasPrefix(text, []byte("SPDXVersion:")):
		return listing("an SBOM in SPDX's tag-value form")
	case bytes.HasPrefix(text, []byte("<")) && bytes.Contains(text, []byte("cyclonedx.org/schema/bom")):
		return listing("an SBOM in CycloneDX' XML form")
	case bytes.HasPrefix(text, []byte("<")):
		return invalid("the report is XML or HTML, not a JSON object", fix)
	}
	return invalid("the report is not a JSON object", fix)
}

func listing(what string) error {
	return invalid(
		"this is "+what+", not a scanner's report: it lists packages, and does not say that anybody looked for their "+
			"vulnerabilities",
		"scan the image and import that report: "+commands,
	)
}

// foreign recognises documents of other kinds, to say which command writes one that can be read; nil: it knows none.
func foreign(keys map[string]json.RawMessage) error {
	has := func(k string) bool { return len(keys[k]) > 0 && !bytes.Equal(keys[k], []byte("null")) }
	context := strings.ToLower(string(keys["@context"]))
	switch {
	case has("runs") || strings.Contains(strings.ToLower(string(keys["$schema"])), "sarif"):
		return sarif(keys["runs"])
	case has("bomFormat"):
		return listing("an SBOM in CycloneDX' JSON form")
	case has("spdxVersion") || strings.Contains(context, "spdx.org"):
		return listing("an SBOM in SPDX's JSON form")
	case strings.Contains(context, "openvex"):
		return invalid("this is an OpenVEX document, not a scanner's report", "scan the image: "+commands)
	case has("artifacts") && has("artifactRelationships"):
		return listing("an SBOM in Syft's JSON form")
	case has("predicateType") || has("payloadType") || has("invocation") && has("scanner"):
		return invalid("this is an attestation, not a scanner's report", "write the report itself: "+commands)
	case has("id") && has("affected"):
		return invalid(
			"this is an advisory in OSV's schema, not a scanner's report: it does not say what is installed",
			"scan the image with osv-scanner and import its report: "+commands,
		)
	case has("detected") && has("manifests"):
		return listing("a dependency snapshot for GitHub")
	}

	return nil
}

// sarif names the command of the tool that wrote it. SARIF has results, and says neither which image was looked at nor
// what was covered.
func sarif(runs json.RawMessage) error {
	var list []struct {
		Tool struct {
			Driver struct {
				Name string `json:"name"`
			} `json:"driver"`
		} `json:"tool"`
	}

	fix := "write JSON instead: " + commands
	if json.Unmarshal(runs, &list) == nil && len(list) > 0 {
		switch name := strings.ToLower(list[0].Tool.Driver.Name); {
		case strings.Contains(name, "grype"):
			fix = "write JSON instead: grype registry:REPOSITORY@DIGEST -o json"
		case strings.Contains(name, "trivy"):
			fix = "write JSON instead: trivy image --format json REPOSITORY@DIGEST"
		case strings.Contains(name, "osv"):
			fix = "write JSON instead: osv-scanner scan image --all-packages --format json REPOSITORY@DIGEST"
		}
	}
	return invalid("the report is in SARIF, which does not say which image was scanned, nor how much of it", fix)
}
