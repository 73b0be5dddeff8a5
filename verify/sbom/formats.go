package sbom

import (
	"slices"
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/attestor-gate/attestor"
)

// components reads a list of CycloneDX components, and those within them.
func (r *reader) components(depth int) error {
	return array(r.dec, func() error { return r.component(depth, false) })
}

// metadata reads the component that a CycloneDX document is about, for those within it: it
// is the image itself, and no package in it.
func (r *reader) metadata() error {
	return object(r.dec, 0, func(name string) error {
		if name != "component" {
			return r.dec.SkipValue()
		}
		return r.component(0, true)
	})
}

// component reads one CycloneDX component. about is true for the document's own.
func (r *reader) component(depth int, about bool) error {
	var p named
	kind := ""
	err := object(r.dec, depth, func(name string) (err error) {
		switch name {
		case "type":
			kind, err = text(r.dec, maxText)
		case "group":
			p.group, err = text(r.dec, maxText)
		case "name":
			p.name, err = text(r.dec, maxText)
		case "version":
			p.version, err = text(r.dec, maxText)
		case "purl":
			var purl string
			purl, err = text(r.dec, maxPurl)
			p.purls = append(p.purls, purl)
		case "licenses":
			err = array(r.dec, func() error { return r.cycloneLicense(&p) })
		case "components":
			// Components within components are packages in the image as well.
			err = r.components(depth + 1)
		default:
			err = r.dec.SkipValue()
		}
		return err
	})
	if err != nil || about {
		return err
	}

	// Files and the operating system are no packages, unless they say which one.
	if (kind == "file" || kind == "operating-system") && len(p.purls) == 0 {
		return nil
	}
	return r.keep(&p)
}

// cycloneLicense reads one choice of licenses: an expression, or one license by its SPDX
// identifier or a name.
func (r *reader) cycloneLicense(p *named) error {
	return object(r.dec, 0, func(name string) error {
		switch name {
		case "expression":
			return r.license(p)
		case "license":
			return object(r.dec, 0, func(name string) error {
				if name == "id" || name == "name" {
					return r.license(p)
				}
				return r.dec.SkipValue()
			})
		}
		return r.dec.SkipValue()
	})
}

// license reads the name of a license.
func (r *reader) license(p *named) error {
	l, err := text(r.dec, MaxBytes)
	if err != nil {
		return err
	}
	if len(l) > maxLicense {
		l = attestor.LicenseText
	}
	if l == "" || slices.Contains(p.licenses, l) {
		return nil
	}

	// A license that was not read could be a denied one: the document is refused, not cut.
	if len(p.licenses) == maxLicenses {
		return malformed("a package has more than %d licenses", maxLicenses)
	}

	p.licenses = append(p.licenses, l)
	return nil
}

// spdxPackage reads one package of an SPDX document.
func (r *reader) spdxPackage() error {
	var p named
	id := ""
	err := object(r.dec, 0, func(name string) (err error) {
		switch name {
		case "SPDXID":
			id, err = text(r.dec, maxText)
		case "name":
			p.name, err = text(r.dec, maxText)
		case "versionInfo":
			p.version, err = text(r.dec, maxText)
		case "licenseConcluded", "licenseDeclared":
			err = r.license(&p)
		case "externalRefs":
			err = array(r.dec, func() error { return r.externalRef(&p) })
		default:
			err = r.dec.SkipValue()
		}
		return err
	})
	if err != nil {
		return err
	}

	// SPDX 2.3, 7.13: NOASSERTION and NONE say nothing of the license.
	p.licenses = slices.DeleteFunc(p.licenses, func(l string) bool { return l == "NOASSERTION" || l == "NONE" })
	before := len(r.packages)
	if err := r.keep(&p); err != nil {
		return err
	}
	for range r.packages[before:] {
		r.spdx = append(r.spdx, id)
	}
	return nil
}

// externalRef reads a reference, and keeps package URLs.
func (r *reader) externalRef(p *named) error {
	kind, locator := "", ""
	err := object(r.dec, 0, func(name string) (err error) {
		switch name {
		case "referenceType":
			kind, err = text(r.dec, MaxBytes)
		case "referenceLocator":
			locator, err = text(r.dec, MaxBytes)
		default:
			err = r.dec.SkipValue()
		}
		return err
	})
	if err != nil || kind != "purl" {
		return err
	}

	// Other references may be long; a package URL that was cut would name another package.
	if len(locator) > maxPurl {
		return malformed("it has a package URL of %d bytes where at most %d are read", len(locator), maxPurl)
	}

	p.purls = append(p.purls, locator)
	return nil
}

// relationship notes what the document describes.
func (r *reader) relationship() error {
	from, kind, to := "", "", ""
	err := object(r.dec, 0, func(name string) (err error) {
		switch name {
		case "spdxElementId":
			from, err = text(r.dec, maxText)
		case "relationshipType":
			kind, err = text(r.dec, maxText)
		case "relatedSpdxElement":
			to, err = text(r.dec, maxText)
		default:
			err = r.dec.SkipValue()
		}
		return err
	})

	// Two are enough to know that it describes several things.
	if err == nil && from == "SPDXRef-DOCUMENT" && kind == "DESCRIBES" && !slices.Contains(r.described, to) &&
		len(r.described) < 2 {
		r.described = append(r.described, to)
	}

	return err
}

// leaveOutDescribed removes the package that an SPDX document is about: it is the image
// itself. A document that describes several things lists packages by that.
func (r *reader) leaveOutDescribed() {
	slices.Sort(r.described)
	r.described = slices.Compact(r.described)
	if len(r.described) != 1 || r.described[0] == "" {
		return
	}
	kept := r.packages[:0]
	for i, p := range r.packages {
		if r.spdx[i] != r.described[0] {
			kept = append(kept, p)
		}
	}
	r.packages = kept
}

// named is a package as a document names it.
type named struct {
	group, name, version string
	purls                []string
	licenses             []string
}

// keep adds a package by each of its package URLs, or by its name.
func (r *reader) keep(p *named) error {
	slices.Sort(p.purls)
	kept := 0
	for _, text := range slices.Compact(p.purls) {
		u, err := packageurl.FromString(text)
		if err != nil || u.Name == "" {
			continue
		}

		// The package URL outweighs the fields beside it: policies are written in its terms.
		version := u.Version
		if version == "" {
			version = p.version
		}
		name := u.Name
		if u.Namespace != "" {
			name = u.Namespace + "/" + u.Name
		}
		kept++
		err = r.add(attestor.Package{Type: u.Type, Name: name, Version: version, Licenses: p.licenses})
		if err != nil {
			return err
		}
	}
	if kept > 0 {
		return nil
	}

	// Without a package URL that can be read, only the name is known. A package without a
	// name could not be judged.
	if p.name == "" {
		return malformed("a package has no name")
	}
	name := p.name
	if p.group != "" {
		name = strings.TrimSuffix(p.group, "/") + "/" + p.name
	}
	return r.add(attestor.Package{Name: name, Version: p.version, Licenses: p.licenses})
}
