package posture_test

import (
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/posture"
)

// TestProfileScalars: every text of a profile is one, and nothing is left empty: an exception with an empty subject
// would excuse every subject.
func TestProfileScalars(t *testing.T) {
	t.Parallel()
	const profile = `apiVersion: attestor/v1
kind: PostureProfile
metadata: {name: mine}
spec:
  extends: strict
  rules: {INGRESS_RESTRICTED: warn}
  regions: [europe-west1]
  maxTimeout: 60s
  missingEvidence: error
  behindIAP: [shop]
  exceptions: [{rule: INGRESS_RESTRICTED, services: [shop], subject: some, owner: team, reason: words, expires: 2027-03-31}]
`

	read := func(text string) error {
		_, err := posture.ParseProfile(posture.Source{Name: "p.yaml", Text: []byte(text)})
		return err
	}

	if err := read(profile); err != nil {
		t.Fatal(err)
	}

	for field, place := range map[string]string{
		"name: mine": "line 3, column 18: metadata.name", "extends: strict": "line 5, column 12: spec.extends",
		"INGRESS_RESTRICTED: warn": "line 6, column 31: spec.rules.INGRESS_RESTRICTED", "[europe-west1]": "line 7, column 13: spec.regions[0]",
		"missingEvidence: error": "line 9, column 20: spec.missingEvidence", "behindIAP: [shop]": "line 10, column 15: spec.behindIAP[0]",
		"subject: some": "spec.exceptions[0].subject", "owner: team": "spec.exceptions[0].owner", "reason: words": "spec.exceptions[0].reason",
		"services: [shop]": "spec.exceptions[0].services[0]",
	} {
		head, value := field[:strings.LastIndexAny(field, " [")+1], strings.TrimRight(field[strings.LastIndexAny(field, " [")+1:], "]")
		for _, wrong := range []string{"null", "~", "true", "1", "1.10", "0x1F", "1_000"} {
			err := read(strings.Replace(profile, head+value, head+wrong, 1))
			if err == nil || !strings.Contains(err.Error(), "p.yaml: ") || !strings.Contains(err.Error(), place+": ") {
				t.Errorf("%s%s: %v", head, wrong, err)
			}
		}
	}

	for _, wrong := range []string{"null", "60", "true", "1_0s"} {
		if err := read(strings.Replace(profile, "60s", wrong, 1)); err == nil {
			t.Errorf("maxTimeout: %s is read", wrong)
		}
	}

	// As JSON, with a character that YAML does not escape so.
	const asJSON = `{"apiVersion": "attestor/v1", "kind": "PostureProfile", "metadata": {"name": "mine"}, "spec": {"extends": "strict", "exceptions": [
  {"rule": "INGRESS_RESTRICTED", "services": ["shop"], "subject": "some", "owner": "team", "reason": "\ud83d\ude00", "expires": "2027-03-31"}]}}`

	if err := read(asJSON); err != nil {
		t.Error(err)
	}
	if err := read(strings.Replace(asJSON, `"some"`, "null", 1)); err == nil || !strings.Contains(err.Error(), "subject: is empty") {
		t.Errorf("an empty subject in JSON: %v", err)
	}
}
