package vuln

import (
	"cmp"
	"fmt"
	"slices"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
)

// A leak is one secret that a report names. Of the secret itself nothing is read.
type leak struct {
	rule  string // of the scanner
	place place
}

// secretsNote is the note of the secrets of a scanner. A note has one kind, and the scanner's own is that of scans.
func secretsNote(scanner string) string { return scanner + "-secrets" }

// leakKinds are the kinds of Container Analysis for rules of Trivy that are about the same secret. Every other rule has
// none, and its secrets count all the same.
func leakKinds() map[string]grafeaspb.SecretKind {
	return map[string]grafeaspb.SecretKind{
		"gcp-service-account":       grafeaspb.SecretKind_SECRET_KIND_GCP_SERVICE_ACCOUNT_KEY,
		"github-pat":                grafeaspb.SecretKind_SECRET_KIND_GITHUB_CLASSIC_PERSONAL_ACCESS_TOKEN,
		"github-fine-grained-pat":   grafeaspb.SecretKind_SECRET_KIND_GITHUB_FINE_GRAINED_PERSONAL_ACCESS_TOKEN,
		"github-oauth":              grafeaspb.SecretKind_SECRET_KIND_GITHUB_OAUTH_TOKEN,
		"hugging-face-access-token": grafeaspb.SecretKind_SECRET_KIND_HUGGINGFACE_API_KEY,
		"stripe-secret-token":       grafeaspb.SecretKind_SECRET_KIND_STRIPE_SECRET_KEY,
	}
}

// addSecrets adds an occurrence for each secret that the report names, as Container Analysis writes it. A secret that the
// scanner found and the import left out would be an image's without secrets.
func (r report) addSecrets(out *Imported, uri string) error {
	if len(r.secrets) == 0 {
		return nil
	}

	note := secretsNote(out.Target.Note)
	if out.Notes[note] != nil {
		return invalid(fmt.Sprintf("the note %s has the name of a vulnerability in the report", note),
			"give the scanner's note another name")
	}
	out.Notes[note] = &grafeaspb.Note{
		ShortDescription: "Secrets found by " + r.scanner, Type: &grafeaspb.Note_Secret{Secret: &grafeaspb.SecretNote{}},
	}

	// One secret is named once for each line of a file that has it: the place is the file.
	leaks := slices.Clone(r.secrets)
	slices.SortFunc(leaks, func(a, b leak) int {
		return cmp.Or(cmp.Compare(a.place.path, b.place.path), cmp.Compare(a.rule, b.rule),
			cmp.Compare(a.place.diffID, b.place.diffID))
	})
	for _, l := range slices.Compact(leaks) {
		kind, known := leakKinds()[l.rule]
		if !known {
			kind = grafeaspb.SecretKind_SECRET_KIND_UNKNOWN
		}

		file := &grafeaspb.FileLocation{FilePath: short(l.place.path)}
		if l.place.diffID != "" {
			file.LayerDetails = &grafeaspb.LayerDetails{DiffId: l.place.diffID}
		}
		out.Secrets = append(out.Secrets, &grafeaspb.Occurrence{
			ResourceUri: uri, NoteName: note,
			Details: &grafeaspb.Occurrence_Secret{Secret: &grafeaspb.SecretOccurrence{
				Kind: kind, Locations: []*grafeaspb.SecretLocation{
					{Location: &grafeaspb.SecretLocation_FileLocation{FileLocation: file}},
				},
			}},
		})
	}
	return nil
}
