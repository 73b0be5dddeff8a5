package describe

import (
	"path"

	"github.com/attestor-gate/attestor"
)

// Owner is who answers for an image: the label owner or team that the caller gave, else that of the image's
// author, else the path that the repository lies in.
func Owner(r attestor.Record) string {
	labels := []map[string]string{r.Evidence.Labels, r.Decision.Labels}

	// The caller's labels come first: the image's are whatever its author wrote.
	for _, p := range r.Evidence.Platforms {
		labels = append(labels, p.Config.Labels)
	}

	// Owner before team, and the caller's before the image's.
	for _, set := range labels {
		for _, key := range []string{"owner", "team"} {
			if set[key] != "" {
				return set[key]
			}
		}
	}

	if repository := r.Evidence.Image.Repository(); repository != "" {
		return OwnerOf(repository)
	}
	ref, err := attestor.ParseReference(r.Decision.Image.Reference)
	if err != nil {
		return OwnerOf("")
	}
	return OwnerOf(ref.Repository())
}

// OwnerOf is the owner of a repository whose images name none: its path.
func OwnerOf(repository string) string { return path.Dir(repository) }
