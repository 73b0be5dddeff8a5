package admission

import (
	"strings"

	"github.com/attestor-gate/attestor"
)

// whole adds, for a name without its registry, the one that the node would pull, in the form that is admitted; "" for
// any other text.
func whole(short string) string {
	name, _, _ := strings.Cut(short, "@")
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
		name = name[:i]
	}

	// As the container runtime reads it: the first part is a registry only if it has a dot or a port, or is localhost.
	first, _, nested := strings.Cut(name, "/")
	switch {
	case nested && (strings.ContainsAny(first, ".:") || first == "localhost"):
		return ""
	case !nested:
		name = "library/" + name
	}
	if _, err := attestor.ParseReference("docker.io/" + name + ":any"); err != nil {
		return ""
	}
	return "; the node would pull docker.io/" + name + ": write docker.io/" + name + "@sha256:…, by digest"
}
