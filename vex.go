package attestor

import "time"

// VEXNeeds says whose VEX documents are worth verifying.
type VEXNeeds struct {
	Sources []VEXSource
}

// A VEXSource is one place and signer of VEX documents.
type VEXSource struct {
	SignedBy SignedBy
	File     string // of the document, with its signature in FILE.sigstore.json; "": attached to the image
}

// Text is one line that stands for the source in evidence: two sources with the same text have the same statements.
func (s VEXSource) Text() string {
	if s.File == "" {
		return s.SignedBy.Text()
	}
	return "file=" + s.File + " " + s.SignedBy.Text()
}

// Texts lists the sources; none for nil.
func (n *VEXNeeds) Texts() []string {
	if n == nil {
		return nil
	}
	out := make([]string, len(n.Sources))
	for i, s := range n.Sources {
		out[i] = s.Text()
	}
	return out
}

// A VEXStatement is what a signed VEX document says of one vulnerability in the image. Its signature was verified;
// whether it is about a finding, and whose word counts, is the policy's to say.
type VEXStatement struct {
	Source        string       `json:"source"` // the [VEXSource.Text] whose signer signed it
	Signer        string       `json:"signer"` // who that is, for people
	IDs           []string     `json:"ids"`    // of the vulnerability, with its aliases
	Status        string       `json:"status"` // affected, not_affected, fixed, under_investigation
	Justification string       `json:"justification,omitempty"`
	Exact         bool         `json:"exact,omitempty"`    // it names this image by digest, or by its whole repository
	Packages      []VEXPackage `json:"packages,omitempty"` // that it is limited to; none: the whole image
	Time          time.Time    `json:"time,omitzero"`      // when it was made; zero: not said
	Document      Digest       `json:"document,omitempty"` // of the bytes that were signed: the in-toto statement, or the file
}

// A VEXPackage is a part of an image as a VEX document names it. The zero value is one that was named in a form that
// nobody here can compare.
type VEXPackage struct {
	Type    string `json:"type,omitempty"` // of its package URL, such as deb or golang
	Name    string `json:"name,omitempty"` // with the namespace where that is a part of the name
	Version string `json:"version,omitempty"`
}
