// Package contract holds the suites that every implementation of an interface passes, real or fake.
package contract

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
)

// Repository is the repository of the images that suites make up.
const Repository = "registry.example/team/app"

// epoch is the time of the first record that a suite makes up.
var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// digestOf is the n-th made-up digest.
func digestOf(n int) attestor.Digest { return attestor.Digest(fmt.Sprintf("sha256:%064x", n+1)) }

// imageOf is an image of repository with the n-th digest.
func imageOf(t testing.TB, repository string, n int) attestor.Image {
	t.Helper()
	img, err := attestor.ParseImage(repository + "@" + string(digestOf(n)))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// recordOf is a finished record on the n-th image, n minutes after epoch: an
// admission with one attestation, unless change makes it something else.
func recordOf(t testing.TB, n int, change ...func(*attestor.Record)) attestor.Record {
	t.Helper()
	img := imageOf(t, Repository, n)
	child := attestor.Child{Platform: "linux/amd64", Digest: img.Digest()}
	at := epoch.Add(time.Duration(n) * time.Minute)
	r := attestor.Record{
		Decision: attestor.Decision{
			ID: fmt.Sprintf("contract-%06d", n), Time: at, Verdict: attestor.Pass,
			Image: attestor.DecidedImage{Requested: Repository + ":v7", Reference: img.String(),
				Digest: img.Digest(), MediaType: "application/vnd.oci.image.manifest.v1+json"},
			Policy: &attestor.PolicyRef{Name: "production", Digest: digestOf(1 << 20), Mode: attestor.Enforce},
			Checks: []attestor.Check{{Name: attestor.CheckUser, Platform: child.Platform, Status: attestor.StatusPass,
				Reasons: []attestor.Reason{}}},
			Attestations: []attestor.Attestation{{
				Attestor: "projects/p/attestors/gate", Note: "projects/p/notes/gate",
				Occurrence: fmt.Sprintf("projects/p/occurrences/%d", n),
				Digest:     img.Digest(), PublicKeyID: "key", Created: true,
			}},
			Caller: attestor.CallerRef{Subject: "build@example", Issuer: "https://issuer.example"},
		},
		Evidence: attestor.Evidence{
			Time: at, Image: img, Requested: Repository + ":v7",
			MediaType: "application/vnd.oci.image.manifest.v1+json",
			Platforms: []attestor.PlatformEvidence{{Child: child}},
		},
		PolicyText: []byte("apiVersion: attestor/v1\nkind: GatePolicy\n"),
	}

	for _, f := range change {
		f(&r)
	}
	return r
}

// sameDecision compares decisions by their JSON, which is what is recorded. The
// hash of the evidence is the record's to add.
func sameDecision(t testing.TB, what string, want, got attestor.Decision) {
	t.Helper()
	want.Evidence, got.Evidence = "", ""
	w, errW := json.Marshal(want)
	g, errG := json.Marshal(got)
	if errW != nil || errG != nil {
		t.Fatal(errW, errG)
	}

	if string(w) != string(g) {
		t.Errorf("%s:\nwant %s\ngot  %s", what, w, g)
	}
}

// wantKind fails unless err is an [attestor.Error] of a kind, with a message.
func wantKind(t testing.TB, what string, err error, kind attestor.Kind) {
	t.Helper()
	switch {
	case err == nil:
		t.Errorf("%s: no error, want one of kind %v", what, kind)
	case attestor.KindOf(err) != kind || strings.TrimSpace(attestor.Message(err)) == "":
		t.Errorf("%s: error %v of kind %v, want kind %v with a message", what, err, attestor.KindOf(err), kind)
	}
}

// codeOf is the code of an [attestor.Error], and "" of any other error.
func codeOf(err error) attestor.Code {
	if e, ok := errors.AsType[*attestor.Error](err); ok {
		return e.Code
	}
	return ""
}

// gone is a context that ended before it is used.
func gone(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
