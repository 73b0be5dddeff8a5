package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
)

// TestVerifyAnswersForTheDigest: exit code 0 takes a valid attestation of the
// digest that was asked about, by every attestor.
func TestVerifyAnswersForTheDigest(t *testing.T) {
	const a, b = "projects/p/attestors/a", "projects/p/attestors/b"
	asked, other := "sha256:"+strings.Repeat("1", 64), "sha256:"+strings.Repeat("2", 64)
	img, err := attestor.ParseImage("registry.example/team/app@" + asked)
	if err != nil {
		t.Fatal(err)
	}
	by := func(name, digest string) attestor.Attestation {
		return attestor.Attestation{Attestor: name, Digest: attestor.Digest(digest)}
	}
	for _, tt := range []struct {
		name     string
		standing attestor.Standing
		code     int
		none     []string // attestors reported to have none
	}{
		{"both attested", attestor.Standing{Known: true, Valid: []attestor.Attestation{by(a, asked), by(b, asked)}}, 0, nil},
		{"one attested", attestor.Standing{Known: true, Valid: []attestor.Attestation{by(a, asked)}}, attestor.ExitDeny, []string{b}},
		{
			"the other attested to another digest", attestor.Standing{Known: true, Valid: []attestor.Attestation{by(a, asked), by(b, other)}},
			attestor.ExitDeny,
			[]string{b},
		},
		{"nobody attested", attestor.Standing{Known: true}, attestor.ExitDeny, []string{a, b}},
		{"nothing was looked up", attestor.Standing{Valid: []attestor.Attestation{by(a, asked), by(b, asked)}}, attestor.ExitError, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			f := &verifyFlags{attestors: []string{a, b}, format: "text"}
			code := 0
			if err := f.answer(&out, found{img: img, standing: tt.standing}); err != nil {
				e, ok := errors.AsType[*exit](err)
				if !ok {
					t.Fatalf("error %v has no exit code", err)
				}
				code = e.code
			}
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, name := range []string{a, b} {
				want := false
				for _, n := range tt.none {
					want = want || n == name
				}
				if got := strings.Contains(out.String(), "missing attestation by "+name); got != want {
					t.Errorf("reports a missing one by %s: %t, want %t\n%s", name, got, want, out.String())
				}
			}
		})
	}
}
