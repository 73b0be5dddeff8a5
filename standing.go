package attestor

import (
	"errors"
	"slices"
)

// Standing is what was found under the attestors' notes. The zero value is
// "not looked up".
type Standing struct {
	Known   bool // the look-up succeeded for every attestor and image
	Valid   []Attestation
	Invalid []InvalidAttestation
}

// InvalidAttestation is one that is not ours, or does not verify.
type InvalidAttestation struct {
	Attestation
	Why string `json:"why"`
}

// Overridden lists those of an image's open overrides that have a valid attestation
// here. Never nil: an empty list says that there are none.
func (s Standing) Overridden(open []StandingOverride) []StandingOverride {
	out := []StandingOverride{}
	for _, o := range open {
		stands := slices.ContainsFunc(s.Valid,
			func(a Attestation) bool { return slices.Contains(o.Attestors, a.Attestor) })

		// Where its attestors are not recorded, any valid attestation may be the override's.
		if stands || (len(o.Attestors) == 0 && len(s.Valid) > 0) {
			out = append(out, o)
		}
	}
	return out
}

// Missing lists the attestors, in their order, that lack a valid attestation of
// at least one of the images; none missing means that every attestor attested
// to every image. It is an error to ask about no attestor, no image or an image
// without a digest, or where the attestations were not looked up: an empty list
// would then read as "nothing is missing".
func (s Standing) Missing(attestors []string, images []Image) ([]string, error) {
	switch {
	case !s.Known:
		return nil, errors.New("the attestations were not looked up")
	case len(attestors) == 0:
		return nil, errors.New("no attestor is required, so that no image is attested")
	case len(images) == 0 || slices.ContainsFunc(images, Image.IsZero):
		return nil, errors.New("no image by digest was given")
	}

	// Each attestor for each image: one that attested to the index alone has not attested to its children.
	var missing []string
	for _, name := range attestors {
		if slices.ContainsFunc(images, func(img Image) bool { return len(s.By(name, img)) == 0 }) {
			missing = append(missing, name)
		}
	}
	return missing, nil
}

// By lists the valid attestations of an image by an attestor. It compares the
// attestor and the digest: an attestation of another digest says nothing about
// this one, though both be of one repository.
func (s Standing) By(attestor string, img Image) []Attestation {
	var out []Attestation
	for _, a := range s.Valid {
		if a.Attestor == attestor && a.Digest == img.Digest() {
			out = append(out, a)
		}
	}
	return out
}
