package sbom

import (
	"cmp"
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
// is the image itself, and no package in it, unless its package URL says so; see [isPackage].
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
	kind, group := "", false
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
		case "properties":
			err = array(r.dec, func() error {
				is, err := r.groupOfTrivy()
				group = group || is
				return err
			})
		case "components":
			// Components within components are packages in the image as well.
			err = r.components(depth + 1)
		default:
			err = r.dec.SkipValue()
		}
		return err
	})
	if err != nil {
		return err
	}
	if about {
		r.about = slices.DeleteFunc(p.located(), func(p attestor.Package) bool { return !isPackage(p) })
		return nil
	}

	// Files, the operating system and the groups of Trivy are no packages, unless they say which one.
	isNone := kind == "file" || kind == "operating-system" || kind == "application" && group
	if isNone && len(p.purls) == 0 {
		return nil
	}
	return r.keep(&p)
}

// groupOfTrivy reads a property of a component, and reports whether it says that the component is a lock file, or a
// program, in which Trivy found packages. Those are components of their own.
func (r *reader) groupOfTrivy() (bool, error) {
	property, value := "", ""
	err := object(r.dec, 0, func(name string) (err error) {
		switch name {
		case "name":
			property, err = text(r.dec, MaxBytes)
		case "value":
			value, err = text(r.dec, MaxBytes)
		default:
			err = r.dec.SkipValue()
		}
		return err
	})
	return property == "aquasecurity:trivy:Class" && value == "lang-pkgs", err
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
	id, purpose, group := "", "", false
	grouped := func(comment string) { group = group || comment == "Class: lang-pkgs" }
	err := object(r.dec, 0, func(name string) (err error) {
		switch name {
		case "SPDXID":
			id, err = text(r.dec, maxText)
		case "primaryPackagePurpose":
			purpose, err = text(r.dec, maxText)
		case "annotations":
			err = array(r.dec, func() error { return r.comment(grouped) })
		case "attributionTexts": // where earlier versions of Trivy have its annotations
			err = array(r.dec, func() error {
				said, err := text(r.dec, MaxBytes)
				grouped(said)
				return err
			})
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

	// As in CycloneDX: files, the operating system and the groups of Trivy are no packages, unless they say which one.
	isNone := purpose == "FILE" || purpose == "OPERATING-SYSTEM" || purpose == "OPERATING_SYSTEM" ||
		purpose == "APPLICATION" && group
	if isNone && len(p.purls) == 0 {
		return nil
	}

	before := len(r.packages)
	if err := r.keep(&p); err != nil {
		return err
	}
	for range r.packages[before:] {
		r.spdx = append(r.spdx, spdxEntry{id: id, image: purpose == "CONTAINER"})
	}
	return nil
}

// comment reads an annotation, and calls said with its comment.
func (r *reader) comment(said func(string)) error {
	return object(r.dec, 0, func(name string) error {
		if name != "comment" {
			return r.dec.SkipValue()
		}
		comment, err := text(r.dec, MaxBytes)
		said(comment)
		return err
	})
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
	// SPDX 2.3, F.3 calls it purl. Libraries write the address of that word, as for http://spdx.org/rdf/references/purl.
	if err != nil || kind[strings.LastIndexByte(kind, '/')+1:] != "purl" {
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

	var about, unnamed []attestor.Package
	kept := r.packages[:0]
	for i, p := range r.packages {
		switch of := r.spdx[i]; {
		case of.id != r.described[0]:
			kept = append(kept, p)
		case isPackage(p):
			about = append(about, p)
		case p.Type == "" && !of.image:
			unnamed = append(unnamed, p)
		}
	}
	r.packages = kept

	// Beside nothing else, what has no package URL is no more likely to be the image than to be a package.
	if r.about = about; len(kept) == 0 && len(about) == 0 {
		r.about = unnamed
	}
}

// An spdxEntry is what an SPDX document says of a package beside its name.
type spdxEntry struct {
	id    string
	image bool // its purpose is that of a container image
}

// isPackage reports whether a package URL names a package, and not an image. Documents of applications, which are
// attached to images too, are about one: pkg:maven/com.acme/app@1.0.
func isPackage(p attestor.Package) bool { return p.Type != "" && p.Type != "oci" && p.Type != "docker" }

// named is a package as a document names it.
type named struct {
	group, name, version string
	purls                []string
	licenses             []string
}

// keep adds a package by each of its package URLs, or by its name.
func (r *reader) keep(p *named) error {
	all := p.located()
	for _, one := range all {
		if err := r.add(one); err != nil {
			return err
		}
	}
	if len(all) > 0 {
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

// located is the package by each of its package URLs that can be read.
func (p *named) located() (out []attestor.Package) {
	slices.Sort(p.purls)
	for _, text := range slices.Compact(p.purls) {
		u, err := packageurl.FromString(text)
		if err != nil || u.Name == "" {
			continue
		}

		// The package URL outweighs the fields beside it: policies are written in its terms.
		name := u.Name
		if u.Namespace != "" {
			name = u.Namespace + "/" + u.Name
		}
		out = append(out, attestor.Package{
			Type: u.Type, Name: name, Version: cmp.Or(u.Version, p.version), Licenses: p.licenses,
		})
	}
	return out
}
