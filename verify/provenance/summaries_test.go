package provenance_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify/provenance"
	"github.com/attestor-gate/attestor/verify/signed"
)

const summaryType = "https://slsa.dev/verification_summary/v1"

// summaryOf is a summary about an image, with a part replaced.
func summaryOf(img attestor.Image, replace ...string) signed.Statement {
	text := `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"` + img.Digest().Hex() + `"}}],` +
		`"predicateType":"` + summaryType + `","predicate":{"verifier":{"id":"https://stage.example/v"},` +
		`"timeVerified":"2026-03-01T12:00:00Z","resourceUri":"oci://r.example/app","policy":{"uri":"https://stage.example/p"},` +
		`"verificationResult":"PASSED","verifiedLevels":["SLSA_BUILD_LEVEL_2"],"unknown":1}}`
	return signed.Statement{
		PredicateType: summaryType, Payload: []byte(strings.NewReplacer(replace...).Replace(text)), Signer: "key k",
	}
}

// A summary of an earlier stage is read where the policy names its signer, and where one cannot be read or understood
// that is an error: it may be the refusal that takes the others back.
func TestSummariesOfAnEarlierStage(t *testing.T) {
	img := elsewhere(t)
	rule := &attestor.SignedBy{Key: "k"}
	for name, tt := range map[string]struct {
		needs    attestor.ProvenanceNeeds
		attached attached
		found    int
		problem  bool
	}{
		"one":           {attestor.ProvenanceNeeds{Summary: rule}, attached{list: []signed.Statement{summaryOf(img)}}, 1, false},
		"not asked for": {attestor.ProvenanceNeeds{}, attached{list: []signed.Statement{summaryOf(img)}}, 0, false},
		"none":          {attestor.ProvenanceNeeds{Summary: rule}, attached{}, 0, false},
		"the registry":  {attestor.ProvenanceNeeds{Summary: rule}, attached{err: errors.New("down")}, 0, true},
		"of another image": {attestor.ProvenanceNeeds{Summary: rule}, attached{
			list: []signed.Statement{summaryOf(img, img.Digest().Hex(), strings.Repeat("0", 64))}}, 0, true},
		"no result": {attestor.ProvenanceNeeds{Summary: rule}, attached{list: []signed.Statement{summaryOf(img, "PASSED", "MAYBE")}}, 0, true},
		"two results": {attestor.ProvenanceNeeds{Summary: rule}, attached{list: []signed.Statement{
			summaryOf(img, `"unknown":1`, `"verificationResult":"FAILED"`),
		}}, 0, true},
		"one of two is malformed": {attestor.ProvenanceNeeds{Summary: rule}, attached{list: []signed.Statement{
			summaryOf(img), summaryOf(img, `["SLSA_BUILD_LEVEL_2"]`, "[]"),
		}}, 1, true},
		"a refusal with a level": {attestor.ProvenanceNeeds{Summary: rule}, attached{list: []signed.Statement{summaryOf(img, "PASSED", "FAILED")}}, 0, true},
	} {
		s, err := provenance.New(provenance.Config{Attached: tt.attached})
		if err != nil {
			t.Fatal(err)
		}
		got, problems := s.Provenance(t.Context(), []attestor.Image{img}, tt.needs)
		var found []attestor.Provenance
		for _, p := range got {
			if p.Source == attestor.ProvenanceFromSummary {
				found = append(found, p)
			}
		}
		unread := false
		for _, p := range problems {
			unread = unread || p.Status == attestor.StatusError && strings.Contains(p.Message, "verification summar")
		}
		if len(found) != tt.found || unread != tt.problem {
			t.Errorf("%s: found %+v, problems %+v", name, found, problems)
		}
		if name != "one" {
			continue
		}
		want := &attestor.StageSummary{
			SignedBy: rule.Text(), Verifier: "https://stage.example/v", Policy: "https://stage.example/p",
			Resource: "oci://r.example/app", Result: "PASSED", Levels: []string{"SLSA_BUILD_LEVEL_2"}, Time: found[0].Summary.Time,
		}
		if diff := cmp.Diff(want, found[0].Summary); diff != "" || found[0].Summary.Time.IsZero() || found[0].SLSALevel != 0 {
			t.Errorf("the summary (-want +got):\n%s", diff)
		}
	}
}
