// Package resource has the names and the list lag of Container Analysis: resource
// URIs of images, projects and note names. It makes no calls.
package resource

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
)

// ListLag is how long a list of Container Analysis may not show an occurrence
// that was just stored; reads by name do not lag. Google documents no figure,
// so that this one is an assumption on the safe side: who decides by a list
// waits this long before believing it to be whole.
const ListLag = 5 * time.Second

// Project is the Google project of an image's occurrences: that of overrides, a map of
// hosts with their ports to projects, else that of the image's path for Artifact
// Registry and Container Registry. Domain-scoped projects are returned as
// example.com:project.
func Project(img attestor.Image, overrides map[string]string) (string, error) {
	if img.IsZero() {
		return "", &attestor.Error{Kind: attestor.Invalid, Msg: "no image was given to find the project of"}
	}
	host := img.Registry()

	// What an operator configured is not overruled by a name that a caller chose.
	if project, ok := overrides[host]; ok && project != "" {
		return project, nil
	}

	// Of any other registry a first segment is not a project, whatever it looks like.
	path := strings.Split(img.Repository(), "/")[1:]
	if isGCR(host) || isArtifactRegistry(host) {
		if project, rest := splitProject(path); project != "" && len(rest) > 0 {
			return project, nil
		}
	}

	return "", &attestor.Error{
		Kind: attestor.Invalid,
		Msg:  fmt.Sprintf("the name %s does not say which Google project holds its scans", img.Repository()),
		Fix:  fmt.Sprintf("name it in the configuration: scanProjects: {%q: PROJECT}", host),
	}
}

// splitProject separates the project from a repository's path. Only domains have dots,
// so that a first segment with one is the domain of a domain-scoped project, and the
// second its name.
func splitProject(path []string) (project string, rest []string) {
	switch {
	case len(path) == 0:
		return "", nil
	case !strings.Contains(path[0], "."):
		return path[0], path[1:]
	case len(path) < 2:
		return "", nil
	}
	return path[0] + ":" + path[1], path[2:]
}

func isGCR(host string) bool {
	switch host {
	case "gcr.io", "us.gcr.io", "eu.gcr.io", "asia.gcr.io":
		return true
	}
	return false
}

func isArtifactRegistry(host string) bool {
	location, ok := strings.CutSuffix(host, "-docker.pkg.dev")
	return ok && location != "" && !strings.Contains(location, ".")
}

// URIs are the resource URIs that occurrences about exactly this image may have: with
// the scheme, as scanners write it, and without, as current gcloud does. An Artifact
// Registry repository that serves gcr.io is scanned under its gcr.io name, so that
// name is added.
func URIs(img attestor.Image) []string {
	if img.IsZero() {
		return nil
	}

	// Only names that are this image's for certain: each is one that a finding may
	// come from, and one that is missing hides findings.
	names := []string{img.String()}
	if alias := gcrName(img); alias != "" {
		names = append(names, alias)
	}

	var uris []string
	for _, n := range names {
		uris = append(uris, "https://"+n, n)
	}
	return uris
}

// gcrName is HOST.gcr.io/PROJECT/IMAGE@DIGEST for an image that is addressed
// as LOCATION-docker.pkg.dev/PROJECT/HOST.gcr.io/IMAGE@DIGEST, else "".
func gcrName(img attestor.Image) string {
	if !isArtifactRegistry(img.Registry()) {
		return ""
	}
	path := strings.Split(img.Repository(), "/")[1:]
	project, rest := splitProject(path)
	if project == "" || len(rest) < 2 || !isGCR(rest[0]) {
		return ""
	}

	// The domain of a domain-scoped project is a segment of its own in a path.
	project = strings.Replace(project, ":", "/", 1)
	return rest[0] + "/" + project + "/" + strings.Join(rest[1:], "/") + "@" + string(img.Digest())
}

// Filter selects occurrences of kinds about any of uris, in the form that
// gcloud sends. Every group is parenthesised, since OR binds tighter than AND.
func Filter(kinds, uris []string) string {
	return anyOf("kind", kinds) + " AND " + anyOf("resourceUrl", uris)
}

// FilterExcept selects occurrences about any of uris that are not of kinds, those of kinds that did not exist when this
// was written included.
func FilterExcept(kinds, uris []string) string {
	terms := make([]string, len(kinds))
	for i, k := range kinds {
		terms[i] = fmt.Sprintf("(kind != %q)", k)
	}
	return "(" + strings.Join(terms, " AND ") + ") AND " + anyOf("resourceUrl", uris)
}

func anyOf(field string, values []string) string {
	terms := make([]string, len(values))
	for i, v := range values {
		// Quoted, so that no text of a caller can end the string and add to the filter.
		terms[i] = fmt.Sprintf("(%s = %q)", field, v)
	}
	return "(" + strings.Join(terms, " OR ") + ")"
}

// A Name is that of a note, an occurrence or a scan.
type Name struct {
	Project  string
	Location string // "" where the name is not regional
	ID       string
}

var namePattern = regexp.MustCompile(
	`^projects/([A-Za-z0-9.:_-]+)(?:/locations/([a-z0-9-]+))?/(notes|occurrences|scans)/([A-Za-z0-9_~%.:+@-]+)$`,
)

// ParseName reads projects/P[/locations/L]/COLLECTION/ID, where collection is
// notes, occurrences or scans.
func ParseName(collection, s string) (Name, bool) {
	m := namePattern.FindStringSubmatch(s)
	if m == nil || m[3] != collection {
		return Name{}, false
	}
	return Name{Project: m[1], Location: m[2], ID: m[4]}, true
}
