package audit_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// TestEvidenceHashIsOfItsJSON: the hash is of the bytes of the evidence's JSON, whatever is in them: decisions of all versions have it.
func TestEvidenceHashIsOfItsJSON(t *testing.T) {
	many := attestor.Evidence{Platforms: []attestor.PlatformEvidence{{}}}
	for range 1000 {
		many.Platforms[0].Scan.Findings = append(many.Platforms[0].Scan.Findings, attestor.Vulnerability{ID: "CVE-1", Path: strings.Repeat("x", 200)})
	}
	other := attestor.Evidence{Platforms: []attestor.PlatformEvidence{{Scan: attestor.Scan{Findings: []attestor.Vulnerability{{ID: "CVE-2"}}}}}}
	for name, ev := range map[string]attestor.Evidence{
		"nothing":         {},
		"line ends":       {Requested: "a\nb\n", Labels: map[string]string{"\n": "\n"}},
		"HTML and spaces": {Requested: "<a&b>\u2028\u2029 \xff"},
		"many findings":   many,
	} {
		text, err := json.Marshal(ev)
		if err != nil {
			t.Fatal(err)
		}
		got, err := audit.EvidenceHash(ev)
		if err != nil || got != string(attestor.DigestOf(text)) {
			t.Errorf("%s: %s, %v", name, got, err)
		}

		// Two decisions in one filling have the same findings: they are encoded for the first.
		for n, got := range audit.EvidenceHashesInBulk(t, other, ev, ev) {
			if n > 0 && got != string(attestor.DigestOf(text)) {
				t.Errorf("%s: evidence %d in bulk: %s", name, n, got)
			}
		}
	}
}
