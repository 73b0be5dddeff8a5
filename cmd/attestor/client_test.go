package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
)

// A pass counts only where it answers the question that was asked.
func TestClientRefusesAnotherAnswer(t *testing.T) {
	const repository = "registry.example/app/good"
	digest, other := "sha256:"+strings.Repeat("a", 64), "sha256:"+strings.Repeat("b", 64)
	enforce, dry := &attestor.PolicyRef{Name: "p", Mode: attestor.Enforce}, &attestor.PolicyRef{Name: "p", Mode: attestor.DryRun}
	pass := func(reference string, change func(*attestor.Decision)) attestor.Decision {
		d := attestor.Decision{
			ID: "1", Verdict: attestor.Pass, Policy: enforce, Image: attestor.DecidedImage{Reference: reference},
			Attestations: []attestor.Attestation{{Attestor: "projects/p/attestors/a"}},
		}
		if change != nil {
			change(&d)
		}
		return d
	}
	dryRun := func(d *attestor.Decision) { d.DryRun, d.Attestations = true, nil }
	for _, tt := range []struct {
		name   string
		image  string
		dryRun bool
		status int
		answer attestor.Decision
		good   bool
	}{
		{"of the tag", repository + ":v1", false, 200, pass(repository+"@"+digest, nil), true},
		{"of the digest", repository + "@" + digest, false, 200, pass(repository+"@"+digest, nil), true},
		{"of a dry run", repository + ":v1", true, 200, pass(repository+"@"+digest, dryRun), true},
		{"by a policy in dry run", repository + ":v1", false, 200, pass(repository+"@"+digest, func(d *attestor.Decision) { dryRun(d); d.Policy = dry }), true},
		{"of another digest", repository + "@" + digest, false, 200, pass(repository+"@"+other, nil), false},
		{"of another repository", repository + ":v1", false, 200, pass("registry.example/app/else@"+digest, nil), false},
		{"of no image", repository + ":v1", false, 200, pass("", nil), false},
		{"of a dry run that nobody asked for", repository + ":v1", false, 200, pass(repository+"@"+digest, dryRun), false},
		{"that counts, instead of a dry run", repository + ":v1", true, 200, pass(repository+"@"+digest, nil), false},
		{"without an attestation", repository + ":v1", false, 200, pass(repository+"@"+digest, func(d *attestor.Decision) { d.Attestations = nil }), false},
		{"of a tag only", repository + ":v1", false, 200, pass(repository+":v1", nil), false},
		{"by no policy", repository + ":v1", false, 200, pass(repository+"@"+digest, func(d *attestor.Decision) { d.Policy = nil }), false},
		{"under a status that refuses", repository + ":v1", false, 422, pass(repository+"@"+digest, nil), false},
		{"that is a refusal", repository + ":v1", false, 200, pass(repository+"@"+digest, func(d *attestor.Decision) { d.Verdict = attestor.Deny }), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(tt.status)
				_ = json.NewEncoder(w).Encode(tt.answer)
			}))
			defer srv.Close()
			c, err := newClient(srv.URL, nil, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			ref, err := attestor.ParseReference(tt.image)
			if err != nil {
				t.Fatal(err)
			}
			d, err := c.Admit(t.Context(), judgeRequest{Image: ref, DryRun: tt.dryRun})
			if (err == nil) != tt.good {
				t.Errorf("answered %s for %s, %v", d.Verdict, d.Image.Reference, err)
			}
		})
	}
}
