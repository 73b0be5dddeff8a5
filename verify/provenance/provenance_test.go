package provenance_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify/provenance"
	"github.com/attestor-gate/attestor/verify/signed"
)

// occurrences reads a sample: what gcloud prints of an image's provenance.
func occurrences(t *testing.T, file string) (attestor.Image, []*grafeaspb.Occurrence) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}

	var doc struct {
		Image struct {
			Digest string `json:"fully_qualified_digest"`
		} `json:"image_summary"`
		Provenance struct {
			List []json.RawMessage `json:"provenance"`
		} `json:"provenance_summary"`
	}

	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}

	img, err := attestor.ParseImage(doc.Image.Digest)
	if err != nil {
		t.Fatal(err)
	}

	var list []*grafeaspb.Occurrence
	for _, raw := range doc.Provenance.List {
		occ := &grafeaspb.Occurrence{}
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(raw, occ); err != nil {
			t.Fatal(err)
		}
		list = append(list, occ)
	}

	return img, list
}

const (
	hosted  = "https://cloudbuild.googleapis.com/GoogleHostedWorker"
	ringKey = "/keyRings/attestor/cryptoKeys/"
	ring    = "projects/verified-builder/locations/"
)

func TestRealSamples(t *testing.T) {
	tests := []struct {
		file     string
		want     []attestor.Provenance
		problems int
	}{
		{file: "v1.0-gcloud-container-github.json", want: []attestor.Provenance{
			{
				Source: "cloud-build", Builder: hosted, SLSALevel: 3, PredicateType: "https://slsa.dev/provenance/v1",
				SourceURI: "https://github.com/khalkie/gcb-prod-prov", Ref: "refs/heads/main", Commit: "2ce3f90facdb51aeb950d5bc641e981be61fdf48",
				KeyID: ring + "global" + ringKey + "google-hosted-worker/cryptoKeyVersions/1",
				Materials: map[string]attestor.Digest{
					"gcr.io/cloud-builders/docker": "sha256:d048af25a6f8945fa77e3aa679e49a8f8a8011f0050aab0364034e58f445a434"},
			},
			{
				Source: "cloud-build", Builder: hosted + "@v0.3", SLSALevel: 3, PredicateType: "https://slsa.dev/provenance/v0.1",
				SourceURI: "https://github.com/khalkie/gcb-prod-prov", Commit: "2ce3f90facdb51aeb950d5bc641e981be61fdf48",
				KeyID: ring + "global" + ringKey + "provenanceSigner/cryptoKeyVersions/1",
			},
		}},
		// Its v1.0 statement was edited after signing; the older one stands.
		{file: "v1.0-gcloud-container-github-tag.json", want: []attestor.Provenance{{
			Source: "cloud-build", Builder: hosted + "@v0.3", SLSALevel: 3, PredicateType: "https://slsa.dev/provenance/v0.1",
			SourceURI: "https://github.com/khalkie/gcb-prod-prov", Commit: "2ce3f90facdb51aeb950d5bc641e981be61fdf48",
			KeyID: ring + "global" + ringKey + "provenanceSigner/cryptoKeyVersions/1",
		}}},
		{file: "gcloud-container-github.json", want: []attestor.Provenance{{
			Source: "cloud-build", Builder: hosted + "@v0.2", SLSALevel: 2, PredicateType: "https://slsa.dev/provenance/v0.1",
			SourceURI: "https://github.com/laurentsimon/gcb-tests", Commit: "fbbb98765e85ad464302dc5977968104d36e455e",
			KeyID: ring + "global" + ringKey + "builtByGCB/cryptoKeyVersions/1",
		}}},
		{file: "gcloud-container-github-v03.json", want: []attestor.Provenance{{
			Source: "cloud-build", Builder: hosted + "@v0.3", SLSALevel: 3, PredicateType: "https://slsa.dev/provenance/v0.1",
			SourceURI: "https://github.com/laurentsimon/gcb-tests", Commit: "01ce393d04eb6df2a7b2b3e95d4126e687afb7ae",
			KeyID: ring + "us-west2" + ringKey + "builtByGCB/cryptoKeyVersions/1",
		}}},
		// Submitted with its steps inline: no source vouches for them.
		{file: "gcloud-container-gcs.json", want: []attestor.Provenance{{
			Source: "cloud-build", Builder: hosted + "@v0.3", SLSALevel: 3, PredicateType: "https://slsa.dev/provenance/v0.1",
			KeyID: ring + "us-central1" + ringKey + "builtByGCB/cryptoKeyVersions/1",
		}}},
		{file: "gcloud-container-invalid-signature.json", problems: 1},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			img, list := occurrences(t, tt.file)
			s := newSource(t, list...)
			got, problems := s.Provenance(context.Background(), []attestor.Image{img}, attestor.ProvenanceNeeds{})
			if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreFields(attestor.Provenance{}, "Statement")); diff != "" {
				t.Errorf("provenance (-want +got):\n%s", diff)
			}
			signed := signedBytes(list)
			for _, p := range got {
				if !signed[p.Statement] {
					t.Errorf("the statement %q is not in the file", p.Statement)
				}
			}
			if len(problems) != tt.problems {
				t.Errorf("problems: %+v, want %d", problems, tt.problems)
			}

			for _, p := range problems {
				if p.Status != attestor.StatusDeny || p.Code != attestor.CodeProvenanceMissing {
					t.Errorf("problem %+v, want a denial %s", p, attestor.CodeProvenanceMissing)
				}
			}
		})
	}
}

// signedBytes are the digests of the payloads of envelopes: as they stand, and decoded, since gcloud prints them in base64.
func signedBytes(list []*grafeaspb.Occurrence) map[attestor.Digest]bool {
	out := map[attestor.Digest]bool{}
	for _, o := range list {
		payload := o.GetEnvelope().GetPayload()
		out[attestor.DigestOf(payload)] = true
		for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			if b, err := e.DecodeString(string(payload)); err == nil {
				out[attestor.DigestOf(b)] = true
			}
		}
	}
	return out
}

// TestAttachedStatements: which of them count, and as how many.
func TestAttachedStatements(t *testing.T) {
	statement := func(version, builder, signer string) signed.Statement {
		predicate := `{"builder":{"id":"` + builder + `"}}`
		if version == "v1" {
			predicate = `{"runDetails":` + predicate + `}`
		}
		predicateType := "https://slsa.dev/provenance/" + version
		return signed.Statement{PredicateType: predicateType, Payload: about(predicateType, predicate), Signer: signer}
	}
	wider := statement("v1", "a", "s")
	wider.Payload = append(wider.Payload, '\n')

	for name, tt := range map[string]struct {
		list []signed.Statement
		want []string // builders
	}{
		// SLSA v0.1 is Cloud Build's alone.
		"versions": {[]signed.Statement{statement("v0.1", "a", "s"), statement("v0.2", "b", "s"), statement("v1", "c", "s")}, []string{"b", "c"}},

		// One that says the same counts once, and one that says something else by itself.
		"the same twice": {[]signed.Statement{statement("v1", "a", "s"), statement("v1", "a", "s")}, []string{"a"}},
		"other bytes":    {[]signed.Statement{statement("v1", "a", "s"), wider}, []string{"a"}},
		"two signers":    {[]signed.Statement{statement("v1", "a", "s"), statement("v1", "a", "u")}, []string{"a", "a"}},
		"two builders":   {[]signed.Statement{statement("v1", "a", "s"), statement("v1", "b", "s")}, []string{"a", "b"}},
	} {
		got, problems := viaAttached(t, tt.list...)
		var builders []string
		for _, p := range got {
			builders = append(builders, p.Builder)
		}
		if !slices.Equal(builders, tt.want) || len(problems) > 0 {
			t.Errorf("%s: builders %q, want %q; %v", name, builders, tt.want, problems)
		}
	}

	// What comes with an error does not count.
	s, err := provenance.New(provenance.Config{Attached: halfway{attached{list: []signed.Statement{wider}}}})
	must(t, err)
	got, problems := s.Provenance(t.Context(), []attestor.Image{elsewhere(t)}, attestor.ProvenanceNeeds{SignedBy: &attestor.SignedBy{Key: "k"}})
	if len(got) > 0 || len(problems) != 1 || problems[0].Status != attestor.StatusError ||
		!strings.Contains(problems[0].Message, "provenance attached to the image could not be read") {
		t.Errorf("not all: %v, %+v", got, problems)
	}
}
