package attest

import (
	"errors"
	"strconv"

	"github.com/attestor-gate/attestor"
)

// A form is how the payload is signed.
type form int

const (
	plain form = 1 + iota // the payload itself, as admission reads it
	pae                   // DSSE's pre-authentication encoding of it, as continuous validation reads it
)

const simpleSigningType = "application/vnd.dev.cosign.simplesigning.v1+json"

// A warrant is the right to sign one statement about one image. Signers take
// nothing else, and [warrants] is the only place where one is made, so that
// there is no signature without an Authorization. The zero value is refused.
type warrant struct {
	decision string
	image    attestor.Image
}

// warrants lists what a permits, children before their index.
func warrants(a attestor.Authorization) ([]warrant, error) {
	images := a.Images()
	if a.Decision() == "" || len(images) == 0 || len(a.Attestors()) == 0 {
		return nil, errors.New("attesting: the authorization permits nothing")
	}
	out := make([]warrant, 0, len(images))
	for _, img := range images {
		// An attestation is of a digest; an image without one cannot be attested to.
		if img.IsZero() {
			return nil, errors.New("attesting: the authorization names no image")
		}
		out = append(out, warrant{decision: a.Decision(), image: img})
	}
	return out, nil
}

// message returns the bytes to be signed in a form.
func (w warrant) message(f form) ([]byte, error) {
	// The last line of defence: a zero warrant, made by a mistake inside the package,
	// signs nothing.
	if w.decision == "" || w.image.IsZero() {
		return nil, errors.New("signing: nothing was authorised")
	}

	switch f {
	case plain:
		return Payload(w.image), nil
	case pae:
		p := Payload(w.image)
		m := "DSSEv1 " + strconv.Itoa(
			len(simpleSigningType),
		) + " " + simpleSigningType + " " + strconv.Itoa(
			len(p),
		) + " "
		return append([]byte(m), p...), nil
	}
	return nil, errors.New("signing: no such form")
}
