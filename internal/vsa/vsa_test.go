package vsa_test

import (
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor/internal/vsa"
)

// text is a summary as another producer writes it, with fields that are not known here.
const text = `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"x","digest":{"sha256":"aa","sha512":"bb"}}],
"predicateType":"https://slsa.dev/verification_summary/v1","predicate":{"verifier":{"id":"https://v.example","version":{"v":"1"}},
"timeVerified":"2026-03-01T12:00:00Z","resourceUri":"oci://r.example/a/b","policy":{"uri":"https://v.example/p","digest":{"sha256":"cc"}},
"verificationResult":"PASSED","verifiedLevels":["SLSA_BUILD_LEVEL_3"],"dependencyLevels":{"SLSA_BUILD_LEVEL_3":1},"slsaVersion":"1.1"}}`

// TestParse: a summary that lacks a required field, or that two readers could read differently, is refused.
func TestParse(t *testing.T) {
	s, err := vsa.Parse([]byte(text))
	if err != nil || !s.About("aa") || s.About("bb") || s.About("") || s.Predicate.Verifier.ID != "https://v.example" {
		t.Fatalf("%+v, %v", s, err)
	}

	for name, change := range map[string][2]string{
		"another statement":      {"Statement/v1", "Statement/v0.1"},
		"another predicate":      {"verification_summary/v1", "verification_summary/v0.2"},
		"no subject":             {`{"name":"x","digest":{"sha256":"aa","sha512":"bb"}}`, ""},
		"no verifier":            {`"id":"https://v.example",`, ""},
		"no resource":            {`"resourceUri":"oci://r.example/a/b",`, ""},
		"no policy":              {`"uri":"https://v.example/p",`, ""},
		"no result":              {`"verificationResult":"PASSED",`, ""},
		"another result":         {"PASSED", "passed"},
		"no levels":              {`["SLSA_BUILD_LEVEL_3"]`, "[]"},
		"a pass that failed":     {`["SLSA_BUILD_LEVEL_3"]`, `["SLSA_BUILD_LEVEL_3","FAILED"]`},
		"a failure with a level": {"PASSED", "FAILED"},
		"two results":            {`"slsaVersion":"1.1"`, `"verificationResult":"FAILED"`},
		"inputs in part":         {`"slsaVersion":"1.1"`, `"inputAttestations":[{"uri":"https://x.example"}]`},
		"a wrong type":           {`"resourceUri":"oci://r.example/a/b"`, `"resourceUri":1`},
		"text behind it":         {`"slsaVersion":"1.1"}}`, `"slsaVersion":"1.1"}} {}`},
	} {
		changed := strings.Replace(text, change[0], change[1], 1)
		if changed == text {
			t.Fatalf("%s changes nothing", name)
		}
		if s, err := vsa.Parse([]byte(changed)); err == nil {
			t.Errorf("%s: %+v", name, s)
		}
	}
	if _, err := vsa.Parse([]byte(text + strings.Repeat(" ", vsa.MaxPayload))); err == nil {
		t.Error("a statement of more than the limit is read")
	}
}

// TestEncode: what is written is read back, and what lacks a field is not written.
func TestEncode(t *testing.T) {
	p := vsa.Predicate{
		Verifier: vsa.Verifier{ID: "https://v.example"}, TimeVerified: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		ResourceURI: "oci://r.example/a", Policy: vsa.Resource{URI: "https://v.example/p"}, VerificationResult: vsa.Passed,
		VerifiedLevels: []string{vsa.BuildLevel(2)}, Decision: "d",
	}
	b, err := vsa.New("r.example/a", "aa", p).Encode()
	if err != nil {
		t.Fatal(err)
	}
	s, err := vsa.Parse(b)
	if err != nil || s.Predicate.Decision != "d" || !s.Predicate.TimeVerified.Equal(p.TimeVerified) || !s.About("aa") {
		t.Errorf("%s: %+v, %v", b, s, err)
	}
	if !strings.Contains(string(b), `"`+vsa.DecisionField+`":"d"`) {
		t.Errorf("%s does not have the field %s", b, vsa.DecisionField)
	}
	p.VerificationResult = "error"
	if b, err := vsa.New("r.example/a", "aa", p).Encode(); err == nil {
		t.Errorf("an error was encoded: %s", b)
	}
}

func TestBuildLevels(t *testing.T) {
	for n, want := range map[int]string{
		-1: vsa.Unevaluated, 0: vsa.Unevaluated, 1: "SLSA_BUILD_LEVEL_1", 3: "SLSA_BUILD_LEVEL_3", 4: "SLSA_BUILD_LEVEL_3",
	} {
		if got := vsa.BuildLevel(n); got != want {
			t.Errorf("level %d is %q, want %q", n, got, want)
		}
	}
	for _, tt := range []struct {
		levels []string
		want   int
	}{
		{nil, 0}, {[]string{vsa.Unevaluated}, 0}, {[]string{"SLSA_BUILD_LEVEL_2", "X"}, 2}, {[]string{"SLSA_BUILD_LEVEL_1", "SLSA_BUILD_LEVEL_3"}, 3},
		{[]string{"SLSA_BUILD_LEVEL_03"}, 0}, {[]string{"SLSA_BUILD_LEVEL_+3"}, 0}, {[]string{"SLSA_BUILD_LEVEL_99"}, 0}, {[]string{"SLSA_SOURCE_LEVEL_3"}, 0},
	} {
		if got := vsa.Build(tt.levels); got != tt.want {
			t.Errorf("%q prove %d, want %d", tt.levels, got, tt.want)
		}
	}
}

// TestRepository: the forms that producers write name a repository, and everything else none.
func TestRepository(t *testing.T) {
	for uri, want := range map[string]string{
		"oci://r.example/a/b": "r.example/a/b", "docker://r.example:5000/a:v1": "r.example:5000/a", "r.example/a@sha256:aa": "r.example/a",
		"r.example:5000/a/b:v1@sha256:aa": "r.example:5000/a/b", "pkg:oci/b@sha256%3Aaa?repository_url=r.example/a/b": "r.example/a/b",
		"pkg:oci/b@sha256:aa?tag=v1&repository_url=r.example/a/b": "r.example/a/b",

		"": "", "https://r.example/a": "", "git+https://r.example/a": "", "oci://r.example": "", "pkg:oci/b": "",
		"pkg:docker/b?repository_url=r.example/a": "", "pkg:oci/b?repository_url=r.example%2Fa": "", "oci://r.example/a?x=y": "",
		"oci://r.example/a b": "", "OCI://r.example/a": "",
	} {
		if got := vsa.Repository(uri); got != want {
			t.Errorf("%q names %q, want %q", uri, got, want)
		}
	}
}
