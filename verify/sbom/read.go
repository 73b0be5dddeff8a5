package sbom

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/attestor-gate/attestor"
)

// The bounds of one document.
const (
	// MaxBytes is the size of a document, or of a statement with it.
	MaxBytes = 32 << 20
	// MaxPackages is how many packages a platform's documents list together, and maxKept how
	// many bytes their names, versions and licenses have.
	MaxPackages = 100_000
	maxKept     = 16 << 20

	maxText     = 1024 // bytes of a name, version or identifier
	maxPurl     = 4096 // bytes of a package URL
	maxLicense  = 2048 // bytes of a license; a longer one is a text, and no expression
	maxLicenses = 256  // of one package; Debian's copyright files name some dozens
	maxAbout    = 64   // package URLs of what a document is about
	maxNested   = 32   // components within each other
)

// A Fault is a kind of [Error].
type Fault int

// The faults of documents.
const (
	Malformed   Fault = iota // not JSON, not the format, or readable in two ways
	Unsupported              // of a format that this package does not read
	TooLarge                 // more packages than the limit
	OtherDigest              // a statement about another digest
	NotSBOM                  // a statement of another kind
)

// Error says why a document cannot be used.
type Error struct {
	Fault Fault
	Msg   string
}

func (e *Error) Error() string { return e.Msg }

func malformed(format string, args ...any) error {
	return &Error{Malformed, fmt.Sprintf(format, args...)}
}

// ReadStatement reads the document in an in-toto statement about digest, of at most limit
// packages. Format, Version, About and Packages of the result are set.
func ReadStatement(statement []byte, digest attestor.Digest, limit int) (attestor.SBOM, error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(statement))
	var kind, predicateType string
	var predicate []byte
	about := 0
	err := object(dec, 0, func(name string) (err error) {
		switch name {
		case "_type":
			kind, err = text(dec, maxText)
		case "predicateType":
			predicateType, err = text(dec, maxText)
		case "subject":
			about, err = subjects(dec, digest)
		case "predicate":
			// The value is read in place, once everything else is known.
			predicate, err = dec.ReadValue()
			if err == nil {
				from := dec.InputOffset() - int64(len(predicate))
				predicate = statement[from:dec.InputOffset()]
			}
		default:
			err = dec.SkipValue()
		}
		return err
	})
	if err == nil {
		err = end(dec)
	}
	switch {
	case err != nil:
		return attestor.SBOM{}, asError(err)
	case kind != "https://in-toto.io/Statement/v1" && kind != "https://in-toto.io/Statement/v0.1":
		return attestor.SBOM{}, malformed("it is not an in-toto statement")
	case !known(predicateType):
		return attestor.SBOM{}, &Error{NotSBOM, "its predicate type is not that of an SBOM"}

	// in-toto's validation model: "Reject if matchedSubjects is empty."
	case about == 0:
		return attestor.SBOM{}, &Error{OtherDigest, "its statement is about another digest"}
	}
	return Read(predicate, limit)
}

// subjects counts the subjects that have the digest.
func subjects(dec *jsontext.Decoder, digest attestor.Digest) (n int, err error) {
	err = array(dec, func() error {
		return object(dec, 0, func(name string) error {
			if name != "digest" {
				return dec.SkipValue()
			}
			return object(dec, 0, func(algorithm string) error {
				value, err := text(dec, maxText)

				// Digests by other algorithms do not name the image here: a weak one could be met by other bytes.
				if algorithm == "sha256" && value == digest.Hex() {
					n++
				}
				return err
			})
		})
	})
	return n, err
}

// Read reads one document of at most limit packages: SPDX 2 or CycloneDX in JSON. Format,
// Version, About and Packages of the result are set. It is strict: a document that another
// reader could understand otherwise is refused.
func Read(doc []byte, limit int) (attestor.SBOM, error) {
	r := &reader{dec: jsontext.NewDecoder(bytes.NewBuffer(doc)), limit: limit}
	if k := r.dec.PeekKind(); k != '{' {
		// cosign attests the tag-value form of SPDX as one text.
		return attestor.SBOM{}, &Error{Unsupported, "it is not a JSON object; of SPDX and CycloneDX, JSON is read"}
	}
	err := object(r.dec, 0, r.member)
	if err == nil {
		err = end(r.dec)
	}
	if err != nil {
		return attestor.SBOM{}, asError(err)
	}
	return r.result()
}

// asError keeps what this package found, and calls everything else malformed.
func asError(err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return malformed("it is not unambiguous JSON: %v", err)
}

// reader collects one document.
type reader struct {
	dec      *jsontext.Decoder
	limit    int
	kept     int // bytes of text
	packages []attestor.Package

	bomFormat, specVersion, spdxVersion, context string
	hasPackages, hasComponents                   bool

	spdx      []spdxEntry        // of the packages of an SPDX document
	described []string           // identifiers of what the document is about
	about     []attestor.Package // what the document is about, where that is no image
}

// member reads one member of the document.
func (r *reader) member(name string) (err error) {
	switch name {
	case "bomFormat":
		r.bomFormat, err = text(r.dec, maxText)
	case "specVersion":
		r.specVersion, err = text(r.dec, maxText)
	case "components":
		r.hasComponents = true
		err = r.components(0)
	case "metadata":
		err = r.metadata()
	case "spdxVersion":
		r.spdxVersion, err = text(r.dec, maxText)
	case "packages":
		r.hasPackages = true
		err = array(r.dec, r.spdxPackage)
	case "documentDescribes":
		err = array(r.dec, func() error {
			id, err := text(r.dec, maxText)
			r.described = append(r.described, id)
			return err
		})
	case "relationships":
		err = array(r.dec, r.relationship)
	case "@context", "@graph":
		r.context = name
		err = r.dec.SkipValue()
	default:
		err = r.dec.SkipValue()
	}
	return err
}

// result says which format was read.
func (r *reader) result() (attestor.SBOM, error) {
	cyclone, spdx := r.bomFormat != "" || r.hasComponents, r.spdxVersion != "" || r.hasPackages
	switch {
	// Each reader would see another list of packages.
	case cyclone && spdx:
		return attestor.SBOM{}, malformed("it is both CycloneDX and SPDX")
	// SPDX 3 has its packages in @graph: read as SPDX 2 it would be an empty list.
	case r.context != "":
		return attestor.SBOM{}, &Error{Unsupported, "it is SPDX 3 or other linked data; of SPDX, version 2 is read"}
	case cyclone:
		if r.bomFormat != "CycloneDX" || !version(r.specVersion, "1.") {
			return attestor.SBOM{}, &Error{Unsupported, "it is not CycloneDX of version 1"}
		}
		return r.document(attestor.FormatCycloneDX, r.specVersion)
	case spdx:
		if !version(r.spdxVersion, "SPDX-2.") {
			return attestor.SBOM{}, &Error{Unsupported, "it is not SPDX of version 2"}
		}
		r.leaveOutDescribed()
		return r.document(attestor.FormatSPDX, r.spdxVersion[len("SPDX-"):])
	}

	return attestor.SBOM{}, &Error{Unsupported, "it is neither CycloneDX nor SPDX"}
}

// document is what was read. What it is about no limit of packages counts, so that its number is bounded here, and its
// licenses, which nobody judges, are left out.
func (r *reader) document(format, version string) (attestor.SBOM, error) {
	if len(r.about) > maxAbout {
		return attestor.SBOM{}, malformed("it is about a package with more than %d package URLs", maxAbout)
	}
	for i := range r.about {
		r.about[i].Licenses = nil
	}

	return attestor.SBOM{Format: format, Version: version, About: r.about, Packages: r.packages}, nil
}

// version reports whether v is a prefix and one or two digits.
func version(v, prefix string) bool {
	if len(v) <= len(prefix) || len(v) > len(prefix)+2 || v[:len(prefix)] != prefix {
		return false
	}
	for _, c := range v[len(prefix):] {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// add keeps a package.
func (r *reader) add(p attestor.Package) error {
	if len(r.packages) == r.limit {
		return &Error{TooLarge, fmt.Sprintf("it lists more packages than the %d that are read", r.limit)}
	}

	// Bytes are bounded beside the number: records keep all of it.
	r.kept += len(p.Name) + len(p.Version)
	for _, l := range p.Licenses {
		r.kept += len(l)
	}
	if r.kept > maxKept {
		return &Error{TooLarge, fmt.Sprintf("its names and licenses have more than %d bytes", maxKept)}
	}
	r.packages = append(r.packages, p)
	return nil
}

// end returns an error if anything follows the value.
func end(dec *jsontext.Decoder) error {
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return malformed("text follows the document")
	}
	return nil
}

// object calls f with each name of the object that comes next. f has to read the value.
// The decoder refuses a name that occurs twice, and compares names exactly.
func object(dec *jsontext.Decoder, depth int, f func(name string) error) error {
	// A document that nests without end would exhaust the stack.
	if depth > maxNested {
		return malformed("it is nested more than %d deep", maxNested)
	}
	if k := dec.PeekKind(); k != '{' {
		return malformed("an object is missing where one is wanted")
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}

	for {
		token, err := dec.ReadToken()
		if err != nil {
			return err
		}
		if token.Kind() == '}' {
			return nil
		}
		if err := f(token.String()); err != nil {
			return err
		}
	}
}

// array calls f for each element of the array that comes next. f has to read it. null is
// an empty one.
func array(dec *jsontext.Decoder, f func() error) error {
	if dec.PeekKind() == 'n' {
		return dec.SkipValue()
	}
	if dec.PeekKind() != '[' {
		return malformed("a list is missing where one is wanted")
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}

	for dec.PeekKind() != ']' {
		if err := f(); err != nil {
			return err
		}
	}

	_, err := dec.ReadToken()
	return err
}

// text reads a string of at most limit bytes. null is "".
func text(dec *jsontext.Decoder, limit int) (string, error) {
	token, err := dec.ReadToken()
	if err != nil {
		return "", err
	}
	if token.Kind() == 'n' {
		return "", nil
	}
	if token.Kind() != '"' {
		return "", malformed("a text is missing where one is wanted")
	}

	s := token.String()
	if len(s) > limit {
		return "", malformed("it has a text of %d bytes where at most %d are read", len(s), limit)
	}

	return s, nil
}
