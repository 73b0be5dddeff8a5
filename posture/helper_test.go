package posture_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/contract"
	"github.com/attestor-gate/attestor/posture"
)

func sample(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}

	return string(b)
}

// attested answers for every image but one, and counts how often it was asked.
type attested struct {
	answer bool
	not    attestor.Image // for which the answer is no
	err    error
	asked  int
}

func (a *attested) Attested(ctx context.Context, img attestor.Image) (bool, error) {
	a.asked++
	switch {
	case a.err != nil: // and answer may be true all the same
		return a.answer, a.err
	case ctx.Err() != nil:
		return false, ctx.Err()
	}
	return a.answer && img != a.not, nil
}

func TestAttestedKeepsTheContract(t *testing.T) {
	image := func(hex string) attestor.Image {
		img, err := attestor.ParseImage("registry.example/team/app@sha256:" + strings.Repeat(hex, 64))
		if err != nil {
			t.Fatal(err)
		}
		return img
	}
	contract.Attested(t, &attested{answer: true, not: image("b")}, image("a"), image("b"))
}

func now() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

func builtin(t testing.TB, name string) posture.Profile {
	t.Helper()
	p, ok := posture.Builtin(name)
	if !ok {
		t.Fatalf("no profile %s", name)
	}

	return p
}

func custom(t testing.TB, text string) posture.Profile {
	t.Helper()
	p, err := posture.ParseProfile(posture.Source{Name: "profile.yaml", Text: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}

	return p
}

func source(text string) posture.Source { return posture.Source{Name: "in.yaml", Text: []byte(text)} }

// whole is a definition with all the evidence that a rule can ask for.
func whole(t testing.TB, text string) posture.Input {
	return posture.Input{
		Definitions: []posture.Source{source(text)},
		IAM:         []posture.IAM{{Source: posture.Source{Name: "iam.json", Text: []byte(sample(t, "service-iam.json"))}}},
		ProjectIAM:  []posture.Source{{Name: "project.json", Text: []byte(sample(t, "project-iam.json"))}},
	}
}

func judge(t testing.TB, p posture.Profile, a posture.Attested, in posture.Input) (attestor.PostureReport, error) {
	t.Helper()
	j, err := posture.New(posture.Config{Profile: p, Attested: a, Now: now})
	if err != nil {
		t.Fatal(err)
	}

	return j.Judge(t.Context(), in)
}

func mustJudge(t testing.TB, p posture.Profile, a posture.Attested, in posture.Input) attestor.PostureReport {
	t.Helper()
	r, err := judge(t, p, a, in)
	if err != nil {
		t.Fatal(err)
	}

	return r
}

func finding(t testing.TB, r attestor.PostureReport, rule string) attestor.PostureFinding {
	t.Helper()
	for _, f := range r.Findings {
		if f.Rule == rule {
			return f
		}
	}

	t.Fatalf("no finding of %s", rule)
	return attestor.PostureFinding{}
}

// replace fails where there is nothing to replace, so that no case tests the
// base by mistake.
func replace(t testing.TB, text string, edits ...string) string {
	t.Helper()
	for i := 0; i < len(edits); i += 2 {
		if !strings.Contains(text, edits[i]) {
			t.Fatalf("%q is not in the sample", edits[i])
		}
		text = strings.ReplaceAll(text, edits[i], edits[i+1])
	}
	return text
}

func isInvalid(err error) bool {
	e, ok := errors.AsType[*attestor.Error](err)
	return ok && e.Kind == attestor.Invalid
}
