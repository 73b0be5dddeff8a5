package attestor_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/attestor-gate/attestor"
)

// TestEvidenceIsEncodedAsMarshalDoes: the hash of evidence is that of json.Marshal's bytes, whatever lists it has and
// whatever the texts in it say.
func TestEvidenceIsEncodedAsMarshalDoes(t *testing.T) {
	score, bad := 9.8, `"findings":[{"id":"","note":"","severity":"","package":"","version":"","fixable":false}]`
	findings := []attestor.Vulnerability{
		{ID: "CVE-2026-1", Severity: attestor.High, Package: "a<b>&c", CVSS: &score, DiffIDs: []attestor.Digest{"x"}},
		{}, {ID: bad, Path: bad, VEX: []attestor.VEX{{Justification: bad + "\n\u2028"}}},
	}
	secrets := []attestor.Secret{{}, {Kind: "GCP_API_KEY", Path: bad, Note: "\xff"}}
	packages := []attestor.Package{{}, {Name: bad, Licenses: []string{"MIT"}}}
	whole := attestor.PlatformEvidence{
		Config: attestor.ImageConfig{Labels: map[string]string{bad: bad, `"secrets":[{"kind":"","status":"","note":""}]`: "x"}},
		Scan:   attestor.Scan{State: attestor.ScanComplete, Findings: findings, Secrets: secrets, Note: bad},
		SBOMs:  []attestor.SBOM{{Packages: packages}, {}, {Place: bad, Packages: packages[:1]}},
	}

	for name, ev := range map[string]attestor.Evidence{
		"zero":         {},
		"no platforms": {Requested: bad, Platforms: []attestor.PlatformEvidence{}},
		"empty lists": {Platforms: []attestor.PlatformEvidence{{
			Scan: attestor.Scan{Findings: []attestor.Vulnerability{}, Secrets: []attestor.Secret{}}, SBOMs: []attestor.SBOM{},
		}}},
		"an empty entry": {Platforms: []attestor.PlatformEvidence{{Scan: attestor.Scan{Findings: findings[1:2], Secrets: secrets[:1]}}}},
		"one of each":    {Platforms: []attestor.PlatformEvidence{whole}, Labels: map[string]string{"a": bad}},
		"several":        {Platforms: []attestor.PlatformEvidence{{}, whole, {}, whole, {SBOMs: whole.SBOMs}}},
	} {
		want, err := json.Marshal(ev)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := ev.EncodeTo(&got); err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, &got, want)
		}
		if again, err := json.Marshal(ev); err != nil || !bytes.Equal(again, want) {
			t.Errorf("%s: the evidence was changed (%v)", name, err)
		}

		// What cannot be written is an error, wherever it happens.
		for n := range len(want) {
			if err := ev.EncodeTo(&full{left: n}); err == nil {
				t.Fatalf("%s: no error after %d of %d bytes", name, n, len(want))
			}
		}
	}

	for _, list := range [][]attestor.Vulnerability{nil, {}, findings} {
		want, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := attestor.EncodeFindings(&got, list); err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%v\n%s\nwant\n%s", err, &got, want)
		}
	}
}

// full is a writer that fails after some bytes.
type full struct{ left int }

func (f *full) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errors.New(fmt.Sprint("full, ", -f.left, " bytes too many"))
	}
	return len(p), nil
}
