package vex

import (
	"net/url"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
)

// product reports whether a product may be the image, and whether it is exactly that: by its digest, or by its whole
// repository. A name alone is of every image that anybody calls so.
func product(p named, images []attestor.Image) (about, exact bool) {
	isDigest := func(d string) bool {
		return slices.ContainsFunc(images, func(img attestor.Image) bool { return string(img.Digest()) == d })
	}

	// A hash says which bytes are meant, whatever else is said; CycloneDX allows capitals. Where it stands under two
	// names, the product may be the image by either, and is exactly it by both alone.
	hashed := false
	for _, alg := range []string{"sha-256", "sha256"} {
		if value, ok := p.Hashes[alg]; ok {
			same := isDigest("sha256:" + strings.ToLower(value))
			about, exact, hashed = about || same, same && (exact || !hashed), true
		}
	}
	if hashed {
		return about, exact
	}

	for _, id := range []string{p.Identifiers["purl"], p.ID} {
		if u, ok := parsePURL(id); ok {
			return u.image(images, isDigest)
		}
		if _, digest, ok := strings.Cut(id, "@sha256:"); ok {
			exact = isDigest("sha256:" + digest)
			return exact, exact
		}
	}
	return true, false
}

// image is product for a package URL.
func (u purl) image(images []attestor.Image, isDigest func(string) bool) (about, exact bool) {
	switch {
	case u.kind != "oci" && u.kind != "docker":
		return true, false // not an image: nothing says how it is related to this one
	case u.version != "" && strings.HasPrefix(u.version, "sha256:"):
		exact = isDigest(u.version)
		return exact, exact
	case u.version != "":
		return true, false // a tag, which names another image tomorrow
	}

	// purl specification, oci: repository_url is "A repository URL where the artifact may be found".
	repository := u.qualifiers.Get("repository_url")
	if repository == "" {
		return true, false
	}
	same := slices.ContainsFunc(images, func(img attestor.Image) bool { return img.Repository() == repository })
	return same, same
}

// part is a subcomponent as a package.
func part(p named) attestor.VEXPackage {
	for _, id := range []string{p.Identifiers["purl"], p.ID} {
		if u, ok := parsePURL(id); ok {
			return attestor.VEXPackage{Type: u.kind, Name: u.name(), Version: u.version}
		}
	}
	return attestor.VEXPackage{}
}

// purl is a package URL.
type purl struct {
	kind, namespace, bare, version string
	qualifiers                     url.Values
}

// name is how scanners call the package.
func (u purl) name() string {
	switch u.kind {
	case "golang", "npm", "composer":
		if u.namespace != "" {
			return u.namespace + "/" + u.bare
		}
	case "maven":
		return u.namespace + ":" + u.bare
	}
	return u.bare
}

// parsePURL reads scheme:type/namespace/name@version?qualifiers#subpath, from the end to the beginning as the purl
// specification prescribes.
func parsePURL(s string) (purl, bool) {
	rest, ok := strings.CutPrefix(s, "pkg:")
	if !ok || len(s) > 2048 {
		return purl{}, false
	}
	rest, _, _ = strings.Cut(rest, "#")
	rest, query, _ := strings.Cut(rest, "?")
	qualifiers, err := url.ParseQuery(query)
	if err != nil {
		return purl{}, false
	}

	kind, path, ok := strings.Cut(strings.TrimLeft(rest, "/"), "/")
	if !ok {
		return purl{}, false
	}
	version := ""
	if i := strings.LastIndexByte(path, '@'); i > 0 { // at 0 it is the scope of an npm package
		path, version = path[:i], path[i+1:]
	}
	u := purl{kind: strings.ToLower(kind), qualifiers: qualifiers}
	for _, f := range []struct {
		in  string
		out *string
	}{{path, &u.bare}, {version, &u.version}} {
		if *f.out, err = url.PathUnescape(f.in); err != nil {
			return purl{}, false
		}
	}
	if i := strings.LastIndexByte(u.bare, '/'); i >= 0 {
		u.namespace, u.bare = u.bare[:i], u.bare[i+1:]
	}
	return u, u.bare != "" && u.kind != ""
}
