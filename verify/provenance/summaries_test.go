package provenance_test

import (
	"context"
	"errors"
	"fmt"
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

// A refusal is found beside a pass that says the same otherwise, and one summary is found once, wherever it is attached.
func TestSummariesThatDiffer(t *testing.T) {
	img := elsewhere(t)
	refusal := summaryOf(img, "PASSED", "FAILED", "SLSA_BUILD_LEVEL_2", "FAILED")
	newer := summaryOf(img, "12:00:00Z", "12:00:01Z")
	byAnother := summaryOf(img)
	byAnother.Signer = "another"
	for name, tt := range map[string]struct {
		list []signed.Statement
		want int
	}{
		"a refusal":       {[]signed.Statement{summaryOf(img), refusal}, 2},
		"a newer one":     {[]signed.Statement{summaryOf(img), newer}, 2},
		"another signer":  {[]signed.Statement{summaryOf(img), byAnother}, 2},
		"the same":        {[]signed.Statement{summaryOf(img), summaryOf(img)}, 1},
		"the same, wider": {[]signed.Statement{summaryOf(img), summaryOf(img, `"unknown":1`, `"unknown":2`)}, 1},
	} {
		got, problems := summariesOf(t, attached{list: tt.list}, img)
		if len(got) != tt.want || len(problems) > 0 {
			t.Errorf("%s: %+v, %v; want %d", name, got, problems, tt.want)
		}
	}
}

// Sixty-four summaries are read. One more may be a refusal.
func TestSummariesAreBounded(t *testing.T) {
	img := elsewhere(t)
	var list []signed.Statement
	for i := range 65 {
		list = append(list, summaryOf(img, "12:00:00Z", fmt.Sprintf("12:00:%02d.%dZ", i%60, i/60)))
	}
	if got, problems := summariesOf(t, attached{list: list[:64]}, img); len(got) != 64 || len(problems) > 0 {
		t.Errorf("of 64: %d, %v", len(got), problems)
	}
	_, problems := summariesOf(t, attached{list: list}, img)
	if len(problems) != 1 || problems[0].Status != attestor.StatusError || !strings.Contains(problems[0].Message, "more than 64 verification summaries") {
		t.Errorf("of 65: %v", problems)
	}
}

// The message says what is wrong with a summary.
func TestSummariesThatAreMalformed(t *testing.T) {
	img := elsewhere(t)
	for why, st := range map[string]signed.Statement{
		`its verificationResult "MAYBE" is neither`: summaryOf(img, "PASSED", "MAYBE"),
		"it is truncated":            summaryOf(img, `"unknown":1}}`, `"unknown":1`),
		"it is about another digest": summaryOf(img, img.Digest().Hex(), strings.Repeat("0", 64)),
	} {
		got, problems := summariesOf(t, attached{list: []signed.Statement{st}}, img)
		if len(got) > 0 || len(problems) != 1 || problems[0].Status != attestor.StatusError ||
			!strings.Contains(problems[0].Message, "by the signer is malformed: "+why) {
			t.Errorf("%s: %v, %+v", why, got, problems)
		}
	}
}

// halfway finds statements, and says that they are not all.
type halfway struct{ attached }

func (h halfway) Attestations(
	ctx context.Context, img attestor.Image, rule attestor.SignedBy, predicateTypes []string,
) ([]signed.Statement, []string, error) {
	list, rejected, err := h.attached.Attestations(ctx, img, rule, predicateTypes)
	return list, rejected, errors.Join(err, errors.New("not all"))
}

func (h halfway) EveryAttestation(
	ctx context.Context, img attestor.Image, rule attestor.SignedBy, predicateTypes []string,
) ([]signed.Statement, error) {
	list, _, err := h.Attestations(ctx, img, rule, predicateTypes)
	return list, err
}

// What comes with an error does not count, and without a reader of summaries it is an error that there are needs of some.
func TestSummariesThatCannotBeRead(t *testing.T) {
	img := elsewhere(t)
	for name, reader := range map[string]provenance.Attached{
		"not all": halfway{attached{list: []signed.Statement{summaryOf(img)}}}, "no reader": nil,
	} {
		got, problems := summariesOf(t, reader, img)
		if len(got) > 0 || len(problems) != 1 || problems[0].Status != attestor.StatusError ||
			!strings.Contains(problems[0].Message, "verification summaries attached to the image could not be read") {
			t.Errorf("%s: %v, %+v", name, got, problems)
		}
	}
}

// summariesOf asks for summaries, and for nothing of Cloud Build's.
func summariesOf(t *testing.T, reader provenance.Attached, img attestor.Image) ([]attestor.Provenance, []attestor.Problem) {
	t.Helper()
	s := sourceOf(t, &server{}, provenance.Config{Attached: reader, ScanProjects: map[string]string{img.Registry(): "acme"}})
	return s.Provenance(t.Context(), []attestor.Image{img}, attestor.ProvenanceNeeds{Summary: &attestor.SignedBy{Key: "k"}})
}
