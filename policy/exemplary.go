package policy

import (
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
)

// Exemplary is evidence of an image that has everything the policy asks of
// images in general: the starting point from which test cases deviate. What
// the policy's own rules want it cannot know.
func (p *Policy) Exemplary(repository string, at time.Time) attestor.Evidence {
	s := &p.doc.Spec
	if repository == "" {
		repository = sample(s.Images[0])
	}
	ref, err := attestor.ParseReference(repository + "@" + string(numbered('1')))
	if err != nil { // a pattern that stands for no valid name
		return attestor.Evidence{Time: at}
	}
	img, _ := ref.Pinned()
	hour := at.Add(-time.Hour)
	platform := "linux/amd64"
	if len(s.Platforms) > 0 {
		platform = s.Platforms[0]
	}
	e := attestor.PlatformEvidence{
		Child:  attestor.Child{Platform: platform, Digest: img.Digest()},
		Config: attestor.ImageConfig{User: "65532:65532", Created: &hour, Size: 20 << 20},
		Layers: []attestor.Layer{
			{Digest: numbered('a'), DiffID: numbered('b'), Size: 10 << 20}, {Digest: numbered('c'), DiffID: numbered('d'), Size: 10 << 20},
		},
		User: attestor.User{Configured: "65532:65532", UID: new(max(65532, s.User.MinimumUID)), GID: new(int64(65532)), Source: attestor.UserFromConfig},
		Scan: attestor.Scan{State: attestor.ScanComplete, Note: "projects/goog-analysis/notes/PACKAGE_VULNERABILITY", Finished: &hour, Continuous: "ACTIVE",
			Analyses: slices.Concat([]string{"OS"}, s.Vulnerabilities.Scan.PackageTypes)},
	}
	if len(s.Base.Approved) > 0 {
		e.Base = s.Base.Approved[0].exemplary()
	}
	if s.Provenance != nil {
		e.Provenance = []attestor.Provenance{s.Provenance.exemplary()}
	}
	return attestor.Evidence{
		Time: at, Image: img, Requested: img.String(), MediaType: "application/vnd.oci.image.manifest.v1+json",
		Platforms: []attestor.PlatformEvidence{e}, Uploaded: &hour,
	}
}

func (a *Approved) exemplary() attestor.Base {
	b := attestor.Base{
		Name: a.Name, Reference: a.Repository + "@" + string(numbered('2')), Digest: numbered('2'), Evidence: attestor.LayersExact,
		Layers: 1, SignedBy: a.SignedBy.rule().Text(), Current: len(a.Tags) > 0, Newest: numbered('2'),
	}
	if len(a.Digests) > 0 {
		b.Reference, b.Digest, b.Newest, b.Listed = a.Repository+"@"+string(a.Digests[0]), a.Digests[0], "", true
	}
	return b
}

func (p *Provenance) exemplary() attestor.Provenance {
	out := attestor.Provenance{Source: "cloud-build", Builder: "https://cloudbuild.googleapis.com/GoogleHostedWorker", SLSALevel: int(max(p.SLSALevel, 3)),
		SourceURI: "https://github.com/acme/app", PredicateType: "https://slsa.dev/provenance/v1"}
	if p.SignedBy != nil {
		out.Source = "cosign"
	}
	if len(p.Builders) > 0 {
		out.Builder = p.Builders[0]
	}
	if len(p.Sources) > 0 {
		out.SourceURI = strings.NewReplacer("**", "app", "*", "app").Replace(p.Sources[0])
	}
	return out
}

// sample is some repository that a pattern matches.
func sample(p attestor.Pattern) string {
	text := p.String()
	if strings.HasPrefix(text, "**") {
		text = "registry.example" + strings.TrimPrefix(text, "**") + "/app"
		if p.String() != "**" {
			text = strings.TrimSuffix(text, "/app")
		}
	}
	return strings.NewReplacer("**", "app", "*", "app").Replace(text)
}

// numbered is a digest of one repeated hex digit.
func numbered(digit byte) attestor.Digest {
	return attestor.Digest("sha256:" + strings.Repeat(string(digit), 64))
}
