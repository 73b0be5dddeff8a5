package policy

import (
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

	// An hour ago: younger than what limits on ages are set to, and not in the future.
	hour := at.Add(-time.Hour)
	platform := "linux/amd64"
	if len(s.Platforms) > 0 {
		platform = s.Platforms[0]
	}

	e := attestor.PlatformEvidence{
		Child:  attestor.Child{Platform: platform, Digest: img.Digest()},
		Config: attestor.ImageConfig{Created: &hour, Size: 20 << 20},
		Layers: []attestor.Layer{
			{
				Digest: numbered('a'),
				DiffID: numbered('b'),
				Size:   10 << 20,
			}, {Digest: numbered('c'), DiffID: numbered('d'), Size: 10 << 20},
		},
	}

	ev := attestor.Evidence{
		Time: at, Image: img, Requested: img.String(), MediaType: "application/vnd.oci.image.manifest.v1+json",
		Platforms: []attestor.PlatformEvidence{e},
	}

	for _, c := range p.checks {
		if c.exemplary != nil {
			c.exemplary(s, &ev)
		}
	}
	return ev
}

// sample is some repository that a pattern matches.
func sample(p attestor.Pattern) string {
	host, path, _ := strings.Cut(p.String(), "/")

	// The first segment of a name is its registry, which has a dot, a port, or is localhost.
	switch {
	case host == "**" && path == "":
		host, path = "registry.example", "app"
	case host == "**" || host == "*":
		host = "registry.example"
	case !strings.ContainsAny(host, ".:"):
		host = strings.ReplaceAll(host, "*", "app.example")
	}
	return strings.NewReplacer("**", "app", "*", "app").Replace(host + "/" + path)
}

// numbered is a digest of one repeated hex digit.
func numbered(digit byte) attestor.Digest {
	return attestor.Digest("sha256:" + strings.Repeat(string(digit), 64))
}
