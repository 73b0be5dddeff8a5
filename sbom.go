package attestor

import "strings"

// An SBOM is a bill of materials that is attached to a manifest: a list of the packages in the image. The list is the
// claim of its author. It counts for the image only if its author is the signer that the policy names.
type SBOM struct {
	Format    string    `json:"format"`              // [FormatSPDX] or [FormatCycloneDX]
	Version   string    `json:"version"`             // of the format, such as 2.3 or 1.6
	Place     string    `json:"place"`               // where it is attached, for people
	Digest    Digest    `json:"digest"`              // of the blob that holds the document
	Statement Digest    `json:"statement,omitempty"` // of the bytes of the in-toto statement that holds it; "" for a document by itself
	SignedBy  string    `json:"signedBy,omitempty"`  // the [SignedBy.Text] of the rule that a signature satisfied; "" for none
	Signer    string    `json:"signer,omitempty"`    // who that is, for people
	About     []Package `json:"about,omitempty"`     // what the document is about, where that is a package and no image
	Packages  []Package `json:"packages,omitempty"`
}

// The formats of bills of materials.
const (
	FormatSPDX      = "spdx"
	FormatCycloneDX = "cyclonedx"
)

// A Package is one entry of a bill of materials.
type Package struct {
	Type     string   `json:"type,omitempty"`     // of its package URL, such as deb or golang; "" where it has none
	Name     string   `json:"name"`               // with the namespace of its package URL: debian/openssl
	Version  string   `json:"version,omitempty"`  // "" if not stated
	Licenses []string `json:"licenses,omitempty"` // SPDX expressions or other names, all of which hold; none: not stated
}

// Bare is the package's name without its namespace.
func (p *Package) Bare() string { return p.Name[strings.LastIndexByte(p.Name, '/')+1:] }

// String is the package for people, in the form of a package URL.
func (p *Package) String() string {
	s := p.Name
	if p.Type != "" {
		s = "pkg:" + p.Type + "/" + s
	}
	if p.Version != "" {
		s += "@" + p.Version
	}
	return s
}

// LicenseText stands for a license that a document gives by its text, or by what is too long to be an expression. It is
// no SPDX expression.
const LicenseText = "(text of a license)"
